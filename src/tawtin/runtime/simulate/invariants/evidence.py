"""Invariant 6: events and state become true together, and the log alone gives the state again.

A second state is folded from what was committed, entry by entry. After each transaction it must have changed the
very rows that were written; at checkpoints it must equal the state in memory and the one that the rows give.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from tawtin.core import fold as folding
from tawtin.core.state import State
from tawtin.runtime.rows import replay, rows_of
from tawtin.runtime.simulate.invariants.base import Check
from tawtin.runtime.simulate.invariants.same import difference
from tawtin.runtime.simulate.words import Invariant

if TYPE_CHECKING:
    from tawtin.ports import Batch
    from tawtin.runtime.simulate.world import World


def tree_root(bodies: list[bytes]) -> bytes:
    """The Merkle tree head by the definition in RFC 9162, section 2.1.1."""
    if not bodies:
        return sha256().digest()
    level = [sha256(b"\x00" + body).digest() for body in bodies]
    while len(level) > 1:
        pairs = [sha256(b"\x01" + level[at] + level[at + 1]).digest() for at in range(0, len(level) - 1, 2)]
        level = [*pairs, level[-1]] if len(level) % 2 else pairs
    return level[0]


class EvidenceCheck(Check):
    """Rows, events and tree, against each other."""

    invariant = Invariant.EVIDENCE

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.second = State(world.site)
        """What the committed events alone give."""
        self._time_ms = 0

    def batch(self, batch: Batch) -> None:
        """The rows of a transaction are exactly those that its own entries change."""
        for entry in batch.entries:
            if entry.seq != self.second.seq:
                self.fail(f"entry {entry.seq} follows {self.second.seq} entries")
            if entry.at_ms < self._time_ms:
                self.fail(f"entry {entry.seq} goes back in time")
            self._time_ms = entry.at_ms
            folding.fold(self.second, entry)
        want = {(row.kind, row.id): row for row in rows_of(self.second.take_changed())}
        got = {(row.kind, row.id): row for row in batch.rows}
        for key in sorted(want.keys() | got.keys()):
            if want.get(key) != got.get(key):
                self.fail(f"row {key} is written as {got.get(key)}, and its events make it {want.get(key)}")

    def checkpoint(self) -> None:
        """State in memory, state from the rows, and state from the events are one."""
        self._same("rows", self.world.restored, "events", self.second)
        live = self.world.live_state()
        if live is not None:
            self._same("memory", live, "events", self.second)

    def end(self) -> None:
        """The whole log from the first entry on, and the tree over all of it."""
        self.checkpoint()
        journal = self.world.journal
        self._same("a whole replay", replay(journal, self.world.site), "events", self.second)
        head = journal.head()
        bodies = journal.events(0, head.size)
        if len(bodies) != head.size or tree_root(bodies) != head.root:
            self.fail(f"the tree over {len(bodies)} entries has another root than the head of {head.size}")
        for (tenant, key), ids in self.book.answers.items():
            if self.world.remembered(tenant, key) != ids:
                self.fail(f"the answer to {key} of {tenant} is in the log and not in its row")

    def _same(self, one: str, first: State, two: str, second: State) -> None:
        found = difference(first, second)
        if found:
            self.fail(f"the state from {one} is not the state from {two}: {found}")
