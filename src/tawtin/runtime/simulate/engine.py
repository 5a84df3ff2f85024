"""The engine of a simulated factory: quick answers, slow starts, news that come late, twice or at second asking."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tawtin.model.reasons import Cause
from tawtin.model.views import LogChunk, UsageSample
from tawtin.ports import Report

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from tawtin.model.resources import Node
    from tawtin.ports import RunOrder
    from tawtin.runtime.simulate.host import Host, Process

REPEAT_MS: Final = 3_000
"""The end of a run that nobody has asked to forget is told again after this time."""


class EngineDown(Exception):
    """The engine does not answer at the moment."""


class EngineFaults:
    """How badly the engine behaves; all are chances in percent."""

    def __init__(self) -> None:
        self.refuse = 0
        """A call fails before it took effect."""
        self.break_after = 0
        """A call fails after it took effect."""
        self.slow = 0
        """A start takes long."""
        self.late = 0
        """A piece of news is held back."""
        self.twice = 0
        """A piece of news is told again later, as it was."""
        self.lost = 0
        """A piece of news is not told until the engine repeats itself."""


class SimEngine:
    """Connects one life of the control plane with the machines. What it remembers dies with it."""

    name = "local"

    def __init__(self, host: Host, source: random.Random, faults: EngineFaults) -> None:
        self.host = host
        self.random = source
        self.faults = faults
        self.repeat_ms = REPEAT_MS
        self._late: list[tuple[int, Report]] = []
        self._repeated_ms = 0

    def open(self, wake: Callable[[], None]) -> None:
        """Everything that is known becomes news."""
        self.host.changed.update((run, None) for run in self.host.processes)

    def isolated(self) -> bool:
        """Whether tenants are kept apart."""
        return True

    def notes(self) -> tuple[str, ...]:
        """Nothing that an operator should know."""
        return ()

    def nodes(self) -> tuple[Node, ...]:
        """The nodes and their health now."""
        return tuple(self.host.nodes.values())

    def knows(self, run: str) -> bool:
        """Whether this run id was started, or stopped before it could."""
        return run in self.host.processes

    def ensure(self, order: RunOrder) -> None:
        """See to it that the run was started, once."""
        if self._chance(self.faults.refuse):
            raise EngineDown(order.run)
        if order.adopt:
            self._adopt(order.run)
            return
        slow = self._chance(self.faults.slow)
        self.host.start(order, self.random.randrange(5_000, 40_000) if slow else self.random.randrange(60))
        if self._chance(self.faults.break_after):
            raise EngineDown(order.run)

    def _adopt(self, run: str) -> None:
        """Tell again how a run is, or that it never will be."""
        known = self.host.processes.get(run)
        if known is None:
            self.host.stop(run, Cause.SUPERVISOR_LOST, 0)
            return
        known.forgotten = False
        self.host.changed[run] = None

    def started(self) -> dict[str, bool]:
        """Every run that the machines know: run -> whether it is over."""
        return {run: process.exit is not None for run, process in self.host.processes.items()}

    def stop(self, run: str, cause: Cause, grace_ms: int) -> None:
        """End the run."""
        if self._chance(self.faults.refuse):
            raise EngineDown(run)
        self.host.stop(run, cause, grace_ms)
        if self._chance(self.faults.break_after):
            raise EngineDown(run)

    def fuse_stop_ms(self) -> int | None:
        """A process is gone at its deadline, at once."""
        return 0

    def extend(self, run: str, fuse_ms: int) -> None:
        """Let a run go on, if it has not ended."""
        self.host.extend(run, fuse_ms)

    def reports(self) -> list[Report]:
        """News since the last call, as far as they come through."""
        now = self.host.clock.true_ms
        if now - self._repeated_ms >= self.repeat_ms:
            self._repeated_ms = now
            self.host.changed.update(
                (run, None)
                for run, process in self.host.processes.items()
                if not process.forgotten and (process.exit is not None or process.alive)
            )
        news = [report for due_ms, report in self._late if due_ms <= now]
        self._late = [(due_ms, report) for due_ms, report in self._late if due_ms > now]
        for run in list(self.host.changed):
            process = self.host.processes[run]
            if not process.forgotten and not process.pending:
                self._tell(news, self._report(process))
        self.host.changed.clear()
        return news

    def next_ms(self) -> int | None:
        """When there is news next, in true time, if nothing happens until then."""
        times = [due_ms for due_ms, _ in self._late]
        if any(
            not process.forgotten and (process.exit is not None or process.alive)
            for process in reversed(self.host.processes.values())
        ):
            times.append(self._repeated_ms + self.repeat_ms)
        return min(times, default=None)

    def _tell(self, news: list[Report], report: Report) -> None:
        later_ms = self.host.clock.true_ms + self.random.randrange(10, 4_000)
        if self._chance(self.faults.lost):
            return
        if self._chance(self.faults.late):
            self._late.append((later_ms, report))
            return
        news.append(report)
        if self._chance(self.faults.twice):
            self._late.append((later_ms, report))

    def _report(self, process: Process) -> Report:
        done = process.exit
        if done is None:
            usage = self.host.usage(process, self.host.clock.true_ms, sampled=True)
            return Report(run=process.run, started_ms=process.started_ms, usage=usage)
        return Report(
            run=process.run,
            started_ms=process.started_ms,
            ended_ms=done.ended_ms,
            outcome=done.outcome,
            cause=done.cause,
            exit_code=done.exit_code,
            usage=done.usage,
        )

    def forget(self, run: str) -> None:
        """Stop reporting the run. That it was started is remembered."""
        process = self.host.processes.get(run)
        if process is not None and process.exit is not None:
            process.forgotten = True

    def log(self, run: str, offset: int, limit: int) -> LogChunk:
        """Simulated runs write nothing."""
        return LogChunk(offset=offset, data=b"", end=True)

    def samples(self, run: str) -> tuple[UsageSample, ...]:
        """Simulated runs are not looked at."""
        del run
        return ()

    def close(self) -> None:
        """Let go; runs go on."""

    def _chance(self, percent: int) -> bool:
        return percent > 0 and self.random.randrange(100) < percent
