"""Signing in and out, and the language."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tawtin.web.console.visit import LANGUAGE_COOKIE, ROOT, YEAR_S, local
from tawtin.web.console.words import LANGUAGES
from tawtin.web.errors import HttpError

if TYPE_CHECKING:
    from tawtin.web.console.visit import Visit
    from tawtin.web.exchange import Answer

_TOKEN_CHARS_MAX = 512


async def sign_in(visit: Visit) -> Answer:
    """The form."""
    following = local(visit.query.get("next", ""))
    if visit.signed_in:
        return visit.go(following)
    return visit.render("sign_in.html", next=following, wrong=False, current="", provider=provider_of(visit))


async def signed_in(visit: Visit) -> Answer:
    """Take a key: a session of its own begins, whatever cookie came with it."""
    visit.session = None  # a form of nobody's: where it comes from is looked at all the same
    fields = await visit.form()
    token = fields.get("key", "").strip()
    following = local(fields.get("next", ""))
    actor = visit.service.authenticate(token) if 0 < len(token) <= _TOKEN_CHARS_MAX else None
    if actor is None:
        return visit.render(
            "sign_in.html", next=following, wrong=True, current="", status=401, provider=provider_of(visit)
        )
    console = visit.console
    _, value = console.sessions.begin(actor.key, console.now_ms())
    seconds = console.settings.session_hours * 3600
    return visit.go(following, visit.cookie(console.sessions.cookie, value, seconds=seconds))


def provider_of(visit: Visit) -> str:
    """What to call the provider where people sign in; empty where they do not."""
    oidc = visit.console.settings.oidc
    return (oidc.button or urlsplit(oidc.issuer).netloc) if visit.console.desk is not None else ""


async def sign_out(visit: Visit) -> Answer:
    """Forget the session."""
    await visit.form()
    return visit.go(f"{ROOT}/sign-in", visit.cookie(visit.console.sessions.cookie, "", seconds=0))


async def language(visit: Visit) -> Answer:
    """Choose a language, and go back. Raises HttpError."""
    wanted = visit.query.get("to", "")
    if wanted not in LANGUAGES:
        raise HttpError(400, f"there are no pages in `{wanted[:20]}`: {', '.join(LANGUAGES)}", "Invalid")
    following = local(visit.query.get("next", ""))
    return visit.go(following, visit.cookie(LANGUAGE_COOKIE, wanted, seconds=YEAR_S))


async def nowhere(visit: Visit) -> Answer:
    """Nothing is there. Raises HttpError."""
    raise HttpError(404, f"there is no page at `{visit.exchange.path[:200]}`", "NotFound")
