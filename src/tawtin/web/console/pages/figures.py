"""What one month used, summed up from the accounts for the page and for its download."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tawtin.core.meter import HOUR_MS, MICRO, SCALE
from tawtin.model.base import Record
from tawtin.model.tenant import Spent, Tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tawtin.core.state import State
    from tawtin.model.tenant import Account
    from tawtin.model.views import Localised, Share

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
COLUMNS: Final = (
    "month", "tenant", "currency", "runs", "gpu_hours", "cpu_hours", "bytes_in", "bytes_out", "model_requests",
    "cost_runs", "cost_models", "cost", "home_percent", "continent_percent", "outside_percent", "rate_of",
)  # fmt: skip


class Line(Record, frozen=True, kw_only=True):
    """What one tenant, or all together, used in one month."""

    tenant: str = ""
    runs: int = 0
    gpu_ms: int = 0
    cpu_ms: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    requests: int = 0
    cost_minor: int = 0
    """Of runs."""
    tokens_micro: int = 0
    """Of requests for models, millionths of a minor unit."""
    share: Share | None = None
    """Of GPU time, or of processor time where no GPU was used; None where neither was."""
    share_of: str = ""
    """gpu or cpu."""
    budget_minor: int | None = None
    left_minor: int | None = None
    """Of this month; None where there is no budget, or the month is over."""

    @property
    def minor(self) -> float:
        """All of its price, minor units."""
        return self.cost_minor + self.tokens_micro / MICRO

    @property
    def gpu_hours(self) -> float:
        """Hours of GPU time."""
        return self.gpu_ms / HOUR_MS

    @property
    def cpu_hours(self) -> float:
        """Hours of processor time."""
        return self.cpu_ms / HOUR_MS


def share_of(rate: Localised | None) -> tuple[Share | None, str]:
    """The share of GPU time, else of processor time, and which of the two it is."""
    for share, name in ((rate.gpu_ms, "gpu"), (rate.cpu_ms, "cpu")) if rate is not None else ():
        if share.home + share.continent + share.outside:
            return share, name
    return None, ""


def line_of(
    accounts: Iterable[Account], tenant: str, rate: Localised | None, budget: tuple[int | None, int | None]
) -> Line:
    """The sum of these accounts."""
    share, name = share_of(rate)
    accounts = tuple(accounts)
    return Line(
        tenant=tenant,
        runs=sum(each.runs for each in accounts),
        gpu_ms=sum(sum(each.gpu_ms.values()) for each in accounts),
        cpu_ms=sum(each.cpu_ms for each in accounts),
        bytes_in=sum(each.bytes_in for each in accounts),
        bytes_out=sum(each.bytes_out for each in accounts),
        requests=sum(model.requests for each in accounts for model in each.models.values()),
        cost_minor=sum(each.cost_minor for each in accounts),
        tokens_micro=sum(each.tokens_micro for each in accounts),
        share=share,
        share_of=name,
        budget_minor=budget[0],
        left_minor=budget[1],
    )


def budget_of(state: State, tenant: str, now_ms: int, *, current: bool) -> tuple[int | None, int | None]:
    """A tenant's budget of a month, and what is left of it now, minor units; None where there is none."""
    known = state.tenants.get(tenant)
    budget = known.quota.budget_minor_per_month if known is not None else None
    if budget is None or not current:
        return None, None
    return budget, max(0, budget * SCALE - state.spent(tenant, now_ms)) // SCALE


def by_country(accounts: Iterable[Account]) -> list[tuple[str, Spent]]:
    """What was used in each country, the most GPU time first."""
    found: dict[str, Spent] = {}
    for account in accounts:
        for country, each in account.places.items():
            had = found.get(country, Spent())
            found[country] = Spent(
                runs=had.runs + each.runs,
                gpu_ms=had.gpu_ms + each.gpu_ms,
                cpu_ms=had.cpu_ms + each.cpu_ms,
                bytes=had.bytes + each.bytes,
                requests=had.requests + each.requests,
                tokens=had.tokens + each.tokens,
            )
    return sorted(found.items(), key=lambda item: (-item[1].gpu_ms, -item[1].cpu_ms, item[0]))


def by_model(accounts: Iterable[Account]) -> list[tuple[str, Tokens]]:
    """What was asked of each model, the dearest first."""
    found: dict[str, Tokens] = {}
    for account in accounts:
        for model, each in account.models.items():
            had = found.get(model, Tokens())
            found[model] = Tokens(
                requests=had.requests + each.requests,
                tokens_in=had.tokens_in + each.tokens_in,
                tokens_out=had.tokens_out + each.tokens_out,
                estimated=had.estimated + each.estimated,
                cost_micro=had.cost_micro + each.cost_micro,
            )
    return sorted(found.items(), key=lambda item: (-item[1].cost_micro, -item[1].tokens_out, item[0]))


def rows_of(month: str, currency: str, digits: int, lines: Sequence[Line]) -> list[tuple[str, ...]]:
    """The rows of the download; money is in the currency's unit, with a point, and shares are per cent."""
    unit = 10**digits
    rows: list[tuple[str, ...]] = [COLUMNS]
    for line in lines:
        share = line.share
        rows.append(
            (
                month,
                guarded(line.tenant),
                currency,
                str(line.runs),
                f"{line.gpu_hours:.4f}",
                f"{line.cpu_hours:.4f}",
                str(line.bytes_in),
                str(line.bytes_out),
                str(line.requests),
                f"{line.cost_minor / unit:.{digits}f}",
                f"{line.tokens_micro / MICRO / unit:.{digits + 6}f}",
                f"{line.minor / unit:.{digits}f}",
                *(_percent(share, ring) for ring in ("home", "continent", "outside")),
                line.share_of,
            )
        )
    return rows


def _percent(share: Share | None, ring: str) -> str:
    if share is None:
        return ""
    points = {"home": share.home_bp, "continent": share.continent_bp, "outside": share.outside_bp}[ring]
    return f"{points / 100:.2f}"


def guarded(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
