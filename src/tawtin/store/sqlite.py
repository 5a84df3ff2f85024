"""The default journal: one SQLite file in WAL mode with full synchronisation, written by one process.

One connection writes. Reads take a connection from a small pool, so that they run beside a commit, from any
thread, and see whole transactions only. Every error of SQLite becomes a JournalError that names the file and
what to do.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final, Self

from tawtin.core.chain import Chain, unpack_chain
from tawtin.ports import KINDS, Batch, Head, JournalError, Query, Row
from tawtin.store import sqlite_queries as queries
from tawtin.store.batch import Prepared, prepare
from tawtin.store.lock import lock_file
from tawtin.store.migrations import Migration, load_migrations
from tawtin.store.sqlite_file import connect, explain, migrate, new_file, schema_version

_READERS_KEPT: Final = 8


class SqliteJournal:
    """A journal in one file at `path`, which is made if it is absent, readable by its owner alone.

    Raises JournalError if another process writes it, if it is damaged, of another program, or of a newer
    tawtin. With `read_only` nothing is locked, made or migrated, and commits are refused. `commit_delay_ms`
    makes each commit slower, for benchmarks of slow disks. Used as a context manager it closes itself.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        read_only: bool = False,
        commit_delay_ms: int = 0,
        migrations: tuple[Migration, ...] | None = None,
    ) -> None:
        self._path = Path(path).absolute()
        self._delay_s = commit_delay_ms / 1000
        self._read_only = read_only
        self._readers: list[sqlite3.Connection] = []
        self._guard = threading.Lock()
        self._commit_turn = threading.Lock()
        self._closed = False
        self._broken = ""
        self._lock: int | None = None
        steps = load_migrations("sqlite") if migrations is None else migrations
        try:
            self._open(steps)
        except BaseException:
            self._release()
            raise

    def _open(self, steps: tuple[Migration, ...]) -> None:
        if self._read_only:
            if not self._path.exists():
                raise JournalError(f"`{self._path}` does not exist; there is nothing to read")
        else:
            new_file(self._path)
            self._lock = lock_file(self._path)
        try:
            self._writer = connect(self._path, read_only=self._read_only)
            if self._read_only:
                _refuse_other_versions(self._path, schema_version(self._writer), steps[-1].version)
            else:
                migrate(self._writer, steps, str(self._path))
            self._chain = _read_chain(self._writer, self._path)
        except sqlite3.Error as error:
            raise explain(error, self._path) from error
        self._head = Head(size=self._chain.size, root=self._chain.root())

    def commit(self, batch: Batch) -> Head:
        """Make the batch durable in one transaction and return the new tree head.

        Raises JournalError and stores nothing if that did not succeed; `full` says that space is missing, and
        the same batch may be tried again once there is some.
        """
        with self._commit_turn:
            self._refuse_if_unfit()
            prepared = prepare(batch, self._chain)
            try:
                self._write(prepared)
            except (sqlite3.Error, OverflowError) as error:
                self._roll_back()
                failure = explain(error, self._path)
                if getattr(error, "sqlite_errorname", "").endswith("FSYNC"):
                    self._broken = str(failure)
                raise failure from error
            except BaseException:
                self._roll_back()
                raise
            self._chain, self._head = prepared.chain, prepared.head
            if self._delay_s:
                time.sleep(self._delay_s)
            return prepared.head

    def _write(self, prepared: Prepared) -> None:
        write = self._writer
        write.execute("BEGIN IMMEDIATE")
        if prepared.seqs:
            columns = (prepared.seqs, prepared.at_ms, prepared.kinds, prepared.leaves, prepared.bodies)
            write.executemany(queries.APPEND_EVENT, zip(*columns, strict=True))
            after = prepared.chain
            values = (after.size, after.packed(), prepared.head.root, self._chain.size)
            if write.execute(queries.SET_CHAIN, values).rowcount != 1:
                raise JournalError(
                    f"something else wrote to the log in `{self._path}`, which is not where this process left it; "
                    "stop the factory and run `tawtin doctor --deep`"
                )
        if prepared.upserts:
            write.executemany(
                queries.PUT_RECORD,
                [
                    (row.kind, row.id, row.tenant, row.phase, row.parent, row.live, row.body)
                    for row in prepared.upserts
                ],
            )
        if prepared.deletes:
            write.executemany(queries.DELETE_RECORD, prepared.deletes)
        if prepared.secrets_put:
            write.executemany(queries.KEEP_VALUE, prepared.secrets_put)
        if prepared.secrets_drop:
            write.executemany(queries.DROP_SECRETS, [(workload,) for workload in prepared.secrets_drop])
        write.execute("COMMIT")

    def _roll_back(self) -> None:
        if self._writer.in_transaction:
            with suppress(sqlite3.Error):  # the error that led here is the one to report
                self._writer.execute("ROLLBACK")

    def _refuse_if_unfit(self) -> None:
        if self._closed:
            raise JournalError(f"`{self._path}` is closed")
        if self._read_only:
            raise JournalError(f"`{self._path}` was opened for reading only")
        if self._broken:
            raise JournalError(
                f"`{self._path}` takes no more commits since writing failed ({self._broken}), "
                "because what the disk holds is no longer certain; mend the disk and start the factory again"
            )

    def head(self) -> Head:
        """The present tree head."""
        if not self._read_only:
            return self._head
        with self._reading() as read:
            chain = _read_chain(read, self._path)
        return Head(size=chain.size, root=chain.root())

    def live(self) -> Iterator[Row]:
        """All rows with `live` as of one moment, in the order of `KINDS`, ids ascending within a kind."""
        with self._reading() as read:
            read.execute("BEGIN")
            try:
                for kind in KINDS:
                    for _, id, tenant, phase, parent, body in read.execute(queries.LIVE_RECORDS, (kind,)):
                        yield Row(kind=kind, id=id, tenant=tenant, phase=phase, parent=parent, body=body)
            finally:
                read.execute("ROLLBACK")

    def get(self, kind: str, id: str) -> bytes | None:
        """The body of one row, live or not."""
        with self._reading() as read:
            row = read.execute(queries.GET_RECORD, (kind, id)).fetchone()
        return None if row is None else row[0]

    def list(self, query: Query) -> list[bytes]:
        """Bodies of matching rows, ids descending."""
        sql, values = queries.list_records(query)
        with self._reading() as read:
            return [body for (body,) in read.execute(sql, values)]

    def events(self, start: int, limit: int) -> list[bytes]:
        """Canonical bytes of the entries `start` up to `start + limit`, as hashed."""
        with self._reading() as read:
            return [body for (body,) in read.execute(queries.EVENTS, (start, start + limit))]

    def secrets(self, workload: str) -> dict[str, str]:
        """The secret values of one workload, by name."""
        with self._reading() as read:
            return {name: value.decode() for name, value in read.execute(queries.SECRETS, (workload,))}

    def purge_idempotency(self, before: str) -> int:
        """Delete idempotency rows whose `phase`, which holds their time, sorts below; return how many."""
        with self._commit_turn:
            self._refuse_if_unfit()
            try:
                return self._writer.execute(queries.PURGE_IDEMPOTENCY, (before,)).rowcount
            except sqlite3.Error as error:
                raise explain(error, self._path) from error

    def close(self) -> None:
        """Release everything. Later calls raise JournalError."""
        with self._commit_turn:
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _reading(self) -> Generator[sqlite3.Connection]:
        """A connection of the pool, for one thread at a time."""
        with self._guard:
            if self._closed:
                raise JournalError(f"`{self._path}` is closed")
            read = self._readers.pop() if self._readers else None
        try:
            if read is None:
                read = connect(self._path, read_only=True)
            yield read
        except sqlite3.Error as error:
            raise explain(error, self._path) from error
        finally:
            if read is not None:
                with self._guard:
                    if keep := not self._closed and len(self._readers) < _READERS_KEPT:
                        self._readers.append(read)
                if not keep:
                    read.close()

    def _release(self) -> None:
        with self._guard:
            self._closed = True
            readers, self._readers = self._readers, []
        for read in readers:
            read.close()
        if hasattr(self, "_writer"):
            self._writer.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _refuse_other_versions(path: Path, have: int, want: int) -> None:
    if have != want:
        raise JournalError(
            f"`{path}` has schema {have} and this tawtin reads {want}; start the factory once with this "
            "version, or read it with the version that wrote it"
        )


def _read_chain(read: sqlite3.Connection, path: Path) -> Chain:
    """The log's head. Raises JournalError if it does not fit the entries or itself."""
    advice = "restore a backup, or look at the damage with `tawtin doctor --deep`"
    with closing(read.cursor()) as cursor:
        row = cursor.execute(queries.GET_CHAIN).fetchone()
        (entries,) = cursor.execute(queries.COUNT_EVENTS).fetchone()
    if row is None:
        raise JournalError(f"`{path}` has lost the head of its log; {advice}")
    size, frontier, root = row
    try:
        chain = unpack_chain(size, frontier)
    except ValueError as error:
        raise JournalError(f"`{path}` is damaged: {error}; {advice}") from error
    if entries != size or chain.root() != root:
        raise JournalError(
            f"`{path}` is damaged: its log holds {entries} entries and its head says {size}; {advice}"
        )
    return chain
