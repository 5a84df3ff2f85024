"""Tenants, their quotas and budgets, and keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import msgspec

from tawtin.model.requests import KeyNew, TenantChange, TenantNew
from tawtin.model.tenant import ApiKey, Tenant
from tawtin.model.views import Items, KeyView
from tawtin.web.errors import HttpError, field_error
from tawtin.web.exchange import Answer, Exchange, answer, decode, etag

if TYPE_CHECKING:
    from tawtin.model.requests import ForTenant

_CHANGEABLE = TenantChange.__struct_fields__


async def list_tenants(exchange: Exchange) -> Answer:
    """List tenants: all for an admin, else the caller's own."""
    return answer(Items(items=await exchange.service.tenants(exchange.actor)))


async def create_tenant(exchange: Exchange) -> Answer:
    """Create a tenant."""
    exchange.no_idempotency_key()
    wanted = await exchange.read(TenantNew)
    tenant = Tenant(**{name: getattr(wanted, name) for name in TenantNew.__struct_fields__})
    made = await exchange.service.put_tenant(exchange.actor, tenant, if_match=None, create=True)
    location = (b"location", f"/api/v1/tenants/{made.id}".encode())
    return answer(made, status=201, headers=[location, etag(made.version)])


async def show_tenant(exchange: Exchange) -> Answer:
    """Show a tenant with its quota and budget. The ETag is its version; `If-None-Match` spares the body."""
    tenant = await exchange.service.tenant(exchange.actor, exchange.params["id"])
    tag = etag(tenant.version)
    if tag[1].decode() in [each.strip() for each in exchange.header(b"if-none-match").split(",")]:
        return Answer(status=304, headers=[tag])
    return answer(tenant, headers=[tag])


async def replace_tenant(exchange: Exchange) -> Answer:
    """Replace what can be changed about a tenant; a field that is left out gets its default. Needs `If-Match`."""
    version = exchange.if_match(required=True)
    wanted = await exchange.read(TenantChange)
    current = await exchange.service.tenant(exchange.actor, exchange.params["id"])
    return await _put(exchange, current, wanted, version)


async def change_tenant(exchange: Exchange) -> Answer:
    """Change the fields that are given, also inside `quota` and `residency`; `null` lifts a limit. Needs `If-Match`."""
    version = exchange.if_match(required=True)
    exchange.expects("application/json", "application/merge-patch+json")
    patch = decode(await exchange.body(), dict[str, Any])
    current = await exchange.service.tenant(exchange.actor, exchange.params["id"])
    plain = cast("dict[str, Any]", msgspec.to_builtins(_change_of(current)))
    try:
        wanted = msgspec.convert(_merged(plain, patch), TenantChange)
    except msgspec.ValidationError as error:
        place = field_error(str(error))
        raise HttpError(400, f"`{place.field}`: {place.message}", "Invalid", errors=(place,)) from None
    return await _put(exchange, current, wanted, version if version is not None else current.version)


async def _put(exchange: Exchange, current: Tenant, wanted: TenantChange, version: int | None) -> Answer:
    tenant = msgspec.structs.replace(current, **{name: getattr(wanted, name) for name in _CHANGEABLE})
    put = await exchange.service.put_tenant(exchange.actor, tenant, if_match=version, create=False)
    return answer(put, headers=[etag(put.version)])


def _change_of(tenant: Tenant) -> TenantChange:
    return TenantChange(**{name: getattr(tenant, name) for name in _CHANGEABLE})


def _merged(base: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """`base` with the fields of `patch`; objects are merged, all else replaces. Two levels is all a tenant has."""
    merged = dict(base)
    for name, value in patch.items():
        held = merged.get(name)
        both = isinstance(value, dict) and (isinstance(held, dict) or held is None)
        merged[name] = {**(held or {}), **value} if both else value
    return merged


async def list_keys(exchange: Exchange) -> Answer:
    """List a tenant's keys, oldest first, revoked ones included. Secrets are not kept, so none is shown."""
    query: ForTenant = exchange.query
    keys = await exchange.service.keys(exchange.actor, query.tenant or exchange.actor.tenant)
    return answer(Items(items=tuple(_view(key) for key in keys)))


async def issue_key(exchange: Exchange) -> Answer:
    """Issue a key. Its secret is in this answer and never again, so that `Idempotency-Key` is refused here."""
    exchange.no_idempotency_key()
    wanted = await exchange.read(KeyNew)
    key = await exchange.service.issue_key(
        exchange.actor, wanted.tenant or exchange.actor.tenant, wanted.name, wanted.scope, wanted.expires_ms
    )
    return answer(key, status=201)


async def revoke_key(exchange: Exchange) -> Answer:
    """Revoke a key, at once and for good."""
    await exchange.no_body()
    return answer(_view(await exchange.service.revoke_key(exchange.actor, exchange.params["id"])))


def _view(key: ApiKey) -> KeyView:
    return KeyView(**{name: getattr(key, name) for name in KeyView.__struct_fields__})
