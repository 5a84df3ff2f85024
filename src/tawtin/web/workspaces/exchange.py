"""One request and its answer, between a client and the application of a workspace, both streamed.

Each request has a connection of its own to the door, so that nothing that an application answers can be taken for the
answer to another request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import h11

from tawtin.web.workspaces.guard import from_app, to_app
from tawtin.web.workspaces.pages import Refused
from tawtin.web.workspaces.peer import Gone, Peer, cancelled, splice
from tawtin.web.workspaces.request import Request
from tawtin.web.workspaces.settings import ProxySettings

_AHEAD_BYTES_MAX: Final = 65_536
"""What is taken of a client that sends its next request before it has the answer."""


class Exchange:
    """A request that is passed on."""

    def __init__(
        self,
        request: Request,
        client: Peer,
        door: Peer,
        settings: ProxySettings,
        active: Callable[[], None],
    ) -> None:
        """`active` hears of each time that bytes come from the client."""
        self.begun = False
        """Whether a part of the answer was sent."""
        self.ahead = b""
        """What the client sent after its request."""
        self._request = request
        self._client = client
        self._door = door
        self._settings = settings
        self._active = active
        self._app = h11.Connection(h11.CLIENT, max_incomplete_event_size=settings.header_bytes_max)
        self._sent = False

    async def run(self, address: str, first: bytes) -> bool:
        """Go through it; whether another request may follow. Raises Refused, OSError and Gone.

        `address` is the client's; `first` is what the application said before it was asked.
        """
        request = self._request
        head = h11.Request(
            method=request.method, target=request.target, headers=to_app(request, self._settings, address)
        )
        try:
            await self._door.send(self._app.send(head), self._settings.body_seconds_max)
        except OSError:
            raise _no_answer() from None
        if first:
            self._app.receive_data(first)
        up, down = asyncio.create_task(self._upload()), asyncio.create_task(self._download())
        try:
            await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            if not down.done():
                up.result()
                await down
            switched = down.result()
        finally:
            await cancelled(up, down)
        if switched:
            await self._switch()
            return False
        done = request.reader.our_state is h11.DONE and request.reader.their_state is h11.DONE
        return done and self._sent

    async def _upload(self) -> None:
        """The body of the request, then a look out for the client's end. Raises Refused, OSError and Gone."""
        reader, settings = self._request.reader, self._settings
        heard = True
        if reader.they_are_waiting_for_100_continue:
            go_on = h11.InformationalResponse(status_code=100, headers=[])
            await self._client.send(reader.send(go_on), settings.body_seconds_max)
        while True:
            event = self._next(reader)
            if event is h11.NEED_DATA:
                data = await self._client.receive(settings.body_seconds_max)
                if not data:
                    raise Gone
                self._active()
                reader.receive_data(data)
            elif isinstance(event, h11.Data | h11.EndOfMessage):
                try:
                    if heard:
                        await self._door.send(self._app.send(_plain(event)), settings.body_seconds_max)
                except OSError:
                    heard = False  # it may have answered before it stopped listening
                if isinstance(event, h11.EndOfMessage):
                    break
        self._sent = True
        self.ahead = reader.trailing_data[0]
        await self._watch()

    def _next(self, reader: h11.Connection) -> object:
        try:
            event = reader.next_event()
        except h11.RemoteProtocolError:
            raise Refused(400, "Not understood", "The body of the request cannot be read.") from None
        if isinstance(event, h11.EndOfMessage) and list(event.headers):
            raise Refused(400, "Not understood", "Trailers are not taken.")
        return event

    async def _watch(self) -> None:
        """Raise once the client is gone, or has ended its side and nothing moves any more."""
        while len(self.ahead) < _AHEAD_BYTES_MAX:
            data = await self._client.receive(None)
            if not data:
                break
            self.ahead += data
        else:
            return
        before = -1
        while before != self._door.moved:
            before = self._door.moved
            await asyncio.sleep(self._settings.half_seconds_max)
        raise Gone

    async def _download(self) -> bool:
        """The answer; whether it was to switch protocols. Raises Refused, OSError and Gone."""
        writer, settings = self._request.reader, self._settings
        while True:
            try:
                event = self._app.next_event()
                if event is h11.NEED_DATA:
                    self._app.receive_data(await self._door.receive(settings.answer_seconds_max))
                    continue
            except TimeoutError:
                raise (Gone() if self.begun else _late()) from None
            except (h11.RemoteProtocolError, OSError):
                raise (Gone() if self.begun else _no_answer()) from None
            if isinstance(event, h11.InformationalResponse):
                if event.status_code == 101:
                    await self._say_switch(event)
                    return True
            elif isinstance(event, h11.Response):
                headers = from_app(list(event.headers), switched=False)
                answer = h11.Response(status_code=event.status_code, headers=headers, reason=event.reason)
                self.begun = True
                await self._client.send(writer.send(answer), settings.body_seconds_max)
            elif isinstance(event, h11.Data | h11.EndOfMessage):
                sent = writer.send(_plain(event))
                await self._client.send(sent or b"", settings.body_seconds_max)
                if isinstance(event, h11.EndOfMessage):
                    return False
            else:
                raise Gone if self.begun else _no_answer()

    async def _say_switch(self, event: h11.InformationalResponse) -> None:
        if self._request.upgrade != b"websocket":
            raise _no_answer()
        headers = from_app(list(event.headers), switched=True)
        self.begun = True
        answer = h11.InformationalResponse(status_code=101, headers=headers, reason=event.reason)
        await self._client.send(self._request.reader.send(answer) or b"", self._settings.body_seconds_max)

    async def _switch(self) -> None:
        """From here on, bytes."""
        await self._client.send(self._app.trailing_data[0], self._settings.body_seconds_max)
        await self._door.send(self.ahead, self._settings.body_seconds_max)
        await splice(self._client, self._door, self._settings, self._active)


def _plain(event: h11.Data | h11.EndOfMessage) -> h11.Data | h11.EndOfMessage:
    """A part of a message without the marks of how it was cut."""
    return h11.Data(data=event.data) if isinstance(event, h11.Data) else h11.EndOfMessage()


def _no_answer() -> Refused:
    text = "The application in the workspace gave no proper answer. Look at its logs in the console."
    return Refused(502, "No answer", text)


def _late() -> Refused:
    return Refused(504, "No answer", "The application in the workspace took too long. Try again.")
