"""RFC 9421 signatures over requests and answers between factories.

A request covers its method, path, body (by RFC 9530 content digest), content type, sender, recipient and version; it
has a time and a nonce. An answer covers its status, body and content type, and the signature of the request that it
answers, so that no answer can be given to another question. The bytes of the body are checked before anything in them
is read.
"""

# the library takes any object that looks like a message, and does not say which type
# pyright: reportUnknownMemberType=none

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from http_message_signatures.algorithms import ED25519  # pyright: ignore[reportPrivateImportUsage]
from http_message_signatures.exceptions import HTTPMessageSignaturesException, InvalidSignature
from http_message_signatures.resolvers import HTTPSignatureKeyResolver
from http_message_signatures.signatures import HTTPMessageSigner, HTTPMessageVerifier

from tawtin.model.roaming import VERSION
from tawtin.peering.identity import public_key

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

    from tawtin.peering.identity import Identity

TAG: Final = "tawtin-peer-1"
LABEL: Final = "tawtin"
SENDER, RECIPIENT, SPEAKS = "tawtin-sender", "tawtin-recipient", "tawtin-version"
REQUEST_COVERS: Final = ("@method", "@path", "content-digest", "content-type", SENDER, RECIPIENT, SPEAKS)
ANSWER_COVERS: Final = (
    "@status", "content-digest", "content-type", SENDER, RECIPIENT, '"@path";req', '"signature";req',
)  # fmt: skip
JSON: Final = "application/json"
AGE_S_MAX: Final = 120
"""Older requests are refused; nonces are remembered for as long."""
SKEW_S: Final = 30
NONCES_MAX: Final = 100_000
BODY_BYTES_MAX: Final = 1 << 20
_NONCE: Final = re.compile(r"[0-9a-f]{32}")


class Token(StrEnum):
    """Why a message is not taken in."""

    UNSIGNED = "Unsigned"
    BAD_SIGNATURE = "BadSignature"
    UNKNOWN_SENDER = "UnknownSender"
    WRONG_RECIPIENT = "WrongRecipient"
    WRONG_VERSION = "WrongVersion"
    TOO_OLD = "TooOld"
    REPLAYED = "Replayed"
    TOO_LARGE = "TooLarge"
    BUSY = "Busy"
    """As many nonces are remembered as can be; it is no fault of the sender."""


class Refusal(Exception):
    """A message that is not taken in: a token, and a sentence that tells nothing about anybody else."""

    def __init__(self, token: Token, sentence: str) -> None:
        super().__init__(sentence)
        self.token = token


@dataclass(slots=True)
class Request:
    """A request as the library sees it."""

    method: str
    url: str
    headers: dict[str, str]


@dataclass(slots=True)
class Reply:
    """An answer as the library sees it."""

    status_code: int
    headers: dict[str, str]
    request: Request


@dataclass(slots=True)
class Seen:
    """The nonces of a while: nothing is taken in twice, and nothing that was signed before we began."""

    began_s: int
    nonces: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    """(sender, nonce) -> when it is forgotten, oldest first."""

    def take(self, sender: str, nonce: str, created_s: int, now_s: int) -> None:
        """Remember a nonce. Raises Refusal if it was there already, or may have been before a restart."""
        while self.nonces and next(iter(self.nonces.values())) <= now_s:
            del self.nonces[next(iter(self.nonces))]
        if created_s < self.began_s:
            raise Refusal(Token.TOO_OLD, "it was signed before this factory started: sign it again")
        if (sender, nonce) in self.nonces:
            raise Refusal(Token.REPLAYED, "this very message was taken in before")
        if len(self.nonces) >= NONCES_MAX:
            raise Refusal(Token.BUSY, "too many messages at the moment: send it again later")
        self.nonces[sender, nonce] = now_s + AGE_S_MAX + 2 * SKEW_S


class _Key(HTTPSignatureKeyResolver):
    """The one key that counts for this message."""

    def __init__(
        self, *, private: Ed25519PrivateKey | None = None, public: Ed25519PublicKey | None = None
    ) -> None:
        self._private, self._public = private, public

    def resolve_private_key(self, key_id: str) -> Ed25519PrivateKey:  # noqa: ARG002 - the library's signature
        if self._private is None:
            raise LookupError
        return self._private

    def resolve_public_key(self, key_id: str) -> Ed25519PublicKey:  # noqa: ARG002 - the same
        if self._public is None:
            raise LookupError
        return self._public


class _Verifier(HTTPMessageVerifier):
    """Leaves the time to us, who are told what it is."""

    def validate_created_and_expires(self, sig_input: object, max_age: object = None) -> None:
        """Nothing."""


def sign_request(
    identity: Identity,
    *,
    method: str,
    url: str,
    body: bytes,
    sender: str,
    recipient: str,
    nonce: str,
    now_s: int,
) -> dict[str, str]:
    """The headers of a signed request. `nonce` is 128 bits in hexadecimal that were never used before."""
    headers = {
        "content-type": JSON,
        SENDER: sender,
        RECIPIENT: recipient,
        SPEAKS: str(VERSION),
    }
    _signer(identity).sign(
        Request(method, url, headers),
        key_id=identity.key,
        created=_moment(now_s),
        nonce=nonce,
        label=LABEL,
        tag=TAG,
        covered_component_ids=REQUEST_COVERS,
        body=body,
    )
    return _lower(headers)


def verify_request(
    *,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    recipient: str,
    key_of: Callable[[str], str],
    seen: Seen,
    now_s: int,
) -> str:
    """Return the sender of a request that may be taken in. Raises Refusal; the body is looked at by its hash alone.

    Names of headers are lower case, as in HTTP/2 and ASGI.
    `key_of` gives the present public key of a peer, empty for one that is not known or whose key was revoked.
    """
    if len(body) > BODY_BYTES_MAX:
        raise Refusal(Token.TOO_LARGE, f"the body is longer than {BODY_BYTES_MAX} bytes")
    sender = headers.get(SENDER, "")
    if not sender or "signature" not in headers or "signature-input" not in headers:
        raise Refusal(Token.UNSIGNED, "it is not signed: see docs/protocol.md")
    key = public_key(key_of(sender))
    if key is None:
        raise Refusal(Token.UNKNOWN_SENDER, "no peer of this name has a key here")
    parameters = _verify(Request(method, url, dict(headers)), key, REQUEST_COVERS, body)
    if headers.get(RECIPIENT) != recipient:
        raise Refusal(Token.WRONG_RECIPIENT, "it is for another factory")
    if headers.get(SPEAKS) != str(VERSION):
        raise Refusal(Token.WRONG_VERSION, f"this factory speaks version {VERSION}")
    created, nonce = parameters.get("created"), parameters.get("nonce")
    if not isinstance(created, int) or not -SKEW_S <= now_s - created <= AGE_S_MAX + SKEW_S:
        raise Refusal(Token.TOO_OLD, "it was signed too long ago, or the clocks differ: check both")
    if not isinstance(nonce, str) or not _NONCE.fullmatch(nonce):
        raise Refusal(Token.BAD_SIGNATURE, "its nonce is not 128 bits in hexadecimal")
    seen.take(sender, nonce, created, now_s)
    return sender


def sign_answer(
    identity: Identity, request: Request, *, status: int, body: bytes, sender: str, recipient: str, now_s: int
) -> dict[str, str]:
    """The headers of a signed answer to a request that was verified."""
    headers = {"content-type": JSON, SENDER: sender, RECIPIENT: recipient}
    _signer(identity).sign(
        Reply(status, headers, request),
        key_id=identity.key,
        created=_moment(now_s),
        label=LABEL,
        tag=TAG,
        covered_component_ids=ANSWER_COVERS,
        body=body,
    )
    return _lower(headers)


def verify_answer(
    request: Request,
    *,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    sender: str,
    recipient: str,
    key: str,
) -> None:
    """Return if this is `sender`'s answer to this very request. Raises Refusal."""
    if len(body) > BODY_BYTES_MAX:
        raise Refusal(Token.TOO_LARGE, f"the answer is longer than {BODY_BYTES_MAX} bytes")
    public = public_key(key)
    if public is None:
        raise Refusal(Token.UNKNOWN_SENDER, f"the key of `{sender}` is not known")
    if "signature" not in headers or "signature-input" not in headers:
        raise Refusal(Token.UNSIGNED, f"the answer is not signed: is this address still that of `{sender}`?")
    _verify(Reply(status, dict(headers), request), public, ANSWER_COVERS, body)
    if headers.get(SENDER) != sender or headers.get(RECIPIENT) != recipient:
        raise Refusal(Token.WRONG_RECIPIENT, "the answer is from, or for, another factory")


def _verify(
    message: Request | Reply, key: Ed25519PublicKey, covers: tuple[str, ...], body: bytes
) -> dict[str, int | str]:
    verifier = _Verifier(signature_algorithm=ED25519, key_resolver=_Key(public=key))
    try:
        (result,) = verifier.verify(
            message,
            max_age=None,
            expect_tag=TAG,
            require_components=covers,
            body=body,
        )
    except (InvalidSignature, HTTPMessageSignaturesException, ValueError) as error:
        raise Refusal(Token.BAD_SIGNATURE, f"its signature does not hold: {error}"[:300]) from None
    return result.parameters


def _signer(identity: Identity) -> HTTPMessageSigner:
    return HTTPMessageSigner(signature_algorithm=ED25519, key_resolver=_Key(private=identity.private))


def _lower(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _moment(now_s: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(now_s, tz=dt.UTC)
