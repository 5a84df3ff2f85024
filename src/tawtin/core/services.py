"""Which replicas of a service are to end: those that an update replaced, and those that are too many."""

from __future__ import annotations

from collections.abc import Collection

from tawtin.model.workload import Workload


def newest(replicas: Collection[Workload]) -> int:
    """The newest revision; 0 of nothing."""
    return max((_revision(each) for each in replicas), default=0)


def current(replicas: Collection[Workload]) -> list[Workload]:
    """Those of the newest revision that nobody ended."""
    last = newest(replicas)
    return [each for each in replicas if _revision(each) == last and not each.cancel]


def awake(replicas: Collection[Workload]) -> list[Workload]:
    """Those of the newest revision that nobody ended, and that do not rest."""
    return [each for each in current(replicas) if not each.rests]


def replaced(replicas: Collection[Workload], ready: Collection[str]) -> list[Workload]:
    """Earlier replicas that may end now; `ready` are workloads of which the run answers.

    None before one of the newest revision is ready, then as many as those that are, so that no fewer are there than are
    wanted. What is not ready ends first, then what is older.
    """
    wanted = current(replicas)
    ready_now = sum(each.id in ready for each in wanted)
    last = newest(replicas)
    earlier = [each for each in replicas if _revision(each) < last and not each.cancel]
    if not ready_now:
        return []
    spare = len(earlier) - max(0, len(wanted) - ready_now)
    return _first_to_go(earlier, ready)[: max(0, spare)]


def surplus(replicas: Collection[Workload], ready: Collection[str], wanted: int) -> list[Workload]:
    """Replicas of the newest revision that are too many for `wanted`: what is not ready, then what is younger."""
    there = current(replicas)
    there.sort(key=lambda each: (each.id in ready, -_number(each)))
    return there[: max(0, len(there) - wanted)]


def _first_to_go(replicas: list[Workload], ready: Collection[str]) -> list[Workload]:
    return sorted(replicas, key=lambda each: (each.id in ready, _revision(each), _number(each)))


def _revision(workload: Workload) -> int:
    return workload.service.revision if workload.service is not None else 0


def _number(workload: Workload) -> int:
    return workload.service.replica if workload.service is not None else 0
