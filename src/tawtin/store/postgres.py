"""A journal in a PostgreSQL database, through the extra `tawtin[postgres]`.

One session writes, and holds an advisory lock of the schema for as long as it lives: whoever has the lock is
the only control plane, and whoever gets it knows that the session before has ended. When a connection is lost
in mid-commit, the journal connects again, takes the lock, and reads from the log's head whether the batch was
stored: it is neither doubled nor lost.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, Self

from tawtin.core.chain import Chain
from tawtin.ports import KINDS, Batch, Head, JournalError, Query, Row
from tawtin.store import postgres_queries as queries
from tawtin.store.batch import Prepared, prepare
from tawtin.store.migrations import Migration, load_migrations
from tawtin.store.postgres_link import Link, Value, lost

_READERS_KEPT: Final = 8
_LIVE_PAGE: Final = 2000


class PostgresJournal:
    """A journal in the database that `dsn` names, in the first schema of its search path.

    Raises JournalError if the extra is missing, the server cannot be reached, another control plane writes
    there, or the tables are of a newer tawtin. After a lost connection a commit waits up to `patience_s`
    seconds for the server.
    """

    def __init__(
        self, dsn: str, *, patience_s: float = 30, migrations: tuple[Migration, ...] | None = None
    ) -> None:
        self._link = Link(dsn)
        self._patience_s = patience_s
        self._guard = threading.Lock()
        self._commit_turn = threading.Lock()
        self._readers: list[Link] = []
        self._closed = False
        self._broken = ""
        self._mark = secrets.token_hex(16)
        try:
            self._link.connect()
            self._link.lock(until=0)
            self._link.migrate(load_migrations("postgres") if migrations is None else migrations)
            self._chain = self._link.chain()
            self._link.change(queries.CLAIM, (self._mark,))
        except BaseException:
            self._link.close()
            raise
        self._head = Head(size=self._chain.size, root=self._chain.root())

    def commit(self, batch: Batch) -> Head:
        """Make the batch durable in one transaction and return the new tree head.

        Raises JournalError and stores nothing if that did not succeed. If the server stays away for so long
        that nobody can tell, the journal says so and takes no more commits until it is opened again.
        """
        with self._commit_turn:
            self._refuse_if_unfit()
            prepared = prepare(batch, self._chain)
            if self._link.closed:
                self._return(time.monotonic() + self._patience_s, (self._chain,))
            deadline = time.monotonic() + self._patience_s
            while not self._stored(prepared, deadline):
                pass
            self._chain, self._head = prepared.chain, prepared.head
            return prepared.head

    def _stored(self, prepared: Prepared, deadline: float) -> bool:
        """Write; True if it was stored, False if it certainly was not because the connection was lost."""
        try:
            self._write(prepared)
        except Exception as error:
            if not lost(error) and not self._link.closed:
                raise self._link.explain(error) from error
        else:
            return True
        try:
            found = self._return(deadline, (self._chain, prepared.chain))
        except JournalError as error:
            self._broken = str(error)
            raise JournalError(
                f"the connection to `{self._link.place}` was lost in mid-commit and not taken up again ({error}); "
                "whether the last batch was stored is not known: start the factory again once the database is there"
            ) from error
        return bool(prepared.seqs) and found == prepared.chain

    def _return(self, deadline: float, allowed: tuple[Chain, ...]) -> Chain:
        """Connect again, become the writer again, and return where the log is. Raises JournalError."""
        while True:
            try:
                self._link.connect()
                self._link.lock(until=deadline)
                found, mark = self._link.chain(), self._link.one(queries.GET_WRITER)
                break
            except JournalError as error:
                self._link.close()
                if error.full or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        if found not in allowed or mark != self._mark:
            self._broken = "another control plane wrote to it"
            raise JournalError(
                f"another control plane wrote to `{self._link.place}` while the connection was lost; "
                "stop this one, or that one"
            )
        return found

    def _write(self, prepared: Prepared) -> None:
        upserts = prepared.upserts
        steps: list[tuple[str, Sequence[Value]]] = []
        if prepared.seqs:
            columns = (prepared.seqs, prepared.at_ms, prepared.kinds, prepared.leaves, prepared.bodies)
            after = prepared.chain
            steps.append((queries.APPEND_EVENTS, columns))
            steps.append(
                (queries.SET_CHAIN, (self._chain.size, after.size, after.packed(), prepared.head.root))
            )
        if upserts:
            steps.append(
                (
                    queries.PUT_RECORDS,
                    (
                        [row.kind for row in upserts],
                        [row.id for row in upserts],
                        [row.tenant for row in upserts],
                        [row.phase for row in upserts],
                        [row.parent for row in upserts],
                        [row.live for row in upserts],
                        [row.body for row in upserts],
                    ),
                )
            )
        if prepared.deletes:
            kinds, ids = [kind for kind, _ in prepared.deletes], [id for _, id in prepared.deletes]
            steps.append((queries.DELETE_RECORDS, (kinds, ids)))
        if prepared.secrets_put:
            parts = prepared.secrets_put
            steps.append(
                (queries.KEEP_VALUES, ([p[0] for p in parts], [p[1] for p in parts], [p[2] for p in parts]))
            )
        if prepared.secrets_drop:
            steps.append((queries.DROP_SECRETS, (prepared.secrets_drop,)))
        self._link.transact(steps)

    def _refuse_if_unfit(self) -> None:
        if self._closed:
            raise JournalError(f"the journal in `{self._link.place}` is closed")
        if self._broken:
            raise JournalError(
                f"the journal in `{self._link.place}` takes no more commits ({self._broken}); start the factory again"
            )

    def head(self) -> Head:
        """The present tree head."""
        return self._head

    def live(self) -> Iterator[Row]:
        """All rows with `live` as of one moment, in the order of `KINDS`, ids ascending within a kind."""
        link = self._borrow(fresh=True)  # a kept one may be dead, and half a walk cannot be repeated
        try:
            with link.snapshot():
                for kind in KINDS:
                    for id, tenant, phase, parent, body in link.pages(
                        queries.LIVE_RECORDS, (kind,), _LIVE_PAGE
                    ):
                        yield Row(kind=kind, id=id, tenant=tenant, phase=phase, parent=parent, body=body)
        except JournalError:
            raise
        except Exception as error:
            raise link.explain(error) from error
        finally:
            self._give_back(link)

    def get(self, kind: str, id: str) -> bytes | None:
        """The body of one row, live or not."""
        rows = self._read(queries.GET_RECORD, (kind, id))
        return rows[0][0] if rows else None

    def list(self, query: Query) -> list[bytes]:
        """Bodies of matching rows, ids descending."""
        return [body for (body,) in self._read(*queries.list_records(query))]

    def events(self, start: int, limit: int) -> list[bytes]:
        """Canonical bytes of the entries `start` up to `start + limit`, as hashed."""
        return [body for (body,) in self._read(queries.EVENTS, (start, start + limit))]

    def secrets(self, workload: str) -> dict[str, str]:
        """The secret values of one workload, by name."""
        return {name: value.decode() for name, value in self._read(queries.SECRETS, (workload,))}

    def purge_idempotency(self, before: str) -> int:
        """Delete idempotency rows whose `phase`, which holds their time, sorts below; return how many."""
        with self._commit_turn:
            self._refuse_if_unfit()
            if self._link.closed:
                self._return(time.monotonic() + self._patience_s, (self._chain,))
            try:
                return self._link.change(queries.PURGE_IDEMPOTENCY, (before,))
            except Exception as error:
                raise self._link.explain(error) from error

    def close(self) -> None:
        """Release everything. Later calls raise JournalError."""
        with self._commit_turn, self._guard:
            self._closed = True
            for link in (*self._readers, self._link):
                link.close()
            self._readers = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, sql: str, values: Sequence[Value]) -> list[tuple[Any, ...]]:
        """Rows of one statement; once more on a fresh connection if a kept one turns out to be dead."""
        for last in (False, True):
            link = self._borrow(fresh=last)
            try:
                return link.rows(sql, values)
            except Exception as error:
                if last or not (lost(error) or link.closed):
                    raise link.explain(error) from error
            finally:
                self._give_back(link)
        raise AssertionError

    def _borrow(self, *, fresh: bool = False) -> Link:
        with self._guard:
            if self._closed:
                raise JournalError(f"the journal in `{self._link.place}` is closed")
            if self._readers and not fresh:
                return self._readers.pop()
        link = self._link.another()
        link.connect()
        return link

    def _give_back(self, link: Link) -> None:
        with self._guard:
            if not link.closed and not self._closed and len(self._readers) < _READERS_KEPT:
                self._readers.append(link)
                return
        with suppress(Exception):  # it is given up either way
            link.close()
