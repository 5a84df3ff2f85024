"""What a factory tells peers of its localisation rate, what it makes of their words, and who may see it."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tawtin.model.localisation import By, MonthTold, Rings, Told
from tawtin.model.reasons import Cause
from tawtin.model.roaming import Lends, Offer, Peer, PeerState
from tawtin.model.views import Rates
from tawtin.model.workload import Outcome, Usage
from tawtin.peering.identity import Identity
from tawtin.ports import Misread, Report
from tawtin.runtime.actor import Actor
from tawtin.runtime.errors import Denied, Invalid
from tawtin.runtime.localising import own_rates
from tawtin.runtime.neighbours import Neighbours
from tawtin.runtime.system import SystemEntropy
from tawtin.web.metrics import Requests, render
from tests.runtime.shell import SITE, Shell, in_loop, running


class Way:
    """The way to peers: keeps what was posted, and answers for them."""

    def __init__(self) -> None:
        self.offers: dict[str, list[Offer]] = {}
        self.earlier: set[str] = set()
        """Peers that know nothing of localisation rates."""
        self.broken: set[str] = set()
        """Peers that can read nothing at all."""

    async def post(self, peer: Peer, _messages: object, offer: Offer) -> None:
        self.offers.setdefault(peer.name, []).append(offer)
        await asyncio.sleep(0.02)  # a way takes time
        if peer.name in self.broken or (peer.name in self.earlier and offer.localised is not None):
            raise Misread("it answered 400: the envelope cannot be read")

    async def close(self) -> None:
        pass


def neighbours(way: Any) -> Neighbours:  # noqa: ANN401 - as much of a transport as is used
    identity = Identity(Ed25519PrivateKey.generate())
    return Neighbours(signer=identity, entropy=SystemEntropy(), transport=way, fuse_stop_ms=lambda: None)


def peer(name: str, country: str = "KE", **fields: Any) -> Peer:  # noqa: ANN401 - fields of a Peer
    return Peer(
        name=name,
        country=country,
        state=PeerState.ACTIVE,
        lends=Lends(gpus={"H100": 8}, cpus_milli=8_000),
        **fields,
    )


def offer(name: str, localised: Told | None) -> Offer:
    return Offer(factory=name, country="KE", seq=1, made_ms=1, currency="MAD", localised=localised)


async def used(shell: Shell, tenant: str, **fields: Any) -> None:  # noqa: ANN401 - of a Tenant
    """One run of a new tenant, here."""
    actor = await shell.tenant(tenant, **fields)
    await ran(shell, actor)


async def ran(shell: Shell, actor: Actor) -> None:
    """One run here, which ends now."""
    run = await shell.placed(await shell.submit(actor))
    shell.engine.say(
        Report(
            run=run,
            started_ms=1_000,
            ended_ms=shell.service.factory.now_ms(),
            outcome=Outcome.FINISHED,
            cause=Cause.COMPLETED,
            exit_code=0,
            usage=Usage(wall_ms=1_000, cpu_ms=500),
        )
    )
    await shell.until(lambda: not shell.service.state.runs, "the end of the run")


def month_of(shell: Shell) -> str:
    (first, *_) = own_rates(shell.service.state)
    return first.month


async def network(shell: Shell) -> Rates:
    return await shell.service.localisation(shell.admin, by=By.NETWORK)


@in_loop
async def test_what_ran_for_a_peer_is_counted_by_its_home_alone():
    async with running(neighbours=neighbours(Way())) as shell:
        await shell.service.put_peer(shell.admin, peer("Nairobi"))
        await used(shell, "lab")
        guest = await shell.key("peer-nairobi")
        await ran(shell, guest)
        for by in By:
            found = await shell.service.localisation(shell.admin, by=by)
            assert {each.tenant for each in found.items} <= {"lab", ""}
            assert all(each.runs.home == 1 and each.runs.outside == 0 for each in found.items), by
        assert [each.runs.home for each in own_rates(shell.service.state)] == [1]
        accounts = await shell.service.usage(shell.admin)
        assert {each.tenant for each in accounts} == {"lab", "peer-nairobi"}, "it is paid for all the same"


@in_loop
async def test_home_is_the_country_that_a_tenant_is_entered_with():
    async with running() as shell:
        await used(shell, "lab")
        await used(shell, "embassy", country="FR")
        found = await shell.service.localisation(shell.admin, by=By.COUNTRY)
        got = {each.country: (each.runs.home, each.runs.outside) for each in found.items}
        assert got == {"MA": (1, 0), "FR": (0, 1)}
        (whole,) = (await shell.service.localisation(shell.admin, by=By.FACTORY)).items
        assert (whole.factory, whole.runs.home_bp, whole.runs.outside_bp) == ("casa", 5000, 5000)


@in_loop
async def test_sums_over_tenants_are_for_admins_and_months_make_sense():
    async with running() as shell:
        await used(shell, "lab")
        lab = await shell.key("lab")
        ours = await shell.service.localisation(lab)
        assert [each.tenant for each in ours.items] == ["lab"]
        for by in (By.FACTORY, By.COUNTRY, By.NETWORK):
            with pytest.raises(Denied):
                await shell.service.localisation(lab, by=by)
            with pytest.raises(Invalid, match="`tenant` goes with"):
                await shell.service.localisation(shell.admin, by=by, tenant="lab")
        with pytest.raises(Invalid, match="the one or the other"):
            await shell.service.localisation(shell.admin, month="2026-11", since="2026-10")
        with pytest.raises(Invalid, match="exchange them"):
            await shell.service.localisation(shell.admin, since="2026-11", until="2026-10")
        month = month_of(shell)
        assert (await shell.service.localisation(shell.admin, since=month, until=month)).items
        assert not (await shell.service.localisation(shell.admin, until="2026-01")).items
        assert not (await shell.service.localisation(shell.admin, since="9999-01")).items


@in_loop
async def test_peers_say_their_own_and_those_that_say_nothing_are_listed():
    beside = neighbours(Way())
    async with running(neighbours=beside) as shell:
        for each in (peer("Nairobi"), peer("Cairo", "EG"), peer("Tunis", "TN")):
            await shell.service.put_peer(shell.admin, each)
        await used(shell, "lab")
        month = month_of(shell)
        word = Told(months=(MonthTold(month=month, runs=Rings(home=3)),))
        await shell.service.hear("Nairobi", (), offer("Nairobi", word))
        await shell.service.hear("Cairo", (), offer("Cairo", None))
        await shell.service.hear("Tunis", (), offer("Tunis", word))
        found = await network(shell)
        assert [each.factory for each in found.items] == ["casa", "Nairobi", "Tunis", ""]
        assert found.items[-1].runs.home == 7
        assert found.items[-1].said_by == ("Nairobi", "Tunis")
        assert [(each.factory, each.age_ms is None) for each in found.peers] == [
            ("Cairo", True),
            ("Nairobi", False),
            ("Tunis", False),
        ]
        gone = Peer(name="Tunis", country="TN", state=PeerState.REVOKED)
        await shell.service.put_peer(shell.admin, gone)
        assert [each.factory for each in (await network(shell)).items] == ["casa", "Nairobi", ""]


@in_loop
async def test_a_peer_speaks_for_itself_only():
    beside = neighbours(Way())
    async with running(neighbours=beside) as shell:
        await shell.service.put_peer(shell.admin, peer("Nairobi"))
        await shell.service.put_peer(shell.admin, peer("Cairo", "EG"))
        await shell.service.hear("Nairobi", (), offer("Cairo", Told()))
        assert all(each.age_ms is None for each in (await network(shell)).peers)


@in_loop
async def test_a_word_that_cannot_be_leaves_the_last_good_one_and_says_why():
    beside = neighbours(Way())
    async with running(neighbours=beside) as shell:
        await shell.service.put_peer(shell.admin, peer("Nairobi"))
        await used(shell, "lab")
        good = Told(months=(MonthTold(month=month_of(shell), runs=Rings(home=3)),))
        await shell.service.hear("Nairobi", (), offer("Nairobi", good))
        lie = Told(months=(MonthTold(month="9999-12", runs=Rings(home=3)),))
        await shell.service.hear("Nairobi", (), offer("Nairobi", lie))
        found = await network(shell)
        (said,) = found.peers
        assert "`9999-12`" in said.refused
        assert [each.runs.home for each in found.items] == [1, 3, 4]
        assert "Nairobi" in beside.roaming.asking.offers, "the rest of what it said was heard"
        await shell.service.hear("Nairobi", (), offer("Nairobi", good))
        assert not (await network(shell)).peers[0].refused


@in_loop
async def test_a_word_grows_old_and_stays():
    beside = neighbours(Way())
    async with running(neighbours=beside) as shell:
        await shell.service.put_peer(shell.admin, peer("Nairobi"))
        await used(shell, "lab")
        word = Told(months=(MonthTold(month=month_of(shell), runs=Rings(home=3)),))
        now_ms = shell.service.factory.now_ms()
        beside.hearsay.hear("Nairobi", word, now_ms - 3_600_000)
        beside.hearsay.hear("Nairobi", None, now_ms)
        found = await network(shell)
        assert [each.factory for each in found.items] == ["casa", "Nairobi", ""]
        assert 3_600_000 <= (found.peers[0].age_ms or 0) < 3_700_000
        assert found.items[1].heard_ms == found.items[2].heard_ms == now_ms - 3_600_000


@in_loop
async def test_a_peer_is_told_unless_its_operator_says_no():
    way = Way()
    async with running(neighbours=neighbours(way)) as shell:
        await shell.service.put_peer(shell.admin, peer("Nairobi"))
        await shell.service.put_peer(shell.admin, peer("Cairo", "EG", tell_localisation=False))
        await used(shell, "lab")
        month = month_of(shell)

        def told() -> bool:
            last = way.offers.get("Nairobi", [None])[-1]
            return bool(last and last.localised and last.localised.months)

        for _ in range(12):
            if told() and "Cairo" in way.offers:
                break
            await asyncio.sleep(0.5)
        want = (MonthTold(month=month, cpu_ms=Rings(home=500), runs=Rings(home=1)),)
        assert way.offers["Nairobi"][-1].localised == Told(months=want)
        assert all(each.localised is None for each in way.offers["Cairo"])


@in_loop
async def test_a_peer_of_an_earlier_version_is_spoken_to_without_the_rate():
    way = Way()
    way.earlier.add("Nairobi")
    way.broken.add("Cairo")
    beside = neighbours(way)
    async with running(neighbours=beside) as shell:
        await shell.service.put_peer(shell.admin, peer("Nairobi"))
        await shell.service.put_peer(shell.admin, peer("Cairo", "EG"))
        nairobi = shell.service.state.peers["Nairobi"]
        for _ in range(100):
            if len(way.offers.get("Nairobi", ())) >= 2 and len(way.offers.get("Cairo", ())) >= 2:
                break
            await asyncio.sleep(0.1)
        assert [each.localised is not None for each in way.offers["Nairobi"][:2]] == [True, False]
        assert [each.localised is not None for each in way.offers["Cairo"][:2]] == [True, False]
        before = len(way.offers["Nairobi"])
        assert await beside._say(nairobi, (), asyncio.Event())  # pyright: ignore[reportPrivateUsage]
        assert [each.localised for each in way.offers["Nairobi"][before:]] == [None]


@in_loop
async def test_the_rate_of_this_month_is_a_metric_and_that_of_others_is_not():
    async with running(site=msgspec.structs.replace(SITE, country="FR")) as shell:
        assert b"tawtin_localisation_ratio{" not in render(shell.service, Requests())
        shell.engine.finish(await shell.placed(await shell.submit()))
        await shell.until(lambda: not shell.service.state.runs, "the end of a run of 1970")
        assert b"tawtin_localisation_ratio{" not in render(shell.service, Requests())
        await used(shell, "lab")
        await used(shell, "lab-2", country="MA")
        text = render(shell.service, Requests()).decode()
        got = [line for line in text.splitlines() if line.startswith("tawtin_localisation_ratio{")]
        assert got == [
            'tawtin_localisation_ratio{of="cpu_time",ring="home"} 0.5',
            'tawtin_localisation_ratio{of="cpu_time",ring="continent"} 0.0',
            'tawtin_localisation_ratio{of="cpu_time",ring="outside"} 0.5',
            'tawtin_localisation_ratio{of="runs",ring="home"} 0.5',
            'tawtin_localisation_ratio{of="runs",ring="continent"} 0.0',
            'tawtin_localisation_ratio{of="runs",ring="outside"} 0.5',
        ]


@pytest.mark.parametrize("turns", range(5))
def test_letting_go_of_peers_ends_at_once_even_as_there_is_something_to_say(turns: int):
    """A cancel that meets the wake-up must not be taken for it."""

    @in_loop
    async def go() -> None:
        beside = neighbours(Way())
        async with running(neighbours=beside) as shell:
            await shell.service.put_peer(shell.admin, peer("Nairobi"))
            await shell.until(lambda: "Nairobi" in beside._tasks)  # pyright: ignore[reportPrivateUsage]
            await asyncio.sleep(0.3)
            beside._event("Nairobi").set()  # pyright: ignore[reportPrivateUsage]
            for _ in range(turns):
                await asyncio.sleep(0)
            await asyncio.wait_for(beside.close(), 5)

    go()
