"""A worker's line to the ledger: nothing is forwarded without its answer, and a settlement is said until confirmed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final, cast

from tawtin.gateway.ledger import messages
from tawtin.gateway.ledger.messages import (
    Denied,
    Frames,
    Granted,
    Hello,
    Reserve,
    Settle,
    Settled,
    Told,
    frame,
)

if TYPE_CHECKING:
    from pathlib import Path

_AGAIN_S: Final = 0.1


class LedgerAway(Exception):
    """The ledger does not answer: nothing may be forwarded."""


class Link(asyncio.Protocol):
    """The line. It is opened again whenever it broke."""

    def __init__(self, folder: Path, worker: str, answer_s_max: float) -> None:
        """Speak to the ledger of this folder under this name. One that takes longer is taken for broken."""
        self.path = folder / messages.SOCKET
        self.answer_s_max = answer_s_max
        self.worker = worker
        self.running: set[str] = set()
        """Receipts that are granted and not settled."""
        self.unsettled: dict[str, Settle] = {}
        self._waiting: dict[str, tuple[asyncio.Future[Granted | Denied], float]] = {}
        self._transport: asyncio.Transport | None = None
        self._frames = Frames()
        self._out: list[bytes] = []
        self._lost = asyncio.Event()

    @property
    def connected(self) -> bool:
        """Whether the ledger is there."""
        return self._transport is not None

    async def run(self) -> None:
        """Keep the line open, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(OSError):
                self._lost.clear()
                await loop.create_unix_connection(lambda: self, str(self.path))
                await self._lost.wait()
            await asyncio.sleep(_AGAIN_S)

    async def reserve(self, asked: Reserve) -> Granted | Denied:
        """Ask for a reservation. Raises LedgerAway; what may be held then is let go as soon as that can be said."""
        if self._transport is None:
            raise LedgerAway
        future: asyncio.Future[Granted | Denied] = asyncio.get_running_loop().create_future()
        self._waiting[asked.receipt] = (future, time.monotonic())
        self._write(asked)
        try:
            said = await future
        except BaseException:
            self._waiting.pop(asked.receipt, None)
            self.settle(Settle(receipt=asked.receipt, cause="not_sent"))
            raise
        if isinstance(said, Granted):
            self.running.add(asked.receipt)
        return said

    def settle(self, said: Settle) -> None:
        """Say what became of a request, now and after every break of the line, until it is confirmed."""
        self.running.discard(said.receipt)
        self.unsettled[said.receipt] = said
        self._write(said)

    def tell(self, told: Told) -> None:
        """Say how replicas do."""
        self._write(told)

    def _write(self, said: messages.ToLedger) -> None:
        """Say something together with all else that is said in this turn of the loop, as each write costs a call."""
        if self._transport is None:
            return
        self._out.append(frame(said))
        if len(self._out) == 1:
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if out and self._transport is not None:
            self._transport.write(b"".join(out))

    def sweep(self) -> None:
        """Hang up on a ledger that does not answer."""
        oldest = next(iter(self._waiting.values()), None)
        late = oldest is not None and time.monotonic() - oldest[1] > self.answer_s_max
        if late and self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say who this is, and what was not confirmed."""
        self._transport = cast("asyncio.Transport", transport)
        self._frames, self._out = Frames(), []
        self._transport.write(
            frame(Hello(worker=self.worker, open=(*sorted(self.running), *sorted(self.unsettled))))
            + b"".join(map(frame, self.unsettled.values()))
        )

    def data_received(self, data: bytes) -> None:
        """Hear answers."""
        for body in self._frames.feed(data):
            match messages.from_ledger.decode(body):
                case Granted() | Denied() as said:
                    waiting = self._waiting.pop(said.receipt, None)
                    if waiting is not None and not waiting[0].done():
                        waiting[0].set_result(said)
                case Settled(receipts=receipts):
                    for receipt in receipts:
                        self.unsettled.pop(receipt, None)
                case _:
                    pass

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everybody who waits."""
        del exc
        self._transport, self._out = None, []
        waiting, self._waiting = self._waiting, {}
        for future, _ in waiting.values():
            if not future.done():
                future.set_exception(LedgerAway())
        self._lost.set()
