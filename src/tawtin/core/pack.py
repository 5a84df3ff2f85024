"""What is free during one pass, and which nodes are best for a shape.

A shape takes the fullest node that still has room: fewest GPUs left over, then fewest processors, memory and disk, then
the first name. Work without GPUs goes to nodes without GPUs while there is room, then to those with the fewest free
ones. Nodes with a reservation come last, and take only what does not delay it (`Reserved`).

Nodes of one model with as many free GPUs stand in one list, sorted by what else is free: the first one with room is the
best one, found by bisection.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final, TypeVar

from tawtin.core.feasible import Option
from tawtin.core.seats import PROTECTED, Held, Seat, lowest
from tawtin.model.resources import Slot

ALWAYS: Final = 1 << 62
"""Later than any end."""
T = TypeVar("T")
Item = tuple[int, int, int, str]
"""Free milli-processors, MiB of memory, MiB of disk; the node."""


class Reserved:
    """What a node may still give without delaying what it is reserved for."""

    __slots__ = ("cpus", "disk", "freed", "gpus", "memory", "start_ms")

    def __init__(self, start_ms: int, *, gpus: int, cpus: int, memory: int, disk: int) -> None:
        self.freed = False
        """Whether runs are being stopped for it, so that others may count on what is spare as well."""
        self.start_ms = start_ms
        """What ends by then may use all that is free."""
        self.gpus = gpus
        """What is spare once the reservation starts; all that lasts longer must fit in here."""
        self.cpus = cpus
        self.memory = memory
        self.disk = disk

    def covers(self, option: Option) -> bool:
        """Whether one rank of `option` fits into what is spare."""
        return (
            option.gpus <= self.gpus
            and option.cpus <= self.cpus
            and option.memory <= self.memory
            and option.disk <= self.disk
        )

    def less(self, option: Option) -> Reserved:
        """A copy without one rank of `option`."""
        copy = Reserved(self.start_ms, gpus=self.gpus, cpus=self.cpus, memory=self.memory, disk=self.disk)
        copy.take(option)
        return copy

    def take(self, option: Option) -> None:
        """Give one rank of `option` its part of what is spare."""
        self.gpus -= option.gpus
        self.cpus -= option.cpus
        self.memory -= option.memory
        self.disk -= option.disk


class Place:
    """One ready node during a pass."""

    __slots__ = (
        "cpus",
        "disk",
        "engine",
        "gpus",
        "mask",
        "memory",
        "model",
        "name",
        "new",
        "reserved",
        "seat",
    )

    def __init__(self, seat: Seat) -> None:
        self.seat = seat
        self.name = seat.name
        self.model = seat.model
        self.engine = seat.engine
        self.mask = seat.mask
        self.gpus = seat.gpus
        self.cpus = seat.cpus
        self.memory = seat.memory
        self.disk = seat.disk
        self.new: list[Held] = []
        """What this pass put here."""
        self.reserved: Reserved | None = None

    def has_room(self, option: Option) -> bool:
        """Whether one rank of `option` fits into what is free now."""
        return (
            (option.gpus == 0 or option.model in ("", self.model))
            and option.gpus <= self.gpus
            and option.cpus <= self.cpus
            and option.memory <= self.memory
            and option.disk <= self.disk
        )

    def admits(self, option: Option, ends_ms: int) -> bool:
        """Whether work that ends by `ends_ms` leaves the reservation alone."""
        kept = self.reserved
        return kept is None or ends_ms <= kept.start_ms or kept.covers(option)

    def item(self) -> Item:
        """Where it stands in its list."""
        return (self.cpus, self.memory, self.disk, self.name)


class Room:
    """All ready nodes during a pass."""

    def __init__(self, seats: Iterable[Seat]) -> None:
        """Begin with what is free in `seats`, given in the order of their names."""
        self.places = {seat.name: Place(seat) for seat in seats if seat.ready}
        self.engines = len({place.engine for place in self.places.values()})
        self.kept: list[Place] = []
        """Places with a reservation; they are in no list."""
        self._kept_by_model: dict[str, list[Place]] = {}
        self._pools: dict[str, list[list[Item]]] = {}
        for place in self.places.values():
            self._list_of(place).append(place.item())
        for pool in self._pools.values():
            for items in pool:
                items.sort()

    def find(self, option: Option, ends_ms: int) -> list[Place] | None:
        """The best places for all ranks of `option` now, best first, or None. `ends_ms` is when it will be over."""
        count = option.nodes
        if self.parted(option):
            everywhere = len(self.places)
            found = self.free(option, everywhere) + self._backfill(option, ends_ms, everywhere)
            return together(found, count, lambda place: place.engine)
        found = self.free(option, count)
        if len(found) < count and self.kept:
            found.extend(self._backfill(option, ends_ms, count - len(found)))
        return found if len(found) == count else None

    def parted(self, option: Option) -> bool:
        """Whether `option` may not be spread over all nodes: all ranks of a gang are at one engine."""
        return option.nodes > 1 and self.engines > 1

    def latest(self, option: Option) -> int:
        """The latest end with which `option` would find places now; below 0 if with none.

        Room only shrinks in a pass, so this stays an upper limit.
        """
        missing = option.nodes - len(self.free(option, option.nodes))
        if missing <= 0:
            return ALWAYS
        limits: list[int] = []
        for place in self._kept_for(option):
            if option.gpus <= place.gpus and option.cpus <= place.cpus and place.has_room(option):
                kept = place.reserved
                limits.append(ALWAYS if kept is None or kept.covers(option) else kept.start_ms)
        limits.sort(reverse=True)
        return limits[missing - 1] if len(limits) >= missing else -1

    def take(self, place: Place, option: Option, run: str, ends_ms: int) -> Slot:
        """Put one rank of `option` on `place`."""
        kept = place.reserved
        if kept is None:
            self._leave(place)
        elif ends_ms > kept.start_ms:
            kept.take(option)
        indices = lowest(place.mask, option.gpus)
        slot = Slot(node=place.name, gpus=indices)
        held = Held(run, option.shape, slot, end_ms=ends_ms, level=PROTECTED, placed_ms=0)
        place.new.append(held)
        place.mask &= ~held.mask
        place.gpus -= option.gpus
        place.cpus -= option.cpus
        place.memory -= option.memory
        place.disk -= option.disk
        if kept is None:
            insort(self._list_of(place), place.item())
        return slot

    def reserve(self, place: Place, reserved: Reserved) -> None:
        """Keep `place` for somebody from `reserved.start_ms` on."""
        if place.reserved is None:
            self._leave(place)
            self.kept.append(place)
            self._kept_by_model.setdefault(place.model, []).append(place)
        place.reserved = reserved

    # --- within ---------------------------------------------------------------------------------------------------

    def _kept_for(self, option: Option) -> list[Place]:
        if option.gpus and option.model:
            return self._kept_by_model.get(option.model, [])
        return self.kept

    def _list_of(self, place: Place) -> list[Item]:
        pool = self._pools.setdefault(place.model, [])
        while len(pool) <= place.gpus:
            pool.append([])
        return pool[place.gpus]

    def _leave(self, place: Place) -> None:
        items = self._list_of(place)
        del items[bisect_left(items, place.item())]

    def _ranked(self, option: Option) -> Iterator[list[list[Item]]]:
        """Lists that may hold room, best first; those that come together are equally good."""
        if option.gpus and option.model:
            for items in self._pools.get(option.model, [])[option.gpus :]:
                yield [items]
            return
        if option.gpus == 0:
            yield self._pools.get("", [])
        pools = [pool for model, pool in sorted(self._pools.items()) if model]
        for free in range(option.gpus, max((len(pool) for pool in pools), default=0)):
            yield [pool[free] for pool in pools if free < len(pool)]

    def free(self, option: Option, count: int) -> list[Place]:
        """The best places with room now and without a reservation, at most `count` of them."""
        found: list[Place] = []
        for lists in self._ranked(option):
            fitting = [item for items in lists if items for item in _fitting(items, option, count)]
            if fitting:
                if len(lists) > 1:
                    fitting.sort()
                found.extend(self.places[item[3]] for item in fitting[: count - len(found)])
                if len(found) == count:
                    break
        return found

    def _backfill(self, option: Option, ends_ms: int, count: int) -> list[Place]:
        """Places with a reservation that take one rank without delaying it."""
        fitting = [
            ((place.gpus, place.item()), place)
            for place in self._kept_for(option)
            if place.has_room(option) and place.admits(option, ends_ms)
        ]
        fitting.sort(key=lambda each: each[0])
        return [place for _, place in fitting[:count]]


def together(found: Iterable[T], count: int, engine_of: Callable[[T], str]) -> list[T] | None:
    """The first `count` of these that belong to one engine, of that engine that has so many first; None if none has."""
    by_engine: dict[str, list[T]] = {}
    for each in found:
        mine = by_engine.setdefault(engine_of(each), [])
        mine.append(each)
        if len(mine) == count:
            return mine
    return None


def _fitting(items: list[Item], option: Option, count: int) -> list[Item]:
    """The first `count` items with room."""
    memory, disk = option.memory, option.disk
    found: list[Item] = []
    for item in islice(items, bisect_left(items, (option.cpus,)), None):
        if item[1] >= memory and item[2] >= disk:
            found.append(item)
            if len(found) == count:
                break
    return found
