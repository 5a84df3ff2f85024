"""The localisation rate: which share of what was used was used at home, on the continent, outside.

Tawtin means to settle at home; this is the figure that says how far that went. It is made from the accounts, which
count where each run ended: exact sums, and shares in basis points (one hundredth of a percent) that add up.

A run that was at a peer is in the accounts of both factories: in its owner's at home, and in that of the peer's
tenant where it ran. It counts once, at its home; so the accounts of guests are not to be given to anything in here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Final

from tawtin.core.meter import month_of
from tawtin.model.localisation import AMOUNT_MAX, MONTHS_MAX, VERSION, Heard, MonthTold, Rings, Told
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
_DAY_MS: Final = 86_400_000
_NOTHING: Final = (0,) * 6

Sums = dict["Ring", list[int]]
"""GPU time, processor time, bytes, runs, tokens and requests, by ring."""


class Ring(StrEnum):
    """How far from home."""

    HOME = "home"
    CONTINENT = "continent"
    OUTSIDE = "outside"


# --- of this factory -------------------------------------------------------------------------------------------------


def rates(accounts: Iterable[Account], homes: Mapping[str, str], country: str) -> tuple[Localised, ...]:
    """The rate of each tenant and month, months ascending, each month ending with the sum over its tenants.

    `homes` has the country of each tenant that has one of its own; `country` is the factory's.
    """
    accounts = tuple(accounts)
    whole = _sums(accounts, homes, country, lambda _account, _home: "")
    found: list[Localised] = []
    for month, tenants in _sums(accounts, homes, country, lambda account, _home: account.tenant).items():
        found.extend(
            _localised(sums, tenant=tenant, month=month, country=homes.get(tenant) or country)
            for tenant, sums in sorted(tenants.items())
        )
        found.append(_localised(whole[month][""], month=month, country=country))
    return tuple(found)


def rates_of_countries(
    accounts: Iterable[Account], homes: Mapping[str, str], country: str
) -> tuple[Localised, ...]:
    """The rate of all tenants whose home is the same country, by month and country, months ascending."""
    months = _sums(accounts, homes, country, lambda _account, home: home)
    return tuple(
        _localised(sums, month=month, country=home)
        for month, countries in months.items()
        for home, sums in sorted(countries.items())
    )


def rates_of_factory(
    accounts: Iterable[Account], homes: Mapping[str, str], country: str, factory: str
) -> tuple[Localised, ...]:
    """The rate of all tenants together, by month, ascending."""
    months = _sums(accounts, homes, country, lambda _account, _home: "")
    return tuple(
        _localised(sums[""], factory=factory, month=month, country=country) for month, sums in months.items()
    )


def ring_of(place: str, home: str) -> Ring:
    """How far `place` is from `home`. Only the African continent is told apart."""
    if place == home:
        return Ring.HOME
    return Ring.CONTINENT if (place in AFRICA) and (home in AFRICA) else Ring.OUTSIDE


# --- of the network --------------------------------------------------------------------------------------------------


def told(own: Iterable[Localised], now_ms: int) -> Told:
    """What peers are told: the last months of `rates_of_factory`, as sums and nothing else."""
    lately = months_until(now_ms, MONTHS_MAX)
    return Told(
        months=tuple(
            MonthTold(
                month=each.month,
                gpu_ms=_rings(each.gpu_ms),
                cpu_ms=_rings(each.cpu_ms),
                bytes=_rings(each.bytes),
                runs=_rings(each.runs),
                tokens=_rings(each.tokens),
                requests=_rings(each.requests),
            )
            for each in own
            if each.month in lately
        )
    )


def refusal(said: Told, now_ms: int) -> str:
    """Why the word of a peer is not taken in; empty if it is. Bounds of figures are those of the records."""
    if said.version != VERSION:
        return f"it tells its rate in version {said.version}, and this factory reads version {VERSION}"
    lately = {*months_until(now_ms - _DAY_MS, MONTHS_MAX), *months_until(now_ms + _DAY_MS, MONTHS_MAX)}
    seen: set[str] = set()
    for each in said.months:
        if each.month not in lately:
            return f"it tells of `{each.month}`, which is none of the last {MONTHS_MAX} months"
        if each.month in seen:
            return f"it tells of `{each.month}` twice"
        seen.add(each.month)
    return ""


def rates_of_network(
    own: Iterable[Localised], heard: Mapping[str, Heard], countries: Mapping[str, str]
) -> tuple[Localised, ...]:
    """Ours, then what each peer says of itself, then the sum of both, by month, ascending.

    `own` is of `rates_of_factory`; `countries` has those of the peers. What is somebody's word says whose.
    """
    months: dict[str, list[Localised]] = {}
    for each in own:
        months.setdefault(each.month, []).append(each)
    for peer, word in sorted(heard.items()):
        for said in word.told.months:
            months.setdefault(said.month, []).append(
                Localised(
                    factory=peer,
                    month=said.month,
                    country=countries.get(peer, ""),
                    said_by=(peer,),
                    heard_ms=word.heard_ms,
                    gpu_ms=_shared(said.gpu_ms),
                    cpu_ms=_shared(said.cpu_ms),
                    bytes=_shared(said.bytes),
                    runs=_shared(said.runs),
                    tokens=_shared(said.tokens),
                    requests=_shared(said.requests),
                )
            )
    return tuple(row for month, rows in sorted(months.items()) for row in (*rows, _together(month, rows)))


def months_until(now_ms: int, count: int) -> tuple[str, ...]:
    """The calendar month (UTC) of `now_ms` and those before it, `count` in all, as `YYYY-MM`, ascending."""
    year, month = map(int, month_of(now_ms).split("-"))
    last = year * 12 + month - 1
    return tuple(f"{each // 12:04d}-{each % 12 + 1:02d}" for each in range(last - count + 1, last + 1))


def _together(month: str, rows: list[Localised]) -> Localised:
    return Localised(
        month=month,
        country="",
        said_by=tuple(name for row in rows for name in row.said_by),
        heard_ms=min((row.heard_ms for row in rows if row.heard_ms is not None), default=None),
        gpu_ms=_added(row.gpu_ms for row in rows),
        cpu_ms=_added(row.cpu_ms for row in rows),
        bytes=_added(row.bytes for row in rows),
        runs=_added(row.runs for row in rows),
        tokens=_added(row.tokens for row in rows),
        requests=_added(row.requests for row in rows),
    )


def _added(shares: Iterable[Share]) -> Share:
    rows = [(share.home, share.continent, share.outside) for share in shares]
    return _share(*(sum(amounts) for amounts in zip(*rows, strict=True)))


def _shared(rings: Rings) -> Share:
    return _share(rings.home, rings.continent, rings.outside)


def _rings(share: Share) -> Rings:
    amounts = (share.home, share.continent, share.outside)
    home, continent, outside = (min(amount, AMOUNT_MAX) for amount in amounts)
    return Rings(home=home, continent=continent, outside=outside)


# --- sums and shares -------------------------------------------------------------------------------------------------


def _sums(
    accounts: Iterable[Account],
    homes: Mapping[str, str],
    country: str,
    group: Callable[[Account, str], str],
) -> dict[str, dict[str, Sums]]:
    """What was used by month, ascending, and by group: that of an account and of the home of its tenant."""
    months: dict[str, dict[str, Sums]] = {}
    for account in accounts:
        home = homes.get(account.tenant) or country
        for place, spent in account.places.items():
            sums = months.setdefault(account.month, {}).setdefault(group(account, home), {})
            _add(sums.setdefault(ring_of(place, home), [*_NOTHING]), spent)
    return dict(sorted(months.items()))


def _add(sums: list[int], spent: Spent) -> None:
    amounts = (spent.gpu_ms, spent.cpu_ms, spent.bytes, spent.runs, spent.tokens, spent.requests)
    for at, amount in enumerate(amounts):
        sums[at] += amount


def _localised(sums: Sums, *, month: str, country: str, tenant: str = "", factory: str = "") -> Localised:
    rows = [sums.get(ring, _NOTHING) for ring in Ring]
    gpu, cpu, moved, runs, tokens, requests = (_share(*(row[at] for row in rows)) for at in range(6))
    return Localised(
        tenant=tenant,
        factory=factory,
        month=month,
        country=country,
        gpu_ms=gpu,
        cpu_ms=cpu,
        bytes=moved,
        runs=runs,
        tokens=tokens,
        requests=requests,
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
