"""`tawtin up`: the factory in the foreground until SIGTERM or Ctrl-C, or behind with `--detach`. Runs outlive it.

As a service of systemd it says when it is up, so that whoever waits for the unit waits for the factory.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tawtin.cli import exits, output, parser, target

if TYPE_CHECKING:
    from tawtin.bootstrap.settings import Settings
    from tawtin.runtime.service import Service

READY_S = 60
LOG = "factory.log"


def _configure(verb: argparse.ArgumentParser) -> None:
    parser.example(
        verb,
        "tawtin up  # the factory of $TAWTIN_HOME, or ~/.tawtin, in the foreground",
        "tawtin up /srv/casablanca --detach  # behind; its own log goes to data/factory.log",
        "tawtin up lab --set api.port=0 --set telemetry.log_format=json",
    )
    verb.add_argument(
        "dir", nargs="?", metavar="DIR", help="folder with factory.toml; else $TAWTIN_HOME, else ~/.tawtin"
    )
    verb.add_argument("--detach", action="store_true", help="return once it is up")
    verb.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="NAME=VALUE",
        help="another value for one setting, such as api.port=0",
    )
    verb.add_argument(
        "--restored",
        default="",
        metavar="WHY",
        help="its journal was put back from a backup: ask peers what they know before anything is placed",
    )
    parser.local(verb)
    verb.set_defaults(call=run)


def run(arguments: argparse.Namespace) -> int:
    """Start a factory."""
    folder = Path(arguments.dir or target.home()).expanduser()
    settings = settings_of(folder, arguments.overrides)
    if arguments.detach:
        return _detach(folder, settings, arguments)
    from tawtin.bootstrap.logs import configure_logs
    from tawtin.ports import JournalError

    configure_logs(settings.telemetry)
    try:
        _serve(settings, as_json=arguments.json, restored=arguments.restored)
    except JournalError as error:
        held = "in use by" in str(error)
        raise exits.Fault(str(error), exits.CONFLICT if held else exits.FACTORY) from None
    except (OSError, ValueError) as error:  # a ValueError is a setting that cannot be met
        raise exits.Fault(
            f"the factory did not start: {error}",
            exits.FACTORY,
            hint="`tawtin doctor` looks for what is wrong",
        ) from None
    if not arguments.json:
        output.note("the factory is down; its runs go on, and `tawtin up` adopts them")
    return exits.OK


def settings_of(folder: Path, overrides: list[str]) -> Settings:
    """Read the settings. Raises Fault."""
    from tawtin.bootstrap.settings import SettingsError, load_settings

    changed: dict[str, str] = {}
    for each in overrides:
        name, equals, value = each.partition("=")
        if not equals:
            raise exits.Fault(f"--set: `{each}` has no value", hint="write it as --set api.port=0")
        changed[name] = value
    try:
        return load_settings(folder, changed)
    except SettingsError as error:
        raise exits.Fault(str(error)) from None


def _serve(settings: Settings, *, as_json: bool, restored: str = "") -> None:
    import uvloop

    from tawtin.bootstrap.wire import run_factory

    async def serve() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def end() -> None:
            tell_manager("STOPPING=1\n")
            stop.set()

        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, end)

        def announce(url: str, service: Service) -> None:
            _announce(settings, url, service, as_json=as_json)
            tell_manager(f"READY=1\nSTATUS=up at {url}\n")

        await run_factory(settings, stop, announce, restored=restored)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


def tell_manager(said: str) -> None:
    """Tell the service manager that started this process, if one did and listens: sd_notify(3)."""
    place = os.environ.get("NOTIFY_SOCKET", "")
    if not place.startswith(("/", "@")):
        return
    address = "\0" + place[1:] if place.startswith("@") else place
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.settimeout(0)  # a manager that does not read must not hold the factory
        channel.sendto(said.encode(), address)


def _announce(settings: Settings, url: str, service: Service, *, as_json: bool) -> None:
    runs = len(service.state.runs)
    gateway = service.gateway.url if service.gateway is not None else ""
    if as_json:
        said: dict[str, object] = {
            "url": url,
            "name": settings.factory.name,
            "isolated": service.site.isolated,
            "adopted": runs,
        }
        output.emit({**said, "gateway": gateway} if gateway else said)
        sys.stdout.flush()
        return
    place = f"{settings.factory.name} ({settings.factory.country})"
    print(f"{place} is up at {url}")
    if gateway:
        print(f"  models: {gateway}")
    for each in service.engine.notes():
        print(f"  note: {each}")
    if not service.site.isolated:
        print("  NO SANDBOX: runs are not kept apart, so only the owner's work is taken")
    if runs:
        print(f"  {runs} runs were under way and go on")
    print(f"  data: {settings.data}; stop with Ctrl-C or SIGTERM, runs go on", flush=True)


def _detach(folder: Path, settings: Settings, arguments: argparse.Namespace) -> int:
    data = Path(settings.data)
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    words = [sys.executable, "-m", "tawtin", "up", str(folder)]
    words += [word for each in arguments.overrides for word in ("--set", each)]
    if arguments.restored:
        words += ["--restored", arguments.restored]
    place = data / LOG
    with place.open("ab") as log:
        begins = log.tell()
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/"
        )
    address = _wait_up(process, data / "address.json")
    if address is None:
        said = place.read_bytes()[begins:].decode(errors="replace").strip().splitlines()
        code = process.returncode if process.returncode in exits.MEANINGS else exits.FACTORY
        errors = [line.removeprefix("error: ") for line in said if line.startswith("error: ")]
        message = "\n".join(errors) or "\n".join(["the factory did not start", *said[-5:]])
        raise exits.Fault(message, code or exits.FACTORY, hint=f"its log is `{place}`")
    if arguments.json:
        output.emit({"url": address, "pid": process.pid, "log": str(place)})
    else:
        print(f"{settings.factory.name} is up at {address} (process {process.pid}, log {place})")
        print(f"stop it with: kill {process.pid}   # runs go on")
    return exits.OK


def _wait_up(process: subprocess.Popen[bytes], file: Path) -> str | None:
    """The address once this very process has written it; None if it ended or took too long."""
    until = time.monotonic() + READY_S
    while process.poll() is None:
        address = target.read_address(str(file))
        if address.get("pid") == str(process.pid):
            return address["url"]
        if time.monotonic() > until:
            process.terminate()
            process.wait()
            return None
        time.sleep(0.02)
    return None


VERBS = {"up": _configure}
