"""When and where a blocked workload could start: the earliest time at which enough nodes have room for it.

A node has room once enough of its runs have ended, by their expected ends. A run that is past its end is taken to need
another minute. Nodes that are reserved already count with what is spare there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tawtin.core.feasible import Option
from tawtin.core.pack import Place, Reserved, Room
from tawtin.core.seats import Held

OVERDUE_MS: Final = 60_000
Opening = tuple[int, str, Place, Reserved]
"""When a node has room, its name, the place, and what would then be spare."""


def openings(room: Room, option: Option, now_ms: int) -> list[Opening]:
    """For each node that will have room for one rank of `option`: when, soonest first."""
    found: list[Opening] = []
    for place in room.places.values():
        opening = opening_of(place, option, now_ms)
        if opening is not None:
            found.append(opening)
    found.sort(key=lambda each: each[:2])
    return found


def earliest(room: Room, option: Option, now_ms: int) -> list[Opening] | None:
    """The nodes on which all ranks of `option` can start soonest, or None if they never can."""
    found = openings(room, option, now_ms)
    return found[: option.nodes] if len(found) >= option.nodes else None


def opening_of(place: Place, option: Option, now_ms: int) -> Opening | None:
    """When `place` has room for one rank of `option`, or None for never."""
    if option.gpus and option.model not in ("", place.model):
        return None
    kept = place.reserved
    if kept is not None:
        if not kept.covers(option):
            return None
        return kept.start_ms, place.name, place, kept.less(option)
    gpus, cpus, memory, disk = place.gpus, place.cpus, place.memory, place.disk
    at_ms = now_ms
    if option.gpus > gpus or option.cpus > cpus or option.memory > memory or option.disk > disk:
        for end_ms, held in ends(place, now_ms):
            gpus += held.gpus
            cpus += held.cpus
            memory += held.memory
            disk += held.disk
            at_ms = end_ms
            if (
                option.gpus <= gpus
                and option.cpus <= cpus
                and option.memory <= memory
                and option.disk <= disk
            ):
                break
        else:
            return None
    spare = Reserved(at_ms, gpus=gpus, cpus=cpus, memory=memory, disk=disk)
    spare.take(option)
    return at_ms, place.name, place, spare


def ends(place: Place, now_ms: int) -> list[tuple[int, Held]]:
    """What is held on a node, soonest to end first."""
    soonest = now_ms + OVERDUE_MS
    held: Iterable[Held] = (*place.seat.held.values(), *place.new)
    return sorted(
        ((each.end_ms if each.end_ms > now_ms else soonest, each) for each in held),
        key=lambda pair: (pair[0], pair[1].run),
    )
