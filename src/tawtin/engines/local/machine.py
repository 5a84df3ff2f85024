"""This machine as nodes: one for each GPU model, processor and memory shared out by their GPUs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from tawtin.engines.local.gpus import Gpu
from tawtin.engines.local.settings import LocalSettings
from tawtin.model.resources import Node, NodeHealth

_MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """What the machine offers to runs, the reserve taken off."""

    cpus_milli: int
    memory_mib: int
    disk_mib: int


def capacity(settings: LocalSettings) -> Capacity:
    """What is offered: settings where they say, else what the machine has."""
    cpus = settings.cpus_milli
    if cpus is None:
        cpus = max(0, len(os.sched_getaffinity(0)) * 1000 - settings.reserve_cpus_milli)
    memory = settings.memory_mib
    if memory is None:
        memory = max(0, _memory_mib() - settings.reserve_memory_mib)
    disk = settings.disk_mib
    if disk is None:
        disk = max(0, free_mib(settings.root) - settings.reserve_disk_mib)
    return Capacity(cpus_milli=cpus, memory_mib=memory, disk_mib=disk)


def _memory_mib() -> int:
    with open("/proc/meminfo", encoding="ascii") as file:
        for line in file:
            if line.startswith("MemTotal:"):
                return int(line.split()[1]) // 1024
    return 0


def free_mib(path: str) -> int:
    """Free disk where `path` lies, MiB."""
    info = os.statvfs(path)
    return info.f_bavail * info.f_frsize // _MIB


@dataclass(frozen=True, kw_only=True)
class _Kind:
    model: str
    gpus: tuple[Gpu, ...] = ()
    count: int = 0
    memory_mib: int = 0
    declared: bool = False


def nodes(
    name: str, offered: Capacity, found: Sequence[Gpu], settings: LocalSettings, *, full: bool
) -> tuple[Node, ...]:
    """The nodes of the machine `name`. `full`: its disk is, so nothing new should start."""
    kinds: list[_Kind] = []
    for model in sorted({gpu.model for gpu in found}):
        own = tuple(gpu for gpu in found if gpu.model == model)
        kinds.append(
            _Kind(model=model, gpus=own, count=len(own), memory_mib=min(gpu.memory_mib for gpu in own))
        )
    kinds += [
        _Kind(model=declared.model, count=declared.count, memory_mib=declared.memory_mib, declared=True)
        for declared in settings.gpus_declared
        if declared.count
    ]
    if not kinds:
        kinds = [_Kind(model="")]
    total = sum(kind.count for kind in kinds)
    models = [kind.model for kind in kinds]
    result: list[Node] = []
    left = offered
    for place, kind in enumerate(kinds):
        last = place == len(kinds) - 1
        share = left if last else _part(offered, kind.count, total)
        left = Capacity(
            cpus_milli=left.cpus_milli - share.cpus_milli,
            memory_mib=left.memory_mib - share.memory_mib,
            disk_mib=left.disk_mib - share.disk_mib,
        )
        suffix = f"{kind.model}-declared" if kind.declared and models.count(kind.model) > 1 else kind.model
        result.append(
            Node(
                name=name if len(kinds) == 1 else f"{name}/{suffix}",
                gpu_model=kind.model,
                gpus=kind.count,
                gpu_ids=tuple(gpu.uuid for gpu in kind.gpus),
                gpu_memory_mib=kind.memory_mib,
                gpus_declared=kind.declared,
                gpu_faults=tuple(
                    msgspec.structs.replace(fault, index=index)
                    for index, gpu in enumerate(kind.gpus)
                    for fault in gpu.faults
                ),
                cpus_milli=share.cpus_milli,
                memory_mib=share.memory_mib,
                disk_mib=share.disk_mib,
                health=NodeHealth.SICK if full else NodeHealth.READY,
            )
        )
    return tuple(result)


def _part(offered: Capacity, count: int, total: int) -> Capacity:
    return Capacity(
        cpus_milli=offered.cpus_milli * count // total,
        memory_mib=offered.memory_mib * count // total,
        disk_mib=offered.disk_mib * count // total,
    )
