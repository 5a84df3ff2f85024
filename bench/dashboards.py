"""The dashboards of SkyPilot and GPUStack as PyPI ships them, each served on loopback from an environment of its own.

`sh tools/bootstrap.sh dashboards` makes the environments. Both start as their own command starts them, with nothing to
manage: SkyPilot needs no account; GPUStack, whose server alone is started, has an administrator whose first password
is given to it (one that it makes up has to be changed before a page opens), and its database is a PostgreSQL on a Unix
socket. Its listening on all addresses is turned into loopback.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx

from bench import paint
from tests.store.postgres_server import binaries, running_server

ROOT: Final = Path(__file__).parents[1]
START_S_MAX: Final = 180
_LOOPBACK: Final = """
import socket, sys
whole = socket.socket.bind
def bind(self, address):
    return whole(self, ("127.0.0.1", *address[1:]) if address[0] == "0.0.0.0" else address)
socket.socket.bind = bind
from gpustack.main import main
sys.exit(main())
"""


class Missing(Exception):
    """A dashboard that cannot be measured here; says why."""


@contextmanager
def skypilot() -> Generator[list[paint.Page]]:
    """Pages of SkyPilot's API server. Raises Missing."""
    program = _installed("skypilot", "sky")
    with tempfile.TemporaryDirectory(prefix="tawtin-sky-", ignore_cleanup_errors=True) as home:
        port = free_port()
        command = [program, "api", "start", "--foreground", "--host", "127.0.0.1", "--port", str(port)]
        environment = {
            "HOME": home,
            "PATH": f"{Path(program).parent}:{os.environ['PATH']}",
            "SKYPILOT_DISABLE_USAGE_COLLECTION": "1",
        }
        origin = f"http://127.0.0.1:{port}"
        with _running("SkyPilot", command, environment, f"{origin}/dashboard/clusters"):
            yield [
                paint.Page(name="SkyPilot's clusters", origin=origin, path="/dashboard/clusters"),
                paint.Page(name="SkyPilot's infra", origin=origin, path="/dashboard/infra"),
            ]


@contextmanager
def gpustack() -> Generator[list[paint.Page]]:
    """Pages of GPUStack's server: the one to sign in at, and the first one after it. Raises Missing."""
    python = _installed("gpustack", "python")
    if not (binaries() / "initdb").exists():
        raise Missing("needs: PostgreSQL (package postgresql)")
    with (
        running_server() as database,
        tempfile.TemporaryDirectory(prefix="tawtin-gpustack-", ignore_cleanup_errors=True) as home,
    ):
        port, password = free_port(), secrets.token_urlsafe(16)
        command = [
            *(python, "-c", _LOOPBACK, "start", "--data-dir", home, "--disable-worker", "--disable-metrics"),
            *("--api-port", str(port), "--port", str(free_port()), "--proxy-port", str(free_port())),
            *("--database-url", f"postgresql://test@/postgres?host={database.folder}"),
            *("--gateway-mode", "disabled", "--disable-builtin-observability", "--disable-update-check"),
            *("--bootstrap-password", password),
        ]
        origin = f"http://127.0.0.1:{port}"
        with _running("GPUStack", command, {"HOME": home, "PATH": os.environ["PATH"]}, f"{origin}/"):
            form = {"username": "admin", "password": password}
            answer = httpx.post(f"{origin}/auth/login", data=form, timeout=60).raise_for_status()
            yield [
                paint.Page(name="GPUStack's sign-in", origin=origin, path="/"),
                paint.Page(
                    name="GPUStack's first page", origin=origin, path="/", cookies=dict(answer.cookies)
                ),
            ]


def free_port() -> int:
    """A port of loopback that was free just now."""
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        number: int = tried.getsockname()[1]
        return number


def _installed(environment: str, program: str) -> str:
    found = ROOT / ".make" / environment / "bin" / program
    if not found.exists():
        raise Missing(f"`{environment}` is not installed: sh tools/bootstrap.sh dashboards")
    return str(found)


@contextmanager
def _running(name: str, command: list[str], environment: dict[str, str], ready: str) -> Generator[None]:
    """Run it in a session of its own until the block ends. Raises Missing with the end of what it said."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command,
            env=environment,
            stdout=said,
            stderr=said,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            until = time.monotonic() + START_S_MAX
            while not _answers(ready):
                if process.poll() is not None or time.monotonic() > until:
                    said.seek(0)
                    last = said.read().decode(errors="replace").strip().splitlines() or [""]
                    raise Missing(f"{name} did not start: {last[-1][:200]}")
                time.sleep(0.5)
            yield
        finally:
            _end(process)


def _answers(address: str) -> bool:
    try:
        return httpx.get(address, timeout=10).status_code == 200
    except httpx.TransportError:
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the session of a process: SIGTERM, and what is left of it after 20 s SIGKILL."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        members = _session(process.pid)
        for pid in members:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        until = time.monotonic() + 20
        while _session(process.pid) and time.monotonic() < until:
            process.poll()
            time.sleep(0.1)
    process.wait()


def _session(leader: int) -> list[int]:
    """Live processes of a session, wherever they have moved in the tree."""
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            found.append(int(entry.parent.name))
    return found
