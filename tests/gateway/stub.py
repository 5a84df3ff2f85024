"""A stub of a model server: no model, but raw bytes as a test wants them, also those that no sane server sends.

What a request's `model` begins with says how it is answered; see `ANSWERS`. Everything that it was asked is kept.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


class Asked:
    """One request that arrived."""

    def __init__(self, path: str, headers: dict[str, str], body: bytes) -> None:
        self.path = path
        self.headers = headers
        self.body = body
        self.gone = threading.Event()
        """Set when the connection closed before the answer was whole."""
        self.sent = 0
        """Bytes of the answer that were handed to the socket."""

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON
        return json.loads(self.body)


Answer = Callable[[asyncio.StreamWriter, Asked], Awaitable[None]]


def whole(body: bytes, status: str = "200 OK", media: str = "application/json") -> bytes:
    return (
        f"HTTP/1.1 {status}\r\ncontent-type: {media}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
    )


def event(value: object) -> bytes:
    return b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n"


def piece(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def delta(text: str, **more: object) -> dict[str, object]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return {
        "id": "c-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "stub",
        "choices": [choice],
        **more,
    }


STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
COMPLETION: dict[str, Any] = {
    "id": "c-1",
    "object": "chat.completion",
    "created": 1,
    "model": "stub",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "marhaba"}, "finish_reason": "stop"}
    ],
    "usage": USAGE,
    "x_unknown": {"kept": True},
}


async def plain(writer: asyncio.StreamWriter, asked: Asked) -> None:
    fields = asked.json
    if not fields.get("stream"):
        writer.write(whole(json.dumps(COMPLETION).encode()))
        return
    writer.write(STREAM)
    for text in ("mar", "ha", "ba"):
        writer.write(piece(event(delta(text))))
        await writer.drain()
        await asyncio.sleep(0)
    if fields.get("stream_options", {}).get("include_usage"):
        writer.write(piece(event({**delta(""), "choices": [], "usage": USAGE})))
    writer.write(piece(event(b"[DONE]")) + b"0\r\n\r\n")


async def exact(writer: asyncio.StreamWriter, asked: Asked) -> None:
    """Uses exactly what the request can come to."""
    fields = asked.json
    usage = {"prompt_tokens": len(asked.body) // 4 + 1, "completion_tokens": fields["max_tokens"]}
    writer.write(whole(json.dumps({**COMPLETION, "usage": usage}).encode()))


async def lies(writer: asyncio.StreamWriter, asked: Asked) -> None:
    usage = {"prompt_tokens": -5, "completion_tokens": 10**15}
    writer.write(whole(json.dumps({**COMPLETION, "usage": usage}).encode()))


async def silent(writer: asyncio.StreamWriter, asked: Asked) -> None:
    """Says nothing of usage."""
    writer.write(whole(json.dumps({**COMPLETION, "usage": None}).encode()))


async def dies(writer: asyncio.StreamWriter, asked: Asked) -> None:
    writer.write(STREAM + piece(event(delta("mar"))) + piece(event(delta("ha"))))
    await writer.drain()
    writer.close()


async def stalls(writer: asyncio.StreamWriter, asked: Asked) -> None:
    """Begins a stream, and goes on once the test is over."""
    writer.write(STREAM + piece(event(delta("mar"))))
    await writer.drain()
    await asyncio.sleep(3600)


async def mute(writer: asyncio.StreamWriter, asked: Asked) -> None:
    """Takes the request, and never answers."""
    await asyncio.sleep(3600)


async def headed(writer: asyncio.StreamWriter, asked: Asked) -> None:
    """Begins a stream, and never says anything in it."""
    writer.write(STREAM)
    await asyncio.sleep(3600)


async def late(writer: asyncio.StreamWriter, asked: Asked) -> None:
    """Answers after a while."""
    await asyncio.sleep(0.2)
    await plain(writer, asked)


async def endless(writer: asyncio.StreamWriter, asked: Asked) -> None:
    """One event that has no end."""
    writer.write(STREAM + b"40000000\r\ndata: ")
    while not writer.transport.is_closing():
        writer.write(b"x" * 65_536)
        asked.sent += 65_536
        await writer.drain()


async def flood(writer: asyncio.StreamWriter, asked: Asked) -> None:
    """Events for ever, as fast as they are taken."""
    writer.write(STREAM)
    filler = piece(event(delta("x" * 4_000)))
    while not writer.transport.is_closing():
        writer.write(filler)
        asked.sent += len(filler)
        await writer.drain()


async def huge(writer: asyncio.StreamWriter, asked: Asked) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1073741824\r\n\r\n")
    while not writer.transport.is_closing():
        writer.write(b" " * 65_536)
        asked.sent += 65_536
        await writer.drain()


async def closes(writer: asyncio.StreamWriter, asked: Asked) -> None:
    """Closes the connection before any answer."""
    writer.close()


async def busy(writer: asyncio.StreamWriter, asked: Asked) -> None:
    writer.write(whole(b'{"error":{"message":"busy"}}', "503 Service Unavailable"))


async def wrong(writer: asyncio.StreamWriter, asked: Asked) -> None:
    writer.write(whole(b'{"error":{"message":"no such tool"}}', "400 Bad Request"))


async def nonsense(writer: asyncio.StreamWriter, asked: Asked) -> None:
    writer.write(b"SMTP ready\r\n\r\n")


ANSWERS: dict[str, Answer] = {
    each.__name__: each
    for each in (
        plain, exact, lies, silent, dies, stalls, mute, headed, late,
        endless, flood, huge, closes, busy, wrong, nonsense,
    )
}  # fmt: skip


class Stub:
    """The server, in a thread of its own."""

    def __init__(self, always: str = "", tls: ssl.SSLContext | None = None) -> None:
        self.always = always
        """How to answer whatever is asked; empty for what the model's name begins with."""
        self.asked: list[Asked] = []
        self.url = ""
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stub")

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024, ssl=self._tls)
        )
        scheme = "https" if self._tls else "http"
        self.url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
        }
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        asked = Asked(first.split()[1], headers, body)
        self.asked.append(asked)
        kind = self.always or str(asked.json["model"]).partition("-")[0]
        answering = asyncio.ensure_future(ANSWERS.get(kind, plain)(writer, asked))
        leaving = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait([answering, leaving], return_when=asyncio.FIRST_COMPLETED)
            cut = writer.transport.is_closing() or (answering.done() and answering.exception() is not None)
            if cut or not answering.done():
                asked.gone.set()
                return False
            answering.result()
            await writer.drain()
        finally:
            answering.cancel()
            leaving.cancel()
            await asyncio.gather(answering, leaving, return_exceptions=True)
        return not writer.transport.is_closing()
