"""The factory for those who operate it: nodes, the queue, tenants, peers, what happened last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tawtin.core.meter import SCALE, month_of
from tawtin.model.base import Record
from tawtin.model.resources import NodeHealth
from tawtin.model.workload import Phase
from tawtin.web.console.pages.operator_events import latest

if TYPE_CHECKING:
    from tawtin.model.roaming import Offer, Peer
    from tawtin.model.tenant import Tenant
    from tawtin.model.views import NodeView
    from tawtin.web.console.visit import Visit
    from tawtin.web.exchange import Answer

NODES_MAX: Final = 500
TENANTS_MAX: Final = 200
_RUNS_MAX: Final = 8
_EXPLAINED_MAX: Final = 200
_EVENTS: Final = 12


class Running(Record, frozen=True, kw_only=True):
    """A run on a node."""

    workload: str
    name: str
    tenant: str
    gpus: tuple[int, ...]


class NodeRow(Record, frozen=True, kw_only=True):
    """A node, and some of what runs on it."""

    view: NodeView
    runs: tuple[Running, ...]

    @property
    def more(self) -> int:
        """Runs that are not named."""
        return max(0, self.view.runs - len(self.runs))

    @property
    def well(self) -> bool:
        """Whether nobody has to look at it."""
        return self.view.node.health is NodeHealth.READY and not self.view.quarantines


class TenantRow(Record, frozen=True, kw_only=True):
    """A tenant, what it holds, and what it spent this month in minor units."""

    tenant: Tenant
    gpus: int
    cpus_milli: int
    runs: int
    workloads: int
    spent: int


class Waits(Record, frozen=True, kw_only=True):
    """What waits of one tenant: reasons with how many workloads each; the empty reason is not looked up."""

    tenant: str
    reasons: tuple[tuple[str, int], ...]

    @property
    def count(self) -> int:
        """All of them."""
        return sum(count for _, count in self.reasons)


class PeerRow(Record, frozen=True, kw_only=True):
    """A peer, what it offers, and how it is heard."""

    peer: Peer
    country: str
    offer: Offer | None
    offer_age_ms: int | None
    silent_ms: int | None
    latency_ms: int | None
    guests: int
    """Its runs that are here."""
    out: int
    """Runs of this factory's tenants that it has."""


async def show_operator(visit: Visit) -> Answer:
    """The page."""
    service, actor = visit.service, visit.actor
    capacity = await service.capacity(actor)
    running = runs_by_node(visit)
    nodes = [NodeRow(view=each, runs=running.get(each.node.name, ())) for each in capacity.nodes]
    nodes.sort(key=lambda each: (each.well, each.view.node.name))
    tenants = _tenants(visit, await service.tenants(actor))
    waits = _waits(visit)
    entries, older = await latest(visit, None, _EVENTS)
    return visit.render(
        "operator.html",
        current="operator",
        nodes=nodes[:NODES_MAX],
        nodes_more=max(0, len(nodes) - NODES_MAX),
        gpus=sum(each.node.gpus for each in capacity.nodes),
        gpus_free=sum(each.gpus_free for each in capacity.nodes),
        out=sum(len(each.quarantines) for each in capacity.nodes),
        isolated=capacity.isolated,
        notes=capacity.notes,
        waits=waits,
        reasons=_sums(waits),
        tenants=tenants[:TENANTS_MAX],
        tenants_more=max(0, len(tenants) - TENANTS_MAX),
        q=_wanted(visit),
        month=month_of(visit.console.now_ms()),
        peers=_peers(visit, await service.peers(actor)),
        store=await service.store(actor),
        entries=entries,
        older=older,
    )


def runs_by_node(visit: Visit) -> dict[str, tuple[Running, ...]]:
    """What runs on each node, some of it by name."""
    state = visit.service.state
    found: dict[str, list[Running]] = {}
    for run in state.runs.values():
        work = state.workloads.get(run.workload)
        for slot in run.slots:
            there = found.setdefault(slot.node, [])
            if len(there) < _RUNS_MAX:
                there.append(
                    Running(
                        workload=run.workload,
                        name=work.spec.name if work is not None else run.workload,
                        tenant=run.tenant,
                        gpus=slot.gpus,
                    )
                )
    return {name: tuple(runs) for name, runs in found.items()}


def _wanted(visit: Visit) -> str:
    return visit.query.get("q", "")[:200].strip()


def _tenants(visit: Visit, tenants: tuple[Tenant, ...]) -> list[TenantRow]:
    state, now_ms = visit.service.state, visit.console.now_ms()
    wanted = _wanted(visit).casefold()
    found: list[TenantRow] = []
    for tenant in tenants:
        if wanted and wanted not in tenant.id and wanted not in tenant.name.casefold():
            continue
        held = state.holding(tenant.id)
        found.append(
            TenantRow(
                tenant=tenant,
                gpus=held.gpus,
                cpus_milli=held.cpus,
                runs=held.runs,
                workloads=held.unfinished,
                spent=state.spent(tenant.id, now_ms) // SCALE,
            )
        )
    return found


def _waits(visit: Visit) -> list[Waits]:
    """What waits, by tenant, those with most first. So many are explained one by one; the others are counted."""
    found: dict[str, dict[str, int]] = {}
    explained = 0
    for work in visit.service.state.workloads.values():
        if work.phase is not Phase.QUEUED:
            continue
        explained += 1
        waiting = visit.service.why(work) if explained <= _EXPLAINED_MAX else None
        reason = waiting.reason.value if waiting is not None else ""
        of_tenant = found.setdefault(work.tenant, {})
        of_tenant[reason] = of_tenant.get(reason, 0) + 1
    waits = [Waits(tenant=tenant, reasons=_sorted(reasons)) for tenant, reasons in found.items()]
    return sorted(waits, key=lambda each: (-each.count, each.tenant))[:TENANTS_MAX]


def _sums(waits: list[Waits]) -> tuple[tuple[str, int], ...]:
    found: dict[str, int] = {}
    for each in waits:
        for reason, count in each.reasons:
            found[reason] = found.get(reason, 0) + count
    return _sorted(found)


def _sorted(reasons: dict[str, int]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(reasons.items(), key=lambda each: (not each[0], -each[1], each[0])))


def _peers(visit: Visit, peers: tuple[Peer, ...]) -> list[PeerRow]:
    service = visit.service
    neighbours, roaming = service.neighbours, service.factory.roaming
    guests: dict[str, int] = {}
    for work in service.state.workloads.values():
        if work.guest:
            guests[work.guest] = guests.get(work.guest, 0) + 1
    out: dict[str, int] = {}
    for run in service.state.runs.values():
        if run.factory:
            out[run.factory] = out.get(run.factory, 0) + 1
    latencies = neighbours.latencies_ms() if neighbours is not None else {}
    heard = neighbours.offers_heard_ms if neighbours is not None else {}
    found: list[PeerRow] = []
    for peer in peers:
        offer = roaming.asking.offers.get(peer.name) if roaming is not None else None
        at_ms = heard.get(peer.name)
        found.append(
            PeerRow(
                peer=peer,
                country=offer.country if offer is not None else peer.country,
                offer=offer,
                offer_age_ms=service.clock.monotonic_ms() - at_ms if at_ms is not None else None,
                silent_ms=neighbours.silent_ms(peer.name) if neighbours is not None else None,
                latency_ms=latencies.get(peer.name),
                guests=guests.get(peer.name, 0),
                out=out.get(peer.name, 0),
            )
        )
    return found
