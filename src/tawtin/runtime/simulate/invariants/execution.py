"""Invariant 2's local part: at most one execution, by the handshake's predicates where home runs its own work.

P1 one process of a workload at a time. P2 a process only under the last, open epoch. P3 one outcome for a run.
P4 one start for a run. P5 one finished run, exactly where the workload succeeded or failed. P7 after a run has
finished, no other one starts (mode `wait`). A service's program may end, which is no finish: P3 and P7 say so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tawtin.model.events import CancelAsked, RunEnded, RunPlaced, RunStarted, StopOrdered
from tawtin.model.ids import run_id, workload_of
from tawtin.model.workload import Outcome, Phase
from tawtin.runtime.simulate.invariants.base import Check
from tawtin.runtime.simulate.words import Invariant

if TYPE_CHECKING:
    from tawtin.model.events import Entry
    from tawtin.model.workload import Run
    from tawtin.ports import RunOrder
    from tawtin.runtime.simulate.host import Process
    from tawtin.runtime.simulate.world import World


class ExecutionCheck(Check):
    """What runs, how often, and under which epoch."""

    invariant = Invariant.EXECUTION

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._alive: dict[str, str] = {}
        self._finished: dict[str, str] = {}

    def token(self, order: RunOrder) -> None:
        """P2: an engine is told of a run only when its placement is durable and nothing has ended it."""
        attempt = self.book.attempts.get(order.run)
        if attempt is None:
            self.fail(f"the engine was told to start {order.run} before its placement was durable")
        if attempt.end is not None:
            self.fail(f"P3: the engine was told to start {order.run}, which has ended")
        if set(order.secrets) != set(order.spec.secrets):
            self.fail(f"{order.run} starts without its secrets")

    def started(self, process: Process) -> None:
        """P1, P2, P4 and P7 at the moment when a program begins."""
        run = process.run
        workload = workload_of(run)
        if process.starts > 1:
            self.fail(f"P4: {run} was started {process.starts} times")
        if workload in self._alive:
            self.fail(f"P1: {run} started while {self._alive[workload]} is alive")
        if workload in self._finished:
            self.fail(f"P7: {run} started after {self._finished[workload]} had finished")
        work = self.book.works.get(workload)
        if work is None or work.open is None or work.open.run.id != run:
            self.fail(f"P2: {run} started and is not the open run of its workload")
        self._alive[workload] = run

    def exited(self, process: Process) -> None:
        """Remember what finished by itself."""
        workload = workload_of(process.run)
        if self._alive.get(workload) == process.run:
            del self._alive[workload]
        work = self.book.works.get(workload)
        serves = work is not None and work.workload.spec.service is not None
        if process.exit is not None and process.exit.outcome is Outcome.FINISHED and not serves:
            self._finished[workload] = process.run

    def entry(self, entry: Entry) -> None:
        """Epochs rise by one, and each run is placed, started, stopped and ended at most once."""
        event = entry.event
        if isinstance(event, RunPlaced):
            self._placed(event.run)
        elif isinstance(event, RunStarted | StopOrdered | RunEnded):
            attempt = self.book.attempts.get(event.run)
            if attempt is None or attempt.end is not None:
                self.fail(f"{type(event).__name__} of {event.run}, which is not open")
            if isinstance(event, RunStarted) and attempt.started:
                self.fail(f"{event.run} is recorded as started twice")
            if isinstance(event, StopOrdered) and attempt.stop is not None:
                self.fail(f"{event.run} is ordered to stop twice")
            if isinstance(event, RunEnded):
                self._ended(event)
        elif isinstance(event, CancelAsked) and self.book.works[event.workload].over:
            self.fail(f"{event.workload} was cancelled after its end")

    def _placed(self, run: Run) -> None:
        work = self.book.works[run.workload]
        if work.open is not None:
            self.fail(f"P1: {run.id} was placed while {work.open.run.id} is open")
        if work.over or work.cancel:
            self.fail(f"{run.id} was placed although its workload is over or cancelled")
        if work.rests:
            self.fail(f"{run.id} was placed although its workload rests")
        if run.epoch != work.epoch + 1 or run.id != run_id(run.workload, run.epoch):
            self.fail(f"{run.id} was placed under epoch {run.epoch} after epoch {work.epoch}")

    def _ended(self, event: RunEnded) -> None:
        process = self.world.host.processes.get(event.run)
        if process is None or process.exit is None:
            self.fail(f"P3: {event.run} is recorded as ended and its machine knows of no end")
        truth = process.exit
        outcome = truth.outcome
        serves = self.book.works[workload_of(event.run)].workload.spec.service is not None
        if serves and outcome is Outcome.FINISHED:
            outcome = Outcome.INTERRUPTED
        want = (outcome, truth.cause, truth.exit_code, truth.ended_ms)
        got = (event.outcome, event.cause, event.exit_code, event.ended_ms)
        if got != want:
            self.fail(f"P3: {event.run} ended as {got}, and its machine recorded {want}")

    def end(self) -> None:
        """P5, on the rows that are left."""
        for name, work in self.book.works.items():
            finished = [each for each in work.attempts if each.end and each.end.outcome is Outcome.FINISHED]
            phase = self.world.workload(name).phase
            answered = phase in {Phase.SUCCEEDED, Phase.FAILED}
            if len(finished) != (1 if answered else 0):
                self.fail(f"P5: {name} is {phase} and {len(finished)} of its runs finished")
        for process in self.world.host.active.values():
            self.fail(f"{process.run} is left on its machine")
