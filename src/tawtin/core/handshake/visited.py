"""The visited side: it runs an epoch at most once, writes its outcome once, and says so until it is heard.

Reservations, stamps and requests to renew are volatile (`Held`): a crash forgets them, and what they stood for is then
answered with `not_held`, or asked anew. What is durable is the `Guest` and the run that it names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from msgspec.structs import replace

from tawtin.core import meter
from tawtin.core.handshake import timing
from tawtin.core.handshake.move import NOTHING, Move
from tawtin.model.events import Event, GuestPut, RunEnded, RunPlaced, StopOrdered, WorkloadsSubmitted
from tawtin.model.reasons import Cause, Refusal
from tawtin.model.resources import Shape
from tawtin.model.roaming import (
    Commit,
    Committed,
    Complete,
    CompleteAck,
    Countersign,
    Dispute,
    FromHome,
    Guest,
    GuestState,
    NotHeld,
    Recall,
    Recalled,
    ReceiptAgain,
    Refused,
    Renew,
    RenewOk,
    Reserve,
    Reserved,
    Settled,
    Stop,
    StopReason,
    Terms,
    Unknown,
    as_signed,
    guest_workload,
    receipt_bytes,
    receipt_digest,
    spec_digest,
)
from tawtin.model.workload import (
    OnPartition,
    Outcome,
    Receipt,
    Run,
    SignedReceipt,
    Workload,
    inputs_of,
)

_CAUSES: Final = {
    StopReason.CANCELLED: Cause.CANCELLED,
    StopReason.FENCED: Cause.FENCED,
    StopReason.RESIDENCY: Cause.RESIDENCY,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Room held for one epoch of a peer's workload, for a while."""

    epoch: int
    resv: str
    stamp_ms: int
    """Our own clock when `reserved` was sent, from which the first lease counts."""
    until_ms: int
    shape: Shape
    nodes: tuple[str, ...]
    reply: Reserved
    spec_digest: str
    """Of the spec that the place was found for."""


@dataclass(slots=True, kw_only=True)
class Held:
    """What is volatile about one workload of one peer."""

    reservation: Reservation | None = None
    asked: dict[str, int] = field(default_factory=dict[str, int])
    """Requests to renew the present epoch that are not answered: request -> our clock when it was sent."""
    lease_from_ms: int | None = None
    """The stamp that the present deadline counts from."""
    renew_at_ms: int = 0
    told_started: int = 0
    """The epoch of which home was told that it has started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visited:
    """What the visited factory knows when it hears a message."""

    name: str
    incarnation: str
    """Of our store; reservations of another one are unknown."""
    terms: Terms
    guest: Guest | None
    """The record of the epoch that the message names, live or not."""
    run: Run | None
    """Its live run."""
    lower: tuple[Run, ...]
    """Live runs of lower epochs of the same workload."""
    held: Held
    refusal: str
    """Why nothing may be reserved for this peer or this data; empty if it may."""
    sound: bool
    """Whether a countersignature in the message is the home's."""
    boot_ms: int
    """Our clock for leases, which counts suspended time."""
    now_ms: int


def reserve(visited: Visited, message: Reserve) -> Move | None:
    """Answer `reserve` without looking for room; None if room has to be looked for."""
    held, guest = visited.held.reservation, visited.guest
    if guest is not None:
        return Move(send=(Committed(workload=message.workload, epoch=message.epoch, state=guest.state),))
    if held is not None and held.until_ms > visited.boot_ms and held.epoch >= message.epoch:
        if held.epoch == message.epoch:
            return Move(send=(held.reply,))
        return refuse(message, "Superseded", "a later epoch has a reservation here")
    if visited.refusal:
        return refuse(message, Refusal.NO_LAWFUL_FACTORY.value, visited.refusal)
    if visited.lower:
        return Move(
            events=_fence(visited.lower),
            send=refuse(message, "EarlierEpochEnds", "an earlier attempt at it ends here first").send,
            drop=True,
        )
    return None


def refuse(message: Reserve | Commit, reason: str, sentence: str) -> Move:
    """Hold nothing."""
    refused = Refused(workload=message.workload, epoch=message.epoch, reason=reason, sentence=sentence[:1024])
    return Move(send=(refused,))


def hear(
    visited: Visited,
    message: FromHome,
    home: str,
    build: Callable[[Commit, Reservation], tuple[Workload, Run] | None],
) -> Move:
    """Answer one message of a home factory but `reserve`.

    `build` gives the workload and the run that a commit makes here, or None if the reserved room is not there any more.
    """
    if isinstance(message, Commit):
        return _commit(visited, message, home, build)
    if isinstance(message, Stop):
        return _stop(visited, message)
    if isinstance(message, RenewOk):
        return _renewed(visited, message)
    guest = visited.guest
    if guest is None or guest.receipt is None:
        return NOTHING  # no money without a record that has an outcome
    if isinstance(message, CompleteAck):
        return _acked(guest)
    if isinstance(message, Countersign | Dispute):
        return _settle(visited, guest, guest.receipt, message)
    return NOTHING


def _commit(
    visited: Visited,
    message: Commit,
    home: str,
    build: Callable[[Commit, Reservation], tuple[Workload, Run] | None],
) -> Move:
    if visited.guest is not None:
        said = Committed(workload=message.workload, epoch=message.epoch, state=visited.guest.state)
        return Move(send=(said,))
    held = visited.held.reservation
    if not _is_known(visited, message.resv):
        return Move(send=(Unknown(workload=message.workload, epoch=message.epoch, resv=message.resv),))
    alive = held is not None and held.resv == message.resv and held.until_ms > visited.boot_ms
    if held is not None and alive and spec_digest(message.spec) != held.spec_digest:
        return _another_spec(message, home)
    made = None
    if (
        held is not None
        and alive
        and held.epoch == message.epoch
        and not visited.lower
        and not visited.refusal
    ):
        made = build(message, held)
    if made is None or held is None:
        said = NotHeld(workload=message.workload, epoch=message.epoch, resv=message.resv)
        ours = held is not None and held.resv == message.resv
        return Move(events=_fence(visited.lower), send=(said,), drop=ours)
    workload, run = made
    guest = Guest(
        home=home,
        workload=message.workload,
        epoch=message.epoch,
        resv=message.resv,
        mode=message.mode,
        lease_ms=message.lease_ms,
        verdict_not_after_ms=message.verdict_not_after_ms,
        local=workload.id,
        inputs=inputs_of(message.spec),
    )
    events = (WorkloadsSubmitted(workloads=(workload,)), GuestPut(guest=guest), RunPlaced(run=run))
    said = Committed(workload=message.workload, epoch=message.epoch, state=guest.state)
    extend_ms = None
    if message.mode is OnPartition.RERUN:
        extend_ms = timing.deadline_ms(held.stamp_ms, message.lease_ms, visited.terms.stop_ms)
    return Move(events=events, send=(said,), drop=True, extend_ms=extend_ms)


def _another_spec(message: Commit, home: str) -> Move:
    """The place was found, and judged, for another spec: nothing of this one is taken on."""
    refused = refuse(message, "SpecDiffers", "the spec of this commit is not the one that was reserved for")
    gone = NotHeld(workload=message.workload, epoch=message.epoch, resv=message.resv)
    return Move(
        send=(*refused.send, gone),
        drop=True,
        alarm=f"`{home}` committed {message.workload}.{message.epoch} with another spec than it reserved for",
    )


def _stop(visited: Visited, message: Stop) -> Move:
    guest, run = visited.guest, visited.run
    if guest is None:
        if not _is_known(visited, message.resv):
            return Move(send=(Unknown(workload=message.workload, epoch=message.epoch, resv=message.resv),))
        held = visited.held.reservation
        return Move(
            send=(NotHeld(workload=message.workload, epoch=message.epoch, resv=message.resv),),
            drop=held is not None and held.epoch <= message.epoch,
        )
    if guest.receipt is not None:
        return Move(send=repeat(guest))
    events: list[Event] = []
    if guest.stop is None:
        events.append(GuestPut(guest=replace(guest, stop=message.reason)))
    if run is not None and run.stop is None:
        events.append(StopOrdered(run=run.id, cause=_CAUSES[message.reason]))
    return Move(events=tuple(events))


def _renewed(visited: Visited, message: RenewOk) -> Move:
    """A grant counts from the moment at which it was asked for, and only while the lease is alive."""
    guest = visited.guest
    stamp_ms = visited.held.asked.get(message.req)
    if guest is None or guest.receipt is not None or stamp_ms is None or guest.mode is not OnPartition.RERUN:
        return NOTHING
    deadline_ms = timing.deadline_ms(stamp_ms, guest.lease_ms, visited.terms.stop_ms)
    if deadline_ms <= visited.boot_ms or _dead(visited, guest):
        return NOTHING
    return Move(extend_ms=deadline_ms)


def _dead(visited: Visited, guest: Guest) -> bool:
    """Whether the lease is known to be over; after a restart of the control plane only the fuse knows."""
    since_ms = visited.held.lease_from_ms
    if since_ms is None:
        return False
    return timing.deadline_ms(since_ms, guest.lease_ms, visited.terms.stop_ms) <= visited.boot_ms


def _acked(guest: Guest) -> Move:
    if guest.state is not GuestState.DONE:
        return NOTHING
    acked = replace(guest, state=GuestState.ACKED)
    return Move(events=(GuestPut(guest=acked),), send=repeat(acked))


def _settle(visited: Visited, guest: Guest, receipt: SignedReceipt, message: Countersign | Dispute) -> Move:
    if message.receipt_digest != receipt_digest(receipt.receipt):
        return NOTHING
    told = Settled(workload=guest.workload, epoch=guest.epoch, receipt_digest=message.receipt_digest)
    if guest.state is GuestState.SETTLED:
        return Move(send=(told,))
    if isinstance(message, Countersign):
        if not visited.sound:
            return Move(
                alarm=f"`{guest.home}` countersigned {guest.key} with a signature that is not its own"
            )
        settled = replace(guest, state=GuestState.SETTLED, countersignature=message.signature)
    else:
        settled = replace(guest, state=GuestState.SETTLED, disputed=message.reason or "disputed")
    if guest.inputs or receipt.receipt.outputs:
        settled = replace(settled, settled_ms=visited.now_ms)
    return Move(events=(GuestPut(guest=settled),), send=(told,))


def ended(guest: Guest, run: Run, event: RunEnded, name: str, sign: Callable[[bytes], str]) -> Guest:
    """The guest with its one outcome and receipt, once its run has ended here.

    That home cancelled counts only if home asked for it: what our own operators end is an interruption to home.
    """
    outcome = event.outcome
    if outcome is not Outcome.FINISHED:
        outcome = Outcome.CANCELLED if guest.stop is StopReason.CANCELLED else Outcome.INTERRUPTED
    receipt = Receipt(
        home=guest.home,
        visited=name,
        workload=guest.workload,
        epoch=guest.epoch,
        shape=run.shape,
        nodes=len(run.slots),
        rate=run.rate,
        outcome=outcome,
        cause=Cause.NODE_FAILED
        if event.cause is Cause.GPU_FAILED
        else event.cause,  # which all versions know
        exit_code=event.exit_code,
        message=event.message[:4096],
        started_ms=event.started_ms,
        ended_ms=event.ended_ms,
        usage=event.usage,
        cost_minor=meter.cost_minor(event.usage, run),
        outputs=event.outputs[:1000],
    )
    signed = SignedReceipt(receipt=as_signed(receipt), signature=sign(receipt_bytes(receipt)))
    return replace(guest, state=GuestState.DONE, receipt=signed)


def repeat(guest: Guest) -> tuple[Complete | ReceiptAgain, ...]:
    """What home has to be told until it answers: the outcome, then the receipt, then nothing."""
    if guest.receipt is None or guest.state is GuestState.SETTLED:
        return ()
    if guest.state is GuestState.DONE:
        outcome = guest.receipt.receipt.outcome
        return (Complete(workload=guest.workload, epoch=guest.epoch, outcome=outcome, receipt=guest.receipt),)
    return (ReceiptAgain(workload=guest.workload, epoch=guest.epoch, receipt=guest.receipt),)


def renewal(guest: Guest, run: Run, req: str) -> Renew:
    """Ask to go on."""
    return Renew(
        workload=guest.workload, epoch=guest.epoch, req=req, started_ms=run.started_ms, usage=run.usage
    )


def recall(message: Recall, above: tuple[Run, ...], before: Guest | None, highest: int) -> Move:
    """Tell a home whose store was put back what is known here, once nothing runs that it does not know.

    `above` are the live runs of its workload from the epoch of the message on, `before` is the record of the epoch just
    before, which home may wait for although all was said about it; `highest` is the highest epoch with a record.
    """
    if above:
        return Move(events=_fence(above), drop=True)
    receipt = before.receipt if before is not None else None
    said = Recalled(workload=message.workload, epoch=message.epoch, highest=highest, receipt=receipt)
    return Move(send=(said,), drop=True)


def _is_known(visited: Visited, resv: str) -> bool:
    """Whether we can say what became of a reservation: our store made it, or it is held at this moment."""
    held = visited.held.reservation
    return is_ours(resv, visited.incarnation) or (held is not None and held.resv == resv)


def is_ours(resv: str, incarnation: str) -> bool:
    """Whether a reservation was made by this store."""
    return resv.partition(".")[2] == incarnation


def local_id(home: str, message: Commit) -> str:
    """The id of the workload that a commit makes here."""
    return guest_workload(home, message.workload, message.epoch)


def _fence(runs: tuple[Run, ...]) -> tuple[Event, ...]:
    return tuple(StopOrdered(run=run.id, cause=Cause.FENCED) for run in runs if run.stop is None)
