"""When a peer may have what is lent to it: one stretch of each day, UTC, that may go over midnight."""

from __future__ import annotations

from typing import Final

DAY_MS: Final = 86_400_000
_MINUTE_MS: Final = 60_000


def left_ms(hours: str, now_ms: int) -> int | None:
    """How long the stretch `hours` ("20:00-06:00") still lasts: 0 outside of it, None if there is none ("")."""
    if not hours:
        return None
    begin, end = (_of(part) for part in hours.split("-"))
    since = (now_ms - begin) % DAY_MS
    lasts = (end - begin) % DAY_MS or DAY_MS
    return max(0, lasts - since)


def _of(text: str) -> int:
    hour, minute = text.split(":")
    return (int(hour) * 60 + int(minute)) * _MINUTE_MS
