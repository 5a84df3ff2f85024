"""Turns a batch into columns, alike for every journal: checked first, encoded once, hashed once."""

from __future__ import annotations

from typing import Final

import msgspec

from tawtin.core.chain import Chain, leaf_hash
from tawtin.model.events import encode_entry
from tawtin.ports import KINDS, Batch, Head, JournalError, Row

_KINDS: Final = frozenset(KINDS)


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """What one transaction writes. Keys are unique in each part; the parts may be written in any order."""

    seqs: list[int]
    at_ms: list[int]
    kinds: list[str]
    """Class names of the events."""
    bodies: list[bytes]
    """Canonical bytes of the entries."""
    leaves: list[bytes]
    upserts: list[Row]
    deletes: list[tuple[str, str]]
    """(kind, id)."""
    secrets_put: list[tuple[str, str, bytes]]
    secrets_drop: list[str]
    chain: Chain
    """The log after this batch."""
    head: Head


def prepare(batch: Batch, chain: Chain) -> Prepared:
    """Return what `batch` writes to a journal whose log is at `chain`.

    Raises JournalError if the entries do not continue the log without a gap, or a row has a kind that nobody
    would load.
    """
    seqs = [entry.seq for entry in batch.entries]
    if seqs and seqs != list(range(chain.size, chain.size + len(seqs))):
        wrong = next(seq for want, seq in enumerate(seqs, chain.size) if seq != want)
        want = chain.size + seqs.index(wrong)
        raise JournalError(
            f"entry `{wrong}` does not continue the log, whose next entry is {want}; nothing is stored"
        )
    rows = {(row.kind, row.id): row for row in batch.rows}
    for kind, id in rows:
        if kind not in _KINDS:
            raise JournalError(f"row `{id}` has the unknown kind `{kind}`; kinds are {', '.join(KINDS)}")
    bodies = [encode_entry(entry) for entry in batch.entries]
    leaves = [leaf_hash(body) for body in bodies]
    after = chain.extended(leaves) if leaves else chain
    dropped = frozenset(batch.secrets_drop)
    secrets = {
        (workload, name): value for workload, name, value in batch.secrets_put if workload not in dropped
    }
    return Prepared(
        seqs=seqs,
        at_ms=[entry.at_ms for entry in batch.entries],
        kinds=[type(entry.event).__name__ for entry in batch.entries],
        bodies=bodies,
        leaves=leaves,
        upserts=[row for row in rows.values() if row.body],
        deletes=[key for key, row in rows.items() if not row.body],
        secrets_put=[(workload, name, value.encode()) for (workload, name), value in secrets.items()],
        secrets_drop=sorted(dropped),
        chain=after,
        head=Head(size=after.size, root=after.root()),
    )
