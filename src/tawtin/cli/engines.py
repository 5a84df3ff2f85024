"""`tawtin engine`: attach what runs work, find out whether it is set up rightly, and take it away again."""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tawtin.cli import exits, output, parser, target

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tawtin.bootstrap.settings import Settings
    from tawtin.model.findings import Finding

ADDED = "# added by `tawtin engine add`"
AT_ONCE = 4


def _configure(verb: argparse.ArgumentParser) -> None:
    parser.example(
        verb,
        "tawtin engine list",
        "tawtin engine add slurm --set root=/shared/tawtin --set 'partitions=[\"gpu\"]'",
        "tawtin engine check slurm  # its set-up, and a run of `true`",
        "tawtin engine check slurm --cases  # everything that an engine has to do",
        "tawtin engine remove slurm",
    )
    actions = parser.verbs(verb)
    listed = parser.sub(
        actions, "list", "list the kinds of engines that there are, and those of this factory"
    )
    parser.example(listed, "tawtin engine list --json")
    listed.set_defaults(call=list_)
    add = parser.sub(actions, "add", "look at a cluster, and write it into factory.toml if all is well")
    parser.example(
        add,
        "tawtin engine add slurm --set root=/shared/tawtin",
        "tawtin engine add slurm hpc --set conf=/etc/slurm/slurm.conf --set account=tawtin",
        "tawtin engine add mine --folder ./my-engine  # an engine of your own",
    )
    add.add_argument("kind", metavar="KIND", help="such as slurm; `tawtin engine list` has them all")
    add.add_argument("name", metavar="NAME", nargs="?", help="what to call it here; else as its kind")
    add.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="a setting; docs/reference/settings.md",
    )
    add.add_argument("--folder", metavar="DIR", help="where the engine is, if it is your own")
    add.add_argument("--no-run", action="store_true", help="do not run `true` on it first")
    add.set_defaults(call=add_)
    check = parser.sub(
        actions, "check", "look at the set-up of an engine of this factory, and run `true` on it"
    )
    parser.example(check, "tawtin engine check slurm", "tawtin engine check slurm --cases gang")
    check.add_argument("name", metavar="NAME", help="as in [engines.NAME]")
    check.add_argument(
        "--cases", nargs="?", const="", metavar="WORD",
        help="put it through the cases that every engine has to pass; with WORD, those that have it in their names",
    )  # fmt: skip
    check.set_defaults(call=check_)
    remove = parser.sub(actions, "remove", "take an engine that runs nothing out of factory.toml")
    parser.example(remove, "tawtin engine remove slurm")
    remove.add_argument("name", metavar="NAME", help="as in [engines.NAME]")
    remove.set_defaults(call=remove_)
    for action in actions.choices.values():
        action.add_argument(
            "--dir", metavar="DIR", help="folder of factory.toml; else $TAWTIN_HOME, else ~/.tawtin"
        )
        parser.local(action)


def _settings(arguments: argparse.Namespace) -> tuple[Path, Settings]:
    from tawtin.bootstrap.settings import SettingsError, load_settings

    folder = Path(arguments.dir or target.home()).expanduser().resolve()
    try:
        return folder / target.FACTORY, load_settings(folder)
    except SettingsError as error:
        raise exits.Fault(str(error)) from None


def _table(settings: Settings, name: str) -> dict[str, Any]:
    if name not in settings.engines:
        there = ", ".join(sorted(settings.engines)) or "none yet"
        raise exits.Fault(
            f"there is no engine `{name}` in {target.FACTORY}; there is {there}",
            exits.NOT_FOUND,
            hint="tawtin engine add KIND",
        )
    return settings.engines[name]


# --- list ------------------------------------------------------------------------------------------------------------


def list_(arguments: argparse.Namespace) -> int:
    """Print kinds, and the factory's own."""
    from tawtin.engines import manifest

    _, settings = _settings(arguments)
    kinds = manifest.found()
    used = {name: str(table["use"]) for name, table in settings.engines.items()}
    if settings.local.enabled:
        used = {"local": "local", **used}
    if arguments.json:
        output.emit({"kinds": [each.manifest for each in kinds.values()], "engines": used})
        return exits.OK
    rows = [
        [name, each.manifest.title, ", ".join(n for n, kind in used.items() if kind == name) or "-"]
        for name, each in sorted(kinds.items())
    ]
    rows += [[kind, "your own", name] for name, kind in used.items() if kind not in kinds]
    print(output.columns(["KIND", "WHAT", "HERE AS"], rows))
    return exits.OK


# --- add -------------------------------------------------------------------------------------------------------------


def add_(arguments: argparse.Namespace) -> int:
    """Probe, then write; what is half right is refused with the mend."""
    file, settings = _settings(arguments)
    name = arguments.name or arguments.kind
    if name in settings.engines:
        raise exits.Fault(
            f"`{name}` is in {file} already",
            exits.CONFLICT,
            hint=f"tawtin engine check {name}, or give another NAME",
        )
    if arguments.kind == "local":
        raise exits.Fault("this machine is no engine to add", hint=f"set `enabled` under [local] in {file}")
    table = _given(arguments)
    before = file.read_text("utf-8")
    text = before.rstrip("\n") + "\n\n" + _text(name, table)
    settings = _proved(file, text)
    _look(arguments, settings, name, deep=not arguments.no_run)
    _replace(file, text)
    if arguments.json:
        return exits.OK
    print(f"\n{file}: [engines.{name}] is added")
    print("next:     tawtin up (start the factory again, if it is up), then tawtin capacity")
    return exits.OK


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    table: dict[str, Any] = {"use": arguments.kind}
    if arguments.folder:
        table["folder"] = str(Path(arguments.folder).resolve())
    for each in arguments.set:
        field, equals, value = each.partition("=")
        if not equals or not re.fullmatch("[a-z][a-z0-9_]*", field):
            raise exits.Fault(f"--set: `{each}` is not understood", hint="write it like --set account=tawtin")
        try:
            table[field] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            table[field] = value
    return table


def _text(name: str, table: dict[str, Any]) -> str:
    lines = [f"[engines.{name}]  {ADDED}"]
    return "\n".join([*lines, *(f"{field} = {_toml(value)}" for field, value in table.items())]) + "\n"


def _toml(value: object) -> str:
    """Text, numbers, truth and lists are written in TOML as in JSON."""
    if isinstance(value, dict):
        fields = cast("dict[str, object]", value)
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(each)}" for key, each in fields.items()) + " }"
    return json.dumps(value, ensure_ascii=False)


def _proved(file: Path, text: str) -> Settings:
    """The settings that this text would give. Raises Fault, with nothing written."""
    from tawtin.bootstrap.settings import SettingsError, load_settings

    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".engine-") as folder:
        draft = Path(folder, target.FACTORY)
        draft.write_text(text, "utf-8")
        try:
            found = load_settings(draft)
        except SettingsError as error:
            raise exits.Fault(str(error).replace(str(draft), str(file))) from None
    import msgspec

    data = Path(found.data)
    moved = data.relative_to(Path(folder)) if data.is_relative_to(folder) else data
    return msgspec.structs.replace(found, data=str((file.parent / moved).resolve()))


def _replace(file: Path, text: str) -> None:
    """All of the file, or nothing; its mode stays."""
    draft = file.with_name(f".{file.name}.new")
    try:
        with os.fdopen(
            os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, file.stat().st_mode & 0o777), "w"
        ) as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        draft.replace(file)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise exits.Fault(f"cannot write {file}: {error}", hint="nothing was changed") from None


def _look(arguments: argparse.Namespace, settings: Settings, name: str, *, deep: bool) -> list[Finding]:
    """Print what is found as it is found. Raises Fault if something is wrong."""
    from tawtin.bootstrap.engines import look_at
    from tawtin.cli.doctor import show

    found: list[Finding] = []
    for each in look_at(settings, name, _table(settings, name), deep=deep):
        found.append(each)
        if not arguments.json:
            show(each)
    if arguments.json:
        output.emit({"checks": found})
    if any(each.state == "fault" for each in found):
        raise exits.Fault(
            f"`{name}` is not set up rightly", exits.FAILED, hint="do what `mend` says, and try again"
        )
    return found


# --- check, remove ---------------------------------------------------------------------------------------------------


def check_(arguments: argparse.Namespace) -> int:
    """Look, run `true`; with --cases, put it through what every engine has to do."""
    _, settings = _settings(arguments)
    table = _table(settings, arguments.name)
    if arguments.cases is None:
        _look(arguments, settings, arguments.name, deep=True)
        return exits.OK
    from tawtin.bootstrap.engines import bench_of, engine_of
    from tawtin.bootstrap.settings import SettingsError
    from tawtin.engines.conformance import put_through
    from tawtin.ports import EngineError

    try:
        kind, given = engine_of(arguments.name, table)
        root = str(getattr(given, "root", "")) or str(Path(settings.data, "engines"))
        Path(root).mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix="cases-", ignore_cleanup_errors=True) as folder:
            make = bench_of(arguments.name, table, Path(folder))
            capabilities = kind.manifest.capabilities
            results = put_through(make, capabilities, arguments.cases, at_once=AT_ONCE)
            return _told(arguments, results)
    except (SettingsError, EngineError, OSError) as error:
        raise exits.Fault(str(error), hint=f"tawtin engine check {arguments.name}") from None


def _told(arguments: argparse.Namespace, results: Iterable[Any]) -> int:
    failed = count = 0
    rows: list[dict[str, str]] = []
    for result in results:
        count += 1
        failed += bool(result.failure)
        state = "left out" if result.left_out else "FAIL" if result.failure else "ok"
        rows.append({"case": result.case.sentence, "state": state, "failure": result.failure})
        if not arguments.json:
            colour = {"ok": "green", "FAIL": "red", "left out": "yellow"}[state]
            print(f"{output.paint(state.ljust(8), colour)}  {result.case.sentence}", flush=True)
            if result.failure:
                print(f"          {output.clean(result.failure)}")
    if not count:
        raise exits.Fault(f"no case has `{arguments.cases}` in its name", exits.NOT_FOUND)
    if arguments.json:
        output.emit({"cases": rows, "failed": failed})
    else:
        print(f"\n{count} cases, {failed} failed")
    return exits.FAILED if failed else exits.OK


def remove_(arguments: argparse.Namespace) -> int:
    """Take the table out, unless that would lose work."""
    from tawtin.bootstrap.engines import remembered
    from tawtin.bootstrap.settings import SettingsError
    from tawtin.cli.checks_factory import running_pid
    from tawtin.ports import EngineError

    file, settings = _settings(arguments)
    table = _table(settings, arguments.name)
    pid = running_pid(settings)
    if pid:
        raise exits.Fault(
            f"the factory is up, process {pid}",
            exits.CONFLICT,
            hint="tawtin capacity --drain NODE for its nodes; end the factory when they run nothing; try again",
        )
    try:
        runs = remembered(settings, arguments.name, table)
    except (SettingsError, EngineError) as error:
        raise exits.Fault(
            f"nobody knows what runs at `{arguments.name}`: {error}",
            hint=f"tawtin engine check {arguments.name}",
        ) from None
    if runs:
        raise exits.Fault(
            f"{len(runs)} runs are at `{arguments.name}`: {', '.join(runs[:5])}",
            exits.CONFLICT,
            hint="tawtin up, tawtin capacity --drain NODE for its nodes, and try again when they run nothing",
        )
    text = _without(file.read_text("utf-8"), arguments.name)
    _proved(file, text)
    _replace(file, text)
    if arguments.json:
        output.emit({"removed": arguments.name})
    else:
        print(f"{file}: [engines.{arguments.name}] is taken out")
    return exits.OK


def _without(text: str, name: str) -> str:
    """The text less the table of an engine, and tables below it."""
    kept: list[str] = []
    inside = found = False
    for line in text.splitlines(keepends=True):
        header = re.match(r"\s*\[+\s*([^\]]+?)\s*\]", line)
        if header:
            inside = re.sub(r"[\s\"']", "", header[1]).split(".")[:2] == ["engines", name]
            found |= inside
        if not inside:
            kept.append(line)
    if not found:
        raise exits.Fault(
            f"`{name}` is not written as a table [engines.{name}] of its own", hint="take it out by hand"
        )
    return "".join(kept).rstrip("\n") + "\n"


VERBS = {"engine": _configure}
