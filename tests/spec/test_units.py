"""Quantities as people write them, as exact integers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tawtin.model.codes import COUNTRIES, EXPONENTS
from tawtin.spec.units import (
    CPU_CLASSES_MILLI,
    MEMORY_CLASSES_MIB,
    array_indices,
    cpus_milli,
    duration_ms,
    money,
    size_mib,
)


@pytest.mark.parametrize(
    ("written", "want"),
    [
        ("90", 90_000), ("2h30m", 9_000_000), ("1d", 86_400_000), ("1w2d", 777_600_000), ("500ms", 500),
        ("1h 5s", 3_605_000),
        ("1:30:00", 5_400_000), ("PT2H30M", 9_000_000), ("P1DT1S", 86_401_000), ("P2W", 1_209_600_000), ("0", 0),
    ],
)  # fmt: skip
def test_durations(written: str, want: int) -> None:
    assert duration_ms(written) == want


@pytest.mark.parametrize(
    "written", ["", "soon", "2.5h", "5m2h", "1h1h", "-5", "PT", "P", "1:30", "1:75:00", "٣", "11y", "9999w"]
)
def test_what_is_no_duration_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match=r"write|ten years"):
        duration_ms(written)


@pytest.mark.parametrize(
    ("written", "want"),
    [
        ("4", 4000),
        ("4+", 4000),
        ("0.5", 500),
        ("500m", 500),
        ("5", 6000),
        ("0.1", 250),
        ("4.0", 4000),
        ("33", 48_000),
    ],
)
def test_processors_are_rounded_up_into_classes(written: str, want: int) -> None:
    assert cpus_milli(written) == want


@pytest.mark.parametrize(
    ("written", "want"),
    [
        ("16", 16_384), ("16+", 16_384), ("16GB", 16_384), ("16Gi", 16_384), ("16gib", 16_384),
        ("512MB", 512), ("1.5", 1536),
        ("100", 131_072), ("1TB", 1_048_576), ("1Ti", 1_048_576), ("1b", 128), ("17Gi+", 24_576),
    ],
)  # fmt: skip
def test_sizes_are_rounded_up_into_classes(written: str, want: int) -> None:
    assert size_mib(written) == want


@pytest.mark.parametrize(
    "written", ["", "0", "-1", "x", "4x", "1e3", "nan", "inf", "1,5", "9999999999999", "1.1234567"]
)
def test_what_is_no_quantity_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="`"):
        cpus_milli(written)
    with pytest.raises(ValueError, match="`"):
        size_mib(written)


@given(st.integers(1, MEMORY_CLASSES_MIB[-1]))
def test_a_class_holds_what_was_asked_and_at_most_half_as_much_again(mib: int) -> None:
    got = size_mib(f"{mib}Mi")
    assert got in MEMORY_CLASSES_MIB
    assert mib <= got <= max(128, mib * 3 // 2 + 1)


@given(st.integers(1, CPU_CLASSES_MILLI[-1]))
def test_few_classes_hold_any_number_of_processors(milli: int) -> None:
    got = cpus_milli(f"{milli}m")
    assert milli <= got <= max(250, milli * 2)
    assert len(CPU_CLASSES_MILLI) < 32


@pytest.mark.parametrize(
    ("written", "want"),
    [
        ("500 MAD", (50_000, "MAD")), ("12.50 USD", (1250, "USD")), ("12.5zar", (1250, "ZAR")),
        ("1000 XOF", (1000, "XOF")),
        ("1.234 TND", (1234, "TND")), ("0 KES", (0, "KES")), ("0.10 EGP", (10, "EGP")), ("0.1 NGN", (10, "NGN")),
    ],
)  # fmt: skip
def test_money_is_exact(written: str, want: tuple[int, str]) -> None:
    assert money(written) == want


@pytest.mark.parametrize(
    ("written", "want"),
    [
        ("500", "with its currency"),
        ("5 XYZ", "is no ISO 4217 currency"),
        ("1.5 XOF", "finer than XOF has it: 0 digits"),
        ("1.234 MAD", "finer than MAD has it: 2 digits"),
        ("-5 MAD", "is no amount"),
        ("1,000 MAD", "is no amount"),
        ("999999999999999 MAD", "minor units"),
    ],
)
def test_what_is_no_money_is_refused(written: str, want: str) -> None:
    with pytest.raises(ValueError, match=want):
        money(written)


@pytest.mark.parametrize(
    ("written", "want"),
    [("0-3", (0, 1, 2, 3)), ("1,4,7", (1, 4, 7)), ("0-10:5", (0, 5, 10)), ("3,1-2", (1, 2, 3)), ("4", (4,))],
)
def test_indices(written: str, want: tuple[int, ...]) -> None:
    assert array_indices(written) == want


@pytest.mark.parametrize(
    "written",
    ["", "a", "3-1", "0-3:0", "1-10%2", "0-999999", "1-2-3", "-1", "0-9000,9001-20000"],
)
def test_what_names_no_indices_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match=r"write|remove|submit"):
        array_indices(written)


def test_codes_are_complete() -> None:
    assert len(COUNTRIES) == 249
    assert {"MA", "ZA", "EG", "KE", "NG", "EH", "SS"} <= COUNTRIES
    want = {"MAD": 2, "ZAR": 2, "TND": 3, "XOF": 0, "EUR": 2, "KWD": 3, "JPY": 0}
    assert {code: EXPONENTS[code] for code in want} == want
