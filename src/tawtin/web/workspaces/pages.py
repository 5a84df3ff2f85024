"""What the proxy says itself: small pages without scripts, and lines of text for programs."""

from __future__ import annotations

from html import escape
from http import HTTPStatus
from typing import Final

_PHRASES: Final = {each.value: each.phrase for each in HTTPStatus}
Headers = list[tuple[str, str]]


class Refused(Exception):
    """A request that is not passed on. `text` says what to do next."""

    def __init__(self, status: int, title: str, text: str, *, again: bool = False) -> None:
        """`again` lets a browser ask again after a second."""
        super().__init__(text)
        self.status = status
        self.title = title
        self.text = text
        self.again = again


def refusal(problem: Refused, *, page: bool, empty: bool) -> bytes:
    """The whole answer; a `page`, or plain text. `empty` for HEAD. It ends the connection."""
    if page:
        refresh = '<meta http-equiv="refresh" content="1">' if problem.again else ""
        body = (
            f'<!doctype html><html lang="en"><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width">{refresh}'
            f"<title>{escape(problem.title)}</title>"
            f'<body><main><h1 dir="auto">{escape(problem.title)}</h1><p dir="auto">{escape(problem.text)}</p></main>'
        )
    else:
        body = f"{problem.title}: {problem.text}\n"
    media = "text/html" if page else "text/plain"
    headers = [("Content-Type", f"{media}; charset=utf-8")]
    if problem.again or problem.status == 503:
        headers.append(("Retry-After", "1"))
    if problem.status == 401:
        headers.append(("WWW-Authenticate", 'Bearer realm="tawtin"'))
    return whole(problem.status, headers, body.encode(), empty=empty)


def whole(status: int, headers: Headers, body: bytes = b"", *, empty: bool = False) -> bytes:
    """An answer of the proxy's own, after which the connection ends."""
    lines = [f"HTTP/1.1 {status} {_PHRASES.get(status, 'Other')}"]
    lines += [f"{name}: {value}" for name, value in headers]
    lines += [
        "Content-Security-Policy: default-src 'none'; frame-ancestors 'self'",
        "X-Content-Type-Options: nosniff",
        "Referrer-Policy: no-referrer",
        "Cache-Control: no-store",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return head if empty else head + body
