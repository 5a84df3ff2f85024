"""Rounds of random faults, the same for every engine: no run starts twice, none is lost, no outcome changes.

What may happen is drawn from a seed: orders, the same orders again, stops, control planes that end and others that take
over, and whatever an engine's own `disturb` does to its cluster.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from tawtin.engines.conformance.bench import Bench, expect
from tawtin.model.reasons import Cause
from tawtin.model.workload import Outcome
from tawtin.ports import Report, RunOrder

ROUNDS: Final = 100
LIVE_MAX: Final = 12
"""Runs under way at a time."""
_ENDS_S: Final = 120.0


@dataclass(kw_only=True)
class Trialled:
    """One run of the storm."""

    order: RunOrder
    code: int
    """What it ends with."""
    stopped: bool = False
    end: Report | None = None


@dataclass
class Storm:
    """A bench in bad weather."""

    bench: Bench
    chance: random.Random
    disturb: Callable[[random.Random], None] | None
    """Does something to what the engine sits on, and leaves it so that it works again some time later."""

    def __post_init__(self) -> None:
        """Nothing has happened yet; the control plane is up."""
        self.runs: dict[str, Trialled] = {}
        self.disturbed = 0
        self._order = self.bench.order("wl-storm.1", "true")

    def round(self) -> None:
        """One thing that happens."""
        live = [run for run in self.runs.values() if run.end is None]
        match self.chance.choices(
            ("order", "again", "stop", "go", "restart", "disturb"),
            (45, 10, 12, 20, 8, 5 if self.disturb else 0),
        )[0]:
            case "order" if len(live) < LIVE_MAX:
                self.give()
            case "again" if self.runs:
                self.bench.engine.ensure(self.chance.choice(list(self.runs.values())).order)
            case "stop" if live:
                one = self.chance.choice(live)
                one.stopped = True
                self.bench.engine.stop(one.order.run, Cause.CANCELLED, self.chance.choice((0, 500)))
            case "restart":
                self.bench.restart()
            case "disturb" if self.disturb is not None:
                self.disturbed += 1
                self.disturb(self.chance)
            case _:
                if live:
                    self.bench.go(self.chance.choice(live).order.run)
        time.sleep(self.chance.uniform(0, 0.2))
        self.hear()

    def give(self) -> None:
        """Order a run that says that it starts, may wait to be let go, and ends with a code of its own."""
        run, code = self.bench.run_id(), self.chance.choice((0, 3))
        waits = self.bench.waiting(run) if self.chance.random() < 0.5 else ":"
        script = f"echo started; {waits}; exit {code}"
        spec = msgspec.structs.replace(self._order.spec, run=script)
        order = msgspec.structs.replace(self._order, run=run, workload=run.rpartition(".")[0], spec=spec)
        self.runs[run] = Trialled(order=order, code=code)
        self.bench.engine.ensure(order)

    def hear(self) -> None:
        """Take reports. Raises NotMetError if one contradicts what was said before."""
        for report in self.bench.engine.reports():
            one = self.runs.get(report.run)
            if one is None or report.outcome is None:
                continue
            if one.end is not None:
                before, now = (one.end.outcome, one.end.exit_code), (report.outcome, report.exit_code)
                expect(before == now, f"{report.run} ended as {before}, and then as {now}")
            one.end = one.end or report

    def calm(self) -> None:
        """Let everything end, and compare what was said with what was done. Raises NotMetError."""
        for run in self.runs:
            self.bench.go(run)
            self.bench.engine.ensure(self.runs[run].order)  # as the next control plane of a factory does
        end = time.monotonic() + _ENDS_S
        while any(one.end is None for one in self.runs.values()) and time.monotonic() < end:
            self.bench.woken.wait(0.2)
            self.bench.woken.clear()
            self.hear()
        lost = [run for run, one in self.runs.items() if one.end is None]
        expect(not lost, f"nobody says what became of {lost}; {self.bench.engine.notes()}")
        for run, one in self.runs.items():
            starts = self.bench.text(run).splitlines().count("started")
            expect(starts <= 1, f"{run} started {starts} times")
            said = one.end
            if said is None:
                continue
            if said.outcome is Outcome.FINISHED:
                got = (starts, said.exit_code)
                expect(
                    got == (1, one.code),
                    f"{run} started {got[0]} times and ended with {got[1]}, not {one.code}",
                )
            elif said.outcome is Outcome.CANCELLED:
                expect(one.stopped, f"{run} was never stopped, and ended as {said}")
            else:
                expect(self.disturbed, f"nothing was done to {run}, and it ended as {said}")


def weather(
    bench: Bench, seed: int, disturb: Callable[[random.Random], None] | None = None, rounds: int = ROUNDS
) -> Storm:
    """Put an engine through so many rounds, then let it calm down. Raises NotMetError; the seed says which story."""
    bench.name = f"storm{seed}"
    bench.open()
    try:
        storm = Storm(bench, random.Random(seed), disturb)  # noqa: S311 - a story that can be told again
        for _ in range(rounds):
            storm.round()
        storm.calm()
    finally:
        bench.engine.close()
    return storm
