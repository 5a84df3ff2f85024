"""A cluster's machines as nodes of the factory: what others use of them is not offered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tawtin.engines.ray.client import Machine
from tawtin.engines.shared import inventory
from tawtin.engines.shared.cluster import Holding
from tawtin.model.resources import Node, NodeHealth


def nodes(
    machines: Iterable[Machine],
    ours: Mapping[str, Holding],
    *,
    engine: str,
    disk_mib: int,
    declared: bool,
    answering: bool,
) -> tuple[Node, ...]:
    """Those that offer processors: a head often offers none. `disk_mib` is free where runs have their folders."""
    found: list[Node] = []
    for machine in machines:
        if not machine.total.cpus_milli:
            continue
        own = ours.get(machine.name, Holding())
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
                health=NodeHealth.READY if answering and machine.alive else NodeHealth.SICK,
            )
        )
    return tuple(found)
