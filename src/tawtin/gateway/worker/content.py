"""What was said, for tenants that want it kept: one line a request, in a file that nobody else may read.

A file has half of the bound; when it is full it takes the place of the one before. Workers write the same files, one at
a time, in a thread beside the event loop.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import msgspec

from tawtin.model.base import Record

if TYPE_CHECKING:
    from pathlib import Path

    from tawtin.gateway.worker.course import Course, Outcome

log = logging.getLogger("tawtin.gateway.worker")
FOLDER: Final = "content"
_WAITING_MAX: Final = 256
"""Lines that wait for the disk, at most."""
_encode: Final = msgspec.json.Encoder().encode


class Said(Record, frozen=True, kw_only=True):
    """One request and its answer."""

    at_ms: int
    receipt: str
    tenant: str
    model: str
    path: str
    replica: str
    country: str
    status: int
    """Of the replica's answer; 0 where none began."""
    request: str
    """As a replica got it, after redaction."""
    answer: str
    """As it went on: JSON, or the events of a stream."""
    cut: bool = False
    """Whether one of the two was longer than is kept."""


class Contents:
    """The files of one gateway."""

    def __init__(self, folder: Path, bytes_max: int) -> None:
        """`bytes_max` are kept of each tenant, at most."""
        self.folder = folder / FOLDER
        self.bytes_max = bytes_max
        self.piece_max = bytes_max // 8
        """Bytes of a request, or of an answer, that are kept."""
        self._thread = ThreadPoolExecutor(1, "content")
        self._room = threading.Semaphore(_WAITING_MAX)

    def hear(self, held: bytearray | None, data: bytes) -> None:
        """Keep a piece of an answer, if it is kept at all."""
        if held is not None and len(held) <= self.piece_max:
            held += data[: self.piece_max + 1 - len(held)]

    def note(self, course: Course, outcome: Outcome, at_ms: int) -> None:
        """Write down one request, if its tenant wants that, without making anybody wait."""
        if outcome.content is None:
            return
        replica, most = outcome.replica, self.piece_max
        said = Said(
            at_ms=at_ms,
            receipt=course.receipt,
            tenant=course.wish.tenant,
            model=course.model.name,
            path=course.ask.path,
            replica=replica.id if replica is not None else "",
            country=replica.country if replica is not None else "",
            status=outcome.status,
            request=course.ask.body[:most].decode("utf-8", "replace"),
            answer=bytes(outcome.content[:most]).decode("utf-8", "replace"),
            cut=len(course.ask.body) > most or len(outcome.content) > most,
        )
        if not self._room.acquire(blocking=False):
            log.error("what `%s` said in %s is not kept: the disk is too slow", said.tenant, said.receipt)
            return
        self._thread.submit(self._write_next, said)

    def _write_next(self, said: Said) -> None:
        try:
            self.write(said)
        finally:
            self._room.release()

    def write(self, said: Said) -> None:
        """Append a line. What cannot be kept is not, and the log says so."""
        line = _encode(said) + b"\n"
        if len(line) > self.bytes_max // 2:
            line = _encode(msgspec.structs.replace(said, request="", answer="", cut=True)) + b"\n"
        try:
            self._append(self.folder / f"{quote(said.tenant, safe='')}.jsonl", line)
        except OSError as error:
            log.error(  # noqa: TRY400 - the message says it all
                "what `%s` said in %s could not be kept: %s", said.tenant, said.receipt, error.strerror
            )

    def _append(self, path: Path, line: bytes) -> None:
        self.folder.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if path.exists() and path.stat().st_size + len(line) > self.bytes_max // 2:
                path.replace(path.with_suffix(".1.jsonl"))
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(descriptor, "ab") as file:
                file.write(line)
        finally:
            os.close(lock)
