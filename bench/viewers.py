"""Hundreds of open pages, in a process of their own: each listens to its stream and fetches its part as app.js does.

Started with the factory's address, how many and the cookie; says `ready` once all listen, and at the end of its input
what was seen and what that took, as JSON. Times are CLOCK_MONOTONIC's, which all processes share. A page is as cheap as
sockets allow: what is measured is meant to be the factory's.
"""

from __future__ import annotations

import asyncio
import gc
import json
import re
import resource
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import urlsplit

import uvloop

_QUEUED: Final = re.compile(rb'status=queued">[^<]*</a></dt><dd>(?:<bdi[^>]*>)?(\d+)<')
_LENGTH: Final = re.compile(rb"\r\ncontent-length: (\d+)\r\n")
_CHANGED: Final = b"event: changed\n"
_TOGETHER: Final = 20
"""So many connect at the same time."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the viewers saw."""

    shown: list[list[tuple[float, int]]]
    """By viewer: when it had a page, and how many workloads that page says are waiting."""
    cpu_s: float
    """Processor time of all viewers while they watched."""
    failed: int
    """Answers other than 200."""
    lost: int
    """Connections that ended."""


class Crowd:
    """All viewers of one factory."""

    def __init__(self, url: str, cookie: str) -> None:
        at = urlsplit(url)
        self.host, self.port = at.hostname or "", at.port or 80
        head = f"Host: {at.netloc}\r\nCookie: {cookie}\r\nAccept-Language: en\r\n"
        self.live = f"GET /console/live HTTP/1.1\r\n{head}Accept: text/event-stream\r\n\r\n".encode()
        self.part = (
            f"GET /console/ HTTP/1.1\r\n{head}Accept-Encoding: gzip\r\nX-Tawtin-Part: main\r\n\r\n".encode()
        )
        self.counts: dict[bytes, int] = {}
        self.viewers: list[Viewer] = []
        self.failed = self.lost = 0
        self._reached: Counter[int] = Counter()

    def saw(self, before: int, now: int) -> None:
        """A viewer was shown a higher number; say so where all have been shown it."""
        for count in range(before + 1, now + 1):
            self._reached[count] += 1
            if self._reached[count] == len(self.viewers):
                print(f"all {count}", flush=True)

    async def gather(self, count: int) -> None:
        """Let `count` viewers connect, and wait until each listens."""
        for first in range(0, count, _TOGETHER):
            some = [Viewer(self) for _ in range(min(_TOGETHER, count - first))]
            await asyncio.gather(*(each.open() for each in some))
            self.viewers += some

    def count_in(self, body: bytes) -> int:
        """How many wait, by a page; pages that are the same are read once."""
        found = self.counts.get(body)
        if found is None:
            if len(self.counts) > 64:
                self.counts.clear()
            page = zlib.decompress(body, 31) if body.startswith(b"\x1f\x8b") else body
            found = self.counts[body] = sum(int(each) for each in _QUEUED.findall(page))
        return found


class Viewer:
    """One open page."""

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self.shown: list[tuple[float, int]] = []
        self.latest = 0
        self.listening = asyncio.Event()
        self._page: _Page | None = None
        self._under = self._again = False

    async def open(self) -> None:
        """Connect both ways, and wait for the stream to begin."""
        loop, crowd = asyncio.get_running_loop(), self.crowd
        _, self._page = await loop.create_connection(lambda: _Page(self), crowd.host, crowd.port)
        await loop.create_connection(lambda: _Stream(self), crowd.host, crowd.port)
        await self.listening.wait()

    def changed(self) -> None:
        """Fetch the page: one request under way, at most one more after it."""
        if self._under:
            self._again = True
        elif self._page is not None:
            self._under = True
            self._page.ask(self.crowd.part)

    def got(self, status: bytes, body: bytes) -> None:
        """Take an answer."""
        if status == b"200":
            count = self.crowd.count_in(body)
            self.shown.append((time.monotonic(), count))
            if count > self.latest:
                self.crowd.saw(self.latest, count)
                self.latest = count
        else:
            self.crowd.failed += 1
        self._under = False
        if self._again:
            self._again = False
            self.changed()


class _Stream(asyncio.Protocol):
    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(self._viewer.crowd.live)

    def data_received(self, data: bytes) -> None:
        text = self._rest + data
        end = text.rfind(b"\n\n") + 2
        self._rest = text[end:] if end > 1 else text
        if end > 1:
            self._viewer.listening.set()
            if _CHANGED in text[:end]:
                self._viewer.changed()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        self._viewer.crowd.lost += 1


class _Page(asyncio.Protocol):
    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._had = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def ask(self, request: bytes) -> None:
        """Send a request."""
        if self._transport is not None:
            self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._had += data
        head = self._had.find(b"\r\n\r\n")
        length = _LENGTH.search(self._had, 0, head + 2) if head > 0 else None
        if length is not None and len(self._had) >= head + 4 + int(length[1]):
            status, body = bytes(self._had[9:12]), bytes(self._had[head + 4 :])
            self._had.clear()
            self._viewer.got(status, body)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        self._viewer.crowd.lost += 1


async def _watch(url: str, count: int, cookie: str) -> None:
    crowd = Crowd(url, cookie)
    await crowd.gather(count)
    gc.freeze()
    before = resource.getrusage(resource.RUSAGE_SELF)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    after = resource.getrusage(resource.RUSAGE_SELF)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found: dict[str, Any] = {
        "shown": [each.shown for each in crowd.viewers],
        "cpu_s": spent,
        "failed": crowd.failed,
        "lost": crowd.lost,
    }
    print(json.dumps(found), flush=True)


class Watching:
    """Viewers that watch; `report` ends them."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._all = 0

    def wait(self, count: int) -> None:
        """Wait until every viewer has been shown a page on which `count` workloads wait."""
        while self._all < count:
            line = self._process.stdout.readline() if self._process.stdout is not None else ""
            if not line.startswith("all "):
                raise RuntimeError("the viewers ended before they were shown every change")
            self._all = int(line[4:])

    def report(self) -> Report:
        """What they saw."""
        said, _ = self._process.communicate(timeout=60)
        return Report(**json.loads(said.strip().splitlines()[-1]))


@contextmanager
def watching(url: str, count: int, cookies: dict[str, str]) -> Generator[Watching]:
    """`count` viewers, all of which listen when the block begins. Raises RuntimeError where they do not."""
    cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.viewers", url, str(count), cookie],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        if process.stdout is None or process.stdout.readline() != "ready\n":
            raise RuntimeError("the viewers ended before they were ready")
        yield Watching(process)
    finally:
        process.kill()
        process.communicate()


def delays(report: Report, changed: list[float]) -> tuple[list[float], int]:
    """How long after each change each viewer had a page with it, ms; and how many times that was never.

    The n-th change is a submission after which n workloads wait.
    """
    found: list[float] = []
    never = 0
    for seen in report.shown:
        at = 0
        for count, when in enumerate(changed, 1):
            while at < len(seen) and seen[at][1] < count:
                at += 1
            if at < len(seen):
                found.append((seen[at][0] - when) * 1000)
            else:
                never += 1
    return found, never


if __name__ == "__main__":
    uvloop.run(_watch(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
