"""Hours of lending: what may begin, and what has to be over."""

from __future__ import annotations

import pytest

from tawtin.core.hours import is_open, refusal

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
NIGHT = "20:00-06:00"


@pytest.mark.parametrize(
    ("hours", "hour", "opened"),
    [
        ("", 12, True), (NIGHT, 19, False), (NIGHT, 20, True), (NIGHT, 23, True), (NIGHT, 0, True), (NIGHT, 5, True),
        (NIGHT, 6, False), ("09:00-17:00", 8, False), ("09:00-17:00", 9, True), ("09:00-17:00", 17, False),
        ("00:00-00:00", 0, True), ("12:00-12:00", 3, True),
    ],
)  # fmt: skip
def test_the_stretch_may_go_over_midnight(hours: str, hour: int, opened: bool):
    assert is_open(hours, 20_000 * DAY_MS + hour * HOUR_MS) is opened


@pytest.mark.parametrize(
    ("hour", "lasts_h", "why"),
    [
        (23, 7, ""), (23, 8, "25200 s are left"), (23, None, "say `max_duration`"), (5, 1, ""),
        (5, 2, "3600 s are left"), (12, 1, "from 20:00 to 06:00 UTC"),
    ],
)  # fmt: skip
def test_what_begins_is_over_when_they_are(hour: int, lasts_h: int | None, why: str):
    lasts_ms = None if lasts_h is None else lasts_h * HOUR_MS
    said = refusal(NIGHT, lasts_ms, hour * HOUR_MS)
    assert why in said
    assert bool(said) is bool(why)
    assert refusal("", lasts_ms, hour * HOUR_MS) == ""
