"""What goes through between a browser and an application: who asks, and what neither may hear or say.

An application is a tenant's own program, and every workspace has an origin of its own. So cookies of the factory never
reach an application, an application sets none of them, and what a page of another origin starts is refused, other
workspaces' pages among them.
"""

from __future__ import annotations

import re
from typing import Final

from tawtin.web.workspaces.pages import Refused
from tawtin.web.workspaces.request import Headers, Request, tokens
from tawtin.web.workspaces.settings import ProxySettings

COOKIE: Final = "tawtin_workspace"
_OURS: Final = re.compile(rb"(?:__(?:host|secure)-)?tawtin_", re.IGNORECASE)
"""The cookies of this proxy, and of the console (`tawtin_` and eight digits)."""
_HOP: Final = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate proxy-authorization proxy te trailer "
    b"transfer-encoding upgrade http2-settings".split()
)
_CLAIMS: Final = (b"x-forwarded-", b"forwarded", b"x-real-ip", b"x-client-ip")
_KEPT: Final = frozenset((b"host", b"cookie", b"origin"))
"""Not taken away by naming them in `connection`."""
_SAFE: Final = (b"GET", b"HEAD")
_NOT_FROM_APPS: Final = frozenset((b"clear-site-data", b"alt-svc", b"strict-transport-security"))
"""Headers of answers that would reach further than the application's own origin."""
_FRAMING: Final = (b"deny", b"sameorigin")


def cookie_name(settings: ProxySettings) -> str:
    """Over TLS with a prefix, by which browsers let no other host set it."""
    return f"__Host-{COOKIE}" if settings.tls else COOKIE


def check_origin(request: Request, settings: ProxySettings) -> None:
    """Refuse what a page of another origin started, but for following a link. Raises Refused."""
    own = (b"https://" if settings.tls else b"http://") + request.one(b"host").lower()
    origin = request.one(b"origin").lower()
    site = request.one(b"sec-fetch-site").lower()
    foreign_site = site in (b"cross-site", b"same-site")
    if request.method in _SAFE and not request.upgrade:
        refused = foreign_site and request.one(b"sec-fetch-mode").lower() != b"navigate"
    else:
        refused = foreign_site or origin not in (b"", own)
    if refused:
        raise Refused(403, "Refused", "The page of another site asked for this. Open the workspace itself.")


def check_rights(request: Request, *, read_only: bool) -> None:
    """Refuse what changes something where that is not shared. Raises Refused."""
    if read_only and (request.method not in _SAFE or request.upgrade or request.service):
        raise Refused(403, "Only to be read", "This workspace is shared with you for reading alone.")


def credentials(request: Request, settings: ProxySettings) -> tuple[list[str], str]:
    """(values of the cookie, the key). A page of a sibling may have set one more cookie of that name."""
    wanted = cookie_name(settings).encode()
    found: list[str] = []
    for part in request.one(b"cookie").replace(b", ", b";").split(b";"):
        name, _, value = part.strip().partition(b"=")
        if name == wanted and value:
            found.append(value.decode("latin-1"))
    return found[:3], bearer_of(request.one(b"authorization")) if request.service else ""


def bearer_of(value: bytes) -> str:
    """The key in a header `Authorization`; empty if there is none."""
    scheme, _, key = value.partition(b" ")
    return key.strip().decode("latin-1") if scheme.lower() == b"bearer" else ""


def to_app(request: Request, settings: ProxySettings, address: str) -> Headers:
    """The headers that the application gets."""
    listed = tokens(request.headers, b"connection") - _KEPT
    headers: Headers = []
    for name, value in request.headers:
        gone = name in _HOP or name in listed or name in (b"content-length", b"expect") or b"_" in name
        if gone or name.startswith(_CLAIMS):
            continue
        if name == b"cookie":
            kept = b"; ".join(
                part.strip() for part in value.split(b";") if part.strip() and not _OURS.match(part.strip())
            )
            if kept:
                headers.append((name, kept))
        elif name != b"authorization" or not bearer_of(value).startswith("twk_"):
            headers.append((name, value))
    headers += [
        (b"x-forwarded-for", address.encode()),
        (b"x-forwarded-host", request.one(b"host")),
        (b"x-forwarded-proto", b"https" if settings.tls else b"http"),
    ]
    if request.chunked:
        headers.append((b"transfer-encoding", b"chunked"))
    elif request.length:
        headers.append((b"content-length", request.length))
    if request.upgrade == b"websocket":
        headers += [(b"connection", b"Upgrade"), (b"upgrade", b"websocket")]
    else:
        headers.append((b"connection", b"close"))
    return headers


def from_app(answered: Headers, *, switched: bool) -> Headers:
    """The headers that the browser gets."""
    listed = tokens(answered, b"connection") - {b"set-cookie", b"content-security-policy", b"x-frame-options"}
    cut = any(name == b"transfer-encoding" for name, _ in answered)
    headers: Headers = []
    for name, value in answered:
        if name in _HOP or name in _NOT_FROM_APPS or name in listed or (cut and name == b"content-length"):
            continue
        if name == b"set-cookie":
            cookie = own_cookie(value)
            if cookie:
                headers.append((name, cookie))
        else:
            headers.append((name, value))
    if switched:
        return [*headers, (b"connection", b"Upgrade"), (b"upgrade", b"websocket")]
    if not any(_says_frames(name, value.lower()) for name, value in headers):
        headers.append((b"content-security-policy", b"frame-ancestors 'self'"))
    headers.append((b"origin-agent-cluster", b"?1"))
    return headers


def _says_frames(name: bytes, value: bytes) -> bool:
    if name == b"content-security-policy":
        return b"frame-ancestors" in value
    return name == b"x-frame-options" and value.strip() in _FRAMING


def own_cookie(value: bytes) -> bytes:
    """A cookie of an application, for its own host alone; empty if it may not be set.

    One without a name is sent back as its value alone, which can look like any other cookie.
    """
    pair, *attributes = value.split(b";")
    name, equals, _ = pair.partition(b"=")
    name = name.strip(b" \t")
    if not equals or not name or _OURS.match(name):
        return b""
    kept = [part for part in attributes if part.partition(b"=")[0].strip(b" \t").lower() != b"domain"]
    return b";".join([pair, *kept])


_NEXT: Final = re.compile(r"/(?![/\\])[!-\[\]-~]*")


def next_path(asked: str) -> str:
    """Where to go after entering: a plain path of this very origin, else `/`."""
    return asked if _NEXT.fullmatch(asked) else "/"
