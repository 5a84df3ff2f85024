"""A cluster's machines as nodes of the factory: what others use of them is not offered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from tawtin.engines.ray.client import Machine
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
        if not machine.cpus_milli:
            continue
        own = ours.get(machine.name, Holding())
        foreign = max(0, machine.gpus_taken - own.gpus)
        free = [index for index in reversed(range(machine.gpus)) if index not in own.indices]
        found.append(
            Node(
                name=machine.name,
                engine=engine,
                gpu_model=machine.gpu_model.upper(),
                gpus=min(64, machine.gpus),
                gpus_declared=declared and machine.gpus > 0,
                gpus_sick=tuple(sorted(free[:foreign])),
                cpus_milli=machine.cpus_milli - max(0, machine.cpus_taken_milli - 1000 * own.cpus),
                memory_mib=machine.memory_mib - max(0, machine.memory_taken_mib - own.memory_mib),
                disk_mib=disk_mib,
                health=NodeHealth.READY if answering and machine.alive else NodeHealth.SICK,
            )
        )
    return tuple(found)
