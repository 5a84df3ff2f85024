"""A request, read strictly: what two readers could take for two things is refused before anything is made of it.

The head is matched whole by one expression, then h11 reads it: a line break is CR LF and nothing else is, a name is a
token with the colon right behind it, and no line is folded. A body has one `Content-Length`, or is chunked, and never
both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

import h11

from tawtin.web.workspaces.pages import Refused
from tawtin.web.workspaces.settings import ProxySettings

ENTER: Final = b"/_tawtin/enter"
SERVICES: Final = {b"/_tawtin/ssh": "ssh", b"/_tawtin/shell": "shell", b"/_tawtin/tar": "tar"}
"""Path -> word of the door."""
_OURS: Final = b"_tawtin"
_HEAD: Final = re.compile(
    rb"([A-Z]{1,16}) (/[!-~]*) HTTP/1\.1\r\n"
    rb"((?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*\r\n)*)\r\n"
)
_ONCE: Final = frozenset(
    (b"host", b"content-length", b"transfer-encoding", b"authorization", b"origin", b"expect", b"upgrade")
)
"""Headers that mean something here, and so must not stand there twice."""
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, kw_only=True)
class Request:
    """The head of a request."""

    method: bytes
    target: bytes
    """Path and query, as they came."""
    headers: Headers
    """Names in lower case."""
    label: str
    reader: h11.Connection
    """Reads its body."""
    chunked: bool
    length: bytes
    """As it came; empty for none."""
    upgrade: bytes
    """The protocol that is asked for, in lower case; empty for none."""

    @property
    def path(self) -> bytes:
        """Without the query."""
        return self.target.partition(b"?")[0]

    @property
    def service(self) -> str:
        """The word of the door that it asks for; empty for the application."""
        return SERVICES.get(self.path, "")

    @property
    def is_use(self) -> bool:
        """Whether somebody is at work, and not only a page that was left open and asks by itself every so often."""
        return (
            self.method not in (b"GET", b"HEAD")
            or bool(self.service)
            or self.one(b"sec-fetch-mode") == b"navigate"
        )

    def one(self, name: bytes) -> bytes:
        """The value of a header, its values with commas between them; empty if it is not there."""
        return b", ".join(value for key, value in self.headers if key == name)


def read_request(raw: bytes, settings: ProxySettings) -> Request:
    """Make a request of its head. Raises Refused."""
    found = _HEAD.fullmatch(raw)
    if found is None:
        raise _broken("its head is not that of an HTTP/1.1 request for a path")
    method, target = found[1], found[2]
    if found[3].count(b"\r\n") > settings.headers_max:
        raise Refused(431, "Too many headers", f"Send at most {settings.headers_max} headers.")
    if method in (b"CONNECT", b"TRACE"):
        raise Refused(405, "Not allowed", f"`{method.decode()}` is not answered here.")
    reader = h11.Connection(h11.SERVER, max_incomplete_event_size=settings.header_bytes_max)
    try:
        reader.receive_data(raw)
        event = reader.next_event()
    except h11.RemoteProtocolError as error:
        raise _broken(str(error)) from None
    if not isinstance(event, h11.Request):
        raise _broken("its head is not whole")
    headers = list(event.headers)
    fields = [line.partition(b":") for line in found[3].split(b"\r\n")[:-1]]
    names = [name.lower() for name, _, _ in fields]
    for name in sorted(_ONCE):
        if names.count(name) > 1:
            raise _broken(f"the header `{name.decode()}` stands there twice")
    raw_values = {name.lower(): value.strip(b" ") for name, _, value in fields}
    chunked, length = _framing(raw_values)
    upgrade = _upgrade(headers)
    if upgrade and (method != b"GET" or chunked or length.strip(b"0")):
        raise _broken("another protocol can be asked for with `GET` and without a body alone")
    return Request(
        method=method,
        target=target,
        headers=headers,
        label=_label(raw_values.get(b"host", b""), settings),
        reader=reader,
        chunked=chunked,
        length=length,
        upgrade=upgrade,
    )


def _framing(values: dict[bytes, bytes]) -> tuple[bool, bytes]:
    coding, length = values.get(b"transfer-encoding"), values.get(b"content-length")
    if coding is not None and length is not None:
        raise _broken("`content-length` and `transfer-encoding` stand there both")
    if coding is not None and coding.lower() != b"chunked":
        raise _broken("`transfer-encoding` is `chunked` or not there")
    if length is not None and (not length.isdigit() or len(length) > 15):
        raise _broken("`content-length` is a number of bytes")
    expect = values.get(b"expect")
    if expect is not None and expect.lower() != b"100-continue":
        raise Refused(417, "Not understood", "`expect` can only be `100-continue`.")
    return coding is not None, length or b""


def _upgrade(headers: Headers) -> bytes:
    if b"upgrade" not in tokens(headers, b"connection"):
        return b""
    return next((value.lower() for name, value in headers if name == b"upgrade"), b"")


def _label(host: bytes, settings: ProxySettings) -> str:
    """The first label of a host below the domain. Raises Refused."""
    pattern = rf"({_LABEL})\.{re.escape(settings.domain)}(?::\d{{1,5}})?"
    found = re.fullmatch(pattern.encode(), host.lower())
    if found is None:
        text = "No workspace has this address. Open one from the console."
        raise Refused(421, "No workspace is here", text)
    return found[1].decode()


def tokens(headers: Headers, name: bytes) -> set[bytes]:
    """The words of a header that is a list, in lower case."""
    values = [value for key, value in headers if key == name]
    return {word.strip().lower() for value in values for word in value.split(b",")} - {b""}


def is_disguised(target: bytes) -> bool:
    """Whether a path would be one of the proxy's own to a reader that decodes it, but is none as it stands."""
    path = target.partition(b"?")[0]
    if path == ENTER or path in SERVICES:
        return False
    for _ in range(3):  # what is decoded twice is decoded by two readers
        if _first(path) == _OURS:
            return True
        path = unquote_to_bytes(path)
    return _first(path) == _OURS


def _first(path: bytes) -> bytes:
    """The first part of a path once dots are resolved."""
    parts: list[bytes] = []
    for part in path.replace(b"\\", b"/").split(b"/"):
        name = part.partition(b";")[0]
        if name == b"..":
            parts = parts[:-1]
        elif name not in (b"", b"."):
            parts.append(name)
    return parts[0].lower() if parts else b""


def _broken(why: str) -> Refused:
    return Refused(400, "Not understood", f"The request cannot be read: {why}.")
