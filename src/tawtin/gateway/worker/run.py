"""The process of one worker."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from typing import TYPE_CHECKING, Final

from tawtin.gateway.ledger.messages import Told
from tawtin.gateway.snapshot import SnapshotReader
from tawtin.gateway.worker.connection import Connection
from tawtin.gateway.worker.dispatch import Dispatch
from tawtin.gateway.worker.link import Link

if TYPE_CHECKING:
    from pathlib import Path

    from tawtin.gateway.settings import GatewaySettings

_SWEEP_S: Final = 0.25
_TELL_S: Final = 1.0
_CONFIRM_S_MAX: Final = 5
_BACKLOG: Final = 2048


def shared_socket(host: str, port: int) -> socket.socket:
    """A socket that is bound, and whose port others of this user may share. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((host, port))
    except OSError as error:
        made.close()
        msg = f"cannot listen on `{host}:{port}` ({error.strerror}): set `gateway.host` or `gateway.port`"
        raise OSError(error.errno, msg) from error
    made.setblocking(False)  # noqa: FBT003 - as the standard library has it
    return made


async def run(folder: Path, settings: GatewaySettings, stop: asyncio.Event) -> None:
    """Answer requests until `stop` is set, then let those end that are under way. `settings.port` is a real one."""
    loop = asyncio.get_running_loop()
    snapshots = SnapshotReader(folder, settings.stale_ms)
    snapshots.look()
    link = Link(folder, secrets.token_hex(8), settings.ledger_seconds_max)
    dispatch = Dispatch(settings, snapshots, link)
    connections: set[Connection] = set()
    linking = asyncio.create_task(link.run())
    listening = shared_socket(settings.host, settings.port)
    server = await loop.create_server(
        lambda: Connection(settings, dispatch.answer, dispatch.admit, connections),
        sock=listening,
        backlog=_BACKLOG,
    )
    watching = asyncio.create_task(_watch(settings, dispatch, connections))
    try:
        await stop.wait()
    finally:
        server.close()
        for connection in list(connections):
            connection.let_go()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(settings.stop_seconds_max):
                while connections:  # noqa: ASYNC110 - at the end, once
                    await asyncio.sleep(0.02)
        for connection in list(connections):
            connection.abort()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CONFIRM_S_MAX):
                while link.unsettled or link.running:  # noqa: ASYNC110 - at the end, once
                    await asyncio.sleep(0.02)
        watching.cancel()
        linking.cancel()


async def _watch(settings: GatewaySettings, dispatch: Dispatch, connections: set[Connection]) -> None:
    loop = asyncio.get_running_loop()
    look_at = tell_at = 0.0
    while True:
        now = loop.time()
        if now >= look_at:
            look_at = now + settings.snapshot_ms / 1000
            if dispatch.snapshots.look():
                dispatch.holds.look()
        if now >= tell_at:
            tell_at = now + _TELL_S
            dispatch.link.tell(Told(replicas=dispatch.states(), held=dict(dispatch.holds.held)))
        for connection in list(connections):
            connection.sweep(now)
        dispatch.sweep(now)
        dispatch.link.sweep()
        await asyncio.sleep(min(_SWEEP_S, settings.snapshot_ms / 1000))
