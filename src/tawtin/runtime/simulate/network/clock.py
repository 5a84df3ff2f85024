"""Clocks that go wrong by a constant rate, and the true time that only the simulation knows."""

from __future__ import annotations

from typing import Final

from tawtin.runtime.simulate.words import START_MS, SimClock

MILLION: Final = 1_000_000


class Time:
    """True time of a network."""

    def __init__(self) -> None:
        self.ms = 0


class DriftingClock(SimClock):
    """One factory's clocks: both go wrong by `ppm`, the wall clock by a constant error too."""

    def __init__(self, time: Time, ppm: int, error_ms: int) -> None:
        self._time = time
        self.ppm = ppm
        self.error_ms = error_ms

    @property
    def true_ms(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        """True time."""
        return self._time.ms

    def monotonic_ms(self) -> int:
        """What it shows of the time since the start."""
        return self._time.ms * (MILLION + self.ppm) // MILLION

    def now_ms(self) -> int:
        """Milliseconds UTC as this factory believes."""
        return START_MS + self.monotonic_ms() + self.error_ms

    def true_at(self, monotonic_ms: int) -> int:
        """The first true time at which the monotonic clock shows this."""
        return -(-monotonic_ms * MILLION // (MILLION + self.ppm))
