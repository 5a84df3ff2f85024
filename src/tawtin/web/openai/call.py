"""One request and its reply, as the handlers of files and batches have them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import msgspec

from tawtin.gateway.worker.http import Problem

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from tawtin.gateway.batches.records import Batch
    from tawtin.runtime.actor import Actor
    from tawtin.runtime.batches import Batches

T = TypeVar("T")
_JSON: Final = b"application/json"
_LIMIT_MAX: Final = 10_000


class GoneError(Exception):
    """The client went away before the request was whole."""


class Call:
    """A request. `actor` is who asks, or `batch` whose job asks."""

    def __init__(self, desk: Batches, class_default: str, scope: Scope, receive: Receive) -> None:
        """Take it as ASGI has it."""
        self.desk = desk
        self.class_default = class_default
        self.params = cast("dict[str, str]", scope.get("path_params") or {})
        self.query: dict[str, str] = {}
        self.actor: Actor = cast("Any", None)
        self.batch: Batch = cast("Any", None)
        self._headers = dict(cast("list[tuple[bytes, bytes]]", scope["headers"]))
        self._receive = receive
        self._more = True

    def header(self, name: bytes) -> str:
        """A header as text; empty if it is absent."""
        return self._headers.get(name, b"").decode("latin-1").strip()

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes: the gateway has looked at its length."""
        while self._more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise GoneError
            self._more = message.get("more_body", False)
            if piece := message.get("body", b""):
                yield piece

    async def drain(self) -> None:
        """Take the rest of the body and throw it away, as an answer in its midst would be lost with the connection."""
        async for _ in self.pieces():
            pass

    async def read(self, kind: type[T], most: int) -> T:
        """The body as a record. Raises Problem with what is wrong."""
        body = bytearray()
        async for piece in self.pieces():
            body += piece
            if len(body) > most:
                raise Problem(413, f"the body is longer than {most} bytes: send less", code="body_too_large")
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            text = str(error)
            param = text.partition("at `$.")[2].rstrip("`")
            raise Problem(
                400, f"the body cannot be read: {text}", code="invalid_value", param=param
            ) from None

    def limit(self, default: int, most: int = _LIMIT_MAX) -> int:
        """How many are wanted at most."""
        said = self.query.get("limit")
        if said is None:
            return default
        if not said.isdecimal() or not said.isascii() or not 1 <= int(said[:9]) <= most:
            raise Problem(400, f"`limit` is a number from 1 to {most}", code="invalid_value", param="limit")
        return int(said)


class Reply:
    """What goes back: a body that is whole, or pieces of known length."""

    def __init__(
        self,
        body: bytes = b"",
        *,
        status: int = 200,
        media: bytes = _JSON,
        headers: list[tuple[bytes, bytes]] | None = None,
        pieces: AsyncIterator[bytes] | None = None,
        length: int = 0,
    ) -> None:
        """Keep it."""
        self.body = body
        self.status = status
        self.media = media
        self.headers = headers or []
        self.pieces = pieces
        self.length = length if pieces is not None else len(body)

    async def send(self, send: Send) -> None:
        """Send it."""
        headers = [
            (b"content-type", self.media),
            (b"content-length", b"%d" % self.length),
            (b"x-content-type-options", b"nosniff"),
            *self.headers,
        ]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        if self.pieces is not None:
            async for piece in self.pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": self.body})


def reply(value: object, status: int = 200) -> Reply:
    """A value as JSON."""
    return Reply(msgspec.json.encode(value), status=status)


def page(items: list[dict[str, object]], limit: int) -> Reply:
    """A list in OpenAI's shape; `items` may have one more than is wanted, which is then left out."""
    shown = items[:limit]
    return reply(
        {
            "object": "list",
            "data": shown,
            "first_id": shown[0]["id"] if shown else None,
            "last_id": shown[-1]["id"] if shown else None,
            "has_more": len(items) > limit,
        }
    )
