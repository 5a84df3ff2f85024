"""A cluster's machine as a node of the factory: what others use of it is not offered."""

from __future__ import annotations

from tawtin.engines.shared.cluster import Holding
from tawtin.model.base import Record
from tawtin.model.resources import Node, NodeHealth

_GPUS_MAX = 64


class Amount(Record, frozen=True, kw_only=True):
    """So much of a machine."""

    cpus_milli: int = 0
    memory_mib: int = 0
    gpus: int = 0


def others(taken: Amount, own: Holding) -> Amount:
    """What others have, of all that is `taken`."""
    return Amount(
        cpus_milli=max(0, taken.cpus_milli - 1000 * own.cpus),
        memory_mib=max(0, taken.memory_mib - own.memory_mib),
        gpus=max(0, taken.gpus - own.gpus),
    )


def node(  # noqa: PLR0913 - the fields of a record, all by name
    name: str,
    total: Amount,
    foreign: Amount,
    own: Holding,
    *,
    engine: str,
    gpu_model: str,
    declared: bool,
    disk_mib: int,
    health: NodeHealth,
) -> Node:
    """The machine less what others (`foreign`) have. Which GPUs these are nobody says: the last that we do not hold.

    `disk_mib` is free where runs have their folders; `declared`, that GPUs are not real.
    """
    gpus = min(_GPUS_MAX, total.gpus)
    free = [index for index in reversed(range(gpus)) if index not in own.indices]
    return Node(
        name=name,
        engine=engine,
        gpu_model=gpu_model if gpus else "",
        gpus=gpus,
        gpus_declared=declared and gpus > 0,
        gpus_sick=tuple(sorted(free[: foreign.gpus])),
        cpus_milli=max(0, total.cpus_milli - foreign.cpus_milli),
        memory_mib=max(0, total.memory_mib - foreign.memory_mib),
        disk_mib=disk_mib,
        health=health,
    )
