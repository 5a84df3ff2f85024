"""Files: upload, list, show, read, delete."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from tawtin.gateway.batches.records import file_view
from tawtin.gateway.worker.http import Problem
from tawtin.web.openai.call import Call, Reply, page, reply
from tawtin.web.openai.form import Form

if TYPE_CHECKING:
    from pathlib import Path

_READ_BYTES: Final = 256 << 10
_WRITE_BYTES: Final = 1 << 20
_NAME_CHARS_MAX: Final = 255
_SECONDS_MIN: Final = 60
_OCTETS: Final = b"application/octet-stream"
_LIMIT: Final = 10_000


async def upload(call: Call) -> Reply:
    """Keep a file that comes as a form. What is not whole is thrown away."""
    desk, id = call.desk, call.desk.new_file_id()
    most = await desk.room(call.actor)
    draft = await asyncio.to_thread(desk.shelf.draft, id)
    kept = False
    try:
        held = bytearray()
        form = Form(call.header(b"content-type"), held.extend)
        size = 0
        with draft:
            async for piece in call.pieces():
                form.feed(piece)
                if size + len(held) > most:
                    raise Problem(
                        413, f"the file is longer than {most} bytes: send less", code="file_too_large"
                    )
                if len(held) >= _WRITE_BYTES:
                    size += await asyncio.to_thread(draft.write, bytes(held))
                    held.clear()
            size += await asyncio.to_thread(draft.write, bytes(held))
        purpose, seconds = _said(form)
        file = await desk.keep(
            call.actor,
            id,
            name=_name(form.filename or ""),
            purpose=purpose,
            size_bytes=size,
            seconds=seconds,
        )
        kept = True
    finally:
        if not kept:
            await asyncio.to_thread(desk.shelf.discard, id)
    return reply(file_view(file))


def _said(form: Form) -> tuple[str, int | None]:
    """Purpose of a form, and how long its file stays. Raises Problem."""
    if not form.done:
        raise Problem(400, "the form is not whole", code="invalid_form")
    if form.filename is None:
        raise Problem(400, "the form has no file: send one as `file`", code="invalid_value", param="file")
    if form.fields.get("purpose") != "batch":
        raise Problem(400, "`purpose` can only be `batch` here", code="invalid_value", param="purpose")
    unknown = sorted(form.fields.keys() - {"purpose", "expires_after[anchor]", "expires_after[seconds]"})
    if unknown:
        name = unknown[0][:100]
        raise Problem(400, f"`{name}` has no meaning here: leave it out", code="invalid_value", param=name)
    if form.fields.get("expires_after[anchor]", "created_at") != "created_at":
        raise Problem(400, "can only be `created_at`", code="invalid_value", param="expires_after[anchor]")
    seconds = form.fields.get("expires_after[seconds]")
    if seconds is None:
        return "batch", None
    if not (seconds.isascii() and seconds.isdecimal()) or int(seconds[:9]) < _SECONDS_MIN:
        message = f"is a number of seconds, at least {_SECONDS_MIN}"
        raise Problem(400, message, code="invalid_value", param="expires_after[seconds]")
    return "batch", int(seconds[:9])


def _name(given: str) -> str:
    """What a file is shown as: no path, nothing that cannot be printed."""
    last = given.replace("\\", "/").rpartition("/")[2]
    return "".join(each for each in last if each.isprintable())[:_NAME_CHARS_MAX] or "file"


async def list_files(call: Call) -> Reply:
    """List the tenant's files."""
    limit = call.limit(_LIMIT)
    order = call.query.get("order", "desc")
    if order not in {"asc", "desc"}:
        raise Problem(400, "`order` is `asc` or `desc`", code="invalid_value", param="order")
    found = await asyncio.to_thread(
        lambda: call.desk.shelf.list_files(
            call.actor.tenant,
            call.query.get("purpose", ""),
            call.query.get("after", ""),
            limit + 1,
            newest=order == "desc",
        )
    )
    return page([file_view(each) for each in found], limit)


async def show(call: Call) -> Reply:
    """Show a file."""
    return reply(file_view(await call.desk.file(call.actor, call.params["id"])))


async def content(call: Call) -> Reply:
    """Read a file."""
    file = await call.desk.file(call.actor, call.params["id"])
    headers = [(b"content-disposition", b"attachment")]
    pieces = _read(call.desk.shelf.files / file.id)
    return Reply(media=_OCTETS, headers=headers, pieces=pieces, length=file.size_bytes)


async def _read(path: Path) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(path.open, "rb") as source:
        while piece := await asyncio.to_thread(source.read, _READ_BYTES):
            yield piece


async def delete(call: Call) -> Reply:
    """Delete a file."""
    id = call.params["id"]
    await call.desk.delete(call.actor, id)
    return reply({"id": id, "object": "file", "deleted": True})
