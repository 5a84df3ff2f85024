"""When and where a blocked workload could start: the earliest time at which enough nodes have room for it.

A node has room once enough of its runs have ended, by their expected ends; every run is taken to need another ten
seconds at least. Nodes that are reserved already count with what is spare there.
"""

from __future__ import annotations

from bisect import insort
from operator import itemgetter
from typing import Final

from tawtin.core.feasible import Option
from tawtin.core.pack import ALWAYS, Place, Reserved, Room, together
from tawtin.core.seats import Held

SOON_MS: Final = 10_000
Opening = tuple[int, str, Place, Reserved]
"""When a node has room, its name, the place, and what would then be spare."""


def earliest(room: Room, option: Option, now_ms: int) -> list[Opening] | None:
    """The nodes on which all ranks of `option` can start soonest, in that order, or None if they never can."""
    if room.parted(option):
        openings = [opening_of(place, option, now_ms) for place in room.places.values()]
        found = sorted((each for each in openings if each is not None), key=itemgetter(0, 1))
        return together(found, option.nodes, lambda opening: opening[2].engine)
    best: list[Opening] = []
    by_ms = ALWAYS
    for place in room.places.values():
        opening = opening_of(place, option, now_ms, by_ms)
        if opening is None:
            continue
        insort(best, opening)
        if len(best) >= option.nodes:
            del best[option.nodes :]
            by_ms = best[-1][0]
    return best if len(best) == option.nodes else None


def opening_of(place: Place, option: Option, now_ms: int, by_ms: int = ALWAYS) -> Opening | None:
    """When `place` has room for one rank of `option`, or None for never, or for later than `by_ms`."""
    if option.gpus and option.model not in ("", place.model):
        return None
    kept = place.reserved
    if kept is not None:
        if kept.start_ms > by_ms or not kept.covers(option):
            return None
        return kept.start_ms, place.name, place, kept.less(option)
    gpus, cpus, memory, disk = place.gpus, place.cpus, place.memory, place.disk
    at_ms = now_ms
    if option.gpus > gpus or option.cpus > cpus or option.memory > memory or option.disk > disk:
        for _, _, held in _by_end(place):
            gpus += held.gpus
            cpus += held.cpus
            memory += held.memory
            disk += held.disk
            at_ms = held.end_ms
            if at_ms > by_ms:
                return None
            if (
                option.gpus <= gpus
                and option.cpus <= cpus
                and option.memory <= memory
                and option.disk <= disk
            ):
                break
        else:
            return None
        at_ms = max(at_ms, now_ms + SOON_MS)
        if at_ms > by_ms:
            return None
    spare = Reserved(at_ms, gpus=gpus, cpus=cpus, memory=memory, disk=disk)
    spare.take(option)
    return at_ms, place.name, place, spare


def _by_end(place: Place) -> list[tuple[int, str, Held]]:
    """What is held on a node, soonest to end first."""
    if not place.new:
        return place.seat.ends
    new = [(held.end_ms, held.run, held) for held in place.new]
    return sorted([*place.seat.ends, *new], key=itemgetter(0, 1))
