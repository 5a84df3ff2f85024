"""A real factory for benchmarks: made by `tawtin init`, started by `tawtin up`, in a temporary folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tawtin.client import Client


class Live:
    """A factory that is up."""

    def __init__(self, folder: Path, url: str, key: str, pid: int) -> None:
        self.folder = folder
        self.url = url
        self.key = key
        self.pid = pid
        self.environment = {**os.environ, "TAWTIN_HOME": str(folder)}

    def client(self) -> Client:
        """A new client."""
        return Client(self.url, self.key)


def tawtin(environment: dict[str, str], *words: str) -> str:
    """Run the command. Raises CalledProcessError."""
    command = [sys.executable, "-m", "tawtin", *words]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


def processes(folder: Path) -> list[int]:
    """Live processes whose command line names the folder."""
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            named = str(folder).encode() in (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if named and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return found


def end(folder: Path) -> None:
    """End every process of the factory in this folder."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in processes(folder):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        until = time.monotonic() + 5
        while processes(folder) and time.monotonic() < until:
            time.sleep(0.02)


@contextmanager
def factory(*settings: str, words: tuple[str, ...] = ("--name", "bench")) -> Generator[Live]:
    """A factory that is up, made by `init` with `words`; `settings` are further `NAME=VALUE`.

    Everything is ended with the block.
    """
    with tempfile.TemporaryDirectory(prefix="tawtin-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        environment = {**os.environ, "TAWTIN_HOME": name}
        for each in ("TAWTIN_FACTORY", "TAWTIN_KEY", "TAWTIN_KEY_FILE"):
            environment.pop(each, None)
        try:
            tawtin(environment, "init", *words, "--port", "0")
            given = [word for each in settings for word in ("--set", each)]
            up = json.loads(tawtin(environment, "up", "--detach", "--json", *given))
            key = (folder / "data" / "owner.key").read_text().strip()
            yield Live(folder, up["url"], key, up["pid"])
        finally:
            end(folder)
