"""Which workloads peers are asked to run, whom first, and what is said about each factory."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tawtin.core import roam
from tawtin.core.admit import Submission, admit
from tawtin.core.state import State
from tawtin.model.artifact import Artifact
from tawtin.model.events import (
    ArtifactKept,
    PeerPut,
    RunEnded,
    RunPlaced,
    SubmissionRefused,
    WorkloadsSubmitted,
)
from tawtin.model.reasons import Cause
from tawtin.model.roaming import FreeNodes, Link, Offer, Peer, PeerState
from tawtin.model.tenant import Tenant
from tawtin.model.workload import Data, Mount, Outcome, Residency, Usage
from tests.core.building import SITE, Factory, spec
from tests.core.test_away import away
from tests.rules.test_packs import NOW_MS, all_packs

COUNTRIES = {"cape-town": "ZA", "cairo": "EG", "lagos": "NG", "nairobi": "KE"}


@pytest.fixture
def factory() -> Factory:
    made = Factory()
    made.state = State(SITE, all_packs())
    made.now_ms = NOW_MS
    made.tenant()
    made.node("node-1", gpus=2)
    for name, country in COUNTRIES.items():
        made.tell(PeerPut(peer=Peer(name=name, country=country, currency="MAD", state=PeerState.ACTIVE)))
    return made


def offer(name: str, *, gpus: int = 8, price: int = 3600, wait_ms: int = 0, currency: str = "MAD") -> Offer:
    free = FreeNodes(gpu_model="H100", gpus=gpus, cpus_milli=64_000, memory_mib=512_000)
    return Offer(
        factory=name, country=COUNTRIES[name], seq=1, made_ms=NOW_MS, free=(free,), currency=currency,
        minor_per_gpu_hour={"*": price}, minor_per_cpu_hour=36, wait_ms=wait_ms,
    )  # fmt: skip


OFFERS = {name: offer(name) for name in COUNTRIES}


def asked(factory: Factory, offers: dict[str, Offer] | None = None) -> list[tuple[str, tuple[str, ...]]]:
    decision = factory.tick()
    found = roam.asks(factory.state, decision, OFFERS if offers is None else offers, (), factory.now_ms)
    return [(each.workload, each.peers) for each in found]


def test_what_is_too_large_for_this_factory_is_offered_to_all_who_say_they_have_room(factory: Factory):
    factory.submit("wl-1", spec(gpus=4))
    assert asked(factory) == [("wl-1", tuple(sorted(COUNTRIES)))]
    assert asked(factory, {"cairo": offer("cairo", gpus=2)}) == []
    assert asked(factory, {}) == []


def test_what_was_away_is_offered_again_once_its_pause_is_over_though_nothing_else_happens(factory: Factory):
    """No event comes in a quiet factory that would put it in line."""
    run = away(factory.submit("wl-1", spec(gpus=4)))
    factory.tell(RunPlaced(run=replace(run, factory="cairo", placed_ms=factory.now_ms)))
    cause = Cause.LEASE_EXPIRED
    factory.tell(
        RunEnded(run=run.id, outcome=Outcome.INTERRUPTED, cause=cause, ended_ms=factory.now_ms, usage=Usage())
    )
    assert asked(factory) == []
    factory.now_ms = factory.state.workloads["wl-1"].not_before_ms
    assert asked(factory) == [("wl-1", tuple(sorted(COUNTRIES)))]


@pytest.mark.parametrize(("patience_ms", "goes"), [(600_000, False), (10_000, True)])
def test_what_starts_here_soon_stays_and_what_would_wait_long_goes(
    factory: Factory, patience_ms: int, goes: bool
):
    factory.state.site = replace(SITE, roam_after_ms=patience_ms)
    factory.submit("wl-1", spec(gpus=2, lasts_ms=60_000))
    factory.submit("wl-2", spec(gpus=2, lasts_ms=60_000))
    assert [name for name, _ in asked(factory)] == (["wl-2"] if goes else [])


def test_the_soonest_and_the_cheapest_comes_first(factory: Factory):
    factory.submit("wl-1", spec(gpus=4, lasts_ms=3_600_000))
    offers = {
        "cairo": offer("cairo", wait_ms=60_000),
        "lagos": offer("lagos"),
        "nairobi": offer("nairobi", price=3_700),
        "cape-town": offer("cape-town", currency="ZAR"),
    }
    ((_, peers),) = asked(factory, offers)
    assert peers == ("lagos", "cairo", "nairobi"), "the foreign currency was never agreed on"


def test_personal_data_is_offered_to_nobody_and_each_refusal_is_cited(factory: Factory):
    workload = factory.submit("wl-1", replace(spec(gpus=4), data=Data(data_class="personal")))
    assert asked(factory) == []
    here, *others = roam.considered(factory.state, OFFERS, workload, NOW_MS)
    assert (here.factory, here.here, here.allowed) == ("casablanca", True, True)
    assert sorted(each.factory for each in others) == sorted(COUNTRIES)
    for each in others:
        assert not each.allowed
        assert "Law 09-08, art. 44" in each.citation
        assert each.findings


def test_what_may_not_be_here_is_offered_where_it_may_be(factory: Factory):
    wanted = spec(gpus=1, residency=Residency(allow=("KE",)))
    event = admit(
        factory.state, SITE, Submission(tenant="lab", spec=wanted, digest="d", ids=("wl-1",)), NOW_MS
    )
    assert isinstance(event, WorkloadsSubmitted), "it is accepted, as a peer may have it"
    factory.tell(event)
    assert asked(factory) == [("wl-1", ("nairobi",))]
    nowhere = replace(wanted, residency=Residency(allow=("FR",)))
    event = admit(
        factory.state, SITE, Submission(tenant="lab", spec=nowhere, digest="d", ids=("wl-2",)), NOW_MS
    )
    assert isinstance(event, SubmissionRefused)


@pytest.mark.parametrize("state", [each for each in PeerState if each is not PeerState.ACTIVE])
def test_only_an_active_peer_is_asked(factory: Factory, state: PeerState):
    for name, peer in list(factory.state.peers.items()):
        factory.tell(PeerPut(peer=replace(peer, state=state if name != "lagos" else PeerState.ACTIVE)))
    factory.submit("wl-1", spec(gpus=4))
    assert asked(factory) == [("wl-1", ("lagos",))]


def test_what_holds_secrets_stays(factory: Factory):
    factory.submit("wl-1", replace(spec(gpus=4), secrets=("A",)))
    assert asked(factory) == []


def test_a_guest_does_not_travel_on(factory: Factory):
    workload = factory.submit("wl-1", spec(gpus=4))
    assert roam.may_roam(workload)
    assert not roam.may_roam(replace(workload, guest="lagos"))
    assert not roam.may_roam(replace(workload, cancel=True))


def test_a_factory_says_what_is_free_by_kind_of_node(factory: Factory):
    factory.node("node-2", gpus=2)
    factory.node("node-3", gpus=8)
    free = roam.free_nodes(factory.state)
    assert [(each.gpus, each.nodes) for each in free] == [(2, 2), (8, 1)]


def test_of_a_tenant_abroad_the_law_of_its_country_is_asked(factory: Factory):
    from tawtin.model.events import TenantPut

    factory.tell(TenantPut(tenant=Tenant(id="lab", country="NG", version=2)))
    workload = factory.submit("wl-1", replace(spec(gpus=1), data=Data(data_class="subscriber")))
    places = {each.factory: each for each in roam.considered(factory.state, OFFERS, workload, NOW_MS)}
    assert [name for name, each in places.items() if each.allowed] == ["lagos"]
    assert places["casablanca"].rule == "ng-nitda-subscriber"


GIB = 1 << 30
DATA = "sha256:" + "d" * 64


def has(factory: Factory, size_bytes: int, *places: str) -> None:
    factory.tell(
        ArtifactKept(artifact=Artifact(id=DATA, tenant="lab", size_bytes=size_bytes, files=1, places=places))
    )


def test_bytes_are_weighed_against_the_wait_and_a_peer_that_has_them_is_preferred(factory: Factory):
    has(factory, 10 * GIB, "lagos")
    factory.submit("wl-1", replace(spec(gpus=4), mounts=(Mount(path="/data", artifact=DATA),)))
    ((_, peers),) = asked(factory)
    assert peers[0] == "lagos"
    assert asked(factory, OFFERS | {"lagos": offer("lagos", wait_ms=900_000)})[0][1][0] != "lagos"
    places = roam.considered(factory.state, OFFERS, factory.state.workloads["wl-1"], factory.now_ms)
    moved = {each.factory: (each.transfer_bytes, each.transfer_ms) for each in places}
    assert moved["lagos"] == (0, 0)
    assert moved["cairo"] == (10 * GIB, 858_994)


def test_a_link_that_is_wide_or_dear_counts(factory: Factory):
    has(factory, 10 * GIB)
    for name, link in (
        ("cairo", Link(mbit_per_s=10_000)),
        ("lagos", Link(mbit_per_s=10_000, minor_per_gib=500)),
    ):
        factory.tell(PeerPut(peer=replace(factory.state.peers[name], link=link)))
    factory.submit("wl-1", replace(spec(gpus=4), mounts=(Mount(path="/data", artifact=DATA),)))
    ((_, peers),) = asked(factory)
    assert peers[0] == "cairo"
    assert peers[-1] == "lagos"


@pytest.mark.parametrize(("size_bytes", "goes"), [(GIB, True), (50 * GIB, False)])
def test_where_the_files_take_longer_than_the_wait_here_it_stays(
    factory: Factory, size_bytes: int, goes: bool
):
    has(factory, size_bytes)
    factory.submit("wl-1", replace(spec(gpus=2), max_duration_ms=1_800_000))
    factory.tick()
    factory.submit("wl-2", replace(spec(gpus=2), mounts=(Mount(path="/data", artifact=DATA),)))
    assert bool(asked(factory)) is goes
