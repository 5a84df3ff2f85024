"""Workloads and their runs."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import msgspec

from tawtin.model.artifact import Law
from tawtin.model.base import Record
from tawtin.model.money import Rate
from tawtin.model.reasons import Cause
from tawtin.model.resources import Demand, Shape, Slot
from tawtin.model.rules import Authorisation

SANDBOX_HOME: Final = "/home/run"
"""A run's private home, as it sees it."""
SANDBOX_WORK: Final = "/home/run/work"
"""A run's working folder, as it sees it; outputs are relative to it."""
SANDBOX_DATASETS: Final = f"{SANDBOX_HOME}/datasets"
"""Where a run finds the datasets that it reads, each below its name."""

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]


class WorkloadType(StrEnum):
    """The four things that a tenant can ask for."""

    JOB = "job"
    SERVICE = "service"
    WORKSPACE = "workspace"
    QUERY = "query"


class Mount(Record, frozen=True, kw_only=True):
    """An artifact made visible to a run, read-only, at an absolute path inside its sandbox."""

    path: str
    artifact: str


class Output(Record, frozen=True, kw_only=True):
    """A file or folder, relative to the run's working folder, kept as an artifact when the run ends."""

    name: str
    path: str


class Input(Record, frozen=True, kw_only=True):
    """One law of an artifact that a workload reads, as its home recorded it when it accepted the workload."""

    artifact: str
    name: str = ""
    """Of the dataset; empty for a mount or a working folder."""
    data_class: str = msgspec.field(name="class", default="public")
    origin: str = ""
    """ISO 3166-1 alpha-2, always said."""


class Data(Record, frozen=True, kw_only=True):
    """What the residency rules need to know about the data."""

    data_class: str = msgspec.field(name="class", default="public")
    origin: str = ""
    """ISO 3166-1 alpha-2 of the law of the data's origin; empty means the factory's own country."""
    purpose: str = ""
    datasets: tuple[str, ...] = ()
    """Names of datasets of the tenant, as they were written."""
    inputs: tuple[Input, ...] = ()
    """What those names meant when the workload was accepted, and what else it reads that is under another law."""

    @property
    def laws(self) -> tuple[Law, ...]:
        """All that has to be allowed where it is, each law once: what the spec says first, then what it reads."""
        own = Law(data_class=self.data_class, origin=self.origin)
        if not self.inputs:
            return (own,)
        read = (Law(data_class=each.data_class, origin=each.origin) for each in self.inputs)
        return tuple(dict.fromkeys((own, *read)))

    @property
    def restricted(self) -> tuple[Law, ...]:
        """The laws that what is made of it is under: those of data that is not public, or the spec's own."""
        laws = self.laws
        return tuple(each for each in laws if each.data_class != "public") or laws[:1]


class Residency(Record, frozen=True, kw_only=True):
    """The owner's own wish: ISO 3166-1 alpha-2 countries. It can only narrow what rules allow."""

    allow: tuple[str, ...] = ()
    """Empty means that the owner does not narrow."""
    deny: tuple[str, ...] = ()


class OnPartition(StrEnum):
    """What happens to a run that is cut off from home."""

    WAIT = "wait"
    RERUN = "rerun"


class Checkpoint(Record, frozen=True, kw_only=True):
    """How a run is told to save itself before it is preempted or drained."""

    signal: str = "SIGUSR1"
    grace_ms: Annotated[int, msgspec.Meta(ge=0)] = 30_000


class Probe(Record, frozen=True, kw_only=True):
    """How a replica of a service shows that it can serve: any answer of 200 to 299 to this request."""

    path: str = "/"
    post_data: str = ""
    """The JSON body of a POST; empty for a GET."""
    initial_delay_ms: Annotated[int, msgspec.Meta(ge=0)] = 1_200_000
    """How long it may take, from its start, until it is ready for the first time."""
    timeout_ms: Annotated[int, msgspec.Meta(ge=1)] = 15_000
    """How long one answer may take."""


_Target = Annotated[int, msgspec.Meta(ge=0)]
"""In thousandths; 0 for none."""


class Scaling(Record, frozen=True, kw_only=True):
    """How the number of a service's replicas follows its load. The target that asks for most counts."""

    replicas_min: Annotated[int, msgspec.Meta(ge=0, le=1000)]
    """0 lets the last one rest while nobody asks."""
    replicas_max: Annotated[int, msgspec.Meta(ge=1, le=1000)]
    in_flight_milli: _Target = 0
    """Requests that one replica should have at a time."""
    requests_milli: _Target = 0
    """Requests a second for one replica."""
    tokens_milli: _Target = 0
    """Tokens a second, of requests and answers, for one replica."""
    wait_ms: Annotated[int, msgspec.Meta(ge=0)] = 0
    """How long answers may take to begin, on average; 0 for no such target."""
    up_delay_ms: Annotated[int, msgspec.Meta(ge=0)] = 10_000
    """For so long more have to be asked for."""
    down_delay_ms: Annotated[int, msgspec.Meta(ge=0)] = 300_000
    """For so long fewer have to be asked for."""


class Serving(Record, frozen=True, kw_only=True):
    """What a spec says of a service beyond a job."""

    replicas: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1
    """How many it begins with; how many there are is what its workloads say."""
    scaling: Scaling | None = None
    """How that follows the load; None where only people change it."""
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 0
    """Where its program listens if it does not look at `PORT`; 0 where it does."""
    probe: Probe = Probe()


class Workspace(Record, frozen=True, kw_only=True):
    """What a spec says of a workspace beyond a service: it has one replica, and rests while nobody uses it."""

    app: str = ""
    """What it shows: `jupyterlab`, `code-server`, `shell`; empty for a program of the owner's own."""
    idle_ms: Annotated[int, msgspec.Meta(ge=0)] = 3_600_000
    """After so long without use it rests; 0 for never."""


class WorkloadSpec(Record, frozen=True, kw_only=True):
    """A spec after parsing: no ranges, no unknown names, no local paths."""

    name: Name
    type: WorkloadType = WorkloadType.JOB
    run: str
    """A shell script, run by `bash -eo pipefail` in the working folder."""
    setup: str = ""
    envs: dict[str, str] = {}
    secrets: tuple[str, ...] = ()
    """Names only, sorted. The values are kept beside the workload and never enter the log."""
    workdir: str = ""
    """The artifact that is copied into the working folder before the start; empty for an empty folder."""
    mounts: tuple[Mount, ...] = ()
    outputs: tuple[Output, ...] = ()
    demand: Demand
    service: Serving | None = None
    """Of types `service` and `workspace`, and of no other."""
    workspace: Workspace | None = None
    """Of type `workspace`, and of no other."""
    max_duration_ms: Annotated[int, msgspec.Meta(ge=1)] | None = None
    stop_grace_ms: Annotated[int, msgspec.Meta(ge=0)] = 10_000
    """Time between SIGTERM and SIGKILL."""
    priority: Annotated[int, msgspec.Meta(ge=-1000, le=1000)] = 0
    preemptible: bool = True
    checkpoint: Checkpoint | None = None
    network: bool = False
    on_partition: OnPartition = OnPartition.WAIT
    data: Data = Data()
    residency: Residency = Residency()
    budget_minor: Annotated[int, msgspec.Meta(ge=0)] | None = None
    project: str = ""
    labels: dict[str, str] = {}


def inputs_of(spec: WorkloadSpec) -> tuple[str, ...]:
    """The artifacts that a spec needs before it starts, each once."""
    named = (spec.workdir, *(mount.artifact for mount in spec.mounts))
    return tuple(dict.fromkeys(each for each in named if each))


class ArrayRef(Record, frozen=True, kw_only=True):
    """The place of a workload in an array that was submitted as one."""

    id: str
    index: int
    size: int


class ServiceRef(Record, frozen=True, kw_only=True):
    """Which replica of which service of its tenant a workload is."""

    name: str
    revision: int
    """Rises by one with every update; the highest one is the newest."""
    replica: int
    """Counted from 1; no two live replicas of a service have the same."""


class Phase(StrEnum):
    """Where a workload is, as its home factory records it."""

    QUEUED = "queued"
    PLACED = "placed"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing further happens to the workload."""
        return self not in {Phase.QUEUED, Phase.PLACED}


class Owner(Record, frozen=True, kw_only=True):
    """What residency rules ask about the owner of a workload that a peer runs."""

    kind: str = "private"
    country: str = ""
    sectors: tuple[str, ...] = ()
    authorisations: Annotated[tuple[Authorisation, ...], msgspec.Meta(max_length=1000)] = ()


class Workload(Record, frozen=True, kw_only=True):
    """What a tenant asked for, and how far it has come."""

    id: str
    tenant: str
    spec: WorkloadSpec
    digest: str
    """SHA-256 of the canonical spec, hexadecimal."""
    array: ArrayRef | None = None
    service: ServiceRef | None = None
    """Of a replica of a service: each is a workload of its own, which ends only when somebody cancels it."""
    retry_of: str = ""
    submitted_by: str = ""
    """The id of the key that submitted it."""
    guest: str = ""
    """The name of the peer that it belongs to, if it is one run of a workload of another factory; see `Guest`."""
    owner: Owner | None = None
    """Whose it is, where that is no tenant of this factory."""
    tries: str = ""
    """The quarantine (`Quarantine.key`) that it is the burn-in job of: it runs once, there and nowhere else."""
    submitted_ms: int
    phase: Phase = Phase.QUEUED
    epoch: int = 0
    """The last epoch given out; 0 before the first run."""
    epoch_known: int = 0
    """The highest epoch that others knew of when the store had been put back from a backup. Never given out again."""
    cancel: bool = False
    """Somebody asked for its end; no new run starts."""
    rests: bool = False
    """Of the last replica of a service: no new run starts until somebody asks for it."""
    awake_until_ms: int = 0
    """Of a workspace: before this time it does not rest by itself."""
    shared: bool = False
    """Of a workspace: whether everybody of its tenant may look at it."""
    interruptions: int = 0
    """Runs that ended without an outcome of their own, preemptions included."""
    queued_ms: int
    """Since when it waits, for the last time."""
    failures: int = 0
    """Of a replica: its runs in a row that ended early. The pause before the next one grows with them."""
    not_before_ms: int = 0
    """It is not placed before this time (a pause after an interruption)."""
    spent_minor: int = 0
    """What its ended runs cost, in minor units of the factory's currency."""
    finished_ms: int | None = None
    exit_code: int | None = None
    cause: Cause | None = None
    message: str = ""
    outputs: tuple[Kept, ...] = ()
    version: int = 1
    """Rises by one at every change; the ETag."""

    @property
    def epoch_last(self) -> int:
        """The highest epoch that may ever have been given out; the next one is above it."""
        return max(self.epoch, self.epoch_known)


class Kept(Record, frozen=True, kw_only=True):
    """An output that was kept: its name, and the artifact that holds it."""

    name: str
    artifact: str
    size_bytes: int


class RunState(StrEnum):
    """Where a run is, as the factory that runs it records it."""

    PLACED = "placed"
    STARTED = "started"
    DONE = "done"


class Outcome(StrEnum):
    """How a run ended. Only `finished` and `cancelled` are answers; an interrupted workload is queued again."""

    FINISHED = "finished"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


class Usage(Record, frozen=True, kw_only=True):
    """What a run used, from the engine's own accounting. Cumulative: a later report replaces an earlier one."""

    wall_ms: int = 0
    cpu_ms: int = 0
    memory_peak_mib: int = 0
    disk_peak_mib: int = 0
    gpu_model: str = ""
    gpu_ms: int = 0
    """GPUs held, times milliseconds held."""
    gpus_declared: bool = False
    bytes_in: int = 0
    bytes_out: int = 0
    energy_mj: int | None = None
    """Millijoules of its GPUs where the driver counts them, else unknown."""


class CloseKind(StrEnum):
    """How home closed an epoch that it had given to a peer."""

    RELEASED = "released"
    """The peer never took it on."""
    FINISHED = "finished"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    EXPIRED = "expired"
    """Its lease is over at the peer as well, by both clocks and their errors."""
    LOST = "lost"
    """A person declared so."""


class Receipt(Record, frozen=True, kw_only=True):
    """What a peer did and asks to be paid for. Home countersigns it, or disputes it."""

    home: str
    visited: str
    workload: str
    epoch: int
    shape: Shape
    nodes: int
    rate: Rate
    outcome: Outcome
    cause: Cause
    exit_code: int | None = None
    message: Annotated[str, msgspec.Meta(max_length=4096)] = ""
    started_ms: int | None = None
    ended_ms: int
    usage: Usage
    cost_minor: int
    outputs: Annotated[tuple[Kept, ...], msgspec.Meta(max_length=1000)] = ()


class SignedReceipt(Record, frozen=True, kw_only=True):
    """A receipt and the peer's signature over its canonical bytes."""

    receipt: Receipt
    signature: Annotated[str, msgspec.Meta(max_length=256)]


class Roam(Record, frozen=True, kw_only=True):
    """What home keeps of an epoch that it gave to a peer: the lease, and how that ended."""

    resv: str
    mode: OnPartition
    lease_ms: int = 0
    wait_ms: int = 0
    """How long home waits, by its own clock and after every renewal, before the lease is over at the peer; `rerun`."""
    verdict_not_after_ms: int | None = None
    close: CloseKind | None = None
    receipt: SignedReceipt | None = None
    countersignature: str = ""
    """Ours under the receipt; empty if it was not accepted."""
    disputed: str = ""
    """Why not."""

    @property
    def billed(self) -> bool:
        """Whether the tenant pays for it."""
        return bool(self.countersignature)


class Run(Record, frozen=True, kw_only=True):
    """One attempt at a workload, under one epoch."""

    id: str
    workload: str
    tenant: str
    epoch: int
    factory: str = ""
    """The name of the peer that runs it; empty for this factory."""
    country: str = ""
    """Where the peer says that it is, ISO 3166-1 alpha-2; empty for this factory's own."""
    shape: Shape
    slots: tuple[Slot, ...] = ()
    """Where it is, one for each node; none if a peer runs it."""
    nodes: int = 0
    """How many nodes of a peer it takes; 0 if it is here."""
    roam: Roam | None = None
    """The lease of a run that a peer has."""
    rate: Rate
    """The price that was in force when it was placed."""
    placed_ms: int
    state: RunState = RunState.PLACED
    started_ms: int | None = None
    address: str = ""
    """Host and port at which the factory reaches a replica of a service, as its engine said."""
    stop: Cause | None = None
    """Why it is being stopped, if it is."""
    stop_asked_ms: int | None = None
    ended_ms: int | None = None
    outcome: Outcome | None = None
    cause: Cause | None = None
    exit_code: int | None = None
    message: str = ""
    usage: Usage = Usage()
    cost_minor: int = 0
    version: int = 1
