"""Sends an answer: whole, or piece by piece until it ends, the client goes away or the factory stops."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.types import Receive, Send

    from tawtin.web.app import App
    from tawtin.web.exchange import Answer

_NO_STORE: Final = (b"cache-control", b"no-store")
_ALWAYS: Final = [
    _NO_STORE,
    (b"x-content-type-options", b"nosniff"),
]
_NO_BODY: Final = frozenset({204, 304})


async def send_answer(
    answer: Answer, app: App, request_id: str, receive: Receive, send: Send, *, head: bool
) -> None:
    """Send `answer`. With `head` only its headers."""
    try:
        headers = [*_ALWAYS, (b"x-request-id", request_id.encode())]
        if any(name == b"cache-control" for name, _ in answer.headers or ()):
            headers.remove(_NO_STORE)
        if answer.status not in _NO_BODY:
            headers.append((b"content-type", answer.media))
        if answer.headers:
            headers += answer.headers
        if answer.stream is None and answer.status not in _NO_BODY:
            headers.append((b"content-length", b"%d" % len(answer.body)))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        if answer.stream is None or head:
            await send({"type": "http.response.body", "body": b"" if head else answer.body})
        else:
            await _stream(answer, app, receive, send)
    finally:
        if answer.close is not None:
            answer.close()


async def _stream(answer: Answer, app: App, receive: Receive, send: Send) -> None:
    app.requests.streams += 1
    pump = asyncio.create_task(_pump(answer, app.settings.body_seconds_max, send))
    gone = asyncio.create_task(_gone(receive))
    closing = asyncio.create_task(app.closing.wait())
    try:
        await asyncio.wait({pump, gone, closing}, return_when=asyncio.FIRST_COMPLETED)
        if pump.done():
            pump.result()
    finally:
        for task in (pump, gone, closing):
            task.cancel()
        await asyncio.gather(pump, gone, closing, return_exceptions=True)
        app.requests.streams -= 1


async def _pump(answer: Answer, seconds_max: int, send: Send) -> None:
    """Send the pieces. A client that reads nothing for `seconds_max` is let go."""
    pieces = cast("AsyncGenerator[bytes, Any]", answer.stream)
    async with aclosing(pieces):
        async for piece in pieces:
            async with asyncio.timeout(seconds_max):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
