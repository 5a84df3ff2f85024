"""Posting to peers: signed HTTP/1.1, a few kept connections a peer, and an answer that has to be the peer's own.

What a name leads to does not matter: a peer is whoever holds its key. An `https` address is checked against the
system's authorities, or those in a file.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import msgspec

from tawtin.model.roaming import Piece
from tawtin.model.views import LogChunk
from tawtin.peering import introduction
from tawtin.peering.inbox import FILE_PATH, LOG_PATH, PATH, encode_envelope
from tawtin.peering.signing import BODY_BYTES_MAX, JSON, Refusal, Request, sign_request, verify_answer
from tawtin.ports import Misread, TransportError

if TYPE_CHECKING:
    from tawtin.model.roaming import FileAsk, LogAsk, Message, Offer, Peer
    from tawtin.peering.identity import Identity
    from tawtin.ports import Entropy

TIMEOUT_S: Final = 10.0
IDLE_MAX: Final = 10
BULK_THREADS: Final = 8
OK: Final = 200
BAD: Final = 400


class HttpTransport:
    """Posts to peers: a `ports.Transport`."""

    def __init__(self, name: str, identity: Identity, entropy: Entropy, *, ca_file: str = "") -> None:
        """`ca_file` holds the authorities for `https` addresses; empty for the system's."""
        self.name = name
        self.identity = identity
        self.entropy = entropy
        self._tls = ssl.create_default_context(cafile=ca_file or None)
        self._threads = ThreadPoolExecutor(16, "tawtin-peer")
        self._bulk = ThreadPoolExecutor(BULK_THREADS, "tawtin-files")
        """Files have threads of their own, so that messages never wait for them."""
        self._idle: dict[str, list[HTTPConnection]] = {}
        """Kept connections that nobody uses, by address."""

    async def post(self, peer: Peer, messages: tuple[Message, ...], offer: Offer | None) -> None:
        """Hand messages to a peer. Raises TransportError if it did not say that it has them; see ports.Transport."""
        body = encode_envelope(messages, offer)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._threads, self._post, peer, PATH, body)

    async def log(self, peer: Peer, ask: LogAsk) -> LogChunk:
        """A piece of a log that is at a peer. Raises TransportError."""
        loop = asyncio.get_running_loop()
        body = msgspec.json.encode(ask)
        answer = await loop.run_in_executor(self._threads, self._post, peer, LOG_PATH, body)
        try:
            return msgspec.json.decode(answer, type=LogChunk)
        except msgspec.DecodeError as error:
            msg = f"its log cannot be read: {error}"
            raise TransportError(msg) from None

    async def piece(self, peer: Peer, ask: FileAsk) -> Piece:
        """A piece of a file that is at a peer. Raises TransportError."""
        loop = asyncio.get_running_loop()
        answer = await loop.run_in_executor(self._bulk, self._post, peer, FILE_PATH, msgspec.json.encode(ask))
        try:
            return msgspec.json.decode(answer, type=Piece)
        except msgspec.DecodeError as error:
            msg = f"its file cannot be read: {error}"
            raise TransportError(msg) from None

    async def introduce(self, address: str, body: bytes, proof: str) -> tuple[bytes, str]:
        """Say something to a factory that is no peer yet; its answer and the proof of it. Raises TransportError."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._introduce, address, body, proof)

    def _introduce(self, address: str, body: bytes, proof: str) -> tuple[bytes, str]:
        _url(address, introduction.PATH)
        headers = {"content-type": JSON, introduction.PROOF: proof}
        try:
            status, answered, answer = self._once(
                self._connect(address), [], introduction.PATH, headers, body
            )
        except (OSError, HTTPException) as error:
            raise TransportError(str(error) or type(error).__name__) from None
        if status != OK:
            raise TransportError(_said(status, answer))
        return answer, answered.get(introduction.PROOF, "")

    def _post(self, peer: Peer, path: str, body: bytes) -> bytes:
        url = _url(peer.address, path)
        nonce = f"{self.entropy.bits(128):032x}"
        headers = sign_request(
            self.identity,
            method="POST",
            url=url,
            body=body,
            sender=self.name,
            recipient=peer.name,
            nonce=nonce,
            now_s=int(time.time()),
        )
        try:
            status, answered, answer = self._exchange(peer, path, headers, body)
            request = Request("POST", url, headers)
            if status != OK:
                raise (Misread if _misread(status, answer) else TransportError)(_said(status, answer))
            verify_answer(
                request,
                status=status,
                headers=answered,
                body=answer,
                sender=peer.name,
                recipient=self.name,
                key=peer.key,
            )
            return answer
        except (OSError, HTTPException, Refusal) as error:
            self._drop(peer.address)
            raise TransportError(str(error) or type(error).__name__) from None

    def _exchange(
        self, peer: Peer, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """One request; on a kept connection that had ended meanwhile, once more on a new one."""
        idle = self._idle.setdefault(peer.address, [])
        with suppress(ConnectionError, HTTPException, IndexError):
            return self._once(idle.pop(), idle, path, headers, body)
        return self._once(self._connect(peer.address), idle, path, headers, body)

    def _once(
        self,
        used: HTTPConnection,
        idle: list[HTTPConnection],
        path: str,
        headers: dict[str, str],
        body: bytes,
    ) -> tuple[int, dict[str, str], bytes]:
        try:
            used.request("POST", path, body, headers)
            response = used.getresponse()
            answer = response.read(BODY_BYTES_MAX + 1)
        except (OSError, HTTPException):
            used.close()
            raise
        if response.will_close or len(idle) >= IDLE_MAX:
            used.close()
        else:
            idle.append(used)
        return response.status, {name.lower(): value for name, value in response.getheaders()}, answer

    def _connect(self, address: str) -> HTTPConnection:
        parts = urlsplit(address)
        host = parts.hostname or ""
        if parts.scheme == "https":
            return HTTPSConnection(host, parts.port, timeout=TIMEOUT_S, context=self._tls)
        return HTTPConnection(host, parts.port, timeout=TIMEOUT_S)

    def _drop(self, address: str) -> None:
        for connection in self._idle.pop(address, ()):
            connection.close()

    async def close(self) -> None:
        """Let go of all connections."""
        for address in list(self._idle):
            self._drop(address)
        for threads in (self._threads, self._bulk):
            threads.shutdown(wait=False, cancel_futures=True)


def _url(address: str, path: str) -> str:
    """Where a path of a factory is. Raises TransportError."""
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        msg = f"`{address}` is no address of a factory, such as https://nairobi.example:8470"
        raise TransportError(msg)
    return f"{parts.scheme}://{parts.netloc}{path}"


def _said(status: int, answer: bytes) -> str:
    """What a refusal says of itself, which is signed by nobody."""
    try:
        return f"it answered {status}: {str(msgspec.json.decode(answer)['detail'])[:300]}"
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError, KeyError):
        return f"it answered {status}: {answer[:300].decode('utf-8', 'replace')}"


def _misread(status: int, answer: bytes) -> bool:
    """Whether a refusal says that the body breaks the schema."""
    try:
        return status == BAD and msgspec.json.decode(answer)["token"] == "Malformed"  # noqa: S105 - no secret
    except (msgspec.DecodeError, UnicodeDecodeError, TypeError, KeyError):
        return False
