"""What is free during one pass, and which nodes are best for a shape.

Nodes with equal model and equal free amounts are interchangeable, so they are kept together under one key and judged
once. A shape takes the fullest node that still has room: fewest GPUs left over, then fewest processors, memory and
disk, then the first name. Work without GPUs goes to nodes without GPUs while there is room, then to those with the
fewest free ones. Nodes with a reservation come last, and take only what does not delay it (`Reserved`).
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable

from tawtin.core.feasible import Option
from tawtin.core.seats import PROTECTED, Held, Seat, lowest
from tawtin.model.resources import Slot

Amounts = tuple[int, int, int]
"""Free milli-processors, MiB of memory, MiB of disk."""
Bucket = dict[Amounts, list["Place"]]


class Reserved:
    """What a node may still give without delaying what it is reserved for."""

    __slots__ = ("cpus", "disk", "gpus", "memory", "start_ms")

    def __init__(self, start_ms: int, *, gpus: int, cpus: int, memory: int, disk: int) -> None:
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

    __slots__ = ("cpus", "disk", "gpus", "mask", "memory", "model", "name", "new", "reserved", "seat")

    def __init__(self, seat: Seat) -> None:
        self.seat = seat
        self.name = seat.name
        self.model = seat.model
        self.mask = seat.mask
        self.gpus = seat.gpus
        self.cpus = seat.cpus
        self.memory = seat.memory
        self.disk = seat.disk
        self.new: list[Held] = []
        """What this pass put here."""
        self.reserved: Reserved | None = None

    def __lt__(self, other: Place) -> bool:
        return self.name < other.name

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

    def amounts(self) -> Amounts:
        """What is free besides GPUs."""
        return (self.cpus, self.memory, self.disk)


class Room:
    """All ready nodes during a pass."""

    def __init__(self, seats: Iterable[Seat]) -> None:
        """Begin with what is free in `seats`, given in the order of their names."""
        self.places = {seat.name: Place(seat) for seat in seats if seat.ready}
        self.kept: list[Place] = []
        """Places with a reservation, by name; they are in no bucket."""
        self._pools: dict[str, list[Bucket]] = {}
        for place in self.places.values():
            self._bucket(place).setdefault(place.amounts(), []).append(place)

    def find(self, option: Option, ends_ms: int) -> list[Place] | None:
        """The best places for all ranks of `option` now, best first, or None. `ends_ms` is when it will be over."""
        if option.nodes == 1:
            place = self._best(option)
            if place is not None:
                return [place]
        else:
            found = self._best_many(option, option.nodes)
            if len(found) == option.nodes:
                return found
            if not self.kept:
                return None
            found.extend(self._backfill(option, ends_ms, option.nodes - len(found)))
            return found if len(found) == option.nodes else None
        return self._backfill(option, ends_ms, 1) or None

    def could(self, option: Option) -> bool:
        """Whether `option` might find places now, whatever is reserved. Quick; may be wrong with True only."""
        if option.nodes == 1:
            return self._best(option) is not None or any(place.has_room(option) for place in self.kept)
        return True

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
            insort(self._bucket(place).setdefault(place.amounts(), []), place)
        return slot

    def reserve(self, place: Place, reserved: Reserved) -> None:
        """Keep `place` for somebody from `reserved.start_ms` on."""
        if place.reserved is None:
            self._leave(place)
            insort(self.kept, place)
        place.reserved = reserved

    # --- within ---------------------------------------------------------------------------------------------------

    def _bucket(self, place: Place) -> Bucket:
        pool = self._pools.setdefault(place.model, [])
        free = place.gpus
        while len(pool) <= free:
            pool.append({})
        return pool[free]

    def _leave(self, place: Place) -> None:
        bucket = self._bucket(place)
        amounts = place.amounts()
        same = bucket[amounts]
        same.remove(place)
        if not same:
            del bucket[amounts]

    def _ranked(self, option: Option) -> Iterable[list[Bucket]]:
        """Buckets that may hold room, best first; those in one list are equally good."""
        if option.gpus and option.model:
            pool = self._pools.get(option.model, [])
            return [[bucket] for bucket in pool[option.gpus :]]
        with_gpus = [pool for model, pool in sorted(self._pools.items()) if model]
        longest = max((len(pool) for pool in with_gpus), default=0)
        ranked = [
            [pool[free] for pool in with_gpus if free < len(pool)] for free in range(option.gpus, longest)
        ]
        if option.gpus == 0:
            ranked.insert(0, self._pools.get("", []))
        return ranked

    def _best(self, option: Option) -> Place | None:
        cpus, memory, disk = option.cpus, option.memory, option.disk
        for buckets in self._ranked(option):
            best: tuple[Amounts, Place] | None = None
            for bucket in buckets:
                for amounts, places in bucket.items():
                    if (
                        amounts[0] >= cpus
                        and amounts[1] >= memory
                        and amounts[2] >= disk
                        and (best is None or (amounts, places[0]) < best)
                    ):
                        best = (amounts, places[0])
            if best is not None:
                return best[1]
        return None

    def _best_many(self, option: Option, count: int) -> list[Place]:
        found: list[Place] = []
        cpus, memory, disk = option.cpus, option.memory, option.disk
        for buckets in self._ranked(option):
            fitting = [
                (amounts, place)
                for bucket in buckets
                for amounts, places in bucket.items()
                if amounts[0] >= cpus and amounts[1] >= memory and amounts[2] >= disk
                for place in places[:count]
            ]
            fitting.sort()
            found.extend(place for _, place in fitting[: count - len(found)])
            if len(found) == count:
                break
        return found

    def _backfill(self, option: Option, ends_ms: int, count: int) -> list[Place]:
        """Places with a reservation that take one rank without delaying it."""
        fitting = [
            ((place.gpus, place.amounts(), place.name), place)
            for place in self.kept
            if place.has_room(option) and place.admits(option, ends_ms)
        ]
        fitting.sort(key=lambda each: each[0])
        return [place for _, place in fitting[:count]]
