"""A cluster's machines as nodes of the factory: what others use of them is not offered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tawtin.engines.shared.cluster import Holding
from tawtin.engines.slurm.client import Machine
from tawtin.model.resources import Node, NodeHealth

_SICK = frozenset(
    {
        "DOWN", "DRAIN", "DRAINED", "DRAINING", "FAIL", "FAILING", "NOT_RESPONDING", "UNKNOWN", "INVAL", "INVALID_REG",
        "MAINT", "MAINTENANCE", "ERROR", "FUTURE", "POWERED_DOWN", "POWERING_DOWN", "REBOOT", "REBOOT_REQUESTED",
        "REBOOT_ISSUED", "PLANNED_DOWN",
    }
)  # fmt: skip


def nodes(
    machines: Iterable[Machine],
    ours: Mapping[str, Holding],
    *,
    engine: str,
    disk_mib: int,
    declared: bool,
    partitions: Iterable[str],
    answering: bool,
) -> tuple[Node, ...]:
    """The nodes of the given partitions. `disk_mib` is free where runs have their folders."""
    usable = frozenset(partitions)
    found: list[Node] = []
    for machine in machines:
        if usable.isdisjoint(machine.partitions) or not machine.cpus:
            continue
        own = ours.get(machine.name, Holding())
        foreign = max(0, machine.gpus_taken - own.gpus)
        free = [index for index in reversed(range(machine.gpus)) if index not in own.indices]
        sick = not answering or not _SICK.isdisjoint(machine.states)
        found.append(
            Node(
                name=machine.name,
                engine=engine,
                gpu_model=machine.gpu_model.upper(),
                gpus=min(64, machine.gpus),
                gpus_declared=declared and machine.gpus > 0,
                gpus_sick=tuple(sorted(free[:foreign])),
                cpus_milli=1000 * (machine.cpus - max(0, machine.cpus_taken - own.cpus)),
                memory_mib=machine.memory_mib - max(0, machine.memory_taken_mib - own.memory_mib),
                disk_mib=disk_mib,
                health=NodeHealth.SICK if sick else NodeHealth.READY,
            )
        )
    return tuple(found)
