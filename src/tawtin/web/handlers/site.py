"""The factory itself: who am I, capacity, nodes, usage, log, health."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tawtin
from tawtin.model.requests import (
    DigitsHeard,
    InvitationNew,
    JoinNew,
    Lost,
    NodeChange,
    NodeQuarantine,
    NodeReturn,
)
from tawtin.model.resources import NodeHealth
from tawtin.model.roaming import Peer
from tawtin.model.tenant import Scope
from tawtin.model.views import EventPage, IdentityView, Invited, Items, WhoAmI
from tawtin.web.errors import HttpError
from tawtin.web.exchange import Answer, Exchange, answer
from tawtin.web.streams import events_from

if TYPE_CHECKING:
    from tawtin.model.requests import EventRange, LocalisationFilter, UsageFilter
    from tawtin.runtime.introductions import Introductions

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


async def list_quarantines(exchange: Exchange) -> Answer:
    """List what is out of service, and what was."""
    return answer(Items(items=await exchange.service.quarantines(exchange.actor)))


async def quarantine(exchange: Exchange) -> Answer:
    """Take GPUs of a node, or the whole of it, out of service until they are brought back; their runs are drained."""
    exchange.no_idempotency_key()
    wanted = await exchange.read(NodeQuarantine)
    made = await exchange.service.quarantine(exchange.actor, exchange.params["name"], wanted.gpus, wanted.why)
    return answer(Items(items=made))


async def bring_back(exchange: Exchange) -> Answer:
    """Bring back GPUs of a node: after a burn-in job, which starts now, or at once with `untested`."""
    exchange.no_idempotency_key()
    wanted = await exchange.read(NodeReturn)
    name, untested = exchange.params["name"], wanted.untested
    said = await exchange.service.bring_back(exchange.actor, name, wanted.gpus, untested=untested)
    return answer(Items(items=said))


async def usage(exchange: Exchange) -> Answer:
    """Show what ended runs and charged requests for models used and cost, by tenant and calendar month (UTC)."""
    query: UsageFilter = exchange.query
    accounts = await exchange.service.usage(exchange.actor, tenant=query.tenant, month=query.month)
    return answer(Items(items=accounts))


async def endpoints(exchange: Exchange) -> Answer:
    """Show where models are served and which; for an admin also by which replicas, and how they do."""
    return answer(await exchange.service.endpoints(exchange.actor))


async def tokens(exchange: Exchange) -> Answer:
    """Show what settled requests for models used and cost, by tenant, calendar month (UTC), model and country."""
    query: UsageFilter = exchange.query
    used = await exchange.service.tokens(exchange.actor, tenant=query.tenant, month=query.month)
    return answer(Items(items=used))


async def localisation(exchange: Exchange) -> Answer:
    """Show which share of what runs and requests for models used was used at home, on the continent, outside."""
    query: LocalisationFilter = exchange.query
    found = await exchange.service.localisation(
        exchange.actor,
        by=query.by,
        tenant=query.tenant,
        month=query.month,
        since=query.since,
        until=query.until,
    )
    return answer(found)


async def list_peers(exchange: Exchange) -> Answer:
    """List the factories that this one knows."""
    return answer(Items(items=await exchange.service.peers(exchange.actor)))


async def put_peer(exchange: Exchange) -> Answer:
    """Add or change a peer. Both operators have to do it, each with the other's key, which they compare."""
    exchange.no_idempotency_key()
    peer = await exchange.read(Peer)
    if peer.name != exchange.params["name"]:
        raise HttpError(400, f"the body names `{peer.name}`, and the path another one", "Invalid")
    return answer(await exchange.service.put_peer(exchange.actor, peer))


async def show_store(exchange: Exchange) -> Answer:
    """Show whether the store was put back from a backup, and which peers have not said yet what they know of it."""
    return answer(await exchange.service.store(exchange.actor))


async def waive_peer(exchange: Exchange) -> Answer:
    """Say that a peer is gone for good, and is not waited for after a restore. What runs there may run twice."""
    exchange.no_idempotency_key()
    wanted = await exchange.read(Lost)
    return answer(await exchange.service.waive(exchange.actor, exchange.params["name"], wanted.why))


def _introductions(exchange: Exchange) -> Introductions:
    exchange.no_idempotency_key()
    found = exchange.service.introductions
    if found is None:
        raise HttpError(409, "this factory speaks with no others", "Conflict")
    return found


async def list_introductions(exchange: Exchange) -> Answer:
    """List the invitations that are under way, with the digits that are to be read out."""
    return answer(Items(items=_introductions(exchange).under_way(exchange.actor)))


async def invite(exchange: Exchange) -> Answer:
    """Make an invitation for the operator of another factory. It is shown once, and serves once."""
    invitation, under_way = _introductions(exchange).invite(
        exchange.actor, await exchange.read(InvitationNew)
    )
    return answer(Invited(invitation=invitation, introduction=under_way), status=201)


async def join(exchange: Exchange) -> Answer:
    """Take up an invitation of another factory. Asked again with the same one, it goes on where it was broken off."""
    return answer(await _introductions(exchange).join(exchange.actor, await exchange.read(JoinNew)))


async def confirm(exchange: Exchange) -> Answer:
    """Enter the digits that the other operator read out, by the name of its factory: from then on it is a peer."""
    heard = await exchange.read(DigitsHeard)
    return answer(
        await _introductions(exchange).confirm(exchange.actor, exchange.params["name"], heard.digits)
    )


async def withdraw(exchange: Exchange) -> Answer:
    """Let an invitation be void, by its id or the name of the factory that took it up."""
    return answer(_introductions(exchange).withdraw(exchange.actor, exchange.params["name"]))


async def identity(exchange: Exchange) -> Answer:
    """Show who this factory is to its peers: its name, country and public key."""
    exchange.actor.need(Scope.READ)
    site, neighbours = exchange.service.site, exchange.service.neighbours
    key = neighbours.signer.key if neighbours is not None else ""
    return answer(IdentityView(name=site.name, country=site.country, currency=site.currency, key=key))


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
