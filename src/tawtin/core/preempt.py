"""Which runs to stop so that work of higher priority can start.

Only runs of strictly lower priority that allow it are stopped, and only where that makes room. Room that earlier stop
orders already free counts first, so nobody is stopped twice for one need. Per node the fewest victims are taken, then
the least work lost (the youngest); nodes are chosen by the same order.
"""

from __future__ import annotations

from tawtin.core.feasible import Option
from tawtin.core.pack import Place, Reserved, Room
from tawtin.core.seats import Held
from tawtin.core.state import State

Ousting = tuple[int, int, str, Place, tuple[Held, ...], Reserved]
"""Victims, milliseconds of work lost, name, the place, the victims, what is spare afterwards."""


class Claimant:
    """What preemption needs to know of the pass: who may be ousted, who is leaving."""

    __slots__ = ("leaving", "now_ms", "state", "victims")

    def __init__(
        self, *, victims: dict[str, None], leaving: dict[str, int], state: State, now_ms: int
    ) -> None:
        self.victims = victims
        """Runs that may be ousted."""
        self.leaving = leaving
        """Runs with a stop order, of this pass or before: when they are expected to be gone."""
        self.state = state
        self.now_ms = now_ms

    def youth(self, held: Held) -> tuple[int, int, str]:
        """The order in which runs are ousted: lowest priority first, then the youngest."""
        run = self.state.runs[held.run]
        return (self.state.workloads[run.workload].spec.priority, -run.placed_ms, run.id)

    def lost_ms(self, held: Held) -> int:
        """How much work would be lost."""
        return max(0, self.now_ms - self.state.runs[held.run].placed_ms)


def oust(room: Room, option: Option, claimant: Claimant, nodes: list[str]) -> list[Ousting] | None:
    """The cheapest way to make room for all ranks of `option` on some of `nodes`, or None."""
    found: list[Ousting] = []
    for name in nodes:
        place = room.places.get(name)
        if place is not None:
            ousting = _oust_on(place, option, claimant)
            if ousting is not None:
                found.append(ousting)
    if len(found) < option.nodes:
        return None
    found.sort(key=lambda each: each[:3])
    return found[: option.nodes]


def _oust_on(place: Place, option: Option, claimant: Claimant) -> Ousting | None:
    """The cheapest victims on one node, or None if even all of them would not make room."""
    if option.gpus and option.model not in ("", place.model):
        return None
    kept = place.reserved
    if kept is not None:
        if not kept.covers(option):
            return None
        spare = Reserved(kept.start_ms, gpus=kept.gpus, cpus=kept.cpus, memory=kept.memory, disk=kept.disk)
        spare.take(option)
        return 0, 0, place.name, place, (), spare
    spare = Reserved(claimant.now_ms, gpus=place.gpus, cpus=place.cpus, memory=place.memory, disk=place.disk)
    for held in place.seat.held.values():
        gone_ms = claimant.leaving.get(held.run)
        if gone_ms is not None:
            _give(spare, held)
            spare.start_ms = max(spare.start_ms, gone_ms)
    chosen: list[Held] = []
    if not spare.covers(option):
        candidates = [held for held in place.seat.held.values() if held.run in claimant.victims]
        chosen = _fewest(candidates, option, spare, claimant)
        if not spare.covers(option):
            return None
    lost_ms = sum(claimant.lost_ms(held) for held in chosen)
    spare.take(option)
    return len(chosen), lost_ms, place.name, place, tuple(chosen), spare


def _fewest(candidates: list[Held], option: Option, spare: Reserved, claimant: Claimant) -> list[Held]:
    """Choose victims until `option` is covered, giving what they hold to `spare`; then let the needless go.

    One that is enough alone is better than two; among those that are, and otherwise among the largest, lower priority
    and youth decide.
    """
    alone = [held for held in candidates if _enough(held, option, spare)]
    if alone:
        _give(spare, min(alone, key=claimant.youth))
        return [min(alone, key=claimant.youth)]
    chosen: list[Held] = []
    for held in sorted(
        candidates, key=lambda each: (-each.gpus, -each.cpus, -each.memory, *claimant.youth(each))
    ):
        if spare.covers(option):
            break
        chosen.append(held)
        _give(spare, held)
    for held in sorted(chosen, key=claimant.youth, reverse=True):
        _give(spare, held, -1)
        if spare.covers(option):
            chosen.remove(held)
        else:
            _give(spare, held)
    return chosen


def _enough(held: Held, option: Option, spare: Reserved) -> bool:
    return (
        option.gpus <= spare.gpus + held.gpus
        and option.cpus <= spare.cpus + held.cpus
        and option.memory <= spare.memory + held.memory
        and option.disk <= spare.disk + held.disk
    )


def _give(spare: Reserved, held: Held, sign: int = 1) -> None:
    spare.gpus += sign * held.gpus
    spare.cpus += sign * held.cpus
    spare.memory += sign * held.memory
    spare.disk += sign * held.disk
