"""The factory itself: who am I, capacity, nodes, usage, log, health."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tawtin
from tawtin.model.requests import NodeChange
from tawtin.model.resources import NodeHealth
from tawtin.model.views import EventPage, Items, WhoAmI
from tawtin.web.errors import HttpError
from tawtin.web.exchange import Answer, Exchange, answer
from tawtin.web.streams import events_from

if TYPE_CHECKING:
    from tawtin.model.requests import EventRange, UsageFilter

TEXT = b"text/plain; charset=utf-8"


async def whoami(exchange: Exchange) -> Answer:
    """Say whose key this is, what it may do, and which factory answers."""
    actor, site = exchange.actor, exchange.service.site
    return answer(
        WhoAmI(
            key=actor.key,
            tenant=actor.tenant,
            scope=actor.scope,
            owner=actor.owner,
            factory=site.name,
            country=site.country,
            currency=site.currency,
            version=tawtin.__version__,
        )
    )


async def capacity(exchange: Exchange) -> Answer:
    """Show the nodes, and what is free on each."""
    return answer(await exchange.service.capacity(exchange.actor))


async def set_node_health(exchange: Exchange) -> Answer:
    """Take a node out (`draining`) or back in (`ready`)."""
    wanted = await exchange.read(NodeChange)
    if wanted.health not in {NodeHealth.READY, NodeHealth.DRAINING}:
        raise HttpError(400, f"`{wanted.health}` is for engines to say: set `ready` or `draining`", "Invalid")
    return answer(
        await exchange.service.set_node_health(exchange.actor, exchange.params["name"], wanted.health)
    )


async def usage(exchange: Exchange) -> Answer:
    """Show what ended runs used and cost, by tenant and calendar month (UTC)."""
    query: UsageFilter = exchange.query
    accounts = await exchange.service.usage(exchange.actor, tenant=query.tenant, month=query.month)
    return answer(Items(items=accounts))


async def localisation(exchange: Exchange) -> Answer:
    """Show which share of what ended runs used was used at home, on the continent, outside."""
    query: UsageFilter = exchange.query
    found = await exchange.service.localisation(exchange.actor, tenant=query.tenant, month=query.month)
    return answer(Items(items=found))


async def list_events(exchange: Exchange) -> Answer:
    """List entries of the log, oldest first: all for an admin, else those about the caller's own tenant.

    `limit` counts the entries that are looked at, so that a page can be empty though `next` goes on.
    """
    query: EventRange = exchange.query
    entries, following = await events_from(exchange.service, exchange.actor, query.start, query.limit)
    return answer(EventPage(items=entries, next=following))


async def healthz(_: Exchange) -> Answer:
    """Answer 200 while the process lives."""
    return Answer(b"ok\n", media=TEXT)


async def readyz(exchange: Exchange) -> Answer:
    """Answer 200 while new work is accepted, else 503 and why."""
    ready, why = exchange.service.ready()
    return Answer(why.encode() + b"\n", status=200 if ready else 503, media=TEXT)
