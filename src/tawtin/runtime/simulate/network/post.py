"""The network between factories: a message may be lost, late, repeated or overtaken; any direction may be cut."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from tawtin.model.roaming import Message
    from tawtin.runtime.simulate.network.clock import Time

LATE_MS_MAX: Final = 200_000
"""A late message may come after leases, restarts and settlement."""


@dataclass(order=True)
class Letter:
    """One copy of a message on its way."""

    due_ms: int
    number: int
    sender: str
    recipient: str
    message: Message


class Network:
    """What is on its way, and what is cut."""

    def __init__(self, time: Time, source: random.Random) -> None:
        self.time = time
        self.random = source
        self.loss = source.choice((0, 0, 5, 20))
        """In percent, as the following ones."""
        self.twice = source.choice((0, 5, 20))
        self.late = source.choice((0, 3, 15))
        self.delay_ms = source.choice((1, 20, 150, 1_500))
        self.cut: set[tuple[str, str]] = set()
        """Directions that nothing passes."""
        self.on_send: list[Callable[[str, str, Message], None]] = []
        self.fate: Callable[[str, str, Message], int | None] | None = None
        """Says how late a message comes, None for never; for histories that follow a script."""
        self.sent = 0
        self._letters: list[Letter] = []
        self._number = 0

    def clear(self) -> None:
        """No more faults; what is late still comes."""
        self.loss = self.twice = self.late = 0
        self.cut.clear()
        self.delay_ms = min(self.delay_ms, 20)

    def send(self, sender: str, recipient: str, message: Message) -> None:
        """Put copies of a message on their way."""
        self.sent += 1
        for watcher in self.on_send:
            watcher(sender, recipient, message)
        if self.fate is not None:
            delay_ms = self.fate(sender, recipient, message)
            if delay_ms is not None:
                self.push(sender, recipient, message, delay_ms)
            return
        draw = self.random
        for _ in range(2 if draw.randrange(100) < self.twice else 1):
            if (sender, recipient) in self.cut or draw.randrange(100) < self.loss:
                continue
            delay = draw.randrange(self.delay_ms + 1)
            if draw.randrange(100) < self.late:
                delay += draw.randrange(LATE_MS_MAX)
            self.push(sender, recipient, message, delay)

    def push(self, sender: str, recipient: str, message: Message, delay_ms: int) -> None:
        """Let a message arrive after this delay."""
        self._number += 1
        heappush(self._letters, Letter(self.time.ms + delay_ms, self._number, sender, recipient, message))

    def next_ms(self) -> int | None:
        """When the next letter arrives."""
        return self._letters[0].due_ms if self._letters else None

    def is_due(self) -> bool:
        """Whether any letter arrives by now."""
        return bool(self._letters) and self._letters[0].due_ms <= self.time.ms

    def arrived(self) -> list[Letter]:
        """The letters that arrive by now. A cut swallows what is on its way as well."""
        found: list[Letter] = []
        while self._letters and self._letters[0].due_ms <= self.time.ms:
            letter = heappop(self._letters)
            if (letter.sender, letter.recipient) not in self.cut:
                found.append(letter)
        return found
