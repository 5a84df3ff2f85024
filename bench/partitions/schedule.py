"""What happens to five factories: jobs that come, cables that break, control planes that die, a site that burns down.

A schedule is drawn from a seed alone, before anything runs, so that every system gets the same one. Times are
milliseconds since its start at midnight UTC.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from demo.cables import RTT_MS

MINUTE: Final = 60_000
HOUR: Final = 60 * MINUTE
SITES: Final = {"Cape Town": "ZA", "Casablanca": "MA", "Cairo": "EG", "Nairobi": "KE", "Lagos": "NG"}
NODES: Final = 2
GPUS: Final = 8
"""Of each node."""
LOADS: Final = (1.6, 1.2, 0.6, 0.4, 0.3)
"""GPU time that is asked for at each site, over what it has: two have too much, the others have room."""
SIZES: Final = (2, 2, 4, 4, 8, 8)
WORK_MS: Final = (5 * MINUTE, 6 * HOUR)
LOST_AFTER_MS: Final = 12 * HOUR
"""So long after a site burned down a person says that it will not come back."""
LAGOS_MS: Final = 270 * MINUTE
"""14 March 2024: Nigeria lost its cables at 10:30 UTC, Lagos was partly back at about 15:00 (Cloudflare)."""
WEST_MS: Final = 330 * MINUTE
"""The same day a South African operator recovered fully in 5.5 hours, over the cables of the east coast."""
MARCH_MS: Final = 630 * MINUTE
CLOUDFLARE: Final = "https://blog.cloudflare.com/undersea-cable-failures-cause-internet-disruptions-across-africa-march-14-2024"


@dataclass(frozen=True, kw_only=True)
class Job:
    """What somebody wants to run. It never fails by itself, and keeps nothing if it is ended early."""

    name: str
    home: str
    gpus: int
    work_ms: int
    at_ms: int


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something that is broken for a while. `kind` is `cut`, `loss`, `crash` or `destroyed`."""

    kind: str
    at_ms: int
    until_ms: int
    ways: tuple[tuple[str, str], ...] = ()
    """Directions that nothing passes, or that lose messages."""
    site: str = ""
    percent: int = 0
    """Messages that are lost."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Everything that a system is put through."""

    jobs: tuple[Job, ...]
    faults: tuple[Fault, ...]
    end_ms: int
    """When the last job has come and the last fault is over; then all have time to come to rest."""
    destroyed: str = ""

    @property
    def cuts(self) -> list[Fault]:
        """The cuts alone."""
        return [each for each in self.faults if each.kind == "cut"]


def rtt_ms(one: str, other: str) -> int:
    """The round trip between two sites; a millisecond within one."""
    if one == other:
        return 1
    ends = (SITES[one], SITES[other])
    return RTT_MS.get(ends) or RTT_MS[ends[1], ends[0]]


def both(one: str, other: str) -> tuple[tuple[str, str], ...]:
    """Both directions."""
    return ((one, other), (other, one))


def around(site: str) -> tuple[tuple[str, str], ...]:
    """All directions from and to a site."""
    return tuple(way for other in SITES if other != site for way in both(site, other))


def draw(seed: int, *, hours: int = 48) -> Schedule:
    """Draw a schedule whose jobs come during so many hours."""
    source = random.Random(seed)
    span = hours * HOUR
    faults = [*_march(source, span), *_cuts(source, span), *_weather(source, span)]
    gone = source.choice([name for name in SITES if name != "Cape Town"])
    faults.append(
        Fault(kind="destroyed", at_ms=int(span * 0.85), until_ms=10 * span, site=gone, ways=around(gone))
    )
    return Schedule(
        jobs=_jobs(source, span),
        faults=tuple(sorted(faults, key=lambda each: (each.at_ms, each.kind, each.site, each.ways))),
        end_ms=span + LOST_AFTER_MS,
        destroyed=gone,
    )


def _jobs(source: random.Random, span: int) -> tuple[Job, ...]:
    shortest, longest = WORK_MS
    mean_ms = (longest - shortest) / math.log(longest / shortest)
    mean_gpus = sum(SIZES) / len(SIZES)
    loads = source.sample(LOADS, len(LOADS))
    found: list[Job] = []
    for site, load in zip(SITES, loads, strict=True):
        between_ms = mean_ms * mean_gpus / (NODES * GPUS * load)
        now = source.expovariate(1 / between_ms)
        while now < span:
            work_ms = int(shortest * (longest / shortest) ** source.random())
            name = f"{SITES[site]}-{len(found)}"
            found.append(
                Job(name=name, home=site, gpus=source.choice(SIZES), work_ms=work_ms, at_ms=int(now))
            )
            now += source.expovariate(1 / between_ms)
    return tuple(sorted(found, key=lambda each: each.at_ms))


def _march(source: random.Random, span: int) -> list[Fault]:
    """The cables of the west coast: Lagos from everybody, Cape Town from Casablanca; then what is left loses much."""
    at_ms = MARCH_MS + source.randrange(max(1, span // (24 * HOUR))) * 24 * HOUR
    if span <= 24 * HOUR:
        at_ms = span // 4
    west = both("Cape Town", "Casablanca")
    return [
        Fault(kind="cut", at_ms=at_ms, until_ms=at_ms + LAGOS_MS, ways=around("Lagos")),
        Fault(kind="cut", at_ms=at_ms, until_ms=at_ms + WEST_MS, ways=west),
        Fault(
            kind="loss",
            at_ms=at_ms + LAGOS_MS,
            until_ms=at_ms + LAGOS_MS + 6 * HOUR,
            ways=around("Lagos"),
            percent=30,
        ),
    ]


def _cuts(source: random.Random, span: int) -> list[Fault]:
    """Single pairs and single sites, for minutes and for hours, and one way only."""
    names = list(SITES)
    pairs = list(combinations(names, 2))
    found: list[Fault] = []

    def add(ways: tuple[tuple[str, str], ...], shortest: int, longest: int) -> None:
        at_ms = source.randrange(span)
        found.append(
            Fault(kind="cut", at_ms=at_ms, until_ms=at_ms + source.randrange(shortest, longest), ways=ways)
        )

    days = span / (24 * HOUR)
    for _ in range(max(1, round(6 * days))):
        add(both(*source.choice(pairs)), MINUTE, 10 * MINUTE)
    for _ in range(max(1, round(2 * days))):
        add(around(source.choice(names)), MINUTE, 10 * MINUTE)
        add(both(*source.choice(pairs)), HOUR, 4 * HOUR)
        add((source.choice(pairs),), 10 * MINUTE, 2 * HOUR)
    for _ in range(max(1, round(days))):
        add(around(source.choice(names)), HOUR, 3 * HOUR)
    return found


def _weather(source: random.Random, span: int) -> list[Fault]:
    """Links that lose messages, and control planes that die for a while; what runs goes on."""
    names = list(SITES)
    pairs = list(combinations(names, 2))
    days = span / (24 * HOUR)
    found: list[Fault] = []
    for _ in range(max(1, round(3 * days))):
        at_ms = source.randrange(span)
        found.append(
            Fault(
                kind="loss",
                at_ms=at_ms,
                until_ms=at_ms + source.randrange(HOUR, 6 * HOUR),
                ways=both(*source.choice(pairs)),
                percent=source.choice((5, 20)),
            )
        )
    for _ in range(max(1, round(4 * days))):
        at_ms = source.randrange(span)
        down_ms = source.randrange(10_000, 10 * MINUTE)
        found.append(Fault(kind="crash", at_ms=at_ms, until_ms=at_ms + down_ms, site=source.choice(names)))
    return found
