"""Files and batches: the control plane has them, and a worker passes requests on to it, piece by piece.

The line is a Unix socket in the gateway's folder. The request that goes over it is written anew from what was read
strictly, and its body goes on as it comes; so does the answer, no faster than the client reads.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import httptools

from tawtin.gateway.worker.http import Problem

if TYPE_CHECKING:
    from pathlib import Path

    from tawtin.gateway.settings import GatewaySettings
    from tawtin.gateway.worker.connection import Connection
    from tawtin.gateway.worker.http import Head

SOCKET: Final = "control.sock"
FILES: Final = "/v1/files"
BATCHES: Final = "/v1/batches"
_FORM_BYTES: Final = 64 << 10
"""What a form has beyond the file in it."""
_ENTRY_BYTES: Final = 64 << 10
"""What is said of an answer beyond it."""
_PASSED: Final = (b"authorization", b"content-type", b"x-tawtin-class", b"x-tawtin-purpose")
_METHODS: Final = ("GET", "POST", "DELETE")
_READ_BYTES: Final = 64 << 10
_ANSWER_S_MAX: Final = 60
"""How long the control plane may be silent."""


def relayed(path: str) -> bool:
    """Whether the control plane answers at this path."""
    return path in {FILES, BATCHES} or path.startswith((FILES + "/", BATCHES + "/"))


def body_most(settings: GatewaySettings, path: str) -> int:
    """How long the body of a request may be."""
    if path == FILES:
        return settings.file_bytes_max + _FORM_BYTES
    if path.startswith(BATCHES + "/"):
        return settings.answer_bytes_max + _ENTRY_BYTES
    return settings.body_bytes_max


class Reading:
    """The answer as it is read: httptools calls the `on_` methods. It waits where the client is slower."""

    def __init__(self) -> None:
        """Nothing has come."""
        self.status = 0
        self.media = b"application/json"
        self.length: int | None = None
        self.pieces: list[bytes] = []
        self.headed = False
        self.whole = False
        self.open = asyncio.Event()
        self.open.set()
        self.parser = httptools.HttpResponseParser(self)

    def pause(self) -> None:
        """Read no more for now."""
        self.open.clear()

    def resume(self) -> None:
        """Read on."""
        self.open.set()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep what matters."""
        name = name.lower()
        if name == b"content-type":
            self.media = value
        elif name == b"content-length":
            self.length = int(value)

    def on_headers_complete(self) -> None:
        """The head is there."""
        self.status = self.parser.get_status_code()
        self.headed = self.status >= 200

    def on_body(self, body: bytes) -> None:
        """Keep a piece."""
        self.pieces.append(body)

    def on_message_complete(self) -> None:
        """All of it is there."""
        self.whole = self.headed


class Relay:
    """The way to the control plane."""

    def __init__(self, settings: GatewaySettings, folder: Path) -> None:
        """Its socket is in this folder."""
        self.settings = settings
        self.path = folder / SOCKET

    async def answer(self, connection: Connection, head: Head) -> None:
        """Pass a request on, and its answer back. Raises Problem."""
        if head.method not in _METHODS:
            known = ", ".join(_METHODS)
            raise Problem(405, f"`{head.method}` has no meaning here: use {known}", code="method")
        try:
            reader, writer = await asyncio.open_unix_connection(str(self.path))
        except OSError:
            raise _away() from None
        sending = asyncio.create_task(_send(connection, head, writer))
        reading = connection.reader = Reading()
        try:
            await self._receive(connection, reader, reading, sending)
        finally:
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, Problem, OSError):
                await sending
            writer.transport.abort()

    async def _receive(
        self,
        connection: Connection,
        reader: asyncio.StreamReader,
        reading: Reading,
        sending: asyncio.Task[None],
    ) -> None:
        """Hand the answer on as it comes."""
        began = False
        while not reading.whole:
            await reading.open.wait()
            data = await self._next(reader, sending)
            try:
                reading.parser.feed_data(data)
            except httptools.HttpParserError:
                data = b""
            if not data:
                if began:
                    connection.break_off()
                    return
                raise _away()
            if not reading.headed:
                continue
            body, reading.pieces = b"".join(reading.pieces), []
            if reading.whole and not began:
                connection.respond(reading.status, body, reading.media)
                return
            if not began:
                began = True
                connection.begin(reading.status, reading.media, [])
            connection.piece(body)
        connection.end()

    async def _next(self, reader: asyncio.StreamReader, sending: asyncio.Task[None]) -> bytes:
        """The next bytes of the answer; none if it ends. Raises Problem if the request cannot be passed on."""
        read = asyncio.ensure_future(reader.read(_READ_BYTES))
        try:
            if not sending.done():
                await asyncio.wait([read, sending], return_when=asyncio.FIRST_COMPLETED)
                if sending.done() and not read.done():
                    sending.result()
            async with asyncio.timeout(_ANSWER_S_MAX):
                return await read
        except (OSError, TimeoutError):
            return b""
        finally:
            read.cancel()


async def _send(connection: Connection, head: Head, writer: asyncio.StreamWriter) -> None:
    """The request as the control plane gets it. Raises Problem for a body that is broken."""
    lines = [f"{head.method} {head.target} HTTP/1.1".encode(), b"host: gateway", b"connection: close"]
    lines += [name + b": " + head.headers[name] for name in _PASSED if name in head.headers]
    lines.append(b"transfer-encoding: chunked" if head.chunked else b"content-length: %d" % head.length)
    writer.write(b"\r\n".join(lines) + b"\r\n\r\n")
    incoming = connection.incoming
    with contextlib.suppress(OSError):  # it may answer before all is sent; the answer says why
        if incoming is not None:
            async for piece in incoming.pieces():
                writer.write(b"%x\r\n%s\r\n" % (len(piece), piece) if head.chunked else piece)
                await writer.drain()
        if head.chunked:
            writer.write(b"0\r\n\r\n")
        await writer.drain()


def _away() -> Problem:
    return Problem(
        503,
        "the control plane, which has files and batches, does not answer: try again",
        code="control_plane_away",
        retry_ms=1_000,
    )
