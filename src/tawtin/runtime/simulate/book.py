"""What the log says, kept a second time and in the plainest way, so that checks do not trust the state they check."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tawtin.model.events import (
    CancelAsked,
    Entry,
    NodePut,
    NodeRemoved,
    QuarantinePut,
    ReplicaRested,
    RunEnded,
    RunPlaced,
    RunStarted,
    StopOrdered,
    TenantPut,
    WorkloadsSubmitted,
)
from tawtin.model.ids import workload_of
from tawtin.model.workload import Outcome

if TYPE_CHECKING:
    from tawtin.model.health import Quarantine
    from tawtin.model.resources import Node
    from tawtin.model.tenant import Tenant
    from tawtin.model.workload import Run, Workload


class Work:
    """A workload, as far as the log tells."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.epoch = 0
        self.cancel = False
        self.rests = False
        self.closed: Outcome | None = None
        self.open: Attempt | None = None
        self.attempts: list[Attempt] = []

    @property
    def over(self) -> bool:
        """Whether nothing further may happen to it."""
        return self.closed is not None


class Attempt:
    """A run, as far as the log tells."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.started = False
        self.stop: StopOrdered | None = None
        self.end: RunEnded | None = None


class Book:
    """The log, read entry by entry."""

    def __init__(self) -> None:
        self.size = 0
        self.time_ms = 0
        self.tenants: dict[str, Tenant] = {}
        self.nodes: dict[str, Node] = {}
        self.quarantines: dict[str, Quarantine] = {}
        self.works: dict[str, Work] = {}
        self.attempts: dict[str, Attempt] = {}
        self.open: dict[str, Attempt] = {}
        """Runs without an end."""
        self.answers: dict[tuple[str, str], tuple[str, ...]] = {}
        """What each idempotency key of each tenant was answered with."""

    def out(self, node: str, gpus: tuple[int, ...]) -> list[Quarantine]:
        """The quarantines that some of these GPUs, or their whole node, are in."""
        names = {"", *(f"#{index}" for index in gpus)}
        found = [each for each in self.quarantines.values() if each.node == node and each.gpu in names]
        return [each for each in found if each.returned_ms is None]

    def unfinished(self, tenant: str) -> int:
        """How many workloads of a tenant are not over."""
        return sum(work.workload.tenant == tenant and not work.over for work in self.works.values())

    def read(self, entry: Entry) -> None:
        """Learn what the next entry says."""
        self.size, self.time_ms = entry.seq + 1, entry.at_ms
        event = entry.event
        match event:
            case TenantPut():
                self.tenants[event.tenant.id] = event.tenant
            case NodePut():
                self.nodes[event.node.name] = event.node
            case QuarantinePut():
                self.quarantines[event.quarantine.key] = event.quarantine
            case NodeRemoved():
                self.nodes.pop(event.name, None)
            case WorkloadsSubmitted():
                self._submitted(event)
            case CancelAsked() | ReplicaRested():
                self._asked(event)
            case RunPlaced():
                self._placed(event.run)
            case RunStarted():
                self.attempts[event.run].started = True
            case StopOrdered():
                self.attempts[event.run].stop = event
            case RunEnded():
                self._ended(event)
            case _:
                pass

    def _submitted(self, event: WorkloadsSubmitted) -> None:
        for workload in event.workloads:
            self.works[workload.id] = Work(workload)
        if event.idempotency_key:
            tenant = event.workloads[0].tenant
            ids = tuple(workload.id for workload in event.workloads)
            self.answers[tenant, event.idempotency_key] = ids

    def _asked(self, event: CancelAsked | ReplicaRested) -> None:
        work = self.works[event.workload]
        if isinstance(event, ReplicaRested):
            work.rests = event.rests
            return
        work.cancel = True
        if work.open is None:
            work.closed = Outcome.CANCELLED

    def _placed(self, run: Run) -> None:
        work, attempt = self.works[run.workload], Attempt(run)
        work.epoch = run.epoch
        work.open = attempt
        work.attempts.append(attempt)
        self.attempts[run.id] = self.open[run.id] = attempt

    def _ended(self, event: RunEnded) -> None:
        attempt = self.attempts[event.run]
        attempt.end = event
        self.open.pop(event.run, None)
        work = self.works[workload_of(event.run)]
        work.open = None
        if event.outcome is not Outcome.INTERRUPTED:
            work.closed = event.outcome
        elif work.cancel:
            work.closed = Outcome.CANCELLED
