"""Durable submissions through REST: 32 clients, keys, idempotency, each answered after its commit is on disk.

The factory is a real one (its own process, local engine, SQLite). Jobs ask for a GPU model that it has not, so that
they are accepted, recorded and wait: what is measured is taking them in. Beside it stands SQLite alone: the same number
of submissions with as many rows each, 32 to a transaction, on the same disk in the same minute. The load generator
shares the machine with the factory.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import selectors
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench import common

if TYPE_CHECKING:
    from collections.abc import Generator

CLIENTS: Final = 32
GOAL_PER_S: Final = 3_000
GOAL_P99_MS: Final = 50
DELAYS_MS: Final = (5, 20)
ROWS_EACH: Final = 3
"""What a submission writes: an entry of the log, a workload, a remembered idempotency key."""
ROW_BYTES: Final = 700
BODY: Final = json.dumps(
    {
        "name": "bench",
        "run": "python3 train.py --epochs 3 --out result.txt",
        "envs": {"OMP_NUM_THREADS": "4"},
        "resources": {"accelerators": "NOSUCH:1", "cpus": 4, "memory": "8GB"},
        "max_duration": "1h",
        "data": {"class": "public", "origin": "MA"},
    }
).encode()


# --- the factory, in a process of its own ----------------------------------------------------------------------------


def serve_factory(folder: Path, delay_ms: int) -> None:
    """Run a factory until SIGTERM; print its address and its owner's key."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(folder, delay_ms))


async def _serve(folder: Path, delay_ms: int) -> None:
    from tawtin.bootstrap.settings import load_settings
    from tawtin.bootstrap.wire import open_service, prepare_data
    from tawtin.model.tenant import Tenant
    from tawtin.store.sqlite import SqliteJournal
    from tawtin.web.app import create_app
    from tawtin.web.serve import serve

    settings = load_settings(folder, {"api.port": "0"})
    journal = SqliteJournal(prepare_data(settings) / "journal.db", commit_delay_ms=delay_ms)
    service = open_service(settings, journal)
    await service.start()
    key = await service.found(Tenant(id="owner"))
    assert key is not None
    await service.durable()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)

    def up(url: str) -> None:
        print(json.dumps({"url": url, "key": key.secret}), flush=True)

    await serve(create_app(service, settings.api), settings.api, stop, up)
    await service.stop()


@contextmanager
def factory(folder: Path, delay_ms: int) -> Generator[tuple[int, str, int]]:
    """A factory for the time of the block: its port, its owner's key, its process."""
    folder.mkdir()
    (folder / "factory.toml").write_text('[factory]\nname = "bench"\ncountry = "MA"\n')
    command = [sys.executable, "-m", "bench.api", "serve", str(folder), str(delay_ms)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("the factory did not start; its own words stand above")
        said: dict[str, str] = json.loads(line)
        yield int(said["url"].rpartition(":")[2]), said["key"], process.pid
    finally:
        process.terminate()
        process.wait(30)
        if process.stdout is not None:
            process.stdout.close()


# --- the load, in a process of its own -------------------------------------------------------------------------------


class Caller:
    """One client: sends a submission, waits for its answer, sends the next."""

    def __init__(self, port: int, key: str, number: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(0)
        self._head = (
            f"POST /api/v1/workloads HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\nIdempotency-Key: bench-{number}-"
        ).encode()
        self._numbers = itertools.count()
        self._buffer = b""
        self.began = 0.0

    def send(self) -> None:
        self.began = time.perf_counter()
        self.socket.sendall(b"%s%d\r\n\r\n%s" % (self._head, next(self._numbers), BODY))

    def receive(self) -> bool:
        """Take what arrived; whether the answer is whole. Raises RuntimeError if it is not 201."""
        data = self.socket.recv(65_536)
        if not data:
            raise RuntimeError("the factory closed the connection")
        self._buffer += data
        head, gap, body = self._buffer.partition(b"\r\n\r\n")
        if not gap:
            return False
        if not head.startswith(b"HTTP/1.1 201"):
            raise RuntimeError(f"the factory refused: {self._buffer[:2000]!r}")
        place = head.index(b"content-length: ") + 16
        if len(body) < int(head[place:].partition(b"\r\n")[0]):
            return False
        self._buffer = b""
        return True


def load(port: int, key: str, seconds: float) -> None:
    """Submit from 32 clients for so long; print the latencies of all answers, in microseconds."""
    callers = [Caller(port, key, number) for number in range(CLIENTS)]
    latencies: list[int] = []
    with selectors.DefaultSelector() as waiting:
        for caller in callers:
            waiting.register(caller.socket, selectors.EVENT_READ, caller)
            caller.send()
        began = now = time.perf_counter()
        due = began + seconds
        busy = CLIENTS
        while busy:
            for event, _ in waiting.select():
                caller: Caller = event.data
                if caller.receive():
                    now = time.perf_counter()
                    latencies.append(int((now - caller.began) * 1e6))
                    if now < due:
                        caller.send()
                    else:
                        busy -= 1
    print(json.dumps({"seconds": now - began, "latencies_us": latencies}))


# --- one round -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Round:
    """What one round gave."""

    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    """Processor time of the factory for each submission."""
    raw_per_s: float
    """SQLite alone."""


def one_round(folder: Path, seconds: float, delay_ms: int) -> Round:
    """Start a factory, load it, stop it; count what is on disk; then SQLite alone."""
    with factory(folder, delay_ms) as (port, key, pid):
        cpu = _cpu_s(pid)
        command = [sys.executable, "-m", "bench.api", "load", str(port), key, str(seconds)]
        said = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
        cpu = _cpu_s(pid) - cpu
    latencies: list[int] = said["latencies_us"]
    _all_on_disk(folder / "data" / "journal.db", len(latencies))
    return Round(
        per_s=len(latencies) / said["seconds"],
        p50_ms=common.percentile(latencies, 50) / 1000,
        p99_ms=common.percentile(latencies, 99) / 1000,
        cpu_us=cpu / len(latencies) * 1e6,
        raw_per_s=raw_sqlite(folder / "raw.db", len(latencies), delay_ms),
    )


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _all_on_disk(path: Path, acknowledged: int) -> None:
    from tawtin.ports import Query
    from tawtin.store.sqlite import SqliteJournal

    with closing(SqliteJournal(path, read_only=True)) as journal:
        found = len(journal.list(Query(kind="workload", limit=acknowledged + CLIENTS)))
    if found < acknowledged:
        raise RuntimeError(f"{acknowledged} submissions were acknowledged, and {found} are on disk")


def raw_sqlite(path: Path, count: int, delay_ms: int) -> float:
    """Submissions a second of SQLite alone: WAL, full synchronisation, 32 submissions to a transaction."""
    row = b"x" * ROW_BYTES
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("CREATE TABLE row (id TEXT PRIMARY KEY, body BLOB) WITHOUT ROWID")
        began = time.perf_counter()
        for first in range(0, count, CLIENTS):
            rows = [
                (f"{kind}/{number:09d}", row)
                for number in range(first, min(count, first + CLIENTS))
                for kind in range(ROWS_EACH)
            ]
            database.execute("BEGIN IMMEDIATE")
            database.executemany("INSERT INTO row VALUES (?, ?)", rows)
            time.sleep(delay_ms / 1000)
            database.execute("COMMIT")
        return count / (time.perf_counter() - began)


def measure(*, quick: bool) -> list[common.Figure]:
    """Submissions a second, and how long they take, without and with a slow disk."""
    figures: list[common.Figure] = []
    rounds, seconds = (1, 2.0) if quick else (3, 5.0)
    for delay_ms in (0, *DELAYS_MS):
        with tempfile.TemporaryDirectory(prefix="tawtin-bench-") as place:
            found: list[Round] = []
            for number in range(rounds):
                common.say(f"submissions, {delay_ms} ms added to each commit, round {number + 1} of {rounds}")
                found.append(one_round(Path(place, str(number)), seconds, delay_ms))
        figures += _figures(found, delay_ms)
    return figures


def _figures(found: list[Round], delay_ms: int) -> list[common.Figure]:
    suffix = f", {delay_ms} ms added to each commit" if delay_ms else ""
    raw = common.percentile([each.raw_per_s for each in found], 50)
    cpu = common.percentile([each.cpu_us for each in found], 50)
    note = f"{CLIENTS} clients, which share the machine; the factory takes {cpu:.0f} us of processor time for each"
    return [
        common.figure(
            f"durable submissions through REST{suffix}",
            "/s",
            [each.per_s for each in found],
            peer="SQLite alone, 32 submissions to a commit",
            peer_value=raw,
            at_least=None if delay_ms else GOAL_PER_S,
            note=note,
        ),
        common.figure(f"submission, p50{suffix}", "ms", [each.p50_ms for each in found]),
        common.figure(
            f"submission, p99{suffix}",
            "ms",
            [each.p99_ms for each in found],
            at_most=None if delay_ms else GOAL_P99_MS,
        ),
    ]


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", folder, delay]:
            serve_factory(Path(folder), int(delay))
        case ["load", port, key, seconds]:
            load(int(port), key, float(seconds))
        case _:
            raise SystemExit(common.main(measure))
