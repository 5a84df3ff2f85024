"""What both sides of roaming share: the outbox, when something is said again, and what is asked of the state."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tawtin.model.events import RunEnded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tawtin.core.handshake.move import Move
    from tawtin.model.roaming import Message
    from tawtin.model.workload import Workload
    from tawtin.ports import Entropy, Signer
    from tawtin.runtime.factory import Factory

log = logging.getLogger("tawtin.roaming")
AGAIN_MS: Final = 2_000
"""A message that has to arrive is sent again after this time, then after twice that, and so on."""
AGAIN_MS_MAX: Final = 60_000


@dataclass(slots=True)
class Again:
    """When something is said again."""

    at_ms: int
    pause_ms: int = AGAIN_MS


class Post:
    """The outbox of one life of the control plane."""

    def __init__(
        self,
        factory: Factory,
        signer: Signer,
        entropy: Entropy,
        started: Callable[[], Mapping[str, bool]] = dict,
    ) -> None:
        self.started = started
        """Which runs the engine remembers, and whether they are over."""
        self.factory = factory
        self.signer = signer
        self.entropy = entropy
        self.outbox: list[tuple[str, Message]] = []
        self.alarms: list[str] = []
        """What operators have to look at; the latest hundred."""
        self._again: dict[str, Again] = {}

    @property
    def recalls(self) -> bool:
        """Whether peers are asked for what they know of us, so that nothing of ours goes abroad meanwhile."""
        restored = self.factory.state.restored
        return restored is not None and not restored.over

    def unrecorded(self) -> bool:
        """Whether anything runs here that the store knows nothing of; it is being stopped."""
        runs = self.factory.state.runs
        return any(not over and run not in runs for run, over in self.started().items())

    def tick_ms(self) -> int:
        """Our clock for leases and pauses."""
        return self.factory.clock.monotonic_ms()

    def make(self, peer: str, move: Move) -> list[str]:
        """Stage what a move makes true, then line up what is said. Returns the runs of ours that it ended."""
        over: list[str] = []
        if move.alarm:
            self.alarm(move.alarm)
        for event in move.events:
            if isinstance(event, RunEnded):
                kept = self.factory.kept(self.factory.state.runs[event.run], event.outputs)
                self.factory.stage(event, *kept)
                over.append(event.run)
            else:
                self.factory.stage(event)
        self.outbox.extend((peer, said) for said in move.send)
        return over

    def alarm(self, text: str) -> None:
        """Let operators know."""
        log.error("%s", text)
        self.alarms = [*self.alarms[-99:], text]

    def lawful_at(self, workload: Workload, peer: str) -> tuple[bool, int | None]:
        """Whether a workload of ours may be at a peer, and until when that holds."""
        site = self.factory.state.sites.get(peer)
        if site is None or workload.tenant not in self.factory.state.tenants:
            return False, None
        said = self.factory.state.verdict(workload, site, self.factory.now_ms())
        return said.allowed, said.not_after_ms

    def begin(self, key: str, after_ms: int = 0) -> None:
        """Something has to be said from now on until it is heard."""
        self._again[key] = Again(self.tick_ms() + after_ms)

    def is_due(self, key: str) -> bool:
        """Whether it is to be said again now."""
        again = self._again.get(key)
        if again is None:
            again = self._again[key] = Again(0)
        return again.at_ms <= self.tick_ms()

    def due_ms(self, key: str) -> int:
        """When it is to be said again, by our monotonic clock; 0 if it was never said."""
        again = self._again.get(key)
        return again.at_ms if again is not None else 0

    def pause(self, key: str) -> None:
        """It was said; wait longer each time."""
        again = self._again.setdefault(key, Again(0))
        again.at_ms = self.tick_ms() + again.pause_ms
        again.pause_ms = min(2 * again.pause_ms, AGAIN_MS_MAX)

    def forget(self, key: str) -> None:
        """It was heard."""
        self._again.pop(key, None)
