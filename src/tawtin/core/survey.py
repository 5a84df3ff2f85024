"""What all explanations of one moment share: kinds of nodes, free room, who waits before whom, earliest starts.

Made once for a state between two entries, each part when it is first asked for, so that a page of reasons costs little
more than one of them.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections import Counter
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

from tawtin.core import feasible, reserve
from tawtin.core.feasible import Option
from tawtin.core.pack import Room
from tawtin.core.queues import Tally
from tawtin.core.state import State
from tawtin.model.resources import Node, NodeHealth


class Kind:
    """Nodes of equal size: how many are ready, how many are here at all, when each ready one is expected empty."""

    __slots__ = ("clear_ms", "node", "present", "ready")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.ready = 0
        self.present = 0
        self.clear_ms: list[int] = []
        """Sorted."""


class Line(NamedTuple):
    """Who waits in one pool at one priority, and above it."""

    above: int
    above_work: int
    counts: list[int]
    """Of each tenant, ascending."""
    sums: list[int]
    """Running sums of `counts`."""
    mean_work: int
    """Of one workload at this priority."""
    by_tenant: dict[str, int]

    def turns(self, tenant: str, before: int) -> int:
        """How many workloads of other tenants come before one that has `before` of its own tenant before it.

        Fair share takes turns: of each other tenant as many as that, while it has them.
        """
        small = bisect_right(self.counts, before)
        others = (self.sums[small - 1] if small else 0) + (len(self.counts) - small) * before
        return others - min(self.by_tenant.get(tenant, 0), before)


class Survey:
    """One moment of a state."""

    def __init__(self, state: State, reserved: tuple[str, ...], now_ms: int) -> None:
        """Look at `state` as it is now; `reserved` are the nodes that the last pass kept for somebody."""
        self.state = state
        self.seq = state.seq
        self.reserved = reserved
        self.now_ms = now_ms
        self._lines: dict[tuple[str, int], Line] = {}
        self._starts: dict[Option, int | None] = {}
        self._clear: dict[Option, int | None] = {}

    @cached_property
    def room(self) -> Room:
        """What is free on ready nodes."""
        return Room([self.state.seats[name] for name in self.state.node_names])

    @cached_property
    def open_room(self) -> Room:
        """The same without reserved nodes."""
        kept = dict.fromkeys(self.reserved)
        return Room([self.state.seats[name] for name in self.state.node_names if name not in kept])

    @cached_property
    def kinds(self) -> list[Kind]:
        """Nodes by size and model, gone ones left out."""
        kinds: dict[tuple[str, str, int, int, int, int], Kind] = {}
        soon = self.now_ms + reserve.SOON_MS
        for name in self.state.node_names:
            node = self.state.nodes[name]
            if node.health is NodeHealth.GONE:
                continue
            size = (
                node.engine,
                node.gpu_model,
                feasible.usable(node),
                node.cpus_milli,
                node.memory_mib,
                node.disk_mib,
            )
            kind = kinds.get(size)
            if kind is None:
                kind = kinds[size] = Kind(node)
            kind.present += 1
            if node.health is NodeHealth.READY:
                kind.ready += 1
                ends = self.state.seats[name].ends
                kind.clear_ms.append(max(ends[-1][0], soon) if ends else self.now_ms)
        for kind in kinds.values():
            kind.clear_ms.sort()
        return list(kinds.values())

    @cached_property
    def gpus(self) -> dict[str, tuple[int, int]]:
        """Free and usable GPUs by model, and of all models under the empty name."""
        found: dict[str, tuple[int, int]] = {"": (0, 0)}
        for name in self.state.node_names:
            node = self.state.nodes[name]
            if node.gpus and node.health is not NodeHealth.GONE:
                free, usable = max(0, self.state.seats[name].gpus), feasible.usable(node)
                for model in ("", node.gpu_model):
                    had = found.get(model, (0, 0))
                    found[model] = (had[0] + free, had[1] + usable)
        return found

    def nodes_for(self, option: Option) -> tuple[int, int]:
        """How many nodes could hold a rank of `option` if they were empty: ready ones, and all that are here.

        For a gang, those of the engine that has most, as it cannot be spread over several.
        """
        fitting = [kind for kind in self.kinds if feasible.fits_empty(option, kind.node)]
        ready, present = Counter[str](), Counter[str]()
        for kind in fitting:
            engine = kind.node.engine if option.nodes > 1 else ""
            ready[engine] += kind.ready
            present[engine] += kind.present
        return max(ready.values(), default=0), max(present.values(), default=0)

    def clear_ms(self, option: Option) -> int | None:
        """When as many nodes as `option` needs are expected to be empty: a late limit of its earliest start."""
        if option not in self._clear:
            by_engine: dict[str, list[int]] = {}
            for kind in self.kinds:
                if feasible.fits_empty(option, kind.node):
                    ends = by_engine.setdefault(kind.node.engine if option.nodes > 1 else "", [])
                    for end_ms in kind.clear_ms[: option.nodes]:
                        insort(ends, end_ms)
            enough = [ends[option.nodes - 1] for ends in by_engine.values() if len(ends) >= option.nodes]
            self._clear[option] = min(enough, default=None)
        return self._clear[option]

    def earliest_ms(self, option: Option) -> int | None:
        """The earliest time at which nodes have room for `option`, if nobody else took it."""
        if option not in self._starts:
            found = reserve.earliest(self.room, option, self.now_ms)
            self._starts[option] = found[-1][0] if found is not None else None
        return self._starts[option]

    def line(self, pool: str, priority: int) -> Line:
        """Who waits in `pool` at `priority`."""
        found = self._lines.get((pool, priority))
        if found is None:
            found = self._lines[pool, priority] = self._line(pool, priority)
        return found

    def _line(self, pool: str, priority: int) -> Line:
        above = above_work = 0
        here: dict[str, Tally] = {}
        for level, tallies in self.state.queues.tallies.items():
            if level >= priority:
                for (name, tenant), tally in tallies.items():
                    if name == pool and level > priority:
                        above += len(tally.keys)
                        above_work += tally.work
                    elif name == pool:
                        here[tenant] = tally
        counts = sorted(len(tally.keys) for tally in here.values())
        work = sum(tally.work for tally in here.values())
        return Line(
            above=above,
            above_work=above_work,
            counts=counts,
            sums=list(accumulate(counts)),
            mean_work=work // max(1, sum(counts)),
            by_tenant={tenant: len(tally.keys) for tenant, tally in here.items()},
        )
