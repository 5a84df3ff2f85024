"""The real clock and the real randomness."""

from __future__ import annotations

import secrets
import time


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        """Milliseconds UTC."""
        return time.time_ns() // 1_000_000

    def monotonic_ms(self) -> int:
        """Milliseconds since the machine started, suspended time counted where the system can."""
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class SystemEntropy:
    """The machine's secure randomness."""

    def bits(self, count: int) -> int:
        """`count` random bits."""
        return secrets.randbits(count)
