"""The part of the test vectors that is about work: a message of each kind, receipts, and what a home says to what."""

from __future__ import annotations

import json
from typing import Any, Final, cast

import msgspec
from msgspec.structs import replace

from tawtin.core import meter
from tawtin.core.handshake import home as homes
from tawtin.core.handshake.home import Home
from tawtin.model.base import canonical
from tawtin.model.events import Event, RunEnded, RunFenced, RunStarted
from tawtin.model.money import Rate
from tawtin.model.reasons import Cause
from tawtin.model.resources import Demand, Shape
from tawtin.model.roaming import (
    Commit,
    Committed,
    Complete,
    CompleteAck,
    Countersign,
    Dispute,
    FromVisited,
    GuestState,
    Message,
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
    Unknown,
    as_signed,
    receipt_bytes,
    receipt_digest,
    spec_digest,
)
from tawtin.model.rules import Authorisation
from tawtin.model.workload import (
    Data,
    Kept,
    Mount,
    OnPartition,
    Outcome,
    Owner,
    Receipt,
    Residency,
    Roam,
    Run,
    RunState,
    SignedReceipt,
    Usage,
    WorkloadSpec,
)
from tawtin.peering.identity import Identity

HOME, VISITED = "Casablanca", "Nairobi"
HOME_SEED: Final = b"tawtin test key, worth nothing 1"
VISITED_SEED: Final = b"tawtin test key, worth nothing 2"
RESV: Final = "1f" * 16 + ".0"
REQ: Final = "2e" * 16
SHAPE: Final = Shape(gpu_model="H100", gpus=2, cpus_milli=4_000, memory_mib=8_192)
RATE: Final = Rate(currency="KES", minor_per_gpu_hour=3_600, minor_per_cpu_hour=720)
OWNER: Final = Owner(
    kind="public_body",
    country="MA",
    sectors=("education",),
    authorisations=(Authorisation(kind="transfer", number="MA-2026-17", covers=("KE",)),),
)
SPEC: Final = WorkloadSpec(
    name="train",
    run="python train.py",
    envs={"SEED": "1"},
    demand=Demand(options=(SHAPE,)),
    max_duration_ms=3_600_000,
    data=Data(data_class="internal", origin="MA"),
)
LEASED: Final = replace(SPEC, on_partition=OnPartition.RERUN)
SPECS: Final = {
    "the least": WorkloadSpec(name="a", run="true", demand=Demand(options=(Shape(cpus_milli=500),))),
    "a job": SPEC,
    "a job with a lease": LEASED,
    "keys in disorder, text of all kinds, and an empty list of countries": replace(
        SPEC,
        name="تدريب",
        run='echo "\\ \t\u0001"\nsleep 1\n',
        envs={"b": "2", "a": "1", "ä": "/"},
        mounts=(Mount(path="/data", artifact="sha256:" + "5e" * 32),),
        residency=Residency(allow=(), deny=("FR",)),
        labels={},
        network=False,
    ),
}
RECEIPT: Final = Receipt(
    home=HOME,
    visited=VISITED,
    workload="wl-1",
    epoch=1,
    shape=SHAPE,
    nodes=1,
    rate=RATE,
    outcome=Outcome.FINISHED,
    cause=Cause.COMPLETED,
    exit_code=0,
    started_ms=1_795_737_600_000,
    ended_ms=1_795_737_610_000,
    usage=Usage(wall_ms=10_000, cpu_ms=9_500, memory_peak_mib=900, gpu_model="H100", gpu_ms=20_000),
    cost_minor=28,
)
_SIGNED: Final = SignedReceipt(receipt=RECEIPT, signature="A" * 86 + "==")
MESSAGES: Final[tuple[Message, ...]] = (
    Reserve(
        workload="wl-1",
        epoch=1,
        spec_digest=spec_digest(LEASED),
        demand=SPEC.demand,
        mode=OnPartition.RERUN,
        lease_ms=60_000,
        data=SPEC.data,
        owner=OWNER,
        lasts_ms=SPEC.max_duration_ms,
    ),
    Reserved(workload="wl-1", epoch=1, resv=RESV, ttl_ms=10_000, shape=SHAPE, rate=RATE),
    Refused(workload="wl-1", epoch=1, reason="NoRoom", sentence="nothing is free for it here now"),
    Commit(
        workload="wl-1",
        epoch=1,
        resv=RESV,
        spec=LEASED,
        owner=OWNER,
        shape=SHAPE,
        mode=OnPartition.RERUN,
        lease_ms=60_000,
        rate=RATE,
        verdict_not_after_ms=1_798_761_600_000,
    ),
    Committed(workload="wl-1", epoch=1, state=GuestState.COMMITTED),
    NotHeld(workload="wl-1", epoch=1, resv=RESV),
    Unknown(workload="wl-1", epoch=1, resv=RESV),
    Renew(workload="wl-1", epoch=1, req=REQ, started_ms=RECEIPT.started_ms, usage=Usage(wall_ms=500)),
    RenewOk(workload="wl-1", epoch=1, req=REQ),
    Stop(workload="wl-1", epoch=1, resv=RESV, reason=StopReason.CANCELLED),
    Complete(workload="wl-1", epoch=1, outcome=Outcome.FINISHED, receipt=_SIGNED),
    CompleteAck(workload="wl-1", epoch=1, accepted=True),
    ReceiptAgain(workload="wl-1", epoch=1, receipt=_SIGNED),
    Countersign(workload="wl-1", epoch=1, receipt_digest="4c" * 32, signature="B" * 86 + "=="),
    Dispute(workload="wl-1", epoch=1, receipt_digest="4c" * 32, reason="its usage costs otherwise"),
    Settled(workload="wl-1", epoch=1, receipt_digest="4c" * 32),
    Recall(workload="wl-1", epoch=2),
    Recalled(workload="wl-1", epoch=2, highest=3),
)
Json = dict[str, Any]


def specs() -> Json:
    """Specs as they cross, and as they may stand with every default written out: both have one digest."""
    return {
        "specs": [
            {
                "name": name,
                "spec": json.loads(canonical(spec)),
                "written_out": written_out(spec),
                "canonical": canonical(spec).decode(),
                "digest": spec_digest(spec),
            }
            for name, spec in SPECS.items()
        ]
    }


def written_out(value: object) -> Any:  # noqa: ANN401 - JSON
    """A record as JSON with all its fields."""
    if isinstance(value, msgspec.Struct):
        fields = msgspec.structs.fields(value)
        return {each.encode_name: written_out(getattr(value, each.name)) for each in fields}
    if isinstance(value, tuple):
        return [written_out(each) for each in cast("tuple[object, ...]", value)]
    return msgspec.to_builtins(value)


def plain(record: msgspec.Struct) -> Json:
    """A record as JSON has it."""
    return json.loads(msgspec.json.encode(record, order="deterministic"))


def run_of(receipt: Receipt) -> Run:
    """The run at home that a receipt is about."""
    return Run(
        id=f"{receipt.workload}.{receipt.epoch}",
        workload=receipt.workload,
        tenant="lab",
        epoch=receipt.epoch,
        factory=receipt.visited,
        shape=receipt.shape,
        nodes=receipt.nodes,
        rate=receipt.rate,
        placed_ms=receipt.ended_ms - 15_000,
        roam=Roam(resv=RESV, mode=OnPartition.RERUN, lease_ms=60_000, wait_ms=61_214),
    )


def priced(receipt: Receipt) -> Receipt:
    """The same with its cost."""
    return replace(receipt, cost_minor=meter.cost_minor(receipt.usage, run_of(receipt)))


def receipts(casa: Identity, nairobi: Identity) -> Json:
    """Receipts with the bytes that are signed, by both."""
    half = replace(RECEIPT, usage=Usage(wall_ms=250, gpu_ms=500), shape=Shape(gpu_model="H100", gpus=2))
    texts = replace(
        RECEIPT,
        outcome=Outcome.CANCELLED,
        cause=Cause.CANCELLED,
        exit_code=None,
        message='توطين "quoted" \\ / \t\n\x01\x7f é',
        outputs=(Kept(name="model", artifact="sha256:00", size_bytes=0),),
    )
    bare = Receipt(
        home=HOME,
        visited=VISITED,
        workload="wl-2",
        epoch=3,
        shape=Shape(),
        nodes=2,
        rate=Rate(),
        outcome=Outcome.INTERRUPTED,
        cause=Cause.DRAINED,
        ended_ms=1_795_737_610_000,
        usage=Usage(),
        cost_minor=0,
    )
    named = {
        "all by GPU and processor": priced(RECEIPT),
        "half a minor unit goes up": priced(replace(half, rate=replace(RATE, minor_per_cpu_hour=0))),
        "text in other scripts, and escapes": priced(texts),
        "everything that can be left out is": bare,
    }
    return {"receipts": [_receipt(name, each, casa, nairobi) for name, each in named.items()]}


def _receipt(name: str, receipt: Receipt, casa: Identity, nairobi: Identity) -> Json:
    body = receipt_bytes(receipt)
    return {
        "name": name,
        "receipt": plain(as_signed(receipt)),
        "canonical": body.decode(),
        "digest": receipt_digest(receipt),
        "signature": nairobi.sign(body),
        "countersignature": casa.sign(body),
    }


def conversations(casa: Identity, nairobi: Identity) -> Json:
    """What home says to what it hears, step by step, each conversation about a new epoch that it has committed."""

    def complete(receipt: Receipt = RECEIPT, by: Identity = nairobi) -> Complete:
        signed = SignedReceipt(receipt=as_signed(receipt), signature=by.sign(receipt_bytes(receipt)))
        return Complete(workload="wl-1", epoch=1, outcome=receipt.outcome, receipt=signed)

    good, dear = complete(), complete(replace(RECEIPT, cost_minor=29))
    renew = Renew(workload="wl-1", epoch=1, req=REQ, started_ms=RECEIPT.started_ms)
    again = ReceiptAgain(workload="wl-1", epoch=1, receipt=good.receipt)
    released = NotHeld(workload="wl-1", epoch=1, resv=RESV)
    broken = replace(RECEIPT, outcome=Outcome.INTERRUPTED, cause=Cause.DRAINED, exit_code=None)
    cancelled = replace(RECEIPT, outcome=Outcome.CANCELLED, cause=Cause.CANCELLED, exit_code=None)
    long = priced(replace(RECEIPT, usage=Usage(wall_ms=10_000_000)))
    named: dict[str, tuple[Cause | None, tuple[FromVisited, ...]]] = {
        "a renewal is granted, again and again": (None, (renew, replace(renew, req="5b" * 16))),
        "one that is to end is told so": (Cause.CANCELLED, (renew, complete(cancelled), renew)),
        "a result is taken once, and paid for": (None, (good, good, again, renew)),
        "a finish that was recorded first wins over a cancel": (Cause.CANCELLED, (good,)),
        "a cost that is not usage times rate": (None, (dear, again)),
        "a signature that is not the peer's": (None, (complete(by=casa),)),
        "a receipt about another epoch": (None, (complete(replace(RECEIPT, epoch=2)),)),
        "a receipt for other hardware": (None, (complete(replace(RECEIPT, shape=replace(SHAPE, gpus=1))),)),
        "more time than has passed": (None, (complete(long),)),
        "an interrupted run is not paid for": (None, (complete(broken),)),
        "another receipt after the first": (None, (good, dear, good)),
        "what was released is over": (None, (released, released, renew, good)),
        "not held by another reservation": (None, (replace(released, resv="6a" * 16 + ".0"), renew)),
    }
    commit = next(each for each in MESSAGES if isinstance(each, Commit))
    return {
        "peer": VISITED,
        "away_ms": 15_000,
        "commit": plain(commit),
        "conversations": [
            {"name": name, "cancelled": stop is not None, "steps": _steps(stop, heard, casa, nairobi)}
            for name, (stop, heard) in named.items()
        ],
    }


def _steps(
    stop: Cause | None, heard: tuple[FromVisited, ...], casa: Identity, nairobi: Identity
) -> list[Json]:
    run, steps = replace(run_of(RECEIPT), stop=stop), list[Json]()
    for message in heard:
        signed = message.receipt if isinstance(message, Complete) else None
        side = Home(
            name=HOME,
            last=1,
            run=run,
            lawful=True,
            sound=signed is None or casa.verify(nairobi.key, receipt_bytes(signed.receipt), signed.signature),
            sign=casa.sign,
            now_ms=RECEIPT.ended_ms,
        )
        move = homes.hear(side, VISITED, message)
        for event in move.events:
            run = _after(run, event)
        steps.append({"hears": plain(message), "says": [plain(each) for each in move.send]})
    return steps


def _after(run: Run, event: Event) -> Run:
    """The record at home after an event."""
    match event:
        case RunStarted():
            return replace(run, state=RunState.STARTED, started_ms=event.started_ms)
        case RunFenced():
            return event.run
        case RunEnded() if run.roam is not None:
            said = {
                name: getattr(event, name) for name in ("close", "receipt", "countersignature", "disputed")
            }
            return replace(run, state=RunState.DONE, roam=replace(run.roam, **said))
        case _:
            msg = f"{event} says nothing about what home says"
            raise TypeError(msg)
