"""One client's connection: one request after the other, each in its time, and answers no faster than they are read."""

from __future__ import annotations

import asyncio
import logging
import traceback
from typing import TYPE_CHECKING, Final, Protocol, cast

from tawtin.gateway.worker.http import JSON, Chunks, Head, Problem, answer_head, too_large
from tawtin.gateway.worker.incoming import Incoming
from tawtin.gateway.worker.relay import body_most, relayed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tawtin.gateway.settings import GatewaySettings

log = logging.getLogger("tawtin.gateway.worker")
_NEVER: Final = float("inf")
_LINGER_S: Final = 2
_BODY_OF_STRANGERS_MAX: Final = 64 << 10
"""A longer body is not kept for somebody who has no key."""
Headers = list[tuple[bytes, bytes]]


class Reader(Protocol):
    """What can wait."""

    def pause(self) -> None:
        """Read no more for now."""
        ...

    def resume(self) -> None:
        """Read on."""
        ...


class Connection(asyncio.Protocol):
    """A client. `answer(connection, head, body)` is called for each request, in order.

    `admit(head)` is called before a long body is read, and raises Problem if nobody would look at it. What the control
    plane answers is called for once the head is there, with `incoming` for its body.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        answer: Callable[[Connection, Head, bytes], Awaitable[None]],
        admit: Callable[[Head], None],
        connections: set[Connection],
    ) -> None:
        """Belong to a worker."""
        self.settings = settings
        self.connections = connections
        self.deadline = _NEVER
        self.reader: Reader | None = None
        """What the present answer comes from: it waits while the client is slower."""
        self.incoming: Incoming | None = None
        """The body of the present request, if it is passed on as it comes."""
        self.stopping = False
        self._answer = answer
        self._admit = admit
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._held = bytearray()
        self._head: Head | None = None
        self._chunks: Chunks | None = None
        self._task: asyncio.Task[None] | None = None
        self._keep = True
        self._started = False
        self._reading_paused = False
        self.streaming = False
        """Whether the head of a stream was sent."""
        self._ended = False
        """Whether nothing more is read of it."""
        self._half = self._held_up = False

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return self._task is not None

    # --- what the loop calls --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the first request its time."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=256 << 10)
        self.connections.add(self)
        self.deadline = self._loop.time() + self.settings.header_seconds_max
        if len(self.connections) > self.settings.connections_max:
            self.refuse(
                Problem(
                    503, "too many connections are open: try again", code="busy", retry_ms=1000, close=True
                )
            )

    def data_received(self, data: bytes) -> None:
        """Take bytes."""
        if self._ended:
            return
        if not self._held and self._head is None and self._task is None:
            self.deadline = self._loop.time() + self.settings.header_seconds_max
        self._held += data
        if self._task is not None and self.incoming is not None and not self.incoming.whole:
            self._pass_on(self.incoming)
        elif self._task is None:
            self._advance()
        elif len(self._held) > self.settings.header_bytes_max and self._transport is not None:
            self._reading_paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """Take a client that sends no more for one that is gone, unless it waits for an answer."""
        self._half = True
        return self._task is not None and not self._held_up

    def hold_up(self, *, held_up: bool) -> None:
        """Say whether its request waits for a replica: for so long, a client that sends no more is one that is gone."""
        self._held_up = held_up
        if held_up and self._half:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop what is done for it."""
        del exc
        self._transport = None
        self._ended = True
        self.connections.discard(self)
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        """Ask whoever answers to wait."""
        self.deadline = self._loop.time() + self.settings.body_seconds_max
        if self.reader is not None:
            self.reader.pause()

    def resume_writing(self) -> None:
        """Let it go on."""
        if self._task is not None:
            self.deadline = _NEVER
        elif not self._ended:
            self.deadline = self._loop.time() + self.settings.idle_seconds_max
        if self.reader is not None:
            self.reader.resume()

    def sweep(self, now: float) -> None:
        """Act on what takes too long."""
        if now <= self.deadline:
            return
        if self._task is not None or self._ended or (self._head is None and not self._held):
            self.abort()
        else:
            self.refuse(
                Problem(408, "the request did not arrive in time: send it again", code="timeout", close=True)
            )

    # --- requests -------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Begin the next request if all of it is there."""
        try:
            if self._head is None and not self._read_head():
                return
            passed = self._head is not None and relayed(self._head.path)
            body = b"" if passed else self._read_body()
        except Problem as problem:
            self.refuse(problem)
            return
        head = self._head
        if body is None or head is None:
            return
        self.incoming = Incoming(head.length, self._chunks, self._hold_back, self._go_on) if passed else None
        self._head, self._chunks = None, None
        self._keep = head.keep and not self.stopping
        self._started = self.streaming = self._held_up = False
        self.deadline = _NEVER
        self._task = self._loop.create_task(self._serve(head, body))
        if self.incoming is not None and not self.incoming.whole:
            self._pass_on(self.incoming)

    def _pass_on(self, incoming: Incoming) -> None:
        """Hand on what came of a body, and give the client its time for the next piece."""
        self.deadline = self._loop.time() + self.settings.body_seconds_max
        try:
            incoming.feed(self._held)
        except Problem as problem:
            incoming.fail(problem)
        if incoming.whole or self._reading_paused:
            self.deadline = _NEVER

    def _hold_back(self) -> None:
        self._reading_paused = True
        if self._transport is not None:
            self._transport.pause_reading()

    def _go_on(self) -> None:
        self._reading_paused = False
        if self._transport is not None:
            self.deadline = self._loop.time() + self.settings.body_seconds_max
            self._transport.resume_reading()

    def _read_head(self) -> bool:
        end = self._held.find(b"\r\n\r\n")
        most = self.settings.header_bytes_max
        if end < 0 and b"\n\n" in self._held[: most + 1]:
            end = self._held.find(b"\n\n") - 2  # it is refused with its bare line breaks
        if end > most or (end < 0 and len(self._held) > most):
            raise Problem(
                431, f"the headers are longer than {most} bytes: send less", code="headers", close=True
            )
        if end < 0:
            return False
        raw = bytes(self._held[: end + 4])
        del self._held[: end + 4]
        self._head = head = Head(raw)
        most = body_most(self.settings, head.path)
        if head.length > most:
            raise too_large(most)
        if head.chunked or head.length > _BODY_OF_STRANGERS_MAX:
            self._admit(head)
        if head.chunked:
            self._chunks = Chunks(most)
        if head.expects and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.deadline = self._loop.time() + self.settings.body_seconds_max
        return True

    def _read_body(self) -> bytes | None:
        if self._chunks is not None:
            return bytes(self._chunks.body) if self._chunks.feed(self._held) else None
        length = self._head.length if self._head is not None else 0
        if len(self._held) < length:
            return None
        body = bytes(self._held[:length])
        del self._held[:length]
        return body

    async def _serve(self, head: Head, body: bytes) -> None:
        try:
            await self._answer(self, head, body)
        except Problem as problem:
            self.respond_problem(problem)
        except Exception as error:  # noqa: BLE001 - one request must not end the others
            # the kind and the place alone: a message may hold what was asked
            place = traceback.extract_tb(error.__traceback__)[-1]
            log.error(  # noqa: TRY400 - see above
                "a request failed: %s in %s line %s", type(error).__name__, place.filename, place.lineno
            )
            self.respond_problem(Problem(500, "the gateway failed; its log says more", code="internal"))
        finally:
            self._task = None
            self.reader = None
        if self._transport is None:
            return
        if self.incoming is not None and not self.incoming.whole:
            self._linger()
            return
        if not self._keep or self.stopping:
            self._transport.close()
            self._ended = True
            self.deadline = self._loop.time() + self.settings.body_seconds_max  # to read what is left
            return
        self.deadline = self._loop.time() + (
            self.settings.header_seconds_max if self._held else self.settings.idle_seconds_max
        )
        if self._reading_paused:
            self._reading_paused = False
            self._transport.resume_reading()
        self._loop.call_soon(self._next)

    def _linger(self) -> None:
        """Nobody wants the rest of a body: take no more of it, and give the client a moment to read the answer."""
        self._ended = True
        self._held.clear()
        self.deadline = self._loop.time() + _LINGER_S
        if self._transport is not None and not self._transport.is_closing():
            if self._reading_paused:
                self._reading_paused = False
                self._transport.resume_reading()
            if self._transport.can_write_eof():
                self._transport.write_eof()

    def _next(self) -> None:
        if self._task is None and self._held and not self._ended:
            self._advance()

    # --- answers --------------------------------------------------------------------------------------------------

    def respond(self, status: int, body: bytes, media: bytes = JSON, headers: Headers | None = None) -> None:
        """Send a whole answer."""
        if self._transport is not None:
            self._started = True
            self._keep = self._keep and (self.incoming is None or self.incoming.whole)
            head = answer_head(status, media, headers or [], length=len(body), keep=self._keep)
            self._transport.write(head + body)

    def respond_problem(self, problem: Problem, headers: Headers | None = None) -> None:
        """Send what is wrong, unless an answer has begun already: then end it there."""
        if self._started:
            self.abort()
            return
        self._keep = self._keep and not problem.close
        self.respond(problem.status, problem.body(), headers=[*problem.headers(), *(headers or [])])

    def begin(self, status: int, media: bytes, headers: Headers) -> None:
        """Send the head of a stream."""
        if self._transport is not None:
            self._started = self.streaming = True
            self._keep = self._keep and (self.incoming is None or self.incoming.whole)
            self._transport.write(answer_head(status, media, headers, length=None, keep=self._keep))

    def piece(self, data: bytes) -> None:
        """Send a piece of a stream."""
        if self._transport is not None and data:
            self._transport.write(b"%x\r\n%s\r\n" % (len(data), data))

    def end(self) -> None:
        """End a stream."""
        if self._transport is not None:
            self._transport.write(b"0\r\n\r\n")

    def break_off(self) -> None:
        """End a stream in a way that shows that it is not whole."""
        if self._transport is not None:
            self._ended, self._keep = True, False
            self._transport.close()

    def refuse(self, problem: Problem) -> None:
        """Answer what is no proper request, read nothing more, and give the client a moment to read the answer."""
        if self._transport is None or self._ended:
            return
        self._keep = False
        self._started = False
        self.respond_problem(problem)
        self._ended = True
        self._held.clear()
        self.deadline = self._loop.time() + _LINGER_S
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def let_go(self) -> None:
        """The worker stops: close, or do so after the present answer."""
        self.stopping = True
        if self._task is None and self._transport is not None:
            self._transport.close()
