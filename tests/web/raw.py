"""Requests as a test wants them, malformed ones included, and what came back."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tawtin.client.wire import AnswerReader


@dataclass(frozen=True, kw_only=True)
class Got:
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON
        return json.loads(self.body)

    @property
    def problem(self) -> tuple[int, str]:
        """Status and token, after a look at the form."""
        assert self.headers["content-type"] == "application/problem+json", self.body
        found = self.json
        assert found["status"] == self.status
        assert found["title"]
        return self.status, found["token"]

    @property
    def places(self) -> list[str]:
        """The fields that a problem names."""
        return [each.get("field", "") for each in self.json.get("errors", [])]


def connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname or "", parts.port or 0), 10)


def exchange(url: str, data: bytes, method: str = "GET") -> Got:
    """Send these bytes and read one answer."""
    with connect(url) as connection:
        connection.sendall(data)
        return read(connection, method)


def read(connection: socket.socket, method: str = "GET") -> Got:
    reader = AnswerReader(method)
    body = b""
    while not reader.done:
        reader.feed(connection.recv(65_536))
        body += reader.take()
    return Got(status=reader.status, headers=reader.headers, body=body)


def request(
    url: str,
    method: str,
    path: str,
    *,
    key: str = "",
    body: bytes | dict[str, Any] | list[Any] | None = None,
    media: str = "application/json",
    headers: dict[str, str] | None = None,
) -> Got:
    """Send an ordinary request."""
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", f"Host: {urlsplit(url).netloc}", f"Content-Length: {len(data)}"]
    lines += [f"Authorization: Bearer {key}"] if key else []
    lines += [f"Content-Type: {media}"] if data else []
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return exchange(url, "\r\n".join(lines).encode() + b"\r\n\r\n" + data, method)
