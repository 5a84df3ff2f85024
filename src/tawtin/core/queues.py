"""Who waits: sorted lists by priority, tenant and demand class. Written by fold, read by decide.

A workload's place in line is the time it was submitted, then its id, whatever happened to it since. Lists hold
`(submitted_ms, id)`. What may not be placed whatever is free is kept apart: until a time (`delayed`), or until
somebody changes something (`parked`: unlawful now, its own budget is spent, peers are asked about it, or it rests).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from enum import StrEnum

from tawtin.core.feasible import DemandClass
from tawtin.model.workload import Workload

Key = tuple[int, str]
Groups = dict[DemandClass, list[Key]]


class Parked(StrEnum):
    """Why a workload is kept out of the queue until something else changes."""

    UNLAWFUL = "unlawful"
    BUDGET = "budget"
    RESTING = "resting"
    RECALL = "recall"
    """The store was put back, and peers have not said yet what they know of it."""


class Tally:
    """How much waits in one pool for one tenant at one priority."""

    __slots__ = ("keys", "work")

    def __init__(self) -> None:
        self.keys: list[Key] = []
        """Of all its workloads, sorted."""
        self.work = 0
        """Sum of `DemandClass.work`."""


class Queues:
    """Everything that waits."""

    __slots__ = ("by_priority", "class_of", "delayed", "parked", "tallies")

    def __init__(self) -> None:
        self.by_priority: dict[int, dict[str, Groups]] = {}
        self.class_of: dict[str, DemandClass] = {}
        """Of every queued workload, wherever it is kept."""
        self.delayed: list[tuple[int, str]] = []
        """Sorted `(not_before_ms, id)`."""
        self.parked: dict[str, Parked] = {}
        self.tallies: dict[int, dict[tuple[str, str], Tally]] = {}
        """By priority, then (pool, tenant); what is in `by_priority` only."""

    def add(self, workload: Workload, demand_class: DemandClass, parked: Parked | None) -> None:
        """Let a queued workload wait in the right place."""
        self.class_of[workload.id] = demand_class
        if parked is not None:
            self.parked[workload.id] = parked
        elif workload.not_before_ms > 0:
            insort(self.delayed, (workload.not_before_ms, workload.id))
        else:
            self._line_up(workload, demand_class)

    def remove(self, workload: Workload) -> DemandClass:
        """Take a workload out, wherever it waits."""
        demand_class = self.class_of.pop(workload.id)
        if self.parked.pop(workload.id, None) is not None:
            return demand_class
        pause = (workload.not_before_ms, workload.id)
        at = bisect_left(self.delayed, pause)
        if workload.not_before_ms > 0 and at < len(self.delayed) and self.delayed[at] == pause:
            del self.delayed[at]
        else:
            self._leave(workload, demand_class)
        return demand_class

    def due(self, now_ms: int) -> list[str]:
        """Ids in `delayed` whose time has come, soonest first."""
        end = bisect_left(self.delayed, (now_ms + 1, ""))
        return [workload_id for _, workload_id in self.delayed[:end]]

    def release(self, workload: Workload) -> None:
        """Move a due workload from `delayed` into line."""
        at = bisect_left(self.delayed, (workload.not_before_ms, workload.id))
        del self.delayed[at]
        self._line_up(workload, self.class_of[workload.id])

    def in_line(self, workload: Workload) -> bool:
        """Whether it is in `by_priority`."""
        groups = self.by_priority.get(workload.spec.priority, {}).get(workload.tenant)
        line = groups.get(self.class_of[workload.id]) if groups is not None else None
        if line is None:
            return False
        key = (workload.submitted_ms, workload.id)
        at = bisect_left(line, key)
        return at < len(line) and line[at] == key

    def _line_up(self, workload: Workload, demand_class: DemandClass) -> None:
        priority, tenant = workload.spec.priority, workload.tenant
        tenants = self.by_priority.get(priority)
        if tenants is None:
            tenants = self.by_priority[priority] = {}
            self.tallies[priority] = {}
        groups = tenants.get(tenant)
        if groups is None:
            groups = tenants[tenant] = {}
        key = (workload.submitted_ms, workload.id)
        line = groups.get(demand_class)
        if line is None:
            groups[demand_class] = [key]
        else:
            _insert(line, key)
        tallies, place = self.tallies[priority], (demand_class.pool, tenant)
        tally = tallies.get(place)
        if tally is None:
            tally = tallies[place] = Tally()
        _insert(tally.keys, key)
        tally.work += demand_class.work

    def _leave(self, workload: Workload, demand_class: DemandClass) -> None:
        priority, tenant = workload.spec.priority, workload.tenant
        tenants = self.by_priority[priority]
        groups = tenants[tenant]
        line = groups[demand_class]
        key = (workload.submitted_ms, workload.id)
        del line[bisect_left(line, key)]
        if not line:
            del groups[demand_class]
            if not groups:
                del tenants[tenant]
        place = (demand_class.pool, tenant)
        tally = self.tallies[priority][place]
        del tally.keys[bisect_left(tally.keys, key)]
        tally.work -= demand_class.work
        if not tally.keys:
            del self.tallies[priority][place]
        if not tenants:
            del self.by_priority[priority], self.tallies[priority]


def _insert(keys: list[Key], key: Key) -> None:
    """Put `key` into a sorted list; most come last."""
    if not keys or key > keys[-1]:
        keys.append(key)
    else:
        insort(keys, key)
