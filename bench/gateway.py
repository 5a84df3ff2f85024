"""What a request costs the gateway, with keys, residency, limits and a durable ledger on, beside what others take.

One worker with its ledger; each peer with one process; the same stub behind all of them, and the same clients on kept
connections. What is counted is the processor time of the gateways' own processes, from /proc, so that a slower stub or
client changes little. All doors take turns, round after round, so that all see the same machine.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import socket
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, NamedTuple, cast

import uvloop

from bench import common, doors
from bench.idle import cpu_s, memory_mib
from tawtin.gateway.settings import Limits, ReplicaSettings
from tests.gateway.harness import Running, running, served
from tests.gateway.stub import COMPLETION, STREAM, USAGE, delta, event, piece, whole

LIMITS: Final = Limits(requests_per_minute=10**9, tokens_per_minute=10**12, minor_per_month=10**12)
"""Beyond reach, but counted."""
OURS: Final = "tawtin"
CHUNKS: Final = 100
PACE_S: Final = 0.02
STREAMS: Final = 64
BIG: Final = 220_000
IDLE: Final = 10_000
IDLE_MIB: Final = 1_536
JSON_ANSWER: Final = whole(json.dumps(COMPLETION).encode())
END_OF_CHUNKS: Final = b"\r\n0\r\n\r\n"


# --- what stands behind all of them ----------------------------------------------------------------------------------


class Stub(asyncio.Protocol):
    """Answers whatever comes, as cheaply as Python can: whole, by paced events, or by one event and a long silence."""

    transport: asyncio.Transport
    task: asyncio.Future[None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.held = bytearray()
        self.wanted = 0

    def data_received(self, data: bytes) -> None:
        self.held += data
        if not self.wanted:
            head, found, _ = self.held.partition(b"\r\n\r\n")
            if not found:
                return
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or b"0"
            self.wanted = len(head) + 4 + int(length)
        if len(self.held) < self.wanted:
            return
        body, self.held, self.wanted = bytes(self.held), bytearray(), 0
        if b'"user":"idle"' in body:
            self.transport.write(STREAM + piece(event(delta("word"))))
        elif b'"stream":true' in body or b'"stream": true' in body:
            self.task = asyncio.ensure_future(self.events())
        else:
            self.transport.write(JSON_ANSWER)

    async def events(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        self.transport.write(STREAM)
        for number in range(CHUNKS):
            self.transport.write(piece(event(delta(f"word {number}"))))
            await asyncio.sleep(max(0.0, began + (number + 1) * PACE_S - loop.time()))
        self.transport.write(piece(event({"choices": [], "usage": USAGE})))
        self.transport.write(piece(event(b"[DONE]")) + b"0\r\n\r\n")


@contextmanager
def stub() -> Generator[str]:
    """The stub's address, for the time of the block."""
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
        serving = loop.create_server(Stub, sock=listening)
        asyncio.run_coroutine_threadsafe(serving, loop).result(10)
        yield f"127.0.0.1:{listening.getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


# --- who asks --------------------------------------------------------------------------------------------------------


class Load(NamedTuple):
    """What came of a load."""

    done: int
    first_ms: list[float]
    """From a request to the first byte of its answer."""


def request_of(key: str, *, stream: bool = False, user: str = "a", text: str = "salam " * 40) -> bytes:
    """The bytes of one request."""
    body = json.dumps(
        {
            "model": doors.MODEL,
            "max_tokens": 10,
            "stream": stream,
            "user": user,
            "messages": [{"role": "user", "content": text}],
        },
        separators=(",", ":"),
    ).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {key}\r\n"
    return (head + f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body


async def load(address: str, request: bytes, *, seconds: float, at_once: int) -> Load:
    """Ask on `at_once` connections, one request after the other on each, until the time is over."""
    host, _, port = address.partition(":")
    until = time.perf_counter() + seconds
    first_ms: list[float] = []

    async def one() -> int:
        reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 22)
        done = 0
        while not done or time.perf_counter() < until:
            began = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            first_ms.append((time.perf_counter() - began) * 1000)
            assert head.startswith(b"HTTP/1.1 200"), head + await reader.read(2_000)
            _, framed, length = head.lower().partition(b"content-length: ")
            if framed:
                await reader.readexactly(int(length.partition(b"\r\n")[0]))
            else:
                await reader.readuntil(END_OF_CHUNKS)
            done += 1
        writer.close()
        return done

    return Load(sum(await asyncio.gather(*(one() for _ in range(at_once)))), first_ms)


class Case(NamedTuple):
    """A load, and what is made of it."""

    name: str
    at_once: int
    stream: bool
    big: bool = False

    def request(self, key: str) -> bytes:
        return request_of(key, stream=self.stream, text="salam " * (BIG // 6 if self.big else 40))


CASES: Final = (
    Case("JSON, c = 1", 1, stream=False),
    Case("JSON, c = 32", 32, stream=False),
    Case("JSON, c = 256", 256, stream=False),
    Case("SSE, c = 1", 1, stream=True),
    Case("SSE, 64 paced streams", STREAMS, stream=True),
    Case("prompts of 220 kB, c = 1", 1, stream=False, big=True),
    Case("prompts of 220 kB, c = 32", 32, stream=False, big=True),
)


class Taken(NamedTuple):
    """One case through one door, once."""

    cpu_s: list[float]
    """Of each process."""
    done: int
    first_ms: float
    """Median."""


def take(case: Case, door: doors.Door, seconds: float) -> Taken:
    """Measure a case."""
    before = [cpu_s(pid) for pid in door.processes]
    came = uvloop.run(load(door.address, case.request(door.key), seconds=seconds, at_once=case.at_once))
    spent = [cpu_s(pid) - was for pid, was in zip(door.processes, before, strict=True)]
    return Taken(spent, came.done, statistics.median(came.first_ms))


# --- what is measured ------------------------------------------------------------------------------------------------


def measure(*, quick: bool) -> list[common.Figure]:
    """All figures."""
    rounds, seconds = (1, 1.5) if quick else (3, 4.0)
    with stub() as address, ExitStack() as stack:
        ours = _ours(stack, address)
        opened = {"the stub itself": doors.Door(address, "none", []), OURS: ours}
        absent: dict[str, str] = {}
        for peer in doors.peers():
            if peer.missing:
                absent[peer.name] = peer.missing
            else:
                common.say(f"starting {peer.name}")
                opened[peer.name] = stack.enter_context(peer.open(address))
        found: dict[tuple[str, str], list[Taken]] = defaultdict(list)
        for number in range(rounds):
            for case in CASES:
                for name, door in opened.items():
                    common.say(f"round {number + 1} of {rounds}: {case.name}, {name}")
                    found[case.name, name].append(take(case, door, seconds))
        idle = _idle(ours, 1_000 if quick else IDLE)
    return [*_figures(found, opened, absent), idle]


def _ours(stack: ExitStack, address: str) -> doors.Door:
    models = {doors.MODEL: served(ReplicaSettings(url=f"http://{address}"), context_tokens_max=200_000)}
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    gateway: Running = stack.enter_context(
        running(
            folder, models, limits=LIMITS, connections_max=2 * IDLE, replica_connections_max=2 * IDLE,
            pause_seconds_max=3_600,
        )
    )  # fmt: skip
    pids = [*gateway.pids("worker"), *gateway.pids("ledger")]
    return doors.Door(gateway.url.removeprefix("http://"), gateway.key(), pids)


def _figures(
    found: dict[tuple[str, str], list[Taken]], opened: dict[str, doors.Door], absent: dict[str, str]
) -> list[common.Figure]:
    figures: list[common.Figure] = []
    for case in CASES:
        unit = "us of CPU a chunk" if case.stream else "requests a CPU-second"

        def worth(name: str, case: Case = case) -> list[float]:
            return [_worth(case, each, name) for each in found[case.name, name]]

        if case.at_once > 1 or not case.stream:
            both = statistics.median(_all_in(case, each) for each in found[case.name, OURS])
            note = f"the worker alone; with its ledger {both:.0f}"
            for peer in [*(each for each in opened if each not in {OURS, "the stub itself"}), *absent]:
                name = f"gateway, {case.name}, beside {peer}"
                if peer in absent:
                    figures.append(common.skipped(name, unit, f"not installed: {absent[peer]}"))
                    continue
                at_least, at_most = _goal(case, peer)
                figures.append(
                    common.figure(
                        name, unit, worth(OURS), peer=peer, peer_value=statistics.median(worth(peer)),
                        at_least=at_least, at_most=at_most, judge="ratio", note=note,
                    )
                )  # fmt: skip
        if case.at_once == 1:
            figures += _added(case, found, opened)
    return figures


def _added(
    case: Case, found: dict[tuple[str, str], list[Taken]], opened: dict[str, doors.Door]
) -> list[common.Figure]:
    """What a door adds to the time to the first byte: its median less that of the stub alone, of each round."""
    direct = [each.first_ms for each in found[case.name, "the stub itself"]]
    added = {
        name: [each.first_ms - alone for each, alone in zip(found[case.name, name], direct, strict=True)]
        for name in opened
        if name != "the stub itself"
    }
    most = 3.0 if case.big else 0.5
    disk = statistics.median(_durable_write_ms() for _ in range(50))
    said = ", ".join(f"{name} {statistics.median(each):.2f}" for name, each in added.items() if name != OURS)
    return [
        common.figure(
            f"gateway, {case.name}: first byte added", "ms", added[OURS],
            at_most=most if case.stream or case.big else None, note=f"the others: {said}; the stub itself answers in "
            f"{statistics.median(direct):.2f} ms, and one durable write of 4 KiB takes {disk:.2f} ms",
        )
    ]  # fmt: skip


def _durable_write_ms() -> float:
    """What the disk takes for what a reservation has to wait for."""
    with tempfile.TemporaryFile() as file:
        began = time.perf_counter()
        file.write(b"x" * 4096)
        file.flush()
        os.fdatasync(file.fileno())
        return (time.perf_counter() - began) * 1000


def _goal(case: Case, peer: str) -> tuple[float | None, float | None]:
    """At least, at most."""
    if case.big:
        return None, None
    if case.stream:
        return (None, {"nginx": 1.15, "LiteLLM": 1 / 50}.get(peer))
    return ({"nginx": 0.25, "LiteLLM": 80.0}.get(peer, 1.0), None)


def _worth(case: Case, taken: Taken, name: str) -> float:
    """The worker alone of ours, all processes of others."""
    return _rate(case, taken.cpu_s[0] if name == OURS else sum(taken.cpu_s), taken.done)


def _all_in(case: Case, taken: Taken) -> float:
    return _rate(case, sum(taken.cpu_s), taken.done)


def _rate(case: Case, cpu: float, done: int) -> float:
    cpu = max(cpu, 0.01)  # the kernel counts in hundredths
    return 1_000_000 * cpu / (done * CHUNKS) if case.stream else done / cpu


def _idle(ours: doors.Door, count: int) -> common.Figure:
    """Memory of the gateway's processes with so many streams open of which nothing comes."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    count = min(count, (most - 500) // 2)  # a worker has two for each
    host, _, port = ours.address.partition(":")
    request = request_of(ours.key, stream=True, user="idle")
    before = sum(memory_mib(pid)[1] for pid in ours.processes)

    async def hold() -> float:
        slots = asyncio.Semaphore(100)

        async def one() -> asyncio.StreamWriter:
            async with slots:
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(request)
                await reader.readuntil(b"word")
                return writer

        common.say(f"opening {count} streams")
        writers = await asyncio.gather(*(one() for _ in range(count)))
        taken = sum(memory_mib(pid)[1] for pid in ours.processes)
        for writer in writers:
            writer.transport.abort()
        return taken

    taken = uvloop.run(hold())
    return common.figure(
        f"gateway, {count} idle streams", "MiB", [taken], at_most=IDLE_MIB,
        note=f"worker and ledger, shared pages counted once; {before:.0f} before",
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(common.main(measure))
