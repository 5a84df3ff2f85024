"""Which engines there are: a folder each, with an `engine.toml` that says what it can and an `engine.py` that does it.

Three places are looked at: this package, packages that declare the entry point group `tawtin.engines`, and folders
that an operator names. The code of an engine is imported only when one is made of it, so that a missing library is
missed by nobody else.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Final

import msgspec

from tawtin.engines.shared.probe import try_run
from tawtin.model.base import Record
from tawtin.model.findings import Finding, fault, ok
from tawtin.model.workload import WorkloadType
from tawtin.ports import Engine, EngineError, EngineParts

FILE: Final = "engine.toml"
CODE: Final = "engine.py"
GROUP: Final = "tawtin.engines"
"""The entry point group; the value is the name of a package whose folder has the two files."""


class Capabilities(Record, frozen=True, kw_only=True):
    """What an engine can do beyond starting, stopping and reporting, which every engine can."""

    types: tuple[WorkloadType, ...] = (WorkloadType.JOB,)
    gangs: bool = False
    """Several nodes for one run, each a machine of its own."""
    sandbox: bool = False
    """Runs of different tenants are kept apart."""
    network_isolation: bool = False
    """A run has no network unless its spec asks for it."""
    checkpoint_signal: bool = False
    """A run is signalled to save itself before it is preempted."""
    setup_cache: bool = False
    """The result of `setup` is kept for later runs."""
    gpus: bool = False
    gpus_declared: bool = False
    """GPUs that are not there can be declared, for trying things out."""
    energy: bool = False
    """The energy of GPUs is metered."""
    outlives_control_plane: bool = False
    """Runs go on while nobody watches, and are found again."""
    fuse: bool = False
    """A leased run ends at its deadline, whoever else is down; without it, leases of `rerun` are refused."""


class Manifest(Record, frozen=True, kw_only=True):
    """`engine.toml`."""

    name: Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9_-]{0,30}$")]
    title: str
    extra: str = ""
    """The optional dependencies that it needs: `tawtin[extra]`."""
    capabilities: Capabilities = Capabilities()
    settings: dict[str, Any] = {}
    """Every setting with its default; a test of the engine compares them with its record."""


class Found(Record, frozen=True, kw_only=True):
    """An engine that can be made."""

    manifest: Manifest
    folder: str
    module: str = ""
    """What to import; empty for a folder that is no package."""


def found(folders: tuple[str, ...] = ()) -> dict[str, Found]:
    """All engines by name; those of `folders` win over installed ones, these over our own. Raises EngineError."""
    here = Path(__file__).parent
    known: dict[str, Found] = {}
    for path in sorted(here.glob(f"*/{FILE}")):
        _add(known, path.parent, f"{__package__}.{path.parent.name}.engine")
    for entry in sorted(metadata.entry_points(group=GROUP), key=lambda entry: entry.name):
        spec = importlib.util.find_spec(entry.value)
        for place in (spec.submodule_search_locations or ()) if spec is not None else ():
            if Path(place, FILE).exists():
                _add(known, Path(place), f"{entry.value}.engine")
    for folder in folders:
        _add(known, Path(folder), "")
    return known


def _add(known: dict[str, Found], folder: Path, module: str) -> None:
    manifest = read(folder)
    known[manifest.name] = Found(manifest=manifest, folder=str(folder), module=module)


def read(folder: Path) -> Manifest:
    """Read the manifest of a folder. Raises EngineError, which names file and field."""
    path = folder / FILE
    try:
        return msgspec.convert(tomllib.loads(path.read_text("utf-8")), Manifest)
    except OSError as error:
        raise EngineError(f"`{folder}` is no engine: {error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise EngineError(f"{path}: {error}") from None


def load(engine: Found) -> ModuleType:
    """Import the code of an engine, which has `Settings` and `make`. Raises EngineError, with what to install."""
    manifest, path = engine.manifest, Path(engine.folder, CODE)
    try:
        module = importlib.import_module(engine.module) if engine.module else _from_file(manifest.name, path)
    except ImportError as error:
        mend = f"pip install 'tawtin[{manifest.extra}]'" if manifest.extra else "install what it needs"
        raise EngineError(f"engine `{manifest.name}` cannot be loaded ({error}): {mend}") from error
    for name in ("Settings", "make"):
        if not hasattr(module, name):
            raise EngineError(
                f"{path} has no `{name}`; an engine has a record `Settings` and a function `make(settings, parts)`"
            )
    return module


def _from_file(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tawtin_engine_{name}", path)
    if spec is None or spec.loader is None or not path.exists():
        raise EngineError(f"`{path}` is not there")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def settings_of(engine: Found, table: dict[str, Any]) -> Record:
    """The settings of one engine from its table in `factory.toml`. Raises msgspec.ValidationError, EngineError."""
    kind: type[Record] = load(engine).Settings
    return msgspec.convert(table, kind)


def probe(engine: Found, settings: Record, parts: EngineParts, *, deep: bool) -> Iterator[Finding]:
    """Look at the set-up of an engine, with the mend for what is wrong; `deep` also runs `true` on it.

    What is looked at is up to the engine's own `probe(settings, parts, deep=...)`. One that has none is opened.
    """
    try:
        module = load(engine)
        if hasattr(module, "probe"):
            yield from module.probe(settings, parts, deep=deep)
            return
        made: Engine = module.make(settings, parts)
        if deep:
            yield try_run(made)
        else:
            yield ok("engine", f"{engine.manifest.title}; `tawtin engine check` opens it")
    except EngineError as error:
        yield fault("engine", str(error), "mend what the message names, and look again")


def make(engine: Found, settings: Record, parts: EngineParts) -> Engine:
    """An engine with these settings; nothing happens before its `open`. Raises EngineError."""
    return load(engine).make(settings, parts)
