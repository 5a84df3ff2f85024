"""Invariant 7: the same inputs give the same plan, whichever way the state came about."""

from __future__ import annotations

from tawtin.core import decide as deciding
from tawtin.core.explain import explain
from tawtin.model.workload import Phase
from tawtin.runtime.simulate.invariants.base import Check
from tawtin.runtime.simulate.invariants.same import difference, plan_of
from tawtin.runtime.simulate.words import Invariant


class PlanCheck(Check):
    """Decide on the state in memory, on the state from the rows, and on the state from the events."""

    invariant = Invariant.PLAN
    compared = 0
    """Plans that were compared and in which something happened."""

    def checkpoint(self) -> None:
        """The plans are equal, and making one changes nothing."""
        now = max(self.world.clock.now_ms(), self.book.time_ms)
        restored = self.world.restored
        want = plan_of(deciding.decide(restored, now))
        plans = {"rows, once more": plan_of(deciding.decide(restored, now))}
        # the evidence check, which looks before this one, found the two equal
        found = difference(restored, self.world.second)
        if found:
            self.fail(f"deciding changed the state: {found}")
        plans["events"] = plan_of(deciding.decide(self.world.second, now))
        live = self.world.live_state()
        if live is not None:
            plans["memory"] = plan_of(deciding.decide(live, now))
        if any(want):
            self.compared += 1
        for name, plan in plans.items():
            if plan != want:
                self.fail(f"the state from {name} gives {plan}, and the one from rows {want}")

    def end(self) -> None:
        """Whatever waits can say why."""
        state = self.world.state()
        decision = deciding.decide(state, self.book.time_ms)
        for name, workload in state.workloads.items():
            if (
                workload.phase is Phase.QUEUED
                and not explain(state, decision, name, self.book.time_ms).sentence
            ):
                self.fail(f"{name} waits and nobody can say why")
