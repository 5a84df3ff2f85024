"""What workers know of the factory: keys, models, and for each sort of tenant, class and purpose where data may be.

The control plane judges; a worker looks up. A snapshot that is not there, cannot be read or is older than
`stale_ms` lets nothing through, and a verdict counts until its own date.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from tawtin.core.meter import SCALE
from tawtin.gateway.settings import Limits, TenantSettings
from tawtin.model.base import Record
from tawtin.model.resources import Demand, Shape
from tawtin.model.rules import DATA_CLASSES, Facts
from tawtin.model.site import Site
from tawtin.model.tenant import Scope, Tenant
from tawtin.model.workload import Data, WorkloadSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tawtin.core.residency import Judge
    from tawtin.core.state import State
    from tawtin.gateway.settings import GatewaySettings, ModelSettings, ReplicaSettings

FILE: Final = "snapshot.json"
FRESH: Final = "fresh"
"""Its time is when the factory last said that the snapshot is what it knows."""
_NOTHING: Final = Demand(options=(Shape(),))
_ASKING: Final = (Scope.SUBMIT, Scope.TENANT, Scope.ADMIN)


class Replica(Record, frozen=True, kw_only=True):
    """A server of a model. Whatever runs one, an operator or the factory itself, says this of it."""

    id: str
    """Unique in the snapshot, and the same as long as it is the same server."""
    url: str
    country: str
    facts: Facts = Facts()
    key_file: str = ""
    model: str = ""
    """What it calls the model; empty for the catalogue's name."""
    provider: str = ""
    """Who runs it, if that is an external provider: it is the last resort."""
    priority: int = 0
    """Lower is asked first."""
    requests_max: int = 0
    """Of one worker at one time; 0 for as many as connections."""
    service: str = ""
    """The service that it belongs to, as `tenant/name`; empty for what an operator named."""


class Model(Record, frozen=True, kw_only=True):
    """A model and its servers."""

    name: str
    licence: str = ""
    origin: str = ""
    languages: tuple[str, ...] = ()
    context_tokens_max: int
    input_minor_per_million: int = 0
    output_minor_per_million: int = 0
    batch_percent: int = 50
    """What a request of a batch costs of that."""
    replicas: tuple[Replica, ...] = ()
    asleep: tuple[Replica, ...] = ()
    """Of each service that follows its load and has no ready replica, where one would stand; without an address."""


class Permit(Record, frozen=True, kw_only=True):
    """A verdict about one place."""

    allowed: bool
    why: str = ""
    """The sentence of the verdict, if it is refused."""
    not_after_ms: int | None = None


class Profile(Record, frozen=True, kw_only=True):
    """What the rules see in a tenant. Tenants that are alike to them share one."""

    permits: dict[str, dict[str, Permit]]
    """`class/purpose` -> replica -> verdict."""


class Holder(Record, frozen=True, kw_only=True):
    """A tenant."""

    profile: int
    limits: Limits = Limits()
    external: bool = False
    """Whether external providers may have what it sends."""
    log_content: bool = False
    """Whether what it says and hears is kept."""
    home: str = ""
    """Its country, or else the factory's: replicas there come first."""


class BatchPass(Record, frozen=True, kw_only=True):
    """What is special about the key that the job of a batch has: only the control plane makes such keys."""

    key: str
    """The id of the key that made the batch: its limits hold, and the pass ends with it."""
    model: str
    """The one that it may ask."""
    data_class: str
    """Of its requests, whatever they say."""
    purpose: str = ""


class Key(Record, frozen=True, kw_only=True):
    """A key that may ask models."""

    tenant: str
    sha256: str
    expires_ms: int | None = None
    limits: Limits = Limits()
    batch: BatchPass | None = None
    """Of the job of a batch, which pays a lower price."""
    of: str = ""
    """The id of the key in whose name this one asks, if the control plane made it for somebody who is signed in: its
    limits hold, it is charged, and the pass ends with it."""
    person: bool = False
    """Whether `of` names a person who is signed in without a key: the tenant's limits hold, and those for the name."""


class Snapshot(Record, frozen=True, kw_only=True):
    """All of it."""

    factory: str
    country: str
    made_ms: int
    class_default: str
    purposes: tuple[str, ...] = ()
    """Those that some rule speaks of."""
    models: dict[str, Model] = {}
    profiles: tuple[Profile, ...] = ()
    tenants: dict[str, Holder] = {}
    keys: dict[str, Key] = {}
    until_ms: int = 1 << 62
    """The first moment at which a verdict in it ends."""


Ready = Callable[[str, str], Iterable[tuple[str, str]]]
"""Of a tenant's service: run and address (host and port) of each replica that is ready now."""
MayStart = Callable[[str, str], bool]
"""Of a tenant's service: whether a request makes it start if it has no replica."""


def models_of(
    models: Mapping[str, ModelSettings],
    site: Site,
    ready: Ready = lambda _tenant, _name: (),
    batch_percent: int = 50,
    may_start: MayStart = lambda _tenant, _name: False,
) -> dict[str, Model]:
    """The catalogue as the settings have it, with the replicas of services that are ready."""
    found: dict[str, Model] = {}
    for name, each in sorted(models.items()):
        replicas: list[Replica] = []
        asleep: list[Replica] = []
        for number, one in enumerate(each.replicas):
            if one.service:
                here = _of_service(name, one, site, ready)
                replicas += here
                if not here and may_start(*one.service.split("/", 1)):
                    asleep.append(_replica(one, site, f"{name}@{one.service}", ""))
                continue
            country = one.country or site.country
            own = site.facts if country == site.country and not one.external else Facts()
            replicas.append(
                Replica(
                    id=f"{name}#{number}",
                    url=one.url.rstrip("/"),
                    country=country,
                    facts=one.facts if one.facts is not None else own,
                    key_file=one.key_file,
                    model=one.model,
                    provider=one.external,
                    priority=one.priority,
                    requests_max=one.requests_max,
                )
            )
        found[name] = Model(
            name=name,
            licence=each.licence,
            origin=each.origin,
            languages=each.languages,
            context_tokens_max=each.context_tokens_max,
            input_minor_per_million=each.input_minor_per_million,
            output_minor_per_million=each.output_minor_per_million,
            batch_percent=batch_percent if each.batch_percent is None else each.batch_percent,
            replicas=tuple(replicas),
            asleep=tuple(asleep),
        )
    return found


def _of_service(model: str, one: ReplicaSettings, site: Site, ready: Ready) -> list[Replica]:
    tenant, _, name = one.service.partition("/")
    return [
        _replica(one, site, f"{model}#{run}", f"http://{address}") for run, address in ready(tenant, name)
    ]


def _replica(one: ReplicaSettings, site: Site, id: str, url: str) -> Replica:
    return Replica(
        id=id,
        url=url,
        country=site.country,
        facts=site.facts,
        model=one.model,
        priority=one.priority,
        requests_max=one.requests_max,
        service=one.service,
    )


def make_snapshot(
    state: State,
    judge: Judge,
    models: dict[str, Model],
    gateway: GatewaySettings,
    now_ms: int,
    passes: Mapping[str, Key] | None = None,
) -> Snapshot:
    """Judge every place for every sort of tenant, class and purpose. Pure."""
    purposes = (
        "",
        *sorted({p for pack in judge.packs.values() for rule in pack.rules for p in rule.purposes}),
    )
    replicas = [
        replica for name in sorted(models) for replica in (*models[name].replicas, *models[name].asleep)
    ]
    profiles: dict[object, int] = {}
    made: list[Profile] = []
    tenants: dict[str, Holder] = {}
    until_ms = 1 << 62
    for id in sorted(state.tenants):
        tenant = state.tenants[id]
        if tenant.closed:
            continue
        sort = (tenant.kind, tenant.country, tenant.sectors, tenant.authorisations, tenant.residency)
        if sort not in profiles:
            profiles[sort] = len(made)
            profile, ends_ms = _profile(judge, tenant, replicas, purposes, state.site, now_ms)
            until_ms = min(until_ms, ends_ms)
            made.append(profile)
        own = gateway.tenants.get(id, TenantSettings())
        limits = _limits(state, own.limits or gateway.limits, tenant, now_ms)
        tenants[id] = Holder(
            profile=profiles[sort],
            limits=limits,
            external=own.external,
            log_content=own.log_content,
            home=tenant.country or state.site.country,
        )
    keys = {
        key.id: Key(
            tenant=key.tenant,
            sha256=key.secret_sha256,
            expires_ms=key.expires_ms,
            limits=gateway.keys.get(key.id, Limits()),
        )
        for _, key in sorted(state.keys.items())
        if key.revoked_ms is None and key.tenant in tenants and key.scope in _ASKING
    }
    for id, each in (passes or {}).items():
        if each.person:
            if each.tenant in tenants:
                keys[id] = msgspec.structs.replace(each, limits=gateway.keys.get(each.of, Limits()))
            continue
        made_by = keys.get(each.batch.key if each.batch is not None else each.of)
        if made_by is not None and made_by.tenant == each.tenant:
            keys[id] = msgspec.structs.replace(each, expires_ms=made_by.expires_ms, limits=made_by.limits)
    return Snapshot(
        factory=state.site.name,
        country=state.site.country,
        made_ms=now_ms,
        class_default=gateway.class_default,
        purposes=purposes[1:],
        models=models,
        profiles=tuple(made),
        tenants=tenants,
        keys=keys,
        until_ms=until_ms,
    )


def _profile(
    judge: Judge, tenant: Tenant, replicas: list[Replica], purposes: tuple[str, ...], site: Site, now_ms: int
) -> tuple[Profile, int]:
    """The verdicts about a sort of tenant, and the first moment at which one of them ends."""
    places: dict[object, Site] = {}
    until_ms = 1 << 62
    permits: dict[str, dict[str, Permit]] = {}
    for data_class in DATA_CLASSES:
        for purpose in purposes:
            spec = WorkloadSpec(
                name="request",
                run="true",
                demand=_NOTHING,
                data=Data(data_class=data_class, purpose=purpose),
            )
            row = permits[f"{data_class}/{purpose}"] = dict[str, Permit]()
            for replica in replicas:
                what = msgspec.json.encode([replica.country, replica.facts], order="sorted")
                if what not in places:
                    # named by all that a verdict depends on, as the judge remembers verdicts by name
                    places[what] = Site(
                        name=f"a replica in {replica.country}", country=replica.country, facts=replica.facts
                    )
                verdict = judge.verdict(spec, tenant, places[what], now_ms, home=site.country)
                ends_ms = verdict.not_after_ms
                row[replica.id] = Permit(
                    allowed=verdict.allowed,
                    why="" if verdict.allowed else verdict.sentence,
                    not_after_ms=ends_ms,
                )
                if ends_ms is not None:
                    until_ms = min(until_ms, ends_ms)
    return Profile(permits=permits), until_ms


def _limits(state: State, limits: Limits, tenant: Tenant, now_ms: int) -> Limits:
    """The limits of a tenant; what its runs cost this month up to now is taken off its budget.

    What requests cost is not: the ledger holds all of it against the limit, as it knows of more than is charged.
    """
    budget = tenant.quota.budget_minor_per_month
    if budget is None:
        return limits
    left = max(0, budget * SCALE - state.spent_on_runs(tenant.id, now_ms)) // SCALE
    if limits.minor_per_month is not None:
        left = min(left, limits.minor_per_month)
    return msgspec.structs.replace(limits, minor_per_month=left)


def write_snapshot(folder: Path, snapshot: Snapshot) -> None:
    """Put it where workers look, whole or not at all; for this user's eyes only. Raises OSError."""
    temporary = folder / f".{FILE}.{os.getpid()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(snapshot))
    temporary.rename(folder / FILE)


def say_fresh(folder: Path) -> None:
    """Say that the snapshot is what the factory knows now."""
    with contextlib.suppress(OSError):
        (folder / FRESH).touch(mode=0o600)


class SnapshotReader:
    """The newest snapshot as a worker has it."""

    def __init__(self, folder: Path, stale_ms: int) -> None:
        """Read nothing yet."""
        self.path = folder / FILE
        self.fresh = folder / FRESH
        self.stale_ms = stale_ms
        self.held: Snapshot | None = None
        self._seen: tuple[int, int, int] | None = None
        self._fresh_ms = 0

    def look(self) -> bool:
        """Read it again if it was written anew; whether it was. What cannot be read is as if it were not there."""
        try:
            found = self.path.stat()
            self._fresh_ms = self.fresh.stat().st_mtime_ns // 1_000_000
            seen = (found.st_ino, found.st_size, found.st_mtime_ns)
            if seen == self._seen and self.held is not None:
                return False
            self.held = msgspec.json.decode(self.path.read_bytes(), type=Snapshot)
            self._seen = seen
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            self.held, self._seen = None, None
        return True

    def current(self, now_ms: int) -> Snapshot | None:
        """The snapshot, unless it is too old to act on."""
        if self.held is None or abs(now_ms - self._fresh_ms) > self.stale_ms:
            return None
        return self.held
