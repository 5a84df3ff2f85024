"""Makes the engines that the settings name: this machine, and clusters."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tawtin.bootstrap.settings import FILE, SettingsError
from tawtin.engines import manifest
from tawtin.engines.fleet import Fleet
from tawtin.engines.local import engine as local
from tawtin.ports import EngineParts

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


def parts_of(settings: Settings, name: str, artifacts: Artifacts, key: str) -> EngineParts:
    """What the engine of this name is given. Its folder below the data is `engine` for this machine's."""
    folder = Path(settings.data, "engine") if name == "local" else Path(settings.data, "engines", name)
    mark = hashlib.sha256(f"{key} {name}".encode()).hexdigest()[:16]
    return EngineParts(name=name, root=str(folder), mark=mark, artifacts=artifacts)
