"""The three journals behind one handle, and batches to put into them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tawtin.core.chain import Chain, leaf_hash
from tawtin.model.events import CancelAsked, Entry
from tawtin.ports import Batch, Head, Journal, Row
from tawtin.store.memory import MemoryJournal
from tawtin.store.open import open_journal


class Place:
    """Where a journal is kept; it can be opened again and again."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self.url = url
        self._open: list[Journal] = []

    def open(self) -> Journal:
        """Open it, as the next process would: what was open before is closed."""
        before = self._open[-1] if self._open else None
        if isinstance(before, MemoryJournal):
            journal: Journal = before.survivor()
        else:
            self.close()
            journal = open_journal(self.url)
        self._open.append(journal)
        return journal

    def close(self) -> None:
        for journal in self._open:
            journal.close()


def sqlite_place(folder: Path) -> Place:
    return Place("sqlite", f"sqlite://{folder}/journal.db")


def entries(start: int, count: int, note: str = "") -> tuple[Entry, ...]:
    return tuple(
        Entry(seq=seq, at_ms=1_000 + seq, event=CancelAsked(workload=f"w-{seq}{note}", by="key-ü"))
        for seq in range(start, start + count)
    )


def row(id: str, **fields: str | bool | bytes) -> Row:
    plain: dict[str, str | bool | bytes] = {"kind": "workload", "body": id.encode(), **fields}
    return Row(id=id, **plain)  # pyright: ignore[reportArgumentType] - named by each caller


def recomputed(journal: Journal) -> Head:
    """The head that an auditor computes from all bodies."""
    bodies = journal.events(0, 1 << 40)
    chain = Chain().extended(leaf_hash(body) for body in bodies)
    return Head(size=len(bodies), root=chain.root())


def fill(journal: Journal, count: int, rows: Callable[[int], tuple[Row, ...]] = lambda _: ()) -> None:
    """Commit `count` batches with one entry each."""
    for _ in range(count):
        at = journal.head().size
        journal.commit(Batch(entries=entries(at, 1), rows=rows(at)))
