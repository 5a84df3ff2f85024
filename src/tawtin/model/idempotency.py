"""What a factory remembers of an acknowledged submission, so that a repeat of the request gets the same answer."""

from __future__ import annotations

from tawtin.model.base import Record


class Remembered(Record, frozen=True, kw_only=True):
    """The answer that was given to one idempotency key of one tenant."""

    tenant: str
    key: str
    request_sha256: str
    """SHA-256 of the request's body, hexadecimal: the same key with another body is an error."""
    workloads: tuple[str, ...]
    at_ms: int
