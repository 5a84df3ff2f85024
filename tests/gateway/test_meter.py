"""Streams are read the same however they are cut into pieces, in time that grows with their length alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tawtin.gateway.worker.meter import StreamMeter, TooLong

WORDS = [
    b'{"choices":[{"delta":{"content":"salam"}}],"usage":null}',
    b'{"choices":[{"delta":{"content":"a\\n"}}]}',
]
COUNT = b'{"choices":[],"usage" : {"prompt_tokens":7,"completion_tokens":3}}'
BREAKS = st.sampled_from([b"\n\n", b"\r\n\r\n", b"\r\r"])


@given(
    words=st.lists(st.sampled_from(WORDS), max_size=6),
    breaks=st.lists(BREAKS, min_size=8, max_size=8),
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=30),
    strip=st.booleans(),
)
def test_events_are_the_same_however_they_are_cut(
    words: list[bytes], breaks: list[bytes], cuts: list[int], *, strip: bool
) -> None:
    events = [b"data: " + word + end for word, end in zip([*words, COUNT, b"[DONE]"], breaks, strict=False)]
    raw = b"".join(events)
    meter, passed, at, number = StreamMeter(1_000, strip=strip), b"", 0, 0
    while at < len(raw):
        step = cuts[number % len(cuts)]
        passed += meter.feed(raw[at : at + step])
        at, number = at + step, number + 1
    assert passed == b"".join(each for each in events if not (strip and COUNT in each))
    assert (meter.said, meter.done) == ((7, 3), True)


def test_an_event_in_tiny_pieces_is_held_once_and_no_longer_than_it_may_be() -> None:
    meter = StreamMeter(1 << 20, strip=True)
    for _ in range(1 << 20):
        assert meter.feed(b"x") == b""
    with pytest.raises(TooLong):
        meter.feed(b"x")
