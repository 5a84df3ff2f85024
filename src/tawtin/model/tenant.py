"""Tenants, their quotas and their keys."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from tawtin.model.base import Record
from tawtin.model.rules import Authorisation
from tawtin.model.workload import Residency

Limit = Annotated[int, msgspec.Meta(ge=0)] | None
"""None means no limit."""


class TenantKind(StrEnum):
    """What the law sees in a tenant."""

    PRIVATE = "private"
    PUBLIC_BODY = "public_body"
    VITAL_INFRASTRUCTURE = "vital_infrastructure"
    STUDENT = "student"


class Quota(Record, frozen=True, kw_only=True):
    """What a tenant may hold at one time."""

    gpus: Limit = None
    cpus_milli: Limit = None
    memory_mib: Limit = None
    runs: Limit = None
    """Runs at one time."""
    workloads: Limit = 1_000_000
    """Unfinished workloads at one time, waiting ones included."""
    weight: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 100
    """Fair share is proportional to it."""
    priority_max: Annotated[int, msgspec.Meta(ge=-1000, le=1000)] = 100
    budget_minor_per_month: Limit = None


class Tenant(Record, frozen=True, kw_only=True):
    """Who pays and owns."""

    id: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
    name: str = ""
    kind: TenantKind = TenantKind.PRIVATE
    country: str = ""
    """ISO 3166-1 alpha-2: where it is established; empty for the factory's own country."""
    sectors: tuple[str, ...] = ()
    """What rules bind it as, besides its kind: `financial`, `telecom`, `civil_registration`."""
    authorisations: tuple[Authorisation, ...] = ()
    """Documents that rules may ask for. An operator records them; a tenant cannot grant itself one."""
    owner: bool = False
    """The factory's own tenant; without a sandbox, the only one that may run work."""
    number: int = 0
    """Small and never reused: from it an engine derives the user id that runs the tenant's work."""
    network: bool = False
    """Whether its workloads may ask for the network."""
    school: str = ""
    """The tenant whose teachers may look at its workspaces; empty for none."""
    course: str = ""
    """The classroom that it belongs to; empty for none."""
    residency: Residency = Residency()
    quota: Quota = Quota()
    closed: bool = False
    created_ms: int = 0
    version: int = 1


class Scope(StrEnum):
    """What a key may do. Each includes those before it within its tenant; `admin` and `audit` alone cross tenants."""

    AUDIT = "audit"
    """Read the evidence about all tenants, never what is theirs: no logs of runs, no files, no answers of models."""
    READ = "read"
    """See all of the own tenant."""
    SUBMIT = "submit"
    TENANT = "tenant"
    """Manage the tenant's own keys."""
    ADMIN = "admin"
    """Operate the factory: tenants, quotas, nodes, everybody's workloads."""


class ApiKey(Record, frozen=True, kw_only=True):
    """A key as it is kept: never its secret."""

    id: str
    tenant: str
    name: str = ""
    scope: Scope = Scope.SUBMIT
    secret_sha256: str
    """SHA-256 of the secret part, hexadecimal; the secret holds 256 bits, so a slow hash adds nothing."""
    created_ms: int = 0
    expires_ms: int | None = None
    revoked_ms: int | None = None
    version: int = 1


class Tokens(Record, frozen=True, kw_only=True):
    """What was asked of one model."""

    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    estimated: int = 0
    """Requests whose tokens are an estimate."""
    cost_micro: int = 0
    """Millionths of a minor unit."""


class Spent(Record, frozen=True, kw_only=True):
    """What runs in one country used, and requests that were answered there."""

    runs: int = 0
    gpu_ms: int = 0
    """Of all models."""
    cpu_ms: int = 0
    bytes: int = 0
    """In and out."""
    requests: int = 0
    """For models."""
    tokens: int = 0
    """Of those requests and their answers."""


class Account(Record, frozen=True, kw_only=True):
    """What a tenant used in one calendar month (UTC), from ended runs and from settled requests for models."""

    tenant: str
    month: str
    """`YYYY-MM`."""
    runs: int = 0
    wall_ms: int = 0
    cpu_ms: int = 0
    gpu_ms: dict[str, int] = {}
    """By GPU model."""
    bytes_in: int = 0
    bytes_out: int = 0
    energy_mj: int = 0
    cost_minor: int = 0
    """Of runs, in minor units."""
    models: dict[str, Tokens] = {}
    """By model."""
    tokens_micro: int = 0
    """Price of all those tokens, in millionths of a minor unit: it is beside `cost_minor`, not in it."""
    places: dict[str, Spent] = {}
    """By the country (ISO 3166-1 alpha-2) that runs were in and requests were answered in, where that is known."""
    version: int = 1
