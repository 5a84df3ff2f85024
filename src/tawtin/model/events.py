"""Everything that can become true in a factory. State is the fold of these, and the log is the list of them."""

from __future__ import annotations

import msgspec

from tawtin.model.artifact import Artifact
from tawtin.model.base import Record
from tawtin.model.gateway import Charge
from tawtin.model.health import Quarantine
from tawtin.model.reasons import Cause, Refusal
from tawtin.model.resources import Node
from tawtin.model.roaming import DroppedFiles, Guest, Peer
from tawtin.model.tenant import ApiKey, Tenant
from tawtin.model.workload import CloseKind, Kept, Outcome, Run, SignedReceipt, Usage, Workload


class _Event(Record, tag_field="event", frozen=True, kw_only=True):
    """Base of events; the tag is the class name."""


class TenantPut(_Event, tag=True, frozen=True, kw_only=True):
    """A tenant was created or changed."""

    tenant: Tenant
    by: str = ""


class KeyPut(_Event, tag=True, frozen=True, kw_only=True):
    """A key was issued, changed or revoked."""

    key: ApiKey
    by: str = ""


class NodePut(_Event, tag=True, frozen=True, kw_only=True):
    """An engine reported a node, or an operator changed its health."""

    node: Node


class NodeRemoved(_Event, tag=True, frozen=True, kw_only=True):
    """A node left the factory."""

    name: str


class QuarantinePut(_Event, tag=True, frozen=True, kw_only=True):
    """A GPU or a node was taken out of service, is being tried by a burn-in job, or came back."""

    quarantine: Quarantine
    by: str = ""


class SubmissionRefused(_Event, tag=True, frozen=True, kw_only=True):
    """A well-formed submission was not accepted."""

    tenant: str
    digest: str
    refusal: Refusal
    sentence: str


class WorkloadsSubmitted(_Event, tag=True, frozen=True, kw_only=True):
    """A submission was accepted: one workload, or all of an array."""

    workloads: tuple[Workload, ...]
    idempotency_key: str = ""
    request_sha256: str = ""
    verdict: str = ""
    """Why this factory is a lawful place for it: the rule and what it said."""


class CancelAsked(_Event, tag=True, frozen=True, kw_only=True):
    """Somebody asked for a workload's end."""

    workload: str
    by: str = ""


class ReplicaRested(_Event, tag=True, frozen=True, kw_only=True):
    """The last replica of a service rests until it is woken, or is woken."""

    workload: str
    rests: bool
    until_ms: int = 0
    """Of a workspace that is woken: it does not rest by itself before this time."""


class WorkspaceShared(_Event, tag=True, frozen=True, kw_only=True):
    """The owner of a workspace lets everybody of the tenant look at it, or no longer."""

    workload: str
    shared: bool


class ServiceScaled(_Event, tag=True, frozen=True, kw_only=True):
    """The load of a service asks for another number of replicas. What follows from that is recorded beside it."""

    tenant: str
    service: str
    before: int
    replicas: int
    why: str


class RunPlaced(_Event, tag=True, frozen=True, kw_only=True):
    """`decide` gave a workload a place, under a new epoch."""

    run: Run


class RunStarted(_Event, tag=True, frozen=True, kw_only=True):
    """The engine reports that the program runs."""

    run: str
    started_ms: int
    address: str = ""


class RunMetered(_Event, tag=True, frozen=True, kw_only=True):
    """What a run used so far; replaces the earlier report."""

    run: str
    usage: Usage


class StopOrdered(_Event, tag=True, frozen=True, kw_only=True):
    """A run is to be ended."""

    run: str
    cause: Cause
    for_workload: str = ""
    """The workload that it makes place for, if it is preempted."""


class RunEnded(_Event, tag=True, frozen=True, kw_only=True):
    """A run has an outcome. It is written once and never changed."""

    run: str
    outcome: Outcome
    cause: Cause
    exit_code: int | None = None
    message: str = ""
    started_ms: int | None = None
    ended_ms: int
    usage: Usage
    outputs: tuple[Kept, ...] = ()
    close: CloseKind | None = None
    """How home closed the epoch of a run that a peer had."""
    receipt: SignedReceipt | None = None
    countersignature: str = ""
    disputed: str = ""


class RunFenced(_Event, tag=True, frozen=True, kw_only=True):
    """A peer reported a result of an epoch that home had closed. It is kept aside, never used and never paid for."""

    run: Run


class GuestPut(_Event, tag=True, frozen=True, kw_only=True):
    """What this factory keeps of a run that it has for a peer began, or changed."""

    guest: Guest


class PeerPut(_Event, tag=True, frozen=True, kw_only=True):
    """A peer was added or changed."""

    peer: Peer
    by: str = ""


class ArtifactKept(_Event, tag=True, frozen=True, kw_only=True):
    """A tenant has an artifact here: uploaded, or made by a run."""

    artifact: Artifact


class ArtifactDropped(_Event, tag=True, frozen=True, kw_only=True):
    """A tenant gave up an artifact."""

    tenant: str
    id: str
    by: str = ""


class FilesCrossed(_Event, tag=True, frozen=True, kw_only=True):
    """An artifact crosses a border: recorded by its sender before the first byte, by its receiver after the last."""

    run: str
    """The run that it belongs to, under the name that it has here."""
    artifact: str
    peer: str
    country: str
    """The peer's, ISO 3166-1 alpha-2."""
    sent: bool
    """Whether it left this factory; otherwise it came in."""
    size_bytes: int
    """Of all its files; for what came in, those that were not here already."""
    rule: str = ""
    """The rule that lets it leave."""


class GuestFilesDropped(_Event, tag=True, frozen=True, kw_only=True):
    """Files of a guest that is over are not here any more, but for what something else names. Their bytes go next."""

    guest: str
    """Its home, workload and epoch, as `guest_key` has them."""
    dropped: tuple[DroppedFiles, ...] = ()


class GuestFilesGone(_Event, tag=True, frozen=True, kw_only=True):
    """The bytes of these files are deleted."""

    guest: str


class TokensCharged(_Event, tag=True, frozen=True, kw_only=True):
    """What requests for models cost since the last one of these is charged to the tenants' accounts."""

    charge: Charge
    instead_of: str = ""
    """The ledger that was charged last, if this one did not know it: its file was lost, or an older copy put back."""


class VerdictsLapsed(_Event, tag=True, frozen=True, kw_only=True):
    """An authorisation or a rule ended, so that the verdicts that depended on it are given anew."""


class StoreRestored(_Event, tag=True, frozen=True, kw_only=True):
    """The store was found to have been put back from a backup: it has a new incarnation from here on."""

    incarnation: str
    by: str
    """Who noticed: `mark`, `engine`, `operator`, or the name of a peer."""
    why: str


class RecallWaived(_Event, tag=True, frozen=True, kw_only=True):
    """A person said that a peer will never tell what it knows of us, so that it is not waited for."""

    peer: str
    by: str = ""
    why: str = ""


class EpochsRaised(_Event, tag=True, frozen=True, kw_only=True):
    """After a restore, all peers and the engine have told what they know: placing goes on, above their epochs."""

    epochs: dict[str, int] = {}
    """Workload -> the highest epoch that any of them knows, where that is above the last one here."""


Event = (
    TenantPut
    | KeyPut
    | NodePut
    | NodeRemoved
    | QuarantinePut
    | SubmissionRefused
    | WorkloadsSubmitted
    | CancelAsked
    | ReplicaRested
    | WorkspaceShared
    | ServiceScaled
    | RunPlaced
    | RunStarted
    | RunMetered
    | StopOrdered
    | RunEnded
    | ArtifactKept
    | ArtifactDropped
    | FilesCrossed
    | TokensCharged
    | VerdictsLapsed
    | RunFenced
    | GuestPut
    | GuestFilesDropped
    | GuestFilesGone
    | PeerPut
    | StoreRestored
    | RecallWaived
    | EpochsRaised
)


class Entry(Record, frozen=True, kw_only=True):
    """An event in the log: leaf number `seq` (from 0) of the factory's Merkle tree, and when it became true."""

    seq: int
    at_ms: int
    event: Event


_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(Entry)


def encode_entry(entry: Entry) -> bytes:
    """Return the canonical bytes of an entry: what is stored, hashed and shown to auditors."""
    return _encoder.encode(entry)


def decode_entry(body: bytes) -> Entry:
    """Return the entry in `body`. Raises msgspec.ValidationError."""
    return _decoder.decode(body)
