"""When a lease is over, by two clocks that are each a little wrong. All in integer milliseconds.

Visited measures a lease from the moment at which it SENT what home granted, and rounds down. Home waits from the moment
at which it grants, and rounds up. As a grant comes after its request was sent, the delay of messages does not appear.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tawtin.model.roaming import Terms

MILLION: Final = 1_000_000
SHORTEST_MS: Final = 1_000
"""Signs of life come no faster, and a reservation that was made has to be heard of."""


def unsound(terms: Terms) -> str:
    """Why nothing can run under these terms; empty if it can."""
    if 4 * terms.ttl_ms > terms.lease_ms:
        return "a reservation is held for more than a quarter of a lease"
    if terms.stop_ms >= terms.lease_ms:
        return "a lease is over before a run under it could be ended"
    if min(terms.renew_ms, terms.ttl_ms) < SHORTEST_MS:
        return f"less than {SHORTEST_MS} ms between signs of life, or to take up a reservation"
    return ""


def wait_ms(lease_ms: int, *, home_ppm: int, visited_ppm: int) -> int:
    """How long home waits by its own clock until a lease of `lease_ms` by the visited's clock is surely over.

    Clocks go wrong by at most so many parts per million. Raises ValueError for a clock that may stand still.
    """
    if not 0 <= visited_ppm < MILLION or home_ppm < 0:
        msg = f"a clock error of {visited_ppm} and {home_ppm} parts per million gives no bound"
        raise ValueError(msg)
    return -(-lease_ms * (MILLION + home_ppm) // (MILLION - visited_ppm)) + 1


def deadline_ms(stamp_ms: int, lease_ms: int, stop_ms: int) -> int:
    """When the visited factory begins to end a run whose lease was asked for at `stamp_ms` of its own clock."""
    return stamp_ms + lease_ms - stop_ms


def renew_every_ms(lease_ms: int, stop_ms: int) -> int:
    """How often a lease is renewed."""
    return max(1, (lease_ms - stop_ms) // 3)
