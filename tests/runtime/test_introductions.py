"""Introductions under way between two factories, with somebody in between, and with people who err."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tawtin.model.introduction import Join, Joined
from tawtin.model.requests import InvitationNew, JoinNew
from tawtin.model.roaming import Lends, Peer, PeerState, Terms
from tawtin.model.site import Site
from tawtin.model.tenant import Scope
from tawtin.peering import introduction as intro
from tawtin.peering.identity import Identity
from tawtin.ports import TransportError
from tawtin.runtime.actor import Actor
from tawtin.runtime.errors import Conflict, Denied, Full, Invalid, NotFound, ServiceError, Unavailable
from tawtin.runtime.introductions import UNDER_WAY_MAX, Introductions
from tawtin.runtime.system import SystemEntropy

ADMIN = Actor(key="k", tenant="owner", scope=Scope.ADMIN, owner=True)
HOUR_MS = 3_600_000


@dataclass
class Clock:
    ms: int = 1_800_000_000_000

    def now_ms(self) -> int:
        return self.ms

    def monotonic_ms(self) -> int:
        return self.ms


@dataclass
class Factory:
    """What an introduction sees of a factory."""

    site: Site
    clock: Clock
    entropy: SystemEntropy = field(default_factory=SystemEntropy)
    put: list[Peer] = field(default_factory=list[Peer])

    @property
    def state(self) -> Any:  # noqa: ANN401 - as much of it as is looked at
        return SimpleNamespace(peers={each.name: each for each in self.put})

    async def put_peer(self, actor: Actor, peer: Peer) -> Peer:
        actor.need(Scope.ADMIN)
        self.put.append(peer)
        return peer


class Way:
    """The way from the guest to the host, on which somebody may sit."""

    def __init__(self) -> None:
        self.host: Introductions
        self.meddle: Callable[[bytes, str, Callable[[bytes, str], tuple[bytes, str]]], tuple[bytes, str]] = (
            lambda body, proof, on: on(body, proof)
        )

    async def introduce(self, address: str, body: bytes, proof: str) -> tuple[bytes, str]:
        assert address == "https://lagos.example"
        try:
            return self.meddle(body, proof, self.host.hear)
        except ServiceError as error:
            raise TransportError(str(error)) from None


class Two:
    def __init__(self) -> None:
        self.clock, self.way = Clock(), Way()
        self.lagos, self.cairo = (
            Factory(Site(name=name, country=country, currency="USD"), self.clock)
            for name, country in (("Lagos", "NG"), ("Cairo", "EG"))
        )
        self.keys = [Identity(Ed25519PrivateKey.generate()) for _ in range(2)]
        parts: Any = (self.lagos, self.keys[0], self.way), (self.cairo, self.keys[1], self.way)
        self.host, self.guest = Introductions(*parts[0]), Introductions(*parts[1])
        self.way.host = self.host

    def invite(self) -> str:
        wanted = InvitationNew(
            address="https://lagos.example", lends=Lends(gpus={"H100": 2}), terms=Terms(lease_ms=40_000)
        )
        return self.host.invite(ADMIN, wanted)[0]

    def join(self, invitation: str) -> Any:  # noqa: ANN401 - a view
        return asyncio.run(
            self.guest.join(ADMIN, JoinNew(invitation=invitation, address="https://cairo.example"))
        )

    def confirm(self, side: Introductions, name: str, digits: str) -> Peer:
        return asyncio.run(side.confirm(ADMIN, name, digits))


@pytest.fixture
def two() -> Two:
    return Two()


def test_both_are_peers_once_each_has_heard_the_others_digits(two: Two):
    theirs = two.join(two.invite())
    (ours,) = two.host.under_way(ADMIN)
    assert ours.say != theirs.say
    assert not two.lagos.put
    assert not two.cairo.put
    at_lagos = two.confirm(two.host, "Cairo", theirs.say)
    at_cairo = two.confirm(two.guest, "Lagos", ours.say)
    assert (at_lagos.key, at_cairo.key) == (two.keys[1].key, two.keys[0].key)
    assert at_lagos.state is at_cairo.state is PeerState.ACTIVE
    assert (at_lagos.country, at_lagos.address) == ("EG", "https://cairo.example")
    assert at_lagos.terms == at_cairo.terms == Terms(lease_ms=40_000)
    assert at_lagos.lends.gpus == {"H100": 2}
    assert at_cairo.lends == Lends()
    assert not two.host.under_way(ADMIN)


def test_peers_who_are_introduced_again_are_told_as_little_as_before(two: Two):
    for want in (True, False):
        theirs = two.join(two.invite())
        (ours,) = two.host.under_way(ADMIN)
        at_lagos = two.confirm(two.host, "Cairo", theirs.say)
        two.confirm(two.guest, "Lagos", ours.say)
        assert at_lagos.tell_localisation is want
        two.lagos.put.append(msgspec.structs.replace(at_lagos, tell_localisation=False))


def test_somebody_in_between_who_knows_the_secret_cannot_give_both_the_same_digits(two: Two):
    """The strongest one: the invitation was read on its way, and each side gets a key of the one in between."""
    invitation = two.invite()
    secret = intro.read_invitation(invitation).secret
    false = Identity(Ed25519PrivateKey.generate()).key

    def between(body: bytes, proof: str, on: Callable[[bytes, str], tuple[bytes, str]]) -> tuple[bytes, str]:
        step: Any = intro.read_step(body)
        if isinstance(step, Join):
            step = msgspec.structs.replace(step, party=msgspec.structs.replace(step.party, key=false))
            answer, _ = on(
                msgspec.json.encode(step), intro.prove(secret, "request", msgspec.json.encode(step))
            )
            said = msgspec.json.decode(answer, type=Joined)
            said = msgspec.structs.replace(said, party=msgspec.structs.replace(said.party, key=false))
            answer = msgspec.json.encode(said)
            return answer, intro.prove(secret, proof, answer)
        return on(body, proof)

    two.way.meddle = between
    theirs = two.join(invitation)
    (ours,) = two.host.under_way(ADMIN)
    for side, name, heard in ((two.host, "Cairo", theirs.say), (two.guest, "Lagos", ours.say)):
        for tries_left in (2, 1):
            with pytest.raises(Conflict, match=f"not the digits: ask again; {tries_left} tries"):
                two.confirm(side, name, heard)
        with pytest.raises(Conflict, match="somebody may stand between"):
            two.confirm(side, name, heard)
        with pytest.raises(NotFound):
            two.confirm(side, name, heard)
    assert not two.lagos.put
    assert not two.cairo.put


def test_terms_under_which_nothing_could_run_are_refused_on_both_sides(two: Two):
    for wrong in (Terms(lease_ms=10_000), Terms(stop_ms=60_000), Terms(renew_ms=1), Terms(ttl_ms=0)):
        with pytest.raises(Invalid, match="`terms`"):
            two.host.invite(ADMIN, InvitationNew(address="https://lagos.example", terms=wrong))
    invitation = two.invite()
    secret = intro.read_invitation(invitation).secret

    def worse(body: bytes, proof: str, on: Callable[[bytes, str], tuple[bytes, str]]) -> tuple[bytes, str]:
        said = msgspec.json.decode(on(body, proof)[0], type=Joined)
        answer = msgspec.json.encode(msgspec.structs.replace(said, terms=Terms(renew_ms=0)))
        return answer, intro.prove(secret, proof, answer)

    two.way.meddle = worse
    with pytest.raises(Conflict, match="nothing can run"):
        two.join(invitation)


def test_who_does_not_know_the_secret_gets_and_gives_nothing(two: Two):
    invitation = two.invite()

    def forger(body: bytes, proof: str, on: Callable[[bytes, str], tuple[bytes, str]]) -> tuple[bytes, str]:
        return on(body.replace(b"cairo", b"wrong"), proof)

    two.way.meddle = forger
    with pytest.raises(Unavailable, match="no such invitation"):
        two.join(invitation)
    two.way.meddle = lambda body, proof, on: (on(body, proof)[0], "0" * 64)
    with pytest.raises(Unavailable, match="does not know the invitation"):
        two.join(invitation)
    assert not two.guest.under_way(ADMIN)


def test_an_invitation_serves_one_factory_and_one_time(two: Two):
    invitation = two.invite()
    two.join(invitation)
    other = Two()
    other.way.host, other.cairo.site = two.host, Site(name="Nairobi", country="KE", currency="USD")
    with pytest.raises(Unavailable, match="taken up by somebody else"):
        other.join(invitation)
    theirs = two.join(invitation)
    assert theirs.say == two.guest.under_way(ADMIN)[0].say, "the same guest may ask again"
    two.confirm(two.host, "Cairo", theirs.say)
    with pytest.raises(Unavailable, match="no such invitation"):
        two.join(invitation)


def test_a_guest_that_was_broken_off_goes_on_with_the_same_nonce(two: Two):
    invitation = two.invite()
    calls: list[int] = []

    def lossy(body: bytes, proof: str, on: Callable[[bytes, str], tuple[bytes, str]]) -> tuple[bytes, str]:
        answer = on(body, proof)
        calls.append(1)
        if len(calls) == 2:
            raise TransportError("lost")
        return answer

    two.way.meddle = lossy
    with pytest.raises(Unavailable, match="lost"):
        two.join(invitation)
    theirs = two.join(invitation)
    (ours,) = two.host.under_way(ADMIN)
    two.confirm(two.host, "Cairo", theirs.say)
    two.confirm(two.guest, "Lagos", ours.say)


def test_an_invitation_ends(two: Two):
    invitation = two.invite()
    two.clock.ms += HOUR_MS
    with pytest.raises(Conflict, match="is over"):
        two.join(invitation)
    assert not two.host.under_way(ADMIN)
    invitation = two.invite()
    theirs = two.join(invitation)
    two.clock.ms += HOUR_MS
    with pytest.raises(NotFound):
        two.confirm(two.host, "Cairo", theirs.say)


def test_digits_that_were_mistyped_or_are_ones_own_are_not_counted(two: Two):
    theirs = two.join(two.invite())
    (ours,) = two.host.under_way(ADMIN)
    for _ in range(4):
        with pytest.raises(Invalid, match="those that you hear"):
            two.confirm(two.host, "Cairo", ours.say)
        with pytest.raises(Invalid, match="six digits"):
            two.confirm(two.host, "Cairo", "12")
    assert two.confirm(two.host, "Cairo", theirs.say.replace(" ", "-"))


def test_a_nonce_that_was_not_promised_is_refused(two: Two):
    invitation = two.invite()
    secret = intro.read_invitation(invitation).secret

    def changes_its_mind(
        body: bytes, proof: str, on: Callable[[bytes, str], tuple[bytes, str]]
    ) -> tuple[bytes, str]:
        step: Any = intro.read_step(body)
        if not isinstance(step, Join):
            body = msgspec.json.encode(msgspec.structs.replace(step, nonce="1" * 32))
            return on(body, intro.prove(secret, "request", body))
        return on(body, proof)

    two.way.meddle = changes_its_mind
    with pytest.raises(Unavailable, match="not the nonce"):
        two.join(invitation)
    (ours,) = two.host.under_way(ADMIN)
    assert not ours.say
    with pytest.raises(Conflict, match="nobody has taken"):
        two.confirm(two.host, "Cairo", "123456")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "cannot be read"),
        (b"{}", "cannot be read"),
        (b"[" * 20_000, "longer"),
        (b'{"step":"x"}', "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_refused(two: Two, body: bytes, why: str):
    with pytest.raises(Invalid, match=why):
        two.host.hear(body, "")


def test_only_an_admin_introduces_and_only_so_many(two: Two):
    nobody = msgspec.structs.replace(ADMIN, scope=Scope.TENANT, owner=False)
    with pytest.raises(Denied):
        two.host.invite(nobody, InvitationNew(address="https://lagos.example"))
    for _ in range(UNDER_WAY_MAX):
        two.invite()
    with pytest.raises(Full):
        two.invite()
    two.host.withdraw(ADMIN, two.host.under_way(ADMIN)[0].id)
    two.invite()


def test_a_factory_does_not_join_itself_nor_one_of_its_name(two: Two):
    invitation = two.invite()
    with pytest.raises(Invalid, match="is this factory"):
        asyncio.run(two.host.join(ADMIN, JoinNew(invitation=invitation, address="https://lagos.example")))
    two.cairo.site = Site(name="Lagos", country="EG", currency="USD")
    with pytest.raises(Invalid, match="is this factory"):
        two.join(invitation)
    with pytest.raises(Invalid, match="no address"):
        asyncio.run(two.guest.join(ADMIN, JoinNew(invitation=invitation, address="cairo.example")))
