"""When two states are the same state, and two decisions the same plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tawtin.core.decide import Decision
    from tawtin.core.state import State

TABLES: Final = (
    "tenants",
    "keys",
    "nodes",
    "accounts",
    "charged",
    "artifacts",
    "workloads",
    "runs",
    "run_of",
)
"""What a state holds, by name; everything else in it is derived from these."""


def difference(one: State, two: State) -> str:
    """The first thing in which two states differ, in words; empty if they are the same."""
    if (one.seq, one.time_ms) != (two.seq, two.time_ms):
        return f"{(one.seq, one.time_ms)} against {(two.seq, two.time_ms)} (entries, time)"
    for name in TABLES:
        first, second = getattr(one, name), getattr(two, name)
        if first != second:
            for key in sorted(first.keys() | second.keys(), key=str):
                if first.get(key) != second.get(key):
                    return f"{name} {key}: {first.get(key)} against {second.get(key)}"
    return ""


def plan_of(decision: Decision) -> tuple[object, ...]:
    """Everything that a decision says, in the order in which it says it."""
    return (decision.placements, decision.stops, decision.reservations)
