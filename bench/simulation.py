"""The simulated network: how many factory-hours of virtual time one core goes through in a minute, and what is in them.

A factory-hour is an hour of virtual time of one factory with all that happens in it: four factories and 20 minutes
are one and a third. Histories are those of the tests: the real core, the real journal logic, faults, and an auditor.
What an hour has in it (jobs, messages, log entries, deaths) is measured as well, as empty ones are quick.

The goal of 1,000 is missed. Histories of the tests are dense: a hundred jobs, 650 messages, 780 log entries and
nearly 60 deaths an hour, so that at the goal 60 ms would be left for all of them. What was tried, each beside the
code before it on a busy machine (rates there differ by 15 % from run to run, so that the smaller steps cannot be
told apart):

* cheaper world: an offer made once an entry, a program and a durable row decoded once, words of the trace found when
  somebody reads them, a peer's word asked before `explain` is: from 82 to 115 a minute, and every history as before;
* timers instead of ticks (`Factory.next_due_ms`; a network at rest goes on to that moment), room that a pass counts
  only if somebody waits, and an auditor that looks only at what a home recorded anew: to 115 to 159 in all; over 60
  histories 83 became 157;
* a pause that is over waking nobody: nothing here, and from 179 to 319 in slow histories;
* no garbage collection during a history: nothing, so that it stayed.

Signatures were keyed hashes before. What is left is spread thinly: passes are a quarter, transactions, messages and
the machines less each. Slow histories (programs, and pauses between what people do, 20 times as long; leases,
renewals and letters as they are; usage recorded every 100 s) have a seventh of the jobs and as many messages; they
stand beside the others, as an hour of a real factory is more like theirs. Still emptier hours would raise the figure
and find nothing.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final

from bench import common
from tawtin.runtime.simulate.network import simulate_network

if TYPE_CHECKING:
    from tawtin.runtime.simulate.network import NetworkHistory

GOAL: Final = 1_000
SAMPLE: Final = 20
"""Histories in one sample of the rate: some are much longer than others."""
SLOW_PACE: Final = 20
SLOW_SAMPLE: Final = 4
HOUR_MS: Final = 3_600_000
LOAD: Final = {
    "workloads": "jobs submitted",
    "roamed": "runs placed at a peer",
    "messages": "messages between factories",
    "entries": "log entries",
    "crashes": "deaths of a control plane",
    "cuts": "links cut",
}
"""What is counted in the histories."""


def hours(histories: list[NetworkHistory]) -> float:
    """Factory-hours of these histories."""
    return sum(each.factory_ms for each in histories) / HOUR_MS


def samples(budget_s: float, pace: int, size: int) -> tuple[list[float], list[list[NetworkHistory]]]:
    """Factory-hours a minute of processor time, sample by sample, until the budget is spent; and the histories."""
    simulate_network(0)
    rates: list[float] = []
    found: list[list[NetworkHistory]] = []
    began = time.process_time()
    while time.process_time() - began < budget_s:
        first, start = len(found) * size, time.process_time()
        histories = [simulate_network(seed, pace=pace) for seed in range(first, first + size)]
        rates.append(hours(histories) / (time.process_time() - start) * 60)
        found.append(histories)
    return rates, found


def figures_of(words: str, budget_s: float, *, pace: int, size: int, goal: int | None) -> list[common.Figure]:
    """The rate of histories of one pace, and what is in an hour of them."""
    common.say(f"   {words}")
    rates, found = samples(budget_s, pace, size)
    every = [history for sample in found for history in sample]
    note = f"{len(every)} histories, {hours(every):.0f} factory-hours in all, {size} a sample; processor time"
    rate = common.figure(
        f"{words}: simulated factory-hours a minute of one core", "/min", rates, at_least=goal, note=note
    )
    load = [
        common.figure(
            f"{words}, in a factory-hour: {what}", "/h",
            [sum(getattr(each, name) for each in sample) / hours(sample) for sample in found],
        )
        for name, what in LOAD.items()
    ]  # fmt: skip
    return [rate, *load]


def measure(*, quick: bool) -> list[common.Figure]:
    """All figures."""
    return [
        *figures_of("dense histories", 10 if quick else 60, pace=1, size=SAMPLE, goal=GOAL),
        *figures_of("slow histories", 10 if quick else 60, pace=SLOW_PACE, size=SLOW_SAMPLE, goal=None),
    ]


if __name__ == "__main__":
    sys.exit(common.main(measure))
