"""Makes the engines that the settings name: this machine, and clusters."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tawtin.bootstrap.settings import FILE, SettingsError
from tawtin.engines import manifest
from tawtin.engines.conformance import Bench
from tawtin.engines.fleet import Fleet
from tawtin.engines.local import engine as local
from tawtin.model.findings import Finding, fault, ok
from tawtin.model.workload import WorkloadType
from tawtin.ports import EngineError, EngineParts
from tawtin.store.artifacts import BlobArtifacts
from tawtin.store.blobs import LocalBlobs

if TYPE_CHECKING:
    from tawtin.bootstrap.settings import Settings
    from tawtin.engines.manifest import Found
    from tawtin.model.base import Record
    from tawtin.ports import Artifacts, Engine


def make_engine(settings: Settings, artifacts: Artifacts, key: str) -> Engine:
    """All engines of a factory as one; `key` is the factory's own. Raises EngineError, SettingsError."""
    made: list[Engine] = []
    if settings.local.enabled:
        made.append(local.make(settings.local, parts_of(settings, "local", artifacts, key)))
    for name, table in settings.engines.items():
        kind, given = engine_of(name, table)
        made.append(manifest.make(kind, given, parts_of(settings, name, artifacts, key)))
    return made[0] if len(made) == 1 else Fleet(made)


def engine_of(name: str, table: dict[str, Any]) -> tuple[Found, Record]:
    """Which engine `[engines.NAME]` asks for, and its settings. Raises EngineError, SettingsError."""
    use, folder = str(table["use"]), str(table.get("folder", ""))
    known = manifest.found((folder,) if folder else ())
    del known["local"]  # this machine has [local], and is one
    if use not in known:
        there = "; ".join(f"{each} ({found.manifest.title})" for each, found in sorted(known.items()))
        msg = f"{FILE}: engines.{name}.use: there is no engine `{use}`; there is {there}"
        raise SettingsError(msg)
    rest = {field: value for field, value in table.items() if field not in {"use", "folder"}}
    try:
        return known[use], manifest.settings_of(known[use], rest)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `$.")
        field = f"engines.{name}.{place.rstrip('`')}".rstrip(".")
        msg = f"{FILE}: {field}: {text[:1].lower()}{text[1:]}"
        raise SettingsError(msg) from error


def portless(settings: Settings) -> tuple[str, ...]:
    """The engines that run no services, by name. Raises EngineError, SettingsError."""
    kinds = {name: engine_of(name, table)[0] for name, table in settings.engines.items()}
    return tuple(
        name
        for name, kind in sorted(kinds.items())
        if WorkloadType.SERVICE not in kind.manifest.capabilities.types
    )


def look_at(settings: Settings, name: str, table: dict[str, Any], *, deep: bool) -> Iterator[Finding]:
    """Look at the set-up of the engine `[engines.NAME]`, whether its factory is up or not."""
    try:
        kind, given = engine_of(name, table)
    except SettingsError as error:
        yield fault("settings", str(error), "mend that table; docs/reference/settings.md has its fields")
        return
    except EngineError as error:
        yield fault("settings", str(error), "do what the message says, and look again")
        return
    yield ok("kind", f"{kind.manifest.title} ({kind.folder})")
    with tempfile.TemporaryDirectory(prefix="tawtin-probe-") as folder:
        artifacts = BlobArtifacts(LocalBlobs(Path(folder)))
        yield from manifest.probe(kind, given, parts_of(settings, name, artifacts, "probe"), deep=deep)


def remembered(settings: Settings, name: str, table: dict[str, Any]) -> list[str]:
    """Runs that the engine has and that are not over. Raises EngineError if a factory has it open, SettingsError."""
    kind, given = engine_of(name, table)
    with tempfile.TemporaryDirectory(prefix="tawtin-probe-") as folder:
        artifacts = BlobArtifacts(LocalBlobs(Path(folder)))
        engine = manifest.make(kind, given, parts_of(settings, name, artifacts, "probe"))
        engine.open(lambda: None)
        try:
            return sorted(run for run, over in engine.started().items() if not over)
        finally:
            engine.close()


def bench_of(name: str, table: dict[str, Any], folder: Path) -> Callable[[int], Bench]:
    """Benches of this engine for the conformance cases, each with a folder of its own below `folder`.

    Raises EngineError, SettingsError.
    """
    kind, given = engine_of(name, table)

    def make(number: int) -> Bench:
        own = folder / str(number)
        (own / "shared").mkdir(parents=True)
        artifacts = BlobArtifacts(LocalBlobs(own / "blobs"))
        mark = hashlib.sha256(str(own).encode()).hexdigest()[:16]
        parts = EngineParts(name=name, root=str(own / "engine"), mark=mark, artifacts=artifacts)
        mine: dict[str, Any] = {"root": str(own / "engine")} if getattr(given, "root", "") else {}
        exposed: tuple[str, ...] | None = getattr(given, "expose", None)
        if exposed is not None:
            mine["expose"] = (*exposed, str(own / "shared"))
        return Bench(
            make=lambda: manifest.make(kind, msgspec.structs.replace(given, **mine), parts),
            artifacts=artifacts,
            folder=own,
            shared=own / "shared",
        )

    return make


def parts_of(settings: Settings, name: str, artifacts: Artifacts, key: str) -> EngineParts:
    """What the engine of this name is given. Its folder below the data is `engine` for this machine's."""
    folder = Path(settings.data, "engine") if name == "local" else Path(settings.data, "engines", name)
    mark = hashlib.sha256(f"{key} {name}".encode()).hexdigest()[:16]
    return EngineParts(name=name, root=str(folder), mark=mark, artifacts=artifacts)
