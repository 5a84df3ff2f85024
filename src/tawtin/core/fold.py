"""How each event changes the state. Total and deterministic: the state is the fold of the log.

An event that contradicts the state raises `FoldError` before anything was changed. `restore` puts back records that a
journal kept, without their history; both ways give equal states.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from tawtin.core import accounts, charges, health, meter
from tawtin.core.after import after_run
from tawtin.core.keep import FoldError, fail, keep, restore
from tawtin.core.state import State
from tawtin.model.base import Record
from tawtin.model.events import (
    ArtifactDropped,
    ArtifactKept,
    CancelAsked,
    Entry,
    EpochsRaised,
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
    ReplicaRested,
    RunEnded,
    RunFenced,
    RunMetered,
    RunPlaced,
    RunStarted,
    ServiceScaled,
    StopOrdered,
    StoreRestored,
    SubmissionRefused,
    TenantPut,
    TokensCharged,
    VerdictsLapsed,
    WorkloadsSubmitted,
    WorkspaceShared,
)
from tawtin.model.idempotency import Remembered
from tawtin.model.ids import run_id, workload_of
from tawtin.model.reasons import Cause
from tawtin.model.restored import Restored
from tawtin.model.roaming import FilesState, Guest, GuestState
from tawtin.model.tenant import Tenant
from tawtin.model.workload import Outcome, Phase, Run, RunState, Workload


def fold(state: State, entry: Entry) -> None:
    """Make `entry` true in `state`. Raises FoldError, without any change, if it cannot be."""
    if entry.seq != state.seq:
        msg = f"entry {entry.seq} does not continue the log: {state.seq} is next"
        raise FoldError(msg)
    if entry.at_ms < state.time_ms:
        msg = f"entry {entry.seq} is dated {entry.at_ms}, before the one before it ({state.time_ms})"
        raise FoldError(msg)
    _FOLDS[type(entry.event)](state, entry.event, entry.at_ms)
    state.seq = entry.seq + 1
    state.time_ms = entry.at_ms
    if state.queues.delayed:
        state.release_due(entry.at_ms)
    if state.lapsed(entry.at_ms):
        state.judge_lapsed(entry.at_ms)


# --- tenants, keys, nodes, artifacts --------------------------------------------------------------------------------


def _tenant_put(state: State, event: TenantPut, _at_ms: int) -> None:
    old = state.tenants.get(event.tenant.id)
    _put(state, event.tenant)
    if old is not None and _asked_of(old) != _asked_of(event.tenant):
        state.judge_again(event.tenant)


def _asked_of(tenant: Tenant) -> tuple[object, ...]:
    """What verdicts depend on."""
    return tenant.residency, tenant.kind, tenant.country, tenant.sectors, tenant.authorisations


def _verdicts_lapsed(_state: State, _event: VerdictsLapsed, _at_ms: int) -> None:
    """Time alone does it; see `fold`."""


def _key_put(state: State, event: KeyPut, _at_ms: int) -> None:
    if event.key.tenant not in state.tenants:
        fail(f"key `{event.key.id}` is for the unknown tenant `{event.key.tenant}`")
    _put(state, event.key)


def _puts(name: str) -> Callable[[State, Any, int], None]:
    """Events that bring one record, which is all that they change."""
    return lambda state, event, _at_ms: _put(state, getattr(event, name))


def _node_removed(state: State, event: NodeRemoved, _at_ms: int) -> None:
    if event.name not in state.nodes:
        fail(f"the unknown node `{event.name}` cannot leave")
    state.remove_node(event.name)
    state.changed["node", event.name] = None


def _artifact_kept(state: State, event: ArtifactKept, _at_ms: int) -> None:
    if event.artifact.tenant not in state.tenants:
        fail(f"artifact `{event.artifact.id}` is for the unknown tenant `{event.artifact.tenant}`")
    _put(state, event.artifact)


def _artifact_dropped(state: State, event: ArtifactDropped, _at_ms: int) -> None:
    if (event.tenant, event.id) not in state.artifacts:
        fail(f"tenant `{event.tenant}` has no artifact `{event.id}` to give up")
    state.drop_artifact(event.tenant, event.id)
    state.changed["artifact", f"{event.tenant}/{event.id}"] = None


def _files_crossed(state: State, event: FilesCrossed, _at_ms: int) -> None:
    """A peer that was given a first byte of an artifact counts as a place that holds it; a guest's home fetches it."""
    guest = state.guests.get(state.guest_of.get(workload_of(event.run), ""))
    if event.sent and guest is not None and event.artifact not in guest.fetched:
        _put(state, replace(guest, fetched=tuple(sorted((*guest.fetched, event.artifact)))))
    run = state.runs.get(event.run)
    held = state.artifacts.get((run.tenant, event.artifact)) if run is not None else None
    if event.sent and held is not None and event.peer not in held.places:
        _put(state, replace(held, places=tuple(sorted((*held.places, event.peer)))))


# --- submissions and cancels ----------------------------------------------------------------------------------------


def _for_the_log(_state: State, _event: SubmissionRefused | ServiceScaled, _at_ms: int) -> None:
    """Only the log knows of it."""


def _workloads_submitted(state: State, event: WorkloadsSubmitted, at_ms: int) -> None:
    seen: dict[str, None] = {}
    for workload in event.workloads:
        if workload.id in state.workloads or workload.id in seen:
            fail(f"workload `{workload.id}` was submitted before")
        if workload.tenant not in state.tenants:
            fail(f"workload `{workload.id}` is of the unknown tenant `{workload.tenant}`")
        if workload.phase is not Phase.QUEUED or workload.epoch != 0 or workload.cancel:
            fail(f"workload `{workload.id}` is not new")
        seen[workload.id] = None
    for workload in event.workloads:
        _put(state, workload)
    if event.idempotency_key and event.workloads:
        _put(
            state,
            Remembered(
                tenant=event.workloads[0].tenant,
                key=event.idempotency_key,
                request_sha256=event.request_sha256,
                workloads=tuple(seen),
                at_ms=at_ms,
            ),
        )


def _cancel_asked(state: State, event: CancelAsked, at_ms: int) -> None:
    workload = state.workloads.get(event.workload)
    if workload is None:
        fail(f"workload `{event.workload}` is not live and cannot be cancelled")
    if workload.phase is Phase.PLACED:
        if not workload.cancel:
            _change(state, replace(workload, cancel=True, version=workload.version + 1))
        return
    state.dequeue(workload)
    _finish(
        state,
        replace(
            workload,
            phase=Phase.CANCELLED,
            cancel=True,
            finished_ms=at_ms,
            cause=Cause.CANCELLED,
            version=workload.version + 1,
        ),
    )


def _replica_rested(state: State, event: ReplicaRested, _at_ms: int) -> None:
    workload = state.workloads.get(event.workload)
    if workload is None or workload.spec.service is None or workload.cancel:
        fail(f"workload `{event.workload}` is no live replica of a service")
    if workload.rests == event.rests and workload.awake_until_ms == event.until_ms:
        return
    after = replace(workload, rests=event.rests, awake_until_ms=event.until_ms, version=workload.version + 1)
    if workload.phase is Phase.QUEUED:
        state.dequeue(workload)
        _change(state, after)
        state.enqueue(after)
    else:
        _change(state, after)


def _workspace_shared(state: State, event: WorkspaceShared, _at_ms: int) -> None:
    workload = state.workloads.get(event.workload)
    if workload is None or workload.spec.workspace is None or workload.cancel:
        fail(f"workload `{event.workload}` is no live workspace")
    if workload.shared != event.shared:
        _change(state, replace(workload, shared=event.shared, version=workload.version + 1))


# --- runs -----------------------------------------------------------------------------------------------------------


def _run_placed(state: State, event: RunPlaced, _at_ms: int) -> None:
    run = event.run
    workload = state.workloads.get(run.workload)
    if workload is None or workload.phase is not Phase.QUEUED or workload.cancel or workload.rests:
        fail(f"run `{run.id}` is of a workload that does not wait")
    if run.epoch != workload.epoch_last + 1 or run.id != run_id(workload.id, run.epoch):
        fail(f"run `{run.id}` has epoch {run.epoch}; the next one is {workload.epoch_last + 1}")
    if run.tenant != workload.tenant or run.state is not RunState.PLACED or run.stop is not None:
        fail(f"run `{run.id}` is not a new run of its workload")
    if run.shape not in workload.spec.demand.options:
        fail(f"run `{run.id}` has a shape that its workload did not ask for")
    _check_place(state, run, workload.spec.demand.nodes)
    state.dequeue(workload)
    placed = replace(workload, phase=Phase.PLACED, epoch=run.epoch, version=workload.version + 1)
    state.runs[run.id] = run
    state.run_of[workload.id] = run.id
    state.changed["run", run.id] = run
    _change(state, placed)
    state.hold(run, placed)


def _check_place(state: State, run: Run, nodes: int) -> None:
    if run.factory:
        if run.slots or run.nodes != nodes:
            fail(f"run `{run.id}` takes {run.nodes} nodes of `{run.factory}`, not {nodes}")
        return
    if len({slot.node for slot in run.slots}) != nodes or len(run.slots) != nodes or run.nodes:
        fail(f"run `{run.id}` has {len(run.slots)} slots, not one on each of {nodes} nodes")
    for slot in run.slots:
        seat = state.seats.get(slot.node)
        tried = health.tried(state, run, slot.node)
        why = seat.misfit(run.shape, slot, tried) if seat is not None else "there is no such node"
        if why:
            fail(f"run `{run.id}` cannot be on `{slot.node}`: {why}")


def _run_started(state: State, event: RunStarted, _at_ms: int) -> None:
    run = _live_run(state, event.run)
    if run.state is RunState.STARTED:
        return
    _change_run(
        state,
        replace(
            run,
            state=RunState.STARTED,
            started_ms=event.started_ms,
            address=event.address,
            version=run.version + 1,
        ),
    )


def _run_metered(state: State, event: RunMetered, _at_ms: int) -> None:
    run = _live_run(state, event.run)
    if run.usage == event.usage:
        return
    metered = replace(run, usage=event.usage, version=run.version + 1)
    state.runs[run.id] = metered
    state.changed["run", run.id] = metered


def _stop_ordered(state: State, event: StopOrdered, at_ms: int) -> None:
    run = _live_run(state, event.run)
    if run.stop is not None and (event.cause is not Cause.CANCELLED or run.stop is Cause.CANCELLED):
        return
    asked = run.stop_asked_ms if run.stop_asked_ms is not None else at_ms
    _change_run(state, replace(run, stop=event.cause, stop_asked_ms=asked, version=run.version + 1))


def _run_ended(state: State, event: RunEnded, at_ms: int) -> None:
    run = _live_run(state, event.run)
    workload = state.workloads[run.workload]
    if (run.roam is None) != (event.close is None):
        fail(f"run `{run.id}` is {'no' if run.roam is None else 'a'} peer's, and its end says otherwise")
    if workload.spec.service is not None and event.outcome is Outcome.FINISHED:
        fail(f"run `{run.id}` is a service's, which has no answer to give")
    roam = run.roam
    if roam is not None:
        roam = replace(
            roam,
            close=event.close,
            receipt=event.receipt,
            countersignature=event.countersignature,
            disputed=event.disputed,
        )
    cost = meter.cost_minor(event.usage, run)
    done = replace(
        run,
        roam=roam,
        state=RunState.DONE,
        started_ms=run.started_ms if run.started_ms is not None else event.started_ms,
        ended_ms=event.ended_ms,
        outcome=event.outcome,
        cause=event.cause,
        exit_code=event.exit_code,
        message=event.message,
        usage=event.usage,
        cost_minor=cost,
        version=run.version + 1,
    )
    _charge(state, done)
    state.release(run)
    del state.runs[run.id]
    del state.run_of[workload.id]
    state.changed["run", run.id] = done
    after = after_run(state, workload, event, at_ms, workload.spent_minor + cost)
    if after.phase is Phase.QUEUED:
        _change(state, after)
        state.enqueue(after)
    else:
        _finish(state, after)


def _run_fenced(state: State, event: RunFenced, _at_ms: int) -> None:
    run = event.run
    if run.id in state.runs or run.state is not RunState.DONE or run.roam is None or run.roam.billed:
        fail(f"run `{run.id}` is open or paid for, and its result cannot be kept aside")
    state.changed["run", run.id] = run


def _guest_put(state: State, event: GuestPut, _at_ms: int) -> None:
    guest = event.guest
    known = state.guests.get(guest.key)
    if known is None and (guest.state is not GuestState.COMMITTED or guest.receipt is not None):
        fail(f"guest `{guest.key}` is not new and not known")
    if known is not None:
        if _GUEST_STATES.index(guest.state) < _GUEST_STATES.index(known.state):
            fail(f"guest `{guest.key}` goes back from {known.state} to {guest.state}")
        if known.receipt is not None and guest.receipt != known.receipt:
            fail(f"guest `{guest.key}` has its outcome already")
    if (guest.receipt is None) != (guest.state is GuestState.COMMITTED):
        fail(
            f"guest `{guest.key}` is {guest.state} and has {'no' if guest.receipt is None else 'an'} outcome"
        )
    _put(state, guest)


def _guest_files_dropped(state: State, event: GuestFilesDropped, _at_ms: int) -> None:
    _put(state, replace(_leftover(state, event.guest), files=FilesState.GOING))


def _guest_files_gone(state: State, event: GuestFilesGone, _at_ms: int) -> None:
    _put(state, replace(_leftover(state, event.guest), files=FilesState.GONE))


def _leftover(state: State, key: str) -> Guest:
    guest = state.leftovers.get(key)
    if guest is None:
        fail(f"guest `{key}` has no files here that could go")
    return guest


# --- a store that was put back --------------------------------------------------------------------------------------


def _store_restored(state: State, event: StoreRestored, at_ms: int) -> None:
    count = state.restored.count + 1 if state.restored is not None else 1
    put = Restored(incarnation=event.incarnation, count=count, at_ms=at_ms, by=event.by, why=event.why)
    _put(state, put)


def _recall_waived(state: State, event: RecallWaived, _at_ms: int) -> None:
    waived = sorted({*_recalling(state).waived, event.peer})
    _put(state, replace(_recalling(state), waived=tuple(waived)))


def _epochs_raised(state: State, event: EpochsRaised, _at_ms: int) -> None:
    restored = _recalling(state)
    for name, epoch in sorted(event.epochs.items()):
        workload = state.workloads.get(name)
        if workload is None or epoch <= workload.epoch_last:
            fail(f"epoch {epoch} of `{name}` is not above what is known here")
    for name, epoch in sorted(event.epochs.items()):
        workload = state.workloads[name]
        _change(state, replace(workload, epoch_known=epoch, version=workload.version + 1))
    _put(state, replace(restored, over=True))


def _recalling(state: State) -> Restored:
    if state.restored is None or state.restored.over:
        fail("peers are not asked for what they know: the store was not put back")
    return state.restored


def _charge(state: State, run: Run) -> None:
    """Charge a run that is over to its tenant."""
    _put(state, accounts.charged(state, run))


# --- records --------------------------------------------------------------------------------------------------------


def _put(state: State, record: Record) -> None:
    """Keep a record that is new or replaces an older one, and say that it changed."""
    state.changed[keep(state, record)] = record


def _change(state: State, workload: Workload) -> None:
    state.workloads[workload.id] = workload
    state.changed["workload", workload.id] = workload


def _change_run(state: State, run: Run) -> None:
    state.runs[run.id] = run
    state.changed["run", run.id] = run
    state.refresh_run(run, state.workloads[run.workload])


def _finish(state: State, workload: Workload) -> None:
    del state.workloads[workload.id]
    state.unfinished(workload.tenant, -1)
    state.leave_service(workload)
    state.changed["workload", workload.id] = workload


def _live_run(state: State, run_name: str) -> Run:
    run = state.runs.get(run_name)
    if run is None:
        fail(f"run `{run_name}` is not live")
    return run


__all__ = ["FoldError", "fold", "restore"]
_FOLDS: dict[type[Record], Callable[[State, Any, int], None]] = {
    TenantPut: _tenant_put,
    KeyPut: _key_put,
    NodePut: _puts("node"),
    NodeRemoved: _node_removed,
    QuarantinePut: _puts("quarantine"),
    SubmissionRefused: _for_the_log,
    WorkloadsSubmitted: _workloads_submitted,
    CancelAsked: _cancel_asked,
    ReplicaRested: _replica_rested,
    WorkspaceShared: _workspace_shared,
    ServiceScaled: _for_the_log,
    RunPlaced: _run_placed,
    RunStarted: _run_started,
    RunMetered: _run_metered,
    StopOrdered: _stop_ordered,
    RunEnded: _run_ended,
    ArtifactKept: _artifact_kept,
    ArtifactDropped: _artifact_dropped,
    FilesCrossed: _files_crossed,
    TokensCharged: charges.tokens_charged,
    VerdictsLapsed: _verdicts_lapsed,
    RunFenced: _run_fenced,
    GuestPut: _guest_put,
    GuestFilesDropped: _guest_files_dropped,
    GuestFilesGone: _guest_files_gone,
    PeerPut: _puts("peer"),
    StoreRestored: _store_restored,
    RecallWaived: _recall_waived,
    EpochsRaised: _epochs_raised,
}
_GUEST_STATES = list(GuestState)
