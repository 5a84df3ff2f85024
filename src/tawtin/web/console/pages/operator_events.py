"""The log of the factory as an operator reads it, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tawtin.model.base import Record
from tawtin.model.events import (
    ArtifactDropped,
    ArtifactKept,
    FilesCrossed,
    GuestFilesDropped,
    GuestFilesGone,
    GuestPut,
    KeyPut,
    NodePut,
    NodeRemoved,
    PeerPut,
    QuarantinePut,
    RecallWaived,
    RunEnded,
    RunFenced,
    RunPlaced,
    ServiceScaled,
    StopOrdered,
    StoreRestored,
    SubmissionRefused,
    TenantPut,
    WorkloadsSubmitted,
)
from tawtin.model.tenant import Scope
from tawtin.runtime.factory import subject_of
from tawtin.web.console.visit import ROOT

if TYPE_CHECKING:
    from tawtin.model.events import Entry, Event
    from tawtin.web.console.visit import Visit
    from tawtin.web.exchange import Answer

_ROWS: Final = 100


class Line(Record, frozen=True, kw_only=True):
    """One entry of the log."""

    seq: int
    at_ms: int
    event: str
    """The name of its kind."""
    about: str
    """What it is about; a workload's page is linked."""
    workload: str
    detail: str
    """What it says in words or tokens of the API."""
    by: str
    """The key of whoever did it; empty where the factory did."""


async def show_events(visit: Visit) -> Answer:
    """A page of the log, older ones by `?before=`. Raises Denied for whoever does not see all tenants."""
    if not visit.actor.overlooks:
        visit.actor.need(Scope.ADMIN)
    given = visit.query.get("before", "")
    before = int(given) if given.isascii() and given.isdecimal() and len(given) <= 15 else None
    entries, older = await latest(visit, before, _ROWS)
    return visit.render("operator_events.html", current="operator", entries=entries, older=older)


async def latest(visit: Visit, before: int | None, limit: int) -> tuple[list[Line], str]:
    """The `limit` entries below number `before`, newest first, and where older ones are; empty if there are none."""
    service = visit.service
    await service.settle()
    size = (await service.in_thread(service.journal.head)).size
    end = size if before is None else min(before, size)
    start = max(0, end - limit)
    entries = await service.events(visit.actor, start, end - start) if end > start else ()
    older = f"{ROOT}/operator/events?before={start}" if start > 0 else ""
    return [_line(entry) for entry in reversed(entries)], older


def _line(entry: Entry) -> Line:
    event = entry.event
    workload = subject_of(event)
    return Line(
        seq=entry.seq,
        at_ms=entry.at_ms,
        event=type(event).__name__,
        about=_about(event) or workload,
        workload=workload,
        detail=_detail(event),
        by=_by(event),
    )


def _by(event: Event) -> str:
    if isinstance(event, WorkloadsSubmitted):
        return event.workloads[0].submitted_by
    return str(getattr(event, "by", ""))


def _about(event: Event) -> str:
    match event:
        case TenantPut():
            said = event.tenant.id
        case KeyPut():
            said = f"{event.key.id} ({event.key.tenant})"
        case NodePut():
            said = event.node.name
        case NodeRemoved():
            said = event.name
        case QuarantinePut():
            said = f"{event.quarantine.node} {event.quarantine.gpu}".strip()
        case SubmissionRefused():
            said = event.tenant
        case WorkloadsSubmitted():
            first, count = event.workloads[0].spec.name, len(event.workloads)
            said = f"{first} \u00d7 {count}" if count > 1 else first
        case _:
            said = _about_others(event)
    return said


def _about_others(event: Event) -> str:
    match event:
        case ServiceScaled():
            said = f"{event.tenant}/{event.service}"
        case PeerPut():
            said = event.peer.name
        case RecallWaived():
            said = event.peer
        case ArtifactKept():
            said = event.artifact.id
        case ArtifactDropped():
            said = event.id
        case FilesCrossed():
            said = f"{event.artifact} \u2013 {event.peer}"
        case GuestPut():
            said = event.guest.key
        case GuestFilesDropped() | GuestFilesGone():
            said = event.guest
        case _:
            said = ""
    return said


def _detail(event: Event) -> str:
    match event:
        case NodePut():
            said = event.node.health.value
        case KeyPut():
            said = "revoked" if event.key.revoked_ms is not None else event.key.scope.value
        case QuarantinePut():
            said = "back" if not event.quarantine.out else event.quarantine.why or event.quarantine.kind.value
        case SubmissionRefused():
            said = event.sentence
        case ServiceScaled():
            said = f"{event.before} \u2192 {event.replicas}: {event.why}"
        case RunPlaced() | RunFenced():
            run = event.run
            said = f"{run.id} {run.factory or ' '.join(slot.node for slot in run.slots)}"
        case StopOrdered():
            said = event.cause.value
        case RunEnded():
            said = f"{event.outcome.value} {event.cause.value}"
        case PeerPut():
            said = event.peer.state.value
        case StoreRestored() | RecallWaived():
            said = event.why
        case _:
            said = ""
    return said[:500]
