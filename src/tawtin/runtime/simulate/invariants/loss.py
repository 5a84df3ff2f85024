"""Invariant 3: nothing acknowledged is lost, and everything ends, once faults stop, the way its program says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tawtin.model.events import WorkloadsSubmitted
from tawtin.model.reasons import Cause
from tawtin.model.workload import Outcome, Phase
from tawtin.runtime.simulate.host import program_of
from tawtin.runtime.simulate.invariants.base import Check
from tawtin.runtime.simulate.words import Invariant

if TYPE_CHECKING:
    from tawtin.model.events import Entry
    from tawtin.runtime.simulate.book import Work
    from tawtin.runtime.simulate.clients import Request
    from tawtin.runtime.simulate.world import World


class LossCheck(Check):
    """What was promised, and what came of it."""

    invariant = Invariant.LOSS

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.promised: dict[str, str] = {}
        """Acknowledged workloads, and the name of their spec."""
        self._answers: dict[tuple[str, str], tuple[str, ...]] = {}

    def entry(self, entry: Entry) -> None:
        """One key of one tenant makes workloads once."""
        event = entry.event
        if isinstance(event, WorkloadsSubmitted) and event.idempotency_key:
            place = (event.workloads[0].tenant, event.idempotency_key)
            if place in self.book.answers:
                self.fail(f"the idempotency key {place} made workloads twice")

    def answered(self, request: Request) -> None:
        """What a client is told is durable at that moment, and a repeat is told the same."""
        if request.kind == "submit" and request.refusal is None:
            if not request.workloads:
                self.fail(f"{request.spec.name} was acknowledged without a workload")
            for workload in request.workloads:
                work = self.book.works.get(workload)
                if work is None:
                    self.fail(f"{workload} was acknowledged before it was durable")
                if work.workload.spec != request.spec:
                    self.fail(f"{workload} was acknowledged for a spec that is not its own")
                self.promised[workload] = request.spec.name
            if request.key:
                earlier = self._answers.setdefault((request.tenant, request.key), request.workloads)
                if earlier != request.workloads:
                    self.fail(f"{request.key} was answered with {earlier} and then with {request.workloads}")
        elif request.kind == "cancel":
            work = self.book.works.get(request.target)
            if work is not None and not work.cancel and not work.over:
                self.fail(f"the cancellation of {request.target} was acknowledged before it was durable")
        elif request.kind == "tenant" and request.put is not None:
            durable = self.book.tenants.get(request.tenant)
            if durable is None:
                self.fail(f"{request.tenant} was acknowledged before it was durable")

    def adopted(self) -> None:
        """A start tells the engine at once what should be so: every open run is on its machine, or on its way out."""
        for run, attempt in self.book.open.items():
            process = self.world.host.processes.get(run)
            if process is None:
                self.fail(f"{run} is placed and, after a restart, no machine knows of it")
            if attempt.stop is not None and process.exit is None and process.stop is None:
                self.fail(f"{run} is to stop and, after a restart, its machine was not told")

    def end(self) -> None:
        """Everything that was promised is there and over, with the outcome that its program predicts."""
        for workload, name in self.promised.items():
            if workload not in self.book.works:
                self.fail(f"{workload} ({name}) was acknowledged and is lost")
        for workload, work in self.book.works.items():
            record = self.world.workload(workload)
            if not record.phase.final:
                self.fail(
                    f"{workload} is still {record.phase} after faults stopped: {self.world.why(workload)}"
                )
            want = self._predict(workload, work)
            if (record.phase, record.exit_code) != want:
                self.fail(f"{workload} ended as {record.phase}, {record.exit_code}; predicted was {want}")

    def _predict(self, workload: str, work: Work) -> tuple[Phase, int | None]:
        """From the machines' exit records and the program alone."""
        if work.workload.spec.service is not None:  # whatever its programs did
            phase = Phase.CANCELLED if work.cancel else Phase.QUEUED
            return phase, self.world.workload(workload).exit_code
        program = program_of(work.workload.spec)
        runs = [f"{workload}.{epoch}" for epoch in range(1, work.epoch + 1)]
        exits = [self.world.host.processes[run].exit for run in runs if run in self.world.host.processes]
        finished = [each for each in exits if each is not None and each.outcome is Outcome.FINISHED]
        if finished:
            completed = finished[0].cause is Cause.COMPLETED
            code = program.exit_code if completed else None
            return (Phase.SUCCEEDED if completed and code == 0 else Phase.FAILED), code
        if work.cancel:
            return Phase.CANCELLED, None
        return Phase.QUEUED, None
