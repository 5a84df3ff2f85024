"""What crosses between factories: peers, offers, the messages of the roaming handshake, and a visited factory's record.

Home is the factory that owns a workload, visited is the one that runs it. Every message may be lost, repeated, late, or
a lie; sender and recipient are those of the signed envelope that it came in. What is received is data from outside:
sizes are bounded, unknown fields are refused.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Annotated, Final

import msgspec

from tawtin.model.base import Record, as_canonical, canonical
from tawtin.model.localisation import Told
from tawtin.model.money import Minor, Rate
from tawtin.model.resources import Demand, Shape
from tawtin.model.rules import Facts
from tawtin.model.site import FactoryName
from tawtin.model.workload import (
    Data,
    OnPartition,
    Outcome,
    Owner,
    Receipt,
    SignedReceipt,
    Usage,
    WorkloadSpec,
)

VERSION: Final = 1
"""Of the messages; a factory refuses what it does not speak."""

WorkloadId = Annotated[str, msgspec.Meta(pattern=r"^[a-z]{2}-[0-9a-z]{1,40}$")]
Epoch = Annotated[int, msgspec.Meta(ge=1, le=1 << 31)]
Nonce = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}(\.[0-9a-f]{1,16})?$")]
Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
Signature = Annotated[str, msgspec.Meta(max_length=256)]
Duration = Annotated[int, msgspec.Meta(ge=0, le=86_400_000)]
Words = Annotated[str, msgspec.Meta(max_length=1024)]


class PeerState(StrEnum):
    """How far two factories know each other."""

    INVITED = "invited"
    """One of them has yet to compare the code."""
    ACTIVE = "active"
    LEAVING = "leaving"
    """No new run goes there or comes from there; those that are there end in their time."""
    LEFT = "left"
    REVOKED = "revoked"
    """Its key counts no more; nothing of it is heard."""


class Terms(Record, frozen=True, kw_only=True):
    """What two factories agreed on about leases. The larger error and the longer stop of both are taken."""

    lease_ms: Duration = 60_000
    ttl_ms: Duration = 10_000
    """How long a reservation is held; at most a quarter of a lease."""
    home_ppm: Annotated[int, msgspec.Meta(ge=0, le=500_000)] = 10_000
    """Largest rate error of the home's clock, parts per million."""
    visited_ppm: Annotated[int, msgspec.Meta(ge=0, le=500_000)] = 10_000
    stop_ms: Duration = 15_000
    """In this time the visited factory's engine certainly ends a process."""
    renew_ms: Duration = 15_000
    """Between heartbeats of a run without a lease (`wait`)."""


class Lends(Record, frozen=True, kw_only=True):
    """What this factory lends to one peer."""

    gpus: dict[str, Annotated[int, msgspec.Meta(ge=0)]] = {}
    """GPUs at one time by model; `*` for every other one."""
    cpus_milli: Annotated[int, msgspec.Meta(ge=0)] = 0
    currency: Annotated[str, msgspec.Meta(pattern=r"^([A-Z]{3})?$")] = ""
    """What the prices for this peer are in; empty for the factory's own currency and prices."""
    minor_per_gpu_hour: dict[str, Minor] = {}
    minor_per_cpu_hour: Minor = 0
    hours: Annotated[str, msgspec.Meta(pattern=r"^(([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d)?$")] = ""
    """The stretch of each day in which it may have them, UTC, such as `20:00-06:00`; empty for always. What may run
    for longer than is left of it, or does not say how long, is not taken in."""


class Link(Record, frozen=True, kw_only=True):
    """The way to a peer, as an operator knows it; placement weighs the bytes that would go over it."""

    mbit_per_s: Annotated[int, msgspec.Meta(ge=1)] = 100
    minor_per_gib: Minor = 0
    """What a gibibyte costs to move, in the factory's own currency."""


class Peer(Record, frozen=True, kw_only=True):
    """Another factory, as this one knows it."""

    name: FactoryName
    address: Words = ""
    key: Words = ""
    """Its public Ed25519 key, base64."""
    revoked: tuple[Words, ...] = ()
    """Keys that it had and that count no more."""
    state: PeerState = PeerState.INVITED
    country: Annotated[str, msgspec.Meta(pattern=r"^([A-Z]{2})?$")] = ""
    """Where it says that it is."""
    operator: Words = ""
    currency: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}$")] = "USD"
    facts: Facts = Facts()
    """What it says of itself; `attested` holds only what an operator here has seen and entered."""
    terms: Terms = Terms()
    lends: Lends = Lends()
    """What we lend it."""
    link: Link = Link()
    tell_localisation: bool = True
    """Whether we tell it our localisation rate: sums of the last months, and nothing of tenants."""
    added_ms: int = 0
    version: int = 1


class FreeNodes(Record, frozen=True, kw_only=True):
    """Nodes with as much free, or more."""

    gpu_model: Words = ""
    gpus: int = 0
    cpus_milli: int = 0
    memory_mib: int = 0
    disk_mib: int = 0
    nodes: int = 1


class Offer(Record, frozen=True, kw_only=True):
    """What a factory says that it has to lend. Hearsay: it decides again when it is asked."""

    factory: FactoryName
    country: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{2}$")]
    seq: int
    made_ms: int
    free: Annotated[tuple[FreeNodes, ...], msgspec.Meta(max_length=1000)] = ()
    currency: Annotated[str, msgspec.Meta(pattern=r"^[A-Z]{3}$")]
    minor_per_gpu_hour: dict[str, Minor] = {}
    minor_per_cpu_hour: Minor = 0
    wait_ms: Duration = 0
    """How long a newcomer is expected to wait."""
    carbon_g_per_kwh: Annotated[int, msgspec.Meta(ge=0, le=5_000)] = 0
    """Of its electricity; 0 where it does not say."""
    localised: Told | None = None
    """Its localisation rate; None where it does not tell."""


class StopReason(StrEnum):
    """Why home wants an epoch ended."""

    CANCELLED = "cancelled"
    FENCED = "fenced"
    RESIDENCY = "residency"


class GuestState(StrEnum):
    """How far a visited factory has come with an epoch; none goes back."""

    COMMITTED = "committed"
    """Recorded with its place. That it was started, the engine records before it starts it."""
    DONE = "done"
    """It has its one outcome."""
    ACKED = "acked"
    SETTLED = "settled"


class FilesState(StrEnum):
    """What became of the files of a guest here; none goes back."""

    HERE = "here"
    GOING = "going"
    """The log says that they are not here any more, and their bytes are being deleted."""
    GONE = "gone"


class DroppedFiles(Record, frozen=True, kw_only=True):
    """An artifact that is deleted here, as far as nothing else names its files."""

    artifact: str
    size_bytes: int
    """Of all that is deleted of it, its manifest too."""
    files: int


class Guest(Record, frozen=True, kw_only=True):
    """One epoch of a peer's workload, as the visited factory keeps it."""

    home: FactoryName
    workload: WorkloadId
    epoch: Epoch
    resv: Nonce
    mode: OnPartition
    lease_ms: Duration = 0
    verdict_not_after_ms: int | None = None
    local: str
    """The id of the workload that runs it here."""
    state: GuestState = GuestState.COMMITTED
    stop: StopReason | None = None
    """What home asked for."""
    receipt: SignedReceipt | None = None
    """Ours, once it has an outcome; it never changes."""
    countersignature: Signature = ""
    disputed: Words = ""
    inputs: tuple[str, ...] = ()
    """Artifacts of its home that it needs here."""
    fetched: tuple[str, ...] = ()
    """Its outputs that home has begun to fetch; home acknowledges the outcome once it has them."""
    settled_ms: int | None = None
    """When it was settled, from which the retention of its files counts; only where it has files."""
    files: FilesState = FilesState.HERE

    @property
    def litters(self) -> bool:
        """Whether it is over, and its files are here yet."""
        return self.settled_ms is not None and self.files is not FilesState.GONE

    @property
    def key(self) -> str:
        """Its name among the records."""
        return guest_key(self.home, self.workload, self.epoch)


def guest_key(home: str, workload: str, epoch: int) -> str:
    """The name of an epoch's record at a visited factory."""
    return f"{home}/{workload}.{epoch}"


def guest_workload(home: str, workload: str, epoch: int) -> str:
    """The id of the workload that runs an epoch at a visited factory: always the same for the same epoch."""
    return f"gw-{hashlib.sha256(guest_key(home, workload, epoch).encode()).hexdigest()[:32]}"


# --- messages --------------------------------------------------------------------------------------------------------


class _Message(Record, tag_field="message", frozen=True, kw_only=True):
    """Base of messages: each is about one epoch of one workload of its home."""

    workload: WorkloadId
    epoch: Epoch


class Reserve(_Message, tag="reserve", frozen=True, kw_only=True):
    """Home looks for a place."""

    spec_digest: Digest
    """Of the spec that a commit brings; see `spec_digest`."""
    demand: Demand
    mode: OnPartition
    lease_ms: Duration
    data: Data
    """With its origin said."""
    owner: Owner
    network: bool = False
    lasts_ms: int | None = None


class Reserved(_Message, tag="reserved", frozen=True, kw_only=True):
    """Visited holds room for a while."""

    resv: Nonce
    ttl_ms: Duration
    shape: Shape
    rate: Rate


class Refused(_Message, tag="refused", frozen=True, kw_only=True):
    """Visited holds none, and why."""

    reason: Words
    sentence: Words = ""


class Commit(_Message, tag="commit", frozen=True, kw_only=True):
    """Home has recorded where the epoch is; sent again until anything about it is heard."""

    resv: Nonce
    spec: WorkloadSpec
    owner: Owner
    shape: Shape
    mode: OnPartition
    lease_ms: Duration
    rate: Rate
    verdict_not_after_ms: int | None = None


class Committed(_Message, tag="committed", frozen=True, kw_only=True):
    """Visited has recorded it."""

    state: GuestState


class NotHeld(_Message, tag="not_held", frozen=True, kw_only=True):
    """Visited has no record of the epoch, and will never have one under this reservation."""

    resv: Nonce


class Unknown(_Message, tag="unknown", frozen=True, kw_only=True):
    """Visited's store is another one than that which made the reservation: it cannot say."""

    resv: Nonce


class Renew(_Message, tag="renew", frozen=True, kw_only=True):
    """Visited asks to go on; without a lease, a sign of life."""

    req: Nonce
    started_ms: int | None = None
    usage: Usage = Usage()


class RenewOk(_Message, tag="renew_ok", frozen=True, kw_only=True):
    """Home lets it go on."""

    req: Nonce


class Stop(_Message, tag="stop", frozen=True, kw_only=True):
    """Home wants it ended."""

    resv: Nonce
    reason: StopReason


class Complete(_Message, tag="complete", frozen=True, kw_only=True):
    """Visited has recorded the outcome; sent again until it is acknowledged."""

    outcome: Outcome
    receipt: SignedReceipt


class CompleteAck(_Message, tag="complete_ack", frozen=True, kw_only=True):
    """Home has closed the epoch, with this result or before it."""

    accepted: bool


class ReceiptAgain(_Message, tag="receipt", frozen=True, kw_only=True):
    """The receipt that was in `complete`, until it is countersigned or disputed."""

    receipt: SignedReceipt


class Countersign(_Message, tag="countersign", frozen=True, kw_only=True):
    """Home pays."""

    receipt_digest: Digest
    signature: Signature


class Dispute(_Message, tag="dispute", frozen=True, kw_only=True):
    """Home does not pay, and why."""

    receipt_digest: Digest
    reason: Words


class Settled(_Message, tag="settled", frozen=True, kw_only=True):
    """Visited has recorded what home said about the receipt."""

    receipt_digest: Digest


class Recall(_Message, tag="recall", frozen=True, kw_only=True):
    """Home's store was put back: end what you have of the workload from `epoch` on, and say what you know of it.

    `epoch` is the first one that home does not know.
    """


class Recalled(_Message, tag="recalled", frozen=True, kw_only=True):
    """Nothing of the workload from `epoch` on is held or runs at visited any more."""

    highest: Annotated[int, msgspec.Meta(ge=0, le=1 << 31)] = 0
    """The highest epoch that it has a record of; 0 for none."""
    receipt: SignedReceipt | None = None
    """Of the epoch just below, if that has an outcome: home may wait for it, although all was said about it once."""


class LogAsk(Record, frozen=True, kw_only=True):
    """Home asks for a piece of the log of an epoch that a peer has, or had."""

    workload: WorkloadId
    epoch: Epoch
    offset: Annotated[int, msgspec.Meta(ge=-(1 << 53), le=1 << 53)] = 0
    """Negative counts from the end."""
    limit: Annotated[int, msgspec.Meta(ge=1, le=1 << 19)] = 1 << 16


class Side(StrEnum):
    """Which way files go."""

    INPUT = "input"
    """From home to the factory that runs: the working folder and the mounts, datasets among them."""
    OUTPUT = "output"
    """From the factory that ran it to home."""


class FileAsk(Record, frozen=True, kw_only=True):
    """A factory asks for a piece of a file, or of a manifest, that belongs to an epoch."""

    workload: WorkloadId
    epoch: Epoch
    side: Side
    digest: Annotated[str, msgspec.Meta(pattern=r"^sha256:[0-9a-f]{64}$")]
    offset: Annotated[int, msgspec.Meta(ge=0, le=1 << 53)] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=1 << 19)] = 1 << 19


class Piece(Record, frozen=True, kw_only=True):
    """The answer: bytes from `offset` on, fewer than asked for only at the end."""

    size_bytes: Annotated[int, msgspec.Meta(ge=0)]
    """Of the whole."""
    data: bytes


FromHome = Reserve | Commit | RenewOk | Stop | CompleteAck | Countersign | Dispute | Recall
FromVisited = (
    Reserved | Refused | Committed | NotHeld | Unknown | Renew | Complete | ReceiptAgain | Settled | Recalled
)
Message = FromHome | FromVisited


def receipt_bytes(receipt: Receipt) -> bytes:
    """The canonical bytes of a receipt, which both factories sign."""
    return canonical(receipt)


def as_signed(receipt: Receipt) -> Receipt:
    """An equal receipt that crosses without defaults, so that its reader has to sort the keys and no more."""
    return as_canonical(receipt)


def receipt_digest(receipt: Receipt) -> str:
    """SHA-256 of them, hexadecimal."""
    return hashlib.sha256(receipt_bytes(receipt)).hexdigest()


def spec_digest(spec: WorkloadSpec) -> str:
    """SHA-256 of the canonical JSON of a spec as it travels, hexadecimal: `reserve` announces it, `commit` has it."""
    return hashlib.sha256(canonical(spec)).hexdigest()
