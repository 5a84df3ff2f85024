"""A journal in memory, for simulation: the same contract, and crashes on order.

What was committed is what a crash leaves behind: `survivor` is the journal that the next life of the process
opens.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Self

from tawtin.core.chain import Chain
from tawtin.ports import KINDS, Batch, Head, JournalError, Query, Row
from tawtin.store.batch import prepare

Hook = Callable[[Batch], None]


class MemoryJournal:
    """A journal that lasts as long as the object, or as long as its survivors do.

    `before` and `after` are called with each batch, before anything took effect and after everything did;
    what they raise, `commit` raises. That is how a simulation lets a commit fail, or kills the process around
    one.
    """

    def __init__(self, *, before: Hook | None = None, after: Hook | None = None) -> None:
        self.before = before
        self.after = after
        self._turn = threading.RLock()
        self._closed = False
        self._chain = Chain()
        self._head = Head(size=0, root=self._chain.root())
        self._bodies: list[bytes] = []
        self._rows: dict[str, dict[str, Row]] = {kind: {} for kind in KINDS}
        self._secrets: dict[str, dict[str, str]] = {}

    def survivor(self) -> MemoryJournal:
        """Return what the next process finds: all that was committed. This journal is closed by it."""
        with self._turn:
            self._closed = True
            found = MemoryJournal()
            found._chain, found._head = self._chain, self._head
            found._bodies, found._rows, found._secrets = self._bodies, self._rows, self._secrets
        return found

    def backup(self) -> MemoryJournal:
        """Return a copy of all that was committed; what is committed to either one later, the other does not have."""
        with self._turn:
            found = MemoryJournal()
            found._chain, found._head, found._bodies = self._chain, self._head, [*self._bodies]
            found._rows = {kind: {**rows} for kind, rows in self._rows.items()}
            found._secrets = {workload: {**values} for workload, values in self._secrets.items()}
        return found

    def commit(self, batch: Batch) -> Head:
        """Make the batch true as a whole and return the new tree head.

        Raises JournalError, and whatever the hooks raise.
        """
        with self._turn:
            self._refuse_if_closed()
            prepared = prepare(batch, self._chain)
            if self.before:
                self.before(batch)
            self._bodies += prepared.bodies
            for row in prepared.upserts:
                self._rows[row.kind][row.id] = row
            for kind, id in prepared.deletes:
                self._rows[kind].pop(id, None)
            for workload, name, value in prepared.secrets_put:
                self._secrets.setdefault(workload, {})[name] = value.decode()
            for workload in prepared.secrets_drop:
                self._secrets.pop(workload, None)
            self._chain, self._head = prepared.chain, prepared.head
            if self.after:
                self.after(batch)
            return prepared.head

    def head(self) -> Head:
        """The present tree head."""
        with self._turn:
            self._refuse_if_closed()
            return self._head

    def live(self) -> Iterator[Row]:
        """All rows with `live` as of one moment, in the order of `KINDS`, ids ascending within a kind."""
        with self._turn:
            self._refuse_if_closed()
            rows = [row for kind in KINDS for _, row in sorted(self._rows[kind].items()) if row.live]
        yield from rows

    def get(self, kind: str, id: str) -> bytes | None:
        """The body of one row, live or not."""
        with self._turn:
            self._refuse_if_closed()
            row = self._rows.get(kind, {}).get(id)
        return None if row is None else row.body

    def list(self, query: Query) -> list[bytes]:
        """Bodies of matching rows, ids descending."""
        with self._turn:
            self._refuse_if_closed()
            found = [row for row in self._rows.get(query.kind, {}).values() if _matches(row, query)]
        found.sort(key=lambda row: row.id, reverse=True)
        return [row.body for row in found[: query.limit]]

    def events(self, start: int, limit: int) -> list[bytes]:
        """Canonical bytes of the entries `start` up to `start + limit`, as hashed."""
        with self._turn:
            self._refuse_if_closed()
            return self._bodies[max(start, 0) : max(start + limit, 0)]

    def secrets(self, workload: str) -> dict[str, str]:
        """The secret values of one workload, by name."""
        with self._turn:
            self._refuse_if_closed()
            return dict(self._secrets.get(workload, {}))

    def purge_idempotency(self, before: str) -> int:
        """Delete idempotency rows whose `phase`, which holds their time, sorts below; return how many."""
        with self._turn:
            self._refuse_if_closed()
            rows = self._rows["idempotency"]
            old = [id for id in rows if "" < rows[id].phase < before]
            for id in old:
                del rows[id]
            return len(old)

    def close(self) -> None:
        """Release everything. Later calls raise JournalError."""
        with self._turn:
            self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise JournalError("the journal in memory is closed")


def _matches(row: Row, query: Query) -> bool:
    return (
        (not query.tenant or row.tenant == query.tenant)
        and (not query.phases or row.phase in query.phases)
        and (not query.parent or row.parent == query.parent)
        and (query.live is None or row.live == query.live)
        and (not query.before or row.id < query.before)
    )
