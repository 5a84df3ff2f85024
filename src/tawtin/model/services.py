"""Services as they are shown: to their tenants, to operators, and to whoever forwards requests to their replicas."""

from __future__ import annotations

from enum import StrEnum

from tawtin.model.base import Record
from tawtin.model.workload import Scaling


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
    """Its run is being stopped, or gets no more requests and is stopped soon."""
    RESTING = "resting"
    """It has no run, as nobody asks its service."""


class Load(Record, frozen=True, kw_only=True):
    """What the gateway knows of the requests of a service. Sums are since the control plane started."""

    in_flight: int = 0
    """Requests that are with replicas now, and those that wait until there is one."""
    arrived: int = 0
    """Sum of requests that replicas were given."""
    tokens: int = 0
    """Sum of tokens of requests and answers."""
    waited_ms: int = 0
    """Sum of how long streams took to begin, from when the gateway had the request."""
    began: int = 0
    """Sum of streams that are in `waited_ms`."""
    open: dict[str, int] = {}
    """Run -> requests that it has now."""


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
    rests: bool = False
    """Whether no run is started until somebody asks its service."""
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
    scaling: Scaling | None = None
    """Of the newest revision: how the number follows the load."""
    why: str = ""
    """What the load asks for, and why; empty where nothing follows it."""
    replicas_ready: int
    """Of any revision."""
    updating: bool
    """Whether replicas of earlier revisions are still there and not ending."""
    data_class: str
    origin: str = ""
    """Country whose law its data is under; empty for the factory's own."""
    purpose: str = ""
    replicas: tuple[Replica, ...]
