"""How long is waited for a first byte, and how many second requests there may be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tawtin.core.hedge import Budget, FirstBytes, patience_ms


@given(st.integers(0, 100), st.lists(st.booleans(), max_size=400))
def test_second_requests_never_exceed_their_share(percent: int, steps: list[bool]) -> None:
    budget, requests, taken = Budget(percent), 0, 0
    for slow in steps:
        requests += 1
        budget.count()
        taken += slow and budget.take()
        assert taken * 100 <= requests * percent
    if all(steps):
        assert taken == requests * percent // 100, "and none that is allowed is held back"


def test_a_long_quiet_time_saves_up_ten_and_no_more() -> None:
    budget = Budget(5)
    for _ in range(10_000):
        budget.count()
    assert sum(budget.take() for _ in range(100)) == 10


@given(st.lists(st.integers(0, 50), max_size=300), st.integers(1, 100))
def test_a_percentile_is_the_nearest_rank_of_the_newest(times: list[int], percent: int) -> None:
    known = FirstBytes()
    for each in times:
        known.add(each)
    newest = sorted(times[-128:])
    got = known.percentile(percent)
    if len(newest) < 16:
        assert got is None
        return
    assert got in newest
    below = [each for each in newest if each < (got or 0)]
    assert len(below) * 100 < percent * len(newest) <= 100 * sum(each <= (got or 0) for each in newest)


def test_a_second_one_waits_for_what_is_set_and_for_what_is_usual() -> None:
    fresh, known = FirstBytes(), FirstBytes()
    for each in range(100):
        known.add(each)
    assert patience_ms(0, 0, known) == 0
    assert patience_ms(0, 95, fresh) == 0, "nothing is usual yet"
    assert patience_ms(30, 95, fresh) == 30
    assert patience_ms(0, 95, known) == 94
    assert patience_ms(200, 95, known) == 200
