"""Runs the application inside an event loop that somebody else owns."""

from __future__ import annotations

import asyncio
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

from tawtin.web.protocol import limited

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from tawtin.web.app import App
    from tawtin.web.settings import WebSettings

_BACKLOG = 2048
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - is compared, not listened on


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
    named: tuple[str, int] = listening.getsockname()[:2]
    host, port = named
    host = _ANYWHERE.get(host, host)
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
        http=limited(settings),
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
        listening.close()
        await app.close()


async def _stop(app: App, server: uvicorn.Server, stop: asyncio.Event) -> None:
    await stop.wait()
    app.closing.set()
    server.should_exit = True


class _Server(uvicorn.Server):
    """A server that leaves the process's signals alone."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Capture none: whoever owns the loop sets `stop`."""
        yield
