"""The Merkle tree of RFC 9162, section 2.1: append, root, proofs of inclusion and of consistency.

A log of any length is carried as a `Chain`: its size and the roots of its complete subtrees, largest first,
one for each bit that is set in the size (at most 64 hashes). That is all that appending needs. Proofs are
made from the hashes of the leaves and checked from hashes alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Final

from tawtin.model.base import Record

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()
"""The root of the tree without leaves."""


def leaf_hash(body: bytes) -> bytes:
    """Return the hash of a leaf: SHA-256 of 0x00 and its bytes."""
    return sha256(b"\x00" + body).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node: SHA-256 of 0x01 and the hashes of its two children."""
    return sha256(b"\x01" + left + right).digest()


class Chain(Record, frozen=True, kw_only=True):
    """A log's tree, as far as appending to it needs to know it."""

    size: int = 0
    """Leaves."""
    frontier: tuple[bytes, ...] = ()
    """Roots of the complete subtrees, left to right: one for each bit set in `size`, highest first."""

    def extended(self, leaves: Iterable[bytes]) -> Chain:
        """Return the chain after these leaf hashes."""
        size, frontier = self.size, list(self.frontier)
        for leaf in leaves:
            root, bits = leaf, size
            while bits & 1:
                root = node_hash(frontier.pop(), root)
                bits >>= 1
            frontier.append(root)
            size += 1
        return Chain(size=size, frontier=tuple(frontier))

    def root(self) -> bytes:
        """Return the tree's root."""
        if not self.frontier:
            return EMPTY_ROOT
        root = self.frontier[-1]
        for left in self.frontier[-2::-1]:
            root = node_hash(left, root)
        return root

    def packed(self) -> bytes:
        """Return the frontier as bytes, 32 for each hash; `unpack_chain` reads it."""
        return b"".join(self.frontier)


def unpack_chain(size: int, frontier: bytes) -> Chain:
    """Return the chain that `Chain.packed` wrote. Raises ValueError if the bytes do not fit the size."""
    if size < 0 or len(frontier) != size.bit_count() * HASH_BYTES:
        msg = f"a log of {size} entries has no frontier of {len(frontier)} bytes"
        raise ValueError(msg)
    hashes = tuple(frontier[at : at + HASH_BYTES] for at in range(0, len(frontier), HASH_BYTES))
    return Chain(size=size, frontier=hashes)


def inclusion_proof(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Return the hashes that lead from leaf `index` to the root of all `leaves` (hashes), lowest first.

    RFC 9162, 2.1.3.1. Raises ValueError if there is no such leaf.
    """
    if not 0 <= index < len(leaves):
        msg = f"a log of {len(leaves)} entries has no entry {index}"
        raise ValueError(msg)
    path: list[bytes] = []
    start, end = 0, len(leaves)
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(_range_root(leaves, middle, end))
            end = middle
        else:
            path.append(_range_root(leaves, start, middle))
            start = middle
    return tuple(reversed(path))


def consistency_proof(leaves: Sequence[bytes], earlier: int) -> tuple[bytes, ...]:
    """Return the hashes that show the first `earlier` leaves to be a prefix of all `leaves` (hashes).

    RFC 9162, 2.1.4.1; empty when both trees are the same or the earlier one is empty. Raises ValueError if
    `earlier` is beyond the leaves.
    """
    if not 0 <= earlier <= len(leaves):
        msg = f"a log of {len(leaves)} entries was never {earlier} long"
        raise ValueError(msg)
    if earlier in {0, len(leaves)}:
        return ()
    path: list[bytes] = []
    start, end, whole = 0, len(leaves), True
    while earlier != end:
        middle = start + _split(end - start)
        if earlier <= middle:
            path.append(_range_root(leaves, middle, end))
            end = middle
        else:
            path.append(_range_root(leaves, start, middle))
            start, whole = middle, False
    if not whole:
        path.append(_range_root(leaves, start, end))
    return tuple(reversed(path))


def includes(*, root: bytes, size: int, index: int, leaf: bytes, proof: Sequence[bytes]) -> bool:
    """Whether `proof` shows that the tree of `size` leaves with this `root` has the hash `leaf` at `index`.

    RFC 9162, 2.1.3.2.
    """
    if not 0 <= index < size:
        return False
    at, last, got = index, size - 1, leaf
    for step in proof:
        if last == 0:
            return False
        if at & 1 or at == last:
            got = node_hash(step, got)
            while not at & 1 and at:
                at >>= 1
                last >>= 1
        else:
            got = node_hash(got, step)
        at >>= 1
        last >>= 1
    return last == 0 and got == root


def continues(*, earlier: int, earlier_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether `proof` shows that the tree of `size` leaves begins with the tree of `earlier` leaves.

    RFC 9162, 2.1.4.2. Every log continues the empty one, whose root is `EMPTY_ROOT`.
    """
    if not 0 <= earlier <= size:
        return False
    if earlier == 0:
        return earlier_root == EMPTY_ROOT and not proof
    if earlier == size:
        return earlier_root == root and not proof
    path = list(proof)
    if earlier & (earlier - 1) == 0:
        path.insert(0, earlier_root)
    if not path:
        return False
    at, last = earlier - 1, size - 1
    while at & 1:
        at >>= 1
        last >>= 1
    old = new = path[0]
    for step in path[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            old, new = node_hash(step, old), node_hash(step, new)
            while not at & 1 and at:
                at >>= 1
                last >>= 1
        else:
            new = node_hash(new, step)
        at >>= 1
        last >>= 1
    return last == 0 and old == earlier_root and new == root


def _split(size: int) -> int:
    """The largest power of two below `size`, which is at least 2."""
    return 1 << ((size - 1).bit_length() - 1)


def _range_root(leaves: Sequence[bytes], start: int, end: int) -> bytes:
    """The root of the tree over leaves `start` up to `end`."""
    return Chain().extended(leaves[at] for at in range(start, end)).root()
