"""Runs the application inside an event loop that somebody else owns, with limits that the server itself does not have."""

from __future__ import annotations

import asyncio
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tawtin.web.app import App
    from tawtin.web.settings import WebSettings

_BACKLOG = 2048


def listen(settings: WebSettings) -> socket.socket:
    """Return a listening socket. Raises OSError that says which address is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        msg = f"cannot listen on `{settings.host}:{settings.port}` ({error.strerror}): set `api.host` or `api.port`"
        raise OSError(error.errno, msg) from error


def url_of(listening: socket.socket) -> str:
    """The address under which a socket is reached from this machine."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - is compared, not listened on
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def serve(
    app: App, settings: WebSettings, stop: asyncio.Event, up: Callable[[str], None] | None = None
) -> None:
    """Serve until `stop` is set: then streams end, and other requests have `stop_seconds_max` to end.

    `up` is called once with the address. Raises OSError if the address is taken.
    """
    listening = listen(settings)
    config = uvicorn.Config(
        app,
        http=limited_protocol(settings),
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=settings.connections_max,
        timeout_keep_alive=settings.idle_seconds_max,
        timeout_graceful_shutdown=settings.stop_seconds_max,
    )
    server = _Server(config)
    stopper = asyncio.create_task(_stop(app, server, stop))
    try:
        if up is not None:
            up(url_of(listening))
        await server.serve(sockets=[listening])
    finally:
        stopper.cancel()
        app.close()
        listening.close()


async def _stop(app: App, server: uvicorn.Server, stop: asyncio.Event) -> None:
    await stop.wait()
    app.closing.set()
    server.should_exit = True


class _Server(uvicorn.Server):
    """A server that leaves the process's signals alone."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none: whoever owns the loop sets `stop`."""
        yield


def limited_protocol(settings: WebSettings) -> type[HttpToolsProtocol]:
    """Return the HTTP protocol with limits on the size of headers and on the time that they take."""
    bytes_max, seconds_max = settings.header_bytes_max, settings.header_seconds_max

    class Limited(HttpToolsProtocol):
        """Closes connections whose headers are too long or too slow."""

        header_bytes = 0
        timer: asyncio.TimerHandle | None = None
        in_headers = False

        def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - as in the base
            """Give the first request its time."""
            super().connection_made(transport)
            self.timer = self.loop.call_later(seconds_max, self._too_slow)

        def connection_lost(self, exc: Exception | None) -> None:
            """Forget the timer."""
            self._stop_timer()
            super().connection_lost(exc)

        def on_message_begin(self) -> None:
            """Give this request its time."""
            super().on_message_begin()
            self.in_headers, self.header_bytes = True, 0
            if self.timer is None:
                self.timer = self.loop.call_later(seconds_max, self._too_slow)

        def on_url(self, url: bytes) -> None:
            """Count it."""
            super().on_url(url)
            self._count(len(url))

        def on_header(self, name: bytes, value: bytes) -> None:
            """Count it."""
            super().on_header(name, value)
            self._count(len(name) + len(value) + 4)

        def on_headers_complete(self) -> None:
            """The headers are whole."""
            self.in_headers = False
            self._stop_timer()
            if not self.transport.is_closing():
                super().on_headers_complete()

        def data_received(self, data: bytes) -> None:
            """Take bytes; while headers go on, they count even if no header is whole yet."""
            if self.in_headers:
                self._count(len(data))
                if self.transport.is_closing():
                    return
            super().data_received(data)

        def _count(self, size: int) -> None:
            self.header_bytes += size
            if self.header_bytes > 2 * bytes_max and not self.transport.is_closing():
                self._refuse(b"431 Request Header Fields Too Large")

        def _too_slow(self) -> None:
            self.timer = None
            self._refuse(b"408 Request Timeout")

        def _refuse(self, status: bytes) -> None:
            self._stop_timer()
            if not self.transport.is_closing():
                self.transport.write(
                    b"HTTP/1.1 %s\r\nconnection: close\r\ncontent-length: 0\r\n\r\n" % status
                )
                self.transport.close()

        def _stop_timer(self) -> None:
            if self.timer is not None:
                self.timer.cancel()
                self.timer = None

    return Limited
