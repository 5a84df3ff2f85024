"""The links of the demonstration: between any two factories a relay with the delay of the real way, which can be cut.

Delays are medians of round trips that were measured between countries over the public internet.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

RTT_MS: Final = {
    ("ZA", "MA"): 222, ("ZA", "EG"): 209, ("ZA", "KE"): 202, ("ZA", "NG"): 110, ("MA", "EG"): 110,
    ("MA", "KE"): 224, ("MA", "NG"): 161, ("EG", "KE"): 216, ("EG", "NG"): 258, ("KE", "NG"): 228,
}  # fmt: skip
T = TypeVar("T")


class Cable:
    """One way of connecting: whoever connects to its port reaches `target()`, half a round trip later each way."""

    def __init__(self, target: Callable[[], int], rtt_ms: int) -> None:
        self.target = target
        self.delay_s = rtt_ms / 2000
        self.cut = False
        self.carried_bytes = 0
        self.server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def listen(self) -> int:
        """Listen on loopback; return the port."""
        self.server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self.server.sockets[0].getsockname()[1]

    async def set_cut(self, *, cut: bool) -> None:
        """Cut it, which breaks what is open, or mend it."""
        self.cut = cut
        for writer in list(self._open) if cut else ():
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.cut:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.target())
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, back}
        self._open |= ends
        try:
            await asyncio.gather(self._carry(reader, back), self._carry(there, writer))
        except OSError:
            pass
        finally:
            self._open -= ends
            for end in ends:
                end.close()

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """Carry bytes one way: each arrives `delay_s` after it came, in order."""
        loop = asyncio.get_running_loop()
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(256)

        async def deliver() -> None:
            while True:
                at, data = await under_way.get()
                await asyncio.sleep(max(0.0, at - loop.time()))
                if not data:
                    sink.write_eof()
                    return
                sink.write(data)
                await sink.drain()

        delivery = asyncio.create_task(deliver())
        try:
            data = b"-"
            while data:
                data = await source.read(1 << 16)
                self.carried_bytes += len(data)
                await under_way.put((loop.time() + self.delay_s, data))
            await delivery
        finally:
            delivery.cancel()


class Cables:
    """All of them, in a thread of their own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._cables: dict[tuple[str, str], Cable] = {}

    def lay(self, here: str, there: str, countries: tuple[str, str], target: Callable[[], int]) -> str:
        """Lay a cable on which `here` reaches `there`; return the address that `here` uses."""
        rtt_ms = RTT_MS.get(countries) or RTT_MS[countries[1], countries[0]]
        cable = self._cables[here, there] = Cable(target, rtt_ms)
        return f"http://127.0.0.1:{self._do(cable.listen())}"

    def cut(self, factory: str, *, cut: bool = True) -> int:
        """Cut, or mend, all cables of a factory; return how many."""
        found = [cable for ends, cable in self._cables.items() if factory in ends]
        for cable in found:
            self._do(cable.set_cut(cut=cut))
        return len(found)

    def close(self) -> None:
        """Let go of everything."""
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _end(self) -> None:
        for cable in self._cables.values():
            await cable.set_cut(cut=True)
            if cable.server is not None:
                cable.server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _do(self, what: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(10)
