"""Knocking at the door of a workspace (docs/reference/workspace-door.md)."""

from __future__ import annotations

import asyncio
import socket
from typing import Final

from tawtin.web.workspaces.pages import Refused
from tawtin.web.workspaces.peer import Peer
from tawtin.web.workspaces.settings import ProxySettings
from tawtin.web.workspaces.ways import Way

_ANSWER_BYTES_MAX: Final = 512


class NotYet(Exception):
    """The application does not listen yet, or the door."""


async def knock(way: Way, what: str, settings: ProxySettings) -> tuple[Peer, bytes]:
    """A connection to a service of a workspace, and what it said at once. Raises NotYet and Refused."""
    try:
        peer = await _connect(way.address, settings.connect_seconds_max)
    except ConnectionRefusedError:  # the run has begun, and its door does not stand yet
        raise NotYet from None
    except OSError:
        raise _silent() from None
    try:
        await peer.send(f"TAWTIN {way.token} {what}\n".encode(), settings.connect_seconds_max)
        answer, rest = await _heard(peer, 2 * settings.connect_seconds_max)
        _judge(answer)
    except OSError:
        peer.close()
        raise _silent() from None
    except BaseException:
        peer.close()
        raise
    return peer, rest


async def _heard(peer: Peer, seconds: float) -> tuple[bytes, bytes]:
    """The door's line, and what came after it. Raises OSError."""
    heard = b""
    while b"\n" not in heard and len(heard) < _ANSWER_BYTES_MAX:
        piece = await peer.receive(seconds)
        if not piece:
            break
        heard += piece
    answer, _, rest = heard.partition(b"\n")
    return answer, rest


def _judge(answer: bytes) -> None:
    """Raise NotYet and Refused for whatever is not `OK`."""
    if answer == b"WAIT":
        raise NotYet
    if answer.startswith(b"NO "):
        raise Refused(501, "Not there", answer[3:].decode("utf-8", "replace"))
    if answer != b"OK":
        raise _silent()


async def _connect(address: str, seconds: float) -> Peer:
    """Raises OSError."""
    host, _, port = address.rpartition(":")
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(seconds):
        found = await loop.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
        family, kind, protocol, _, place = found[0]
        connection = socket.socket(family, kind, protocol)
        try:
            connection.setblocking(False)  # noqa: FBT003 - its argument has no name
            await loop.sock_connect(connection, place)
            return Peer(connection)
        except BaseException:
            connection.close()
            raise


def _silent() -> Refused:
    text = "The workspace does not answer. It may have ended: look at it in the console."
    return Refused(502, "No answer", text)
