"""The server: clients come in by a host's first label, and go to the workspace that is their way.

Whatever is wrong with a request ends its connection after the answer, as nobody knows where the next one would begin.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections import Counter
from collections.abc import Generator
from typing import Final
from urllib.parse import parse_qs, quote

from tawtin.web.workspaces.doors import NotYet, knock
from tawtin.web.workspaces.exchange import Exchange
from tawtin.web.workspaces.guard import (
    check_origin,
    check_rights,
    cookie_name,
    credentials,
    next_path,
)
from tawtin.web.workspaces.pages import Refused, refusal, whole
from tawtin.web.workspaces.peer import Gone, Peer, cancelled, splice
from tawtin.web.workspaces.request import ENTER, Request, is_disguised, read_request
from tawtin.web.workspaces.settings import ProxySettings
from tawtin.web.workspaces.ways import Denied, Way, Ways

log = logging.getLogger("tawtin.web.workspaces")
_SEEN_S: Final = 1.0
_NO_DESCRIPTORS_S: Final = 0.1
_FORGOTTEN_S: Final = 10.0
"""Nobody asked for so long, and waiting begins anew."""
_SWITCHED: Final = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tawtin\r\n\r\n"
_BUSY: Final = Refused(503, "Busy", "Too many connections are open. Try again.")


class Proxy:
    """Listens from `start` to `close`."""

    def __init__(self, settings: ProxySettings, ways: Ways) -> None:
        """Nothing is listened to yet."""
        self.settings = settings
        self.ways = ways
        self.address = ""
        """`host:port`, once it listens."""
        self.open: Counter[str] = Counter()
        """Requests under way, by the key of their way."""
        self._seen: dict[str, float] = {}
        self._waiting: dict[str, tuple[float, float]] = {}
        self._listener: socket.socket | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. Raises OSError."""
        host = self.settings.host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, self.settings.port), family=family, backlog=512)
        listener.setblocking(False)  # noqa: FBT003 - its argument has no name
        self._listener = listener
        self.address = f"[{host}]" if ":" in host else host
        self.address += f":{listener.getsockname()[1]}"
        self._listen()

    async def close(self) -> None:
        """End everything at once."""
        listener, self._listener = self._listener, None
        if listener is not None:
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()
        await cancelled(*self._clients)

    def _listen(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            connection, address = listener.accept()
        except (BlockingIOError, ConnectionError):
            return
        except OSError:  # out of descriptors: some will be closed
            loop.remove_reader(listener)
            loop.call_later(_NO_DESCRIPTORS_S, self._listen)
            return
        try:
            client = Client(self, connection, str(address[0]))
            if len(self._clients) >= self.settings.connections_max:
                connection.send(refusal(_BUSY, page=True, empty=False))
                connection.close()
                return
        except OSError:  # gone already
            connection.close()
            return
        task = loop.create_task(client.serve())
        self._clients.add(task)
        task.add_done_callback(self._clients.discard)
        task.add_done_callback(client.release)

    def active(self, key: str) -> None:
        """Bytes came from a client."""
        now = asyncio.get_running_loop().time()
        if now - self._seen.get(key, now - _SEEN_S) >= _SEEN_S:
            self._seen[key] = now
            self.ways.seen(key)

    @contextlib.contextmanager
    def counted(self, key: str) -> Generator[None]:
        """Count a request. Raises Refused if there are too many."""
        if self.open[key] >= self.settings.workspace_connections_max:
            raise Refused(503, "Busy", "This workspace has too many connections open. Try again.")
        self.open[key] += 1
        try:
            yield
        finally:
            self.open[key] -= 1
            if not self.open[key]:
                del self.open[key]
                now = asyncio.get_running_loop().time()
                if len(self._seen) > self.settings.connections_max:
                    self._seen = {key: at for key, at in self._seen.items() if now - at < _SEEN_S}

    def wait(self, key: str) -> Refused:
        """What is answered while an application does not listen yet."""
        now = asyncio.get_running_loop().time()
        self._waiting = {
            each: (since, last) for each, (since, last) in self._waiting.items() if now - last < _FORGOTTEN_S
        }
        since, _ = self._waiting.get(key, (now, now))
        self._waiting[key] = (since, now)
        if now - since > self.settings.start_seconds_max:
            text = f"The application did not listen within {self.settings.start_seconds_max} s. Look at its logs."
            return Refused(504, "Not started", text)
        return Refused(503, "Starting", "The application is starting. This page asks again.", again=True)


class Client:
    """One connection of a client: one request after the other."""

    def __init__(self, proxy: Proxy, connection: socket.socket, address: str) -> None:
        """`address` is where it comes from."""
        self._proxy = proxy
        self._settings = proxy.settings
        self._address = address
        self._peer = Peer(connection)
        self._held = b""

    async def serve(self) -> None:
        """Answer requests until one side ends."""
        peer = self._peer
        try:
            while await self._one():
                pass
            await peer.linger()
            peer.close()
        except (OSError, Gone):
            pass
        except Exception:
            log.exception("a request to a workspace failed")

    def release(self, task: asyncio.Task[None]) -> None:
        """Let go, also where the task was ended before it began."""
        del task
        self._peer.reset()

    async def _one(self) -> bool:
        """Answer a request; whether another one may follow. Raises OSError and Gone."""
        request: Request | None = None
        try:
            raw = await self._head()
            if not raw:
                return False
            request = read_request(raw, self._settings)
            return await self._answer(request)
        except Refused as problem:
            page = request is None or not request.service
            empty = request is not None and request.method == b"HEAD"
            await self._send(refusal(problem, page=page, empty=empty))
            return False

    async def _head(self) -> bytes:
        """The head of the next request; nothing if there is none. Raises Refused and OSError."""
        held, settings = self._held, self._settings
        if not held:
            try:
                held = await self._peer.receive(settings.idle_seconds_max)
            except TimeoutError:
                return b""
        try:
            async with asyncio.timeout(settings.header_seconds_max):
                while (end := held.find(b"\r\n\r\n")) < 0 and len(held) <= settings.header_bytes_max:
                    piece = await self._peer.receive(None)
                    if not piece:
                        return b""
                    held += piece
        except TimeoutError:
            raise Refused(408, "Too slow", "The request did not arrive in time. Send it again.") from None
        if end < 0 or end > settings.header_bytes_max:
            text = f"The headers are longer than {settings.header_bytes_max} bytes. Send less."
            raise Refused(431, "Too long", text)
        self._held = held[end + 4 :]
        return held[: end + 4]

    async def _answer(self, request: Request) -> bool:
        if is_disguised(request.target):
            raise Refused(404, "Not found", "Nothing is at this address.")
        check_origin(request, self._settings)
        if request.path == ENTER:
            await self._enter(request)
            return False
        way = await self._way(request)
        check_rights(request, read_only=way.read_only)
        with self._proxy.counted(way.key):
            if request.is_use:
                self._proxy.active(way.key)
            if request.service:
                await self._tunnel(request, way)
                return False
            return await self._pass_on(request, way)

    async def _way(self, request: Request) -> Way:
        """Where it may go. Raises Refused."""
        cookies, bearer = credentials(request, self._settings)
        tries = [("", bearer)] if bearer else [(each, "") for each in cookies]
        denied: Way | Denied | None = None
        for cookie, key in tries or [("", "")]:
            denied = await self._proxy.ways.way(request.label, "", cookie, key)
            if isinstance(denied, Way) and tries:
                return denied
        if isinstance(denied, Denied):
            raise Refused(denied.status, denied.title, denied.text, again=denied.again)
        raise Refused(401, "Not signed in", "Open this workspace from the console.")

    async def _enter(self, request: Request) -> None:
        """Exchange a ticket for a cookie. Raises Refused."""
        if request.method != b"GET":
            raise Refused(405, "Not allowed", "A ticket is exchanged by `GET`.")
        query = request.target.partition(b"?")[2].decode("ascii")
        try:
            asked = parse_qs(query, max_num_fields=10)
        except ValueError:
            asked = {}
        ticket = asked.get("ticket", [""])[0]
        if not ticket:
            raise Refused(400, "No ticket", "Open this workspace from the console.")
        way = await self._proxy.ways.way(request.label, ticket, "", "")
        if isinstance(way, Denied):
            raise Refused(way.status, way.title, way.text)
        cookie = f"{cookie_name(self._settings)}={quote(way.cookie)}; Path=/; HttpOnly; SameSite=Lax"
        headers = [
            ("Location", next_path(asked.get("next", ["/"])[0])),
            ("Set-Cookie", cookie + ("; Secure" if self._settings.tls else "")),
        ]
        await self._send(whole(303, headers))

    async def _tunnel(self, request: Request, way: Way) -> None:
        """A service of the door, as bytes. Raises Refused, OSError and Gone."""
        if request.upgrade != b"tawtin":
            text = "This address is for `tawtin`, which asks for it with `Upgrade: tawtin`."
            raise Refused(426, "Upgrade required", text)
        try:
            door, first = await knock(way, request.service, self._settings)
        except NotYet:
            raise self._proxy.wait(way.key) from None
        try:
            await self._send(_SWITCHED + first)
            await door.send(self._held, self._settings.body_seconds_max)
            await splice(self._peer, door, self._settings, lambda: self._proxy.active(way.key))
            door.close()
        finally:
            door.reset()

    async def _pass_on(self, request: Request, way: Way) -> bool:
        """To the application. Raises Refused, OSError and Gone."""
        if self._held:
            request.reader.receive_data(self._held)
        self._held = b""
        try:
            door, first = await knock(way, "app", self._settings)
        except NotYet:
            raise self._proxy.wait(way.key) from None
        exchange = Exchange(request, self._peer, door, self._settings, lambda: self._proxy.active(way.key))
        try:
            more = await exchange.run(self._address, first)
            self._held = exchange.ahead
            door.close()
        except Refused:
            if exchange.begun:
                raise Gone from None
            raise
        finally:
            door.reset()
        return more

    async def _send(self, data: bytes) -> None:
        await self._peer.send(data, self._settings.body_seconds_max)
