"""Models that the gateway serves, as callers of the API see them, and what was used of them."""

from __future__ import annotations

from typing import Annotated

import msgspec

from tawtin.model.base import Record
from tawtin.model.money import Minor

Country = Annotated[str, msgspec.Meta(pattern="^[A-Z]{2}$")]
"""ISO 3166-1 alpha-2."""


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
    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    estimated: int = 0
    """Requests whose tokens are an estimate, as no replica said how many they were."""
    cost_micro: int = 0
    """Price in millionths of a minor unit of the factory's currency: tokens times the price of a million."""
