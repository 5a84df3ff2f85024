"""A factory for tests of the command: made by `tawtin init`, started by `tawtin up`, ended with the module."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

NAMES = ("TAWTIN_FACTORY", "TAWTIN_KEY", "TAWTIN_KEY_FILE", "TAWTIN_HOME")


@dataclass
class Told:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON
        """The last line of standard output."""
        return json.loads(self.out.splitlines()[-1])


@dataclass
class Home:
    """A folder with a factory in it, and the command as its user calls it."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        inherited = {name: value for name, value in os.environ.items() if name not in NAMES}
        self.environment = {**inherited, "TAWTIN_HOME": str(self.folder), "NO_COLOR": "1", **self.environment}

    def begin(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tawtin", *words],
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def tawtin(self, *words: str, **environment: str) -> Told:
        process = self.begin(*words, **environment)
        out, err = process.communicate(timeout=100)
        return Told(process.returncode, out, err)

    def up(self, *words: str) -> Any:  # noqa: ANN401 - JSON
        told = self.tawtin("up", "--detach", "--json", *words)
        assert told.code == 0, told.err
        return told.json

    def ran(self, *words: str) -> tuple[str, str]:
        """`tawtin run` with these words: what the run printed, and the node of its first rank."""
        told = self.tawtin("run", "-y", *words)
        assert told.code == 0, told.err
        newest = self.tawtin("ps", "--all", "--json").json["items"][0]["workload"]["id"]
        runs = self.tawtin("show", newest, "--json").json["runs"]
        return told.out, runs[0]["slots"][0]["node"]

    def pid(self) -> int:
        return int(json.loads((self.folder / "data" / "address.json").read_text())["pid"])

    def processes(self) -> list[int]:
        found: list[int] = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                alive = (entry / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
                named = str(self.folder).encode() in (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if alive and named:
                found.append(int(entry.name))
        return found

    def end(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in self.processes():
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    continue
            until = time.monotonic() + 10
            while self.processes() and time.monotonic() < until:
                time.sleep(0.05)


def made(folder: Path) -> Home:
    home = Home(folder)
    told = home.tawtin(
        "init", "--name", "Casablanca", "--port", "0", "--declare-gpus", "H100:4", "--cpu-hour", "100"
    )
    assert told.code == 0, told.err
    return home


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A factory of this test alone, not up."""
    home = made(tmp_path / "home")
    yield home
    home.end()


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A factory that is up, shared by the tests of a module."""
    home = made(tmp_path_factory.mktemp("factory") / "home")
    home.up()
    yield home
    home.end()
