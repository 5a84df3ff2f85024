"""The files of results and errors of a batch, in OpenAI's shape: one line for each request."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Final

import msgspec

from tawtin.gateway.batches.records import Batch, File, Status
from tawtin.gateway.batches.shelf import Answer
from tawtin.model.base import Record

if TYPE_CHECKING:
    from tawtin.gateway.batches.shelf import Shelf

_PAGE: Final = 500
_WHY: Final = {
    Status.CANCELLED: ("batch_cancelled", "the batch was cancelled before this request was answered"),
    Status.EXPIRED: ("batch_expired", "the batch's time was over before this request was answered"),
    Status.FAILED: ("batch_failed", "the batch failed before this request was answered"),
}
_encode: Final = msgspec.json.Encoder().encode


class Said(Record, frozen=True, kw_only=True):
    """What a batch's job says of a request."""

    line: int
    status: int
    """Of the gateway's answer; 0 if there was none."""
    request_id: str = ""
    """The receipt."""
    body: msgspec.Raw = msgspec.Raw(b"null")


def _entry(batch: Batch, number: int, custom_id: str, response: object, error: object) -> msgspec.Raw:
    whole = {
        "id": f"batch_req_{batch.short}_{number}",
        "custom_id": custom_id,
        "response": response,
        "error": error,
    }
    return msgspec.Raw(_encode(whole))


def answer_of(batch: Batch, custom_id: str, said: Said) -> Answer:
    """The entry for an answer of the gateway."""
    if not said.status:
        error = {
            "code": "no_answer",
            "message": "the request was cut off several times before its answer was whole",
        }
        return Answer(line=said.line, good=False, entry=_entry(batch, said.line, custom_id, None, error))
    response = {"status_code": said.status, "request_id": said.request_id, "body": said.body}
    entry = _entry(batch, said.line, custom_id, response, None)
    return Answer(line=said.line, good=200 <= said.status < 300, entry=entry)


def close_lines(shelf: Shelf, batch: Batch, becomes: Status) -> None:
    """Say of each request without an answer why it has none. Blocks."""
    code, message = _WHY.get(becomes, _WHY[Status.FAILED])
    while lines := shelf.unanswered(batch.id, 0, _PAGE):
        for each in lines:
            entry = _entry(batch, each.number, each.custom_id, None, {"code": code, "message": message})
            shelf.answer(batch.id, Answer(line=each.number, good=False, entry=entry))


def write_results(shelf: Shelf, batch: Batch, *, good: bool, now_ms: int, expires_ms: int | None) -> str:
    """Make the file of results, or of errors, and return its id; empty if there is nothing to be in it. Blocks.

    Its id follows from the batch, so that a repeat after a crash makes no second one.
    """
    kind = "output" if good else "error"
    mark = hmac.new(shelf.secret, f"{batch.id} {kind}".encode(), hashlib.sha256).hexdigest()
    id = f"file-{batch.short[:10]}{mark[:16]}"
    if shelf.file(batch.tenant, id) is not None:
        return id
    shelf.discard(id)
    size = 0
    with shelf.draft(id) as draft:
        for entry in shelf.answers(batch.id, good=good):
            size += draft.write(entry + b"\n")
    if not size:
        shelf.discard(id)
        return ""
    shelf.keep(
        File(
            id=id,
            tenant=batch.tenant,
            name=f"{batch.id}_{kind}.jsonl",
            purpose="batch_output",
            size_bytes=size,
            created_ms=now_ms,
            expires_ms=expires_ms,
        )
    )
    return id
