"""The factory of the demonstration, used as a person would: by the command `tawtin` and real processes alone."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

STARTED_S = 30
JUPYTER: Final = Path(__file__).parents[1] / ".make" / "jupyter"
"""Where JupyterLab is for workspaces, if it is there (sh tools/bootstrap.sh jupyter)."""


class Place(NamedTuple):
    """A factory of the demonstration."""

    name: str
    country: str
    currency: str
    gpus: int
    minor_per_gpu_hour: int
    """What a GPU hour costs in its currency; made up, and what its peers take from it."""
    at: tuple[float, float]
    """Latitude and longitude, for the map."""


PLACES: Final = (
    Place("Casablanca", "MA", "MAD", 4, 3_500, (33.6, -7.6)),
    Place("Cape Town", "ZA", "ZAR", 8, 6_500, (-33.9, 18.4)),
    Place("Cairo", "EG", "EGP", 2, 17_000, (30.0, 31.2)),
    Place("Nairobi", "KE", "KES", 4, 45_000, (-1.3, 36.8)),
    Place("Lagos", "NG", "NGN", 4, 530_000, (6.5, 3.4)),
)


class DemoError(Exception):
    """A step could not be done at all."""


class Command:
    """A running `tawtin` command whose output is shown and kept."""

    def __init__(self, words: list[str], environment: dict[str, str], *, quiet: bool) -> None:
        self.lines: list[tuple[float, str]] = []
        """(time of arrival, line) of standard output and error together."""
        self.quiet = quiet
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tawtin", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
            env=environment,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        output = self.process.stdout
        if output is None:
            return
        with output:
            for line in output:
                self.lines.append((time.time(), line.rstrip("\n")))
                if not self.quiet:
                    print(f"   {line}", end="", flush=True)

    def wait(self, seconds: float) -> int:
        """Wait for its end; return the exit code. Raises DemoError."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise DemoError(f"`tawtin` was not done after {seconds:g} s") from None
        self._reader.join(5)
        return code

    def wait_for(self, text: str, seconds: float) -> str:
        """Wait until a line holds `text`; return that line. Raises DemoError."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for _, line in list(self.lines):
                if text in line:
                    return line
            if self.process.poll() is not None and not self._reader.is_alive():
                break
            time.sleep(0.02)
        raise DemoError(f"`{text}` was not seen within {seconds:g} s")


class Factory:
    """A factory in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "TAWTIN_HOME": str(folder), "NO_COLOR": "1"}
        for name in ("TAWTIN_FACTORY", "TAWTIN_KEY", "TAWTIN_KEY_FILE"):
            self.environment.pop(name, None)

    def begin(self, *words: str, quiet: bool = False) -> Command:
        """Start a command and show it."""
        if not quiet:
            print(f"   $ tawtin {shlex.join(words)}", flush=True)
        return Command(list(words), self.environment, quiet=quiet)

    def run(self, *words: str, quiet: bool = False, want: tuple[int, ...] = (0,), seconds: float = 90) -> str:
        """Run a command to its end and return its output. Raises DemoError if the exit code is none of `want`."""
        command = self.begin(*words, quiet=quiet)
        code = command.wait(seconds)
        output = "\n".join(line for _, line in command.lines)
        if code not in want:
            raise DemoError(f"`tawtin {shlex.join(words)}` ended with {code}:\n{output}")
        return output

    def ask(self, *words: str, want: tuple[int, ...] = (0,)) -> Any:  # noqa: ANN401 - JSON
        """Run a command with `--json` and return what it prints."""
        output = self.run(*words, "--json", quiet=True, want=want)
        return json.loads(output.splitlines()[-1])

    # --- life --------------------------------------------------------------------------------------------------------

    def make(self, place: Place) -> None:
        """Write its settings: GPUs are declared, and this Python is readable for runs."""
        exposed = dict.fromkeys([sys.prefix, sys.base_prefix, sysconfig.get_paths()["stdlib"]])
        if (JUPYTER / "ready").exists():
            exposed[str(JUPYTER)] = None
        outside = [path for path in exposed if not Path(path).resolve().is_relative_to("/usr")]
        words = ["--name", place.name, "--country", place.country, "--currency", place.currency]
        words += ["--operator", "Example Telecom", "--port", "0", "--declare-gpus", f"H100:{place.gpus}"]
        words += ["--cpu-hour", "100", "--gpu-hour", str(place.minor_per_gpu_hour)]
        words += [word for path in outside for word in ("--expose", path)]
        self.run("init", str(self.folder), *words)
        places = ", ".join(f'"{each.name}" = [{each.at[0]}, {each.at[1]}]' for each in PLACES)
        with (self.folder / "factory.toml").open("a") as settings:
            settings.write(f"\n[console]\nplaces = {{{places}}}\n")

    def up(self) -> dict[str, Any]:
        """Start it behind; return address and process."""
        print("   $ tawtin up --detach", flush=True)
        return self.ask("up", "--detach")

    def address(self) -> dict[str, Any]:
        """What the running factory says of itself: `url`, `pid`."""
        return json.loads((self.folder / "data" / "address.json").read_text())

    def kill(self) -> int:
        """SIGKILL the control plane, nothing else; return its process id once it is gone."""
        pid = int(self.address()["pid"])
        print(f"   $ kill -9 {pid}", flush=True)
        os.kill(pid, signal.SIGKILL)
        _wait_gone(pid)
        return pid

    def end(self) -> None:
        """End everything that was started: every process that has this folder in its command line."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in self.processes():
                _signal(pid, number)
            until = time.monotonic() + 5
            while self.processes() and time.monotonic() < until:
                time.sleep(0.05)

    def processes(self) -> list[int]:
        """Processes of this factory: those whose command line names its folder."""
        found: list[int] = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                words = (entry / "cmdline").read_bytes()
                zombie = (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            except OSError:
                continue
            if str(self.folder).encode() in words and not zombie and int(entry.name) != os.getpid():
                found.append(int(entry.name))
        return found


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _wait_gone(pid: int) -> None:
    until = time.monotonic() + STARTED_S
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return
        if state == "Z":
            return
        time.sleep(0.01)
    raise DemoError(f"process {pid} did not go")
