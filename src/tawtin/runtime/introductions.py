"""Invitations that are under way, on both sides: made, taken up, compared by two people, and then a peer, or nothing.

They are volatile: a factory that starts again has forgotten them, and nothing is half done. A peer becomes durable, and
is heard, only when an operator has entered the right digits; three wrong ones end an invitation.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from tawtin.core.handshake.timing import unsound
from tawtin.model.introduction import Introduction, Invitation, Join, Joined, Party, Reveal, Revealed
from tawtin.model.roaming import Lends, Link, Peer, PeerState, Terms
from tawtin.model.tenant import Scope
from tawtin.peering import introduction as intro
from tawtin.ports import TransportError
from tawtin.runtime.errors import Conflict, Full, Invalid, NotFound, Unavailable

if TYPE_CHECKING:
    from tawtin.model.requests import InvitationNew, JoinNew
    from tawtin.ports import Signer, Strangers
    from tawtin.runtime.actor import Actor
    from tawtin.runtime.service import Service

log = logging.getLogger("tawtin.introductions")
WRONG_MAX: Final = 3
UNDER_WAY_MAX: Final = 100


@dataclass(slots=True, kw_only=True)
class Pending:
    """One invitation."""

    invitation: Invitation
    ours: bool
    address: str
    """Where they find us."""
    lends: Lends
    link: Link
    terms: Terms
    until_ms: int
    """By our monotonic clock."""
    nonce: str
    party: Party | None = None
    join: bytes = b""
    joined: bytes = b""
    say: str = ""
    hear: str = ""
    wrong: int = 0


class Introductions:
    """What one factory has under way."""

    def __init__(self, service: Service, signer: Signer, transport: Strangers) -> None:
        self.service = service
        self.signer = signer
        self.transport = transport
        self._pending: dict[str, Pending] = {}
        """By the name of the invitation."""

    # --- what operators do --------------------------------------------------------------------------------------

    def invite(self, actor: Actor, wanted: InvitationNew) -> tuple[str, Introduction]:
        """Make an invitation; its text is shown once."""
        actor.need(Scope.ADMIN)
        self._room()
        _reachable(wanted.address)
        wrong = unsound(wanted.terms)
        if wrong:
            raise Invalid(f"`terms`: {wrong}")
        clock, secret = self.service.clock, self._draw()
        invitation = Invitation(
            factory=self.service.site.name,
            address=wanted.address,
            secret=secret,
            ends_ms=clock.now_ms() + wanted.valid_ms,
        )
        pending = Pending(
            invitation=invitation,
            ours=True,
            address=wanted.address,
            lends=wanted.lends,
            link=wanted.link,
            terms=wanted.terms,
            until_ms=clock.monotonic_ms() + wanted.valid_ms,
            nonce=self._draw(),
        )
        name = intro.named(secret)
        self._pending[name] = pending
        return intro.written(invitation), _view(name, pending)

    async def join(self, actor: Actor, wanted: JoinNew) -> Introduction:
        """Take up an invitation. Once more with the same one goes on where it was broken off."""
        actor.need(Scope.ADMIN)
        _reachable(wanted.address)
        try:
            invitation = intro.read_invitation(wanted.invitation)
        except intro.NoInvitation as error:
            raise Invalid(str(error)) from None
        name, clock = intro.named(invitation.secret), self.service.clock
        left_ms = invitation.ends_ms - clock.now_ms()
        if left_ms <= 0:
            raise Conflict(f"the invitation of `{invitation.factory}` is over: ask for another one")
        if invitation.factory == self.service.site.name:
            raise Invalid(f"the invitation is from `{invitation.factory}`, which is this factory")
        pending = self._pending.get(name)
        if pending is None:
            self._room()
            pending = Pending(
                invitation=invitation,
                ours=False,
                address=wanted.address,
                lends=wanted.lends,
                link=wanted.link,
                terms=Terms(),
                until_ms=clock.monotonic_ms() + left_ms,
                nonce=self._draw(),
            )
            step = Join(
                invitation=name,
                party=self._ourselves(wanted.address),
                commitment=intro.promise(pending.nonce),
            )
            pending.join = msgspec.json.encode(step)
            self._pending[name] = pending
        try:
            await self._introduce(name, pending)
        except BaseException:
            if not pending.joined:
                self._pending.pop(name, None)
            raise
        return _view(name, pending)

    def under_way(self, actor: Actor) -> tuple[Introduction, ...]:
        """All that are not over."""
        actor.need(Scope.ADMIN)
        self._forget()
        return tuple(_view(name, pending) for name, pending in self._pending.items())

    async def confirm(self, actor: Actor, which: str, heard: str) -> Peer:
        """Enter what the other operator read out; with the right digits it is a peer of ours from then on."""
        actor.need(Scope.ADMIN)
        name, pending = self._find(which)
        party = pending.party
        if party is None or not pending.say:
            raise Conflict("nobody has taken this invitation up yet: hand it to the other operator")
        given = intro.plain_digits(heard)
        if not given:
            raise Invalid("enter the six digits that the other operator reads to you")
        if given == pending.say:
            raise Invalid("these are the digits for you to read out: enter those that you hear")
        if given != pending.hear:
            pending.wrong += 1
            log.warning("wrong digits were entered for `%s`, for the %d. time", party.name, pending.wrong)
            if pending.wrong >= WRONG_MAX:
                del self._pending[name]
                raise Conflict(
                    f"these are not the digits either: somebody may stand between you and `{party.name}`. "
                    "The invitation is void; begin again, by another way"
                )
            raise Conflict(f"these are not the digits: ask again; {WRONG_MAX - pending.wrong} tries are left")
        known = self.service.state.peers.get(party.name)
        put = await self.service.put_peer(
            actor,
            Peer(
                name=party.name,
                address=party.address,
                key=party.key,
                state=PeerState.ACTIVE,
                country=party.country,
                currency=party.currency,
                terms=pending.terms,
                lends=pending.lends,
                link=pending.link,
                tell_localisation=known is None or known.tell_localisation,
            ),
        )
        self._pending.pop(name, None)
        return put

    def withdraw(self, actor: Actor, which: str) -> Introduction:
        """Let an invitation be void."""
        actor.need(Scope.ADMIN)
        name, pending = self._find(which)
        del self._pending[name]
        return _view(name, pending)

    # --- what comes in at the door --------------------------------------------------------------------------------

    def hear(self, body: bytes, proof: str) -> tuple[bytes, str]:
        """Answer a guest. Raises NotFound for all that does not know the secret, comes late, or as the second one."""
        self._forget()
        try:
            step = intro.read_step(body)
        except (ValueError, msgspec.DecodeError) as error:
            raise Invalid(f"it cannot be read: {error}") from None
        pending = self._pending.get(step.invitation)
        secret = pending.invitation.secret if pending is not None and pending.ours else "0" * 32
        known = intro.is_proven(secret, "request", body, proof)
        if pending is None or not pending.ours or not known:
            raise NotFound(
                "there is no such invitation, or it is over, or it was taken up: ask for another one"
            )
        answer = (
            self._joined(pending, step, body) if isinstance(step, Join) else self._revealed(pending, step)
        )
        return answer, intro.prove(secret, proof, answer)

    def _joined(self, pending: Pending, step: Join, body: bytes) -> bytes:
        if pending.join and pending.join != body:
            raise NotFound("this invitation was taken up by somebody else: ask for another one")
        if not intro.is_key(step.party.key):
            raise Invalid("`party.key` is no Ed25519 public key in base64")
        _reachable(step.party.address)
        if step.party.name == self.service.site.name:
            raise Invalid(
                f"you call yourself `{step.party.name}`, as this factory does: peers need other names"
            )
        if not pending.joined:
            said = Joined(party=self._ourselves(pending.address), nonce=pending.nonce, terms=pending.terms)
            pending.join, pending.joined, pending.party = body, msgspec.json.encode(said), step.party
        return pending.joined

    @staticmethod
    def _revealed(pending: Pending, step: Reveal) -> bytes:
        if not pending.joined:
            raise Invalid("`join` comes first")
        if intro.promise(step.nonce) != msgspec.json.decode(pending.join, type=Join).commitment:
            raise Invalid("this is not the nonce that was promised")
        pending.say, pending.hear = intro.digits(pending.join, pending.joined, step.nonce)
        return msgspec.json.encode(Revealed())

    # --- as a guest -------------------------------------------------------------------------------------------------

    async def _introduce(self, name: str, pending: Pending) -> None:
        """Say both things, as far as they are not said yet."""
        joined = await self._ask(pending, pending.join)
        try:
            said = msgspec.json.decode(joined, type=Joined)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Unavailable(
                f"`{pending.invitation.factory}` gave an answer that cannot be read: {error}"
            ) from None
        if not intro.is_key(said.party.key):
            raise Unavailable(f"`{pending.invitation.factory}` gave a key that is none")
        if said.party.name != pending.invitation.factory:
            raise Conflict(f"`{said.party.name}` answered where `{pending.invitation.factory}` invited us")
        wrong = unsound(said.terms)
        if wrong:
            raise Conflict(f"`{said.party.name}` wants terms under which nothing can run: {wrong}")
        if pending.joined and pending.joined != joined:
            del self._pending[name]
            raise Conflict(f"`{said.party.name}` gave another answer than before: ask for another invitation")
        pending.joined, pending.party, pending.terms = joined, said.party, said.terms
        await self._ask(pending, msgspec.json.encode(Reveal(invitation=name, nonce=pending.nonce)))
        pending.hear, pending.say = intro.digits(pending.join, joined, pending.nonce)

    async def _ask(self, pending: Pending, body: bytes) -> bytes:
        secret, where = pending.invitation.secret, pending.invitation.address
        proof = intro.prove(secret, "request", body)
        try:
            answer, proven = await self.transport.introduce(where, body, proof)
        except TransportError as error:
            raise Unavailable(f"`{pending.invitation.factory}` at {where}: {error}") from None
        if not intro.is_proven(secret, proof, answer, proven):
            raise Unavailable(f"what answers at {where} does not know the invitation: is the address right?")
        return answer

    # --- within -----------------------------------------------------------------------------------------------------

    def _ourselves(self, address: str) -> Party:
        site = self.service.site
        return Party(
            name=site.name, country=site.country, currency=site.currency, key=self.signer.key, address=address
        )

    def _draw(self) -> str:
        return f"{self.service.entropy.bits(128):032x}"

    def _forget(self) -> None:
        now = self.service.clock.monotonic_ms()
        self._pending = {name: each for name, each in self._pending.items() if each.until_ms > now}

    def _room(self) -> None:
        self._forget()
        if len(self._pending) >= UNDER_WAY_MAX:
            raise Full(f"{UNDER_WAY_MAX} invitations are under way: withdraw one")

    def _find(self, which: str) -> tuple[str, Pending]:
        """By the name of the factory, or the beginning of its own."""
        self._forget()
        found = [
            (name, each)
            for name, each in self._pending.items()
            if (each.party is not None and each.party.name == which)
            or (len(which) >= 6 and name.startswith(which))
        ]
        if len(found) != 1:
            few = "no invitation of" if not found else "more than one invitation of"
            raise NotFound(f"{few} `{which}` is under way: tawtin peer invitations")
        return found[0]


def _reachable(address: str) -> None:
    if not address.startswith(("http://", "https://")):
        raise Invalid(f"`{address}` is no address of a factory, such as https://nairobi.example:8470")


def _view(name: str, pending: Pending) -> Introduction:
    return Introduction(
        id=name[:12],
        ours=pending.ours,
        party=pending.party,
        say=intro.grouped(pending.say),
        ends_ms=pending.invitation.ends_ms,
        terms=pending.terms,
    )
