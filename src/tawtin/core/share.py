"""Weighted dominant resource fairness: who has the least of what is due to it.

A tenant's share is the largest of its shares of GPUs, processors and memory, divided by its weight (Ghodsi et al.,
"Dominant Resource Fairness", NSDI 2011). GPUs of all models count alike. Shares are integers, so that every platform
orders tenants alike.
"""

from __future__ import annotations

from typing import Final

UNIT: Final = 10**12


class Holding:
    """What a tenant holds now. `burn` and `burn_start` give the cost of its live runs at any time in one step."""

    __slots__ = ("burn", "burn_start", "cpus", "ends", "gpus", "memory", "runs", "unfinished")

    def __init__(self) -> None:
        self.gpus = 0
        self.cpus = 0
        self.memory = 0
        self.runs = 0
        self.unfinished = 0
        """Workloads that wait or run."""
        self.burn = 0
        """Sum over live runs of their `meter.burn`."""
        self.burn_start = 0
        """Sum over live runs of burn times the time they were placed."""

        self.ends: list[tuple[int, str]] = []
        """When each live run is expected to end, soonest first."""

    def accrued(self, now_ms: int) -> int:
        """What the live runs cost so far, in minor units times `meter.SCALE`."""
        return self.burn * now_ms - self.burn_start

    def figures(self) -> tuple[int, ...]:
        """Everything, for comparisons."""
        return (self.gpus, self.cpus, self.memory, self.runs, self.unfinished, self.burn, self.burn_start)


class Totals:
    """What the factory has: GPUs that are not sick, milli-processors, MiB."""

    __slots__ = ("cpus", "gpus", "memory")

    def __init__(self) -> None:
        self.gpus = 0
        self.cpus = 0
        self.memory = 0


def share(*, gpus: int, cpus: int, memory: int, totals: Totals, weight: int) -> int:
    """The dominant share of these amounts for one unit of weight; `UNIT` is the whole factory at weight 1."""
    largest = 0
    if totals.gpus > 0:
        largest = gpus * UNIT // totals.gpus
    if totals.cpus > 0:
        largest = max(largest, cpus * UNIT // totals.cpus)
    if totals.memory > 0:
        largest = max(largest, memory * UNIT // totals.memory)
    return largest // weight
