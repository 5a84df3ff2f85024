"""A cluster's machines as nodes of the factory: what others use of them is not offered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tawtin.engines.shared import inventory
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
        if usable.isdisjoint(machine.partitions) or not machine.total.cpus_milli:
            continue
        own = ours.get(machine.name, Holding())
        sick = not answering or not _SICK.isdisjoint(machine.states)
        found.append(
            inventory.node(
                machine.name,
                machine.total,
                inventory.others(machine.taken, own),
                own,
                engine=engine,
                gpu_model=machine.gpu_model.upper(),
                declared=declared,
                disk_mib=disk_mib,
                health=NodeHealth.SICK if sick else NodeHealth.READY,
            )
        )
    return tuple(found)
