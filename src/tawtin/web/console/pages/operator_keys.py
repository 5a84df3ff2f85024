"""One tenant for an operator: its quota, and its keys."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec
from babel.numbers import get_currency_precision

from tawtin.core.meter import SCALE, month_of
from tawtin.model.tenant import Quota, Scope
from tawtin.runtime.actor import SCOPES
from tawtin.web.console.visit import ROOT
from tawtin.web.errors import HttpError, field_error

if TYPE_CHECKING:
    from tawtin.model.tenant import ApiKey, Tenant
    from tawtin.web.console.visit import Visit
    from tawtin.web.exchange import Answer

_DAY_MS: Final = 86_400_000
_DAYS_MAX: Final = 36_500
_NAME_CHARS_MAX: Final = 200
FACTORS: Final[dict[str, int]] = {
    "gpus": 1,
    "cpus_milli": 1000,
    "memory_mib": 1,
    "runs": 1,
    "workloads": 1,
    "weight": 1,
    "priority_max": 1,
    "budget_minor_per_month": 0,
}
"""Fields of a quota, and what one unit of each is on the page; that of money depends on its currency."""


async def show_tenant(visit: Visit) -> Answer:
    """The page. Raises NotFound."""
    service, actor, name = visit.service, visit.actor, visit.exchange.params["id"]
    tenant = await service.tenant(actor, name)
    now_ms = visit.console.now_ms()
    held = service.state.holding(tenant.id)
    keys = await service.keys(actor, tenant.id)
    return visit.render(
        "operator_tenant.html",
        current="operator",
        tenant=tenant,
        fields=[(field, _written(visit, tenant.quota, field)) for field in FACTORS],
        held=held,
        spent=service.state.spent(tenant.id, now_ms) // SCALE,
        month=month_of(now_ms),
        keys=[(key, _standing(key, now_ms)) for key in reversed(keys)],
        scopes=SCOPES,
    )


def _standing(key: ApiKey, now_ms: int) -> str:
    if key.revoked_ms is not None:
        return "revoked"
    if key.expires_ms is not None and key.expires_ms <= now_ms:
        return "expired"
    return "valid"


def _factor(visit: Visit, field: str) -> int:
    return FACTORS[field] or 10 ** get_currency_precision(visit.service.site.currency)


def _written(visit: Visit, quota: Quota, field: str) -> str:
    """A limit as it stands in its field; empty for none."""
    value: int | None = getattr(quota, field)
    if value is None:
        return ""
    return f"{(Decimal(value) / _factor(visit, field)).normalize():f}"


async def set_quota(visit: Visit) -> Answer:
    """Change the quota, unless the tenant was changed since the page was shown. Raises HttpError, ServiceError."""
    fields = await visit.form()
    current = await visit.service.tenant(visit.actor, visit.exchange.params["id"])
    version = fields.get("version", "")
    if not (version.isascii() and version.isdecimal()):
        raise HttpError(400, "the form has no version of the tenant: open its page again", "Invalid")
    given: dict[str, Any] = {name: _read(visit, name, fields.get(name, "")) for name in FACTORS}
    try:
        quota = msgspec.convert(given, Quota)
    except msgspec.ValidationError as error:
        place = field_error(str(error))
        raise HttpError(400, f"`{place.field}`: {place.message}", "Invalid", errors=(place,)) from None
    wanted = msgspec.structs.replace(current, quota=quota)
    await visit.service.put_tenant(visit.actor, wanted, if_match=int(version), create=False)
    return _back(visit, current)


def _read(visit: Visit, field: str, text: str) -> int | None:
    """A limit that was entered, in the units of the record; None for none. Raises HttpError."""
    text = re.sub(r"\s", "", text)
    if not text:
        return None
    if not re.fullmatch(r"[-\u2212]?\d{1,15}([.,\u066b]\d{1,6})?", text):
        msg = f"`{field}`: `{text[:40]}` is not a number: write it as 12 or 12.5, or leave it empty for no limit"
        raise HttpError(400, msg, "Invalid")
    value = Decimal(re.sub("[,\u066b]", ".", text).replace("\u2212", "-")) * _factor(visit, field)
    if value != value.to_integral_value():
        raise HttpError(400, f"`{field}`: `{text[:40]}` has too many digits after its point", "Invalid")
    return int(value)


async def issue(visit: Visit) -> Answer:
    """Issue a key, and show its secret: on this answer and never again. Raises HttpError, ServiceError."""
    fields = await visit.form()
    name = visit.exchange.params["id"]
    scope = fields.get("scope", "")
    if scope not in SCOPES:
        raise HttpError(400, f"there is no scope `{scope[:40]}`: {', '.join(SCOPES)}", "Invalid")
    days = fields.get("days", "").strip()
    if days and not (days.isdecimal() and 0 < int(days[:9]) <= _DAYS_MAX):
        raise HttpError(400, f"`days`: give a whole number from 1 to {_DAYS_MAX}, or nothing", "Invalid")
    expires_ms = visit.console.now_ms() + int(days) * _DAY_MS if days else None
    called = fields.get("name", "").strip()[:_NAME_CHARS_MAX]
    key = await visit.service.issue_key(visit.actor, name, called, Scope(scope), expires_ms)
    return visit.render("operator_key.html", current="operator", key=key)


async def revoke(visit: Visit) -> Answer:
    """Revoke a key of the tenant, at once and for good. Raises NotFound."""
    fields = await visit.form()
    tenant = await visit.service.tenant(visit.actor, visit.exchange.params["id"])
    key = fields.get("key", "")
    if all(each.id != key for each in await visit.service.keys(visit.actor, tenant.id)):
        raise HttpError(404, f"`{tenant.id}` has no key `{key[:64]}`", "NotFound")
    await visit.service.revoke_key(visit.actor, key)
    return _back(visit, tenant)


def _back(visit: Visit, tenant: Tenant) -> Answer:
    return visit.go(f"{ROOT}/operator/tenants/{tenant.id}")
