"""Who asks, and what somebody hears who asks for too much."""

from __future__ import annotations

import hmac
import time
from typing import TYPE_CHECKING, NamedTuple

from tawtin.core.keys import read_token
from tawtin.core.meter import month_of
from tawtin.gateway.worker.http import Problem

if TYPE_CHECKING:
    from tawtin.gateway.ledger.messages import Denied
    from tawtin.gateway.snapshot import Key, Snapshot
    from tawtin.gateway.worker.http import Head


class Caller(NamedTuple):
    """Who asks."""

    key_id: str
    key: Key

    @property
    def charged(self) -> str:
        """The id of the key that what it asks counts against: that which made it, if it is a pass."""
        if self.key.batch is not None:
            return self.key.batch.key
        return self.key.of or self.key_id


def now_ms() -> int:
    """Milliseconds UTC."""
    return time.time_ns() // 1_000_000


def caller_of(snapshot: Snapshot, head: Head) -> Caller:
    """Who asks. Raises Problem."""
    kind, _, token = head.text(b"authorization").partition(" ")
    read = read_token(token.strip()) if kind.lower() == "bearer" and len(token) < 512 else None
    key = snapshot.keys.get(read[0]) if read is not None else None
    if read is None or key is None or not hmac.compare_digest(read[1], key.sha256):
        raise Problem(
            401, "this key is unknown, expired, revoked, or may only read: ask for another one",
            code="invalid_api_key",
        )  # fmt: skip
    if key.expires_ms is not None and key.expires_ms <= now_ms():
        raise Problem(401, "this key is expired: ask for another one", code="invalid_api_key")
    return Caller(read[0], key)


def denied(said: Denied, at_ms: int) -> Problem:
    """What to say where a limit does not allow a request."""
    whose = "this tenant" if said.whose == "tenant" else "this key"
    if said.limit == "minor_per_month":
        return Problem(
            429,
            f"{whose} may spend {said.most} minor units in {month_of(at_ms)}, and this request could exceed that: "
            "ask the operator for more, or set a smaller `max_tokens`",
            code="insufficient_quota",
        )
    what = "requests" if said.limit == "requests_per_minute" else "tokens"
    return Problem(
        429,
        f"{whose} may use {said.most} {what} in a minute: wait {said.retry_ms} ms",
        code="rate_limit_exceeded",
        retry_ms=said.retry_ms,
    )
