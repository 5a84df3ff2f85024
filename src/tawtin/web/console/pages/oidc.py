"""Signing in at a provider of OpenID Connect: on the way there, and back."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from tawtin.web.console.oidc.fetch import Away
from tawtin.web.console.pages.account import provider_of
from tawtin.web.console.visit import ROOT, local
from tawtin.web.errors import HttpError

if TYPE_CHECKING:
    from tawtin.web.console.oidc.desk import Desk
    from tawtin.web.console.visit import Visit
    from tawtin.web.exchange import Answer

log = logging.getLogger("tawtin.console")
_CODE_CHARS_MAX: Final = 4_096
STATUSES: Final = {
    "away": 503, "clock": 401, "code": 401, "denied": 403, "nonce": 401, "provider": 502, "state": 400, "token": 401,
    "unmapped": 403,
}  # fmt: skip
"""What can go wrong, as the catalogue has it."""


async def begin(visit: Visit) -> Answer:
    """Send the browser to the provider."""
    desk = _desk(visit)
    following = local(visit.query.get("next", ""))
    if visit.signed_in:
        return visit.go(following)
    console, language = visit.console, visit.language
    try:
        address, cookie = await desk.begin(
            following, f"{_here(visit)}{_CALLBACK}", language, console.now_ms()
        )
    except Away as error:
        return _failed(visit, "away", following, str(error))
    return visit.go(address, visit.cookie(desk.cookie, cookie, seconds=desk.settings.sign_in_seconds))


async def callback(visit: Visit) -> Answer:
    """Take what the provider sent the browser back with: a new session begins, whatever cookie came with it."""
    # only here, as it needs the extra, which is there where a desk is
    from tawtin.web.console.oidc.token import Rejected  # noqa: PLC0415

    desk, console, query = _desk(visit), visit.console, visit.query
    now_ms = console.now_ms()
    errand = desk.errand(visit.cookies.get(desk.cookie, ""), query.get("state", ""), now_ms)
    if errand is None:
        return _failed(
            visit, "state", "", "its state is not of a sign-in that this browser began, or too old"
        )
    following = local(errand.next)
    over = visit.cookie(desk.cookie, "", seconds=0)
    code = query.get("code", "")
    if query.get("error") or not 0 < len(code) <= _CODE_CHARS_MAX:
        fault = "denied" if query.get("error") == "access_denied" else "provider"
        return _failed(visit, fault, following, query.get("error", "")[:100] or "it sent no code", over)
    try:
        person = await desk.finish(errand, code, query.get("iss", ""), now_ms)
    except Away as error:
        return _failed(visit, "away", following, str(error), over)
    except Rejected as error:
        return _failed(visit, error.fault, following, str(error), over)
    actor = desk.actor_of(visit.service.state, person)
    if actor is None:
        return _failed(
            visit, "unmapped", following, f"nothing is granted to the subject `{person.subject}`", over
        )
    _, value = console.sessions.begin("", now_ms, person=person)
    log.info("%s signed in, for tenant `%s` with scope `%s`", actor.key, actor.tenant, actor.scope)
    seconds = console.settings.session_hours * 3600
    return visit.go(following, visit.cookie(console.sessions.cookie, value, seconds=seconds), over)


_CALLBACK: Final = f"{ROOT}/oidc/callback"


def _desk(visit: Visit) -> Desk:
    if visit.console.desk is None:
        raise HttpError(404, "nobody signs in by OIDC here: sign in with a key", "NotFound")
    return visit.console.desk


def _here(visit: Visit) -> str:
    """Where browsers find this factory."""
    given = visit.console.settings.oidc.address.rstrip("/")
    scheme = "https" if visit.exchange.header(b"x-forwarded-proto") == "https" else "http"
    return given or f"{scheme}://{visit.exchange.header(b'host')}"


def _failed(visit: Visit, fault: str, following: str, why: str, *cookies: bytes) -> Answer:
    """Say what went wrong and what to do next; the factory's log has the details."""
    status = STATUSES[fault]
    level = logging.WARNING if status >= 500 or fault in {"clock", "token"} else logging.INFO
    log.log(level, "a sign-in by OIDC failed (%s): %r", fault, why)
    return visit.render(
        "sign_in_failed.html",
        current="",
        fault=fault,
        why=why if fault in {"provider", "unmapped"} else "",
        next=local(following),
        provider=provider_of(visit),
        status=status,
        headers=[(b"set-cookie", each) for each in cookies],
    )
