"""How many replicas a service gets: within its bounds, as many as the load needs, neither too soon nor for a moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tawtin.core.scale import KEPT_MS, Observation, Pending, advise
from tawtin.model.workload import Scaling

POLICY = Scaling(
    replicas_min=1, replicas_max=20, requests_milli=1_000, up_delay_ms=10_000, down_delay_ms=60_000
)
SECONDS = st.lists(st.integers(0, 40), min_size=1, max_size=400)


def follow(
    policy: Scaling, rates: list[int], have: int, open_of: Callable[[int], int] = lambda rate: rate
) -> Iterator[tuple[int, str]]:
    """The advice after each second of these rates; what is asked for is there at once."""
    history: list[Observation] = []
    pending, arrived = Pending(), 0
    for second, rate in enumerate(rates):
        arrived += rate
        seen = Observation(
            at_ms=1000 * second, in_flight=open_of(rate), arrived=arrived, ready=have, start_ms=120_000
        )
        history = [each for each in history if each.at_ms >= seen.at_ms - KEPT_MS] + [seen]
        said = advise(policy, history, have, pending)
        have, pending = said.replicas, said.pending
        yield have, said.why


@given(SECONDS, st.integers(0, 3), st.integers(3, 9), st.integers(0, 12), st.booleans())
def test_it_stays_within_its_bounds_whatever_the_load(
    rates: list[int], least: int, most: int, have: int, by_open: bool
) -> None:
    target = {"in_flight_milli": 2_000, "requests_milli": 0} if by_open else {}
    policy = replace(POLICY, replicas_min=least, replicas_max=most, **target)
    assert all(least <= number <= most for number, _ in follow(policy, rates, have))


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 4))
def test_a_load_that_stays_ends_with_what_it_needs_and_stays_there(have: int, rate: int, target: int) -> None:
    said = list(follow(replace(POLICY, requests_milli=1000 * target), [rate] * 400, have))
    want = -(-rate // target)
    assert {number for number, _ in said[200:]} == {want}
    changes = [number for (number, _), (before, _) in zip(said[1:], said, strict=False) if number != before]
    assert all(number >= want for number in changes) or have < want


@given(SECONDS)
def test_there_are_fewer_only_after_the_delay_in_which_no_more_were_needed(rates: list[int]) -> None:
    last_more, before = 0, 5
    for second, (number, _) in enumerate(follow(POLICY, rates, 5)):
        if number < before:
            assert second - last_more >= POLICY.down_delay_ms // 1000
        if number != before:
            last_more = second
        before = number


def test_what_rises_is_met_before_it_is_there_and_what_is_level_is_not_overdone() -> None:
    rising = [2 + second // 30 for second in range(240)]
    *_, (number, why) = follow(POLICY, rising, 2)
    assert number > rising[-1]
    assert "rising" in why
    *_, (number, why) = follow(POLICY, [9] * 240, 2)
    assert (number, why) == (9, "9 requests a second, 1 for each replica")


def test_requests_that_queue_ask_for_more_even_if_none_arrive_faster() -> None:
    policy = replace(POLICY, requests_milli=0, in_flight_milli=4_000)
    *_, (number, why) = follow(policy, [1] * 60, 1, lambda _: 22)
    assert (number, why) == (6, "22 requests in flight, 4 for each replica")


def test_nobody_asks_and_it_rests_and_the_first_request_wakes_it_at_once() -> None:
    policy = replace(POLICY, replicas_min=0, up_delay_ms=300_000)
    said = [number for number, _ in follow(policy, [1] * 10 + [0] * 200 + [1], 1)]
    assert said[10 + 60] == 1
    assert said[-2:] == [0, 1]


def test_answers_that_begin_too_late_ask_for_one_more_once_what_starts_is_ready() -> None:
    policy = replace(POLICY, requests_milli=0, wait_ms=1_000, up_delay_ms=0)
    first = Observation(at_ms=0)
    late = Observation(at_ms=60_000, in_flight=3, arrived=9, waited_ms=18_000, began=9, ready=2)
    assert advise(policy, [first, late], 2, Pending()).replicas == 3
    assert advise(policy, [first, late], 3, Pending()).replicas == 3
    assert "after 2000 ms" in advise(policy, [first, late], 3, Pending()).why
