"""What the API answers beyond bare records."""

from __future__ import annotations

from typing import Generic, TypeVar

from tawtin.model.artifact import Artifact, Manifest
from tawtin.model.base import Record
from tawtin.model.events import Entry
from tawtin.model.health import Quarantine
from tawtin.model.introduction import Introduction
from tawtin.model.localisation import By
from tawtin.model.money import Rate
from tawtin.model.reasons import Waiting
from tawtin.model.resources import Node, Shape, Slot
from tawtin.model.restored import Restored
from tawtin.model.rules import Finding
from tawtin.model.tenant import Scope
from tawtin.model.workload import Input, Run, Workload

T = TypeVar("T")


class WaitingView(Record, frozen=True, kw_only=True):
    """Why a workload waits."""

    reason: Waiting
    sentence: str
    start_ms: int | None = None
    """Estimated start, milliseconds UTC; None where it will not start as things are."""
    position: int = 0
    """Workloads with a better claim to the same resources."""
    values: dict[str, str | int] = {}
    """The figures inside the sentence, by name."""


class WorkloadView(Record, frozen=True, kw_only=True):
    """A workload with what is computed from it at the time of asking."""

    workload: Workload
    status: str
    """queued, starting, running, stopping, succeeded, failed or cancelled."""
    waiting: WaitingView | None = None
    run: Run | None = None
    """Its last run."""


class Considered(Record, frozen=True, kw_only=True):
    """One factory that a workload could be at: whether it may be there, by which rule, and what speaks for it."""

    factory: str
    country: str
    here: bool = False
    allowed: bool
    rule: str
    citation: str = ""
    sentence: str
    findings: tuple[Finding, ...] = ()
    """Every rule that was looked at."""
    attested: dict[str, str] = {}
    """What somebody else vouches for about it; all else is its own word."""
    room: bool | None = None
    """Whether it says that it has room now; None where nothing was heard."""
    rate: Rate | None = None
    wait_ms: int | None = None
    latency_ms: int | None = None
    """A round trip to it with a signed answer, the shortest of the last few; None where none was measured."""
    carbon_g_per_kwh: int | None = None
    """Grams of CO2 equivalent for a kilowatt hour there, by its own word; None where it does not say."""
    transfer_bytes: int = 0
    """Of its inputs, those that are not there yet."""
    transfer_ms: int = 0
    """How long they take to get there."""
    score_ms: int | None = None
    """Wait, transfer, and a second for each minor unit above our own price: the least one is asked first."""


class PlanView(Record, frozen=True, kw_only=True):
    """What would happen to a spec now; nothing is stored."""

    lawful: bool
    verdict: str
    starts_now: bool
    waiting: WaitingView | None = None
    shape: Shape | None = None
    """The option that it would get now."""
    slots: tuple[Slot, ...] = ()
    rate: Rate
    cost_minor_max: int | None = None
    """For the whole of its maximum duration; None where it has none."""
    declared: bool = False
    """The GPUs are declared by the operator, not real."""
    isolated: bool = True
    warnings: tuple[str, ...] = ()
    places: tuple[Considered, ...] = ()
    """Every factory that was considered, this one first."""
    inputs: tuple[Input, ...] = ()
    """What its datasets mean now, and what else it reads that is under another law than it says."""


class Submitted(Record, frozen=True, kw_only=True):
    """The workloads made by one submission: one, or as many as the array has."""

    workloads: tuple[Workload, ...]


class Page(Record, Generic[T], frozen=True, kw_only=True):
    """One page of a list, newest first."""

    items: tuple[T, ...]
    next: str = ""
    """The cursor of the next page; empty on the last one."""


class NewKey(Record, frozen=True, kw_only=True):
    """A key just made. The secret is shown this once."""

    id: str
    tenant: str
    name: str
    scope: Scope
    expires_ms: int | None
    secret: str
    """What goes into `Authorization: Bearer`."""


class CapacityView(Record, frozen=True, kw_only=True):
    """What the factory has and what is free."""

    nodes: tuple[NodeView, ...]
    isolated: bool
    """Whether runs are sandboxed."""
    notes: tuple[str, ...] = ()


class NodeView(Record, frozen=True, kw_only=True):
    """A node, and what is free on it now."""

    node: Node
    gpus_free: int
    cpus_milli_free: int
    memory_mib_free: int
    runs: int
    quarantines: tuple[Quarantine, ...] = ()
    """What of it is out of service, and why."""


class LogChunk(Record, frozen=True, kw_only=True):
    """A piece of a run's log."""

    offset: int
    """Bytes before this piece, counted from the run's first byte, dropped ones included."""
    data: bytes
    dropped: int = 0
    """Bytes before `offset` that the reader asked for and that rotation has dropped."""
    end: bool = False
    """The run is over and nothing follows."""


class UsageSample(Record, frozen=True, kw_only=True):
    """How much a run used at one moment."""

    at_ms: int
    cpu_ms: int
    """Processor time since its start."""
    memory_bytes: int
    """In use at that moment."""
    gpu_permille: int | None = None
    """How busy its GPUs were, their mean in thousandths; None where no driver says so."""


class ArtifactList(Record, frozen=True, kw_only=True):
    """A tenant's artifacts."""

    items: tuple[Artifact, ...]
    next: str = ""


class Problem(Record, frozen=True, kw_only=True):
    """An error as RFC 9457 has it (`application/problem+json`)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str = ""
    token: str = ""
    """Machine-readable: a refusal token or an error code."""
    errors: tuple[FieldError, ...] = ()
    retry_after_ms: int | None = None


class FieldError(Record, frozen=True, kw_only=True):
    """What is wrong in one place of what the user wrote."""

    message: str
    field: str = ""
    """Dotted path, such as `resources.accelerators`."""
    line: int | None = None
    """From 1; None where the input had no lines."""
    column: int | None = None
    file: str = ""


# --- lists and small answers -----------------------------------------------------------------------------------------


class WhoAmI(Record, frozen=True, kw_only=True):
    """Who the factory takes the caller for, and which factory it is."""

    key: str
    tenant: str
    scope: Scope
    owner: bool = False
    factory: str
    country: str
    currency: str = ""
    """ISO 4217; every amount of this factory is in its minor units."""
    version: str


class KeyView(Record, frozen=True, kw_only=True):
    """A key without anything that could prove it."""

    id: str
    tenant: str
    name: str = ""
    scope: Scope
    created_ms: int = 0
    expires_ms: int | None = None
    revoked_ms: int | None = None
    version: int = 1


class Items(Record, Generic[T], frozen=True, kw_only=True):
    """A whole list."""

    items: tuple[T, ...]


class EventPage(Record, frozen=True, kw_only=True):
    """Entries of the log, oldest first."""

    items: tuple[Entry, ...]
    next: int
    """Where to begin next time; equal to `start` where nothing followed."""


class Explanation(Record, frozen=True, kw_only=True):
    """Why a workload waits; `waiting` is absent if it does not."""

    workload: str
    waiting: WaitingView | None = None
    places: tuple[Considered, ...] = ()
    """Every factory that was considered, this one first; empty once it is over."""


class ArtifactView(Record, frozen=True, kw_only=True):
    """An artifact and its files."""

    artifact: Artifact
    manifest: Manifest


class BlobKept(Record, frozen=True, kw_only=True):
    """A blob that was kept."""

    digest: str
    size_bytes: int


class LogPiece(Record, frozen=True, kw_only=True):
    """A piece of a workload's log as it is streamed."""

    epoch: int
    """The run that wrote it."""
    offset: int
    """Bytes of that run before this piece."""
    data: bytes
    dropped: int = 0
    """Bytes just before `offset` that are gone."""


class LogEnd(Record, frozen=True, kw_only=True):
    """Nothing more will be written."""

    phase: str
    exit_code: int | None = None


class Share(Record, frozen=True, kw_only=True):
    """One resource: how much of it was used in each ring, and the shares in basis points."""

    home: int = 0
    continent: int = 0
    outside: int = 0
    home_bp: int = 0
    continent_bp: int = 0
    outside_bp: int = 0


class Localised(Record, frozen=True, kw_only=True):
    """The rate of one month: of a tenant, of a factory, or of all together (neither is named)."""

    tenant: str = ""
    factory: str = ""
    month: str
    country: str
    """Home: the tenant's own country, or that of the factory; empty for the sum over a network."""
    said_by: tuple[str, ...] = ()
    """The peers whose word, which nobody checked, is in it; empty where this factory counted everything."""
    heard_ms: int | None = None
    """When they were heard, milliseconds UTC, the oldest word; None where this factory counted everything."""
    gpu_ms: Share
    cpu_ms: Share
    bytes: Share
    """In and out of runs."""
    runs: Share
    tokens: Share = Share()
    """Of requests for models and their answers, by where they were answered."""
    requests: Share = Share()
    """For models."""


class Teller(Record, frozen=True, kw_only=True):
    """What is known of a peer's rate."""

    factory: str
    country: str
    heard_ms: int | None = None
    """When the last word that was taken in was heard, milliseconds UTC; None if it tells nothing."""
    age_ms: int | None = None
    """How long ago that is; None if it tells nothing."""
    refused: str = ""
    """Why what it says now is not taken in."""


class Rates(Record, frozen=True, kw_only=True):
    """Localisation rates, months ascending."""

    by: By = By.TENANT
    items: tuple[Localised, ...]
    peers: tuple[Teller, ...] = ()
    """Of the network: every peer, also those that tell nothing."""


class Invited(Record, frozen=True, kw_only=True):
    """A new invitation."""

    invitation: str
    """One word, to be sent to the other operator; not shown again."""
    introduction: Introduction


class StoreView(Record, frozen=True, kw_only=True):
    """Whether the store was ever put back from a backup, and what follows from that."""

    incarnation: str
    """Goes with every reservation that peers get."""
    restored: Restored | None = None
    """The last time, if there was one."""
    silent: tuple[str, ...] = ()
    """Peers that have not said yet what they know of what was accepted before; nothing goes to peers meanwhile."""
    alarms: tuple[str, ...] = ()
    """What operators have to look at about peers, since the start, at most a hundred, oldest first."""


class IdentityView(Record, frozen=True, kw_only=True):
    """Who a factory is to its peers."""

    name: str
    country: str
    currency: str
    key: str
    """Its public Ed25519 key, base64; empty if it speaks with nobody."""
