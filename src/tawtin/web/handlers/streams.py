"""Logs and events as streams."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from tawtin.model.views import LogEnd, LogPiece
from tawtin.web.errors import HttpError
from tawtin.web.exchange import Answer, Exchange, Headers
from tawtin.web.streams import CHUNK_BYTES, HEARTBEAT, LogReader, follow_events, follow_log, read_log, sse

if TYPE_CHECKING:
    from tawtin.model.requests import EventStart, LogRange
    from tawtin.model.views import LogChunk

SSE: Final = b"text/event-stream"
BYTES: Final = b"text/plain; charset=utf-8"
_NUMBER_CHARS_MAX: Final = 16


async def stream_events(exchange: Exchange) -> Answer:
    """Follow the log of the factory. Each event's `id` is its sequence number; `Last-Event-ID` goes on after it."""
    query: EventStart = exchange.query
    start = query.start
    last = exchange.header(b"last-event-id")
    if last:
        start = _number(last) + 1
    if start is None:
        await exchange.service.settle()
        start = (await exchange.service.in_thread(exchange.service.journal.head)).size
    return Answer(media=SSE, stream=follow_events(exchange, start))


async def read_logs(exchange: Exchange) -> Answer:
    """Read or follow a workload's log: bytes as they were written, or with `Accept: text/event-stream` events.

    The headers `Tawtin-Log-Epoch`, `Tawtin-Log-Offset` and `Tawtin-Log-Dropped` say where the answer begins. Events are
    `log` (its `data` is base64) and, once, `end`; their `id` is where to go on: send it as `Last-Event-ID`.
    """
    query: LogRange = exchange.query
    workload = exchange.params["id"]
    reader = LogReader(exchange, workload, epoch=query.epoch, offset=query.offset)
    last = exchange.header(b"last-event-id")
    if last:
        epoch, _, offset = last.partition(":")
        reader.epoch, reader.offset = _number(epoch), _number(offset)
    _consistent(query)
    await reader.settle_epoch()
    if query.tail is not None and not last:
        await reader.go_back(query.tail)
    first = await reader.next(CHUNK_BYTES)
    headers: Headers = [
        (b"tawtin-log-epoch", b"%d" % reader.epoch),
        (b"tawtin-log-offset", b"%d" % first.offset),
        (b"tawtin-log-dropped", b"%d" % first.dropped),
    ]
    if b"text/event-stream" in exchange.headers.get(b"accept", b""):
        stream = _as_events(exchange, reader, first, pinned=query.epoch is not None, follow=query.follow)
        return Answer(media=SSE, headers=headers, stream=stream)
    if query.follow:
        followed = _as_bytes(exchange, reader, first, pinned=query.epoch is not None)
        return Answer(media=BYTES, headers=headers, stream=followed)
    return Answer(media=BYTES, headers=headers, stream=read_log(reader, first, query.limit))


async def _as_events(
    exchange: Exchange, reader: LogReader, first: LogChunk, *, pinned: bool, follow: bool
) -> AsyncIterator[bytes]:
    yield f"id: {reader.epoch}:{first.offset}\n\n".encode()
    if not follow:
        chunk = first
        while chunk.data or chunk.dropped:
            piece = LogPiece(epoch=reader.epoch, offset=chunk.offset, data=chunk.data, dropped=chunk.dropped)
            yield sse("log", piece, f"{reader.epoch}:{reader.offset}")
            chunk = await reader.next()
        return
    workload = exchange.params["id"]
    async for news in follow_log(exchange, reader, first, workload=workload, pinned=pinned):
        match news:
            case LogPiece():
                yield sse("log", news, f"{news.epoch}:{news.offset + len(news.data)}")
            case LogEnd():
                yield sse("end", news)
            case None:
                yield HEARTBEAT


async def _as_bytes(
    exchange: Exchange, reader: LogReader, first: LogChunk, *, pinned: bool
) -> AsyncIterator[bytes]:
    workload = exchange.params["id"]
    async for news in follow_log(exchange, reader, first, workload=workload, pinned=pinned):
        if isinstance(news, LogPiece):
            yield news.data


def _consistent(query: LogRange) -> None:
    if query.tail is not None and query.offset:
        raise HttpError(400, "`tail` and `offset` say two things about where to begin: give one", "Invalid")
    if query.follow and query.limit is not None:
        raise HttpError(400, "`follow` goes on to the end, `limit` does not: give one", "Invalid")


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > _NUMBER_CHARS_MAX:
        raise HttpError(400, f"`Last-Event-ID` holds `{text}`: send back what a stream gave", "Invalid")
    return int(text)
