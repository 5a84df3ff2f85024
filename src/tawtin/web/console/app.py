"""The pages of a factory: finds who asks, lets the page answer, and turns whatever goes wrong into a page as well."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from tawtin.gateway.secret import open_secret
from tawtin.web.console.assets import BASE, Assets
from tawtin.web.console.pulse import Part, Pulse
from tawtin.web.console.session import Sessions
from tawtin.web.console.visit import ROOT, SignInFirst, Visit, pack
from tawtin.web.console.words import LANGUAGES, NAMES, SHORT
from tawtin.web.errors import problem_of
from tawtin.web.exchange import Answer, Exchange, Gone
from tawtin.web.route import Route

if TYPE_CHECKING:
    from tawtin.model.tenant import Scope
    from tawtin.runtime.actor import Actor
    from tawtin.runtime.service import Service
    from tawtin.web.console.oidc.desk import Desk
    from tawtin.web.console.oidc.settings import OidcSettings
    from tawtin.web.console.session import Session
    from tawtin.web.console.settings import ConsoleSettings

log = logging.getLogger("tawtin.console")
_SECRET: Final = "console.secret"  # noqa: S105 - the name of its file
_TEMPLATES: Final = Path(__file__).parent / "templates"
Show = Callable[[Visit], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Page:
    """One method of one page."""

    path: str
    """Below `/console`."""
    show: Show
    method: str = "GET"
    scope: Scope | None = None
    """What the signed-in key has to be able to do; None also serves who is not signed in."""


class Console:
    """All pages of one factory."""

    def __init__(
        self, service: Service, settings: ConsoleSettings, data: Path, pages: tuple[Page, ...]
    ) -> None:
        """Read templates and assets; the secret of sessions is kept in `data`. Raises OSError."""
        self.service = service
        self.settings = settings
        secret = open_secret(data / _SECRET)
        self.sessions = Sessions(secret, settings.session_hours * 3_600_000)
        self.desk = _open_desk(settings.oidc, self.sessions, secret)
        """Where people sign in at a provider; None where they do not."""
        self.assets = Assets()
        self.environment = Environment(
            loader=FileSystemLoader(_TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        given: dict[str, Any] = {
            "m": self.environment.get_template("macros.html").module,
            "languages": [(tag, SHORT[tag], NAMES[tag]) for tag in LANGUAGES],
        }
        self.environment.globals.update(given)
        self._pages = pages
        self.blank = secrets.token_hex(16)
        """Where the token of a form goes in what several share: nobody else can write it."""
        self.pulse = Pulse(service, settings.live_seconds)

    def now_ms(self) -> int:
        """The time, milliseconds UTC."""
        return self.service.clock.now_ms()

    def actor_of(self, session: Session) -> Actor | None:
        """Who a session speaks for now; None for nobody any more."""
        if session.person is None:
            return self.service.holder(session.key)
        return self.desk.actor_of(self.service.state, session.person) if self.desk is not None else None

    def routes(self) -> list[Route]:
        """What the application serves for it."""
        found = [
            Route("/", self._first, scope=None, query=None),
            Route(f"{BASE}/{{digest}}/{{name}}", self._asset, scope=None, query=None),
        ]
        for page in self._pages:
            path = f"{ROOT}{page.path}"
            found.append(
                Route(
                    path, self._serve(page), methods=[page.method], scope=None, query=None, media="text/html"
                )
            )
        return found

    def _serve(self, page: Page) -> Callable[[Exchange], Awaitable[Answer]]:
        async def serve(exchange: Exchange) -> Answer:
            visit = Visit(self, exchange)
            try:
                if page.scope is not None:
                    visit.actor.need(page.scope)
                if visit.part and page.scope is not None and page.method == "GET":
                    return await self._part(page, visit)
                return await page.show(visit)
            except Gone:
                raise
            except SignInFirst:
                if visit.part or page.method != "GET":
                    return visit.html(b"", status=401)
                return visit.go(f"{ROOT}/sign-in?next={quote(visit.here, safe='')}")
            except Exception as error:  # noqa: BLE001 - whatever it is becomes a page
                return self._problem(visit, error)

        return serve

    async def _part(self, page: Page, visit: Visit) -> Answer:
        """The main part of a page, shared by all who may see the same in the same language."""

        async def render() -> Part:
            visit.shares = True
            try:
                body = (await page.show(visit)).body
            finally:
                visit.shares = False
            own = self.blank.encode() in body
            return Part(body=body, packed=b"" if own else pack(body))

        actor, exchange = visit.actor, visit.exchange
        key = (exchange.path, exchange.query_string, actor.tenant, actor.scope, visit.language)
        part = await self.pulse.part(key, render)
        return visit.html(part.body if part.packed else visit.own(part.body), packed=part.packed)

    def _problem(self, visit: Visit, error: Exception) -> Answer:
        problem, _ = problem_of(error)
        if problem.status == 500:
            log.error("page %s failed", visit.exchange.path, exc_info=error)
        return visit.render("problem.html", status=problem.status, problem=problem, current="")

    async def _first(self, exchange: Exchange) -> Answer:
        return Visit(self, exchange).go(f"{ROOT}/")

    async def _asset(self, exchange: Exchange) -> Answer:
        digest, name = exchange.params["digest"], exchange.params["name"]
        return self.assets.answer(digest, name, exchange.header(b"accept-encoding"))


def _open_desk(settings: OidcSettings, sessions: Sessions, secret: bytes) -> Desk | None:
    """Where people sign in, if there is a provider and its extra is installed. Raises OSError."""
    if not settings.issuer:
        return None
    try:
        # only here, as it needs the extra
        from tawtin.web.console.oidc.desk import Desk  # noqa: PLC0415
    except ModuleNotFoundError as error:
        log.warning("nobody can sign in by OIDC, as `%s` is missing: install tawtin[oidc]", error.name)
        return None
    return Desk(settings, sessions, secret)
