"""Files and batches as they are kept, and as OpenAI's API shows them."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import msgspec

from tawtin.model.base import Record

WINDOW: Final = "24h"
WINDOW_MS: Final = 86_400_000
"""The only completion window of OpenAI's API."""


class Status(StrEnum):
    """Where a batch is, by OpenAI's words."""

    VALIDATING = "validating"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing further happens to the batch."""
        return self in {Status.COMPLETED, Status.FAILED, Status.EXPIRED, Status.CANCELLED}


class File(Record, frozen=True, kw_only=True):
    """A file of a tenant; its bytes lie beside."""

    id: str
    tenant: str
    name: str
    """As its sender called it: text from outside, and no path of anything."""
    purpose: str
    size_bytes: int
    created_ms: int
    expires_ms: int | None = None


class LineError(Record, frozen=True, kw_only=True):
    """What is wrong with a batch."""

    code: str
    message: str
    line: int | None = None
    """Counted from 1; None where it is about the whole."""
    param: str | None = None


class Batch(Record, frozen=True, kw_only=True):
    """A batch of requests."""

    id: str
    tenant: str
    key: str
    """The id of the key that made it: its limits hold, and the batch ends with it."""
    endpoint: str
    input_file: str
    created_ms: int
    data_class: str
    purpose: str = ""
    metadata: dict[str, str] = {}
    output_expires_seconds: int | None = None
    """How long its results stay, counted from when it was made; None for as long as any file."""
    status: Status = Status.VALIDATING
    at_ms: dict[Status, int] = {}
    """When it came to each status."""
    ends_as: Status | None = None
    """What it becomes once its results are whole."""
    errors: tuple[LineError, ...] = ()
    model: str = ""
    total: int = 0
    completed: int = 0
    failed: int = 0
    output_file: str = ""
    error_file: str = ""
    workload: str = ""
    """The job that asks its requests; a new one where one failed."""
    tries: int = 0
    """Jobs that it has had."""
    answered_before: int = 0
    """Answers that were there when the last job began."""
    vain: int = 0
    """Jobs in a row that failed without one new answer."""

    def to(self, status: Status, now_ms: int, **more: Any) -> Batch:  # noqa: ANN401 - fields
        """The same at another status."""
        return msgspec.structs.replace(
            self, status=status, at_ms={**self.at_ms, status: self.at_ms.get(status, now_ms)}, **more
        )

    @property
    def expires_ms(self) -> int:
        """When it is ended."""
        return self.created_ms + WINDOW_MS

    @property
    def short(self) -> str:
        """The part of its id that tells it from others."""
        return self.id.removeprefix("batch_")


def file_view(file: File) -> dict[str, object]:
    """A file in OpenAI's shape."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.size_bytes,
        "created_at": file.created_ms // 1000,
        "expires_at": None if file.expires_ms is None else file.expires_ms // 1000,
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
    }


def batch_view(batch: Batch) -> dict[str, object]:
    """A batch in OpenAI's shape, with the workload that runs it beside."""

    def at(status: Status) -> int | None:
        found = batch.at_ms.get(status)
        return None if found is None else found // 1000

    errors = [
        {"code": each.code, "message": each.message, "line": each.line, "param": each.param}
        for each in batch.errors
    ]
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": batch.model or None,
        "errors": {"object": "list", "data": errors} if errors else None,
        "input_file_id": batch.input_file,
        "completion_window": WINDOW,
        "status": batch.status.value,
        "output_file_id": batch.output_file or None,
        "error_file_id": batch.error_file or None,
        "created_at": batch.created_ms // 1000,
        "in_progress_at": at(Status.IN_PROGRESS),
        "expires_at": batch.expires_ms // 1000,
        "finalizing_at": at(Status.FINALIZING),
        "completed_at": at(Status.COMPLETED),
        "failed_at": at(Status.FAILED),
        "expired_at": at(Status.EXPIRED),
        "cancelling_at": at(Status.CANCELLING),
        "cancelled_at": at(Status.CANCELLED),
        "request_counts": {"total": batch.total, "completed": batch.completed, "failed": batch.failed},
        "metadata": batch.metadata or None,
        "workload": batch.workload or None,
    }
