"""What people write for time, processors, memory and money, as integers. Functions raise ValueError with a sentence.

Processors, memory and disk are rounded up into classes, so that a queue of many workloads has few distinct shapes.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from functools import lru_cache
from itertools import pairwise
from typing import Final

from tawtin.model.codes import EXPONENTS
from tawtin.spec.errors import shown

DURATION_MS_MAX: Final = 10 * 366 * 86_400_000
CPUS_MILLI_MAX: Final = 4_096_000
MEMORY_MIB_MAX: Final = 1 << 30
MINOR_MAX: Final = 10**15


def _classes(first: int, last: int) -> tuple[int, ...]:
    found: list[int] = []
    step = first
    while step <= last:
        found.append(step)
        if step % 2 == 0:
            found.append(step // 2 * 3)
        step *= 2
    return tuple(each for each in found if each <= last)


CPU_CLASSES_MILLI: Final = (250, 500, *_classes(1000, CPUS_MILLI_MAX))
"""A quarter, a half, then 1, 1.5, 2, 3, 4, 6, 8, 12, 16 ... processors."""
MEMORY_CLASSES_MIB: Final = _classes(128, MEMORY_MIB_MAX)
"""128, 192, 256, 384, 512, 768 MiB, then 1, 1.5, 2, 3, 4, 6, 8, 12, 16 ... GiB."""


def class_of(value: int, classes: tuple[int, ...]) -> int:
    """Return the smallest class that holds `value`, which is no larger than the largest class."""
    return classes[bisect_left(classes, value)]


_NUMBER = r"(\d{1,12})(?:\.(\d{1,6}))?"
_CPUS = re.compile(_NUMBER + r"(m?)(\+?)", re.ASCII)
_SIZE = re.compile(_NUMBER + r"\s*([kmgtp]i?b?|b)?(\+?)", re.ASCII | re.IGNORECASE)
_UNITS: Final = {
    "b": 1,
    "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "p": 10**15,
    "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30, "ti": 1 << 40, "pi": 1 << 50,
}  # fmt: skip


def _micro(whole: str, fraction: str | None) -> int:
    return int(whole) * 10**6 + (int(fraction.ljust(6, "0")) if fraction else 0)


@lru_cache(maxsize=1024)
def cpus_milli(text: str) -> int:
    """Return thousandths of a processor: `4`, `0.5`, `500m`; `4+` says at least, and gets the class that holds it."""
    match = _CPUS.fullmatch(text)
    if not match:
        raise ValueError(f"{shown(text)} is no number of processors; write `4`, `4+` or `0.5`")
    scale = 10**6 if match[3] else 10**3
    milli = -(-_micro(match[1], match[2]) // scale)
    if not 0 < milli <= CPUS_MILLI_MAX:
        raise ValueError(f"{shown(text)} processors is outside of 0.001 to {CPUS_MILLI_MAX // 1000}")
    return class_of(milli, CPU_CLASSES_MILLI)


@lru_cache(maxsize=1024)
def size_mib(text: str) -> int:
    """Return MiB, rounded up: `16` and `16Gi` are gibibytes, `16GB` are 16 * 10^9 bytes; `16+` says at least."""
    match = _SIZE.fullmatch(text)
    if not match:
        raise ValueError(f"{shown(text)} is no size; write `16` (GiB), `16+`, `512MB` or `16Gi`")
    unit = (match[3] or "gi").lower()
    unit = unit[:-1] if len(unit) > 1 and unit.endswith("b") else unit
    mib = -(-_micro(match[1], match[2]) * _UNITS[unit] // (10**6 << 20))
    if not 0 < mib <= MEMORY_MIB_MAX:
        raise ValueError(f"{shown(text)} is outside of 1 MiB to {MEMORY_MIB_MAX >> 20} TiB")
    return class_of(mib, MEMORY_CLASSES_MIB)


_PART = re.compile(r"(\d{1,12})(ms|[wdhms])", re.ASCII)
_PARTS = re.compile(r"(?:\d{1,12}(?:ms|[wdhms])\s*)+", re.ASCII)
_CLOCK = re.compile(r"(\d{1,6}):([0-5]\d):([0-5]\d)", re.ASCII)
_ISO = re.compile(
    r"P(?:(\d{1,9})W)?(?:(\d{1,9})D)?(?:T(?=\d)(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9})S)?)?", re.ASCII
)
_MS: Final = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}


@lru_cache(maxsize=1024)
def duration_ms(text: str) -> int:
    """Return milliseconds: `90` (seconds), `2h30m`, `1d`, `1:30:00` (h:m:s), `PT2H30M` (ISO 8601)."""
    ms = _duration_ms(text.strip())
    if ms is None:
        raise ValueError(
            f"{shown(text)} is no duration; write `90` (seconds), `2h30m`, `1:30:00` or `PT2H30M`"
        )
    if ms > DURATION_MS_MAX:
        raise ValueError(f"{shown(text)} is longer than ten years")
    return ms


def _duration_ms(text: str) -> int | None:
    if text.isascii() and text.isdigit() and len(text) <= 12:
        return int(text) * 1000
    if _PARTS.fullmatch(text):
        parts = _PART.findall(text)
        order = [_MS[unit] for _, unit in parts]
        falling = all(above > below for above, below in pairwise(order))
        return sum(int(count) * _MS[unit] for count, unit in parts) if falling else None
    if match := _CLOCK.fullmatch(text):
        return (int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3])) * 1000
    if (match := _ISO.fullmatch(text)) and any(match.groups()):
        return sum(int(count or 0) * _MS[unit] for count, unit in zip(match.groups(), "wdhms", strict=True))
    return None


_MONEY = re.compile(r"(\d{1,15})(?:\.(\d{1,4}))?\s*([A-Za-z]{3})", re.ASCII)


@lru_cache(maxsize=1024)
def money(text: str) -> tuple[int, str]:
    """Return (minor units, ISO 4217 code) of `500 MAD` or `12.50 USD`, exactly."""
    match = _MONEY.fullmatch(text.strip())
    if not match:
        raise ValueError(f"{shown(text)} is no amount; write it with its currency, such as `500 MAD`")
    code = match[3].upper()
    exponent = EXPONENTS.get(code)
    if exponent is None:
        raise ValueError(f"{shown(match[3])} is no ISO 4217 currency; write a code such as `MAD` or `ZAR`")
    fraction = match[2] or ""
    if len(fraction) > exponent:
        raise ValueError(f"{shown(text)} is finer than {code} has it: {exponent} digits after the point")
    minor = int(match[1]) * 10**exponent + int((fraction or "0").ljust(exponent, "0") if exponent else 0)
    if minor > MINOR_MAX:
        raise ValueError(f"{shown(text)} is more than {MINOR_MAX} minor units")
    return minor, code


_SPAN = re.compile(r"(\d{1,6})(?:-(\d{1,6})(?::(\d{1,6}))?)?", re.ASCII)
ARRAY_MAX: Final = 10_000


def array_indices(text: str) -> tuple[int, ...]:
    """Return the sorted indices that `0-3`, `1,4,7` or `0-10:2` name. A bare `4` is index 4."""
    found: set[int] = set()
    if "%" in text:
        raise ValueError(
            f"{shown(text)} limits how many run at a time, which is not done here: remove `%` and what follows; "
            "quota and fair share limit a tenant"
        )
    for part in text.split(","):
        match = _SPAN.fullmatch(part.strip())
        if not match:
            raise ValueError(f"{shown(text)} names no indices; write `0-3` or `1,4,7`")
        first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
        if last < first or step < 1:
            raise ValueError(f"{shown(part)} counts down or stands still; write the lower index first")
        if (last - first) // step >= ARRAY_MAX:
            raise ValueError(f"an array has at most {ARRAY_MAX} members; submit several")
        found.update(range(first, last + 1, step))
        if len(found) > ARRAY_MAX:
            raise ValueError(f"an array has at most {ARRAY_MAX} members; submit several")
    return tuple(sorted(found))
