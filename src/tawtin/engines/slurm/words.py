"""From an order to the words of `sbatch`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from tawtin.engines.shared.folders import PlanError
from tawtin.engines.shared.scripts import OUTPUT, cpus_of
from tawtin.engines.slurm.client import Machine, Partition
from tawtin.engines.slurm.settings import SlurmSettings
from tawtin.ports import RunOrder

_SPARE_MINUTES: Final = 3
"""Added to a job's time limit: the run's own limit is kept to the second by its script; this one is for its loss."""


def comment_of(mark: str, run: str) -> str:
    """What a run's job has as its comment, by which it is found again."""
    return f"tawtin:{mark}:{run}"


def run_of(mark: str, comment: str) -> str:
    """The run that a comment names; empty for the work of others."""
    head = f"tawtin:{mark}:"
    return comment.removeprefix(head) if comment.startswith(head) else ""


def usable(settings: SlurmSettings, partitions: Iterable[Partition]) -> tuple[Partition, ...]:
    """The partitions that jobs are sent to, the preferred one first."""
    up = [each for each in partitions if each.up]
    if not settings.partitions:
        return tuple(sorted(up, key=lambda each: not each.default))
    order = {name: place for place, name in enumerate(settings.partitions)}
    return tuple(sorted((each for each in up if each.name in order), key=lambda each: order[each.name]))


def words(
    order: RunOrder,
    settings: SlurmSettings,
    *,
    folder: str,
    comment: str,
    machines: Mapping[str, Machine],
    partitions: Sequence[Partition],
) -> tuple[str, ...]:
    """All words of `sbatch` but the script. `folder` is where the run lives. Raises PlanError."""
    names = [slot.node for slot in order.slots]
    shape, gpus = order.shape, max((len(slot.gpus) for slot in order.slots), default=0)
    minutes = minutes_of(order)
    model = machines[names[0]].gpu_model if names and names[0] in machines else ""
    found = [
        "--no-requeue",
        "--export=ALL",
        "--input=/dev/null",
        f"--output={folder}/{OUTPUT}",
        "--open-mode=append",
        f"--chdir={folder}",
        f"--comment={comment}",
        f"--job-name={order.spec.name}",
        f"--partition={_partition(names, minutes, machines, partitions)}",
        f"--nodes={len(names)}",
        f"--nodelist={','.join(names)}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={cpus_of(order)}",
        f"--mem={max(1, shape.memory_mib)}M",
        f"--time={minutes}" if minutes else "--time=UNLIMITED",
    ]
    if gpus:
        found.append(f"--gres=gpu:{model}:{gpus}" if model else f"--gres=gpu:{gpus}")
    if settings.account:
        found.append(f"--account={settings.account}")
    if settings.qos:
        found.append(f"--qos={settings.qos}")
    return (*found, *settings.options)


def minutes_of(order: RunOrder) -> int:
    """The time limit of the job; 0 for none."""
    limit_ms = order.spec.max_duration_ms
    if limit_ms is None:
        return 0
    return -(-(limit_ms + order.spec.stop_grace_ms) // 60_000) + _SPARE_MINUTES


def _partition(
    names: Sequence[str], minutes: int, machines: Mapping[str, Machine], partitions: Sequence[Partition]
) -> str:
    """The first partition that has all nodes, and lets a job run for so long."""
    holding = [
        each
        for each in partitions
        if all(name in machines and each.name in machines[name].partitions for name in names)
    ]
    if not holding:
        raise PlanError(f"no usable partition has the nodes {', '.join(names)} together")
    for each in holding:
        if each.minutes_max is None or 0 < minutes <= each.minutes_max:
            return each.name
    longest = max(each.minutes_max or 0 for each in holding)
    asked = f"{minutes} minutes" if minutes else "no time limit"
    raise PlanError(
        f"the run asks for {asked}, and partitions of its nodes allow {longest} minutes; set `max_duration` below that"
    )
