"""Where messages of peers arrive: bytes and headers in, sender and messages out; or a refusal, and nothing was read.

It knows no web framework and no state. What is done with the messages, and when they are answered, is `runtime`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Final, TypeVar

import msgspec

from tawtin.model.base import Record
from tawtin.model.roaming import VERSION, Message, Offer
from tawtin.peering.identity import Identity
from tawtin.peering.signing import Refusal, Request, Seen, sign_answer, verify_request

PATH: Final = "/peer/v1/messages"
LOG_PATH: Final = "/peer/v1/log"
FILE_PATH: Final = "/peer/v1/file"
MESSAGES_MAX: Final = 256


class Envelope(Record, frozen=True, kw_only=True):
    """What one request carries."""

    version: Annotated[int, msgspec.Meta(ge=1)] = VERSION
    messages: Annotated[tuple[Message, ...], msgspec.Meta(max_length=MESSAGES_MAX)] = ()
    offer: Offer | None = None
    """What the sender says that it has; the newest counts."""


class Taken(Record, frozen=True, kw_only=True):
    """The answer: how many messages were taken in. What they come to is said in messages of its own."""

    taken: int


T = TypeVar("T", bound=Record)


class Malformed(Exception):
    """A signed body that cannot be read; the message names the place."""


_encode = msgspec.json.Encoder(order="deterministic").encode


def read(body: bytes, kind: type[T]) -> T:
    """A signed body as a record. Raises Malformed."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Malformed(str(error)) from None


def encode_envelope(messages: tuple[Message, ...], offer: Offer | None = None) -> bytes:
    """The body of a request."""
    return _encode(Envelope(messages=messages, offer=offer))


class Inbox:
    """Takes in what peers post to us."""

    def __init__(self, name: str, identity: Identity, key_of: Callable[[str], str], began_s: int) -> None:
        """`key_of` gives the present key of a peer, empty for none."""
        self.name = name
        self.identity = identity
        self.key_of = key_of
        self.seen = Seen(began_s)

    def open(
        self, *, method: str, url: str, headers: Mapping[str, str], body: bytes, now_s: int
    ) -> tuple[str, Envelope]:
        """Return the sender and its envelope. Raises Refusal, or Malformed for a body that was signed and is wrong."""
        sender = self.verify(method=method, url=url, headers=headers, body=body, now_s=now_s)
        return sender, read(body, Envelope)

    def verify(self, *, method: str, url: str, headers: Mapping[str, str], body: bytes, now_s: int) -> str:
        """Return the sender of a request, whatever it is about. Raises Refusal."""
        return verify_request(
            method=method,
            url=url,
            headers=headers,
            body=body,
            recipient=self.name,
            key_of=self.key_of,
            seen=self.seen,
            now_s=now_s,
        )

    def answer(
        self, request: Request, value: Record, recipient: str, now_s: int
    ) -> tuple[bytes, dict[str, str]]:
        """The body and the headers of our answer."""
        body = _encode(value)
        headers = sign_answer(
            self.identity,
            request,
            status=200,
            body=body,
            sender=self.name,
            recipient=recipient,
            now_s=now_s,
        )
        return body, headers


__all__ = [
    "FILE_PATH",
    "LOG_PATH",
    "PATH",
    "Envelope",
    "Inbox",
    "Malformed",
    "Refusal",
    "Taken",
    "encode_envelope",
    "read",
]
