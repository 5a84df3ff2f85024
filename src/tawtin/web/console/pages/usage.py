"""Usage and budget: what a month cost, where it was used, and what is left."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from babel.numbers import get_currency_precision
from markupsafe import Markup

from tawtin.core.meter import MICRO, month_of
from tawtin.model.base import Record
from tawtin.web.console.pages.figures import Line, budget_of, by_country, by_model, line_of, rows_of
from tawtin.web.console.visit import GUARDS, ROOT
from tawtin.web.errors import HttpError
from tawtin.web.exchange import Answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tawtin.model.tenant import Account
    from tawtin.model.views import Localised
    from tawtin.web.console.visit import Visit

_CSV: Final = b"text/csv; charset=utf-8; header=present"
_MONTHS_PLOTTED: Final = 24


class Statement(Record, frozen=True, kw_only=True):
    """One month of one tenant, or of all."""

    month: str
    tenant: str
    """Empty for all."""
    current: bool
    months: tuple[str, ...]
    """Those that there are accounts of, newest first, and the current one."""
    total: Line
    lines: tuple[Line, ...]
    accounts: tuple[Account, ...]
    history: tuple[tuple[str, float], ...]
    """Price by month, minor units, up to this one."""
    rate: Localised | None
    budgeted: int
    """How many tenants have a budget."""


async def statement_of(visit: Visit) -> Statement:
    """What the address asks for. Raises Invalid for what is no month, NotFound for a tenant of somebody else."""
    service, actor = visit.service, visit.actor
    now_ms = visit.console.now_ms()
    this = month_of(now_ms)
    month = visit.query.get("month") or this
    if month.startswith("0000"):
        raise HttpError(400, "there was no year 0: write a month as 2026-11", "Invalid")
    tenant = visit.query.get("tenant", "")[:63] or (actor.tenant if not actor.overlooks else "")
    accounts = await service.usage(actor, tenant=tenant or None, month=month)
    ever = await service.usage(actor, tenant=tenant or None)
    rates = await service.localisation(actor, tenant=tenant or None, month=month)
    by_tenant = {each.tenant: each for each in rates.items}
    current = month == this
    names = sorted({each.tenant for each in accounts})
    if current:
        names = sorted({*names, *(_budgeted(visit) if not tenant else (tenant,))})
    lines = tuple(
        line_of(
            (each for each in accounts if each.tenant == name),
            name,
            by_tenant.get(name),
            budget_of(service.state, name, now_ms, current=current),
        )
        for name in names
    )
    budgets = [line for line in lines if line.budget_minor is not None]
    whole = by_tenant.get(tenant)
    total = line_of(
        accounts,
        tenant,
        whole,
        (sum(line.budget_minor or 0 for line in budgets), sum(line.left_minor or 0 for line in budgets))
        if budgets
        else (None, None),
    )
    history: dict[str, float] = {}
    for each in ever:
        if each.month <= month:
            spent = each.cost_minor + each.tokens_micro / MICRO
            history[each.month] = history.get(each.month, 0) + spent
    return Statement(
        month=month,
        tenant=tenant,
        current=current,
        months=tuple(sorted({this, month, *(each.month for each in ever)}, reverse=True)),
        total=total,
        lines=lines,
        accounts=accounts,
        history=tuple(sorted(history.items())[-_MONTHS_PLOTTED:]),
        rate=whole,
        budgeted=len(budgets),
    )


def _budgeted(visit: Visit) -> list[str]:
    tenants = visit.service.state.tenants.values()
    return [each.id for each in tenants if each.quota.budget_minor_per_month is not None and not each.closed]


async def show_usage(visit: Visit) -> Answer:
    """The page."""
    found = await statement_of(visit)
    words, site = visit.words, visit.service.site
    tenants = visit.service.state.tenants
    return visit.render(
        "usage.html",
        current="usage",
        st=found,
        name=tenants[found.tenant].name if found.tenant in tenants else "",
        tenants=sorted(tenants) if visit.actor.overlooks else [],
        bars=_bars(found.rate),
        countries=by_country(found.accounts),
        models=by_model(found.accounts),
        plot=_plot(visit, found) if len(found.history) > 1 else "",
        csv=f"{ROOT}/usage.csv?{urlencode(_asked(found, visit))}",
        hour=3_600_000,
        micro=MICRO,
        now=words.moment(visit.console.now_ms()),
        currency=site.currency,
        digits=get_currency_precision(site.currency),
    )


def _asked(found: Statement, visit: Visit) -> list[tuple[str, str]]:
    pairs = [("month", found.month)]
    return [*pairs, ("tenant", found.tenant)] if visit.actor.overlooks and found.tenant else pairs


def _bars(rate: Localised | None) -> list[tuple[str, Any]]:
    """Which resources were used at all, and where; the name is a key of the catalogue."""
    if rate is None:
        return []
    shares = (
        ("gpu", rate.gpu_ms),
        ("cpu", rate.cpu_ms),
        ("bytes", rate.bytes),
        ("runs", rate.runs),
        ("tokens", rate.tokens),
    )
    return [(name, share) for name, share in shares if share.home + share.continent + share.outside]


def _plot(visit: Visit, found: Statement) -> Markup:
    """What `plot.js` reads: the price of each month that there are accounts of."""
    words, currency = visit.words, visit.service.site.currency
    unit = 10 ** get_currency_precision(currency)
    series: list[dict[str, Any]] = [
        {
            "label": words.plain("cost"),
            "unit": currency,
            "values": [round(minor / unit, 6) for _, minor in found.history],
        }
    ]
    if found.tenant and found.total.budget_minor is not None:
        limit = found.total.budget_minor / unit
        series.append(
            {
                "label": words.plain("budget"),
                "unit": currency,
                "values": [limit] * len(found.history),
                "kind": "limit",
            }
        )
    data = {
        "x": [_first_ms(month) for month, _ in found.history],
        "series": series,
        "zero": True,
        "months": True,
    }
    return Markup(json.dumps(data).replace("<", "\\u003c"))  # noqa: S704 - no tag can begin in it


def _first_ms(month: str) -> int:
    return int(datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC).timestamp() * 1000)


async def download(visit: Visit) -> Answer:
    """The table of tenants as CSV."""
    found = await statement_of(visit)
    currency = visit.service.site.currency
    lines: Sequence[Line] = found.lines
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(
        rows_of(found.month, currency, get_currency_precision(currency), lines)
    )
    name = f"usage-{found.month}.csv"
    disposition = (b"content-disposition", f'attachment; filename="{name}"'.encode())
    return Answer(text.getvalue().encode(), media=_CSV, headers=[disposition, *GUARDS])
