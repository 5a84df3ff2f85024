"""Posting to peers: signed HTTP/1.1, one kept connection a peer, and an answer that has to be the peer's own.

What a name leads to does not matter: a peer is whoever holds its key. An `https` address is checked against the
system's authorities, or those in a file.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import msgspec

from tawtin.model.views import LogChunk
from tawtin.peering.inbox import LOG_PATH, PATH, encode_envelope
from tawtin.peering.signing import BODY_BYTES_MAX, Refusal, Request, sign_request, verify_answer
from tawtin.ports import TransportError

if TYPE_CHECKING:
    from tawtin.model.roaming import LogAsk, Message, Offer, Peer
    from tawtin.peering.identity import Identity
    from tawtin.ports import Entropy

TIMEOUT_S: Final = 10.0
OK: Final = 200


class HttpTransport:
    """Posts to peers: a `ports.Transport`."""

    def __init__(self, name: str, identity: Identity, entropy: Entropy, *, ca_file: str = "") -> None:
        """`ca_file` holds the authorities for `https` addresses; empty for the system's."""
        self.name = name
        self.identity = identity
        self.entropy = entropy
        self._tls = ssl.create_default_context(cafile=ca_file or None)
        self._threads = ThreadPoolExecutor(16, "tawtin-peer")
        self._connections: dict[str, HTTPConnection] = {}

    async def post(self, peer: Peer, messages: tuple[Message, ...], offer: Offer | None) -> None:
        """Hand messages to a peer. Raises TransportError if it did not say that it has them."""
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

    def _post(self, peer: Peer, path: str, body: bytes) -> bytes:
        parts = urlsplit(peer.address)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            msg = f"`{peer.address}` is no address of a factory, such as https://nairobi.example:8470"
            raise TransportError(msg)
        url = f"{parts.scheme}://{parts.netloc}{path}"
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
                msg = f"it answered {status}: {answer[:300].decode('utf-8', 'replace')}"
                raise TransportError(msg)
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
            self._drop(peer.name)
            raise TransportError(str(error) or type(error).__name__) from None

    def _exchange(
        self, peer: Peer, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """One request; on a kept connection that had ended meanwhile, once more on a new one."""
        for fresh in (False, True):
            kept = self._connections.get(peer.name)
            if kept is None or fresh:
                self._drop(peer.name)
                kept = self._connections[peer.name] = self._connect(peer)
            try:
                kept.request("POST", path, body, headers)
                response = kept.getresponse()
                answer = response.read(BODY_BYTES_MAX + 1)
            except (ConnectionError, HTTPException):
                if fresh:
                    raise
                continue
            named = {name.lower(): value for name, value in response.getheaders()}
            return response.status, named, answer
        raise ConnectionError

    def _connect(self, peer: Peer) -> HTTPConnection:
        parts = urlsplit(peer.address)
        host = parts.hostname or ""
        if parts.scheme == "https":
            return HTTPSConnection(host, parts.port, timeout=TIMEOUT_S, context=self._tls)
        return HTTPConnection(host, parts.port, timeout=TIMEOUT_S)

    def _drop(self, name: str) -> None:
        kept = self._connections.pop(name, None)
        if kept is not None:
            kept.close()

    async def close(self) -> None:
        """Let go of all connections."""
        for name in list(self._connections):
            self._drop(name)
        self._threads.shutdown(wait=False, cancel_futures=True)
