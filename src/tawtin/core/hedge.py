"""When a second replica is asked as well: after a pause that few answers need, and only for a share of requests.

The first answer wins, so that one slow replica is not everybody's wait (Dean and Barroso, The Tail at Scale, 2013). As
all replicas are slow when there is too much to do, the share bounds what that adds.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from typing import Final

_WHOLE: Final = 100
_SAVED_MAX: Final = 10
"""Second requests that a quiet time can save up."""
_WINDOW: Final = 128
_ENOUGH: Final = 16
"""Times, before anything is said of them."""


class Budget:
    """How many second requests there may be: at no time more than a share of all requests so far."""

    def __init__(self, percent: int) -> None:
        """`percent` of the requests; 0 allows none."""
        self._percent = percent
        self._credit = 0

    def count(self) -> None:
        """A request began."""
        self._credit = min(self._credit + self._percent, _SAVED_MAX * _WHOLE)

    def take(self) -> bool:
        """Whether a second one may be sent; if so, it is counted."""
        if self._credit < _WHOLE:
            return False
        self._credit -= _WHOLE
        return True


class FirstBytes:
    """How long a replica took, the newest times, until its answers began."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self._newest: deque[int] = deque()
        self._sorted: list[int] = []

    def add(self, ms: int) -> None:
        """Take in one; the oldest is forgotten."""
        self._newest.append(ms)
        insort(self._sorted, ms)
        if len(self._newest) > _WINDOW:
            oldest = self._newest.popleft()
            del self._sorted[bisect_left(self._sorted, oldest)]

    def percentile(self, percent: int) -> int | None:
        """The time that so many percent did not exceed (nearest rank), in ms; None while too few are known."""
        count = len(self._sorted)
        if count < _ENOUGH:
            return None
        return self._sorted[max(0, -(-percent * count // _WHOLE) - 1)]


def patience_ms(hedge_ms: int, percentile: int, times: FirstBytes) -> int:
    """How long to wait before a second replica is asked; 0 for ever. Never less than `hedge_ms` if that is set."""
    usual = times.percentile(percentile) if percentile else None
    return max(hedge_ms, usual or 0)
