"""When a peer may have what is lent to it: one stretch of each day, UTC, that may go over midnight."""

from __future__ import annotations

from typing import Final

DAY_MS: Final = 86_400_000
_MINUTE_MS: Final = 60_000


def is_open(hours: str, now_ms: int) -> bool:
    """Whether it is within the stretch `hours` ("20:00-06:00"; "" for always)."""
    return not hours or _left_ms(hours, now_ms) > 0


def refusal(hours: str, lasts_ms: int | None, now_ms: int) -> str:
    """Why what runs for at most `lasts_ms` may not begin now; empty if it may. It has to be over when they are."""
    if not hours:
        return ""
    left_ms = _left_ms(hours, now_ms)
    if lasts_ms is not None and lasts_ms <= left_ms:
        return ""
    begin, end = hours.split("-")
    lent = f"NotNow: lent to you from {begin} to {end} UTC"
    return f"{lent}, of which {left_ms // 1000} s are left; say `max_duration`" if left_ms else lent


def _left_ms(hours: str, now_ms: int) -> int:
    """How long the stretch still lasts; 0 outside of it. One that ends when it begins is the whole day."""
    begin, end = (_of(part) for part in hours.split("-"))
    lasts = (end - begin) % DAY_MS or DAY_MS
    return max(0, lasts - (now_ms - begin) % DAY_MS)


def _of(text: str) -> int:
    hour, minute = text.split(":")
    return (int(hour) * 60 + int(minute)) * _MINUTE_MS
