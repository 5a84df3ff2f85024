"""The home side: it alone says where an epoch is, whether its result counts, and when the next one may begin.

An epoch is closed by the peer's word (`not_held`, `complete`), by the timer of its lease, or by a person; no time-out
of an answer means no. What is durable is the run's record; an epoch is open as long as its run is live.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from msgspec.structs import replace

from tawtin.core import meter
from tawtin.core.handshake.move import NOTHING, Move
from tawtin.model.events import Event, RunEnded, RunFenced, RunStarted, StopOrdered
from tawtin.model.reasons import Cause
from tawtin.model.roaming import (
    Committed,
    Complete,
    CompleteAck,
    Countersign,
    Dispute,
    FromVisited,
    Message,
    NotHeld,
    ReceiptAgain,
    Renew,
    RenewOk,
    Reserved,
    Settled,
    Stop,
    StopReason,
    Unknown,
    receipt_bytes,
    receipt_digest,
)
from tawtin.model.workload import CloseKind, Outcome, Roam, Run, RunState, SignedReceipt, Usage

_PAID: Final = (CloseKind.FINISHED, CloseKind.CANCELLED)
_CLOSES: Final = {
    Outcome.FINISHED: CloseKind.FINISHED,
    Outcome.CANCELLED: CloseKind.CANCELLED,
    Outcome.INTERRUPTED: CloseKind.INTERRUPTED,
}
_REASONS: Final = {Cause.CANCELLED: StopReason.CANCELLED, Cause.RESIDENCY: StopReason.RESIDENCY}
_SLACK_MS: Final = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """What home knows about the epoch that a message names."""

    name: str
    """Our own."""
    last: int
    """The last epoch that may have been given out for the workload; 0 if there is no such workload."""
    run: Run | None
    """The record of the epoch, live or not."""
    lawful: bool
    """Whether the workload may still be at that peer."""
    sound: bool
    """Whether a receipt in the message bears the peer's signature."""
    sign: Callable[[bytes], str]
    now_ms: int
    restored: bool = False
    """Whether it is known that the store was once put back from a backup."""
    missing: Mapping[str, str] = field(default_factory=dict[str, str])
    """Outputs of the message that could not be brought here -> why."""


def hear(home: Home, sender: str, message: FromVisited) -> Move:
    """Answer one message of a visited factory. `reserved` to a workload that waits is `runtime`'s to place."""
    run = home.run
    if message.epoch > home.last:
        return NOTHING if isinstance(message, Reserved) else _beyond(home, sender, message)
    if run is None or run.roam is None or run.factory != sender:
        return _stranger(home, sender, message)
    if isinstance(message, Renew):
        return _renew(home, run, run.roam, message)
    if isinstance(message, Complete):
        return _complete(home, run, run.roam, message)
    if isinstance(message, ReceiptAgain) and not is_open(run):
        return Move(send=(_about_money(run.roam, message, message.receipt),))
    if isinstance(message, Unknown) and is_open(run) and run.roam.resv == message.resv:
        return Move(
            alarm=f"`{sender}` cannot say what became of {run.id}, as its store was put back or lost: ask its "
            f"operator whether anything of it runs there, and then `tawtin lost {run.workload}`"
        )
    if isinstance(message, NotHeld) and is_open(run) and run.roam.resv == message.resv:
        return Move(events=(closed(run, CloseKind.RELEASED, Cause.NOT_HELD, home.now_ms),), heard=True)
    return Move(heard=isinstance(message, Committed | Settled))


def _beyond(home: Home, sender: str, message: FromVisited) -> Move:
    """A message about an epoch that this store never gave out: it shows that the store was put back from a backup.

    Once that is known, what runs is stopped and what has ended is disputed: nobody here can say what was agreed on.
    """
    return Move(
        send=_refusal(message) if home.restored else (),
        alarm=f"`{sender}` speaks of epoch {message.epoch} of {message.workload}; the last one here is {home.last}",
        back=True,
    )


def is_open(run: Run) -> bool:
    """Whether nothing has closed the run's epoch yet."""
    return run.state is not RunState.DONE


def closed(run: Run, kind: CloseKind, cause: Cause, now_ms: int, message: str = "") -> RunEnded:
    """Close an epoch that gave no result."""
    return RunEnded(
        run=run.id,
        outcome=Outcome.INTERRUPTED,
        cause=cause,
        message=message,
        ended_ms=now_ms,
        usage=Usage(),
        close=kind,
    )


def stop_of(run: Run) -> Stop | None:
    """What the peer has to be told about this run, open or closed, if it has to be told to stop."""
    if run.roam is None:
        return None
    if is_open(run):
        if run.stop is None:
            return None
        reason = _REASONS.get(run.stop, StopReason.FENCED)
    else:
        reason = StopReason.FENCED
    return Stop(workload=run.workload, epoch=run.epoch, resv=run.roam.resv, reason=reason)


def _stranger(home: Home, sender: str, message: FromVisited) -> Move:
    """A message about an epoch that is not the sender's."""
    if isinstance(message, Complete | ReceiptAgain) and home.run is not None and is_open(home.run):
        where = home.run.factory or home.name
        return Move(alarm=f"`{sender}` reports a result of {home.run.id}, which is at `{where}`: its fault")
    return Move(send=_refusal(message))


def _refusal(message: FromVisited) -> tuple[Message, ...]:
    """What is said about an epoch that was never given to the sender, as far as is known here."""
    if isinstance(message, Renew):
        return (
            Stop(workload=message.workload, epoch=message.epoch, resv=message.req, reason=StopReason.FENCED),
        )
    if not isinstance(message, Complete | ReceiptAgain):
        return ()
    digest = receipt_digest(message.receipt.receipt)
    reason = "this epoch was never given to you"
    dispute = Dispute(workload=message.workload, epoch=message.epoch, receipt_digest=digest, reason=reason)
    if isinstance(message, ReceiptAgain):
        return (dispute,)
    return CompleteAck(workload=message.workload, epoch=message.epoch, accepted=False), dispute


def _renew(home: Home, run: Run, roam: Roam, message: Renew) -> Move:
    if not is_open(run):
        stop = Stop(workload=run.workload, epoch=run.epoch, resv=roam.resv, reason=StopReason.FENCED)
        return Move(send=(stop,), heard=True)
    events: list[Event] = []
    if message.started_ms is not None and run.state is RunState.PLACED:
        events.append(RunStarted(run=run.id, started_ms=message.started_ms))
    if run.stop is None and not home.lawful:
        events.append(StopOrdered(run=run.id, cause=Cause.RESIDENCY))
        stop = Stop(workload=run.workload, epoch=run.epoch, resv=roam.resv, reason=StopReason.RESIDENCY)
        return Move(events=tuple(events), send=(stop,), heard=True)
    stop = stop_of(run)
    if stop is not None:
        return Move(events=tuple(events), send=(stop,), heard=True)
    ok = RenewOk(workload=run.workload, epoch=run.epoch, req=message.req)
    return Move(events=tuple(events), send=(ok,), heard=True, granted=True)


def _complete(home: Home, run: Run, roam: Roam, message: Complete) -> Move:
    if is_open(run):
        return _accept(home, run, message)
    events: tuple[Event, ...] = ()
    if roam.receipt is None:
        kept = replace(roam, receipt=message.receipt, disputed=_late(roam))
        events = (RunFenced(run=replace(run, roam=kept, version=run.version + 1)),)
        roam = kept
    ack = CompleteAck(workload=run.workload, epoch=run.epoch, accepted=roam.close in _PAID)
    return Move(events=events, send=(ack, _about_money(roam, message, message.receipt)), heard=True)


def _late(roam: Roam) -> str:
    how = roam.close.value if roam.close is not None else "closed"
    return f"home had closed the epoch as {how} before it heard of this result"


def _accept(home: Home, run: Run, message: Complete) -> Move:
    """Close the epoch with the peer's result, and pay for it if its receipt is as agreed."""
    receipt, kind = message.receipt.receipt, _CLOSES[message.outcome]
    disputed = quarrel(home, run, message)
    if kind not in _PAID:
        disputed = disputed or "an interrupted run is not paid for"
    signature = "" if disputed else home.sign(receipt_bytes(receipt))
    ended = RunEnded(
        run=run.id,
        outcome=message.outcome,
        cause=receipt.cause if kind in _PAID else Cause.PEER_ENDED,
        exit_code=receipt.exit_code,
        message="; ".join((*([receipt.message] if receipt.message else []), *_unhad(home))),
        started_ms=receipt.started_ms,
        ended_ms=home.now_ms,
        usage=Usage() if disputed else receipt.usage,
        outputs=tuple(each for each in receipt.outputs if each.name not in home.missing)
        if kind is CloseKind.FINISHED
        else (),
        close=kind,
        receipt=message.receipt,
        countersignature=signature,
        disputed=disputed,
    )
    ack = CompleteAck(workload=run.workload, epoch=run.epoch, accepted=kind in _PAID)
    told = (
        Roam(resv="", mode=run.roam.mode, countersignature=signature, disputed=disputed) if run.roam else None
    )
    money = (_about_money(told, message, message.receipt),) if told is not None else ()
    return Move(events=(ended,), send=(ack, *money), heard=True)


def _unhad(home: Home) -> tuple[str, ...]:
    return tuple(f"output `{name}` is not here: {why}" for name, why in sorted(home.missing.items()))


def quarrel(home: Home, run: Run, message: Complete) -> str:
    """Why a receipt is not what was agreed on; empty if it is."""
    receipt = message.receipt.receipt
    if not home.sound:
        return "the receipt does not bear the signature of the factory that ran it"
    wanted = (
        home.name,
        run.factory,
        run.workload,
        run.epoch,
        run.shape,
        run.nodes,
        run.rate,
        message.outcome,
    )
    got = (
        receipt.home, receipt.visited, receipt.workload, receipt.epoch, receipt.shape, receipt.nodes, receipt.rate,
        receipt.outcome,
    )  # fmt: skip
    if wanted != got:
        return "the receipt is about something else than what was committed"
    usage = receipt.usage
    if receipt.cost_minor != meter.cost_minor(usage, run):
        return f"the receipt asks for {receipt.cost_minor}; its usage at the agreed rate costs otherwise"
    if usage.wall_ms > 2 * max(0, home.now_ms - run.placed_ms) + _SLACK_MS:
        return f"the receipt counts {usage.wall_ms} ms, longer than it has been away"
    if usage.gpu_ms > run.shape.gpus * run.nodes * (usage.wall_ms + _SLACK_MS):
        return "the receipt counts more GPU time than its GPUs had"
    return ""


def _about_money(
    roam: Roam, message: Complete | ReceiptAgain, receipt: SignedReceipt
) -> Countersign | Dispute:
    """The same answer about the same receipt, however often it is asked for."""
    digest = receipt_digest(receipt.receipt)
    same = roam.receipt is None or roam.receipt == receipt
    if roam.countersignature and same:
        return Countersign(
            workload=message.workload,
            epoch=message.epoch,
            receipt_digest=digest,
            signature=roam.countersignature,
        )
    reason = roam.disputed if same else "another receipt was given for this epoch before"
    return Dispute(
        workload=message.workload,
        epoch=message.epoch,
        receipt_digest=digest,
        reason=reason or "not accepted",
    )
