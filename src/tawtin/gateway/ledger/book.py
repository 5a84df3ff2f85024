"""The decisions of the ledger, without input or output: what is held, what was used, and what still may be.

Money is counted by calendar month (UTC), from the moment of the reservation: what is held at its highest price, and
what was settled. Requests and tokens are counted over the last 60 seconds. One `Book` decides for all workers, one
request after the other, so that limits hold exactly: what is held and settled never exceeds one, unless a replica
made more tokens than the request could come to by its estimate.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from tawtin.core.meter import MICRO, month_of
from tawtin.gateway.ledger.messages import Denied, Reserve, Settle
from tawtin.gateway.settings import Limits

MINUTE_MS: Final = 60_000


class Held:
    """A reservation that is not settled."""

    __slots__ = ("entries", "month", "reserve", "worker")

    def __init__(self, reserve: Reserve, worker: str, month: str) -> None:
        """Keep it."""
        self.reserve = reserve
        self.worker = worker
        self.month = month
        self.entries: list[tuple[Window, list[int]]] = []
        """Where its tokens are counted."""


class Window:
    """A sum over the last 60 seconds."""

    __slots__ = ("entries", "total")

    def __init__(self) -> None:
        """Start with nothing."""
        self.entries: deque[list[int]] = deque()
        """[when, how much]."""
        self.total = 0

    def expire(self, now_ms: int) -> None:
        """Forget what is older than a minute."""
        entries = self.entries
        while entries and entries[0][0] <= now_ms - MINUTE_MS:
            self.total -= entries.popleft()[1]

    def add(self, now_ms: int, amount: int) -> list[int]:
        """Count so much; the entry can be corrected later."""
        entry = [now_ms, amount]
        self.entries.append(entry)
        self.total += amount
        return entry

    def correct(self, entry: list[int], amount: int, now_ms: int) -> None:
        """Let an entry be another amount, if it still counts."""
        self.expire(now_ms)
        if self.entries and entry[0] >= self.entries[0][0]:
            self.total += amount - entry[1]
            entry[1] = amount

    def room_ms(self, amount: int, most: int, now_ms: int) -> int:
        """After how long `amount` more will fit: 0 if it does now, a minute if it never does."""
        self.expire(now_ms)
        over = self.total + amount - most
        if over <= 0:
            return 0
        for when, much in self.entries:
            over -= much
            if over <= 0:
                return max(1, when + MINUTE_MS - now_ms)
        return MINUTE_MS


class Book:
    """What is held and used by tenants and keys."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.held: dict[str, Held] = {}
        """By receipt."""
        self.micro: dict[tuple[str, str, str], int] = {}
        """(`tenant` or `key`, id, month) -> what is settled and held."""
        self._requests: dict[tuple[str, str], Window] = {}
        self._tokens: dict[tuple[str, str], Window] = {}

    def restore(self, reserve: Reserve, worker: str, at_ms: int) -> None:
        """Take in a reservation that was made before a restart."""
        self._hold(reserve, worker, at_ms)

    def restore_spent(self, whose: str, id: str, month: str, micro: int) -> None:
        """Take in what was settled before a restart."""
        self.micro[whose, id, month] = self.micro.get((whose, id, month), 0) + micro

    def restore_recent(self, tenant: str, key: str, at_ms: int, tokens: int) -> None:
        """Take in a settled request of the last minute. Times must not fall."""
        for subject in (("tenant", tenant), ("key", key)):
            self._window(self._requests, subject).add(at_ms, 1)
            self._window(self._tokens, subject).add(at_ms, tokens)

    def reserve(self, asked: Reserve, worker: str, now_ms: int) -> Denied | None:
        """Hold what is asked for, or say which limit does not allow it."""
        if asked.receipt in self.held:
            return None
        month = month_of(now_ms)
        for whose, id, limits in (
            ("tenant", asked.tenant, asked.tenant_limits),
            ("key", asked.key, asked.key_limits),
        ):
            refusal = self._beyond(asked, whose, id, limits, month, now_ms)
            if refusal is not None:
                return refusal
        self._hold(asked, worker, now_ms)
        return None

    def _beyond(
        self, asked: Reserve, whose: str, id: str, limits: Limits, month: str, now_ms: int
    ) -> Denied | None:
        def denied(limit: str, most: int, retry_ms: int) -> Denied:
            return Denied(receipt=asked.receipt, limit=limit, whose=whose, most=most, retry_ms=retry_ms)

        most = limits.minor_per_month
        if most is not None and self.micro.get((whose, id, month), 0) + asked.micro_max > most * MICRO:
            return denied("minor_per_month", most, 0)
        for limit, most, windows, amount in (
            ("requests_per_minute", limits.requests_per_minute, self._requests, 1),
            ("tokens_per_minute", limits.tokens_per_minute, self._tokens, asked.tokens_max),
        ):
            if most is not None:
                wait_ms = self._window(windows, (whose, id)).room_ms(amount, most, now_ms)
                if wait_ms:
                    return denied(limit, most, wait_ms)
        return None

    def _hold(self, asked: Reserve, worker: str, now_ms: int) -> None:
        held = self.held[asked.receipt] = Held(asked, worker, month_of(now_ms))
        for subject in (("tenant", asked.tenant), ("key", asked.key)):
            place = (*subject, held.month)
            self.micro[place] = self.micro.get(place, 0) + asked.micro_max
            requests = self._window(self._requests, subject)
            requests.expire(now_ms)
            requests.add(now_ms, 1)
            tokens = self._window(self._tokens, subject)
            tokens.expire(now_ms)
            held.entries.append((tokens, tokens.add(now_ms, asked.tokens_max)))

    def settle(self, said: Settle, now_ms: int) -> Held | None:
        """Put what was used in the place of what was held; None if that was done before, or never held."""
        held = self.held.pop(said.receipt, None)
        if held is None:
            return None
        asked = held.reserve
        for subject in (("tenant", asked.tenant), ("key", asked.key)):
            self.micro[*subject, held.month] += said.micro - asked.micro_max
        for window, entry in held.entries:
            window.correct(entry, said.tokens_in + said.tokens_out, now_ms)
        return held

    def lost(self, worker: str, going_on: frozenset[str] = frozenset()) -> list[Settle]:
        """How to settle what this worker held and nobody will: the price of the request, and nothing of an answer."""
        return [
            Settle(
                receipt=receipt,
                tokens_in=held.reserve.tokens_in,
                micro=held.reserve.micro_in,
                estimated=True,
                cause="worker_lost",
            )
            for receipt, held in list(self.held.items())
            if held.worker == worker and receipt not in going_on
        ]

    def workers(self) -> set[str]:
        """Those that hold something."""
        return {held.worker for held in self.held.values()}

    @staticmethod
    def _window(windows: dict[tuple[str, str], Window], subject: tuple[str, str]) -> Window:
        found = windows.get(subject)
        if found is None:
            found = windows[subject] = Window()
        return found
