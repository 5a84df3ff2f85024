"""What is free on each node: counted up and down by fold, read by decide."""

from __future__ import annotations

from tawtin.model.resources import Node, NodeHealth, Shape, Slot


class Held:
    """What one run holds on one node, and for how long it is expected to."""

    __slots__ = ("cpus", "disk", "end_ms", "gpus", "mask", "memory", "run")

    def __init__(self, run: str, shape: Shape, slot: Slot, end_ms: int) -> None:
        self.run = run
        self.gpus = len(slot.gpus)
        self.mask = mask_of(slot.gpus)
        self.cpus = shape.cpus_milli
        self.memory = shape.memory_mib
        self.disk = shape.disk_mib
        self.end_ms = end_ms


class Seat:
    """One node as decide sees it. Amounts may be negative after a node shrank below what runs on it."""

    __slots__ = ("cpus", "disk", "gpus", "held", "mask", "memory", "model", "name", "ready")

    def __init__(self, name: str) -> None:
        self.name = name
        self.model = ""
        self.ready = False
        self.mask = 0
        """Bit i is set when GPU index i is free and well."""
        self.gpus = 0
        self.cpus = 0
        self.memory = 0
        self.disk = 0
        self.held: dict[str, Held] = {}
        """By run id."""

    def settle(self, node: Node | None) -> None:
        """Count again what is free, after the node itself changed; None when it has left."""
        self.ready = node is not None and node.health is NodeHealth.READY
        if node is None:
            self.model, self.mask, self.cpus, self.memory, self.disk = "", 0, 0, 0, 0
        else:
            self.model = node.gpu_model if node.gpus else ""
            self.mask = (1 << node.gpus) - 1 & ~mask_of(node.gpus_sick)
            self.cpus, self.memory, self.disk = node.cpus_milli, node.memory_mib, node.disk_mib
        for held in self.held.values():
            self.mask &= ~held.mask
            self.cpus -= held.cpus
            self.memory -= held.memory
            self.disk -= held.disk
        self.gpus = self.mask.bit_count()

    def take(self, held: Held) -> None:
        """Let a run have its part."""
        self.held[held.run] = held
        self.mask &= ~held.mask
        self.gpus = self.mask.bit_count()
        self.cpus -= held.cpus
        self.memory -= held.memory
        self.disk -= held.disk

    def misfit(self, shape: Shape, slot: Slot) -> str:
        """Why one rank of `shape` cannot be put into `slot` here; empty if it can."""
        if not self.ready:
            return "the node takes no new runs"
        wanted = mask_of(slot.gpus)
        if len(slot.gpus) != shape.gpus or wanted.bit_count() != shape.gpus:
            return f"the slot has {len(slot.gpus)} GPUs and the shape {shape.gpus}"
        if wanted & ~self.mask:
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
