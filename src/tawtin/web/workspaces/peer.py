"""A connection, read and written no faster than either side takes it, and its two ends spliced."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from typing import Final

from tawtin.web.workspaces.settings import ProxySettings

PIECE_BYTES: Final = 65_536
_LINGER_S: Final = 2
_KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))
"""A client whose machine is gone is noticed after two minutes."""


_PONG: Final = 0x8A
_PONG_BYTES: Final = 6
"""Head and mask of one, without what it carries."""


class Gone(Exception):
    """One side is not there any more, or the other one's answer broke off."""


class Peer:
    """A TCP connection. It holds no bytes that were not asked for."""

    def __init__(self, connection: socket.socket) -> None:
        """Take it over."""
        connection.setblocking(False)  # noqa: FBT003 - its argument has no name
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
        self.moved = 0
        """How often bytes moved."""
        self._socket = connection
        self._loop = asyncio.get_running_loop()
        self._reading: asyncio.Task[bytes] | None = None
        """Outlives whoever waits for it, so that no byte is lost with somebody who waits no longer."""

    async def receive(self, seconds: float | None) -> bytes:
        """What comes next; nothing at the end. Raises OSError, a TimeoutError after `seconds`."""
        if self._reading is None:
            self._reading = self._loop.create_task(self._loop.sock_recv(self._socket, PIECE_BYTES))
        await asyncio.wait({self._reading}, timeout=seconds)
        if not self._reading.done():
            raise TimeoutError
        reading, self._reading = self._reading, None
        self.moved += 1
        return reading.result()

    async def send(self, data: bytes, seconds: float) -> None:
        """Send all of it. Raises OSError, a TimeoutError if it is not read in `seconds`."""
        if data:
            async with asyncio.timeout(seconds):
                await self._loop.sock_sendall(self._socket, data)
            self.moved += 1

    def end(self) -> None:
        """Send no more."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    async def linger(self) -> None:
        """Send no more, and give the other side a moment to read what was sent: unread bytes would reset it."""
        self.end()
        with contextlib.suppress(OSError):
            async with asyncio.timeout(_LINGER_S):
                while await self.receive(None):
                    pass

    def reset(self) -> None:
        """Break off, so that the other side does not take a part for the whole."""
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        """Let go of it."""
        if self._socket.fileno() < 0:
            return
        if self._reading is not None and not self._reading.cancel():
            self._reading.exception()  # nobody asks for it any more
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()


def is_pong(data: bytes) -> bool:
    """Whether this is one frame with which a browser answers a WebSocket's ping (RFC 6455), also where nobody looks."""
    return len(data) >= _PONG_BYTES and data[0] == _PONG and len(data) == _PONG_BYTES + (data[1] & 0x7F)


async def splice(client: Peer, door: Peer, settings: ProxySettings, active: Callable[[], None]) -> None:
    """Bytes both ways until both have ended. Raises OSError or Gone if it broke; `active` hears of a client's bytes."""

    async def pump(source: Peer, sink: Peer) -> None:
        while data := await source.receive(None):
            if source is client and not is_pong(data):
                active()
            await sink.send(data, settings.body_seconds_max)
        sink.end()

    tasks = [asyncio.create_task(pump(client, door)), asyncio.create_task(pump(door, client))]
    try:
        done, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        for task in left:
            await _while_moving(task, (client, door), settings.half_seconds_max)
    finally:
        await cancelled(*tasks)


async def _while_moving(task: asyncio.Task[None], peers: tuple[Peer, Peer], seconds: float) -> None:
    """Wait for a task as long as something moves. Raises what it raises, and Gone."""
    before = -1
    while not task.done():
        now = sum(each.moved for each in peers)
        if now == before:
            raise Gone
        before = now
        await asyncio.wait({task}, timeout=seconds)
    task.result()


async def cancelled(*tasks: asyncio.Task[object] | asyncio.Task[None]) -> None:
    """Cancel tasks and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
