"""What is followed: the log of a workload and the log of the factory, as server-sent events or as plain bytes.

A stream carries with each piece where the next one begins (`id:`), so that whoever lost the connection, or whose
factory was restarted, goes on exactly there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

import msgspec

from tawtin.model.events import Entry
from tawtin.model.views import LogChunk, LogEnd, LogPiece

if TYPE_CHECKING:
    from tawtin.model.workload import Workload
    from tawtin.runtime.actor import Actor
    from tawtin.runtime.service import Service
    from tawtin.web.exchange import Exchange

CHUNK_BYTES: Final = 64 << 10
EVENTS_AT_ONCE: Final = 500
POLL_MS_MIN: Final = 10
HEARTBEAT: Final = b": still here\n\n"
_encode = msgspec.json.Encoder().encode


def sse(kind: str, data: object, place: str = "") -> bytes:
    """Return one server-sent event with `data` as JSON."""
    head = f"id: {place}\nevent: {kind}\n" if place else f"event: {kind}\n"
    return b"%sdata: %s\n\n" % (head.encode(), _encode(data))


async def events_from(
    service: Service, actor: Actor, start: int, limit: int
) -> tuple[tuple[Entry, ...], int]:
    """Return those of the `limit` entries from `start` on that the caller may see, and where to go on."""
    await service.settle()
    size = (await service.in_thread(service.journal.head)).size
    count = min(limit, size - start)
    if count <= 0:
        return (), start
    return await service.events(actor, start, count), start + count


async def follow_events(exchange: Exchange, start: int) -> AsyncIterator[bytes]:
    """Yield log entries from `start` on as they become durable, until the factory stops."""
    service = exchange.service
    wait_ms = int(exchange.settings.heartbeat_seconds * 1000)
    yield b"id: %d\n\n" % (start - 1) if start else HEARTBEAT
    while not exchange.closing.is_set():
        entries, following = await events_from(service, exchange.actor, start, EVENTS_AT_ONCE)
        for entry in entries:
            yield sse(type(entry.event).__name__, entry, str(entry.seq))
        if following == start and not await service.changed("*", wait_ms):
            yield HEARTBEAT
        start = following


class LogReader:
    """Reads a workload's log run by run, from one place on."""

    def __init__(self, exchange: Exchange, workload: str, *, epoch: int | None, offset: int) -> None:
        """`epoch` None begins with the last run, or with the first one still to come."""
        self._exchange = exchange
        self._workload = workload
        self.epoch = epoch or 0
        self.offset = offset

    async def settle_epoch(self) -> None:
        """If no run was named, take the last one there is."""
        if not self.epoch:
            view = await self._exchange.service.view(self._exchange.actor, self._workload)
            self.epoch = view.workload.epoch

    async def next(self, limit: int = CHUNK_BYTES) -> LogChunk:
        """Return the next piece of this run, maybe empty, and move on. `dropped` counts what rotation took."""
        if not self.epoch:
            return LogChunk(offset=0, data=b"")
        chunk = await self._exchange.service.log(
            self._exchange.actor, self._workload, epoch=self.epoch, offset=self.offset, limit=limit
        )
        self.offset = chunk.offset + len(chunk.data)
        return chunk

    async def go_back(self, lines: int) -> None:
        """Begin `lines` lines before the present end, at most a mebibyte before it."""
        if not self.epoch:
            return
        service, actor = self._exchange.service, self._exchange.actor
        size = CHUNK_BYTES
        while True:
            chunk = await service.log(actor, self._workload, epoch=self.epoch, offset=-size, limit=size)
            place = _lines_before_end(chunk.data, lines)
            if place is not None or len(chunk.data) < size or size >= 1 << 20:
                self.offset = chunk.offset + (place or 0)
                return
            size *= 4

    async def later_run(self) -> tuple[bool, Workload]:
        """Whether there is a later run, which is then moved to; and the workload as it is now."""
        view = await self._exchange.service.view(self._exchange.actor, self._workload)
        if view.workload.epoch > self.epoch:
            self.epoch += 1
            self.offset = 0
            return True, view.workload
        return False, view.workload


def _lines_before_end(data: bytes, lines: int) -> int | None:
    """Where the last `lines` lines begin, or None if there are fewer."""
    place = len(data) - 1 if data.endswith(b"\n") else len(data)
    if not lines:
        return len(data)
    for _ in range(lines):
        place = data.rfind(b"\n", 0, place)
        if place < 0:
            return None
    return place + 1


async def read_log(reader: LogReader, first: LogChunk, most: int | None) -> AsyncIterator[bytes]:
    """Yield one run's log as it is now, `first` included. Ends early where rotation took a piece meanwhile."""
    chunk = first
    while chunk.data:
        data = chunk.data if most is None else chunk.data[:most]
        yield data
        if most is not None:
            most -= len(data)
            if most <= 0:
                return
        chunk = await reader.next()
        if chunk.dropped:
            return


async def follow_log(
    exchange: Exchange, reader: LogReader, first: LogChunk, *, workload: str, pinned: bool
) -> AsyncIterator[LogPiece | LogEnd | None]:
    """Yield pieces of the log as they are written; None where there is no news for a while; LogEnd at the end.

    `pinned` ends with the run that it began with, else it goes on through later runs until the workload is over.
    """
    service = exchange.service
    longest_ms = int(exchange.settings.poll_seconds * 1000)
    heartbeat_ms = int(exchange.settings.heartbeat_seconds * 1000)
    poll_ms, silent_ms = POLL_MS_MIN, 0
    chunk = first
    while not exchange.closing.is_set():
        if chunk.data or chunk.dropped:
            yield LogPiece(epoch=reader.epoch, offset=chunk.offset, data=chunk.data, dropped=chunk.dropped)
            poll_ms, silent_ms = POLL_MS_MIN, 0
        elif chunk.end or not reader.epoch:
            moved, now = await reader.later_run()
            if pinned or (now.phase.final and not moved):
                yield LogEnd(phase=now.phase.value, exit_code=now.exit_code)
                return
        if not chunk.data and not await service.changed(workload, poll_ms):
            silent_ms += poll_ms
            poll_ms = min(2 * poll_ms, longest_ms)
            if silent_ms >= heartbeat_ms:
                silent_ms = 0
                yield None
        else:
            poll_ms = POLL_MS_MIN
        chunk = await reader.next()
