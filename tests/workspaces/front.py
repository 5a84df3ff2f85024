"""The real proxy on a loop of its own, in front of a real door, with ways that a test writes."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tawtin.client.wire import AnswerReader
from tawtin.web.workspaces.proxy import Proxy
from tawtin.web.workspaces.settings import ProxySettings
from tawtin.web.workspaces.ways import Denied, Way
from tests.workspaces.rooms import TOKEN, WAIT_S

COOKIE = "cookie-of-lab"
KEY = "twk_abc_secret"
SETTINGS = ProxySettings(port=0)


@dataclass(kw_only=True)
class Book:
    """Who may go where: `lab` to the door, `look` to the same but to read only, `closed` nowhere, `gone` to no door."""

    address: str
    seen_keys: list[str] = field(default_factory=list)
    tickets: set[str] = field(default_factory=lambda: {"ticket"})

    async def way(self, label: str, ticket: str, cookie: str, bearer: str) -> Way | Denied:
        if label not in ("lab", "look", "gone", "wrong"):
            return Denied(status=404, title="No <such> thing", text="it is <gone>")
        if ticket:
            if ticket not in self.tickets:
                return Denied(status=403, title="Used", text="the ticket was used, or is over")
            self.tickets.discard(ticket)
            return self._to(label, cookie=COOKIE)
        if cookie == COOKIE or bearer == KEY:
            return self._to(label)
        return Denied(status=401, title="Sign in", text="the session is over")

    def seen(self, key: str) -> None:
        self.seen_keys.append(key)

    def _to(self, label: str, cookie: str = "") -> Way:
        address = "127.0.0.1:1" if label == "gone" else self.address
        token = "wrong" if label == "wrong" else TOKEN
        return Way(address=address, token=token, read_only=label == "look", cookie=cookie, key=label)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    raw: str
    """The head as it came."""
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401 - JSON
        return msgspec.json.decode(self.body)

    def all(self, name: str) -> list[str]:
        """Every value of a header."""
        lines = [line.partition(":") for line in self.raw.split("\r\n")[1:]]
        return [value.strip() for key, _, value in lines if key.lower() == name]


@dataclass(kw_only=True)
class Front:
    """A proxy that runs."""

    proxy: Proxy
    book: Book
    port: int

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), WAIT_S)

    def head(
        self, target: str, *headers: str, method: str = "GET", label: str = "lab", cookie: str = COOKIE
    ) -> bytes:
        """The head of a request of somebody who may."""
        host = f"{label}.localhost:{self.port}"
        lines = [
            f"{method} {target} HTTP/1.1",
            f"Host: {host}",
            f"Cookie: tawtin_workspace={cookie}",
            *headers,
        ]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def get(
        self, target: str, *headers: str, method: str = "GET", label: str = "lab", cookie: str = COOKIE
    ) -> Answer:
        return self.said(self.head(target, *headers, method=method, label=label, cookie=cookie), method)

    def said(self, raw: bytes, method: str = "GET") -> Answer:
        """The answer to these bytes."""
        with self.connect() as connection:
            connection.sendall(raw)
            return read(connection, method)


def read(connection: socket.socket, method: str = "GET") -> Answer:
    """One answer."""
    reader, raw, body = AnswerReader(method), b"", b""
    while not reader.done:
        piece = connection.recv(65_536)
        raw += b"" if b"\r\n\r\n" in raw else piece
        reader.feed(piece)
        body += reader.take()
    head = raw.partition(b"\r\n\r\n")[0].decode("latin-1")
    return Answer(status=reader.status, headers=reader.headers, raw=head, body=body)


@contextmanager
def front(address: str, settings: ProxySettings = SETTINGS) -> Generator[Front]:
    """Run a proxy whose ways lead to the door at `address`."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    book = Book(address=address)
    try:
        proxy = Proxy(settings, book)
        asyncio.run_coroutine_threadsafe(proxy.start(), loop).result(WAIT_S)
        yield Front(proxy=proxy, book=book, port=int(proxy.address.rpartition(":")[2]))
        asyncio.run_coroutine_threadsafe(proxy.close(), loop).result(WAIT_S)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(WAIT_S)
        loop.close()
