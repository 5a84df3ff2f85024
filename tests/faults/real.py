"""A real factory in processes of its own, killed by tests at any moment, and what is seen of it from outside."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

START_S = 60

SETTINGS = """
[factory]
name = "faults"
country = "MA"
[prices]
cpu_hour = 3599
[api]
port = 0
[policy]
backoff_ms = 100
backoff_ms_max = 400
[pace]
pass_gap_ms_max = 100
ensure_again_ms = 1000
meter_ms = 300
retry_ms = 100
[local]
rescan_ms = 300
meter_interval_ms = 200
reserve_disk_mib = 8
"""

JOB = """\
(set -o noclobber; : > started) 2>/dev/null || echo "TWICE $TAWTIN_RUN"
echo "START $TAWTIN_RUN"
for beat in $(seq {beats}); do sleep 0.1; done
echo "END $TAWTIN_RUN"
exit {code}
"""


class Refused(Exception):
    """The factory answered with a problem document."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        super().__init__(f"{status}: {problem}")
        self.status = status
        self.problem = problem


class RealFactory:
    """`tawtin up` on a folder, as often as it is killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        (folder / "factory.toml").write_text(SETTINGS)
        self.log = (folder / "factory.log").open("ab")
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0

    # --- the processes ------------------------------------------------------------------------------------------

    def up(self) -> None:
        """Start the control plane and wait until it answers."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tawtin", "up", str(self.folder)],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.said()}"
            try:
                address: dict[str, Any] = json.loads((self.data / "address.json").read_bytes())
            except (OSError, ValueError):
                address = {}
            if address.get("pid") == self.process.pid:
                self.port = int(address["url"].rpartition(":")[2])
                return
            time.sleep(0.01)
        raise AssertionError(f"it did not come up:\n{self.said()}")

    def kill(self) -> None:
        """SIGKILL to the control plane alone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """SIGTERM, as an operator stops it."""
        if self.process is not None:
            self.process.terminate()
            assert self.process.wait(30) == 0, self.said()
            self.process = None

    def said(self) -> str:
        """The end of its log."""
        return (self.folder / "factory.log").read_text(errors="replace")[-3_000:]

    def engine_processes(self) -> dict[str, list[int]]:
        """The engine's own processes by what they do: `launcher`, `supervisor` of a run, and `other` ones that wait.

        A supervisor is a fork of its launcher that has a sandbox for a child; a launcher is what serves.
        """
        root = f"{self.data}/engine".encode()
        ours: list[int] = []
        supervising: set[int] = set()
        for pid in _pids():
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError, IndexError):
                continue
            if root in words and any(b"launcher" in word for word in words):
                ours.append(pid)
            elif words[0].endswith(b"bwrap"):
                supervising.add(parent)
        found: dict[str, list[int]] = {"launcher": [], "supervisor": [], "other": []}
        for pid in ours:
            found["supervisor" if pid in supervising else "launcher" if _serves(pid) else "other"].append(pid)
        return found

    def end_everything(self) -> None:
        """Leave no process behind."""
        self.kill()
        for _ in range(100):
            processes = self.engine_processes()
            left = [*(pid for pids in processes.values() for pid in pids), *self._programs()]
            if not left:
                break
            for pid in left:
                _kill(pid)
            time.sleep(0.02)
        self.log.close()

    def _programs(self) -> list[int]:
        return [pid for pid, _ in programs(self.known_runs())]

    def known_runs(self) -> set[str]:
        """Runs that the engine has a folder of."""
        return {path.name for part in ("runs", "done") for path in (self.data / "engine" / part).glob("*")}

    # --- the API ------------------------------------------------------------------------------------------------

    def call(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Any:  # noqa: ANN401 - JSON
        """One request. Raises Refused, or OSError and HTTPException where there is no whole answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            key = (self.data / "owner.key").read_text().strip()
            connection.request(
                method,
                f"/api/v1/{path}",
                json.dumps(body) if body is not None else None,
                {"Authorization": f"Bearer {key}", "Content-Type": "application/json", **(headers or {})},
            )
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        decoded: Any = json.loads(content or b"{}")
        if answer.status >= 400:
            raise Refused(answer.status, decoded)
        return decoded

    def submit(self, key: str, *, beats: int = 3, code: int = 0) -> str:
        """Submit a job that lasts `beats` tenths of a second; return its id once it is acknowledged."""
        job = {
            "name": key,
            "run": JOB.format(beats=beats, code=code),
            "resources": {"cpus": "0.05", "memory": "32MB"},
        }
        answer = self.call("POST", "workloads", job, {"Idempotency-Key": key})
        return str(answer["workloads"][0]["id"])

    def phase(self, workload: str) -> str:
        """Where a workload is."""
        return str(self.call("GET", f"workloads/{workload}")["workload"].get("phase", "queued"))

    def wait_over(self, workloads: list[str], limit_s: float) -> dict[str, str]:
        """Wait until all are final; return their phases as far as they came."""
        until = time.monotonic() + limit_s
        phases: dict[str, str] = {}
        while time.monotonic() < until:
            waiting = [name for name in workloads if phases.get(name, "queued") in {"queued", "placed"}]
            if not waiting:
                break
            for name in waiting:
                phases[name] = self.phase(name)
                if phases[name] in {"queued", "placed"}:
                    break
            time.sleep(0.05)
        return phases


class Load(threading.Thread):
    """A client that submits without a pause, repeats what was not answered, and remembers what was."""

    def __init__(self, factory: RealFactory, seed: int, under_way_max: int = 12) -> None:
        super().__init__(daemon=True)
        self.factory = factory
        self.random = random.Random(seed)
        self.seed = seed
        self.under_way_max = under_way_max
        self.acknowledged: dict[str, tuple[str, int]] = {}
        """By workload: the idempotency key, and the exit code that its program ends with."""
        self.answers: dict[str, str] = {}
        self.refused: list[str] = []
        self.over = threading.Event()
        self._open: list[str] = []

    def run(self) -> None:
        number = 0
        while not self.over.is_set():
            number += 1
            key, code = f"{self.seed}-{number}", self.random.choice((0, 0, 0, 7))
            beats = self.random.choice((1, 2, 3, 5, 12))
            while not self.over.is_set():
                try:
                    workload = self.factory.submit(key, beats=beats, code=code)
                except Refused as refused:
                    if refused.status not in {409, 429, 503, 507}:
                        self.refused.append(str(refused))
                        break
                    time.sleep(0.02)
                except (OSError, http.client.HTTPException, ValueError):
                    time.sleep(0.02)
                else:
                    self.acknowledged[workload] = (key, code)
                    self._open.append(workload)
                    break
            self._pause()

    def _pause(self) -> None:
        while len(self._open) >= self.under_way_max and not self.over.is_set():
            with suppress(OSError, Refused, http.client.HTTPException, ValueError):
                self._open = [name for name in self._open if self.factory.phase(name) in {"queued", "placed"}]
            time.sleep(0.03)


class Watcher(threading.Thread):
    """Looks at every process of the machine again and again: two runs of one workload must never live at one time."""

    def __init__(self, factory: RealFactory) -> None:
        super().__init__(daemon=True)
        self.factory = factory
        self.over = threading.Event()
        self.overlaps: list[str] = []
        self.looks = 0
        self.seen: set[str] = set()

    def run(self) -> None:
        while not self.over.wait(0.05):
            alive: dict[str, set[str]] = {}
            for _, run in programs(None):
                alive.setdefault(run.rpartition(".")[0], set()).add(run)
                self.seen.add(run)
            self.looks += 1
            self.overlaps += [f"{sorted(runs)}" for runs in alive.values() if len(runs) > 1]


def programs(runs: set[str] | None) -> Iterator[tuple[int, str]]:
    """Processes that carry a run's name in their environment; only these runs, or any."""
    for pid in _pids():
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue
        at = environment.find(b"TAWTIN_RUN=")
        if at >= 0 and (at == 0 or environment[at - 1] == 0):
            run = environment[at + 11 :].partition(b"\0")[0].decode(errors="replace")
            if runs is None or run in runs:
                yield pid, run


def starts_in(text: str) -> Counter[str]:
    """How often each run says that it started."""
    return Counter(line.split()[1] for line in text.splitlines() if line.startswith("START "))


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _serves(pid: int) -> bool:
    """Whether a process waits for requests: the launcher does, and what it forks closes its selector first."""
    try:
        opened = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return False
    return any("eventpoll" in each for each in opened) and any(each.startswith("socket:") for each in opened)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


@contextmanager
def factory_in(folder: Path) -> Generator[RealFactory]:
    """A factory that is up, and gone at the end with all that it started."""
    factory = RealFactory(folder)
    try:
        factory.up()
        yield factory
    finally:
        factory.end_everything()
