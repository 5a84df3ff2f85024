"""The simulated machines: start tokens, processes and exit records, which outlive the control plane.

This is the truth that the control plane only hears of. Watchers see every start of a process, so that what
must never happen is noticed at the moment it happens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from tawtin.model.base import Record
from tawtin.model.reasons import Cause
from tawtin.model.workload import Outcome, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tawtin.model.resources import Node
    from tawtin.model.workload import WorkloadSpec
    from tawtin.ports import RunOrder
    from tawtin.runtime.simulate.words import SimClock

SAMPLE_MS: Final = 1_000
"""A supervisor writes down what its run has used this often; more than that dies with it."""

_OUTCOMES: Final = {Cause.CANCELLED: Outcome.CANCELLED}


class Program(Record, frozen=True, kw_only=True):
    """What a simulated job does: it is written into the spec's `run` as JSON."""

    work_ms: int
    exit_code: int = 0
    stubborn: bool = False
    """It ignores SIGTERM, so that only SIGKILL ends it."""
    fails_to_start: bool = False


def program_of(spec: WorkloadSpec) -> Program:
    """What this spec's job does."""
    return msgspec.json.decode(spec.run, type=Program)


class Exit(Record, frozen=True, kw_only=True):
    """What a supervisor, or the engine in its place, wrote durably about a run's end."""

    outcome: Outcome
    cause: Cause
    exit_code: int | None
    ended_ms: int
    """As the wall clock showed it."""
    usage: Usage


class Process:
    """One run as its machine knows it."""

    def __init__(self, order: RunOrder | None, run: str, begins_ms: int) -> None:
        self.order = order
        """None where the run was stopped before anybody asked to start it: it never starts then."""
        self.run = run
        self.begins_ms = begins_ms
        """When the program begins, in true time; starting may be slow."""
        self.begun_ms: int | None = None
        self.started_ms: int | None = None
        """The same as the wall clock showed it."""
        self.alive = False
        self.starts = 0
        self.stop: Cause | None = None
        self.killed_ms: int | None = None
        """When it ends because of `stop`, in true time."""
        self.exit: Exit | None = None
        self.forgotten = False
        self.fuse_ms = order.fuse_ms if order is not None else None
        """When it is ended whoever else is there, by the clock of the machine."""
        self._program: Program | None = None

    @property
    def program(self) -> Program:
        """What it does; read once."""
        if self._program is None:
            self._program = program_of(_order(self).spec)
        return self._program

    @property
    def pending(self) -> bool:
        """Whether it is on its way to begin."""
        return self.exit is None and not self.alive and self.order is not None


class Host:
    """All machines of a factory."""

    def __init__(self, clock: SimClock, nodes: list[Node]) -> None:
        self.clock = clock
        self.nodes = {node.name: node for node in nodes}
        self.processes: dict[str, Process] = {}
        self.active: dict[str, Process] = {}
        """Those without an exit record."""
        self.changed: dict[str, None] = {}
        """Runs that a connected engine has news of."""
        self._next_ms: int | None = None
        self._is_known = False
        """Whether `_next_ms` is what `next_ms` would find; begun anew whenever a process changes."""
        self.on_token: list[Callable[[RunOrder], None]] = []
        self.on_start: list[Callable[[Process], None]] = []
        self.on_exit: list[Callable[[Process], None]] = []

    # --- what engines ask for -----------------------------------------------------------------------------------

    def start(self, order: RunOrder, delay_ms: int) -> None:
        """Write the start token, once; the program begins after `delay_ms`."""
        if order.run in self.processes:
            return
        for watcher in self.on_token:
            watcher(order)
        self._is_known = False
        process = Process(order, order.run, self.clock.true_ms + delay_ms)
        self.processes[order.run] = self.active[order.run] = process

    def stop(self, run: str, cause: Cause, grace_ms: int) -> None:
        """Begin to end a run; one that never started never will."""
        process = self.processes.get(run)
        if process is None:
            process = self.processes[run] = self.active[run] = Process(None, run, 0)
        if process.exit is not None or process.stop is not None:
            return
        self._is_known = False
        process.stop = cause
        if not process.alive:
            self._end(process, _OUTCOMES.get(cause, Outcome.INTERRUPTED), cause, None)
            return
        stubborn = process.program.stubborn
        process.killed_ms = self.clock.true_ms + (grace_ms if stubborn else min(grace_ms, 20))

    def extend(self, run: str, fuse_ms: int) -> None:
        """A later deadline for a run that is not over."""
        process = self.active.get(run)
        if process is not None and process.fuse_ms is not None:
            process.fuse_ms = max(process.fuse_ms, fuse_ms)
            self._is_known = False

    # --- time ---------------------------------------------------------------------------------------------------

    def next_ms(self) -> int | None:
        """When something happens next by itself, in true time."""
        if not self._is_known:
            times = [time for process in self.active.values() for time in self._times(process)]
            self._next_ms, self._is_known = min(times, default=None), True
        return self._next_ms

    def _times(self, process: Process) -> Iterator[int]:
        if not process.alive:
            yield process.begins_ms
            if process.fuse_ms is not None:
                yield self.clock.true_at(process.fuse_ms)
            return
        yield self._natural_end(process)[0]
        if process.fuse_ms is not None:
            yield self.clock.true_at(process.fuse_ms)
        if process.killed_ms is not None:
            yield process.killed_ms

    def _natural_end(self, process: Process) -> tuple[int, bool]:
        spec = _order(process).spec
        work_ms, limit_ms = process.program.work_ms, spec.max_duration_ms
        over = limit_ms is not None and work_ms > limit_ms
        return (process.begun_ms or 0) + (limit_ms if limit_ms is not None and over else work_ms), over

    def advance(self) -> None:
        """Let everything happen that is due by now, in the order in which it is due."""
        now = self.clock.true_ms
        while True:
            next_ms = self.next_ms()
            if next_ms is None or next_ms > now:
                return
            due = [
                (time, process.run)
                for process in self.active.values()
                for time in self._times(process)
                if time <= now
            ]
            time, run = min(due)
            self._happen(self.active[run], time)

    def _happen(self, process: Process, time: int) -> None:
        self._is_known = False
        blown = process.fuse_ms is not None and self.clock.true_at(process.fuse_ms) <= time
        if not process.alive and not blown:
            self.begin(process, time)
            return
        if blown and not (process.alive and self._natural_end(process)[0] <= time):
            self._end(process, Outcome.INTERRUPTED, Cause.LEASE_EXPIRED, None, at=time)
            return
        ends_ms, over = self._natural_end(process)
        if ends_ms <= time:
            program = process.program
            cause = Cause.TIME_LIMIT if over else Cause.COMPLETED
            self._end(process, Outcome.FINISHED, cause, None if over else program.exit_code, at=ends_ms)
        elif process.stop is not None:
            cause = process.stop
            self._end(process, _OUTCOMES.get(cause, Outcome.INTERRUPTED), cause, None, at=time)

    def begin(self, process: Process, time: int) -> None:
        """Start the program."""
        self._is_known = False
        if process.program.fails_to_start:
            self._end(process, Outcome.FINISHED, Cause.START_FAILED, None, at=time)
            return
        process.begun_ms = time
        process.started_ms = self._shown(time)
        process.starts += 1
        process.alive = True
        self.changed[process.run] = None
        for watcher in self.on_start:
            watcher(process)

    def _shown(self, time: int) -> int:
        """What the wall clock shows, or showed, at this true time, by its error of now."""
        return self.clock.now_ms() - (self.clock.true_ms - time)

    # --- faults -------------------------------------------------------------------------------------------------

    def kill_supervisor(self, run: str, cause: Cause = Cause.SUPERVISOR_LOST) -> None:
        """The run's process goes, with the one that watched over it, and leaves no exit record of its own."""
        process = self.processes[run]
        if process.exit is None and process.order is not None:
            self._end(process, Outcome.INTERRUPTED, cause, None, sampled=True)

    def restart(self, node: str | None = None) -> None:
        """One machine restarts, or all of them."""
        for run, process in list(self.active.items()):
            slots = process.order.slots if process.order else ()
            if node is None or any(slot.node == node for slot in slots):
                self.kill_supervisor(run, Cause.HOST_RESTARTED)

    # --- ends and usage -----------------------------------------------------------------------------------------

    def _end(
        self,
        process: Process,
        outcome: Outcome,
        cause: Cause,
        exit_code: int | None,
        *,
        at: int | None = None,
        sampled: bool = False,
    ) -> None:
        self._is_known = False
        time = self.clock.true_ms if at is None else at
        usage = self.usage(process, time, sampled=sampled)
        process.exit = Exit(
            outcome=outcome, cause=cause, exit_code=exit_code, ended_ms=self._shown(time), usage=usage
        )
        process.alive = False
        self.active.pop(process.run, None)
        self.changed[process.run] = None
        for watcher in self.on_exit:
            watcher(process)

    def usage(self, process: Process, time: int, *, sampled: bool = False) -> Usage:
        """What the run used by this true time; what its supervisor had written down by then, if `sampled`."""
        order = process.order
        if order is None or process.begun_ms is None:
            return Usage()
        wall_ms = time - process.begun_ms
        if sampled:
            wall_ms -= wall_ms % SAMPLE_MS
        gpus = sum(len(slot.gpus) for slot in order.slots)
        model = self.nodes[order.slots[0].node].gpu_model if gpus else ""
        return Usage(
            wall_ms=wall_ms,
            cpu_ms=wall_ms * order.shape.cpus_milli * len(order.slots) // 1000,
            memory_peak_mib=order.shape.memory_mib // 2,
            gpu_model=model,
            gpu_ms=wall_ms * gpus,
            bytes_out=wall_ms,
        )


def _order(process: Process) -> RunOrder:
    if process.order is None:
        msg = f"run {process.run} was never started"
        raise LookupError(msg)
    return process.order
