"""What callers send: the bodies and the query parameters of the API, read by the server and written by the client."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from tawtin.model.artifact import Digest, Manifest
from tawtin.model.base import Record
from tawtin.model.localisation import By, Month
from tawtin.model.resources import NodeHealth
from tawtin.model.roaming import Lends, Link, Terms, Words
from tawtin.model.rules import Authorisation
from tawtin.model.tenant import Quota, Scope, TenantKind
from tawtin.model.workload import Phase, Residency

TenantId = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
TenantIdOrNone = Annotated[str, msgspec.Meta(pattern=r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$")]
Label = Annotated[str, msgspec.Meta(max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$")]
Cursor = Annotated[str, msgspec.Meta(max_length=256)]
PageSize = Annotated[int, msgspec.Meta(ge=1, le=1000)]
Offset = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]
Time = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]


GpuIndices = Annotated[tuple[Annotated[int, msgspec.Meta(ge=0, le=63)], ...], msgspec.Meta(max_length=64)]
Country = Annotated[str, msgspec.Meta(pattern=r"^([A-Z]{2})?$")]
Sector = Literal["civil_registration", "education", "financial", "health", "telecom"]


# --- bodies ----------------------------------------------------------------------------------------------------------


class TenantNew(Record, frozen=True, kw_only=True):
    """A tenant to be created."""

    id: TenantId
    name: Label = ""
    kind: TenantKind = TenantKind.PRIVATE
    country: Country = ""
    """ISO 3166-1 alpha-2; empty is the factory's own country."""
    sectors: tuple[Sector, ...] = ()
    authorisations: Annotated[tuple[Authorisation, ...], msgspec.Meta(max_length=1000)] = ()
    network: bool = False
    school: TenantIdOrNone = ""
    """The tenant whose teachers may look at its workspaces."""
    course: TenantIdOrNone = ""
    """The classroom that it belongs to."""
    residency: Residency = Residency()
    quota: Quota = Quota()


class TenantChange(Record, frozen=True, kw_only=True):
    """What can be changed about a tenant."""

    name: Label = ""
    kind: TenantKind = TenantKind.PRIVATE
    country: Country = ""
    """ISO 3166-1 alpha-2; empty is the factory's own country."""
    sectors: tuple[Sector, ...] = ()
    authorisations: Annotated[tuple[Authorisation, ...], msgspec.Meta(max_length=1000)] = ()
    network: bool = False
    school: TenantIdOrNone = ""
    """The tenant whose teachers may look at its workspaces."""
    course: TenantIdOrNone = ""
    """The classroom that it belongs to."""
    residency: Residency = Residency()
    quota: Quota = Quota()
    closed: bool = False


class KeyNew(Record, frozen=True, kw_only=True):
    """A key to be issued."""

    tenant: TenantId | None = None
    """Whose key it is; the caller's own tenant unless an admin says otherwise."""
    name: Label = ""
    scope: Scope = Scope.SUBMIT
    expires_ms: Time | None = None


class Lost(Record, frozen=True, kw_only=True):
    """Why a run that a peer had is taken to be gone for good."""

    why: Annotated[str, msgspec.Meta(min_length=1, max_length=1024, pattern=r"^[^\x00-\x1f\x7f]*$")]


class ReplicasWanted(Record, frozen=True, kw_only=True):
    """How many replicas a service is to have."""

    replicas: Annotated[int, msgspec.Meta(ge=1, le=1000)]


class WorkspaceStart(Record, frozen=True, kw_only=True):
    """How long a workspace is to stay awake."""

    for_ms: Annotated[int, msgspec.Meta(ge=0, le=2_592_000_000)] = 0
    """From now on it does not rest by itself for so long, 30 days at most; with 0 it rests as its spec says."""


class WorkspaceShare(Record, frozen=True, kw_only=True):
    """Whether everybody of its tenant may look at a workspace."""

    shared: bool


class NodeChange(Record, frozen=True, kw_only=True):
    """A node's new health."""

    health: NodeHealth


class NodeQuarantine(Record, frozen=True, kw_only=True):
    """GPUs of a node to be taken out of service."""

    gpus: GpuIndices = ()
    """Their indices; none for the whole node."""
    why: Annotated[str, msgspec.Meta(min_length=1, max_length=1024, pattern=r"^[^\x00-\x1f\x7f]*$")]


class NodeReturn(Record, frozen=True, kw_only=True):
    """GPUs of a node to be brought back into service."""

    gpus: GpuIndices = ()
    """Their indices; none for everything of the node that is out."""
    untested: bool = False
    """Without the burn-in job."""


class Digests(Record, frozen=True, kw_only=True):
    """Names of blobs."""

    digests: Annotated[tuple[Digest, ...], msgspec.Meta(max_length=100_000)]


class ArtifactNew(Record, frozen=True, kw_only=True):
    """An artifact to be kept; its blobs have been uploaded."""

    manifest: Manifest
    name: Label = ""
    data_class: Label = msgspec.field(name="class", default="public")
    origin: Annotated[str, msgspec.Meta(pattern=r"^([A-Z]{2})?$")] = ""
    """ISO 3166-1 alpha-2; empty is the factory's own country."""
    dataset: Annotated[str, msgspec.Meta(pattern=r"^(\w[\w.-]{0,62})?$")] = ""
    """The name by which specs read it from now on, in `data.datasets`; empty for none."""


class InvitationNew(Record, frozen=True, kw_only=True):
    """An invitation to another factory, and what it is lent once both operators have compared the digits."""

    address: Words
    """Where it finds us."""
    lends: Lends = Lends()
    link: Link = Link()
    terms: Terms = Terms()
    """Of leases, for both sides."""
    valid_ms: Annotated[int, msgspec.Meta(ge=60_000, le=86_400_000)] = 3_600_000


class JoinNew(Record, frozen=True, kw_only=True):
    """An invitation of another factory, and what we lend it."""

    invitation: Annotated[str, msgspec.Meta(max_length=4096)]
    address: Words
    """Where it finds us."""
    lends: Lends = Lends()
    link: Link = Link()


class DigitsHeard(Record, frozen=True, kw_only=True):
    """What the other operator read out."""

    digits: Annotated[str, msgspec.Meta(max_length=64)]


# --- query parameters ------------------------------------------------------------------------------------------------


class NoQuery(Record, frozen=True, kw_only=True):
    """No parameter is known here."""


class ForTenant(Record, frozen=True, kw_only=True):
    """Whom a request is about."""

    tenant: TenantId | None = None
    """The caller's own tenant unless an admin names another."""


class WorkloadFilter(ForTenant, frozen=True, kw_only=True):
    """Which workloads to list."""

    phase: tuple[Phase, ...] = ()
    """Comma-separated; any of them."""
    array: Annotated[str, msgspec.Meta(max_length=64)] = ""
    """The id of an array."""
    before: Cursor = ""
    """The cursor: only workloads older than this id."""
    limit: PageSize = 100


class ArtifactFilter(ForTenant, frozen=True, kw_only=True):
    """Which artifacts to list."""

    datasets: bool = False
    """Those alone that have a name as a dataset."""
    before: Cursor = ""
    """The cursor: `next` of the page before."""
    limit: PageSize = 100


class EventRange(Record, frozen=True, kw_only=True):
    """Which entries of the log to list, oldest first."""

    start: Offset = 0
    """The first sequence number to look at."""
    limit: PageSize = 100


class EventStart(Record, frozen=True, kw_only=True):
    """Where to begin to follow the log."""

    start: Offset | None = None
    """A sequence number; without it, and without `Last-Event-ID`, only what happens from now on."""


class LogRange(Record, frozen=True, kw_only=True):
    """Which part of a log to read."""

    epoch: Annotated[int, msgspec.Meta(ge=1, le=1 << 53)] | None = None
    """The run; without it the last one, and following goes on through later ones."""
    offset: Offset = 0
    """The first byte."""
    tail: Annotated[int, msgspec.Meta(ge=0, le=100_000)] | None = None
    """Only the last so many lines; not together with `offset`."""
    limit: Annotated[int, msgspec.Meta(ge=1, le=1 << 40)] | None = None
    """At most so many bytes; not together with `follow`."""
    follow: bool = False
    """Go on until the workload is over."""


class UsageFilter(ForTenant, frozen=True, kw_only=True):
    """Which accounts to list."""

    month: Annotated[str, msgspec.Meta(pattern=r"^\d{4}-(0[1-9]|1[0-2])$")] | None = None
    """`YYYY-MM`; all months without it."""


class LocalisationFilter(UsageFilter, frozen=True, kw_only=True):
    """Whose rate to show, and of which months."""

    by: By = By.TENANT
    """All but `tenant` are for admins."""
    since: Month | None = None
    """The first month, `YYYY-MM`; not together with `month`."""
    until: Month | None = None
    """The last month, itself included; not together with `month`."""
