"""What is free on each node: counted up and down by fold, read by decide."""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import Final

from tawtin.model.resources import Node, NodeHealth, Shape, Slot

LEAVING: Final = -1_000_000
"""The level of runs with a stop order: below every priority, as their room is promised already."""
PROTECTED: Final = 1_000_000
"""The level of runs that may not be ousted: above every priority."""


class Held:
    """What one run holds on one node, for how long it is expected to, and who may oust it."""

    __slots__ = ("cpus", "disk", "end_ms", "gpus", "level", "mask", "memory", "placed_ms", "run")

    def __init__(
        self, run: str, shape: Shape, slot: Slot, *, end_ms: int, level: int, placed_ms: int
    ) -> None:
        self.run = run
        self.gpus = len(slot.gpus)
        self.mask = mask_of(slot.gpus)
        self.cpus = shape.cpus_milli
        self.memory = shape.memory_mib
        self.disk = shape.disk_mib
        self.end_ms = end_ms
        self.level = level
        """Its priority if it may be ousted by a higher one; else `LEAVING` or `PROTECTED`."""
        self.placed_ms = placed_ms


class Yield:
    """What all runs of one level hold on one node."""

    __slots__ = ("cpus", "disk", "gpus", "memory", "runs")

    def __init__(self) -> None:
        self.runs = 0
        self.gpus = 0
        self.cpus = 0
        self.memory = 0
        self.disk = 0

    def count(self, held: Held, sign: int) -> None:
        """Count a run in (1) or out (-1)."""
        self.runs += sign
        self.gpus += sign * held.gpus
        self.cpus += sign * held.cpus
        self.memory += sign * held.memory
        self.disk += sign * held.disk


class Seat:
    """One node as decide sees it. Amounts may be negative after a node shrank below what runs on it."""

    __slots__ = (
        "cpus", "disk", "ends", "engine", "gpus", "held", "mask", "memory", "model", "name", "ready", "yields",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        self.name = name
        self.model = ""
        self.engine = ""
        self.ready = False
        self.mask = 0
        """Bit i is set when GPU index i is free and well."""
        self.gpus = 0
        self.cpus = 0
        self.memory = 0
        self.disk = 0
        self.held: dict[str, Held] = {}
        """By run id."""
        self.ends: list[tuple[int, str, Held]] = []
        """The same, soonest expected to end first."""
        self.yields: dict[int, Yield] = {}
        """By level; protected runs are left out."""

    def settle(self, node: Node | None) -> None:
        """Count again what is free, after the node itself changed; None when it has left."""
        self.ready = node is not None and node.health is NodeHealth.READY
        if node is None:
            self.model, self.mask, self.cpus, self.memory, self.disk = "", 0, 0, 0, 0
        else:
            self.model, self.engine = node.gpu_model if node.gpus else "", node.engine
            self.mask = (1 << node.gpus) - 1 & ~mask_of(node.gpus_sick)
            self.cpus, self.memory, self.disk = node.cpus_milli, node.memory_mib, node.disk_mib
        for held in self.held.values():
            self.mask &= ~held.mask
            self.cpus -= held.cpus
            self.memory -= held.memory
            self.disk -= held.disk
        self.gpus = self.mask.bit_count()

    def _held(self) -> int:
        mask = 0
        for held in self.held.values():
            mask |= held.mask
        return mask

    def take(self, held: Held) -> None:
        """Let a run have its part."""
        self.held[held.run] = held
        insort(self.ends, (held.end_ms, held.run, held))
        self.mask &= ~held.mask
        self.gpus = self.mask.bit_count()
        self.cpus -= held.cpus
        self.memory -= held.memory
        self.disk -= held.disk
        self._count(held, 1)

    def drop(self, run: str, node: Node | None) -> None:
        """Take back what a run held; `node` is this node's record, None when it has left."""
        held = self.held.pop(run)
        self._count(held, -1)
        del self.ends[bisect_left(self.ends, (held.end_ms, run))]
        self.settle(node)

    def judge(self, run: str, *, end_ms: int, level: int) -> None:
        """A run's expected end or level changed."""
        held = self.held[run]
        self._count(held, -1)
        del self.ends[bisect_left(self.ends, (held.end_ms, run))]
        held.end_ms, held.level = end_ms, level
        insort(self.ends, (end_ms, run, held))
        self._count(held, 1)

    def _count(self, held: Held, sign: int) -> None:
        if held.level == PROTECTED:
            return
        total = self.yields.setdefault(held.level, Yield())
        total.count(held, sign)
        if total.runs == 0:
            del self.yields[held.level]

    def misfit(self, shape: Shape, slot: Slot, tried: tuple[int, ...] | None = None) -> str:
        """Why one rank of `shape` cannot be put into `slot` here; empty if it can. Sick GPUs may be `tried`."""
        if not self.ready and tried is None:
            return "the node takes no new runs"
        wanted = mask_of(slot.gpus)
        if len(slot.gpus) != shape.gpus or wanted.bit_count() != shape.gpus:
            return f"the slot has {len(slot.gpus)} GPUs and the shape {shape.gpus}"
        if wanted & ~(self.mask | mask_of(tried or ()) & ~self._held()):
            return "a GPU of the slot is not free"
        if shape.gpus and shape.gpu_model not in ("", self.model):
            return f"the node has {self.model or 'no GPUs'}, not {shape.gpu_model}"
        if shape.cpus_milli > self.cpus or shape.memory_mib > self.memory or shape.disk_mib > self.disk:
            return "too little of processors, memory or disk is free"
        return ""


def mask_of(indices: tuple[int, ...]) -> int:
    """The bit set of GPU indices."""
    mask = 0
    for index in indices:
        mask |= 1 << index
    return mask


def lowest(mask: int, count: int) -> tuple[int, ...]:
    """The `count` lowest indices in `mask`, ascending."""
    indices: list[int] = []
    while len(indices) < count:
        bit = mask & -mask
        indices.append(bit.bit_length() - 1)
        mask ^= bit
    return tuple(indices)
