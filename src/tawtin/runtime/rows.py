"""Records to rows and back: the one place that knows which columns each kind of record has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from tawtin.core.fold import fold, restore
from tawtin.core.state import State
from tawtin.model.artifact import Artifact
from tawtin.model.events import decode_entry
from tawtin.model.gateway import Charged
from tawtin.model.health import Quarantine
from tawtin.model.idempotency import Remembered
from tawtin.model.resources import Node
from tawtin.model.restored import Restored
from tawtin.model.roaming import Guest, GuestState, Peer
from tawtin.model.tenant import Account, ApiKey, Tenant
from tawtin.model.workload import Run, RunState, Workload
from tawtin.ports import Query, Row

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tawtin.core.residency import Judge
    from tawtin.model.base import Record
    from tawtin.model.site import Site
    from tawtin.ports import Journal

KINDS: Final[dict[str, type[Record]]] = {
    "meta": Restored,
    "tenant": Tenant,
    "key": ApiKey,
    "node": Node,
    "quarantine": Quarantine,
    "account": Account,
    "charged": Charged,
    "artifact": Artifact,
    "idempotency": Remembered,
    "workload": Workload,
    "run": Run,
    "peer": Peer,
    "guest": Guest,
}

EPOCHS_AT_ONCE: Final = 100
_encode = msgspec.json.Encoder().encode
_decoders: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    kind: msgspec.json.Decoder(record) for kind, record in KINDS.items()
}


def decode(kind: str, body: bytes) -> Any:  # noqa: ANN401 - the record type of the kind
    """Return the record in a row of this kind. Raises msgspec.ValidationError."""
    return _decoders[kind].decode(body)


def rows_of(changed: Mapping[tuple[str, str], Record | None]) -> tuple[Row, ...]:
    """Return the rows that make these records durable; None deletes a row."""
    return tuple(_row(kind, row_id, record) for (kind, row_id), record in changed.items())


def _row(kind: str, row_id: str, record: Record | None) -> Row:
    if record is None:
        return Row(kind=kind, id=row_id, body=b"")
    body = _encode(record)
    if isinstance(record, Workload):
        return Row(
            kind=kind,
            id=row_id,
            tenant=record.tenant,
            phase=record.phase.value,
            parent=record.array.id if record.array else "",
            live=not record.phase.final,
            body=body,
        )
    if isinstance(record, Run):
        return Row(
            kind=kind,
            id=row_id,
            tenant=record.tenant,
            phase=record.state.value,
            parent=record.workload,
            live=record.state is not RunState.DONE,
            body=body,
        )
    if isinstance(record, Guest):
        return Row(
            kind=kind,
            id=row_id,
            phase=record.state.value,
            parent=record.home,
            live=record.state is not GuestState.SETTLED or record.litters,
            body=body,
        )
    if isinstance(record, ApiKey | Account | Artifact):
        return Row(kind=kind, id=row_id, tenant=record.tenant, body=body)
    if isinstance(record, Remembered):
        # the time stands where lists filter, so that old ones can be found and purged
        return Row(
            kind=kind,
            id=row_id,
            tenant=record.tenant,
            phase=idempotency_time(record.at_ms),
            live=False,
            body=body,
        )
    return Row(kind=kind, id=row_id, body=body)


def idempotency_time(at_ms: int) -> str:
    """How a remembered key's time is written, so that earlier sorts below later."""
    return f"{at_ms:015d}"


def fetch(journal: Journal, needs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Any]:
    """The records of these kinds and ids, as far as they exist. Blocks.

    The kind `epochs` has `<home>/<workload>` for its id, and gives the highest epoch of it that is recorded here.
    """
    rows: dict[tuple[str, str], Any] = {}
    for kind, name in needs:
        if kind == "epochs":
            rows[kind, name] = _highest(journal, name)
            continue
        body = journal.get(kind, name)
        if body is not None:
            rows[kind, name] = decode(kind, body)
    return rows


def _highest(journal: Journal, name: str) -> int:
    """The highest epoch of a peer's workload with a record; 0 for none. Ids are `<home>/<workload>.<epoch>`."""
    home, _, workload = name.rpartition("/")
    highest, before = 0, f"{name}/"  # the ids of a workload sort just below this
    while True:
        query = Query(kind="guest", parent=home, before=before, limit=EPOCHS_AT_ONCE)
        found: list[Guest] = [decode("guest", body) for body in journal.list(query)]
        mine = [each for each in found if each.workload == workload]
        highest = max([highest, *(each.epoch for each in mine)])
        if len(mine) < EPOCHS_AT_ONCE:
            return highest
        before = mine[-1].key


def load(journal: Journal, site: Site, judge: Judge | None = None) -> State:
    """Return the state that the journal holds, ready to fold the next entry."""
    state = State(site, judge)
    size = journal.head().size
    if size:
        last = decode_entry(journal.events(size - 1, 1)[0])
        state.seq, state.time_ms = size, last.at_ms
    for row in journal.live():
        decoder = _decoders.get(row.kind)
        if decoder is not None:
            restore(state, decoder.decode(row.body))
    state.take_changed()
    return state


def replay(journal: Journal, site: Site, judge: Judge | None = None, *, page: int = 1000) -> State:
    """Return the state that the events alone give, from the first one on. For checks, not for starting."""
    state = State(site, judge)
    size = journal.head().size
    for start in range(0, size, page):
        for body in journal.events(start, page):
            fold(state, decode_entry(body))
        state.take_changed()
    return state
