"""A page asks the gateway, as anybody does: over HTTP, with a pass of the key that is signed in."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

import httptools
import msgspec

from tawtin.model.base import Record
from tawtin.runtime.errors import Unavailable

if TYPE_CHECKING:
    from tawtin.runtime.actor import Actor
    from tawtin.runtime.service import Service

_READ_BYTES: Final = 64 << 10
_ANSWER_BYTES_MAX: Final = 8 << 20
_AGAIN_S: Final = 0.1
_KNOWN_S_MAX: Final = 5.0
"""A pass that is new is known to the workers within that, or the key may not ask."""
_AWAY: Final = "the gateway does not answer: try again, and look into the factory's log"


class Prompt(Record, frozen=True, kw_only=True):
    """What somebody asks a model."""

    model: str
    text: str
    data_class: str
    tokens_max: int


class Told(Record, frozen=True, kw_only=True):
    """Where an answer comes from, by the headers of the gateway."""

    status: int
    factory: str = ""
    country: str = ""
    provider: str = ""
    receipt: str = ""


class Piece(Record, frozen=True, kw_only=True):
    """Some of the answer's text; at its end what was used, or why there is none."""

    text: str = ""
    tokens_in: int | None = None
    tokens_out: int | None = None
    problem: str = ""


class _Reading:
    """The gateway's answer as it is read: httptools calls the `on_` methods."""

    def __init__(self) -> None:
        self.headers: dict[bytes, bytes] = {}
        self.body = bytearray()
        self.headed = False
        self.whole = False
        self.parser = httptools.HttpResponseParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self.headed = True

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.whole = True


class Asking:
    """One question, from its sending to the last word of the answer. Closed by `close`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Over this connection."""
        self._reader = reader
        self._writer = writer
        self._reading = _Reading()

    @property
    def told(self) -> Told:
        """Where it comes from."""
        headers = {name: value.decode("utf-8", "replace") for name, value in self._reading.headers.items()}
        return Told(
            status=self._reading.parser.get_status_code(),
            factory=headers.get(b"x-tawtin-factory", ""),
            country=headers.get(b"x-tawtin-country", ""),
            provider=headers.get(b"x-tawtin-provider", ""),
            receipt=headers.get(b"x-tawtin-receipt", ""),
        )

    def close(self) -> None:
        """Hang up: an answer that is not over ends there, and what it came to is charged."""
        self._writer.transport.abort()

    async def begin(self, request: bytes, seconds_max: float) -> None:
        """Send it, and read until the answer's headers are there. Raises OSError."""
        self._writer.write(request)
        await self._writer.drain()
        while not self._reading.headed:
            await self._more(seconds_max)

    async def pieces(self, seconds_max: float) -> AsyncGenerator[Piece]:
        """The answer as it comes."""
        reading = self._reading
        stream = reading.headers.get(b"content-type", b"").startswith(b"text/event-stream")
        try:
            while not reading.whole:
                if stream:
                    for piece in self._events():
                        yield piece
                await self._more(seconds_max)
        except OSError:
            yield Piece(problem=_AWAY)
            return
        if stream:
            for piece in self._events():
                yield piece
        elif self.told.status == 200:
            yield _piece_of(bytes(reading.body), "message")
        else:
            yield Piece(problem=_problem_in(bytes(reading.body)))

    def _events(self) -> list[Piece]:
        """The events that are whole by now."""
        *whole, rest = bytes(self._reading.body).replace(b"\r\n", b"\n").split(b"\n\n")
        self._reading.body[:] = rest
        lines = [line for event in whole for line in event.split(b"\n") if line.startswith(b"data:")]
        said = [line.removeprefix(b"data:").strip() for line in lines]
        return [_piece_of(each) for each in said if each != b"[DONE]"]

    async def _more(self, seconds_max: float) -> None:
        """Read on. Raises OSError."""
        async with asyncio.timeout(seconds_max):
            data = await self._reader.read(_READ_BYTES)
        try:
            self._reading.parser.feed_data(data)
        except httptools.HttpParserError:
            data = b""
        if (not data and not self._reading.whole) or len(self._reading.body) > _ANSWER_BYTES_MAX:
            msg = "the gateway hung up"
            raise ConnectionResetError(msg)


async def ask(service: Service, actor: Actor, prompt: Prompt) -> Asking:
    """Ask a model in the name of who is signed in; the caller closes it. Raises Denied, Unavailable."""
    gateway = service.gateway
    if gateway is None:
        raise Unavailable(_AWAY)
    token = service.passes.token(actor)
    place = urlsplit(gateway.url)
    body = msgspec.json.encode(
        {
            "model": prompt.model,
            "messages": [{"role": "user", "content": prompt.text}],
            "max_tokens": prompt.tokens_max,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    )
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: {place.netloc}\r\nauthorization: Bearer {token}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\nx-tawtin-class: {prompt.data_class}\r\n"
        "connection: close\r\n\r\n"
    )
    ends_s = asyncio.get_running_loop().time() + _KNOWN_S_MAX + 2 * gateway.settings.snapshot_ms / 1000
    seconds_max = gateway.settings.first_byte_seconds_max + gateway.settings.hold_seconds_max
    while True:
        try:
            asking = Asking(*await asyncio.open_connection(place.hostname, place.port))
        except OSError as error:
            raise Unavailable(_AWAY) from error
        try:
            await asking.begin(head.encode() + body, seconds_max)
        except OSError as error:
            asking.close()
            raise Unavailable(_AWAY) from error
        except BaseException:
            asking.close()
            raise
        if asking.told.status != 401 or asyncio.get_running_loop().time() > ends_s:
            return asking
        asking.close()
        await asyncio.sleep(_AGAIN_S)  # its workers look for new passes in steps


def _piece_of(data: bytes, part: str = "delta") -> Piece:
    """What one event, or a whole answer (`message`), says; what cannot be read says nothing."""
    try:
        said: Any = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Piece()
    if not isinstance(said, dict):
        return Piece()
    event = cast("dict[str, Any]", said)
    if "error" in event:
        return Piece(problem=_problem_in(data))
    text = ""
    with contextlib.suppress(KeyError, IndexError, TypeError):
        found: object = event["choices"][0][part]["content"]
        text = found if isinstance(found, str) else ""
    usage = cast("dict[str, Any]", event.get("usage") or {}) if isinstance(event.get("usage"), dict) else {}
    counts = [usage.get("prompt_tokens"), usage.get("completion_tokens")]
    tokens_in, tokens_out = (each if isinstance(each, int) else None for each in counts)
    return Piece(text=text, tokens_in=tokens_in, tokens_out=tokens_out)


def _problem_in(body: bytes) -> str:
    """The message of an error as OpenAI's API has it."""
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, RecursionError):
        said: Any = msgspec.json.decode(body)
        message: object = said["error"]["message"]
        return message[:2000] if isinstance(message, str) else _AWAY
    return _AWAY
