"""Invariant 7: the same inputs give the same plan, whichever way the state came about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tawtin.core import decide as deciding
from tawtin.core.explain import explain
from tawtin.model.workload import Phase
from tawtin.runtime.rows import load
from tawtin.runtime.simulate.invariants.base import Check
from tawtin.runtime.simulate.invariants.same import difference, plan_of
from tawtin.runtime.simulate.words import Invariant

if TYPE_CHECKING:
    from tawtin.core.state import State


class PlanCheck(Check):
    """Decide on the state in memory, on the state from the rows, and on the state from the events."""

    invariant = Invariant.PLAN
    compared = 0
    """Plans that were compared and in which something happened."""

    def checkpoint(self) -> None:
        """The plans are equal, and making one changes nothing."""
        journal, site = self.world.journal, self.world.site
        now = max(self.world.clock.now_ms(), self.book.time_ms)
        restored = load(journal, site)
        states: dict[str, State] = {"rows": restored, "events": self.world.second}
        live = self.world.live_state()
        if live is not None:
            states["memory"] = live
        plans = {name: plan_of(deciding.decide(state, now)) for name, state in states.items()}
        plans["rows, once more"] = plan_of(deciding.decide(restored, now))
        if any(plans["rows"]):
            self.compared += 1
        for name, plan in plans.items():
            if plan != plans["rows"]:
                self.fail(f"the state from {name} gives {plan}, and the one from rows {plans['rows']}")
        found = difference(restored, load(journal, site))
        if found:
            self.fail(f"deciding changed the state: {found}")

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
