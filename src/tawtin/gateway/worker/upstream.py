"""Connections to replicas: kept open, one request at a time, and read no faster than the client reads."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

import httptools

from tawtin.core import route
from tawtin.core.hedge import FirstBytes
from tawtin.model.base import Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from tawtin.gateway.settings import GatewaySettings
    from tawtin.gateway.snapshot import Replica

_NEVER: Final = float("inf")
_HELD_BYTES_MAX: Final = 1 << 20


class UpstreamFailed(Exception):
    """A replica did not do what it should; the message says what, and never what was asked."""


class AnswerHead(Record, frozen=True, kw_only=True):
    """An answer of a replica up to its body."""

    status: int
    media: str
    """Its content type, lower case, without parameters."""


class Upstream(asyncio.Protocol):
    """One connection. httptools calls the `on_` methods while it reads."""

    def __init__(self, pool: Pool) -> None:
        """Belong to a pool."""
        self.pool = pool
        self.deadline = _NEVER
        self.used = False
        """Whether it answered a request before this one."""
        self.head: asyncio.Future[AnswerHead]
        self.over: asyncio.Future[None]
        """Done when the body is whole."""
        self._transport: asyncio.Transport | None = None
        self._sink: Callable[[bytes], None] | None = None
        self._first: asyncio.Future[None] | None = None
        """Who waits for the first piece of the body."""
        self._pieces: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self._parser: Any = None
        self._media = ""
        self.framed = False
        """Whether the answer says where it ends."""
        self._busy = False
        self._last = False
        """Whether the replica will close the connection."""
        self._paused = False

    # --- the request ----------------------------------------------------------------------------------------------

    def send(self, request: bytes) -> None:
        """Send a request. `head` and then `over` come true, or raise UpstreamFailed."""
        self.head = self._loop.create_future()
        self.over = self._loop.create_future()
        for each in (self.head, self.over):
            each.add_done_callback(_seen)
        self._parser = httptools.HttpResponseParser(self)
        self._media, self.framed, self._busy, self._sink = "", False, True, None
        self._pieces, self._first = [], None
        self.deadline = self._loop.time() + self.pool.settings.first_byte_seconds_max
        if self._transport is None or self._transport.is_closing():
            self.fail("it closed the connection")
            return
        self._transport.write(request)

    async def begins(self) -> None:
        """Wait for the first piece of the body, or its end. Raises UpstreamFailed."""
        if self.over.done():
            self.over.result()
        elif not self._pieces:
            self._first = self._loop.create_future()
            self._first.add_done_callback(_seen)
            await self._first

    def attach(self, sink: Callable[[bytes], None]) -> None:
        """Hand what came of the body to `sink`, and whatever follows."""
        self._sink = sink
        self.resume()  # before the sink, which may ask for a pause
        if self._pieces:
            pieces, self._pieces = self._pieces, []
            sink(b"".join(pieces))

    def pause(self) -> None:
        """Read no more for now: the client is slower."""
        if self._transport is not None and not self._paused:
            self._paused = True
            self.deadline = _NEVER
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._transport is not None and self._paused:
            self._paused = False
            self.deadline = self._loop.time() + self.pool.settings.pause_seconds_max
            self._transport.resume_reading()

    def fail(self, why: str) -> None:
        """Give up on what is under way."""
        for each in (self.head, self.over, self._first):
            if each is not None and not each.done():
                each.set_exception(UpstreamFailed(why))
        self.abort()

    def abort(self) -> None:
        """Close it at once, so that the replica stops as well."""
        self.deadline = _NEVER
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    @property
    def open(self) -> bool:
        """Whether it can be used again."""
        transport = self._transport
        return transport is not None and not transport.is_closing() and not (self._busy or self._last)

    # --- what the loop calls --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be there."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Read on."""
        if not self._busy:
            self.abort()  # nobody asked
            return
        if not self._paused:
            self.deadline = self._loop.time() + self.pool.settings.pause_seconds_max
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.fail("its answer is not HTTP")
            return
        self._hand_on()
        if not self._busy:
            self._end()

    def _hand_on(self) -> None:
        if not self._pieces:
            return
        if self._sink is None:
            if self._first is not None and not self._first.done():
                self._first.set_result(None)
            if sum(map(len, self._pieces)) > _HELD_BYTES_MAX:
                self.pause()
            return
        pieces, self._pieces = self._pieces, []
        self._sink(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def _end(self) -> None:
        self.deadline = _NEVER
        for each in (self.over, self._first):
            if each is not None and not each.done():
                each.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        self._transport = None
        self.pool.forget(self)
        if not self._busy:
            return
        if exc is None and self.head.done() and not self.framed:
            self._busy = False
            self._end()  # a body without a length ends with the connection
            return
        self.fail(
            "it closed the connection within its answer" if self.head.done() else "it closed the connection"
        )

    # --- what httptools calls -------------------------------------------------------------------------------------

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep what matters."""
        name = name.lower()
        if name == b"content-type":
            self._media = value.decode("latin-1").partition(";")[0].strip().lower()
        elif name in (b"content-length", b"transfer-encoding"):
            self.framed = True

    def on_headers_complete(self) -> None:
        """Say that the head is there."""
        status: int = self._parser.get_status_code()
        if status >= 200 and not self.head.done():
            self.head.set_result(AnswerHead(status=status, media=self._media))

    def on_body(self, body: bytes) -> None:
        """Keep a piece until all that came is read."""
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        """Be free again."""
        if self.head.done():
            self._busy = False
            self.used = True
            self._last = not self._parser.should_keep_alive()


def _seen(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()


class Pool:
    """The connections of this worker to one replica, and how that does."""

    def __init__(self, replica: Replica, settings: GatewaySettings) -> None:
        """Connect to nothing yet."""
        self.replica = replica
        self.seed = route.seed(replica.id)
        self.settings = settings
        most = settings.replica_connections_max
        self._open_max = min(most, replica.requests_max or most)
        self.busy: set[Upstream] = set()
        self.open = 0
        self.requests = 0
        self.failures = 0
        self.hedges = 0
        self.first_bytes = (FirstBytes(), FirstBytes())
        """Of answers that are no streams, and of streams."""
        self.given = 0
        self.tokens = 0
        self.waited_ms = 0
        self.began = 0
        self._row = 0
        self._shut_until = 0.0
        self._trying = False
        self._idle: list[Upstream] = []
        parts = urlsplit(replica.url)
        self._host = parts.hostname or ""
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._path = parts.path
        self._netloc = parts.netloc

    def request(self, path: str, body: bytes, receipt: str) -> bytes:
        """The request that the replica gets: nothing of the client's own headers. Raises UpstreamFailed."""
        lines = [
            f"POST {self._path}{path} HTTP/1.1",
            f"host: {self._netloc}",
            "content-type: application/json",
            f"content-length: {len(body)}",
            f"x-request-id: {receipt}",
        ]
        if self.replica.key_file:
            try:
                key = Path(self.replica.key_file).read_text("ascii").strip()
            except (OSError, UnicodeDecodeError):
                raise UpstreamFailed("the file with its key cannot be read") from None
            lines.append(f"authorization: Bearer {key.splitlines()[0] if key else ''}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body

    def may(self, now: float) -> bool:
        """Whether it may be asked: after several failures in a row, only now and then by one request."""
        if self.open >= self._open_max:
            return False
        return self._row < self.settings.failures_max or (now >= self._shut_until and not self._trying)

    @property
    def shut(self) -> bool:
        """Whether it is left alone, but for one request now and then."""
        return self._row >= self.settings.failures_max

    def went_well(self) -> None:
        """It answered."""
        self.requests += 1
        self._row, self._trying = 0, False

    def went_wrong(self) -> None:
        """It did not."""
        self.failures += 1
        self._row += 1
        self._trying = False
        self._shut_until = asyncio.get_running_loop().time() + self.settings.shut_seconds

    def went_unseen(self) -> None:
        """Nobody knows: the client left before."""
        self._trying = False

    async def take(self) -> Upstream:
        """A connection to it. Raises UpstreamFailed."""
        if self.shut:
            self._trying = True
        while self._idle:
            upstream = self._idle.pop()
            if upstream.open:
                self.busy.add(upstream)
                return upstream
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.settings.connect_seconds_max):
                _, upstream = await loop.create_connection(
                    lambda: Upstream(self), self._host, self._port, ssl=self._tls
                )
        except (OSError, TimeoutError):
            raise UpstreamFailed("it does not accept a connection") from None
        self.busy.add(upstream)
        return upstream

    def give_back(self, upstream: Upstream) -> None:
        """Take a connection back, or close it if nobody can use it again."""
        self.busy.discard(upstream)
        if upstream.open:
            self._idle.append(upstream)
        else:
            upstream.abort()

    def forget(self, upstream: Upstream) -> None:
        """A connection is closed."""
        if upstream in self._idle:
            self._idle.remove(upstream)

    def sweep(self, now: float) -> None:
        """Give up on what takes too long."""
        for upstream in list(self.busy):
            if now > upstream.deadline:
                upstream.fail("it took too long")

    def close(self) -> None:
        """Close what is idle."""
        for upstream in self._idle[:]:
            upstream.abort()
