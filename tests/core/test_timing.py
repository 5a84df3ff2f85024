"""The lease by two wrong clocks, against exact fractions."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tawtin.core.handshake import timing

PPM = st.integers(0, 500_000)
LEASES = st.integers(1, 10**9)


def test_the_figure_of_the_protocol():
    assert timing.wait_ms(60_000, home_ppm=10_000, visited_ppm=10_000) == 61_214


@given(LEASES, PPM, PPM)
def test_home_waits_the_least_whole_millisecond_above_the_bound(lease_ms: int, home: int, there: int):
    exact = Fraction(lease_ms * (10**6 + home), 10**6 - there)
    assert timing.wait_ms(lease_ms, home_ppm=home, visited_ppm=there) == ceil(exact) + 1


@given(LEASES, PPM, PPM, st.fractions(-1, 1), st.fractions(-1, 1), st.integers(0, 10**6))
def test_whatever_the_clocks_do_within_their_errors_the_lease_is_over_before_home_goes_on(
    lease_ms: int, home: int, there: int, home_error: Fraction, there_error: Fraction, delay_ms: int
):
    """Visited asks at true time 0, home grants after the delay; rates are anywhere within the agreed errors."""
    home_rate = 1 + home_error * Fraction(home, 10**6)
    there_rate = 1 + there_error * Fraction(there, 10**6)
    over_there = Fraction(lease_ms) / there_rate
    home_goes_on = delay_ms + timing.wait_ms(lease_ms, home_ppm=home, visited_ppm=there) / home_rate
    assert over_there < home_goes_on


@pytest.mark.parametrize(("home", "there"), [(0, 10**6), (-1, 0), (0, 2 * 10**6)])
def test_clocks_without_a_bound_are_refused(home: int, there: int):
    with pytest.raises(ValueError, match="gives no bound"):
        timing.wait_ms(1000, home_ppm=home, visited_ppm=there)


def test_a_deadline_counts_from_the_request_and_leaves_time_to_stop():
    assert timing.deadline_ms(5_000, 60_000, 15_000) == 50_000
    assert timing.renew_every_ms(60_000, 15_000) == 15_000
    assert timing.renew_every_ms(10, 10) == 1
