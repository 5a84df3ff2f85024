"""The body of a request that is passed on as it comes, and no faster than its reader takes it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tawtin.gateway.worker.http import Chunks, Problem

_HELD_BYTES_MAX: Final = 256 << 10


class Incoming:
    """A body on its way. The connection feeds it, whoever answers reads it."""

    def __init__(
        self, length: int, chunks: Chunks | None, pause: Callable[[], None], resume: Callable[[], None]
    ) -> None:
        """Of `length` bytes, or as `chunks` has it; `pause` and `resume` hold the client back."""
        self.whole = chunks is None and length == 0
        """Whether all of it arrived."""
        self._left = length
        self._chunks = chunks
        self._pause = pause
        self._resume = resume
        self._held = bytearray()
        self._news = asyncio.Event()
        self._paused = False
        self._wrong: Problem | None = None

    def feed(self, held: bytearray) -> None:
        """Take from the front of `held` what belongs to the body. Raises Problem for chunks that are none."""
        if self._chunks is not None:
            self.whole = self._chunks.feed(held)
            came = bytes(self._chunks.body)
            self._chunks.body.clear()
            self._chunks.most -= len(came)
        else:
            came = bytes(held[: self._left])
            del held[: len(came)]
            self._left -= len(came)
            self.whole = self._left == 0
        self._held += came
        if len(self._held) > _HELD_BYTES_MAX and not self._paused and not self.whole:
            self._paused = True
            self._pause()
        self._news.set()

    def fail(self, problem: Problem) -> None:
        """Nothing more of it will come."""
        self._wrong = problem
        self._news.set()

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises Problem if it is broken."""
        while True:
            self._news.clear()
            if self._held:
                piece = bytes(self._held)
                self._held.clear()
                if self._paused:
                    self._paused = False
                    self._resume()
                yield piece
                continue
            if self._wrong is not None:
                raise self._wrong
            if self.whole:
                return
            await self._news.wait()
