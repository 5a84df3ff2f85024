"""What all parts of the simulation share: what can be violated, how a violation is told, and virtual time."""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

START_MS: Final = 1_793_491_200_000
"""When simulated factories start: 2026-11-01 00:00 UTC, so that months end within long runs of a skewed clock."""


class Invariant(StrEnum):
    """What must hold in every history. The names are those of the modules in `invariants`."""

    RESIDENCY = "residency"
    EXECUTION = "execution"
    LOSS = "loss"
    USAGE = "usage"
    LIMITS = "limits"
    EVIDENCE = "evidence"
    PLAN = "plan"
    SOUND = "sound"
    """No part of the factory raises what it should not."""


class Violation(Exception):
    """An invariant does not hold. The message says what was seen; the world adds the seed and the last events."""

    def __init__(self, invariant: Invariant, message: str) -> None:
        """Keep which one, and what was seen."""
        super().__init__(f"{invariant}: {message}")
        self.invariant = invariant


class Crash(BaseException):
    """The control plane's process dies here. Not an Exception, so that nothing on the way catches it."""


class SimClock:
    """Virtual time. True time only goes on; what the wall clock shows may step back and jump."""

    def __init__(self) -> None:
        self.true_ms = 0
        self.error_ms = 0
        """What the wall clock shows beyond the true time."""

    def now_ms(self) -> int:
        """Milliseconds UTC as the wall clock shows them."""
        return START_MS + self.true_ms + self.error_ms

    def monotonic_ms(self) -> int:
        """Milliseconds of true time."""
        return self.true_ms

    def true_at(self, monotonic_ms: int) -> int:
        """The true time at which the monotonic clock shows this."""
        return monotonic_ms


class SimEntropy:
    """Seeded randomness."""

    def __init__(self, source: random.Random) -> None:
        self._source = source

    def bits(self, count: int) -> int:
        """`count` random bits."""
        return self._source.getrandbits(count)


class Trace:
    """The last things that happened, for whoever looks at a failure."""

    def __init__(self, size: int = 80) -> None:
        self._last: deque[tuple[int, str | Callable[[], str]]] = deque(maxlen=size)

    def note(self, clock: SimClock, words: str | Callable[[], str]) -> None:
        """Remember what happened; words that take long to find are found if somebody reads them."""
        self._last.append((clock.true_ms, words))

    def text(self) -> str:
        """All that is remembered, oldest first."""
        return "\n".join(
            f"{ms:>9} ms  {words if isinstance(words, str) else words()}" for ms, words in self._last
        )
