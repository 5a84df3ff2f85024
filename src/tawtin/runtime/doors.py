"""Who may go into a workspace: tokens of its door, tickets for a browser, and the cookies that these are changed for.

A ticket counts once and for a minute; a cookie counts as long as the key behind it does and the workspace lets it in,
which is asked at each request. None of them holds a secret of the key.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import hmac
import secrets
from typing import Final, Literal

import msgspec

from tawtin.model.base import Record

TICKET_MS: Final = 60_000
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 32
_CHARS_MAX: Final = 1_024
_HELD_MAX: Final = 100_000
_LINE_BYTES_MAX: Final = 1_024
Purpose = Literal["ticket", "cookie"]


class Leave(Record, frozen=True, kw_only=True):
    """Leave for one key to go into one workspace."""

    workload: str
    key: str
    until_ms: int
    nonce: str


class Doors:
    """Gives out leaves, and recognises its own."""

    def __init__(self, secret: bytes) -> None:
        """`secret` stays in the factory."""
        self._secret = secret
        self._taken: dict[str, int] = {}
        """Nonce of a ticket that was exchanged -> when it would have ended."""

    def token(self, workload: str) -> str:
        """What the factory says at the door of a workspace, the same for all its runs."""
        return hmac.digest(self._secret, b"door\0" + workload.encode(), "sha256").hex()

    def give(self, purpose: Purpose, workload: str, key: str, until_ms: int) -> str:
        """A leave as text of letters, digits, `-` and `_`."""
        leave = Leave(
            workload=workload, key=key, until_ms=until_ms, nonce=secrets.token_urlsafe(_NONCE_BYTES)
        )
        body = msgspec.json.encode(leave)
        return base64.urlsafe_b64encode(body + self._tag(purpose, body)).rstrip(b"=").decode()

    def read(self, purpose: Purpose, text: str, now_ms: int) -> Leave | None:
        """The leave that a text is; None if it is not ours, or over."""
        if not text or len(text) > _CHARS_MAX:
            return None
        try:
            raw = base64.b64decode(
                text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True
            )
        except (binascii.Error, ValueError):
            return None
        body, tag = raw[:-_TAG_BYTES], raw[-_TAG_BYTES:]
        if not hmac.compare_digest(tag, self._tag(purpose, body)):
            return None
        leave = msgspec.json.decode(body, type=Leave)
        return leave if now_ms < leave.until_ms else None

    def take(self, leave: Leave, now_ms: int) -> bool:
        """Exchange a ticket; False for one that was exchanged before."""
        if leave.nonce in self._taken:
            return False
        self._taken = {nonce: until for nonce, until in self._taken.items() if until > now_ms}
        if len(self._taken) >= _HELD_MAX:
            return False
        self._taken[leave.nonce] = leave.until_ms
        return True

    def _tag(self, purpose: Purpose, body: bytes) -> bytes:
        return hmac.digest(self._secret, purpose.encode() + b"\0" + body, "sha256")


async def knock(address: str, token: str, timeout_ms: int) -> str:
    """Ask the door of a workspace whether its app answers; empty if it does, else what came instead."""
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(timeout_ms / 1000):
            reader, writer = await asyncio.open_connection(host, int(port), limit=_LINE_BYTES_MAX)
            try:
                writer.write(f"TAWTIN {token} app\n".encode())
                await writer.drain()
                line = await reader.readline()
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except TimeoutError:
        return f"no answer within {timeout_ms} ms"
    except (OSError, ValueError) as error:
        return f"{address}: {error}"
    return "" if line == b"OK\n" else "its program does not answer yet"
