"""Reads a unit of systemd, and plays the manager for it: its command, environment, user, and notification socket."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
import venv
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy" / "systemd" / "tawtin.service"
PLACES = {"%S": "/var/lib", "%C": "/var/cache"}
"""Specifiers that the unit uses, as the system's manager resolves them."""


def settings(text: str, section: str) -> dict[str, list[str]]:
    """All values of each key of a section, in their order."""
    found: dict[str, list[str]] = {}
    here = ""
    for line in text.splitlines():
        if line.startswith("["):
            here = line.strip("[]")
        elif "=" in line and not line.startswith("#") and here == section:
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def resolved(text: str) -> str:
    """A value with its specifiers replaced."""
    for specifier, place in PLACES.items():
        text = text.replace(specifier, place)
    return text


@dataclass(kw_only=True)
class Manager:
    """Starts the unit's command as the unit says: on a read-only system, with the unit's own folders in it.

    The system is this machine's with the checkout as /opt/tawtin, or the one that lies in `root`.
    """

    folder: Path
    """For what this one makes; deleted at the end."""
    uid: int
    root: Path | None = None
    service: dict[str, list[str]] = field(default_factory=lambda: settings(UNIT.read_text(), "Service"))
    started: list[subprocess.Popen[str]] = field(default_factory=list[subprocess.Popen[str]])

    def __post_init__(self) -> None:
        self.channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.address = f"tawtin-test-{os.getpid()}-{self.uid}"
        self.channel.bind(f"\0{self.address}")
        self.channel.settimeout(60)
        base = self.root or self.folder
        self.state, self.cache = base / "var/lib/tawtin", base / "var/cache/tawtin"
        for each in (self.state, self.cache):  # as StateDirectory= and CacheDirectory= do
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.chown(each, self.uid, self.uid)
        self.places = self._mounted() if self.root else self._installed()

    def _mounted(self) -> list[str]:
        return ["--ro-bind", str(self.root), "/"]

    def _installed(self) -> list[str]:
        """This system, and in it what the how-to installs: this checkout, its environment in the place of wheels."""
        opt = self.folder / "opt"
        venv.create(opt, symlinks=True, with_pip=False)
        (next((opt / "lib").glob("python3*/site-packages")) / "here.pth").write_text(
            "/opt/tawtin/packages\n/opt/tawtin/src\n"
        )
        for name in ("packages", "src"):
            (opt / name).mkdir()
        command = opt / "bin" / "tawtin"
        command.write_text(
            "#!/opt/tawtin/bin/python\nfrom tawtin.cli.main import main\nraise SystemExit(main())\n"
        )
        command.chmod(0o755)
        return [
            *("--ro-bind", "/", "/"),
            *(word for hidden in ("/opt", "/var/lib", "/var/cache") for word in ("--tmpfs", hidden)),
            *("--ro-bind", str(opt), "/opt/tawtin"),
            *("--ro-bind", str(Path(msgspec.__file__).parents[1]), "/opt/tawtin/packages"),
            *("--ro-bind", str(ROOT / "src"), "/opt/tawtin/src"),
        ]

    def environment(self) -> dict[str, str]:
        """What the unit sets, beside what the manager always does."""
        said = dict(shlex.split(resolved(each))[0].split("=", 1) for each in self.service["Environment"])
        return {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "HOME": "/var/lib/tawtin",
            "NOTIFY_SOCKET": f"@{self.address}",
            **said,
        }

    def words(self, *command: str) -> list[str]:
        """The command with ProtectSystem=strict, ProtectHome=yes, no capability, no new privileges, and its user."""
        return [
            *("bwrap", *self.places),
            *("--dev-bind", "/dev", "/dev", "--bind", "/proc", "/proc", "--bind", "/sys", "/sys"),
            *("--tmpfs", "/home", "--tmpfs", "/root"),
            *("--bind", str(self.state), "/var/lib/tawtin", "--bind", str(self.cache), "/var/cache/tawtin"),
            *("--chdir", "/", "setpriv"),
            *("--reuid", str(self.uid), "--regid", str(self.uid), "--clear-groups"),
            *("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--"),
            *command,
        ]

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`tawtin` as the factory's user, as `deploy/systemd/tawtin` calls it."""
        return subprocess.run(
            self.words("/opt/tawtin/bin/tawtin", *words),
            env={**self.environment(), "NOTIFY_SOCKET": ""},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self) -> subprocess.Popen[str]:
        """The unit's very command line."""
        process = subprocess.Popen(
            self.words(*shlex.split(resolved(self.service["ExecStart"][0]))),
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def main(self) -> int:
        """The unit's main process: what is started above it only makes the view."""
        return int(json.loads((self.state / "data" / "address.json").read_text())["pid"])

    def told(self) -> str:
        """The next thing that the service says to its manager. Raises TimeoutError."""
        return self.channel.recv(4096).decode()

    def processes(self) -> list[int]:
        """All processes of the unit's user."""
        found: list[int] = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                alive = (entry / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
                if alive and entry.stat().st_uid == self.uid:
                    found.append(int(entry.name))
        return found

    def end(self) -> None:
        """Leave nothing behind."""
        self.channel.close()
        until = time.monotonic() + 10
        while (left := self.processes()) and time.monotonic() < until:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        for process in self.started:
            process.communicate(timeout=10)
        shutil.rmtree(self.folder, ignore_errors=True)
