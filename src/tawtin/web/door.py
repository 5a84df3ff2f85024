"""The door for peers: `POST /peer/v1/...`. Signatures stand in for keys here, so it is no route of the API."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Final

from tawtin.model.roaming import FileAsk, LogAsk
from tawtin.peering import introduction
from tawtin.peering.inbox import FILE_PATH, LOG_PATH, PATH, Envelope, Inbox, Malformed, Taken, read
from tawtin.peering.signing import BODY_BYTES_MAX, JSON, Refusal, Request, Token
from tawtin.runtime.errors import Invalid, NotFound, ServiceError

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from tawtin.model.base import Record
    from tawtin.runtime.introductions import Introductions
    from tawtin.runtime.service import Service

PATHS: Final = f"{PATH}, {LOG_PATH}, {FILE_PATH} and {introduction.PATH}"
STATUSES: Final = {Token.TOO_LARGE: 413, Token.BUSY: 503, Token.WRONG_VERSION: 400}
STATUS: Final = 401
"""Of all other refusals."""


class Door:
    """Lets in what peers sign."""

    def __init__(self, service: Service, inbox: Inbox, introductions: Introductions) -> None:
        """Wire it."""
        self.service = service
        self.inbox = inbox
        self.introductions = introductions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            if scope["method"] != "POST":
                await _say(
                    send,
                    405,
                    {"detail": f"peers post to {PATHS}", "token": "Invalid"},
                )
                return
            body = await _body(receive)
            if scope["path"] == introduction.PATH:
                await self._introduce(send, body, headers)
                return
            url = f"http://{headers.get('host') or 'here'}{scope['path']}"
            sender = self.inbox.verify(
                method="POST", url=url, headers=headers, body=body, now_s=int(time.time())
            )
            said = await self._do(scope["path"], sender, body)
        except Refusal as refusal:
            status = STATUSES.get(refusal.token, STATUS)
            await _say(send, status, {"detail": str(refusal), "token": refusal.token.value})
        except Malformed as error:
            await _say(send, 400, {"detail": f"the envelope cannot be read: {error}", "token": "Malformed"})
        except NotFound as error:
            await _say(send, 404, {"detail": str(error), "token": "NotFound"})
        except ServiceError as error:
            await _say(send, 503, {"detail": str(error), "token": "Unavailable"})
        else:
            answer, signed = self.inbox.answer(Request("POST", url, headers), said, sender, int(time.time()))
            await _send(send, 200, answer, signed)

    async def _introduce(self, send: Send, body: bytes, headers: dict[str, str]) -> None:
        """Answer somebody who is no peer yet, and may know an invitation."""
        try:
            answer, proof = self.introductions.hear(body, headers.get(introduction.PROOF, ""))
        except Invalid as error:
            raise Malformed(str(error)) from None
        await _send(send, 200, answer, {"content-type": JSON, introduction.PROOF: proof})

    async def _do(self, path: str, sender: str, body: bytes) -> Record:
        """What a signed request comes to."""
        if path == LOG_PATH:
            return await self.service.peer_log(sender, read(body, LogAsk))
        if path == FILE_PATH:
            return await self.service.peer_file(sender, read(body, FileAsk))
        envelope = read(body, Envelope)
        await self.service.hear(sender, envelope.messages, envelope.offer)
        return Taken(taken=len(envelope.messages))


async def _body(receive: Receive) -> bytes:
    """The whole body. Raises Refusal when it is too large."""
    pieces = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(Token.BAD_SIGNATURE, "the connection ended before the body did")
        pieces += message.get("body", b"")
        if len(pieces) > BODY_BYTES_MAX:
            raise Refusal(Token.TOO_LARGE, f"the body is longer than {BODY_BYTES_MAX} bytes")
        if not message.get("more_body", False):
            return bytes(pieces)


async def _say(send: Send, status: int, problem: dict[str, str]) -> None:
    body = json.dumps({"status": status, **problem}).encode()
    await _send(send, status, body, {"content-type": "application/problem+json"})


async def _send(send: Send, status: int, body: bytes, headers: dict[str, str]) -> None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    raw.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
