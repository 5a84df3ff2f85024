"""Services as they are shown: to their tenants, to operators, and to whoever forwards requests to their replicas."""

from __future__ import annotations

from enum import StrEnum

from tawtin.model.base import Record


class Readiness(StrEnum):
    """Where a replica is."""

    WAITING = "waiting"
    """It has no run at the moment: it waits for room, or for its pause to be over."""
    STARTING = "starting"
    """Its run was not ready yet since it started, or since the control plane did."""
    READY = "ready"
    """It answered its last probe."""
    NOT_READY = "not_ready"
    """It did not answer its last probe, and had answered one before."""
    ENDING = "ending"
    """Its run is being stopped."""


class Replica(Record, frozen=True, kw_only=True):
    """One replica of a service."""

    workload: str
    replica: int
    revision: int
    readiness: Readiness
    since_ms: int
    """Since when it is so."""
    why: str = ""
    """What it waits for, or what came of its last probe."""
    run: str = ""
    """The run that it has; empty while it waits."""
    epoch: int = 0
    address: str = ""
    """Host and port at which it is reached from the factory; empty before its engine said so."""
    factory: str
    country: str
    """Where it runs, ISO 3166-1 alpha-2."""


class ServiceView(Record, frozen=True, kw_only=True):
    """A service: what rules ask about it, and its replicas."""

    tenant: str
    name: str
    revision: int
    """The newest one."""
    digest: str
    """Of the newest revision's spec."""
    replicas_wanted: int
    """Of the newest revision."""
    replicas_ready: int
    """Of any revision."""
    updating: bool
    """Whether replicas of earlier revisions are still there and not ending."""
    data_class: str
    origin: str = ""
    """Country whose law its data is under; empty for the factory's own."""
    purpose: str = ""
    replicas: tuple[Replica, ...]
