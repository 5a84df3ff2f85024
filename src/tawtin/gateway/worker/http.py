"""HTTP/1.1 of clients, read strictly: what two readers could take for two things is refused.

A head is matched whole by one expression: a line break is CR LF and nothing else is, a name is a token with the colon
right behind it, and no line is folded. A body has one `Content-Length`, or is chunked, and never both.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Final

import msgspec

_HEAD: Final = re.compile(
    rb"([A-Z]{1,16}) ([!-~]+) HTTP/(\d\.\d)\r\n"
    rb"((?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*\r\n)*)\r\n"
)
_FIELD: Final = re.compile(rb"([^:]+): *([^\r\n]*?) *\r\n")
"""A tab stays in the value, where it makes a length or a coding one that is refused, as others refuse it."""
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,8})(?:;[\t -~\x80-\xff]*)?\r\n")
_CHUNK_LINE_MAX: Final = 256
_ONCE: Final = frozenset(
    (
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"authorization",
        b"content-type",
        b"content-encoding",
        b"connection",
        b"expect",
        b"x-tawtin-class",
        b"x-tawtin-purpose",
    )
)
"""Headers that mean something here, and so must not stand there twice."""
JSON: Final = b"application/json"
_encode: Final = msgspec.json.Encoder().encode


class Problem(Exception):
    """An answer that says what is wrong, in the shape of OpenAI's API."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str = "",
        param: str = "",
        retry_ms: int = 0,
        close: bool = False,
    ) -> None:
        """Keep it. `close` ends the connection, as nobody knows where the next request would begin."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.retry_ms = retry_ms
        self.close = close

    def body(self) -> bytes:
        """The answer's body."""
        kinds = {
            401: "authentication_error",
            403: "permission_error",
            429: "rate_limit_error",
        }
        kind = "server_error" if self.status >= 500 else kinds.get(self.status, "invalid_request_error")
        return _encode(
            {
                "error": {
                    "message": str(self),
                    "type": kind,
                    "param": self.param or None,
                    "code": self.code or None,
                }
            }
        )

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Further headers of the answer."""
        found: list[tuple[bytes, bytes]] = []
        if self.status == 401:
            found.append((b"www-authenticate", b'Bearer realm="tawtin"'))
        if self.retry_ms:
            found.append((b"retry-after", b"%d" % max(1, -(-self.retry_ms // 1000))))
            found.append((b"retry-after-ms", b"%d" % self.retry_ms))
        return found


class Head:
    """A request up to its body."""

    __slots__ = ("chunked", "expects", "headers", "keep", "length", "method", "path", "target")

    def __init__(self, raw: bytes) -> None:
        """Read it. Raises Problem."""
        found = _HEAD.fullmatch(raw)
        if found is None:
            raise _broken("the request's head is not HTTP/1.1 as RFC 9112 has it")
        method, target, version, fields = found.groups()
        if version != b"1.1":
            raise Problem(505, "only HTTP/1.1 is spoken here", code="http_version", close=True)
        if not target.startswith(b"/"):
            raise _broken("the request names no path")
        self.method = method.decode()
        self.target = target.decode()
        """Path and query, as they came."""
        self.path = self.target.partition("?")[0]
        listed = [(name.lower(), value) for name, value in _FIELD.findall(fields)]
        self.headers = dict(listed)
        if len(self.headers) != len(listed):
            names = [name for name, _ in listed]
            for name in sorted(_ONCE):
                if names.count(name) > 1:
                    raise _broken(f"the header `{name.decode()}` stands there twice")
        if not self.headers.get(b"host"):
            raise _broken("the header `host` is missing")
        self._read_framing()

    def _read_framing(self) -> None:
        headers = self.headers
        coding, length = headers.get(b"transfer-encoding"), headers.get(b"content-length")
        if coding is not None and length is not None:
            raise _broken("`content-length` and `transfer-encoding` stand there both")
        if coding is not None and coding.lower() != b"chunked":
            raise _broken("`transfer-encoding` is `chunked` or not there")
        if length is not None and (not length.isdigit() or len(length) > 15):
            raise _broken("`content-length` is a number of bytes")
        self.chunked = coding is not None
        self.length = int(length) if length is not None else 0
        self.keep = b"close" not in headers.get(b"connection", b"").lower()
        expects = headers.get(b"expect")
        if expects is not None and expects.lower() != b"100-continue":
            raise Problem(417, "`expect` can only be `100-continue`", code="expectation", close=True)
        self.expects = expects is not None

    def text(self, name: bytes) -> str:
        """A header as text; empty if it is not there."""
        return self.headers.get(name, b"").decode("latin-1")

    def check_media(self) -> None:
        """Refuse a body that says that it is anything but JSON in UTF-8. Raises Problem."""
        kind, _, rest = self.headers.get(b"content-type", b"").lower().partition(b";")
        charset = rest.partition(b"charset=")[2].strip(b'" ')
        if kind.strip() != JSON or charset not in (b"", b"utf-8", b"utf8"):
            raise Problem(
                415,
                "send JSON in UTF-8, with `content-type: application/json`",
                code="unsupported_media_type",
            )
        if self.headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise Problem(
                415, "a compressed body is not taken: send it as it is", code="unsupported_media_type"
            )


class Chunks:
    """Takes the body out of chunks."""

    def __init__(self, most: int) -> None:
        """`most` bytes, the body may have."""
        self.body = bytearray()
        self.most = most
        self._left = -1
        """Of the present chunk, its CR LF included; -1 before its size, -2 in the trailer."""

    def feed(self, held: bytearray) -> bool:
        """Take from the front of `held` what there is; whether the body is whole. Raises Problem."""
        at = 0
        try:
            while True:
                if self._left == -2:
                    if len(held) - at < 2:
                        return False
                    if bytes(held[at : at + 2]) != b"\r\n":
                        raise _broken("trailers are not taken")
                    at += 2
                    return True
                if self._left == -1:
                    found = _CHUNK.match(held, at)
                    if found is None:
                        line = held[at : at + _CHUNK_LINE_MAX]
                        if len(line) == _CHUNK_LINE_MAX or not _may_become_size(line):
                            raise _broken("a chunk of the body has no size that can be read")
                        return False
                    at = found.end()
                    size = int(found[1], 16)
                    if len(self.body) + size > self.most:
                        raise too_large(self.most)
                    self._left = size + 2 if size else -2
                    continue
                piece = held[at : at + self._left]
                if not piece:
                    return False
                at += len(piece)
                data = max(0, self._left - 2)
                self.body += piece[:data]
                end = bytes(piece[data:])
                begin = 2 - min(self._left, 2)
                if end != b"\r\n"[begin : begin + len(end)]:
                    raise _broken("a chunk of the body does not end where its size says")
                self._left -= len(piece)
                if self._left == 0:
                    self._left = -1
        finally:
            del held[:at]


def _may_become_size(line: bytearray) -> bool:
    size, semicolon, extension = bytes(line).partition(b";")
    if not semicolon:
        return re.fullmatch(rb"[0-9A-Fa-f]{0,8}\r?", size) is not None
    return re.fullmatch(rb"[\t -~\x80-\xff]*\r?", extension) is not None


def _broken(message: str) -> Problem:
    return Problem(
        400, f"{message}: nothing of this connection is read any further", code="bad_http", close=True
    )


def too_large(most: int) -> Problem:
    """What a body that is too long is answered."""
    return Problem(413, f"the body is longer than {most} bytes: send less", code="body_too_large", close=True)


def answer_head(
    status: int, media: bytes, headers: list[tuple[bytes, bytes]], *, length: int | None, keep: bool
) -> bytes:
    """The head of an answer; without a length, it is chunked."""
    lines = [b"HTTP/1.1 %d %s" % (status, _PHRASES.get(status, b"Other")), b"content-type: " + media]
    lines += [name + b": " + value for name, value in headers]
    lines.append(b"transfer-encoding: chunked" if length is None else b"content-length: %d" % length)
    if not keep:
        lines.append(b"connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n"


_PHRASES: Final = {each.value: each.phrase.encode() for each in HTTPStatus}
