"""A sign-in at the provider, from the button to the session: it is bound to the browser by a cookie.

The cookie has a seed, where to go afterwards and until when, and is signed. State, nonce and verifier are made of the
seed with the factory's secret. So a code counts in the browser that asked for it alone, and nothing is kept meanwhile.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from tawtin.model.base import Record
from tawtin.web.console.oidc.grants import SUBJECT_CHARS_MAX, actor_of, marks
from tawtin.web.console.oidc.provider import Provider
from tawtin.web.console.oidc.token import Rejected
from tawtin.web.console.session import Person

if TYPE_CHECKING:
    from tawtin.core.state import State
    from tawtin.runtime.actor import Actor
    from tawtin.web.console.oidc.settings import OidcSettings
    from tawtin.web.console.session import Sessions

CALLBACK: Final = "/console/oidc/callback"
_SEED_BYTES: Final = 16
_NAME_CHARS_MAX: Final = 80
_NEXT_CHARS_MAX: Final = 1_000
_NAMES: Final = ("name", "preferred_username", "email")


class Errand(Record, frozen=True, kw_only=True):
    """One sign-in under way, as the cookie has it."""

    seed: str
    next: str
    """A page of the console."""
    redirect: str
    """Where the provider sends the browser."""
    until_ms: int


class Desk:
    """Sends browsers to the provider, and takes what they come back with."""

    def __init__(self, settings: OidcSettings, sessions: Sessions, secret: bytes) -> None:
        """`secret` is the factory's. Raises OSError if the client's secret cannot be read."""
        self.settings = settings
        self._sessions = sessions
        self._secret = secret
        self.provider = Provider(settings, _client_secret(settings.client_secret_file))
        self.cookie = f"{sessions.cookie}_oidc"
        """Its name."""

    async def begin(self, following: str, redirect: str, language: str, now_ms: int) -> tuple[str, str]:
        """Where to send a browser, and the value of its cookie. Raises Away."""
        errand = Errand(
            seed=secrets.token_urlsafe(_SEED_BYTES),
            next=following if len(following) <= _NEXT_CHARS_MAX else "",
            redirect=redirect,
            until_ms=now_ms + self.settings.sign_in_seconds * 1000,
        )
        digest = hashlib.sha256(self._made("verifier", errand).encode()).digest()
        address = await self.provider.address(
            {
                "response_type": "code",
                "client_id": self.settings.client_id,
                "redirect_uri": redirect,
                "scope": " ".join(self.settings.scopes),
                "state": self._made("state", errand),
                "nonce": self._made("nonce", errand),
                "code_challenge": _text(digest),
                "code_challenge_method": "S256",
                "ui_locales": language,
            }
        )
        return address, self._sessions.seal(b"oidc", errand)

    def errand(self, cookie: str, state: str, now_ms: int) -> Errand | None:
        """The sign-in that this browser began and that `state` is of; None if there is none, or it took too long."""
        found = self._sessions.unseal(b"oidc", cookie, Errand)
        if found is None or now_ms >= found.until_ms:
            return None
        fits = hmac.compare_digest(state.encode(), self._made("state", found).encode())
        return found if fits else None

    async def finish(self, errand: Errand, code: str, issuer: str, now_ms: int) -> Person:
        """Who signed in. `issuer` is what the answer says of its sender. Raises Away, Rejected."""
        if issuer or await self.provider.names_itself():
            self._check_issuer(issuer)
        claims = await self.provider.claims(
            code,
            verifier=self._made("verifier", errand),
            redirect=errand.redirect,
            nonce=self._made("nonce", errand),
            now_s=now_ms // 1000,
        )
        subject: str = claims["sub"]
        if not (subject.isascii() and subject.isprintable() and 1 <= len(subject) <= SUBJECT_CHARS_MAX):
            raise Rejected("token", "the token's subject is no text of at most 255 ASCII characters")
        return Person(subject=subject, name=_name(claims), marks=marks(self.settings, claims))

    def actor_of(self, state: State, person: Person) -> Actor | None:
        """Who somebody is to this factory now; None for nobody."""
        return actor_of(self.settings, state, person)

    def _check_issuer(self, issuer: str) -> None:
        """RFC 9207: an answer that names another sender is that of an attack."""
        if issuer != self.settings.issuer:
            raise Rejected("token", f"the answer is of `{issuer[:200]}`, which is not the provider")

    def _made(self, what: Literal["state", "nonce", "verifier"], errand: Errand) -> str:
        return _text(hmac.digest(self._secret, f"oidc {what}\0{errand.seed}".encode(), "sha256"))


def _client_secret(file: str) -> str:
    """What a file holds; nothing for no file. Raises OSError with the setting."""
    try:
        return Path(file).read_text("utf-8").strip() if file else ""
    except (OSError, UnicodeDecodeError) as error:
        msg = f"console.oidc.client_secret_file: `{file}` cannot be read ({error}): put the client's secret there"
        raise OSError(msg) from error


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _name(claims: dict[str, Any]) -> str:
    """What to call somebody on pages."""
    said = [claims[each] for each in _NAMES if isinstance(claims.get(each), str) and claims[each].strip()]
    return "".join(each for each in said[0] if each.isprintable()).strip()[:_NAME_CHARS_MAX] if said else ""
