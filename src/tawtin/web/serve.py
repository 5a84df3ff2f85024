"""Runs the application inside an event loop that somebody else owns."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, cast

import uvicorn

from tawtin.web.protocol import limited

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator
    from pathlib import Path

    from starlette.types import ASGIApp

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


def listen_unix(path: Path) -> socket.socket:
    """Return a listening socket at `path`, for this user alone. Raises OSError."""
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(str(path))
        path.chmod(0o600)
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


@asynccontextmanager
async def serving(app: ASGIApp, listening: socket.socket, settings: WebSettings) -> AsyncGenerator[None]:
    """Serve another application at this socket for the time of the block; its requests are cut off then."""
    server = _Server(_config(app, settings))
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield
    finally:
        server.should_exit = True
        await task
        listening.close()


async def serve(
    app: App, settings: WebSettings, stop: asyncio.Event, up: Callable[[str], None] | None = None
) -> None:
    """Serve until `stop` is set: then streams end, and other requests have `stop_seconds_max` to end.

    `up` is called once with the address. Raises OSError if the address is taken.
    """
    listening = listen(settings)
    server = _Server(_config(app, settings))
    stopper = asyncio.create_task(_stop(app, server, stop))
    try:
        if up is not None:
            up(url_of(listening))
        await server.serve(sockets=[listening])
    finally:
        stopper.cancel()
        listening.close()
        await app.close()


def _config(app: ASGIApp, settings: WebSettings) -> uvicorn.Config:
    return uvicorn.Config(
        cast("Any", app),
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
