"""Where a request may go: looked up in the snapshot each time that a replica is about to get it, never judged here.

A request can be under way for minutes. What allowed a place when it came may be over, withdrawn or replaced by the time
that another replica is tried, so that nobody keeps a list of places that were lawful once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from tawtin.core.route import Tier
from tawtin.gateway.worker.http import Problem
from tawtin.model.rules import DATA_CLASSES

if TYPE_CHECKING:
    from tawtin.gateway.snapshot import Key, Replica, Snapshot
    from tawtin.gateway.worker.http import Head

_NEVER_MS: Final = 1 << 62


class Wish(NamedTuple):
    """All that says where a request may go."""

    tenant: str
    model: str
    data_class: str
    purpose: str


class Places(NamedTuple):
    """Where a request may go now, and why it may not go elsewhere."""

    replicas: list[Replica]
    tiers: list[Tier]
    """Of each of them."""
    refused: list[str]
    """Why others of the factory's own may not have it, a sentence each."""
    kept_out: list[str]
    """The same of external providers."""
    starts: list[Replica]
    """Where it may go once a service that rests or starts has a replica."""
    until_ms: int
    """When the first verdict among those that allow a place ends."""


def wish_of(snapshot: Snapshot, key: Key, model: str, head: Head) -> Wish:
    """What a request asks for. Raises Problem if a header has no meaning."""
    if key.batch is not None:
        return Wish(key.tenant, model, key.batch.data_class, key.batch.purpose)
    data_class = head.text(b"x-tawtin-class") or snapshot.class_default
    purpose = head.text(b"x-tawtin-purpose")
    if data_class not in DATA_CLASSES:
        known = ", ".join(DATA_CLASSES)
        raise Problem(400, f"`x-tawtin-class` has to be one of {known}", code="invalid_class")
    if purpose and purpose not in snapshot.purposes:
        known = ", ".join(snapshot.purposes) or "none"
        raise Problem(400, f"no rule knows this `x-tawtin-purpose`; known: {known}", code="invalid_purpose")
    return Wish(key.tenant, model, data_class, purpose)


def places(snapshot: Snapshot | None, wish: Wish, at_ms: int) -> Places:
    """The replicas that may have it now; none if nobody knows what is allowed."""
    found = Places([], [], [], [], [], _NEVER_MS)
    holder = snapshot.tenants.get(wish.tenant) if snapshot is not None else None
    model = snapshot.models.get(wish.model) if snapshot is not None else None
    if snapshot is None or holder is None or model is None:
        return found
    permits = snapshot.profiles[holder.profile].permits.get(f"{wish.data_class}/{wish.purpose}", {})
    ends_ms = _NEVER_MS
    for replica in (*model.replicas, *model.asleep):
        permit = permits.get(replica.id)
        if permit is None:
            why = f"nobody has judged {replica.country}"
        elif not permit.allowed:
            why = permit.why
        elif permit.not_after_ms is not None and at_ms >= permit.not_after_ms:
            why = f"what allowed a replica in {replica.country} is out of date"
        elif replica.provider and not holder.external:
            why = "this tenant may not use external providers; the operator can allow it"
        elif not replica.url:
            found.starts.append(replica)
            ends_ms = min(ends_ms, permit.not_after_ms or _NEVER_MS)
            continue
        else:
            found.replicas.append(replica)
            found.tiers.append(Tier(bool(replica.provider), replica.country != holder.home, replica.priority))
            ends_ms = min(ends_ms, permit.not_after_ms or _NEVER_MS)
            continue
        if replica.provider:
            found.kept_out.append(f"the external provider {replica.provider} in {replica.country}: {why}")
        else:
            found.refused.append(why)
    return found._replace(until_ms=ends_ms)


def check_any(found: Places, wish: Wish) -> None:
    """Raise Problem with the words of the rules if it may go nowhere."""
    if found.replicas or found.starts:
        return
    why = "; ".join(dict.fromkeys((*found.refused, *found.kept_out))) or "it has no replica"
    raise Problem(
        403,
        f"no replica of `{wish.model}` may have `{wish.data_class}` data of this tenant: {why}",
        code="no_lawful_replica",
    )


def waits(found: Places) -> bool:
    """Whether it should wait until a service has started: external providers are the last resort."""
    return bool(found.starts) and all(tier.external for tier in found.tiers)


def not_asked(found: Places) -> str:
    """What to add where no replica answers: which external provider could have, and why it was not asked."""
    if not found.kept_out:
        return ""
    return "; not asked: " + "; ".join(dict.fromkeys(found.kept_out))
