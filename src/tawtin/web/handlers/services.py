"""Services: look, scale, update, end. One begins as any workload does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tawtin.model.requests import ReplicasWanted
from tawtin.model.views import Items
from tawtin.web.exchange import Answer, Exchange, answer
from tawtin.web.submission import read_submission

if TYPE_CHECKING:
    from tawtin.model.requests import ForTenant


async def list_services(exchange: Exchange) -> Answer:
    """List services with their replicas: where each is reached, and whether it is ready. An admin sees all tenants'."""
    query: ForTenant = exchange.query
    return answer(Items(items=await exchange.service.services(exchange.actor, tenant=query.tenant)))


async def show_service(exchange: Exchange) -> Answer:
    """Show a service and its replicas."""
    query: ForTenant = exchange.query
    name = exchange.params["name"]
    return answer(await exchange.service.service(exchange.actor, name, tenant=query.tenant))


async def update_service(exchange: Exchange) -> Answer:
    """Replace the replicas of a service by those of a new spec: new ones first, each earlier one ends when a new one is
    ready. The spec that it has already changes nothing.
    """  # noqa: D205 - the reference shows both sentences
    exchange.no_idempotency_key()
    wanted = await read_submission(exchange)
    query: ForTenant = exchange.query
    with wanted.places():
        view = await exchange.service.update(
            exchange.actor,
            exchange.params["name"],
            wanted.spec,
            wanted.digest,
            wanted.secrets,
            tenant=query.tenant,
        )
    return answer(view)


async def scale_service(exchange: Exchange) -> Answer:
    """Let a service have so many replicas. Those that are not ready end first."""
    exchange.no_idempotency_key()
    wanted = await exchange.read(ReplicasWanted)
    query: ForTenant = exchange.query
    view = await exchange.service.scale(
        exchange.actor, exchange.params["name"], wanted.replicas, tenant=query.tenant
    )
    return answer(view)


async def end_service(exchange: Exchange) -> Answer:
    """End a service and all its replicas."""
    query: ForTenant = exchange.query
    return answer(await exchange.service.down(exchange.actor, exchange.params["name"], tenant=query.tenant))
