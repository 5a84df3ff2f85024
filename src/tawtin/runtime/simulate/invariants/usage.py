"""Invariant 4's local part: all that is used is charged once, to its tenant, at its price.

That is every millisecond that an ended run used, and every request for a model that the gateway's ledger settled.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from typing import TYPE_CHECKING

import msgspec

from tawtin.core.charges import charged_up_to
from tawtin.model.events import RunEnded, RunMetered
from tawtin.model.ids import workload_of
from tawtin.model.workload import Outcome
from tawtin.runtime.simulate.invariants.base import Check
from tawtin.runtime.simulate.words import Invariant

if TYPE_CHECKING:
    from tawtin.core.state import State
    from tawtin.model.events import Entry
    from tawtin.model.workload import Run, Usage
    from tawtin.runtime.simulate.world import World

HOUR_MS = 3_600_000


def price(run: Run, usage: Usage) -> int:
    """What a run costs, by the definition: GPU-hours and processor-hours held, rounded once, half upwards."""
    gpus = Fraction(usage.gpu_ms * run.rate.minor_per_gpu_hour, HOUR_MS)
    cpus = Fraction(run.shape.cpus_milli * len(run.slots) * usage.wall_ms, 1000 * HOUR_MS)
    return int(gpus + cpus * run.rate.minor_per_cpu_hour + Fraction(1, 2))


class UsageCheck(Check):
    """Accounts against the sum over the machines' own records."""

    invariant = Invariant.USAGE

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._used: dict[str, Counter[str]] = {}
        """What ended runs used, by tenant, as their machines counted it."""

    def entry(self, entry: Entry) -> None:
        """What is recorded of a run is what its machine recorded, and never more than that meanwhile."""
        event = entry.event
        if isinstance(event, RunEnded):
            self._ended(event)
        elif isinstance(event, RunMetered):
            process = self.world.host.processes[event.run]
            now = self.world.clock.true_ms
            truth = process.exit.usage if process.exit else self.world.host.usage(process, now)
            if event.usage.wall_ms > truth.wall_ms:
                self.fail(
                    f"{event.run} is metered at {event.usage.wall_ms} ms and has run for {truth.wall_ms} ms"
                )

    def _ended(self, event: RunEnded) -> None:
        process = self.world.host.processes.get(event.run)
        run = self.book.attempts[event.run].run
        usage = event.usage
        if process is not None and process.exit is not None:
            usage = self._worth(run, event, process.exit.usage)
        if usage != event.usage:
            self.fail(f"{event.run} is charged for {event.usage} and its machine counted {usage}")
        sums = self._used.setdefault(run.tenant, Counter())
        sums.update(runs=1, wall_ms=usage.wall_ms, cpu_ms=usage.cpu_ms, bytes_out=usage.bytes_out)
        sums["cost_minor"] += price(run, usage)
        if usage.gpu_ms:
            sums[f"gpu_ms {usage.gpu_model}"] += usage.gpu_ms

    def _worth(self, run: Run, event: RunEnded, counted: Usage) -> Usage:
        """What the machine counted, less the time on a GPU that was worth nothing, if the run did not finish."""
        since_ms = [
            each.since_ms
            for slot in run.slots
            for each in self.book.out(slot.node, slot.gpus)
            if each.fatal and each.since_ms >= run.placed_ms
        ]
        if not since_ms or event.outcome is Outcome.FINISHED:
            return counted
        lost_ms = max(0, event.ended_ms - min(since_ms))
        wall_ms = max(0, counted.wall_ms - lost_ms)
        gpus = sum(len(slot.gpus) for slot in run.slots)
        return msgspec.structs.replace(counted, wall_ms=wall_ms, gpu_ms=min(counted.gpu_ms, wall_ms * gpus))

    def checkpoint(self) -> None:
        """The accounts in memory."""
        self._compare(self.world.state())

    def end(self) -> None:
        """The same once more, and what every workload is said to have spent."""
        state = self.world.state()
        self._compare(state)
        for life, settlements in self.world.ledger.lives.items():
            if charged_up_to(state, life) != len(settlements):
                self.fail(
                    f"of {len(settlements)} requests of {life}, {charged_up_to(state, life)} are charged"
                )
        spent: Counter[str] = Counter()
        for attempt in self.book.attempts.values():
            if attempt.end is not None:
                spent[workload_of(attempt.run.id)] += price(attempt.run, attempt.end.usage)
        for name in self.book.works:
            got = self.world.workload(name).spent_minor
            if got != spent[name]:
                self.fail(f"{name} is said to have spent {got} and its runs cost {spent[name]}")

    def _compare(self, state: State) -> None:
        asked = self._asked(state)
        got: dict[str, Counter[str]] = {}
        for account in state.accounts.values():
            sums = got.setdefault(account.tenant, Counter())
            for name in ("runs", "wall_ms", "cpu_ms", "bytes_out", "cost_minor"):
                sums[name] += getattr(account, name)
            for model, gpu_ms in account.gpu_ms.items():
                sums[f"gpu_ms {model}"] += gpu_ms
            for model, each in account.models.items():
                place = (account.tenant, account.month, model)
                asked[*place, "requests"] -= each.requests
                asked[*place, "tokens"] -= each.tokens_in + each.tokens_out
                asked[*place, "estimated"] -= each.estimated
                asked[*place, "micro"] -= each.cost_micro
            asked[account.tenant, account.month, "", "micro"] -= account.tokens_micro
            for country, spent in account.places.items():
                asked[account.tenant, account.month, country, "at"] -= spent.requests
        if any(asked.values()):
            self.fail(f"accounts differ from the ledger by {[each for each in asked.items() if each[1]]}")
        for tenant in sorted(self._used.keys() | got.keys()):
            wanted, gotten = +self._used.get(tenant, Counter()), +got.get(tenant, Counter())
            if wanted != gotten:
                self.fail(f"accounts of {tenant} say {dict(gotten)} and its runs used {dict(wanted)}")

    def _asked(self, state: State) -> Counter[tuple[str, str, str, str]]:
        """What the ledger settled, as far as it is charged."""
        sums: Counter[tuple[str, str, str, str]] = Counter()
        for life, settlements in self.world.ledger.lives.items():
            for each in settlements[: charged_up_to(state, life)]:
                place = (each.tenant, each.month, each.model)
                sums[*place, "requests"] += 1
                sums[*place, "tokens"] += each.tokens_in + each.tokens_out
                sums[*place, "estimated"] += int(each.estimated)
                sums[*place, "micro"] += each.cost_micro
                sums[each.tenant, each.month, "", "micro"] += each.cost_micro
                if each.country:
                    sums[each.tenant, each.month, each.country, "at"] += 1
        return sums
