"""Identifiers: a prefix that names the kind, then 26 characters that sort by time of making.

The characters are Crockford base32, lower case: 48 bits of milliseconds UTC, then 80 bits drawn by the caller.
"""

from __future__ import annotations

from typing import Final

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_ID_CHARS: Final = 26
RANDOM_BITS: Final = 80


def make_id(prefix: str, now_ms: int, random: int) -> str:
    """Return `<prefix>-<26 characters>`.

    `now_ms` is milliseconds UTC below 2^48; `random` holds `RANDOM_BITS` bits. Raises ValueError outside of those.
    """
    if not 0 <= now_ms < 1 << 48 or not 0 <= random < 1 << RANDOM_BITS:
        msg = f"an id takes 48 bits of time and {RANDOM_BITS} bits of randomness, got {now_ms} and {random}"
        raise ValueError(msg)
    number = now_ms << RANDOM_BITS | random
    digits: list[str] = []
    for _ in range(_ID_CHARS):
        number, digit = divmod(number, 32)
        digits.append(_ALPHABET[digit])
    return f"{prefix}-{''.join(reversed(digits))}"


def made_ms(id: str) -> int | None:
    """When an id was made, milliseconds UTC; None for what is no id of `make_id`."""
    digits = id.rpartition("-")[2]
    if len(digits) != _ID_CHARS or not set(digits) <= set(_ALPHABET):
        return None
    number = 0
    for digit in digits:
        number = number * 32 + _ALPHABET.index(digit)
    return number >> RANDOM_BITS


def run_id(workload_id: str, epoch: int) -> str:
    """Return the name under which an engine knows one epoch of a workload: `<workload>.<epoch>`."""
    return f"{workload_id}.{epoch}"


def workload_of(run: str) -> str:
    """Return the workload id inside a run id."""
    return run.rpartition(".")[0]
