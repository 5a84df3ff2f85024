"""One request and its answer, without anything that a request in a hurry does not need."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import msgspec

from tawtin.web.errors import HttpError, invalid_json

if TYPE_CHECKING:
    from tawtin.runtime.actor import Actor
    from tawtin.runtime.service import Service
    from tawtin.web.metrics import Requests
    from tawtin.web.settings import WebSettings

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Headers = list[tuple[bytes, bytes]]
T = TypeVar("T")

JSON: Final = b"application/json"
ONCE: Final = frozenset(
    {b"authorization", b"content-type", b"content-length", b"idempotency-key", b"if-match", b"last-event-id"}
)
"""Headers that must not stand there twice."""
_TAG: Final = re.compile(r'(W/)?"[\x21\x23-\x7e]{0,100}"')
_encode = msgspec.json.Encoder().encode


class Answer:
    """What goes back: a body that is whole, or a stream of pieces."""

    __slots__ = ("body", "close", "headers", "media", "status", "stream")

    def __init__(
        self,
        body: bytes = b"",
        *,
        status: int = 200,
        media: bytes = JSON,
        headers: Headers | None = None,
        stream: AsyncIterator[bytes] | None = None,
        close: Callable[[], None] | None = None,
    ) -> None:
        """Keep it. With `stream`, `body` is not sent; `close` is called when all is over, also if nothing was sent."""
        self.body = body
        self.status = status
        self.media = media
        self.headers = headers
        self.stream = stream
        self.close = close


def answer(value: object, *, status: int = 200, headers: Headers | None = None) -> Answer:
    """Return `value` as JSON."""
    return Answer(_encode(value), status=status, headers=headers)


def etag(version: int) -> tuple[bytes, bytes]:
    """Return the header that names a version."""
    return b"etag", b'"%d"' % version


class Exchange:
    """A request whose caller is known. `query` is the record that its route declares."""

    __slots__ = (
        "_receive",
        "actor",
        "closing",
        "headers",
        "params",
        "path",
        "query",
        "query_string",
        "request_id",
        "requests",
        "service",
        "settings",
    )

    def __init__(  # noqa: PLR0913 - made in one place
        self,
        *,
        service: Service,
        settings: WebSettings,
        closing: asyncio.Event,
        requests: Requests,
        path: str,
        params: dict[str, str],
        query_string: bytes,
        raw_headers: Headers,
        receive: Receive,
        request_id: str,
    ) -> None:
        """Take a request as ASGI has it."""
        self.service = service
        self.settings = settings
        self.closing = closing
        self.requests = requests
        self.path = path
        self.params = params
        self.headers = dict(raw_headers)
        self.request_id = request_id
        self._receive = receive
        self.query_string = query_string.decode("latin-1")
        self.query: Any = None
        self.actor: Actor = cast("Any", None)
        if len(self.headers) != len(raw_headers):
            _refuse_twice(raw_headers)

    def header(self, name: bytes) -> str:
        """A header as text; empty if it is absent."""
        return self.headers.get(name, b"").decode("latin-1").strip()

    def media(self) -> str:
        """The media type of the body, lower case, without parameters; refuses what is not UTF-8 or is compressed."""
        kind, _, parameters = self.header(b"content-type").partition(";")
        _, _, charset = parameters.partition("charset=")
        if charset and charset.strip('" ').lower() not in {"utf-8", "utf8"}:
            raise HttpError(415, f"the charset is `{charset}`: send UTF-8", "UnsupportedMediaType")
        if self.header(b"content-encoding").lower() not in {"", "identity"}:
            raise HttpError(415, "a compressed body is not taken: send it as it is", "UnsupportedMediaType")
        return kind.strip().lower()

    def expects(self, *kinds: str) -> str:
        """The media type of the body, which must be one of these; the first where none was given."""
        media = self.media() or kinds[0]
        if media not in kinds:
            wanted = " or ".join(f"`{kind}`" for kind in kinds)
            raise HttpError(415, f"the body is `{media}`: send {wanted}", "UnsupportedMediaType")
        return media

    async def body(self, most: int = 0) -> bytes:
        """The whole body, at most `most` bytes, or `body_bytes_max` if that is more."""
        most = max(most, self.settings.body_bytes_max)
        self._check_length(most)
        message = await self._next()
        whole: bytes = message.get("body", b"")
        if not message.get("more_body", False):
            if len(whole) > most:
                raise _too_large(most)
            return whole
        pieces = [whole]
        size = len(whole)
        while message.get("more_body", False):
            message = await self._next()
            piece: bytes = message.get("body", b"")
            size += len(piece)
            if size > most:
                raise _too_large(most)
            pieces.append(piece)
        return b"".join(pieces)

    async def pieces(self, most: int) -> AsyncIterator[bytes]:
        """The body as it arrives, at most `most` bytes."""
        self._check_length(most)
        size = 0
        more = True
        while more:
            message = await self._next()
            piece: bytes = message.get("body", b"")
            more = message.get("more_body", False)
            size += len(piece)
            if size > most:
                raise _too_large(most)
            if piece:
                yield piece

    async def read(self, kind: type[T], most: int = 0) -> T:
        """The body as a record of this type."""
        self.expects("application/json")
        return decode(await self.body(most), kind)

    async def no_body(self) -> None:
        """Refuse a body where none has a meaning."""
        if await self.body():
            raise HttpError(400, "this takes no body: send none", "Invalid")

    def if_match(self, *, required: bool = False) -> int | None:
        """The version in `If-Match`. `*` matches any. Without the header: None, or 428 where it is required."""
        tag = self.header(b"if-match")
        if tag == "*":
            return None
        if not tag:
            if required:
                raise HttpError(
                    428, "send `If-Match` with the ETag that you read, so that nobody's change is lost",
                    "PreconditionRequired",
                )  # fmt: skip
            return None
        if not _TAG.fullmatch(tag):
            raise HttpError(400, '`If-Match` holds one ETag, such as `"3"`, or `*`', "Invalid")
        number = tag[1:-1]
        if not number.isdigit():
            raise HttpError(412, f"`{tag}` is no ETag of ours: read it again", "VersionMismatch")
        return int(number[:18])

    def idempotency_key(self) -> str:
        """The key under which a repeat gets the same answer; empty if none was given."""
        raw = self.headers.get(b"idempotency-key")
        if raw is None:
            return ""
        key = raw.decode("latin-1")
        if not 1 <= len(key) <= 255 or not key.isascii() or not key.isprintable():
            raise HttpError(400, "`Idempotency-Key` has 1 to 255 printable ASCII characters", "Invalid")
        return key

    def no_idempotency_key(self) -> None:
        """Refuse the header where a repeat cannot get the same answer."""
        if b"idempotency-key" in self.headers:
            raise HttpError(400, "`Idempotency-Key` has no meaning here: leave it out", "Invalid")

    async def gone(self) -> None:
        """Return when the client has gone away."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def _check_length(self, most: int) -> None:
        length = self.headers.get(b"content-length", b"0")
        if not length.isdigit():
            raise HttpError(400, "`Content-Length` is a number of bytes", "Invalid")
        if len(length) > 18 or int(length) > most:
            raise _too_large(most)

    async def _next(self) -> MutableMapping[str, Any]:
        """The next message. How long it may take is the server's protocol's to watch, which costs nothing here."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise Gone
        return message


class Gone(Exception):
    """The client went away before the request was whole."""


def decode(body: bytes, kind: type[T]) -> T:
    """Return the JSON in `body` as a record. Raises HttpError with the place that is wrong."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid_json(body, error) from None


def _too_large(most: int) -> HttpError:
    return HttpError(
        413, f"the body is longer than {most} bytes: send less, or upload files as artifacts", "TooLarge"
    )


def _refuse_twice(raw_headers: Headers) -> None:
    names = [name for name, _ in raw_headers]
    for name in sorted(ONCE):
        if names.count(name) > 1:
            raise HttpError(400, f"the header `{name.decode()}` stands there twice", "Invalid")
