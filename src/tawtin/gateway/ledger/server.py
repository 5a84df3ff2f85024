"""The process of the ledger: hears workers, lets the book decide, and answers what is durable.

Decisions are made at once and in order; a thread writes what they came to, all that waits in one transaction. A
settlement, for which nobody waits, is written with the next reservation, or a moment later. If a transaction
fails the process ends: what it holds is in the file, it is started again, and workers say again what was not confirmed.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, cast

from tawtin.core.meter import month_of
from tawtin.gateway.ledger import messages
from tawtin.gateway.ledger.book import Book
from tawtin.gateway.ledger.messages import (
    SOCKET,
    AskCharge,
    AskEndpoints,
    AskLives,
    AskLoads,
    AskUsage,
    Charges,
    Endpoints,
    Frames,
    Granted,
    Hello,
    Loads,
    Reserve,
    Settle,
    Settled,
    Told,
    Used,
    frame,
)
from tawtin.gateway.ledger.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tawtin.gateway.ledger.book import Held
    from tawtin.gateway.settings import GatewaySettings

log = logging.getLogger("tawtin.gateway.ledger")
LOCK: Final = "ledger.lock"
FOLD_EVERY_MS: Final = 3_600_000
_DAY_MS: Final = 86_400_000


def now_ms() -> int:
    """Milliseconds UTC."""
    return time.time_ns() // 1_000_000


class Ledger:
    """The ledger of one gateway."""

    def __init__(self, folder: Path, settings: GatewaySettings) -> None:
        """Read what is there. Raises sqlite3.Error, OSError."""
        self.folder = folder
        self.settings = settings
        self.rows = Rows(folder)
        self.book = Book()
        self.rows.restore(self.book, now_ms())
        self.voices: set[Voice] = set()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._thread = ThreadPoolExecutor(1, "ledger")
        self._reserved: list[tuple[Held, int]] = []
        self._settled: list[tuple[Settle, int]] = []
        self._answers: dict[Voice, list[Granted]] = {}
        self._confirm: dict[Voice, list[str]] = {}
        self._writing: asyncio.Task[None] | None = None
        self._later: asyncio.TimerHandle | None = None
        self._folding: asyncio.Task[None] | None = None
        self._fold_ms = 0

    async def serve(self, stop: asyncio.Event) -> None:
        """Listen until `stop` is set and no worker is left. Raises what made the file fail."""
        loop = asyncio.get_running_loop()
        path = self.folder / SOCKET
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        mask = os.umask(0o177)
        try:
            server = await loop.create_unix_server(lambda: Voice(self), str(path))
        finally:
            os.umask(mask)
        orphans = loop.call_later(self.settings.return_seconds_max, self._settle_orphans)
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([stopping, self.failed], return_when=asyncio.FIRST_COMPLETED)
            while any(voice.worker for voice in self.voices) and not self.failed.done():
                await asyncio.wait([self.failed], timeout=0.05)
            self._write_now()
            while self._writing is not None and not self.failed.done():
                await asyncio.wait([self._writing, self.failed], return_when=asyncio.FIRST_COMPLETED)
                self._write_now()
            if self.failed.done():
                self.failed.result()
        finally:
            orphans.cancel()
            stopping.cancel()
            if self._later is not None:
                self._later.cancel()
            server.close()
            for voice in list(self.voices):
                voice.close()
            self._thread.shutdown()
            self.rows.close()

    # --- what is said -------------------------------------------------------------------------------------------

    def hear(self, voice: Voice, said: messages.ToLedger) -> None:
        """Act on one message."""
        match said:
            case Reserve():
                at_ms = now_ms()
                known = said.receipt in self.book.held
                denied = self.book.reserve(said, voice.worker, at_ms)
                if denied is not None:
                    voice.say(denied)
                    return
                if not known:
                    self._reserved.append((self.book.held[said.receipt], at_ms))
                self._answers.setdefault(voice, []).append(Granted(receipt=said.receipt))
                self._write()
            case Settle():
                self._settle(said)
                self._confirm.setdefault(voice, []).append(said.receipt)
                self._write()
            case Hello():
                voice.worker = said.worker
                for each in self.book.lost(said.worker, frozenset(said.open)):
                    self._settle(each)
                self._write()
            case Told():
                voice.told = said
            case AskEndpoints():
                voice.say(Endpoints(workers=tuple(each.told.replicas for each in self.voices if each.worker)))
            case AskLoads():
                voice.say(Loads(workers={each.worker: each.told for each in self.voices if each.worker}))
            case AskUsage() | AskLives() | AskCharge():
                voice.later(lambda: self._look_up(said))
                if isinstance(said, AskLives):
                    self._fold(said.charged)

    def _look_up(self, asked: AskUsage | AskLives | AskCharge) -> messages.FromLedger:
        """What is in the file."""
        match asked:
            case AskUsage():
                return Used(rows=self.rows.used(asked.tenant, asked.month))
            case AskLives():
                return self.rows.lives(asked.known)
            case AskCharge():
                return Charges(charge=self.rows.charge(asked.ledger, asked.after))

    def gone(self, voice: Voice) -> None:
        """A worker's socket closed: it is dead, and what it held is settled for it."""
        self.voices.discard(voice)
        if not voice.worker:
            return
        lost = self.book.lost(voice.worker)
        if lost:
            log.warning("worker %s is gone; %d requests are settled by estimate", voice.worker, len(lost))
        for each in lost:
            self._settle(each)
        self._write()

    def _settle_orphans(self) -> None:
        here = {voice.worker for voice in self.voices}
        for worker in sorted(self.book.workers() - here):
            for each in self.book.lost(worker):
                self._settle(each)
        self._write()

    def _settle(self, said: Settle) -> None:
        at_ms = now_ms()
        if self.book.settle(said, at_ms) is not None:
            self._settled.append((said, at_ms))

    def _fold(self, charged: dict[str, int]) -> None:
        """Now and then, fold what is old and charged into sums, between reservations."""
        now = now_ms()
        if not charged or now < self._fold_ms or self._folding is not None or self.failed.done():
            return
        self._fold_ms = now + FOLD_EVERY_MS
        self._folding = asyncio.get_running_loop().create_task(self._fold_all(charged, now))

    async def _fold_all(self, charged: dict[str, int], now: int) -> None:
        loop = asyncio.get_running_loop()
        before_ms, month = now - self.settings.keep_days * _DAY_MS, month_of(now)
        try:
            while await loop.run_in_executor(self._thread, self.rows.fold, charged, before_ms, month):
                pass
        except RuntimeError:
            pass  # the ledger ends
        except Exception as error:  # noqa: BLE001 - as in `_write_all`
            if not self.failed.done():
                self.failed.set_exception(error)
        finally:
            self._folding = None

    # --- what is written ----------------------------------------------------------------------------------------

    def _write(self) -> None:
        """Write what waits: at once where an answer waits for it, else with what comes soon."""
        if self._writing is not None or self.failed.done():
            return
        if self._reserved or self._answers:
            self._write_now()
        elif (self._settled or self._confirm) and self._later is None:
            loop = asyncio.get_running_loop()
            self._later = loop.call_later(self.settings.settle_ms / 1000, self._write_now)

    def _write_now(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if self._writing is None and (self._reserved or self._settled or self._confirm or self._answers):
            self._writing = asyncio.get_running_loop().create_task(self._write_all())

    async def _write_all(self) -> None:
        loop = asyncio.get_running_loop()
        reserved, self._reserved = self._reserved, []
        settled, self._settled = self._settled, []
        answers, self._answers = self._answers, {}
        confirm, self._confirm = self._confirm, {}
        try:
            if reserved or settled:
                await loop.run_in_executor(self._thread, self.rows.write, reserved, settled)
            for voice, granted in answers.items():
                voice.say(*granted)
            for voice, receipts in confirm.items():
                voice.say(Settled(receipts=tuple(receipts)))
        except Exception as error:  # noqa: BLE001 - whatever it was, nobody knows what of it is stored
            if not self.failed.done():
                self.failed.set_exception(error)
        finally:
            self._writing = None
        self._write()


class Voice(asyncio.Protocol):
    """One connection: a worker, or somebody who asks."""

    def __init__(self, ledger: Ledger) -> None:
        """Belong to a ledger."""
        self.ledger = ledger
        self.worker = ""
        """Its name; empty for who is no worker."""
        self.told = Told()
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be heard from now on."""
        self._transport = cast("asyncio.Transport", transport)
        self.ledger.voices.add(self)

    def data_received(self, data: bytes) -> None:
        """Hear what is whole."""
        try:
            for body in self._frames.feed(data):
                self.ledger.hear(self, messages.to_ledger.decode(body))
        except ValueError as error:  # msgspec's errors are such
            log.error(  # noqa: TRY400 - the message says it all
                "what a worker said cannot be read, and it is hung up on: %s", error
            )
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Say that it is gone."""
        del exc
        self._transport = None
        self.ledger.gone(self)

    def say(self, *said: messages.FromLedger) -> None:
        """Send messages, unless it is gone."""
        if self._transport is not None:
            self._transport.write(b"".join(map(frame, said)))

    def later(self, answer: Callable[[], messages.FromLedger]) -> None:
        """Say what takes a while to find, in a thread; hang up if it is not found."""

        def found(done: asyncio.Future[messages.FromLedger]) -> None:
            if done.cancelled() or done.exception() is not None:
                log.error("a question to the ledger has no answer", exc_info=done.exception())
                self.close()
            else:
                self.say(done.result())

        asyncio.get_running_loop().run_in_executor(None, answer).add_done_callback(found)

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()


async def run(folder: Path, settings: GatewaySettings, stop: asyncio.Event) -> None:
    """Run the ledger of this folder, once no other process does."""
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while not stop.is_set():
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                await asyncio.sleep(0.05)
            else:
                await Ledger(folder, settings).serve(stop)
                return
    finally:
        os.close(descriptor)
