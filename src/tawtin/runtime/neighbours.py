"""A live factory's way to its peers: what is sent waits here for its turn, and may be lost; what matters is said again.

One task for each peer posts what has gathered, many messages in a request, a few requests at a time. A peer that does
not answer is left alone for a moment, and everything that was meant for it meanwhile is dropped: the handshake repeats
itself until it is heard.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from tawtin.core import hours
from tawtin.core.roam import free_nodes
from tawtin.model.roaming import Offer, PeerState
from tawtin.ports import Misread, TransportError
from tawtin.runtime.localising import Hearsay
from tawtin.runtime.roaming import Roaming

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tawtin.model.roaming import Message, Peer
    from tawtin.ports import Entropy, Signer, Transport
    from tawtin.runtime.factory import Factory
    from tawtin.runtime.freight import Freight
    from tawtin.runtime.tidying import Tidying

log = logging.getLogger("tawtin.neighbours")
BATCH_MAX: Final = 64
POSTS_MAX: Final = 3
"""So many requests to a peer are under way at a time: each waits a round trip for its answer."""
ROUND_TRIPS: Final = 8
"""So many of the last are looked at for the latency of a peer."""
WAITING_MAX: Final = 10_000
OFFER_S: Final = 2.0
"""How often peers are told what is free here."""
PAUSE_S: Final = 1.0
PAUSE_S_MAX: Final = 30.0
SILENT_MS: Final = 10_000
"""A peer that was not heard for so long is said to be unreachable; offers come every few seconds."""
OFFER_AGE_MS_MAX: Final = 60_000
"""An offer that was heard longer ago counts no more."""
UNTOLD_MS: Final = 600_000
"""A peer of an earlier version, which reads nothing that has our localisation rate in it, is spared it for so long."""


def incarnation_of(first: Sequence[bytes]) -> str:
    """The incarnation of a store, from the first entry of its log: a store that was lost and made anew has another.

    One that was put back from a backup has the incarnation that was drawn when that was noticed: `Restored`.
    """
    return hashlib.sha256(first[0]).hexdigest()[:16] if first else "0"


async def _wait_for(event: asyncio.Event, seconds: float) -> None:
    """Return when `event` is set, or after so long. `asyncio.wait_for` can lose a cancel that meets the event."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


class Neighbours:
    """The peers of one factory, over all lives of its state in this process."""

    def __init__(
        self,
        *,
        signer: Signer,
        entropy: Entropy,
        transport: Transport,
        fuse_stop_ms: Callable[[], int | None],
        started: Callable[[], Mapping[str, bool]] = dict,
        freight: Freight | None = None,
        tidying: Tidying | None = None,
    ) -> None:
        """Wire it.

        `fuse_stop_ms` says what the engine, once it is open, promises about leases, `started` which runs it remembers;
        `freight` moves files, `tidying` deletes those of guests.
        """
        self.signer = signer
        self.entropy = entropy
        self.transport = transport
        self.fuse_stop_ms = fuse_stop_ms
        self.started = started
        self.freight = freight
        self.tidying = tidying
        self.roaming: Roaming
        self.factory: Factory
        self.offers_heard_ms: dict[str, int] = {}
        self.hearsay = Hearsay()
        self._untold_until_ms: dict[str, int] = {}
        self._waiting: dict[str, deque[Message]] = {}
        self._wake: dict[str, asyncio.Event] = {}
        self._heard_ms: dict[str, int] = {}
        self._began_ms = 0
        self._round_trips_ms: dict[str, deque[int]] = {}
        self._heard: dict[str, asyncio.Event] = {}
        """Set when a peer is heard, which may end the pause after it was not reached."""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._offer_seq = 0

    def attach(self, factory: Factory, incarnation: str) -> None:
        """Speak for this state machine from now on: at a start, and after a transaction that was taken back.

        `incarnation` is that of its store.
        """
        offers = self.roaming.asking.offers if hasattr(self, "roaming") else {}
        factory.roaming = self.roaming = Roaming(
            factory,
            self.signer,
            self.entropy,
            incarnation=incarnation,
            fuse_stop_ms=self.fuse_stop_ms(),
            started=self.started,
        )
        self.factory = factory
        self.roaming.asking.offers.update(offers)
        if self.freight is not None:
            self.freight.attach(factory)

    def post(self, messages: Iterable[tuple[str, Message]]) -> None:
        """Line up messages that are durable now."""
        for peer, message in messages:
            waiting = self._waiting.setdefault(peer, deque(maxlen=WAITING_MAX))
            waiting.append(message)
            self._event(peer).set()
            if peer not in self._tasks:
                self._tasks[peer] = asyncio.create_task(self._serve(peer))

    def heard(self, sender: str) -> None:
        """A peer has spoken, whatever it said."""
        self._heard_ms[sender] = self.factory.clock.monotonic_ms()
        self._heard.setdefault(sender, asyncio.Event()).set()

    def silent_ms(self, peer: str) -> int | None:
        """For how long a peer has been silent, counted from the start at the earliest; None while that is short."""
        since = self.factory.clock.monotonic_ms() - self._heard_ms.get(peer, self._began_ms)
        return since if since >= SILENT_MS else None

    def latencies_ms(self) -> dict[str, int]:
        """The shortest of the last few round trips to each peer that answers."""
        return {peer: min(taken) for peer, taken in self._round_trips_ms.items()}

    def hear_offer(self, sender: str, offer: Offer) -> None:
        """Keep the newest word of a peer about itself; what it says about others counts nothing."""
        if offer.factory == sender:
            self.roaming.asking.offers[sender] = offer
            self.offers_heard_ms[sender] = self.factory.clock.monotonic_ms()
            self.hearsay.hear(sender, offer.localised, self.factory.now_ms())
            self.factory.moved = True

    async def run(self) -> None:
        """Tell peers what is free here, and forget what they said long ago, for ever."""
        self._began_ms = self.factory.clock.monotonic_ms()
        while True:
            for peer in list(self.factory.state.peers.values()):
                if peer.state is PeerState.ACTIVE:
                    self.post(())
                    self._event(peer.name).set()
                    self._waiting.setdefault(peer.name, deque(maxlen=WAITING_MAX))
                    if peer.name not in self._tasks:
                        self._tasks[peer.name] = asyncio.create_task(self._serve(peer.name))
            oldest = self.factory.clock.monotonic_ms() - OFFER_AGE_MS_MAX
            for name, heard_ms in list(self.offers_heard_ms.items()):
                if heard_ms < oldest:
                    self.offers_heard_ms.pop(name)
                    self.roaming.asking.offers.pop(name, None)
            await asyncio.sleep(OFFER_S)

    async def close(self) -> None:
        """Let go of all peers."""
        if self.freight is not None:
            await self.freight.close()
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await self.transport.close()

    async def _serve(self, name: str) -> None:
        """Post to one peer: what is new does not wait for the answer to what was said before it."""
        pause_s = PAUSE_S
        event = self._event(name)
        under_way: set[asyncio.Task[bool]] = set()
        try:
            while True:
                await _wait_for(event, 60)
                event.clear()
                peer, waiting = self.factory.state.peers.get(name), self._waiting[name]
                if peer is None or peer.state in (PeerState.REVOKED, PeerState.LEFT, PeerState.INVITED):
                    waiting.clear()
                    continue
                if waiting or not under_way:  # an offer alone can wait
                    batch = tuple(waiting.popleft() for _ in range(min(len(waiting), BATCH_MAX)))
                    under_way.add(asyncio.create_task(self._say(peer, batch, event)))
                full = len(under_way) == POSTS_MAX
                answered, under_way = await asyncio.wait(
                    under_way, timeout=None if full else 0, return_when=asyncio.FIRST_COMPLETED
                )
                if any(not task.result() for task in answered):
                    waiting.clear()
                    heard = self._heard.setdefault(name, asyncio.Event())
                    heard.clear()
                    await _wait_for(heard, pause_s)
                    pause_s = min(2 * pause_s, PAUSE_S_MAX)
                elif answered:
                    pause_s = PAUSE_S
                if waiting:
                    event.set()
        finally:
            for task in under_way:
                task.cancel()

    async def _say(self, peer: Peer, batch: tuple[Message, ...], answered: asyncio.Event) -> bool:
        """Post one request; whether it was taken in. `answered` is set when it is known."""
        sent_ms = self.factory.clock.monotonic_ms()
        try:
            await self._post(peer, batch)
        except TransportError as error:
            log.info("`%s` is not reached: %s", peer.name, error)
            return False
        else:
            took_ms = self.factory.clock.monotonic_ms() - sent_ms
            self._round_trips_ms.setdefault(peer.name, deque(maxlen=ROUND_TRIPS)).append(took_ms)
            return True
        finally:
            answered.set()

    async def _post(self, peer: Peer, batch: tuple[Message, ...]) -> None:
        """Post one request; once more without our rate if that may be what the peer cannot read. Raises TransportError.

        What a peer cannot read it does not take in at all, so that nothing is said twice.
        """
        offer = self._offer(peer)
        try:
            await self.transport.post(peer, batch, offer)
        except Misread as error:
            if offer.localised is None:
                raise
            log.info("`%s` is told no localisation rate for now: %s", peer.name, error)
            self._untold_until_ms[peer.name] = self.factory.clock.monotonic_ms() + UNTOLD_MS
            await self.transport.post(peer, batch, replace(offer, localised=None))

    def _tells(self, peer: Peer) -> bool:
        """Whether this peer is told our rate now."""
        until_ms = self._untold_until_ms.get(peer.name, 0)
        return peer.tell_localisation and self.factory.clock.monotonic_ms() >= until_ms

    def _event(self, name: str) -> asyncio.Event:
        return self._wake.setdefault(name, asyncio.Event())

    def _offer(self, peer: Peer) -> Offer:
        """What this peer may have of us, at the prices that it was given."""
        self._offer_seq += 1
        site, lends = self.factory.site, peer.lends
        own = not lends.currency
        return Offer(
            factory=site.name,
            country=site.country,
            seq=self._offer_seq,
            made_ms=self.factory.now_ms(),
            free=free_nodes(self.factory.state) if hours.is_open(lends.hours, self.factory.now_ms()) else (),
            currency=site.currency if own else lends.currency,
            minor_per_gpu_hour=site.minor_per_gpu_hour if own else lends.minor_per_gpu_hour,
            minor_per_cpu_hour=site.minor_per_cpu_hour if own else lends.minor_per_cpu_hour,
            carbon_g_per_kwh=site.carbon_g_per_kwh,
            localised=self.hearsay.tell(self.factory) if self._tells(peer) else None,
        )
