"""Prefix affinity: which share of prompt tokens ten replicas need not compute again, and how evenly they are used.

The requests of Mooncake's conversation trace (an hour, prompts as hashes of blocks of 512 tokens), by time. A replica
keeps 3 million tokens, the least recently used go first. A request is under way while its new tokens are computed
(20,000 a second) and its answer is written (30 ms a token): both are assumed, and tell only how many are under way at a
time, some 35.
"""

from __future__ import annotations

import heapq
import random
import statistics
import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from bench import common
from tawtin.core import route

REPLICAS: Final = 10
BLOCK: Final = 512
KEPT_BLOCKS: Final = 3_000_000 // BLOCK
NEW_TOKENS_PER_S: Final = 20_000
TOKEN_S: Final = 0.03
TRACE: Final = "mooncake/conversation_trace.jsonl"


class Request(msgspec.Struct):
    """A line of the trace."""

    timestamp: int
    input_length: int
    output_length: int
    hash_ids: list[int]


@dataclass
class Replica:
    """What one has kept, and how much it was given."""

    kept: OrderedDict[int, None] = field(default_factory=OrderedDict[int, None])
    tokens: int = 0
    under_way: int = 0

    def known(self, blocks: list[int]) -> int:
        """So many blocks, from the first, need not be computed."""
        return next((place for place, block in enumerate(blocks) if block not in self.kept), len(blocks))

    def serve(self, blocks: list[int], kept_max: int) -> int:
        known = self.known(blocks)
        for block in reversed(blocks):
            self.kept[block] = None
            self.kept.move_to_end(block)
        while len(self.kept) > kept_max:
            self.kept.popitem(last=False)
        return known


Policy = Callable[[list[int], list[Replica]], int]


def by_chance(seed: int) -> Policy:
    chance = random.Random(seed)
    return lambda _blocks, replicas: chance.randrange(len(replicas))


def in_turn() -> Policy:
    turn = iter(range(1 << 62))
    return lambda _blocks, replicas: next(turn) % len(replicas)


def longest_known(blocks: list[int], replicas: list[Replica]) -> int:
    """The replica that knows most, the first of equals: nothing of their load."""
    return max(range(len(replicas)), key=lambda place: replicas[place].known(blocks))


def ours(names: str) -> Policy:
    """The gateway's, which sees texts and no caches; a block's hash stands for the text up to its end."""
    seen = route.Beginnings()
    seeds = [route.seed(f"{names}{place}") for place in range(REPLICAS)]

    def choose(blocks: list[int], replicas: list[Replica]) -> int:
        levels = [route.seed(str(blocks[min(1 << level, len(blocks)) - 1])) for level in range(6)]
        return route.choose(seen.key(levels), seeds, [replica.under_way for replica in replicas])

    return choose


def play(
    trace: list[Request], policy: Policy, *, count: int = REPLICAS, kept_max: int = KEPT_BLOCKS
) -> tuple[float, float]:
    """(percent of prompt tokens that were kept, tokens of the most loaded replica by those of the mean)."""
    replicas = [Replica() for _ in range(count)]
    under_way: list[tuple[float, int]] = []
    kept = 0
    for request in trace:
        now_s = request.timestamp / 1000
        while under_way and under_way[0][0] <= now_s:
            replicas[heapq.heappop(under_way)[1]].under_way -= 1
        place = policy(request.hash_ids, replicas)
        replica = replicas[place]
        known = min(BLOCK * replica.serve(request.hash_ids, kept_max), request.input_length)
        kept += known
        replica.tokens += request.input_length
        replica.under_way += 1
        took_s = (request.input_length - known) / NEW_TOKENS_PER_S + request.output_length * TOKEN_S
        heapq.heappush(under_way, (now_s + took_s, place))
    total = sum(replica.tokens for replica in replicas)
    return 100 * kept / total, max(replica.tokens for replica in replicas) * count / total


def measure(*, quick: bool) -> list[common.Figure]:
    """All figures."""
    path = common.data(TRACE)
    if not path.exists():
        return [common.skipped("prefix affinity", "%", f"{TRACE} is not in the data folder (TAWTIN_DATA)")]
    decode = msgspec.json.Decoder(Request).decode
    trace = [decode(line) for line in path.read_bytes().splitlines()]
    ceiling, _ = play(trace, lambda _blocks, _replicas: 0, count=1, kept_max=1 << 60)
    figures: list[common.Figure] = []
    for name, policies in (
        ("random", [by_chance(seed) for seed in range(1 if quick else 5)]),
        ("round-robin", [in_turn()]),
        ("longest known prefix", [longest_known]),
    ):
        played = [play(trace, policy) for policy in policies]
        figures += [
            common.figure(
                f"{name}: tokens kept",
                "%",
                [hit for hit, _ in played],
                peer="infinite cache",
                peer_value=ceiling,
            ),
            common.figure(f"{name}: most loaded replica by the mean", "x", [load for _, load in played]),
        ]
    played = [
        play(trace, ours(names)) for names in ("a", "replica-", "w-", "node", "10.0.0.")[: 1 if quick else 5]
    ]
    hits, loads = [hit for hit, _ in played], [load for _, load in played]
    note = (
        f"{len(trace):,} requests, {REPLICAS} replicas; sets of names of replicas, which decide who gets what"
    )
    return [
        *figures,
        common.figure("tawtin: tokens kept", "%", hits, peer="infinite cache", peer_value=ceiling, at_least=0.9,
                      judge="ratio", note=note),
        common.figure("tawtin: most loaded replica by the mean", "x", loads, value=max(loads), at_most=1.3,
                      note=f"the worst of the sets; their median is {statistics.median(loads):.2f}"),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(common.main(measure))
