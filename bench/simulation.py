"""The simulated network: how many factory-hours of virtual time one core goes through in a minute, and what is in them.

A factory-hour is an hour of virtual time of one factory with all that happens in it: four factories and 20 minutes
are one and a third. Histories are those of the tests: the real core, the real journal logic, faults, and an auditor.
What an hour has in it (jobs, messages, log entries, deaths) is measured as well, as empty ones are quick.
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


def samples(budget_s: float) -> tuple[list[float], list[list[NetworkHistory]]]:
    """Factory-hours a minute of processor time, sample by sample, until the budget is spent; and the histories."""
    simulate_network(0)
    rates: list[float] = []
    found: list[list[NetworkHistory]] = []
    began = time.process_time()
    while time.process_time() - began < budget_s:
        first, start = len(found) * SAMPLE, time.process_time()
        histories = [simulate_network(seed) for seed in range(first, first + SAMPLE)]
        rates.append(hours(histories) / (time.process_time() - start) * 60)
        found.append(histories)
    return rates, found


def measure(*, quick: bool) -> list[common.Figure]:
    """All figures."""
    common.say("   histories of a network")
    rates, found = samples(10 if quick else 60)
    every = [history for sample in found for history in sample]
    figures = [
        common.figure(
            "simulated factory-hours a minute of one core", "/min", rates, at_least=GOAL,
            note=f"{len(every)} histories, {hours(every):.0f} factory-hours in all, {SAMPLE} a sample; processor time",
        )
    ]  # fmt: skip
    figures += [
        common.figure(
            f"in a simulated factory-hour: {words}", "/h",
            [sum(getattr(each, name) for each in sample) / hours(sample) for sample in found],
        )
        for name, words in LOAD.items()
    ]  # fmt: skip
    return figures


if __name__ == "__main__":
    sys.exit(common.main(measure))
