"""The tables of the handshake, row by row: what is written, and what is said."""

from __future__ import annotations

from dataclasses import replace as changed

import pytest
from msgspec.structs import replace

from tawtin.core.handshake import home as homes
from tawtin.core.handshake import visited
from tawtin.core.handshake.home import Home
from tawtin.core.handshake.visited import Held, Reservation, Visited
from tawtin.model.events import GuestPut, RunEnded, RunFenced, StopOrdered
from tawtin.model.money import Rate
from tawtin.model.reasons import Cause
from tawtin.model.resources import Shape, Slot
from tawtin.model.roaming import (
    Commit,
    Committed,
    Complete,
    CompleteAck,
    Countersign,
    Dispute,
    Guest,
    GuestState,
    NotHeld,
    ReceiptAgain,
    Refused,
    Renew,
    RenewOk,
    Reserved,
    Settled,
    Stop,
    StopReason,
    Terms,
    Unknown,
    receipt_digest,
    spec_digest,
)
from tawtin.model.workload import CloseKind, OnPartition, Outcome, Owner, Roam, Run, RunState, Usage
from tests.core.building import spec

WL, RESV, REQ = "wl-1", "0" * 32 + ".0", "1" * 32
SHAPE = spec().demand.options[0]
RATE = Rate(currency="MAD", minor_per_gpu_hour=3_600)
RUN = Run(
    id="wl-1.2", workload=WL, tenant="lab", epoch=2, factory="nairobi", shape=SHAPE, nodes=1, rate=RATE, placed_ms=0,
    roam=Roam(resv=RESV, mode=OnPartition.RERUN, lease_ms=60_000, wait_ms=61_214),
)  # fmt: skip
HERE = Run(
    id="gw-1.1", workload="gw-1", tenant="peer-casa", epoch=1, shape=SHAPE, slots=(Slot(node="n", gpus=(0,)),),
    rate=RATE, placed_ms=0,
)  # fmt: skip
GUEST = Guest(
    home="casa", workload=WL, epoch=2, resv=RESV, mode=OnPartition.RERUN, lease_ms=60_000, local="gw-1"
)
ENDED = RunEnded(
    run="gw-1.1", outcome=Outcome.FINISHED, cause=Cause.COMPLETED, exit_code=0, started_ms=1, ended_ms=1_001,
    usage=Usage(wall_ms=1_000, gpu_model="H100", gpu_ms=1_000),
)  # fmt: skip
DONE = visited.ended(GUEST, HERE, ENDED, "nairobi", lambda _: "signed")
COMPLETE = Complete(
    workload=WL, epoch=2, outcome=Outcome.FINISHED, receipt=DONE.receipt or pytest.fail("no receipt")
)
DIGEST = receipt_digest(COMPLETE.receipt.receipt)


def home(run: Run | None = RUN, *, last: int = 2, lawful: bool = True, sound: bool = True) -> Home:
    return Home(
        name="casa", last=last, run=run, lawful=lawful, sound=sound, sign=lambda _: "counter", now_ms=5_000
    )


def closed(kind: CloseKind) -> Run:
    roam = replace(RUN.roam, close=kind) if RUN.roam else None
    return replace(RUN, state=RunState.DONE, roam=roam)


# --- home ---


def test_a_renewal_of_an_open_epoch_is_granted_and_starts_the_timer_anew():
    move = homes.hear(home(), "nairobi", Renew(workload=WL, epoch=2, req=REQ))
    assert move.send == (RenewOk(workload=WL, epoch=2, req=REQ),)
    assert move.granted
    assert move.events == ()


@pytest.mark.parametrize(
    ("cause", "want"), [(Cause.CANCELLED, StopReason.CANCELLED), (Cause.RESIDENCY, StopReason.RESIDENCY)]
)
def test_a_renewal_of_a_run_that_is_to_stop_is_answered_with_stop(cause: Cause, want: StopReason):
    move = homes.hear(home(replace(RUN, stop=cause)), "nairobi", Renew(workload=WL, epoch=2, req=REQ))
    assert move.send == (Stop(workload=WL, epoch=2, resv=RESV, reason=want),)
    assert not move.granted


def test_a_renewal_after_the_verdict_was_withdrawn_stops_the_run():
    move = homes.hear(home(lawful=False), "nairobi", Renew(workload=WL, epoch=2, req=REQ))
    assert move.events == (StopOrdered(run="wl-1.2", cause=Cause.RESIDENCY),)
    assert move.send == (Stop(workload=WL, epoch=2, resv=RESV, reason=StopReason.RESIDENCY),)


@pytest.mark.parametrize("kind", list(CloseKind))
def test_a_renewal_of_a_closed_epoch_is_answered_with_stop(kind: CloseKind):
    move = homes.hear(home(closed(kind)), "nairobi", Renew(workload=WL, epoch=2, req=REQ))
    assert move.send == (Stop(workload=WL, epoch=2, resv=RESV, reason=StopReason.FENCED),)
    assert move.events == ()


def test_not_held_releases_the_epoch_if_it_names_the_reservation_that_was_committed():
    (event,) = homes.hear(home(), "nairobi", NotHeld(workload=WL, epoch=2, resv=RESV)).events
    assert isinstance(event, RunEnded)
    assert (event.close, event.outcome, event.cause) == (
        CloseKind.RELEASED,
        Outcome.INTERRUPTED,
        Cause.NOT_HELD,
    )
    other = NotHeld(workload=WL, epoch=2, resv="2" * 32 + ".0")
    assert homes.hear(home(), "nairobi", other).events == ()


def test_a_result_of_the_open_epoch_is_accepted_and_paid_for():
    move = homes.hear(home(), "nairobi", COMPLETE)
    (event,) = move.events
    assert isinstance(event, RunEnded)
    assert (event.close, event.countersignature, event.disputed) == (CloseKind.FINISHED, "counter", "")
    assert event.usage == ENDED.usage
    assert move.send == (
        CompleteAck(workload=WL, epoch=2, accepted=True),
        Countersign(workload=WL, epoch=2, receipt_digest=DIGEST, signature="counter"),
    )


@pytest.mark.parametrize("kind", [CloseKind.EXPIRED, CloseKind.LOST, CloseKind.RELEASED])
def test_a_result_of_an_epoch_that_was_given_up_is_kept_aside_and_disputed(kind: CloseKind):
    move = homes.hear(home(closed(kind)), "nairobi", COMPLETE)
    (event,) = move.events
    assert isinstance(event, RunFenced)
    assert event.run.roam is not None
    assert event.run.roam.receipt == COMPLETE.receipt
    assert move.send[0] == CompleteAck(workload=WL, epoch=2, accepted=False)
    assert isinstance(move.send[1], Dispute)
    again = homes.hear(home(event.run), "nairobi", COMPLETE)
    assert (again.events, again.send) == ((), move.send), "the same answer, and nothing new to write"


def test_an_interrupted_run_is_not_paid_for():
    told = replace(COMPLETE.receipt.receipt, outcome=Outcome.INTERRUPTED)
    message = replace(COMPLETE, outcome=Outcome.INTERRUPTED, receipt=replace(COMPLETE.receipt, receipt=told))
    (event,) = homes.hear(home(), "nairobi", message).events
    assert isinstance(event, RunEnded)
    assert (event.close, event.countersignature) == (CloseKind.INTERRUPTED, "")
    assert event.disputed


@pytest.mark.parametrize(
    "change",
    [
        {"cost_minor": 1_000_000},
        {"rate": Rate(currency="MAD", minor_per_gpu_hour=9_999)},
        {"visited": "lagos"},
        {"home": "cairo"},
        {"workload": "wl-2"},
        {"nodes": 2},
        {"shape": Shape(cpus_milli=1)},
        {"usage": Usage(wall_ms=10**9)},
        {"usage": Usage(wall_ms=1_000, gpu_ms=10**9)},
    ],
)
def test_a_receipt_that_is_not_as_agreed_is_disputed_and_moves_no_money(change: dict[str, object]):
    told = replace(COMPLETE.receipt.receipt, **change)
    move = homes.hear(home(), "nairobi", replace(COMPLETE, receipt=replace(COMPLETE.receipt, receipt=told)))
    (event,) = move.events
    assert isinstance(event, RunEnded)
    assert (event.close, event.countersignature, event.usage) == (CloseKind.FINISHED, "", Usage())
    assert isinstance(move.send[1], Dispute)


def test_a_receipt_with_a_forged_signature_is_disputed():
    (event,) = homes.hear(home(sound=False), "nairobi", COMPLETE).events
    assert isinstance(event, RunEnded)
    assert "signature" in event.disputed


def test_a_result_from_another_peer_changes_nothing_and_raises_an_alarm():
    move = homes.hear(home(), "lagos", COMPLETE)
    assert (move.events, move.send) == ((), ())
    assert "`lagos` reports a result of wl-1.2" in move.alarm


def test_an_epoch_above_the_last_one_raises_an_alarm():
    move = homes.hear(home(last=1), "nairobi", COMPLETE)
    assert (move.events, move.send) == ((), ())
    assert "the last one here is 1" in move.alarm


def test_a_receipt_is_ignored_while_the_epoch_is_open():
    move = homes.hear(home(), "nairobi", ReceiptAgain(workload=WL, epoch=2, receipt=COMPLETE.receipt))
    assert (move.events, move.send) == ((), ())


# --- visited ---


def there(
    guest: Guest | None = GUEST, *, held: Held | None = None, boot_ms: int = 10_000, sound: bool = True
) -> Visited:
    return Visited(
        name="nairobi", incarnation="0", terms=Terms(), guest=guest, run=HERE if guest else None, lower=(),
        held=held or Held(), refusal="", sound=sound, boot_ms=boot_ms, now_ms=10_000,
    )  # fmt: skip


def commit(resv: str = RESV) -> Commit:
    return Commit(
        workload=WL, epoch=2, resv=resv, spec=spec(), owner=Owner(), shape=SHAPE, mode=OnPartition.RERUN,
        lease_ms=60_000, rate=RATE,
    )  # fmt: skip


def reservation(**change: object) -> Held:
    reply = Reserved(workload=WL, epoch=2, resv=RESV, ttl_ms=5_000, shape=SHAPE, rate=RATE)
    made = Reservation(
        epoch=2, resv=RESV, stamp_ms=9_000, until_ms=14_000, shape=SHAPE, nodes=("n",), reply=reply,
        spec_digest=spec_digest(spec()),
    )  # fmt: skip
    return Held(reservation=changed(made, **change))


def never(_message: Commit, _held: Reservation) -> None:
    pytest.fail("nothing may be built")


def test_a_commit_again_is_answered_and_never_starts_again():
    move = visited.hear(there(), commit(), "casa", never)
    assert move.send == (Committed(workload=WL, epoch=2, state=GuestState.COMMITTED),)
    assert move.events == ()


@pytest.mark.parametrize(
    "held", [Held(), reservation(resv="2" * 32 + ".0"), reservation(until_ms=10_000), reservation(epoch=1)]
)
def test_a_commit_without_its_living_reservation_is_not_held(held: Held):
    move = visited.hear(there(None, held=held), commit(), "casa", never)
    assert move.send == (NotHeld(workload=WL, epoch=2, resv=RESV),)
    assert move.events == ()


def test_a_commit_of_another_spec_than_was_reserved_for_is_refused_and_told_to_operators():
    held = reservation(spec_digest="0" * 64)
    move = visited.hear(there(None, held=held), commit(), "casa", never)
    refused, gone = move.send
    assert isinstance(refused, Refused)
    assert refused.reason == "SpecDiffers"
    assert gone == NotHeld(workload=WL, epoch=2, resv=RESV)
    assert move.events == ()
    assert move.drop
    assert "`casa`" in move.alarm


def test_a_reservation_of_an_older_store_is_unknown_and_never_not_held():
    old = "0" * 32 + ".7"
    assert visited.hear(there(None), commit(old), "casa", never).send == (
        Unknown(workload=WL, epoch=2, resv=old),
    )
    stop = Stop(workload=WL, epoch=2, resv=old, reason=StopReason.CANCELLED)
    assert visited.hear(there(None), stop, "casa", never).send == (Unknown(workload=WL, epoch=2, resv=old),)


def test_stop_before_the_commit_drops_the_reservation_in_the_same_step():
    stop = Stop(workload=WL, epoch=2, resv=RESV, reason=StopReason.CANCELLED)
    move = visited.hear(there(None, held=reservation()), stop, "casa", never)
    assert move.drop
    assert move.send == (NotHeld(workload=WL, epoch=2, resv=RESV),)


def test_stop_of_a_running_guest_ends_it_and_says_nothing_until_it_has_ended():
    stop = Stop(workload=WL, epoch=2, resv=RESV, reason=StopReason.FENCED)
    move = visited.hear(there(), stop, "casa", never)
    assert move.send == ()
    assert move.events == (
        GuestPut(guest=replace(GUEST, stop=StopReason.FENCED)),
        StopOrdered(run="gw-1.1", cause=Cause.FENCED),
    )


def test_stop_of_one_that_is_over_repeats_its_outcome():
    stop = Stop(workload=WL, epoch=2, resv=RESV, reason=StopReason.CANCELLED)
    move = visited.hear(there(DONE), stop, "casa", never)
    assert (move.events, move.send) == ((), (COMPLETE,))


def test_a_grant_counts_from_the_request_and_only_for_a_request_that_is_out():
    held = Held(asked={REQ: 8_000}, lease_from_ms=0)
    ok = RenewOk(workload=WL, epoch=2, req=REQ)
    assert visited.hear(there(held=held), ok, "casa", never).extend_ms == 8_000 + 60_000 - 15_000
    stranger = RenewOk(workload=WL, epoch=2, req="9" * 32)
    assert visited.hear(there(held=held), stranger, "casa", never).extend_ms is None


def test_a_dead_lease_is_never_revived():
    ok = RenewOk(workload=WL, epoch=2, req=REQ)
    held = Held(asked={REQ: 44_000}, lease_from_ms=0)
    assert visited.hear(there(held=held, boot_ms=44_999), ok, "casa", never).extend_ms is not None
    assert visited.hear(there(held=held, boot_ms=45_000), ok, "casa", never).extend_ms is None


@pytest.mark.parametrize("message", [
    CompleteAck(workload=WL, epoch=2, accepted=True),
    Countersign(workload=WL, epoch=2, receipt_digest=DIGEST, signature="counter"),
    Dispute(workload=WL, epoch=2, receipt_digest=DIGEST, reason="no"),
])  # fmt: skip
@pytest.mark.parametrize("guest", [None, GUEST])
def test_no_money_without_a_record_that_has_an_outcome(
    message: CompleteAck | Countersign | Dispute, guest: Guest | None
):
    move = visited.hear(there(guest), message, "casa", never)
    assert (move.events, move.send) == ((), ())


def test_a_countersignature_settles_once():
    message = Countersign(workload=WL, epoch=2, receipt_digest=DIGEST, signature="counter")
    move = visited.hear(there(DONE), message, "casa", never)
    (event,) = move.events
    assert isinstance(event, GuestPut)
    assert (event.guest.state, event.guest.countersignature) == (GuestState.SETTLED, "counter")
    again = visited.hear(there(event.guest), message, "casa", never)
    assert (again.events, again.send) == ((), (Settled(workload=WL, epoch=2, receipt_digest=DIGEST),))


def test_a_countersignature_of_somebody_else_or_of_another_receipt_settles_nothing():
    message = Countersign(workload=WL, epoch=2, receipt_digest=DIGEST, signature="forged")
    move = visited.hear(there(DONE, sound=False), message, "casa", never)
    assert move.events == ()
    assert "not its own" in move.alarm
    other = replace(message, receipt_digest="0" * 64)
    assert visited.hear(there(DONE), other, "casa", never).events == ()


def test_what_our_own_operator_ends_is_an_interruption_to_home():
    ended = replace(ENDED, outcome=Outcome.CANCELLED, cause=Cause.CANCELLED)
    done = visited.ended(GUEST, HERE, ended, "nairobi", lambda _: "signed")
    assert done.receipt is not None
    assert done.receipt.receipt.outcome is Outcome.INTERRUPTED
    asked = visited.ended(
        replace(GUEST, stop=StopReason.CANCELLED), HERE, ended, "nairobi", lambda _: "signed"
    )
    assert asked.receipt is not None
    assert asked.receipt.receipt.outcome is Outcome.CANCELLED
