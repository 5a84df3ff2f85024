"""Models that the gateway serves, as callers of the API see them, and what was used of them."""

from __future__ import annotations

from typing import Annotated

import msgspec

from tawtin.model.base import Record
from tawtin.model.money import Minor

Country = Annotated[str, msgspec.Meta(pattern="^[A-Z]{2}$")]
"""ISO 3166-1 alpha-2."""
Count = Annotated[int, msgspec.Meta(ge=0)]


class ModelView(Record, frozen=True, kw_only=True):
    """A model of the catalogue."""

    name: str
    licence: str = ""
    origin: str = ""
    """ISO 3166-1 alpha-2 of where it was made; empty where nobody has said."""
    languages: tuple[str, ...] = ()
    context_tokens_max: int
    currency: str
    input_minor_per_million: Minor = 0
    output_minor_per_million: Minor = 0
    countries: tuple[str, ...] = ()
    """Where its replicas stand."""
    providers: tuple[str, ...] = ()
    """External providers among them: the last resort, for tenants that may use them."""


class ReplicaView(Record, frozen=True, kw_only=True):
    """One server of a model, and how it does by all workers of the gateway."""

    id: str
    model: str
    url: str
    country: str
    provider: str = ""
    """The external provider that runs it; empty for the factory's own."""
    priority: int = 0
    """The operator's order: lower is asked first."""
    open: int = 0
    """Requests that are with it now."""
    requests: int = 0
    """Requests that it answered since the workers started."""
    failures: int = 0
    """Tries that failed since the workers started."""
    hedges: int = 0
    """Requests that it got as well, as another one took long over its answer."""
    shut: int = 0
    """Workers that leave it alone for now, as it failed several times in a row."""
    workers: int = 0
    """Workers that told of it."""


class EndpointsView(Record, frozen=True, kw_only=True):
    """The gateway: where it listens, what it serves, and what serves it."""

    url: str
    """Base address of its OpenAI-compatible API, such as `http://127.0.0.1:8480/v1`."""
    workers: int
    """Worker processes that run now."""
    models: tuple[ModelView, ...] = ()
    replicas: tuple[ReplicaView, ...] = ()
    """For admins alone."""


class Settlement(Record, frozen=True, kw_only=True):
    """What became of one request, as the ledger keeps it. Its JSON, keys sorted, is a leaf of a charge's tree.

    No field has a default, so that all of them are always in the leaf.
    """

    ledger: str
    """The life of the ledger, from one start to its end, in which it was settled."""
    seq: int
    """Its number in that life, from 1."""
    receipt: str
    tenant: str
    month: str
    """`YYYY-MM` (UTC), when it was reserved."""
    model: str
    country: str
    """Where it was answered; empty where nobody knows of an answer."""
    provider: str
    """The external provider that answered; empty for the factory's own."""
    tokens_in: int
    tokens_out: int
    estimated: bool
    cost_micro: int


class TokensUsed(Record, frozen=True, kw_only=True):
    """What one tenant used of one model in one calendar month (UTC), from settled requests."""

    tenant: str
    month: str
    """`YYYY-MM`."""
    model: str
    country: str
    """Where it was answered, ISO 3166-1 alpha-2; empty for what no replica was reached for."""
    provider: str = ""
    """The external provider that answered; empty for the factory's own."""
    requests: Count = 0
    tokens_in: Count = 0
    tokens_out: Count = 0
    estimated: Count = 0
    """Requests whose tokens are an estimate, as no replica said how many they were."""
    cost_micro: Count = 0
    """Price in millionths of a minor unit of the factory's currency: tokens times the price of a million."""


class Charge(Record, frozen=True, kw_only=True):
    """What a ledger settled since the last charge, in the order of settlement, summed up."""

    ledger: str
    """The life of the ledger: 16 hexadecimal digits, drawn at each start."""
    after: Count
    """The number of the last settlement that was charged before, or 0."""
    up_to: Count
    """The number of the last one in here."""
    missing: Count = 0
    """So many of them the ledger had given up before they were charged: they are in no account."""
    lines: tuple[TokensUsed, ...] = ()
    """By tenant, month, model, country and provider, ascending."""
    root: str
    """Of the Merkle tree (RFC 9162) whose leaves are the settlements in their order, hexadecimal. A receipt is proven
    to be in here by its settlement and a few hashes, without telling of any other."""


class Charged(Record, frozen=True, kw_only=True):
    """How far the settlements of one life of a ledger are in the accounts."""

    ledger: str
    seq: Count
    """The last one that is."""
    missing: Count = 0
    """Of those up to it, the ones that are in no account."""
    entry: Count = 0
    """The entry of the log that said so last."""
    instead_of: str = ""
    """The life that this ledger should have known and did not: its file was lost, or an older copy was put back."""
