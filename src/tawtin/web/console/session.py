"""Who is signed in: a signed cookie that names a key or a person, and tokens that show that a form is from a page here.

The cookie holds no secret of the key. It counts as long as the key does, or the settings give the person something, so
that whoever revokes the key or takes the grant away ends the session, and it survives a restart of the factory, so that
an open page comes back by itself.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from typing import Final, TypeVar

import msgspec

from tawtin.model.base import Record

_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 32
_COOKIE_CHARS_MAX: Final = 3_000
T = TypeVar("T")


class Person(Record, frozen=True, kw_only=True):
    """Somebody whom a provider of OpenID Connect knows."""

    subject: str
    """The provider's name for them, which is never another's."""
    name: str = ""
    """What pages call them."""
    marks: tuple[str, ...] = ()
    """Of the grants that their claims fitted when they signed in."""


class Session(Record, frozen=True, kw_only=True):
    """One sign-in."""

    key: str = ""
    """The id of the key that signed in; empty for a person."""
    person: Person | None = None
    """Who signed in at the provider; None for a key."""
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

    def begin(self, key: str, now_ms: int, *, person: Person | None = None) -> tuple[Session, str]:
        """Sign a key in, or a person; return the session and the value of its cookie."""
        session = Session(
            key=key,
            person=person,
            until_ms=now_ms + self._duration_ms,
            nonce=secrets.token_urlsafe(_NONCE_BYTES),
        )
        return session, self.seal(b"session", session)

    def read(self, value: str, now_ms: int) -> Session | None:
        """The session of a cookie; None if it is not ours, or over."""
        session = self.unseal(b"session", value, Session)
        return session if session is not None and now_ms < session.until_ms else None

    def seal(self, purpose: bytes, record: Record) -> str:
        """A record as the value of a cookie, signed for one purpose."""
        body = msgspec.json.encode(record)
        return _text(body + self._tag(purpose, body))

    def unseal(self, purpose: bytes, value: str, kind: type[T]) -> T | None:
        """The record of a cookie; None if it was not sealed here for this purpose."""
        if not value or len(value) > _COOKIE_CHARS_MAX:
            return None
        try:
            raw = _bytes(value)
        except (binascii.Error, ValueError):
            return None
        body, tag = raw[:-_TAG_BYTES], raw[-_TAG_BYTES:]
        if not hmac.compare_digest(tag, self._tag(purpose, body)):
            return None
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.DecodeError:
            return None  # of another version

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
