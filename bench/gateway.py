"""The gateway's processor time a request: keys, residency, limits and a durable ledger on, beside nginx that passes on.

One worker, its ledger, a stub behind it and clients on kept connections, all on one machine. What is counted is the
processor time of the gateway's own processes, from /proc, so that a stub or client that is slower changes little. nginx
has one worker and the same stub; it is left out where it is not installed (Debian package nginx-light).
"""

from __future__ import annotations

import asyncio
import json
import socket
import tempfile
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import uvloop

from bench import common
from bench.idle import cpu_s
from tawtin.gateway.settings import Limits, ReplicaSettings
from tests.gateway.harness import Running, running, served
from tests.gateway.stub import COMPLETION, STREAM, USAGE, delta, event, piece, whole
from tools import nginx_proxy

LIMITS = Limits(requests_per_minute=10**9, tokens_per_minute=10**12, minor_per_month=10**12)
"""Beyond reach, but counted."""
GOAL_OF_NGINX = 0.25
CHUNKS = 200
GOAL_CHUNKS = 1.15
JSON_ANSWER = whole(json.dumps(COMPLETION).encode())


class Stub(asyncio.Protocol):
    """Answers whatever comes, as cheaply as Python can: by the word `stream` in it, by events."""

    transport: asyncio.Transport
    task: asyncio.Future[None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.held = b""

    def data_received(self, data: bytes) -> None:
        self.held += data
        head, found, body = self.held.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or b"0")
        if not found or len(body) < length:
            return
        self.held = b""
        if b'"stream":true' in body:
            self.task = asyncio.ensure_future(self.events())
        else:
            self.transport.write(JSON_ANSWER)

    async def events(self) -> None:
        self.transport.write(STREAM)
        for number in range(CHUNKS):
            self.transport.write(piece(event(delta(f"word {number}"))))
            await asyncio.sleep(0.002)
        self.transport.write(piece(event({"choices": [], "usage": USAGE})))
        self.transport.write(piece(event(b"[DONE]")) + b"0\r\n\r\n")


@contextmanager
def stub() -> Generator[str]:
    """The stub's address, for the time of the block."""
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        serving = loop.create_server(Stub, sock=listening)
        asyncio.run_coroutine_threadsafe(serving, loop).result(10)
        yield f"127.0.0.1:{listening.getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


async def load(address: str, request: bytes, *, count: int, at_once: int, ends: bytes) -> int:
    """Send so many requests on `at_once` connections; how many were answered. `ends` is the end of an answer."""
    left, done = count, 0
    host, _, port = address.partition(":")

    async def one() -> None:
        nonlocal left, done
        reader, writer = await asyncio.open_connection(host, int(port))
        while left > 0:
            left -= 1
            writer.write(request)
            answer = await reader.readuntil(ends)
            assert answer.startswith(b"HTTP/1.1 200"), answer
            done += 1
        writer.close()

    await asyncio.gather(*(one() for _ in range(at_once)))
    return done


def request_of(key: str, *, stream: bool) -> bytes:
    """The bytes of one request."""
    body = json.dumps(
        {
            "model": "plain",
            "max_tokens": 10,
            "stream": stream,
            "messages": [{"role": "user", "content": "salam " * 40}],
        },
        separators=(",", ":"),
    ).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {key}\r\n"
    return (head + f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body


def spent(pids: list[int], work: Callable[[], int]) -> tuple[list[float], int]:
    """Processor seconds of each process while `work` is done, and what that returns."""
    before = [cpu_s(pid) for pid in pids]
    done = work()
    return [cpu_s(pid) - was for pid, was in zip(pids, before, strict=True)], done


def cases(address: str, key: str, pids: list[int], *, quick: bool) -> dict[str, tuple[list[float], int]]:
    """Each case: processor seconds of each process, and requests or chunks."""
    found: dict[str, tuple[list[float], int]] = {}
    for at_once in (1, 32, 256):
        count = (500 if at_once == 1 else 2_000) if quick else (3_000 if at_once == 1 else 20_000)
        found[f"JSON, c = {at_once}"] = spent(
            pids,
            lambda count=count, at_once=at_once: uvloop.run(
                load(address, request_of(key, stream=False), count=count, at_once=at_once, ends=b"}}")
            ),
        )
    streams = 64 if quick else 640
    cpu, done = spent(
        pids,
        lambda: uvloop.run(
            load(address, request_of(key, stream=True), count=streams, at_once=64, ends=b"\r\n0\r\n\r\n")
        ),
    )
    found["SSE, 64 paced streams"] = (cpu, done * CHUNKS)
    return found


def measure(*, quick: bool) -> list[common.Figure]:
    """All figures."""
    with stub() as address, tempfile.TemporaryDirectory() as folder:
        models = {"plain": served(ReplicaSettings(url=f"http://{address}"))}
        with running(Path(folder), models, limits=LIMITS) as gateway:
            ours = _ours(gateway, quick=quick)
        theirs: dict[str, tuple[list[float], int]] = {}
        if not nginx_proxy.missing():
            with nginx_proxy.proxy(address) as peer:
                theirs = cases(peer.address, "none", peer.workers, quick=quick)
    figures: list[common.Figure] = []
    for name, (cpu, done) in ours.items():
        streams = name.startswith("SSE")
        peer = theirs.get(name)
        note = f"the worker alone; with its ledger {_rate(sum(cpu), done, streams=streams):.0f}"
        figures.append(
            common.figure(
                f"gateway, {name}",
                "us of CPU a chunk" if streams else "requests a CPU-second",
                [_rate(cpu[0], done, streams=streams)],
                peer="nginx" if peer else "",
                peer_value=_rate(peer[0][0], peer[1], streams=streams) if peer else None,
                at_least=None if streams or not peer else GOAL_OF_NGINX,
                at_most=GOAL_CHUNKS if streams and peer else None,
                judge="ratio" if peer else "value",
                note=note,
            )
        )
    return figures


def _rate(cpu: float, done: int, *, streams: bool) -> float:
    cpu = max(cpu, 0.01)  # the kernel counts in hundredths
    return 1_000_000 * cpu / done if streams else done / cpu


def _ours(gateway: Running, *, quick: bool) -> dict[str, tuple[list[float], int]]:
    address = gateway.url.removeprefix("http://")
    return cases(address, gateway.key(), [*gateway.pids("worker"), *gateway.pids("ledger")], quick=quick)


if __name__ == "__main__":
    raise SystemExit(common.main(measure))
