"""Batches: make, list, show, cancel; and what the job of a batch asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec

from tawtin.gateway.batches.check import ENDPOINTS, body_of
from tawtin.gateway.batches.records import WINDOW, Batch, batch_view
from tawtin.gateway.batches.results import Said
from tawtin.gateway.worker.http import Problem
from tawtin.model.rules import DATA_CLASSES
from tawtin.model.tenant import Scope
from tawtin.web.openai.call import Call, Reply, page, reply

if TYPE_CHECKING:
    from pathlib import Path

    from tawtin.gateway.batches.shelf import Line

_BODY_BYTES_MAX: Final = 64 << 10
_ENTRY_BYTES: Final = 64 << 10
_PAGE_BYTES_MAX: Final = 1 << 20
_LIMIT, _LIMIT_MAX = 20, 100
_Word = Annotated[str, msgspec.Meta(max_length=512)]


class _Expires(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    anchor: Literal["created_at"]
    seconds: Annotated[int, msgspec.Meta(ge=60, le=31_536_000)]


class _New(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A batch as it is asked for."""

    input_file_id: str
    endpoint: str
    completion_window: str
    metadata: Annotated[dict[_Word, _Word], msgspec.Meta(max_length=16)] | None = None
    output_expires_after: _Expires | None = None


async def create(call: Call) -> Reply:
    """Make a batch of a file. What is in that is looked at afterwards."""
    call.actor.need(Scope.SUBMIT)
    new = await call.read(_New, _BODY_BYTES_MAX)
    if new.endpoint not in ENDPOINTS:
        raise Problem(400, f"has to be one of {', '.join(ENDPOINTS)}", code="invalid_value", param="endpoint")
    if new.completion_window != WINDOW:
        raise Problem(400, f"can only be `{WINDOW}`", code="invalid_value", param="completion_window")
    data_class, purpose = (
        call.header(b"x-tawtin-class") or call.class_default,
        call.header(b"x-tawtin-purpose"),
    )
    if data_class not in DATA_CLASSES:
        raise Problem(
            400, f"`x-tawtin-class` has to be one of {', '.join(DATA_CLASSES)}", code="invalid_class"
        )
    known = call.desk.purposes()
    if purpose and purpose not in known:
        listed = ", ".join(sorted(known)) or "none"
        raise Problem(400, f"no rule knows this `x-tawtin-purpose`; known: {listed}", code="invalid_purpose")
    file = await call.desk.file(call.actor, new.input_file_id)
    if file.purpose != "batch":
        raise Problem(400, "the file's purpose is not `batch`", code="invalid_value", param="input_file_id")
    batch = Batch(
        id=call.desk.new_batch_id(),
        tenant=call.actor.tenant,
        key=call.actor.key,
        endpoint=new.endpoint,
        input_file=file.id,
        created_ms=call.desk.service.clock.now_ms(),
        data_class=data_class,
        purpose=purpose,
        metadata=new.metadata or {},
        output_expires_seconds=new.output_expires_after.seconds if new.output_expires_after else None,
    )
    return reply(batch_view(await call.desk.create(batch)))


async def list_batches(call: Call) -> Reply:
    """List the tenant's batches, newest first."""
    limit = call.limit(_LIMIT, _LIMIT_MAX)
    found = await call.desk.list_batches(call.actor, call.query.get("after", ""), limit + 1)
    return page([batch_view(each) for each in found], limit)


async def show(call: Call) -> Reply:
    """Show a batch."""
    return reply(batch_view(await call.desk.batch(call.actor, call.params["id"])))


async def cancel(call: Call) -> Reply:
    """Ask for a batch's end."""
    return reply(batch_view(await call.desk.cancel(call.actor, call.params["id"])))


async def lines(call: Call) -> Reply:
    """Requests without an answer, behind one of them; a page may have fewer than there are."""
    after = call.query.get("after", "0")
    if not (after.isascii() and after.isdecimal()):
        raise Problem(400, "`after` is the number of a line", code="invalid_value", param="after")
    found = await call.desk.lines(call.batch, int(after[:9]), call.limit(100, 1000))
    path = call.desk.shelf.files / call.batch.input_file
    data = await call.desk.service.in_thread(_page, path, found, call.batch.endpoint.removeprefix("/v1"))
    return reply({"data": data})


def _page(path: Path, wanted: list[Line], endpoint: str) -> list[dict[str, object]]:
    """Requests as they stand in their file, a mebibyte of them or one. Blocks."""
    data: list[dict[str, object]] = []
    size = 0
    with path.open("rb") as source:
        for each in wanted:
            size += each.length
            if data and size > _PAGE_BYTES_MAX:
                break
            source.seek(each.start)
            data.append(
                {"line": each.number, "path": endpoint, "body": body_of(source.read(each.length)).decode()}
            )
    return data


async def answer(call: Call) -> Reply:
    """Record what became of a request."""
    said = await call.read(Said, call.desk.settings.answer_bytes_max + _ENTRY_BYTES)
    await call.desk.answer(call.batch, said)
    return reply({"taken": said.line})
