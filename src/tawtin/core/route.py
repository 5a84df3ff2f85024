"""Which replica answers a request: the one that has seen its beginning, unless it already does more than its share.

A model server keeps what it computed for the beginnings of past requests. Whoever sends a conversation to the replica
that had its last turn saves most of the work, and whoever sends all of them to one replica has lost. Each beginning has
its own order of the replicas (rendezvous hashing), which all gateways agree on without a word between them; the first
one whose load is within bounds takes the request (consistent hashing with bounded loads, Mirrokni et al. 2018).

Before that, replicas stand in tiers: those of a tier get a request only while none of an earlier tier can take it.
"""

from __future__ import annotations

from binascii import crc32
from collections import Counter, deque
from collections.abc import Sequence
from typing import Final, NamedTuple

_LENGTHS: Final = tuple((256 << octave) * quarter // 4 for octave in range(8) for quarter in (4, 5, 6, 7))
"""Bytes: 256, 320, 384, 448, 512, 640, ... 57,344: close enough to end soon after any system prompt."""
_MASK: Final = (1 << 32) - 1
_ODD: Final = 0x9E3779B1
_ODD_TOO: Final = 0x85EBCA77


class Tier(NamedTuple):
    """Where a replica stands in the order: at home before abroad, then by the operator's number; outside is last."""

    external: bool
    """An external provider."""
    abroad: bool
    """In another country than the tenant's own."""
    priority: int
    """The operator's: lower first."""


def first_tier(tiers: Sequence[Tier]) -> list[int]:
    """The places, in the list, of those of the earliest tier that is in it."""
    if not tiers:
        return []
    first = min(tiers)
    return [place for place, tier in enumerate(tiers) if tier == first]


def seed(name: str) -> int:
    """The number, of 32 bits, that stands for a replica."""
    return crc32(name.encode())


def beginnings(text: bytes) -> list[int]:
    """Numbers, of 32 bits, for a text's first 256 bytes, 320, 384, ... 56 KiB, as far as it goes, and for all of it.

    Requests that begin alike have their first numbers in common. They are sums, not digests: who makes two texts
    collide has both sent to one replica, and no more than its share of them.
    """
    found: list[int] = []
    done = total = 0
    for end in _LENGTHS:
        if end >= len(text):
            break
        total = crc32(text[done:end], total)
        done = end
        found.append(total)
    found.append(crc32(text[done:], total))
    return found


class Beginnings:
    """How common each beginning is among the newest requests: what nearly all share tells nothing about any of them."""

    def __init__(self, *, window: int = 2048, rare_max: int = 16, share_percent: int = 5) -> None:
        """Common is what more than `rare_max` of the newest `window` requests have, and more than a share of them."""
        self._window = window
        self._rare_max = rare_max
        self._share_percent = share_percent
        self._newest: deque[Sequence[int]] = deque()
        self._count: Counter[int] = Counter()

    def key(self, levels: Sequence[int]) -> int:
        """What a request with these beginnings is routed by: the shortest that is not common, or else the longest."""
        self._newest.append(levels)
        for level in levels:
            self._count[level] += 1
        if len(self._newest) > self._window:
            for level in self._newest.popleft():
                if self._count[level] > 1:
                    self._count[level] -= 1
                else:
                    del self._count[level]
        bound = max(self._rare_max, len(self._newest) * self._share_percent // 100)
        for level in levels:
            if self._count[level] <= bound:
                return level
        return levels[-1]


def choose(
    key: int, seeds: Sequence[int], loads: Sequence[int], *, over_percent: int = 100, slack: int = 1
) -> int:
    """The place, in both lists, of the replica for this key. `loads` are requests under way; there is at least one.

    None gets a request while it has more than an equal share of all of them, `over_percent` of that, and `slack`.
    """
    count = len(seeds)
    bound = (100 + over_percent) * (sum(loads) + 1) + 100 * slack * count
    best = -1
    best_rank = -1
    for place, number in enumerate(seeds):
        if loads[place] * 100 * count > bound:
            continue
        mixed = ((key ^ number) * _ODD) & _MASK
        rank = ((mixed ^ (mixed >> 15)) * _ODD_TOO) & _MASK
        if rank > best_rank:
            best, best_rank = place, rank
    return best
