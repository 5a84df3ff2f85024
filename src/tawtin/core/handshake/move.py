"""What a step of the handshake comes to."""

from __future__ import annotations

from dataclasses import dataclass

from tawtin.model.events import Event
from tawtin.model.roaming import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Events that become durable in one transaction, and what follows once they are."""

    events: tuple[Event, ...] = ()
    send: tuple[Message, ...] = ()
    """To whoever the message came from."""
    heard: bool = False
    """Home: the peer knows about the epoch, so that the commit need not be sent again."""
    granted: bool = False
    """Home: the timer of the lease starts anew, before anything is sent."""
    drop: bool = False
    """Visited: the reservation is gone, in this very step."""
    extend_ms: int | None = None
    """Visited: the later deadline that was granted, on its own clock."""
    alarm: str = ""
    """What an operator has to hear of."""
    back: bool = False
    """Home: the alarm is that its own store was put back from a backup."""


NOTHING = Move()
