"""The part of a factory that speaks with peers: it asks them for room, lends them room, and repeats itself until heard.

All of it is volatile. What it decides becomes durable as events of the factory, in the transaction after which its
messages are sent; a new life begins with `resume`. What follows from what is in `core.handshake`; here are only timers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tawtin.model.ids import run_id
from tawtin.model.roaming import (
    Complete,
    FromVisited,
    Message,
    PeerState,
    Recall,
    Recalled,
    Refused,
    Reserved,
    guest_key,
)
from tawtin.runtime.roaming.asking import Asking
from tawtin.runtime.roaming.lending import Lending
from tawtin.runtime.roaming.post import Post
from tawtin.runtime.roaming.recalling import Recalling

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tawtin.core.decide import Decision, Promise
    from tawtin.model.events import Event, RunEnded
    from tawtin.model.roaming import Peer
    from tawtin.model.workload import Run
    from tawtin.ports import Entropy, Signer
    from tawtin.runtime.factory import Factory

LIVING: Final = (PeerState.ACTIVE, PeerState.LEAVING)


class Roaming:
    """Both sides of the handshake, for one life of the control plane."""

    def __init__(
        self,
        factory: Factory,
        signer: Signer,
        entropy: Entropy,
        *,
        incarnation: str = "0",
        fuse_stop_ms: int | None = None,
        started: Callable[[], Mapping[str, bool]] = dict,
    ) -> None:
        """Wire both sides.

        `incarnation` is that of the store when it was new; `fuse_stop_ms` is what the engine promises, None if it has
        no fuse; `started` says which runs the engine remembers, and whether they are over.
        """
        self.factory = factory
        self.post = Post(factory, signer, entropy, started)
        self.asking = Asking(self.post)
        self.lending = Lending(self.post, incarnation=incarnation, fuse_stop_ms=fuse_stop_ms)
        self.recalling = Recalling(self.post)
        self.asking.went_back = self.recalling.suspect

    @property
    def talks(self) -> bool:
        """Whether `take` has something."""
        return bool(self.post.outbox or self.lending.extend)

    def take(self) -> tuple[tuple[tuple[str, Message], ...], tuple[tuple[str, int], ...]]:
        """Hand out what is sent, and which leases go on, once what was staged with it is durable."""
        outbox, self.post.outbox = tuple(self.post.outbox), []
        extend, self.lending.extend = tuple(self.lending.extend), []
        return outbox, extend

    def resume(self) -> None:
        """Begin a life."""
        self.asking.resume()
        self.lending.resume()

    def due(self) -> None:
        """Do what is due; to be called often."""
        self.asking.due()
        self.lending.due()
        self.recalling.due()

    def next_due_ms(self) -> int | None:
        """The earliest time by the monotonic clock at which `due`, or a pass, has something to do; None for never."""
        times = (self.asking.next_due_ms(), self.lending.next_due_ms(), self.recalling.next_due_ms())
        return min((each for each in times if each is not None), default=None)

    def ask(self, decision: Decision) -> None:
        """After a pass: ask peers for workloads that do not start here soon."""
        self.asking.ask(decision)

    def stop(self, run: Run) -> None:
        """A run that is away is to end."""
        self.asking.stop(run)

    def fuse_ms(self, run: str) -> int | None:
        """When the engine ends a run of a guest by itself."""
        return self.lending.fuses.get(run)

    def promised(self) -> tuple[Promise, ...]:
        """Room that peers were promised for a moment."""
        return self.lending.promised()

    def ended(self, run: Run, event: RunEnded) -> tuple[Event, ...]:
        """What is recorded with the end of a run here, if it was a guest's."""
        return self.lending.ended(run, event)

    def needs(self, sender: str, message: Message) -> tuple[tuple[str, str], ...]:
        """Which rows `hear` wants to see, if the state does not have them: kind and id, as `rows.fetch` takes them."""
        state = self.factory.state
        if isinstance(message, FromVisited):
            run = run_id(message.workload, message.epoch - isinstance(message, Recalled))
            wanted = [] if run in state.runs else [("run", run)]
            return (
                *wanted,
                *(() if message.workload in state.workloads else (("workload", message.workload),)),
            )
        if isinstance(message, Recall):
            before = guest_key(sender, message.workload, message.epoch - 1)
            return ("guest", before), ("epochs", f"{sender}/{message.workload}")
        key = guest_key(sender, message.workload, message.epoch)
        return () if key in state.guests else (("guest", key),)

    def hear(self, sender: str, message: Message, rows: Mapping[tuple[str, str], Any]) -> None:
        """Take in one message of a peer, whose signature was checked. `rows` has what `needs` asked for and exists."""
        peer = self.factory.state.peers.get(sender)
        if peer is None or peer.state not in LIVING:
            return
        if isinstance(message, Reserved):
            self.asking.reserved(sender, message)
        elif isinstance(message, Refused):
            self.asking.refused(sender, message)
        elif isinstance(message, Recalled):
            if self.post.recalls:  # else an answer that comes late, or twice
                self._recalled(peer, message, rows)
        elif isinstance(message, FromVisited):
            self.asking.hear(peer, message, rows)
        else:
            self.lending.hear(peer, message, rows)

    def _recalled(self, peer: Peer, message: Recalled, rows: Mapping[tuple[str, str], Any]) -> None:
        """A peer tells what it knows of a workload, and how the last epoch ended that we know, if that is at it."""
        if message.receipt is not None and message.epoch > 1:
            receipt = message.receipt
            outcome = receipt.receipt.outcome
            said = Complete(
                workload=message.workload, epoch=message.epoch - 1, outcome=outcome, receipt=receipt
            )
            self.asking.hear(peer, said, rows)
        self.recalling.hear(peer.name, message)
