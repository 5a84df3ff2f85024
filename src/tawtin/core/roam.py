"""Which waiting workloads peers are asked to run, and whom first. Reads the state and hearsay, changes nothing.

1. Workloads that may not be here, and then those in line, by priority and age.
2. One in line is offered only if it would wait here for long, or for ever: `explain` says so.
3. Of the peers that may lawfully have it, and that say they have room, the one where it ends soonest comes first: what
   it waits there, how long its files take to get there, and what price and transfer cost above ours. A peer where
   that is longer than the wait here is not asked. What they say may be stale, so that they are asked.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import Final, NamedTuple

from msgspec.structs import replace

from tawtin.core import meter
from tawtin.core.decide import Decision
from tawtin.core.explain import explain
from tawtin.core.feasible import DemandClass, Option
from tawtin.core.queues import Key, Parked
from tawtin.core.state import State
from tawtin.model.money import Rate
from tawtin.model.reasons import Waiting
from tawtin.model.roaming import FreeNodes, Link, Offer, PeerState
from tawtin.model.views import Considered
from tawtin.model.workload import Workload

LOOKED_AT_MAX: Final = 64
"""Workloads in line that are looked at in one pass."""
GIB: Final = 1 << 30
_FOR_ROOM: Final = (
    Waiting.WAITING_FOR_GPUS,
    Waiting.WAITING_FOR_CPUS,
    Waiting.WAITING_FOR_NODES,
    Waiting.EXCEEDS_CAPACITY,
    Waiting.BEHIND_OTHERS,
    Waiting.RESERVED_FOR_OTHERS,
    Waiting.DRAINING,
    Waiting.NO_LAWFUL_FACTORY,
)


class Ask(NamedTuple):
    """A workload, and the peers to ask for it, best first."""

    workload: str
    peers: tuple[str, ...]


def asks(
    state: State,
    decision: Decision,
    offers: Mapping[str, Offer],
    busy: Container[str],
    now_ms: int,
    *,
    most: int = 16,
) -> list[Ask]:
    """Choose at most `most` workloads that are not `busy` already. `offers` are the newest, by peer."""
    if not offers:
        return []
    found: list[Ask] = []
    roomy: dict[DemandClass, bool] = {}
    for looked, workload in enumerate(_candidates(state, now_ms)):
        if looked >= LOOKED_AT_MAX or len(found) >= most:
            break
        if workload.id in busy or not may_roam(workload):
            continue
        # a peer's word is looked up for a whole class at once, while why it waits here has to be found for each one
        demand_class = state.queues.class_of[workload.id]
        if demand_class not in roomy:
            options = demand_class.options
            roomy[demand_class] = any(has_room(offer, each) for offer in offers.values() for each in options)
        if not roomy[demand_class]:
            continue
        here_ms = None
        if workload.id not in state.queues.parked:
            why = explain(state, decision, workload.id, now_ms)
            soon = why.start_ms is not None and why.start_ms - now_ms < state.site.roam_after_ms
            if why.reason not in _FOR_ROOM or soon:
                continue
            here_ms = why.start_ms - now_ms if why.start_ms is not None else None
        peers = places(state, workload, offers, now_ms, here_ms)
        if peers:
            found.append(Ask(workload.id, peers))
    return found


def considered(
    state: State,
    offers: Mapping[str, Offer],
    workload: Workload,
    now_ms: int,
    latencies_ms: Mapping[str, int] | None = None,
) -> tuple[Considered, ...]:
    """Every factory that `workload` could be at, this one first, then peers from the best to the refused ones.

    `latencies_ms` has the round trips that were measured, by peer.
    """
    said = state.verdict(workload, state.site, now_ms)
    here = Considered(
        factory=state.site.name,
        country=state.site.country,
        here=True,
        allowed=said.allowed,
        rule=said.rule,
        citation=said.citation,
        sentence=said.sentence,
        findings=said.findings,
        attested=state.site.facts.attested,
        carbon_g_per_kwh=state.site.carbon_g_per_kwh or None,
    )
    option = (state.queues.class_of.get(workload.id) or state.class_like(workload)).options[0]
    found = [
        _considered(state, offers.get(name), option, workload, name, now_ms) for name in sorted(state.peers)
    ]
    found.sort(key=lambda each: (not each.allowed, each.score_ms is None, each.score_ms or 0, each.factory))
    measured = latencies_ms or {}
    return (here, *(replace(each, latency_ms=measured.get(each.factory)) for each in found))


def _considered(
    state: State, offer: Offer | None, option: Option, workload: Workload, name: str, now_ms: int
) -> Considered:
    site = state.sites[name]
    said = state.verdict(workload, site, now_ms)
    known = offer is not None and offer.currency == state.site.currency
    return Considered(
        factory=name,
        country=site.country,
        allowed=said.allowed,
        rule=said.rule,
        citation=said.citation,
        sentence=said.sentence,
        findings=said.findings,
        attested=site.facts.attested,
        room=has_room(offer, option) if offer is not None else None,
        rate=_rate(offer, option) if offer is not None else None,
        wait_ms=offer.wait_ms if offer is not None else None,
        carbon_g_per_kwh=(offer.carbon_g_per_kwh or None) if offer is not None else None,
        transfer_bytes=bytes_to(state, workload, name),
        transfer_ms=way_ms(bytes_to(state, workload, name), state.peers[name].link),
        score_ms=score_ms(state, workload, option, offer) if offer is not None and known else None,
    )


def may_roam(workload: Workload) -> bool:
    """Whether it may leave at all: guests do not travel on, secrets stay at home, and so do services."""
    spec = workload.spec
    return not (workload.guest or workload.cancel or spec.secrets or spec.service is not None)


def places(
    state: State, workload: Workload, offers: Mapping[str, Offer], now_ms: int, here_ms: int | None = None
) -> tuple[str, ...]:
    """The peers that may have `workload` and say that they have room, best first.

    Where it would start here in `here_ms`, only those that are better than that.
    """
    options = (state.queues.class_of.get(workload.id) or state.class_like(workload)).options
    ranked: list[tuple[int, str]] = []
    for name in sorted(offers):
        peer, offer = state.peers.get(name), offers[name]
        if peer is None or peer.state is not PeerState.ACTIVE or offer.currency != state.site.currency:
            continue
        option = next((each for each in options if has_room(offer, each)), None)
        if option is None or not state.verdict(workload, state.sites[name], now_ms).allowed:
            continue
        score = score_ms(state, workload, option, offer)
        if here_ms is None or score < here_ms:
            ranked.append((score, name))
    return tuple(name for _, name in sorted(ranked))


def has_room(offer: Offer, option: Option) -> bool:
    """Whether a peer says that it has room for all ranks of `option` now."""
    return sum(free.nodes for free in offer.free if _fits(free, option)) >= option.nodes


def score_ms(state: State, workload: Workload, option: Option, offer: Offer) -> int:
    """What a place costs, in milliseconds: the wait, the way of the files, and a second for each minor unit more."""
    link, size = state.peers[offer.factory].link, bytes_to(state, workload, offer.factory)
    rate = _rate(offer, option)
    lasts_ms = workload.spec.max_duration_ms or state.site.run_guess_ms
    dearer = (meter.burn(rate, option.shape, option.nodes) - option.burn) * lasts_ms
    fare = -(-size * link.minor_per_gib // GIB)
    minor = max(0, meter.round_half_up(dearer)) + fare
    return offer.wait_ms + way_ms(size, link) + minor * 1000


def way_ms(size_bytes: int, link: Link) -> int:
    """How long so many bytes take over a link that carries nothing else, milliseconds, rounded up."""
    return -(-size_bytes * 8 // (link.mbit_per_s * 1000))


def bytes_to(state: State, workload: Workload, peer: str) -> int:
    """The bytes of its inputs that are not at `peer` yet, as far as is known here."""
    named = {workload.spec.workdir, *(mount.artifact for mount in workload.spec.mounts)} - {""}
    held = [state.artifacts.get((workload.tenant, each)) for each in sorted(named)]
    return sum(each.size_bytes for each in held if each is not None and peer not in each.places)


def _rate(offer: Offer, option: Option) -> Rate:
    prices = offer.minor_per_gpu_hour
    per_gpu = prices.get(option.model, prices.get("*", 0)) if option.gpus else 0
    return Rate(
        currency=offer.currency, minor_per_gpu_hour=per_gpu, minor_per_cpu_hour=offer.minor_per_cpu_hour
    )


def free_nodes(state: State) -> tuple[FreeNodes, ...]:
    """What is free here now, by kind of node: the part of an offer that the state knows."""
    counts: dict[tuple[str, int, int, int, int], int] = {}
    for name in state.node_names:
        seat = state.seats[name]
        if seat.ready:
            size = (seat.model, max(0, seat.gpus), max(0, seat.cpus), max(0, seat.memory), max(0, seat.disk))
            counts[size] = counts.get(size, 0) + 1
    return tuple(
        FreeNodes(gpu_model=model, gpus=gpus, cpus_milli=cpus, memory_mib=memory, disk_mib=disk, nodes=count)
        for (model, gpus, cpus, memory, disk), count in sorted(counts.items())
    )


def _candidates(state: State, now_ms: int) -> Iterator[Workload]:
    """Those that may not be here, then those in line, by priority, then age.

    One whose pause is over gets into line with the next event only, which may not come for long; it is one of them.
    """
    for workload_id in sorted(state.queues.parked):
        if state.queues.parked[workload_id] is Parked.UNLAWFUL:
            yield state.workloads[workload_id]
    rested: dict[int, list[Key]] = {}
    for workload_id in state.queues.due(now_ms)[:LOOKED_AT_MAX]:
        workload = state.workloads[workload_id]
        rested.setdefault(workload.spec.priority, []).append((workload.submitted_ms, workload_id))
    for priority in sorted({*state.queues.by_priority, *rested}, reverse=True):
        tenants = state.queues.by_priority.get(priority, {})
        lines = [line for groups in tenants.values() for line in groups.values()]
        heads = sorted(key for line in (*lines, rested.get(priority, [])) for key in line[:LOOKED_AT_MAX])
        for _, workload_id in heads[:LOOKED_AT_MAX]:
            yield state.workloads[workload_id]


def _fits(free: FreeNodes, option: Option) -> bool:
    return (
        (option.gpus == 0 or option.model in ("", free.gpu_model))
        and option.gpus <= free.gpus
        and option.cpus <= free.cpus_milli
        and option.memory <= free.memory_mib
        and option.disk <= free.disk_mib
    )
