"""Amounts, durations, sizes and tables as people read them."""

from __future__ import annotations

import pytest

from tawtin.cli import output


@pytest.mark.parametrize(
    ("minor", "currency", "want"),
    [(1250, "MAD", "12.50 MAD"), (5, "MAD", "0.05 MAD"), (1250, "XOF", "1250 XOF"), (1250, "TND", "1.250 TND"),
     (-1, "MAD", "-0.01 MAD"), (0, "JPY", "0 JPY")],
)  # fmt: skip
def test_money_has_as_many_digits_as_its_currency(minor: int, currency: str, want: str) -> None:
    assert output.amount(minor, currency) == want


@pytest.mark.parametrize(
    ("milliseconds", "want"),
    [(0, "0ms"), (999, "999ms"), (1000, "1s"), (61_000, "1m1s"), (120_000, "2m"), (3_600_000, "1h"),
     (90_000_000, "1d1h"), (-5, "0ms")],
)  # fmt: skip
def test_a_duration_has_its_two_largest_units(milliseconds: int, want: str) -> None:
    assert output.span(milliseconds) == want


@pytest.mark.parametrize(
    ("count", "want"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1 << 40, "1.0 TiB"), (1 << 52, "4096.0 TiB")],
)
def test_a_size_has_a_binary_unit(count: int, want: str) -> None:
    assert output.size(count) == want


def test_a_table_is_aligned_and_shows_no_control_characters_of_others() -> None:
    shown = output.columns(["A", "B"], [["x", "evil\x1b[2Jname"], ["longer", ""]])
    assert shown == "A       B\nx       evil�[2Jname\nlonger"
