"""Which runs to stop so that work of higher priority can start.

Only runs of strictly lower priority that allow it are stopped, and only where that makes room. Room that earlier stop
orders already free counts first, so nobody is stopped twice for one need. Per node the fewest victims are taken, then
the least work lost (the youngest); nodes are chosen by the same order. What all victims of a node hold together is
counted first, since most nodes are told apart by that.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from typing import Final

from tawtin.core.feasible import Option
from tawtin.core.pack import Place, Reserved, Room, together
from tawtin.core.seats import LEAVING, Held

CANDIDATES: Final = 24
"""Nodes that are compared beyond those that are needed, the ones with most to give."""
Ousting = tuple[int, int, str, Place, tuple[Held, ...], Reserved]
"""Victims, milliseconds of work lost, name, the place, the victims, what is spare afterwards."""
Most = tuple[int, int, int, int, Place]
"""GPUs, processors, memory and disk of a node if all who may be ousted were; and the node."""


class Ousters:
    """What work of one priority may take from others during a pass."""

    __slots__ = ("_most", "leaving", "now_ms", "ordered", "priority", "room")

    def __init__(
        self,
        room: Room,
        priority: int,
        *,
        leaving: dict[str, int],
        ordered: dict[str, list[Held]],
        now_ms: int,
    ) -> None:
        self.room = room
        self.priority = priority
        self.leaving = leaving
        """Runs with a stop order, of this pass or before: when they are expected to be gone."""
        self.ordered = ordered
        """What runs hold whose stop this pass ordered, by node."""
        self.now_ms = now_ms
        self._most: dict[str, list[Most]] = {}

    def oust(self, option: Option) -> list[Ousting] | None:
        """The cheapest way to make room for all ranks of `option`, or None."""
        nodes: list[Place] = []
        stale: list[Place] = []
        parted = self.room.parted(option)
        enough = len(self.room.places) if parted else option.nodes + CANDIDATES
        for most in self._of(option):
            if option.gpus > most[0]:
                break
            if not _within(option, most):
                continue
            if _within(option, self._at_most(most[4])):
                nodes.append(most[4])
                if len(nodes) >= enough:
                    break
            else:
                stale.append(most[4])
        for place in stale:
            self.refresh(place)
        if len(nodes) < option.nodes:
            return None
        found = [each for place in nodes if (each := self._on(place, option)) is not None]
        if len(found) < option.nodes:
            return None
        found.sort(key=lambda each: each[:3])
        if parted:
            return together(found, option.nodes, lambda ousting: ousting[3].engine)
        return found[: option.nodes]

    def refresh(self, place: Place) -> None:
        """A place has less to give since it was looked at: something was put there, or it got a reservation."""
        for wanted in ("", place.model):
            most = self._most.get(wanted)
            if most is not None:
                most[:] = [each for each in most if each[4] is not place]
                insort(most, self._at_most(place), key=lambda each: -each[0])

    def _of(self, option: Option) -> Iterable[Most]:
        """Nodes of the right model, those that could give most GPUs first."""
        wanted = option.model if option.gpus else ""
        most = self._most.get(wanted)
        if most is None:
            most = self._most[wanted] = [
                self._at_most(place)
                for place in self.room.places.values()
                if place.model == wanted or not wanted
            ]
            most.sort(key=lambda each: -each[0])
        return most

    def _at_most(self, place: Place) -> Most:
        kept = place.reserved
        if kept is not None:
            if not kept.freed:
                return -1, -1, -1, -1, place
            return kept.gpus, kept.cpus, kept.memory, kept.disk, place
        gpus, cpus, memory, disk = place.gpus, place.cpus, place.memory, place.disk
        for level, total in place.seat.yields.items():
            if level < self.priority:
                gpus += total.gpus
                cpus += total.cpus
                memory += total.memory
                disk += total.disk
        for held in self.ordered.get(place.name, ()):
            if held.level >= self.priority:
                gpus += held.gpus
                cpus += held.cpus
                memory += held.memory
                disk += held.disk
        return gpus, cpus, memory, disk, place

    def _on(self, place: Place, option: Option) -> Ousting | None:
        """The cheapest victims on one node, or None if even all of them would not make room."""
        kept = place.reserved
        if kept is not None:
            if not kept.freed or not kept.covers(option):
                return None
            return 0, 0, place.name, place, (), kept.less(option)
        spare = Reserved(self.now_ms, gpus=place.gpus, cpus=place.cpus, memory=place.memory, disk=place.disk)
        candidates: list[Held] = []
        for held in place.seat.held.values():
            if held.run in self.leaving:
                _give(spare, held)
                spare.start_ms = max(spare.start_ms, self.leaving[held.run])
            elif LEAVING < held.level < self.priority:
                candidates.append(held)
        chosen: list[Held] = []
        if not spare.covers(option):
            chosen = _fewest(candidates, option, spare)
            if not spare.covers(option):
                return None
        lost_ms = sum(max(0, self.now_ms - held.placed_ms) for held in chosen)
        return len(chosen), lost_ms, place.name, place, tuple(chosen), spare.less(option)


def _within(option: Option, most: Most) -> bool:
    return (
        option.gpus <= most[0]
        and option.cpus <= most[1]
        and option.memory <= most[2]
        and option.disk <= most[3]
    )


def _youth(held: Held) -> tuple[int, int, str]:
    """The order in which runs are ousted: lowest priority first, then the youngest."""
    return held.level, -held.placed_ms, held.run


def _fewest(candidates: list[Held], option: Option, spare: Reserved) -> list[Held]:
    """Choose victims until `option` is covered, giving what they hold to `spare`; then let the needless go.

    One that is enough alone is better than two; among those that are, and otherwise among the largest, lower priority
    and youth decide.
    """
    alone = [held for held in candidates if _enough(held, option, spare)]
    if alone:
        first = min(alone, key=_youth)
        _give(spare, first)
        return [first]
    chosen: list[Held] = []
    for held in sorted(candidates, key=lambda each: (-each.gpus, -each.cpus, -each.memory, _youth(each))):
        if spare.covers(option):
            break
        chosen.append(held)
        _give(spare, held)
    for held in sorted(chosen, key=_youth, reverse=True):
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
