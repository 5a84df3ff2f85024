"""The same bytes, read by the gateway and by nginx: what the gateway forwards, nginx reads as the same requests.

It may refuse more than nginx does, and then reads nothing that follows. Bytes are requests with a framing that is
damaged in one or several ways, each followed by a proper one, on a connection of its own.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator

import pytest

from tawtin.gateway.settings import ReplicaSettings
from tests.gateway.harness import Running, running, served
from tests.gateway.stub import Stub
from tests.gateway.test_bad_input import SMUGGLED
from tools import nginx_proxy

pytestmark = pytest.mark.nginx
CASES = 400
SEED = 2026
STATUS = re.compile(rb"HTTP/1\.1 [1-5]\d\d ")
QUIET = "client_header_timeout 5s; client_body_timeout 5s; keepalive_timeout 1s; send_timeout 5s;"
LENGTHS = (
    "Content-Length: {n}",
    "content-length:{n}",
    "Content-Length: {n} ",
    "Content-Length: 0{n}",
    "Content-Length: +{n}",
    "Content-Length: {n}, {n}",
    "Content-Length : {n}",
    "Content-Length: {m}",
    "Content-Length: 0",
    "Content-Length:",
    "Content-Length: {n}\r\nContent-Length: {n}",
    "Content-Length: {n}\r\nContent-Length: {m}",
    "Content-Length: 0x{n}",
    "Content-Length:\t{n}",
    "Content-Length: -{n}",
    " Content-Length: {n}",
    "Content_Length: {n}",
    "Content-Length: {n}\v",
)
CODINGS = (
    "Transfer-Encoding: chunked",
    "transfer-encoding:chunked",
    "Transfer-Encoding: Chunked",
    "Transfer-Encoding: chunked ",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: identity",
    "Transfer-Encoding:\tchunked",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: gzip, chunked",
    'Transfer-Encoding: "chunked"',
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding:\r\n chunked",
    "Transfer-Encoding: \v chunked",
    "X-A: b\nTransfer-Encoding: chunked",
    "X-A: b\rTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nX-A: b",
)
SIZES = (
    "{n:x}",
    "{n:X}",
    "0{n:x}",
    "{n:x} ",
    "{n:x};a=b",
    "{n:x};",
    " {n:x}",
    "+{n:x}",
    "0x{n:x}",
    "{m:x}",
    "{n:x}\t",
)
ENDS = ("\r\n", "\n", "\r", "\r\r\n")
LASTS = ("0\r\n\r\n", "0\r\nX: y\r\n\r\n", "00\r\n\r\n", "0;a\r\n\r\n", "0\n\n", "\r\n0\r\n\r\n")


def _odd(draw: random.Random, ways: tuple[str, ...]) -> str:
    """The first of the ways, which is the proper one, or any."""
    return ways[0] if draw.random() < 0.6 else draw.choice(ways)


class Case:
    """Bytes, and how its requests are known."""

    def __init__(self, name: str, key: str, draw: random.Random | None) -> None:
        self.name = name
        self.key = key
        self.sent = self._named() if draw is None else self._drawn(draw)

    def body(self, number: int) -> bytes:
        """A body that a replica is asked with; its user says whose it is."""
        said = {
            "model": "plain",
            "user": f"{self.name}/{number}",
            "messages": [{"role": "user", "content": "a"}],
        }
        return json.dumps(said).encode()

    def request(self, number: int, *lines: str, end: str = "\r\n") -> bytes:
        fixed = ["POST /v1/chat/completions HTTP/1.1", "Host: h", f"Authorization: Bearer {self.key}"]
        return (end.join([*fixed, "Content-Type: application/json", *lines, "", ""])).encode("latin-1")

    def proper(self, number: int) -> bytes:
        body = self.body(number)
        return self.request(number, f"Content-Length: {len(body)}") + body

    def _named(self) -> bytes:
        lines, _ = SMUGGLED[self.name]
        body = self.body(0)
        chunked = any("chunked" in each for each in lines)
        framed = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if chunked else body
        lines = [
            f"Content-Length: {len(body)}" if each.startswith("Content-Length: ") else each for each in lines
        ]
        return self.request(0, *lines) + framed + self.proper(1)

    def _drawn(self, draw: random.Random) -> bytes:
        body = self.body(0)
        n = len(body)
        inner = self.proper(2)  # stands in the first one's body for who reads that shorter
        if draw.random() < 0.3:
            body, n = body + inner, n + len(inner)
        fields = {"n": n, "m": draw.choice([0, 1, len(self.body(0)), n - 1, n + 1])}
        chunked = draw.random() < 0.5
        lines = [_odd(draw, CODINGS if chunked else LENGTHS).format(**fields)]
        if draw.random() < 0.2:
            lines.append(draw.choice(LENGTHS if chunked else CODINGS).format(**fields))
        draw.shuffle(lines)
        framed = body
        if chunked is (draw.random() < 0.9):
            size = _odd(draw, SIZES).format(**fields).encode()
            ends = [_odd(draw, ENDS).encode() for _ in range(2)]
            framed = size + ends[0] + body + ends[1] + _odd(draw, LASTS).encode()
        raw = self.request(0, *lines, end="\r\n" if draw.random() < 0.9 else "\n") + framed
        for _ in range(draw.choice([0, 0, 0, 1, 2])):
            at = draw.randrange(len(raw))
            odd = draw.choice([b"", b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b"\x0b", b":", b"0", b"\xff"])
            raw = raw[:at] + odd + raw[at + draw.choice([0, 1]) :]
        return raw + self.proper(1)


@pytest.fixture(scope="module")
def replica() -> Iterator[Stub]:
    with Stub(always="plain") as one:
        yield one


@pytest.fixture(scope="module")
def gateway(replica: Stub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    models = {"plain": served(ReplicaSettings(url=replica.url))}
    with running(
        tmp_path_factory.mktemp("gateway"),
        models,
        header_seconds_max=1,
        body_seconds_max=1,
        idle_seconds_max=1,
    ) as one:
        yield one


async def said(address: str, raw: bytes) -> bytes:
    """All that is answered to bytes, until the connection is closed."""
    host, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    heard = b""
    try:
        writer.write(raw)
        while piece := await reader.read(65_536):
            heard += piece
    except OSError:
        pass
    finally:
        writer.close()
    return heard


def exchanged(
    address: str, replica: Stub, cases: list[Case]
) -> tuple[dict[str, bytes], dict[str, list[bytes]]]:
    """Of each case: what was answered, and the bodies that the replica got, in order."""
    before = len(replica.asked)

    async def go() -> list[bytes]:
        slots = asyncio.Semaphore(200)

        async def one(case: Case) -> bytes:
            async with slots:
                return await said(address, case.sent)

        return await asyncio.gather(*map(one, cases))

    heard = asyncio.run(go())
    read: dict[str, list[bytes]] = defaultdict(list)
    for asked in replica.asked[before:]:
        try:
            user = str(json.loads(asked.body)["user"])
        except (ValueError, KeyError, TypeError):
            continue  # the gateway forwards what is JSON alone
        read[user.partition("/")[0]].append(asked.body)
    return dict(zip((each.name for each in cases), heard, strict=True)), read


def test_what_the_gateway_forwards_nginx_reads_as_the_same(gateway: Running, replica: Stub, key: str) -> None:
    draw = random.Random(SEED)
    cases = [Case(name, key, None) for name in sorted(SMUGGLED)]
    cases += [Case(f"drawn {number}", key, draw) for number in range(CASES)]
    ours, read = exchanged(gateway.url.removeprefix("http://"), replica, cases)
    with nginx_proxy.proxy(replica.url.removeprefix("http://"), QUIET) as proxy:
        theirs, known = exchanged(proxy.address, replica, cases)
    both, apart = 0, list[str]()
    for case in cases:
        mine, other = read.get(case.name, []), known.get(case.name, [])
        answers = [STATUS.findall(said[case.name]) for said in (ours, theirs)]
        refused = b"\r\nconnection: close\r\n" in ours[case.name]
        if not _within(mine, other) or not (refused or len(answers[0]) == len(answers[1])):
            apart.append(f"{case.name}: {case.sent!r}, answered {answers}, read {mine} and {other}")
        both += len(mine) == len(other) == 2
    assert not apart, "\n".join(apart)
    assert both > CASES // 20, "hardly anything was read by both"


def _within(few: list[bytes], many: list[bytes]) -> bool:
    """Whether `few` are in `many`, in that order."""
    rest = iter(many)
    return all(each in rest for each in few)
