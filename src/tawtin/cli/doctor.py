"""`tawtin doctor`: looks at this machine and at a factory's folder, and prints the mend for what is wrong."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from tawtin.cli import exits, output, parser, target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tawtin.model.findings import Finding as Check

SIGNS = {"ok": ("ok  ", "green"), "warning": ("weak", "yellow"), "fault": ("FAIL", "red")}


def _configure(verb: argparse.ArgumentParser) -> None:
    parser.example(
        verb,
        "tawtin doctor  # this machine, and the factory of $TAWTIN_HOME or ~/.tawtin",
        "tawtin doctor /srv/casablanca --deep  # rebuild all state from the log, recompute the Merkle root",
        "tawtin doctor --json | jq '.checks[] | select(.state != \"ok\")'",
    )
    verb.add_argument(
        "dir", nargs="?", metavar="DIR", help="folder with factory.toml; else $TAWTIN_HOME, else ~/.tawtin"
    )
    verb.add_argument(
        "--deep", action="store_true", help="rebuild the state from the log and compare every record"
    )
    parser.local(verb)
    verb.set_defaults(call=run)


def run(arguments: argparse.Namespace) -> int:
    """Check. Exit code 1 if something does not work; a weakness alone is no failure."""
    folder = Path(arguments.dir or target.home()).expanduser()
    found: list[Check] = []
    for check in _all(folder, deep=arguments.deep):
        found.append(check)
        if not arguments.json:
            show(check)
    faults = sum(check.state == "fault" for check in found)
    weak = sum(check.state == "warning" for check in found)
    if arguments.json:
        output.emit({"checks": found, "faults": faults, "warnings": weak})
    else:
        print(f"\n{len(found)} checks, {faults} faults, {weak} weaknesses")
    return exits.FAILED if faults else exits.OK


def _all(folder: Path, *, deep: bool) -> Iterator[Check]:
    from tawtin.cli import checks_factory, checks_gateway, checks_machine
    from tawtin.model import findings

    for look in checks_machine.CHECKS:
        yield from look()
    settings = None
    if (folder / target.FACTORY).exists():
        from tawtin.bootstrap.settings import SettingsError, load_settings

        try:
            settings = load_settings(folder)
        except SettingsError as error:
            yield findings.fault(
                "settings", str(error), "mend that line; docs/reference/settings.md has them all"
            )
    else:
        yield findings.warning("settings", f"there is no factory in {folder}", "tawtin init")
    yield from checks_machine.disk(Path(settings.data) if settings else folder)
    if settings is None:
        return
    yield findings.ok(
        "settings", f"{folder / target.FACTORY}: {settings.factory.name}, {settings.factory.country}"
    )
    for look in checks_factory.CHECKS:
        yield from look(settings)
    yield from checks_gateway.gateway(settings)
    if deep:
        yield from checks_factory.deep(settings)


def show(check: Check) -> None:
    """Print one finding, with its mend."""
    sign, colour = SIGNS[check.state]
    print(f"{output.paint(sign, colour)}  {check.name + ':':<18} {output.clean(check.found)}", flush=True)
    if check.mend:
        print(f"      {'mend:':<18} {check.mend}", flush=True)


VERBS = {"doctor": _configure}
