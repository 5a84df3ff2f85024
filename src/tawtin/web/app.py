"""The ASGI application: finds the route, knows the caller, lets the handler answer, sends it, counts it.

Starlette finds the route. What every request passes through is plain ASGI without middleware, since at thousands of
requests a second each layer is paid for each time.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import re
import secrets
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from starlette.routing import Route as StarletteRoute
from starlette.routing import Router

from tawtin.peering import introduction
from tawtin.peering.inbox import FILE_PATH, LOG_PATH, PATH
from tawtin.runtime.actor import Actor
from tawtin.web.errors import MEDIA, HttpError, problem_of
from tawtin.web.exchange import Answer, Exchange, Gone, answer
from tawtin.web.metrics import Requests
from tawtin.web.query import query_of
from tawtin.web.routes import ROUTES
from tawtin.web.send import send_answer
from tawtin.web.tracing import open_tracer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import Receive, Scope, Send

    from tawtin.runtime.service import Service
    from tawtin.web.door import Door
    from tawtin.web.route import Route
    from tawtin.web.settings import WebSettings

log = logging.getLogger("tawtin.http")
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_CHALLENGE: Final = ((b"www-authenticate", b'Bearer realm="tawtin"'),)
_FORWARDED: Final = (b"forwarded", b"x-forwarded-for", b"x-real-ip")
_NOWHERE: Final = "(none)"
DOORS: Final = (PATH, LOG_PATH, FILE_PATH, introduction.PATH)
"""Where peers come in."""


class App:
    """The application of one factory."""

    def __init__(
        self,
        service: Service,
        settings: WebSettings,
        *,
        otlp_endpoint: str = "",
        routes: Iterable[Route] = ROUTES,
        door: Door | None = None,
        pages: Iterable[Route] = (),
    ) -> None:
        """Wire it; nothing happens before the first request."""
        self.service = service
        self.settings = settings
        self.closing = asyncio.Event()
        """Set when the factory is about to stop: streams end."""
        self.requests = Requests()
        self.door = door
        self.tracer = open_tracer(otlp_endpoint, service.site.name)
        self._here = secrets.token_hex(6)
        self._numbers = itertools.count(1)
        by_path: dict[str, dict[str, Route]] = {}
        for route in (*routes, *pages):
            by_path.setdefault(route.path, {})[route.method] = route
        resources = {path: _Resource(self, path, methods) for path, methods in by_path.items()}
        self._plain = {path: resource for path, resource in resources.items() if "{" not in path}
        self._router = Router(
            [StarletteRoute(path, endpoint=resource) for path, resource in resources.items()],
            redirect_slashes=False,
            default=_Resource(self, _NOWHERE, {}),
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["path"] in DOORS and self.door is not None:
            await self.door(scope, receive, send)
        elif scope["type"] == "http":
            await self._plain.get(scope["path"], self._router)(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})

    async def close(self) -> None:
        """Let streams end, and send what was traced, which may take `stop_seconds_max`."""
        self.closing.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(self.settings.stop_seconds_max):
                await asyncio.to_thread(self.tracer.close)

    def request_id(self, headers: list[tuple[bytes, bytes]]) -> str:
        """The caller's own name for this request if it is plain, else a new one."""
        for name, value in headers:
            if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
                return value.decode()
        return f"{self._here}-{next(self._numbers):x}"


def create_app(
    service: Service,
    settings: WebSettings,
    *,
    otlp_endpoint: str = "",
    door: Door | None = None,
    pages: Iterable[Route] = (),
) -> App:
    """Return the ASGI application of a factory. Requests are traced to `otlp_endpoint` (OTLP over HTTP) if it is given.

    Raises ValueError if they cannot be, as the extra `otel` is missing.
    """
    return App(service, settings, otlp_endpoint=otlp_endpoint, door=door, pages=pages)


class _Resource:
    """Everything at one path."""

    def __init__(self, app: App, path: str, methods: dict[str, Route]) -> None:
        """Keep the routes by method."""
        self._app = app
        self._path = path
        self._methods = methods
        allowed = {*methods, "HEAD"} if "GET" in methods else set(methods)
        self._allow = ", ".join(sorted(allowed)).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app, method = self._app, scope["method"]
        began = time.perf_counter()
        request_id = app.request_id(scope["headers"])
        app.requests.open += 1
        status, actor = 499, None
        span = app.tracer.begin(method, self._path, scope["headers"])
        try:
            found, actor = await self._answer(scope, receive, request_id)
            status = found.status
            await send_answer(found, app, request_id, receive, send, head=method == "HEAD")
        except Gone:
            pass
        finally:
            app.requests.open -= 1
            seconds = time.perf_counter() - began
            known = method if method in self._methods or method == "HEAD" else "other"
            app.requests.add(known, self._path, status, seconds)
            span.end(status, request_id, actor.tenant if actor else "")
            if app.settings.log_requests == "all" or (
                status >= 500 and app.settings.log_requests == "errors"
            ):
                self._log(scope, status, seconds, request_id, actor)

    async def _answer(self, scope: Scope, receive: Receive, request_id: str) -> tuple[Answer, Actor | None]:
        """Ask the handler; whatever goes wrong becomes a problem."""
        actor: Actor | None = None
        try:
            method = scope["method"]
            route = self._methods.get("GET" if method == "HEAD" else method)
            exchange = Exchange(
                service=self._app.service,
                settings=self._app.settings,
                closing=self._app.closing,
                requests=self._app.requests,
                path=scope["path"],
                params=scope.get("path_params") or {},
                query_string=scope["query_string"],
                raw_headers=scope["headers"],
                receive=receive,
                request_id=request_id,
            )
            if route is None:
                return _as_problem(self._no_route(method)), None
            actor = self._caller(route, exchange, scope)
            if route.query is not None:
                exchange.query = query_of(route.query, scope["query_string"])
            return await route.handler(exchange), actor
        except Gone:
            raise
        except Exception as error:
            found = _as_problem(error)
            if found.status == 500:
                log.exception("request %s failed", request_id, extra={"request_id": request_id})
            return found, actor

    def _no_route(self, method: str) -> HttpError:
        if not self._methods:
            return HttpError(404, "there is nothing at this path: see /api/v1/openapi.json", "NotFound")
        headers = ((b"allow", self._allow),)
        allowed = self._allow.decode()
        return HttpError(
            405, f"`{method[:20]}` has no meaning here: use {allowed}", "MethodNotAllowed", headers=headers
        )

    def _caller(self, route: Route, exchange: Exchange, scope: Scope) -> Actor | None:
        """Who asks, with the scope that the route needs. Raises HttpError with 401, ServiceError with 403."""
        if route.scope is None and (route.access == "key" or self._open_metrics(exchange, scope)):
            return None
        given = exchange.headers.get(b"authorization", b"")
        kind, _, token = given.partition(b" ")
        actor = None
        if kind.lower() == b"bearer" and len(token) < 512:
            actor = self._app.service.authenticate(token.strip().decode("latin-1"))
        if actor is None:
            detail = "this key is unknown, expired or revoked: ask for another one" if given else (
                "send a key: `Authorization: Bearer twk_...`"
            )  # fmt: skip
            raise HttpError(401, detail, "Unauthenticated", headers=_CHALLENGE)
        if route.access == "metrics" and not actor.admin:
            raise HttpError(403, "metrics are about all tenants: use an admin's key", "Denied")
        if route.scope is not None:
            actor.need(route.scope)
        exchange.actor = actor
        return actor

    def _open_metrics(self, exchange: Exchange, scope: Scope) -> bool:
        who = self._app.settings.metrics
        client = scope.get("client")
        local = client is not None and (client[0] == "::1" or client[0].startswith("127."))
        forwarded = any(name in exchange.headers for name in _FORWARDED)
        return who == "open" or (who == "loopback" and local and not forwarded)

    def _log(self, scope: Scope, status: int, seconds: float, request_id: str, actor: Actor | None) -> None:
        """One line about a request: never its query, its headers or its body."""
        path = json.dumps(scope["path"])[1:-1][:512]
        client = scope.get("client")
        log.log(
            logging.WARNING if status >= 500 else logging.INFO,
            "%s %s %d",
            scope["method"][:20],
            path,
            status,
            extra={
                "request_id": request_id,
                "method": scope["method"][:20],
                "path": path,
                "route": self._path,
                "status": status,
                "duration_ms": round(seconds * 1000, 3),
                "tenant": actor.tenant if actor else "",
                "key": actor.key if actor else "",
                "client": client[0] if client else "",
            },
        )


def _as_problem(error: Exception) -> Answer:
    problem, headers = problem_of(error)
    found = answer(problem, status=problem.status, headers=headers)
    found.media = MEDIA
    return found
