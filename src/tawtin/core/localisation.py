"""The localisation rate: which share of what was used was used at home, on the continent, outside.

Tawtin means to settle at home; this is the figure that says how far that went. It is made from the accounts, which
count where each run ended: exact sums, and shares in basis points (one hundredth of a percent) that add up.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from tawtin.model.tenant import Account, Spent
from tawtin.model.views import Localised, Share

AFRICA: Final = frozenset(
    """
    AO BF BI BJ BW CD CF CG CI CM CV DJ DZ EG EH ER ET GA GH GM GN GQ GW KE KM LR LS LY MA MG ML MR MU MW MZ NA NE NG
    RE RW SC SD SH SL SN SO SS ST SZ TD TG TN TZ UG YT ZA ZM ZW
    """.split()
)
"""Countries and territories of the continent (UN M49 region 002)."""
WHOLE: Final = 10_000
"""Basis points of all."""


class Ring(StrEnum):
    """How far from home."""

    HOME = "home"
    CONTINENT = "continent"
    OUTSIDE = "outside"


def rates(accounts: Iterable[Account], homes: dict[str, str], country: str) -> tuple[Localised, ...]:
    """The rate of each tenant and month, months ascending, each month ending with the sum over its tenants.

    `homes` has the country of each tenant that has one of its own; `country` is the factory's.
    """
    months: dict[str, dict[str, dict[Ring, list[int]]]] = {}
    for account in accounts:
        home = homes.get(account.tenant) or country
        for place, spent in account.places.items():
            ring = ring_of(place, home)
            for name in (account.tenant, ""):
                sums = months.setdefault(account.month, {}).setdefault(name, {})
                _add(sums.setdefault(ring, [0, 0, 0, 0]), spent)
    found: list[Localised] = []
    for month in sorted(months):
        tenants = months[month]
        found.extend(
            _localised(name, month, homes.get(name) or country, tenants[name])
            for name in (*sorted(set(tenants) - {""}), "")
        )
    return tuple(found)


def ring_of(place: str, home: str) -> Ring:
    """How far `place` is from `home`. Only the African continent is told apart."""
    if place == home:
        return Ring.HOME
    return Ring.CONTINENT if (place in AFRICA) and (home in AFRICA) else Ring.OUTSIDE


def _add(sums: list[int], spent: Spent) -> None:
    for at, amount in enumerate((spent.gpu_ms, spent.cpu_ms, spent.bytes, spent.runs)):
        sums[at] += amount


def _localised(tenant: str, month: str, country: str, sums: dict[Ring, list[int]]) -> Localised:
    rows = [sums.get(ring, [0, 0, 0, 0]) for ring in Ring]
    gpu, cpu, moved, runs = (_share(*(row[at] for row in rows)) for at in range(4))
    return Localised(
        tenant=tenant, month=month, country=country, gpu_ms=gpu, cpu_ms=cpu, bytes=moved, runs=runs
    )


def _share(home: int, continent: int, outside: int) -> Share:
    """Shares by largest remainder, so that they add up to `WHOLE` wherever anything was used."""
    amounts = (home, continent, outside)
    total = sum(amounts)
    if total == 0:
        return Share()
    points = [amount * WHOLE // total for amount in amounts]
    rest = [(-(amount * WHOLE % total), at) for at, amount in enumerate(amounts)]
    for _, at in sorted(rest)[: WHOLE - sum(points)]:
        points[at] += 1
    return Share(
        home=home, continent=continent, outside=outside,
        home_bp=points[0], continent_bp=points[1], outside_bp=points[2],
    )  # fmt: skip
