"""An invitation that serves once, and the digits that two operators compare: bytes in, bytes out, without state.

The guest promises a nonce, the host tells its own, the guest reveals. What both said is hashed into twelve digits: each
operator reads six of them to the other, and enters the six that it hears. Nobody can choose a nonce after seeing the
other's, so that whoever stands in between, with keys of its own, has one chance in a million for each invitation. The
secret of the invitation keeps all others out; it is never sent.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import unicodedata
from typing import Final

import msgspec

from tawtin.model.introduction import Invitation, Join, Reveal
from tawtin.peering.identity import public_key

PATH: Final = "/peer/v1/introduction"
PROOF: Final = "tawtin-proof"
"""The header that shows who knows the secret."""
PREFIX: Final = "tawtin-invitation-"
BYTES_MAX: Final = 16_384
_HALF: Final = 1_000_000


class NoInvitation(ValueError):
    """A text that is no invitation, and why."""


def written(invitation: Invitation) -> str:
    """The invitation as one word that can be sent by mail."""
    return PREFIX + base64.urlsafe_b64encode(msgspec.json.encode(invitation)).decode().rstrip("=")


def read_invitation(text: str) -> Invitation:
    """The invitation in a text. Raises NoInvitation."""
    word = "".join(text.split())
    if not word.startswith(PREFIX):
        msg = f"an invitation begins with `{PREFIX}`: copy the whole of it"
        raise NoInvitation(msg)
    coded = word.removeprefix(PREFIX)
    try:
        raw = base64.b64decode(coded + "=" * (-len(coded) % 4), altchars=b"-_", validate=True)
        return msgspec.json.decode(raw, type=Invitation)
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        msg = f"the invitation cannot be read: copy the whole of it ({error})"
        raise NoInvitation(msg) from None


def named(secret: str) -> str:
    """What an invitation is called, without telling its secret."""
    return hashlib.sha256(bytes.fromhex(secret)).hexdigest()


def promise(nonce: str) -> str:
    """What binds to a nonce without telling it."""
    return hashlib.sha256(b"tawtin-nonce-1\n" + bytes.fromhex(nonce)).hexdigest()


def prove(secret: str, way: str, body: bytes) -> str:
    """That whoever said `body` knows the secret. `way` is `request`, or the proof of the request that it answers."""
    return hmac.new(bytes.fromhex(secret), f"{way}\n".encode() + body, hashlib.sha256).hexdigest()


def is_proven(secret: str, way: str, body: bytes, proof: str) -> bool:
    """Whether `proof` is that of `body`."""
    return hmac.compare_digest(prove(secret, way, body).encode(), proof.encode("utf-8", "replace"))


def read_step(body: bytes) -> Join | Reveal:
    """What a guest sent. Raises ValueError."""
    if len(body) > BYTES_MAX:
        msg = f"it is longer than {BYTES_MAX} bytes"
        raise ValueError(msg)
    return msgspec.json.decode(body, type=Join | Reveal)


def digits(join: bytes, joined: bytes, nonce: str) -> tuple[str, str]:
    """The six digits that the host reads out, and the six of the guest, from the very bytes that crossed."""
    said = [hashlib.sha256(body).hexdigest() for body in (join, joined)]
    text = "\n".join(("tawtin-introduction-1", *said, nonce, ""))
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
    return f"{number % _HALF:06d}", f"{number // _HALF % _HALF:06d}"


def is_key(key: str) -> bool:
    """Whether it is a public key at all."""
    return public_key(key) is not None


def plain_digits(text: str) -> str:
    """Digits as a person enters them, in any script and grouped as they like; empty if they are no six digits."""
    found = [
        unicodedata.digit(each, None) for each in text if not each.isspace() and each not in "-.\u200e\u200f"
    ]
    return "".join(map(str, found)) if len(found) == 6 and None not in found else ""


def grouped(six: str) -> str:
    """Digits as they are shown."""
    return f"{six[:3]} {six[3:]}" if six else ""
