"""Who asks, and which replicas may have what they send: looked up in the snapshot, never judged here."""

from __future__ import annotations

import hmac
import time
from typing import TYPE_CHECKING, NamedTuple

from tawtin.core.keys import read_token
from tawtin.core.meter import month_of
from tawtin.gateway.worker.http import Problem
from tawtin.model.rules import DATA_CLASSES

if TYPE_CHECKING:
    from tawtin.gateway.ledger.messages import Denied
    from tawtin.gateway.snapshot import Key, Model, Replica, Snapshot
    from tawtin.gateway.worker.http import Head


class Caller(NamedTuple):
    """Who asks."""

    key_id: str
    key: Key


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


def lawful_replicas(snapshot: Snapshot, caller: Caller, model: Model, head: Head) -> list[Replica]:
    """The replicas where it may be. Raises Problem with the rule's words if there is none."""
    data_class = head.text(b"x-tawtin-class") or snapshot.class_default
    purpose = head.text(b"x-tawtin-purpose")
    if data_class not in DATA_CLASSES:
        known = ", ".join(DATA_CLASSES)
        raise Problem(400, f"`x-tawtin-class` has to be one of {known}", code="invalid_class")
    if purpose and purpose not in snapshot.purposes:
        known = ", ".join(snapshot.purposes) or "none"
        raise Problem(400, f"no rule knows this `x-tawtin-purpose`; known: {known}", code="invalid_purpose")
    profile = snapshot.profiles[snapshot.tenants[caller.key.tenant].profile]
    permits = profile.permits.get(f"{data_class}/{purpose}", {})
    now, whys = now_ms(), list[str]()
    found: list[Replica] = []
    for replica in model.replicas:
        permit = permits.get(replica.id)
        if permit is None:
            whys.append(f"nobody has judged {replica.country}")
        elif not permit.allowed:
            whys.append(permit.why)
        elif permit.not_after_ms is not None and now >= permit.not_after_ms:
            whys.append(f"what allowed a replica in {replica.country} is out of date")
        else:
            found.append(replica)
    if not found:
        why = "; ".join(dict.fromkeys(whys)) or "it has no replica"
        raise Problem(
            403, f"no replica of `{model.name}` may have `{data_class}` data of this tenant: {why}",
            code="no_lawful_replica",
        )  # fmt: skip
    return found


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
