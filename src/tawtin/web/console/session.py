"""Who is signed in: a signed cookie that names a key, and tokens that show that a form is from a page of ours.

The cookie holds no secret of the key. It counts as long as the key does, so that whoever revokes the key ends the
session, and it survives a restart of the factory, so that an open page comes back by itself.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from typing import Final

import msgspec

from tawtin.model.base import Record

_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 32
_COOKIE_CHARS_MAX: Final = 1024


class Session(Record, frozen=True, kw_only=True):
    """One sign-in."""

    key: str
    """The id of the key that signed in."""
    until_ms: int
    nonce: str
    """Another one at each sign-in."""


class Sessions:
    """Gives out cookies and form tokens, and recognises its own."""

    def __init__(self, secret: bytes, duration_ms: int) -> None:
        """`secret` stays in the factory; a sign-in counts for `duration_ms`."""
        self._secret = secret
        self._duration_ms = duration_ms
        self.cookie = f"tawtin_{hashlib.sha256(secret).hexdigest()[:8]}"
        """Its name. Cookies do not tell ports apart, and several factories may share a machine."""

    def begin(self, key: str, now_ms: int) -> tuple[Session, str]:
        """Sign a key in; return the session and the value of its cookie."""
        session = Session(
            key=key, until_ms=now_ms + self._duration_ms, nonce=secrets.token_urlsafe(_NONCE_BYTES)
        )
        body = msgspec.json.encode(session)
        return session, _text(body + self._tag(b"session", body))

    def read(self, value: str, now_ms: int) -> Session | None:
        """The session of a cookie; None if it is not ours, or over."""
        if not value or len(value) > _COOKIE_CHARS_MAX:
            return None
        try:
            raw = _bytes(value)
        except (binascii.Error, ValueError):
            return None
        body, tag = raw[:-_TAG_BYTES], raw[-_TAG_BYTES:]
        if not hmac.compare_digest(tag, self._tag(b"session", body)):
            return None
        session = msgspec.json.decode(body, type=Session)
        return session if now_ms < session.until_ms else None

    def form_token(self, session: Session) -> str:
        """A token for a form of this session. Each page gets another one, so that compression tells nothing of it."""
        salt = secrets.token_bytes(_NONCE_BYTES)
        return _text(salt + self._tag(b"form", salt + session.nonce.encode()))

    def is_form_of(self, session: Session, token: str) -> bool:
        """Whether a token was made for this session."""
        try:
            raw = _bytes(token[:_COOKIE_CHARS_MAX])
        except (binascii.Error, ValueError):
            return False
        salt, tag = raw[:_NONCE_BYTES], raw[_NONCE_BYTES:]
        return hmac.compare_digest(tag, self._tag(b"form", salt + session.nonce.encode()))

    def _tag(self, purpose: bytes, body: bytes) -> bytes:
        return hmac.digest(self._secret, purpose + b"\0" + body, "sha256")


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    raw = text.encode("ascii")
    return base64.b64decode(raw + b"=" * (-len(raw) % 4), altchars=b"-_", validate=True)
