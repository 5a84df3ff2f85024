"""What the runtime needs of the outside: a clock, randomness, a journal, blobs, engines.

Concrete parts implement these; `bootstrap` alone knows which. Simulation implements them again under virtual time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Final, Protocol

import msgspec

from tawtin.model.base import Record
from tawtin.model.events import Entry
from tawtin.model.reasons import Cause
from tawtin.model.resources import Node, Shape, Slot
from tawtin.model.roaming import FileAsk, LogAsk, Message, Offer, Peer, Piece
from tawtin.model.views import LogChunk, UsageSample
from tawtin.model.workload import Kept, Outcome, Usage, WorkloadSpec

DOOR_TOKEN: Final = "TAWTIN_DOOR_TOKEN"  # noqa: S105 - the name of a variable
"""The secret of a workspace's run with which the factory comes in."""


class Clock(Protocol):
    """Time."""

    def now_ms(self) -> int:
        """Milliseconds UTC. May step back; the runtime never lets recorded time step back with it."""
        ...

    def monotonic_ms(self) -> int:
        """Milliseconds since some start, never stepping back; for durations."""
        ...


class Entropy(Protocol):
    """Randomness."""

    def bits(self, count: int) -> int:
        """A uniformly drawn integer of `count` bits: the system's secure ones when live, seeded ones in simulation."""
        ...


class Signer(Protocol):
    """A factory's identity: what it signs with, and how it checks the signatures of others. Deterministic (Ed25519)."""

    key: str
    """Its public key, base64."""

    def sign(self, body: bytes) -> str:
        """The signature over `body`, base64."""
        ...

    def verify(self, key: str, body: bytes, signature: str) -> bool:
        """Whether `signature` is that of `key` over `body`. Never raises."""
        ...


class TransportError(Exception):
    """A peer did not say that it has what was sent; it may have it all the same."""


class Misread(TransportError):
    """A peer answered that what was sent breaks its schema. Nobody signed that."""


class Pieces(Protocol):
    """The way to files that peers have."""

    async def piece(self, peer: Peer, ask: FileAsk) -> Piece:
        """A piece of a file that is at a peer. Raises TransportError."""
        ...


class Strangers(Protocol):
    """The way to factories that are no peers yet."""

    async def introduce(self, address: str, body: bytes, proof: str) -> tuple[bytes, str]:
        """Say something to the factory at an address; its answer and the proof of it. Raises TransportError."""
        ...


class Transport(Pieces, Strangers, Protocol):
    """The way to peers."""

    async def post(self, peer: Peer, messages: tuple[Message, ...], offer: Offer | None) -> None:
        """Hand messages to a peer, with what we have to offer. Raises TransportError, and Misread for its schema."""
        ...

    async def log(self, peer: Peer, ask: LogAsk) -> LogChunk:
        """A piece of a log that is at a peer. Raises TransportError."""
        ...

    async def close(self) -> None:
        """Let go of all connections."""
        ...


# --- journal ---------------------------------------------------------------------------------------------------------


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One record as the journal keeps it, replacing the earlier row of the same kind and id."""

    kind: str
    """One of `KINDS`."""
    id: str
    tenant: str = ""
    phase: str = ""
    """What lists filter by: a workload's phase, a run's state."""
    parent: str = ""
    """What it belongs to: a run's workload, a workload's array."""
    live: bool = True
    """Loaded into memory at start. Ended workloads and runs are not."""
    body: bytes
    """The record as canonical JSON; empty bytes delete the row."""


KINDS: Final = (
    "meta", "tenant", "key", "node", "quarantine", "peer", "account", "charged", "artifact", "idempotency", "workload",
    "run", "guest",
)  # fmt: skip
"""The kinds of rows, in the order in which they are loaded at start: what others refer to comes first."""


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """What one transaction makes true: entries enter the log and its Merkle tree, rows replace rows, secrets move.

    Of several rows with the same kind and id the last one counts. Secrets are put first, then dropped.
    """

    entries: tuple[Entry, ...] = ()
    rows: tuple[Row, ...] = ()
    secrets_put: tuple[tuple[str, str, str], ...] = ()
    """(workload, name, value). Values live beside the log and are deleted when the workload is final."""
    secrets_drop: tuple[str, ...] = ()
    """Workloads whose secrets are deleted."""


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows of one kind to list, ids descending (newest first). Empty fields do not filter."""

    kind: str
    tenant: str = ""
    phases: tuple[str, ...] = ()
    parent: str = ""
    live: bool | None = None
    before: str = ""
    """Only ids below this one: the cursor."""
    limit: int = 100


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """The log's Merkle tree head (RFC 9162)."""

    size: int
    root: bytes


class JournalError(Exception):
    """The transaction did not happen; nothing of it is stored. `full` says that the disk is full."""

    def __init__(self, message: str, *, full: bool = False) -> None:
        """Keep what went wrong in words, and whether space is what is missing."""
        super().__init__(message)
        self.full = full


class Journal(Protocol):
    """Where state and events become durable together. Methods block; call them off the event loop.

    `commit` is called by one thread at a time. Reads may come from other threads meanwhile and see whole
    transactions only.
    """

    def commit(self, batch: Batch) -> Head:
        """Make the batch durable in one transaction and return the new tree head.

        `entries` continue the log without a gap: the first has `seq` equal to the size before. Raises JournalError.
        """
        ...

    def head(self) -> Head:
        """The present tree head."""
        ...

    def live(self) -> Iterator[Row]:
        """All rows with `live`, in the order of `KINDS`, ids ascending within a kind."""
        ...

    def get(self, kind: str, id: str) -> bytes | None:
        """The body of one row, live or not."""
        ...

    def list(self, query: Query) -> list[bytes]:
        """Bodies of matching rows, ids descending."""
        ...

    def events(self, start: int, limit: int) -> list[bytes]:
        """Canonical bytes of the entries `start` up to `start + limit`, as hashed."""
        ...

    def secrets(self, workload: str) -> dict[str, str]:
        """The secret values of one workload, by name."""
        ...

    def purge_idempotency(self, before: str) -> int:
        """Delete idempotency rows whose `phase`, which holds their time, sorts below; return how many."""
        ...

    def close(self) -> None:
        """Release everything."""
        ...


class Mark(Protocol):
    """How long the log was, kept beside the journal and never restored with it. Methods block.

    It is never ahead of what is durable, and may be behind.
    """

    def read(self) -> Head | None:
        """What was written last; None if nothing was, or it cannot be read."""
        ...

    def write(self, head: Head) -> None:
        """Keep the head of what is durable. Survives the process at once, the machine after `sync`. Never raises."""
        ...

    def sync(self) -> None:
        """Let it survive the machine as well. Never raises."""
        ...


# --- blobs -----------------------------------------------------------------------------------------------------------


class Blobs(Protocol):
    """Content-addressed bytes. A name is `sha256:<hex>`; methods block."""

    def has(self, digest: str) -> bool:
        """Whether these bytes are kept."""
        ...

    def missing(self, digests: Iterable[str]) -> list[str]:
        """Which of these are not kept, in the order given."""
        ...

    def put(self, digest: str, source: IO[bytes], size_bytes_max: int) -> int:
        """Keep what `source` yields, if it hashes to `digest`; return its size. Atomic and idempotent.

        Raises BlobError if the digest differs, the size is exceeded, or space runs out; nothing is kept then.
        """
        ...

    def open(self, digest: str) -> IO[bytes]:
        """Read the bytes. Raises BlobError if they are not here."""
        ...

    def drop(self, digest: str) -> None:
        """Forget the bytes, if they are here."""
        ...


class Incoming(Protocol):
    """Drafts of blobs that arrive piece by piece; they survive a restart. Methods block."""

    def size(self, digest: str) -> int:
        """How many bytes of it are here already."""
        ...

    def add(self, digest: str, offset: int, data: bytes) -> None:
        """Write the bytes from `offset` on. Raises BlobError."""
        ...

    def keep(self, digest: str, size_bytes: int) -> None:
        """Make the draft a blob. Raises BlobError, and throws the draft away, if it is not what its name says."""
        ...

    def drop(self, digest: str) -> None:
        """Throw the draft away, if there is one."""
        ...


class BlobError(Exception):
    """The blob operation did not happen; the message says why and what to do."""

    def __init__(self, message: str, *, full: bool = False) -> None:
        """Keep what went wrong in words, and whether space is what is missing."""
        super().__init__(message)
        self.full = full


class ArtifactError(BlobError):
    """A folder cannot be kept, or a manifest not laid out, because of what is in it; the message names the path."""


class Collected(Record, frozen=True, kw_only=True):
    """A folder or file that was kept as an artifact."""

    artifact: str
    """`sha256:<hex>` of the manifest, which is kept as a blob as well."""
    size_bytes: int
    """Of all its files together, without the manifest."""
    files: int
    skipped: tuple[str, ...] = ()
    """Paths inside it that are neither file nor folder (links, sockets, pipes, devices), sorted, at most 100 named."""


class Artifacts(Protocol):
    """Between folders and content-addressed artifacts. Methods block, are safe in several threads, follow no links."""

    def collect(self, root: str, relative: str) -> Collected:
        """Keep the file or folder `relative` below the folder `root` (both may change meanwhile, and may be hostile).

        A file becomes an artifact with one file of its own name. Raises ArtifactError if it is absent, reached through
        a link, or beyond the limits on count and bytes; BlobError if it could not be kept.
        """
        ...

    def materialise(self, artifact: str, target: str, *, owner: tuple[int, int] | None = None) -> int:
        """Lay the files of `artifact` out in the existing folder `target`; return their bytes.

        `owner` (uid, gid) becomes the owner of what is made. Files that exist already are replaced. Raises
        ArtifactError if the manifest is unsound, BlobError if it or a file is not here or does not hash to its name.
        """
        ...


# --- engines ---------------------------------------------------------------------------------------------------------


class RunOrder(Record, frozen=True, kw_only=True):
    """Everything that an engine needs in order to start one run."""

    run: str
    """Also the name that makes starting idempotent."""
    workload: str
    tenant: str
    tenant_number: int
    epoch: int
    spec: WorkloadSpec
    shape: Shape
    slots: tuple[Slot, ...]
    gpus_declared: bool = False
    secrets: dict[str, str] = {}
    array_index: int | None = None
    array_size: int | None = None
    array_id: str = ""
    replica: int | None = None
    """Which replica of its service it is; its spec's `service` says more."""
    port: int = 0
    """Where that has to listen; the engine gives it, as it knows what is free."""
    fuse_ms: int | None = None
    """When the engine ends it by itself, by `Clock.monotonic_ms` of this machine, unless `extend` comes before."""
    adopt: bool = False
    """It was placed before the factory's store was put back from a backup, and may have been over since: nothing is
    started for it. A run that the engine does not remember it remembers as ended, and reports so."""


class Report(Record, frozen=True, kw_only=True):
    """What an engine says of a run. Cumulative and repeated until the engine is told to `forget` the run."""

    run: str
    started_ms: int | None = None
    address: str = ""
    """Host and port at which the factory reaches a replica of a service; said with `started_ms`."""
    ended_ms: int | None = None
    """None while it is not over; all fields below but `usage` count only when it is over."""
    outcome: Outcome | None = None
    cause: Cause | None = None
    exit_code: int | None = None
    message: str = ""
    usage: Usage = Usage()
    outputs: tuple[Kept, ...] = ()
    nodes: tuple[Node, ...] = ()
    """The nodes that it was on as they are now, if it ended for one of them."""


class EngineError(Exception):
    """The engine cannot be made or opened; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class EngineParts:
    """What a factory gives to an engine of its own."""

    name: str
    """What its nodes say that they belong to (`Node.engine`); unique in the factory."""
    root: str
    """Absolute path of a folder for it alone, which may not exist yet."""
    mark: str
    """Unlike that of any other factory or engine: what names begin with where others' work is named as well."""
    artifacts: Artifacts


class Engine(Protocol):
    """What runs work. Every method returns quickly; the work happens elsewhere.

    The engine keeps, in its own durable place and before anything starts, that a run id was started; it never starts a
    run id twice, also not after a crash of anything. A run that was started and has neither a process nor an exit
    record is reported `interrupted`.
    """

    name: str

    def open(self, wake: Callable[[], None]) -> None:
        """Start, and adopt what runs already. `wake` may be called from any thread when `reports` has news."""
        ...

    def isolated(self) -> bool:
        """Whether tenants are kept apart by a sandbox."""
        ...

    def notes(self) -> tuple[str, ...]:
        """What an operator should know: limits that are not enforced here, declared GPUs, a missing driver."""
        ...

    def nodes(self) -> tuple[Node, ...]:
        """The nodes and their health now."""
        ...

    def knows(self, run: str) -> bool:
        """Whether this run id was started, or stopped before it could, at this engine, as far as it remembers."""
        ...

    def ensure(self, order: RunOrder) -> None:
        """See to it that the run was started, once."""
        ...

    def stop(self, run: str, cause: Cause, grace_ms: int) -> None:
        """End the run: signal, wait `grace_ms`, kill. Idempotent. A report with the outcome follows.

        A program that ended by itself first is reported `finished`. A run id that was never started is remembered as
        ended and never starts later.
        """
        ...

    def fuse_stop_ms(self) -> int | None:
        """In this time after its `fuse_ms` everything of a run is certainly dead, whoever else is; None for no bound.

        An engine without a bound takes no order with a fuse.
        """
        ...

    def extend(self, run: str, fuse_ms: int) -> None:
        """Let the run go on until then. Never shortens, never revives; unknown and ended runs are left alone."""
        ...

    def started(self) -> Mapping[str, bool]:
        """Every run that is still remembered, also such as were to be forgotten: run -> whether it is over."""
        ...

    def reports(self) -> list[Report]:
        """News since the last call, and at the first call after `open` everything known."""
        ...

    def forget(self, run: str) -> None:
        """The outcome is recorded: stop reporting it. Its log stays readable for the engine's retention time."""
        ...

    def log(self, run: str, offset: int, limit: int) -> LogChunk:
        """At most `limit` bytes of the run's output from `offset`. A negative offset counts from the end."""
        ...

    def samples(self, run: str) -> tuple[UsageSample, ...]:
        """How much a run used over its time, oldest first, kept as long as its log; empty where totals alone are."""
        ...

    def close(self) -> None:
        """Let go; runs go on."""
        ...
