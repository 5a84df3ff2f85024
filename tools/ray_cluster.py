"""A real Ray on this machine, started by hand in a folder and gone with it: for tests, benchmarks and the demo.

A head and further nodes, each at a loopback address of its own (127.x.y.1, .2, ...), as Ray tells nodes apart by their
addresses. Nodes claim processors, memory and GPUs that the machine need not have. A token guards all of it. `ray stop`
is never called, as it ends every Ray of the machine: everything of a node is found by a variable in its environment.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final

VENV: Final = Path(__file__).resolve().parent.parent / ".make" / "ray"
"""Where `tools/bootstrap.sh ray` installs it: apart from .venv, as it is big and a factory itself needs none of it."""
MARK: Final = "TAWTIN_RAY_NODE"
"""The variable by which everything of a node is found, and what its jobs started as well."""
_START_S: Final = 120
_RESTARTS_MAX: Final = 3
_PASSED: Final = ("HOME", "USER", "LANG", "TMPDIR")


class ClusterError(Exception):
    """Ray could not be started, or did not do its work in time."""


def program() -> Path:
    """Ray's command line."""
    return Path(os.environ.get("TAWTIN_RAY", VENV)) / "bin" / "ray"


def missing() -> str:
    """What is not installed; empty if everything is."""
    return "" if program().exists() else f"needs: Ray (sh tools/bootstrap.sh ray), {program()} not found"


@dataclass(kw_only=True)
class Cluster:
    """A Ray of a head and some nodes in an existing folder. `start`, and `stop` in any case."""

    folder: Path
    nodes: int = 2
    """Beside the head, which offers no processors."""
    cpus: int = 16
    memory_mib: int = 65_536
    gpus: int = 0
    """On each node, of the model `H100`."""
    environment: dict[str, str] = field(default_factory=dict[str, str])
    """Further variables of all daemons, such as Ray's own settings."""
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict[str, subprocess.Popen[bytes]])
    since_s: dict[str, float] = field(default_factory=dict[str, float])
    """When each was started, seconds UTC."""

    def __post_init__(self) -> None:
        """Choose addresses and ports, and make a token."""
        chance = random.SystemRandom()
        self.net = f"127.{chance.randrange(64, 250)}.{chance.randrange(1, 255)}"
        self.port, self.dashboard_port = _free_port(self.address_of("head")), _free_port("127.0.0.1")
        self.token = secrets.token_hex(32)
        self.token_file = self.folder / "token"
        self.token_file.touch(0o600)
        self.token_file.write_text(self.token, "ascii")
        self._restarts = 0
        self._reaper: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where its Jobs API is."""
        return f"http://127.0.0.1:{self.dashboard_port}"

    @property
    def names(self) -> list[str]:
        """Its nodes but for the head."""
        return [f"ray{number}" for number in range(self.nodes)]

    def address_of(self, name: str) -> str:
        """The loopback address of `head` or of a node."""
        return f"{self.net}.{1 if name == 'head' else 2 + int(name.removeprefix('ray'))}"

    def start(self) -> None:
        """Start all, and wait until the head counts all nodes as alive."""
        # whoever is left when this process has been killed: its standard input ends with us
        self._reaper = subprocess.Popen(
            [sys.executable, __file__, str(self.folder)], stdin=subprocess.PIPE, start_new_session=True
        )
        self.start_head()
        for name in self.names:
            self.start_node(name)
        self.wait_alive()

    def start_head(self) -> None:
        """Start the head and wait until it answers. It remembers nothing of an earlier one."""
        # what an earlier head left would keep this one from starting, as its nodes still name its address
        (self.folder / "head" / "ray_current_cluster").unlink(missing_ok=True)
        options = {
            "port": self.port,
            "dashboard-host": "127.0.0.1",
            "dashboard-port": self.dashboard_port,
            "ray-client-server-port": _free_port(self.address_of("head")),
        }
        words = [f"--{option}={value}" for option, value in options.items()]
        self._daemon("head", "--head", "--num-cpus=0", "--num-gpus=0", *words)
        self.wait(lambda: self.ask("GET", "/api/version")[0] == 200, "the head does not answer")

    def start_node(self, name: str) -> None:
        """Start a node, without waiting for it."""
        words = [f"--address={self.address_of('head')}:{self.port}", f"--num-cpus={self.cpus}"]
        words += [f"--num-gpus={self.gpus}", f"--memory={self.memory_mib << 20}"]
        if self.gpus:
            words.append(f"--resources={json.dumps({'accelerator_type:H100': 1})}")
        self._daemon(name, *words)

    def wait_alive(self) -> None:
        """Wait until the head counts all nodes as alive, and those that were killed before as dead."""
        want = sorted(["head", *self.names])
        self.wait(
            lambda: (
                sorted(name for name, since_s in self.alive() if since_s >= self.since_s[name]) == want
                and len(self.alive()) == len(want)
            ),
            f"{want} are not all alive, or others are",
        )

    def alive(self) -> list[tuple[str, float]]:
        """The nodes that the head counts as alive, and since when (seconds UTC)."""
        code, said = self.ask("GET", "/api/v0/nodes?detail=true&limit=1000")
        rows: list[dict[str, Any]] = said["data"]["result"]["result"] if code == 200 else []
        return [(row["node_name"], row["start_time_ms"] / 1000) for row in rows if row["state"] == "ALIVE"]

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Status and body of what the dashboard answers; 0 if it does not."""
        connection = HTTPConnection("127.0.0.1", self.dashboard_port, timeout=30)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, HTTPException):
            return 0, None
        finally:
            connection.close()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text.decode("utf-8", "replace")

    def kill(self, name: str, *, jobs: bool = True) -> None:
        """Kill `head` or a node at once, as if its machine had failed; `jobs` says whether what it runs dies too."""
        process = self.processes.pop(name)
        session = process.pid
        for pid in _marked(self._mark(name)):
            if jobs or _session_of(pid) == session:
                _kill(pid)
        process.wait()

    def stop(self) -> None:
        """End what was started, with everything that any of it left: there is nothing to be saved."""
        _end_all(self.folder)
        for process in self.processes.values():
            process.wait()
        self.processes.clear()
        if self._reaper is not None:
            self._reaper.communicate()
            self._reaper = None

    def wait(self, is_so: Callable[[], bool], otherwise: str, seconds: float = _START_S) -> None:
        """Wait until something is so. Raises ClusterError."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if is_so():
                return
            ended = [name for name, process in self.processes.items() if process.poll() is not None]
            if ended and ended[0] != "head" and self._restarts < _RESTARTS_MAX:
                self._restarts += 1  # a head that is slow yet has the command of a node give up
                self.start_node(ended[0])
            elif ended:
                said = (self.folder / f"{ended[0]}.out").read_text("utf-8", "replace")[-2000:]
                raise ClusterError(f"{ended[0]} ended:\n{said}")
            time.sleep(0.1)
        raise ClusterError(f"{otherwise} within {seconds:g} s; see {self.folder}")

    def _mark(self, name: str) -> str:
        return f"{MARK}={self.folder}/{name}\0"

    def _daemon(self, name: str, *words: str) -> None:
        """Start one node."""
        if missing():
            raise ClusterError(missing())
        environment = {key: os.environ[key] for key in _PASSED if key in os.environ}
        environment |= {
            MARK: f"{self.folder}/{name}",
            "PATH": f"{program().parent}:/usr/local/bin:/usr/bin:/bin",
            "PYTHONUNBUFFERED": "1",
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.token_file),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_prestart_worker_first_driver": "0",
            **self.environment,
        }
        common = {
            "node-ip-address": self.address_of(name),
            "node-name": name,
            "temp-dir": self.folder / name,
            "object-store-memory": 80_000_000,
            "include-log-monitor": "false",
            "dashboard-agent-listen-port": _free_port(self.address_of(name)),
        }
        options = [f"--{option}={value}" for option, value in common.items()]
        self.since_s[name] = time.time()
        with (self.folder / f"{name}.out").open("ab") as out:
            self.processes[name] = subprocess.Popen(
                [str(program()), "start", "--block", "--disable-usage-stats", *options, *words],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=self.folder,
                env=environment,
                start_new_session=True,
            )


@contextmanager
def cluster(
    *, nodes: int = 2, cpus: int = 16, gpus: int = 0, environment: dict[str, str] | None = None
) -> Generator[Cluster]:
    """A Ray that is ended with the block. Raises ClusterError."""
    # Ray makes sockets far below: their paths have 107 characters at most
    with tempfile.TemporaryDirectory(prefix="tray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        made = Cluster(folder=Path(folder), nodes=nodes, cpus=cpus, gpus=gpus, environment=environment or {})
        try:
            made.start()
            yield made
        finally:
            made.stop()


def _marked(mark: str) -> list[int]:
    """Processes with this in their environment."""
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def _end_all(folder: Path) -> None:
    while pids := _marked(f"{MARK}={folder}/"):
        for pid in pids:
            _kill(pid)
        time.sleep(0.05)


def _session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        return


def _free_port(address: str) -> int:
    with socket.socket() as taken:
        taken.bind((address, 0))
        return int(taken.getsockname()[1])


if __name__ == "__main__":  # the reaper of a cluster
    sys.stdin.buffer.read()
    _end_all(Path(sys.argv[1]))
    shutil.rmtree(sys.argv[1], ignore_errors=True)
