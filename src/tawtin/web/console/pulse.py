"""Tells all open pages at the same time, and not too often, that something changed; they then share what is rendered.

Hundreds may watch the same page. They ask for it at the same moment, so it is rendered once for each tenant, role and
language, and what was rendered counts until the next beat.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from tawtin.model.base import Record

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tawtin.runtime.service import Service

QUIET_MS: Final = 10_000
"""Ages, estimates and what peers say go on changing, also where nothing happened here."""
_PARTS_MAX: Final = 1_000
Key = tuple[str, ...]


class Part(Record, frozen=True, kw_only=True):
    """What several share."""

    body: bytes
    packed: bytes = b""
    """The same, compressed once for all; empty where each gets a token of its own put in."""


class Pulse:
    """The beat of one factory, and what was rendered since the last one."""

    def __init__(self, service: Service, seconds: float) -> None:
        """Beat at most every `seconds`; nobody is told anything while nobody waits."""
        self._service = service
        self._seconds = seconds
        self._waiting: list[asyncio.Future[None]] = []
        self._beats = False
        self._parts: dict[Key, asyncio.Task[Part]] = {}

    async def next(self) -> None:
        """Wait until something happened, or a while went by."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        if not self._beats:
            self._beats = True
            self._service.spawn(self._beat())
        try:
            await waiter
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)

    def forget(self) -> None:
        """Let nothing that was rendered count any more."""
        self._parts.clear()

    async def part(self, key: Key, render: Callable[[], Awaitable[Part]]) -> Part:
        """What was rendered under this key since the last beat; rendered now if nothing was. Raises what it raises."""
        held = self._parts.get(key)
        if held is None:
            if len(self._parts) >= _PARTS_MAX:
                self._parts.clear()

            async def rendered() -> Part:
                return await render()

            held = self._parts[key] = asyncio.create_task(rendered())
        try:
            return await asyncio.shield(held)
        except BaseException:
            if held.done() and self._parts.get(key) is held:
                del self._parts[key]
            raise

    async def _beat(self) -> None:
        try:
            seen = self._service.state.seq
            while self._waiting:
                if self._service.state.seq == seen:
                    await self._service.changed("*", QUIET_MS)
                seen = self._service.state.seq
                self.forget()
                waiting, self._waiting = self._waiting, []
                for each in waiting:
                    if not each.done():
                        each.set_result(None)
                await asyncio.sleep(self._seconds)
        finally:
            self._beats = False
