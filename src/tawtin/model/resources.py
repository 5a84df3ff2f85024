"""What a workload asks for, what a node has, and where a run was put."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from tawtin.model.base import Record
from tawtin.model.health import GpuFault

Count = Annotated[int, msgspec.Meta(ge=0)]


class Shape(Record, order=True, frozen=True, kw_only=True):
    """What a run takes on each of its nodes. An empty `gpu_model` with `gpus` above 0 means any model."""

    gpu_model: str = ""
    gpus: Count = 0
    cpus_milli: Count = 1000
    memory_mib: Count = 1024
    disk_mib: Count = 0


class Demand(Record, order=True, frozen=True, kw_only=True):
    """What a workload asks for: so many nodes, each with one of these shapes, the first preferred.

    Ranges and `any_of` of a spec are flattened into `options` when it is parsed. All nodes of one run get the same
    option.
    """

    nodes: Annotated[int, msgspec.Meta(ge=1)] = 1
    options: Annotated[tuple[Shape, ...], msgspec.Meta(min_length=1)]


class NodeHealth(StrEnum):
    """Whether a node takes new runs."""

    READY = "ready"
    DRAINING = "draining"
    SICK = "sick"
    GONE = "gone"


class Node(Record, frozen=True, kw_only=True):
    """One machine, or one slice of a machine, with GPUs of at most one model."""

    name: str
    engine: str = "local"
    gpu_model: str = ""
    gpus: Annotated[int, msgspec.Meta(ge=0, le=64)] = 0
    """Whole GPUs, known to runs by the indices 0 to gpus - 1 of `gpu_ids`."""
    gpu_ids: tuple[str, ...] = ()
    """What the driver calls each of them (UUIDs); empty when they are declared."""
    gpu_memory_mib: Count = 0
    gpus_declared: bool = False
    """The operator declared these GPUs for trying things out; they are not real."""
    gpus_sick: tuple[int, ...] = ()
    """Indices that are not handed out, sorted: sick, in quarantine, or in use by others of the cluster."""
    gpu_faults: tuple[GpuFault, ...] = ()
    """What the engine finds wrong with GPUs now, or found since it remembers. The factory keeps them in quarantine."""
    cpus_milli: Count
    memory_mib: Count
    disk_mib: Count = 0
    health: NodeHealth = NodeHealth.READY


class Slot(Record, frozen=True, kw_only=True):
    """One node of a run's placement."""

    node: str
    gpus: tuple[int, ...] = ()
    """Indices of the GPUs that this run alone holds there, sorted."""


class Placement(Record, frozen=True, kw_only=True):
    """Where one run of a workload goes: the option of its demand, and a slot for each of its nodes, rank 0 first."""

    workload: str
    shape: Shape
    slots: Annotated[tuple[Slot, ...], msgspec.Meta(min_length=1)]
