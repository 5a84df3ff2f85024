"""The application behind the gateway: finds the caller and the handler, and says what is wrong in OpenAI's shape."""

from __future__ import annotations

import errno
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from starlette.routing import Route, Router

from tawtin.gateway.worker.http import Problem
from tawtin.model.tenant import Scope as Permission
from tawtin.runtime import errors
from tawtin.web.openai import batches, files
from tawtin.web.openai.call import Call, GoneError, Reply

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from tawtin.runtime.batches import Batches

log = logging.getLogger("tawtin.batches")
Handler = Callable[[Call], Awaitable[Reply]]
_STATUSES: Final[dict[type[errors.ServiceError], int]] = {
    errors.NotFound: 404,
    errors.Denied: 403,
    errors.Conflict: 400,  # OpenAI's client tries a 409 again
    errors.Full: 507,
    errors.Unavailable: 503,
}
ROUTES: Final[dict[str, dict[str, Handler]]] = {
    "/v1/files": {"POST": files.upload, "GET": files.list_files},
    "/v1/files/{id}": {"GET": files.show, "DELETE": files.delete},
    "/v1/files/{id}/content": {"GET": files.content},
    "/v1/batches": {"POST": batches.create, "GET": batches.list_batches},
    "/v1/batches/{id}": {"GET": batches.show},
    "/v1/batches/{id}/cancel": {"POST": batches.cancel},
}
JOB_ROUTES: Final[dict[str, dict[str, Handler]]] = {
    "/v1/batches/{id}/lines": {"GET": batches.lines},
    "/v1/batches/{id}/answers": {"POST": batches.answer},
}
"""What the job of a batch asks, with its own key."""


class App:
    """The application."""

    def __init__(self, desk: Batches, class_default: str) -> None:
        """Answer for what `desk` has."""
        self.desk = desk
        self.class_default = class_default
        resources = [
            Route(path, endpoint=_Resource(self, methods, job=path in JOB_ROUTES))
            for path, methods in {**ROUTES, **JOB_ROUTES}.items()
        ]
        self._router = Router(resources, redirect_slashes=False, default=_Resource(self, {}, job=False))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            await self._router(scope, receive, send)


class _Resource:
    """Everything at one path."""

    def __init__(self, app: App, methods: dict[str, Handler], *, job: bool) -> None:
        self._app = app
        self._methods = methods
        self._job = job

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = Call(self._app.desk, self._app.class_default, scope, receive)
        with suppress(GoneError):
            reply = await self._reply(call, scope)
            await call.drain()
            await reply.send(send)

    async def _reply(self, call: Call, scope: Scope) -> Reply:
        """What to answer, whatever goes wrong. Raises GoneError."""
        try:
            return await self._answer(call, scope)
        except Problem as problem:
            return Reply(problem.body(), status=problem.status, headers=problem.headers())
        except errors.ServiceError as error:
            return _refused(error)
        except GoneError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                problem = Problem(507, "the disk is full: nothing of it was kept", code="StorageFull")
                return Reply(problem.body(), status=507)
            log.exception("a request about files or batches failed")
            problem = Problem(500, "the factory failed at this request; its log says why", code="internal")
            return Reply(problem.body(), status=500)

    async def _answer(self, call: Call, scope: Scope) -> Reply:
        handler = self._methods.get(scope["method"])
        if not self._methods:
            raise Problem(404, "there is nothing at this path", code="unknown_url")
        if handler is None:
            allowed = ", ".join(sorted(self._methods))
            raise Problem(405, f"`{scope['method'][:20]}` has no meaning here: use {allowed}", code="method")
        self._know(call)
        call.query = _query(scope["query_string"])
        return await handler(call)

    def _know(self, call: Call) -> None:
        """Find out who asks. Raises Problem, and Denied for auditors: files and batches are what tenants say."""
        kind, _, token = call.header(b"authorization").partition(" ")
        token = token.strip() if kind.lower() == "bearer" and len(token) < 512 else ""
        if self._job:
            batch = self._app.desk.by_pass(token)
            if batch is not None and batch.id == call.params["id"]:
                call.batch = batch
                return
        else:
            actor = self._app.desk.service.authenticate(token)
            if actor is not None:
                actor.need(Permission.READ)
                call.actor = actor
                return
        raise Problem(
            401,
            "this key is unknown, expired, revoked, or not for this: use another one",
            code="invalid_api_key",
        )


def _refused(error: errors.ServiceError) -> Reply:
    status = next((_STATUSES[kind] for kind in type(error).__mro__ if kind in _STATUSES), 400)
    retry_ms = error.retry_after_ms if isinstance(error, errors.Unavailable) else 0
    problem = Problem(status, str(error), code=str(error.token), retry_ms=retry_ms)
    return Reply(problem.body(), status=status, headers=problem.headers())


def _query(raw: bytes) -> dict[str, str]:
    try:
        return dict(
            parse_qsl(raw.decode("ascii"), keep_blank_values=True, max_num_fields=20, errors="strict")
        )
    except ValueError:
        raise Problem(
            400, "the query cannot be read: it is percent-encoded UTF-8", code="invalid_query"
        ) from None
