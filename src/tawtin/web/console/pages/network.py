"""The network as this factory sees it: itself, its peers, the ways to them, and what runs abroad."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from tawtin.core.meter import month_of
from tawtin.model.base import Record
from tawtin.model.roaming import PeerState
from tawtin.model.workload import Phase, RunState
from tawtin.web.console.places import HEIGHT, WIDTH, Link, spots

if TYPE_CHECKING:
    from tawtin.core.state import State
    from tawtin.model.roaming import Offer, Peer
    from tawtin.model.views import Share
    from tawtin.web.console.visit import Visit
    from tawtin.web.exchange import Answer

_LABEL: Final = (186.0, 74.0)
_EXPLAINED_MAX: Final = 200
"""So many are explained one by one; how many more there are is only counted."""
_KNOWN: Final = (PeerState.ACTIVE, PeerState.LEAVING)


class Seen(Record, frozen=True, kw_only=True):
    """One factory on the map."""

    name: str
    country: str
    here: bool = False
    silent_ms: int | None = None
    """For how long nothing was heard from it; None while it is heard."""
    gpus: int | None = None
    """How many there are; None where only what is free is known."""
    gpus_free: int = 0
    heard: bool = True
    """Whether it has said what is free."""
    waiting: int | None = None
    wait_ms: int | None = None
    latency_ms: int | None = None
    carbon: int = 0
    out: int = 0
    """Runs of this factory's tenants that it has."""
    guests: int = 0
    """Its runs that are here."""
    x: float = 0.0
    y: float = 0.0
    side: str = "right"
    link: Link | None = None
    """To this factory; None for itself."""

    @property
    def used(self) -> float:
        """The share of its GPUs that is in use, as far as that is known."""
        return (self.gpus - self.gpus_free) / self.gpus if self.gpus else 0.0

    @property
    def column(self) -> int:
        """Its place from the left edge, in steps of half a per cent."""
        return round(self.x / WIDTH * 200)

    @property
    def line(self) -> int:
        """Its place from the top, in steps of half a per cent."""
        return round(self.y / HEIGHT * 200)

    @property
    def label(self) -> tuple[int, int]:
        """Where the label of its link stands, in steps of half a per cent."""
        x, y = self.link.middle if self.link is not None else (self.x, self.y)
        return round(x / WIDTH * 200), round(y / HEIGHT * 200)

    @property
    def cut(self) -> bool:
        """Whether it is not heard."""
        return self.silent_ms is not None


async def show_network(visit: Visit) -> Answer:
    """The first page."""
    service, actor = visit.service, visit.actor
    await service.settle()
    seen = _seen(visit)
    month = month_of(visit.console.now_ms())
    rates = await service.localisation(actor, month=month)
    whole = next((each for each in rates.items if not each.tenant), None)
    own = whole or next((each for each in rates.items if each.tenant == actor.tenant), None)
    share = _share(own.gpu_ms, own.cpu_ms) if own is not None else None
    state = service.state
    queued = _queued(visit, state)
    return visit.render(
        "network.html",
        current="network",
        seen=seen,
        here=seen[0],
        peers=seen[1:],
        cut=[each for each in seen if each.cut],
        month=month,
        share=share,
        share_of_gpus=own is not None and own.gpu_ms.home + own.gpu_ms.continent + own.gpu_ms.outside > 0,
        queued=queued,
        running=sum(
            1
            for run in state.runs.values()
            if run.state is RunState.STARTED and (actor.overlooks or run.tenant == actor.tenant)
        ),
        width=WIDTH,
        height=HEIGHT,
    )


def _share(gpu: Share, cpu: Share) -> Share | None:
    """The share of GPU time, or of processor time where no GPU was used; None where nothing was."""
    for each in (gpu, cpu):
        if each.home + each.continent + each.outside > 0:
            return each
    return None


def _queued(visit: Visit, state: State) -> dict[str, int]:
    """How many workloads wait, by the reason."""
    found: dict[str, int] = {}
    actor = visit.actor
    waits = [
        work
        for work in state.workloads.values()
        if work.phase is Phase.QUEUED and (actor.overlooks or work.tenant == actor.tenant)
    ]
    for work in waits[:_EXPLAINED_MAX]:
        waiting = visit.service.why(work)
        if waiting is not None:
            found[waiting.reason] = found.get(waiting.reason, 0) + 1
    if len(waits) > _EXPLAINED_MAX:
        found[""] = len(waits) - _EXPLAINED_MAX
    return dict(sorted(found.items(), key=lambda each: (-each[1], each[0])))


def _seen(visit: Visit) -> list[Seen]:
    """This factory, and those that it knows."""
    service, actor = visit.service, visit.actor
    site, state = service.site, service.state
    gpus = sum(node.gpus for node in state.nodes.values())
    free = sum(state.node_free(name)[0] for name in state.nodes)
    out: dict[str, int] = {}
    for run in state.runs.values():
        if run.factory and (actor.overlooks or run.tenant == actor.tenant):
            out[run.factory] = out.get(run.factory, 0) + 1
    guests: dict[str, int] = {}
    for work in state.workloads.values():
        if work.guest and actor.overlooks:
            guests[work.guest] = guests.get(work.guest, 0) + 1
    here = Seen(
        name=site.name,
        country=site.country,
        here=True,
        gpus=gpus,
        gpus_free=free,
        waiting=sum(1 for work in state.workloads.values() if work.phase is Phase.QUEUED),
        carbon=site.carbon_g_per_kwh,
    )
    found = [here]
    for name in sorted(state.peers):
        peer = state.peers[name]
        if peer.state in _KNOWN:
            found.append(_peer(visit, peer, out.get(name, 0), guests.get(name, 0)))
    names = [(each.name, each.country) for each in found]
    at = spots(names, visit.console.settings.places, _LABEL)
    home = at[site.name]
    return [
        replace(
            each,
            x=at[each.name].x,
            y=at[each.name].y,
            side=at[each.name].side,
            link=None if each.here else Link.between((home.x, home.y), (at[each.name].x, at[each.name].y)),
        )
        for each in found
    ]


def _peer(visit: Visit, peer: Peer, out: int, guests: int) -> Seen:
    neighbours = visit.service.neighbours
    roaming = visit.service.factory.roaming
    offer: Offer | None = roaming.asking.offers.get(peer.name) if roaming is not None else None
    return Seen(
        name=peer.name,
        country=offer.country if offer is not None else peer.country,
        silent_ms=neighbours.silent_ms(peer.name) if neighbours is not None else None,
        gpus_free=sum(each.gpus * each.nodes for each in offer.free) if offer is not None else 0,
        heard=offer is not None,
        wait_ms=offer.wait_ms if offer is not None else None,
        latency_ms=neighbours.latencies_ms().get(peer.name) if neighbours is not None else None,
        carbon=offer.carbon_g_per_kwh if offer is not None else 0,
        out=out,
        guests=guests,
    )
