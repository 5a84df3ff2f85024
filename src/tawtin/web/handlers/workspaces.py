"""Workspaces: look, open, wake, let rest, share, delete. One begins as any workload does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tawtin.model.requests import WorkspaceShare, WorkspaceStart
from tawtin.model.views import Items
from tawtin.web.exchange import Answer, Exchange, answer

if TYPE_CHECKING:
    from tawtin.model.requests import ForTenant


async def list_workspaces(exchange: Exchange) -> Answer:
    """List workspaces: the tenant's, and those of students whom it teaches. An admin sees all tenants'."""
    tenant = _tenant(exchange)
    return answer(Items(items=await exchange.service.workspaces(exchange.actor, tenant=tenant)))


async def show_workspace(exchange: Exchange) -> Answer:
    """Show a workspace: what it has, how it stands, what it costs, and what the caller may do with it."""
    service = exchange.service
    return answer(await service.workspace(exchange.actor, _name(exchange), tenant=_tenant(exchange)))


async def open_workspace(exchange: Exchange) -> Answer:
    """Give an address for one browser, once and for a minute. A workspace that rests is woken by who may use it."""
    exchange.no_idempotency_key()
    await exchange.no_body()
    service = exchange.service
    return answer(await service.open_workspace(exchange.actor, _name(exchange), tenant=_tenant(exchange)))


async def start_workspace(exchange: Exchange) -> Answer:
    """Wake a workspace, and keep it from resting by itself for a while."""
    exchange.no_idempotency_key()
    wanted = await exchange.read(WorkspaceStart)
    view = await exchange.service.start_workspace(
        exchange.actor, _name(exchange), for_ms=wanted.for_ms, tenant=_tenant(exchange)
    )
    return answer(view)


async def stop_workspace(exchange: Exchange) -> Answer:
    """Let a workspace rest: its programs end, its home stays."""
    exchange.no_idempotency_key()
    await exchange.no_body()
    service = exchange.service
    return answer(await service.stop_workspace(exchange.actor, _name(exchange), tenant=_tenant(exchange)))


async def share_workspace(exchange: Exchange) -> Answer:
    """Let everybody of its tenant look at a workspace, or no longer."""
    exchange.no_idempotency_key()
    wanted = await exchange.read(WorkspaceShare)
    view = await exchange.service.share_workspace(
        exchange.actor, _name(exchange), shared=wanted.shared, tenant=_tenant(exchange)
    )
    return answer(view)


async def delete_workspace(exchange: Exchange) -> Answer:
    """End a workspace for good, with its home."""
    service = exchange.service
    return answer(await service.delete_workspace(exchange.actor, _name(exchange), tenant=_tenant(exchange)))


def _name(exchange: Exchange) -> str:
    return exchange.params["name"]


def _tenant(exchange: Exchange) -> str | None:
    query: ForTenant = exchange.query
    return query.tenant
