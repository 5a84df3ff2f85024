"""Events a second that the journal makes durable, beside bare inserts of ready-made bytes into the same database.

The journal encodes each event, hashes it, extends the Merkle tree and writes the head in the same transaction; the bare
loop inserts (number, bytes) alone. Both wait for the disk at each commit (SQLite: WAL, synchronous = FULL). Rounds of
both alternate on fresh databases, so that other load on the machine meets both. Goals are judged by seconds of CPU, as
the trial that they come from was; seconds by the clock stand beside them, and are what a quiet machine gives.
"""

from __future__ import annotations

import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from bench import common
from bench.common import Figure
from tawtin.model.events import Entry, RunMetered, encode_entry
from tawtin.model.workload import Usage
from tawtin.ports import Batch, Journal, Row
from tawtin.store.sqlite import SqliteJournal
from tests.store.postgres_server import Server, binaries, running_server

BATCHES = (1, 10, 100, 1000)
GOALS: dict[int, int | None] = {1: None, 10: 25_000, 100: 63_000, 1000: 70_000}
"""What a trial reached with the same work on the standard library's sqlite3."""
ROW_BYTES = 700
PEER = "bare inserts of ready bytes"


class Rate(NamedTuple):
    """Events a second."""

    wall: float
    cpu: float
    """Of this process's CPU."""


Round = Callable[[int, float], Rate]
"""Takes a batch size and seconds."""


def entries(start: int, count: int) -> tuple[Entry, ...]:
    """Entries of a common sort: what a run used so far."""
    return tuple(
        Entry(
            seq=seq,
            at_ms=1_790_000_000_000 + seq,
            event=RunMetered(
                run="w-01k5xj3v8hqzr4m2n6p8t0v2wx.1",
                usage=Usage(
                    wall_ms=60_000 + seq, cpu_ms=59_000, memory_peak_mib=512, gpu_ms=480_000, gpu_model="H100"
                ),
            ),
        )
        for seq in range(start, start + count)
    )


def rate(commit: Callable[[int], object], batch: int, seconds: float) -> Rate:
    """Events a second of `commit`, which is given the number of the first event of its batch."""
    began, began_cpu = time.perf_counter(), time.process_time()
    done = 0
    while (took := time.perf_counter() - began) < seconds:
        commit(done)
        done += batch
    return Rate(done / took, done / (time.process_time() - began_cpu))


def journal_rate(journal: Journal, batch: int, seconds: float, *, rows: bool = False) -> Rate:
    """Events a second of a journal, with the making of the entries left out of the time."""
    ready = [entries(start, batch) for start in range(0, max(20_000, 20 * batch), batch)]
    body = b"x" * ROW_BYTES

    def commit(start: int) -> None:
        made = ready[start // batch] if start // batch < len(ready) else entries(start, batch)
        changed = tuple(
            Row(kind="workload", id=f"w-{entry.seq:026d}", tenant="t-1", phase="queued", body=body)
            for entry in made
        )
        journal.commit(Batch(entries=made, rows=changed if rows else ()))

    return rate(commit, batch, seconds)


def sqlite_round(batch: int, seconds: float, *, rows: bool = False) -> Rate:
    """One round of the journal in SQLite."""
    with tempfile.TemporaryDirectory() as folder, SqliteJournal(Path(folder, "journal.db")) as journal:
        return journal_rate(journal, batch, seconds, rows=rows)


def bare_sqlite_round(batch: int, seconds: float) -> Rate:
    """One round of bare inserts into SQLite."""
    bodies = [encode_entry(entry) for entry in entries(0, batch)]
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(sqlite3.connect(Path(folder, "bare.db"), isolation_level=None)) as database,
    ):
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("CREATE TABLE events (seq INTEGER PRIMARY KEY, body BLOB)")

        def commit(start: int) -> None:
            database.execute("BEGIN")
            database.executemany("INSERT INTO events VALUES (?, ?)", enumerate(bodies, start))
            database.execute("COMMIT")

        return rate(commit, batch, seconds)


def postgres_rounds(server: Server) -> tuple[Round, Round]:
    """Rounds of the journal and of bare inserts in PostgreSQL."""
    import psycopg

    from tawtin.store.postgres import PostgresJournal

    def ours(batch: int, seconds: float) -> Rate:
        with PostgresJournal(server.new_schema()) as journal:
            return journal_rate(journal, batch, seconds)

    def bare(batch: int, seconds: float) -> Rate:
        bodies = [encode_entry(entry) for entry in entries(0, batch)]
        with psycopg.connect(server.new_schema(), autocommit=True) as database:
            database.execute("CREATE TABLE events (seq bigint PRIMARY KEY, body bytea)")

            def commit(start: int) -> None:
                numbers = list(range(start, start + batch))
                database.execute(
                    "INSERT INTO events SELECT * FROM unnest(%b::bigint[], %b::bytea[])", (numbers, bodies)
                )

            return rate(commit, batch, seconds)

    return ours, bare


def compare(name: str, ours: Round, bare: Round, *, goals: bool, quick: bool) -> Iterator[Figure]:
    """One figure for each batch size, medians of alternating rounds."""
    rounds, seconds = (3, 0.3) if quick else (7, 0.8)
    for batch in BATCHES:
        pairs = [(ours(batch, seconds), bare(batch, seconds)) for _ in range(rounds)]
        yield common.figure(
            f"journal, {name}, {batch} events a commit",
            "events/s",
            [mine.wall for mine, _ in pairs],
            peer=PEER,
            peer_value=statistics.median(other.wall for _, other in pairs),
        )
        if goals:
            yield common.figure(
                f"journal, {name}, {batch} events a commit, by CPU",
                "events/CPU-s",
                [mine.cpu for mine, _ in pairs],
                peer=PEER,
                peer_value=statistics.median(other.cpu for _, other in pairs),
                at_least=GOALS[batch],
            )


@contextmanager
def postgres_if_there() -> Generator[Server | None]:
    """A PostgreSQL server of its own, or None where none is installed."""
    with ExitStack() as stack:
        yield stack.enter_context(running_server()) if (binaries() / "initdb").exists() else None


def measure(*, quick: bool) -> list[Figure]:
    """Return the figures for SQLite, and for PostgreSQL where it is installed."""
    figures = list(compare("SQLite", sqlite_round, bare_sqlite_round, goals=True, quick=quick))
    rounds, seconds = (3, 0.3) if quick else (7, 0.8)
    figures.append(
        common.figure(
            f"journal, SQLite, 100 events a commit, each with a new workload row of {ROW_BYTES} bytes",
            "events/s",
            [sqlite_round(100, seconds, rows=True).wall for _ in range(rounds)],
        )
    )
    with postgres_if_there() as server:
        if server is None:
            figures.append(
                common.skipped("journal, PostgreSQL", "events/s", "needs: PostgreSQL (package postgresql)")
            )
        else:
            figures += compare("PostgreSQL", *postgres_rounds(server), goals=False, quick=quick)
    return figures


if __name__ == "__main__":
    raise SystemExit(common.main(measure))
