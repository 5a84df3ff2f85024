"""Records into the state: where each kind goes, whether an event brings it or a journal gives it back."""

from __future__ import annotations

from typing import NoReturn

from tawtin.core.state import State
from tawtin.model.artifact import Artifact
from tawtin.model.base import Record
from tawtin.model.gateway import Charged
from tawtin.model.health import Quarantine
from tawtin.model.idempotency import Remembered
from tawtin.model.resources import Node
from tawtin.model.restored import ID, Restored
from tawtin.model.roaming import Guest, Peer
from tawtin.model.tenant import Account, ApiKey, Tenant
from tawtin.model.workload import Phase, Run, Workload


class FoldError(Exception):
    """An event or a record contradicts the state; nothing was changed."""


def fail(message: str) -> NoReturn:
    """Refuse an event or a record. Raises FoldError."""
    raise FoldError(message)


def restore(state: State, record: Record) -> None:
    """Put one live record back, at a start, in the order of `ports.KINDS`. Raises FoldError if it has no place."""
    if isinstance(record, Workload):
        if record.tenant not in state.tenants:
            fail(f"workload `{record.id}` is of the unknown tenant `{record.tenant}`")
        keep(state, record)
    elif isinstance(record, Run):
        workload = state.workloads.get(record.workload)
        if workload is None or workload.phase is not Phase.PLACED or workload.epoch != record.epoch:
            fail(f"run `{record.id}` is of a workload that is not placed under its epoch")
        state.runs[record.id] = record
        state.run_of[workload.id] = record.id
        state.hold(record, workload)
    else:
        keep(state, record)


def keep(state: State, record: Record) -> tuple[str, str]:
    """Keep a record; return its kind and id."""
    if isinstance(record, Workload):
        state.workloads[record.id] = record
        state.unfinished(record.tenant, 1)
        state.join_service(record)
        if record.phase is Phase.QUEUED:
            state.enqueue(record)
        return "workload", record.id
    if isinstance(record, Remembered):
        state.remember(record)
        return "idempotency", f"{record.tenant}/{record.key}"
    return _keep_site(state, record)


def _keep_site(state: State, record: Record) -> tuple[str, str]:
    match record:
        case Tenant():
            state.tenants[record.id] = record
            kind, name = "tenant", record.id
        case ApiKey():
            state.keys[record.id] = record
            kind, name = "key", record.id
        case Node():
            state.put_node(record)
            kind, name = "node", record.name
        case Quarantine():
            state.quarantines[record.key] = record
            kind, name = "quarantine", record.key
        case Account():
            state.accounts[record.tenant, record.month] = record
            kind, name = "account", f"{record.tenant}/{record.month}"
        case Charged():
            state.charged[record.ledger] = record
            kind, name = "charged", record.ledger
        case Artifact():
            state.put_artifact(record)
            kind, name = "artifact", f"{record.tenant}/{record.id}"
        case Peer():
            state.put_peer(record)
            kind, name = "peer", record.name
        case Guest():
            state.put_guest(record)
            kind, name = "guest", record.key
        case Restored():
            state.put_restored(record)
            kind, name = "meta", ID
        case _:
            fail(f"a {type(record).__name__} is no record of the state")
    state.kept[kind] += 1
    return kind, name
