"""One request for a page: who asks, in which language, and how it is answered."""

from __future__ import annotations

import gzip
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from markupsafe import Markup

from tawtin.runtime.actor import Actor
from tawtin.web.console.words import LANGUAGES, Words, preferred, words_of
from tawtin.web.errors import HttpError
from tawtin.web.exchange import Answer, Exchange, Headers

if TYPE_CHECKING:
    from tawtin.runtime.service import Service
    from tawtin.web.console.app import Console
    from tawtin.web.console.session import Session

HTML: Final = b"text/html; charset=utf-8"
ROOT: Final = "/console"
LANGUAGE_COOKIE: Final = "tawtin_lang"
THEME_COOKIE: Final = "tawtin_theme"
SHEET_COOKIE: Final = "tawtin_sheet"
YEAR_S: Final = 365 * 86_400
_FIELDS_MAX: Final = 20_000
_GZIP_BYTES_MIN: Final = 1_000


def _policy(styles: str = "'self'") -> tuple[bytes, bytes]:
    policy = (
        f"default-src 'none'; script-src 'self'; style-src {styles}; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    return b"content-security-policy", policy.encode()


GUARDS: Final = (
    _policy(),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=(), payment=()"),
    (b"vary", b"cookie, accept-encoding, accept-language"),
)
"""Headers of every page: nothing from outside, no frames, no address given away."""


class Visit:
    """A page that is asked for."""

    def __init__(self, console: Console, exchange: Exchange) -> None:
        """Read the cookies."""
        self.console = console
        self.exchange = exchange
        self.cookies = _cookies(exchange.header(b"cookie"))
        self.session: Session | None = None
        self._actor: Actor | None = None
        self.shares = False
        """Whether what is rendered is for others of this tenant and role as well."""
        try:
            self.query = dict(parse_qsl(exchange.query_string, keep_blank_values=True, max_num_fields=100))
        except ValueError:
            raise HttpError(400, "the address has too many parameters", "Invalid") from None
        found = console.sessions.read(self.cookies.get(console.sessions.cookie, ""), console.now_ms())
        if found is not None:
            self._actor = console.actor_of(found)
            if self._actor is not None and self._actor.person:
                look = partial(console.actor_of, found)
                exchange.service.people.meet(self._actor.key, found.until_ms, look)
            self.session = found if self._actor is not None else None

    @property
    def service(self) -> Service:
        """The factory."""
        return self.exchange.service

    @property
    def actor(self) -> Actor:
        """Who asks. Raises SignInFirst."""
        if self._actor is None:
            raise SignInFirst
        return self._actor

    @property
    def goes_on(self) -> bool:
        """Whether who asked is somebody still."""
        session = self.session
        if session is None or self.console.now_ms() >= session.until_ms:
            return False
        return self.console.actor_of(session) is not None

    @property
    def signed_in(self) -> bool:
        """Whether somebody is signed in."""
        return self._actor is not None

    @property
    def language(self) -> str:
        """The language of the page: the one that was chosen, else the browser's."""
        chosen = self.cookies.get(LANGUAGE_COOKIE, "")
        if chosen in LANGUAGES:
            return chosen
        return preferred(self.exchange.header(b"accept-language"))

    @property
    def words(self) -> Words:
        """The words of that language."""
        return words_of(self.language, self.service.site.country)

    @property
    def here(self) -> str:
        """This page's address, below the factory's, with its query."""
        path, query = self.exchange.path, self.exchange.query_string
        return f"{path}?{query}" if query else path

    @property
    def part(self) -> bool:
        """Whether only the main part is asked for, by a page that is open."""
        return self.exchange.header(b"x-tawtin-part") == "main"

    async def form(self) -> dict[str, str]:
        """The fields of a form, which has to be from a page of this session. Raises HttpError."""
        self.check_origin()
        body = await self.exchange.body()
        try:
            text = body.decode("utf-8")
            fields = dict(parse_qsl(text, keep_blank_values=True, max_num_fields=_FIELDS_MAX))
        except ValueError:
            raise HttpError(400, "the form cannot be read: send it again from its page", "Invalid") from None
        if self.session is not None:
            self.check_token(fields.get("csrf", ""))
        return fields

    def check_origin(self) -> None:
        """Refuse what another site had a browser send. Raises HttpError."""
        site = self.exchange.header(b"sec-fetch-site")
        origin = self.exchange.header(b"origin")
        host = self.exchange.header(b"host")
        foreign = site not in {"", "same-origin", "none"}
        if origin and origin.partition("://")[2] != host:
            foreign = True
        if foreign:
            raise HttpError(403, "this form came from another site: open the page here", "Denied")

    def check_token(self, token: str) -> None:
        """Refuse a form that is not from a page of this session. Raises HttpError, SignInFirst."""
        if self.session is None:
            raise SignInFirst
        if not self.console.sessions.is_form_of(self.session, token):
            raise HttpError(403, "this form is from another session: open the page again", "Denied")

    def render(
        self,
        template: str,
        *,
        status: int = 200,
        headers: Headers | None = None,
        **values: Any,  # noqa: ANN401 - whatever the template names
    ) -> Answer:
        """A page from its template."""
        words = self.words
        theme = self.cookies.get(THEME_COOKIE, "")
        assets = self.console.assets
        within = not self.part and self.cookies.get(SHEET_COOKIE) != assets.sheet_digest
        text = self.console.environment.get_template(template).render(
            visit=self,
            t=words,
            lang=words.tag,
            rtl=words.rtl,
            theme=theme if theme in {"light", "dark"} else "",
            csrf=self.console.blank if self.shares else self.token,
            site=self.service.site,
            now_ms=self.console.now_ms(),
            asset=assets.url,
            has_asset=assets.has,
            sheet=Markup(assets.sheet) if within else "",  # noqa: S704 - files of this package
            **values,
        )
        shown = self.html(text.encode(), status=status, headers=headers)
        if within and shown.headers is not None:
            shown.headers[0] = _policy(f"'self' {assets.sheet_source}")
        return shown

    @property
    def token(self) -> str:
        """A token for the forms of this page; empty where nobody is signed in."""
        return self.console.sessions.form_token(self.session) if self.session is not None else ""

    def own(self, shared: bytes) -> bytes:
        """What was rendered for several, with the token of this session in its forms."""
        return shared.replace(self.console.blank.encode(), self.token.encode())

    def html(
        self, body: bytes, *, status: int = 200, headers: Headers | None = None, packed: bytes = b""
    ) -> Answer:
        """HTML as an answer, compressed where that is understood: `packed`, if that was done before."""
        guarded: Headers = [*GUARDS, *(headers or ())]
        if (
            not self.shares
            and len(body) >= _GZIP_BYTES_MIN
            and "gzip" in self.exchange.header(b"accept-encoding")
        ):
            body = packed or pack(body)
            guarded.append((b"content-encoding", b"gzip"))
        return Answer(body, status=status, media=HTML, headers=guarded)

    def go(self, path: str, *cookies: bytes) -> Answer:
        """Send the browser to a page of this factory."""
        headers = [(b"location", path.encode("ascii", "replace")), *GUARDS]
        return Answer(
            status=303, media=HTML, headers=[*headers, *((b"set-cookie", each) for each in cookies)]
        )

    def cookie(self, name: str, value: str, *, seconds: int, script: bool = False) -> bytes:
        """A `Set-Cookie`. Behind a proxy that speaks TLS it goes over TLS alone."""
        secure = "; Secure" if self.exchange.header(b"x-forwarded-proto") == "https" else ""
        only = "" if script else "; HttpOnly"
        return f"{name}={value}; Path=/; Max-Age={seconds}; SameSite=Lax{only}{secure}".encode()


class SignInFirst(Exception):
    """Nobody is signed in."""


def pack(body: bytes) -> bytes:
    """Compressed, as answers are."""
    return gzip.compress(body, 5)


def local(path: str) -> str:
    """`path` if it leads to a page of the console, else the first page: nobody is sent elsewhere."""
    plain = path.isascii() and path.isprintable() and "\\" not in path
    if plain and (path == ROOT or path.startswith(f"{ROOT}/")) and "//" not in path.partition("?")[0]:
        return path
    return f"{ROOT}/"


def _cookies(header: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in header.split(";")[:100]:
        name, _, value = part.strip().partition("=")
        found.setdefault(name, value)
    return found
