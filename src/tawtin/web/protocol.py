"""HTTP/1.1 as uvicorn speaks it, with limits that it does not have: on the size of headers, and on time.

A client has so long for the headers of a request and for each piece of its body. The clock is looked at only when a
request did not arrive whole in one piece, so that ordinary requests pay nothing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    from tawtin.web.settings import WebSettings

_PROBLEM = b"HTTP/1.1 %s\r\nconnection: close\r\ncontent-type: application/problem+json\r\ncontent-length: %d\r\n\r\n%s"
_TOO_LONG = (b"431 Request Header Fields Too Large", "the headers are too long: send less", "TooLarge")
_TOO_SLOW = (b"408 Request Timeout", "the request did not arrive in time: send it again", "Timeout")


def limited(settings: WebSettings) -> type[HttpToolsProtocol]:
    """Return the protocol with the limits of these settings."""
    return type("Limited", (Limited,), {"settings": settings})


class Limited(HttpToolsProtocol):
    """Refuses requests whose headers are too long, and those that are too slow."""

    settings: WebSettings
    _timer: asyncio.TimerHandle | None = None
    _header_bytes = 0
    _whole = True
    """Whether no request is half here."""
    _in_headers = False
    _refused = False
    _asked = False
    """Whether the application has been asked anything on this connection."""

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - as in the base
        """Give the first request its time."""
        super().connection_made(transport)
        self._watch(self.settings.header_seconds_max)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the clock."""
        self._stop_watching()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes, and look at the clock if a request is half here afterwards."""
        if self._refused:
            return
        if self._in_headers:
            self._header_bytes += len(data)  # a header that never ends is not reported below
            if self._too_long():
                return
        super().data_received(data)
        if self._whole:
            self._stop_watching()
        elif not self._refused and (self._timer is None or not self._in_headers):
            seconds = self.settings.header_seconds_max if self._in_headers else self.settings.body_seconds_max
            self._watch(seconds)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._whole, self._in_headers, self._header_bytes = False, True, 0

    def on_url(self, url: bytes) -> None:
        """Count it."""
        super().on_url(url)
        self._header_bytes += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count it."""
        super().on_header(name, value)
        self._header_bytes += len(name) + len(value) + 4

    def on_headers_complete(self) -> None:
        """The headers are whole: let the application begin, unless there are too many of them."""
        self._stop_watching()
        if not self._too_long():
            self._in_headers, self._asked = False, True
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is whole."""
        self._whole = True
        if not self._refused:
            super().on_message_complete()

    def _too_long(self) -> bool:
        """Whether the headers are; the request is refused then."""
        if self._header_bytes > self.settings.header_bytes_max and not self._refused:
            self._refuse(*_TOO_LONG)
        return self._refused

    def _slow(self) -> None:
        self._timer = None
        if self._in_headers and self._answering():
            self._watch(self.settings.header_seconds_max)  # the request before this one has its own time
        else:
            self._refuse(*_TOO_SLOW)

    def _answering(self) -> bool:
        """Whether the answer to an earlier request is not yet sent."""
        return self._asked and not self.cycle.response_complete

    def _refuse(self, status: bytes, detail: str, token: str) -> None:
        """Answer with a problem and close; only close where that would mix two answers."""
        self._refused = True
        self._stop_watching()
        if self.transport.is_closing():
            return
        mixed = self._answering() and (self._in_headers or self.cycle.response_started)
        if not mixed:
            body = b'{"title":"%s","status":%s,"detail":"%s","token":"%s"}' % (
                status[4:],
                status[:3],
                detail.encode(),
                token.encode(),
            )
            self.transport.write(_PROBLEM % (status, len(body), body))
        self.transport.close()

    def _watch(self, seconds: float) -> None:
        self._stop_watching()
        self._timer = self.loop.call_later(seconds, self._slow)

    def _stop_watching(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
