"""Bytes through the proxy: long ones, WebSockets, ends and broken ends."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import struct
import threading
from pathlib import Path

import pytest
import websockets

from tawtin.web.workspaces.peer import is_pong
from tawtin.web.workspaces.settings import ProxySettings
from tests.workspaces.front import COOKIE, Front, front, read
from tests.workspaces.rooms import WAIT_S, Room, read_all, room
from tests.workspaces.test_door import until

MIB = 1 << 20


def test_requests_follow_each_other_on_one_connection(proxy: Front) -> None:
    with proxy.connect() as connection, connection.makefile("rb") as file:
        connection.sendall(proxy.head("/first") + proxy.head("/second"))
        for want in (b'"/first"', b'"/second"'):
            assert file.readline().startswith(b"HTTP/1.1 200 ")
            length = 0
            while (line := file.readline()) not in (b"\r\n", b""):
                name, _, value = line.lower().partition(b":")
                length = int(value) if name == b"content-length" else length
            assert want in file.read(length)


def test_a_body_goes_through_in_either_framing(proxy: Front) -> None:
    body = os.urandom(3 * MIB)
    want = (len(body), hashlib.sha256(body).hexdigest())
    whole = proxy.said(proxy.head("/", f"Content-Length: {len(body)}", method="POST") + body).json
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:70_001], body[70_001:]))
    cut = proxy.said(
        proxy.head("/", "Transfer-Encoding: chunked", method="POST") + pieces + b"0\r\n\r\n"
    ).json
    assert [(each["bytes"], each["digest"]) for each in (whole, cut)] == [want, want]


def test_who_waits_for_100_continue_hears_it(proxy: Front) -> None:
    with proxy.connect() as connection:
        connection.sendall(proxy.head("/", "Content-Length: 3", "Expect: 100-continue", method="POST"))
        heard = connection.recv(100)
        assert heard.startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"abc")
        assert read(connection).json["bytes"] == 3


def peak_kib() -> int:
    """The most memory that this process had since it was reset."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0])


def test_100_mb_go_through_in_little_memory(proxy: Front) -> None:
    proxy.get("/big?1000000")
    Path("/proc/self/clear_refs").write_text("5")
    before, size = peak_kib(), 100_000_000
    with proxy.connect() as connection:
        connection.sendall(proxy.head(f"/big?{size}", "Connection: close"))
        came = 0
        while piece := connection.recv(MIB):
            came += len(piece)
    assert came > size
    assert peak_kib() - before < 24 << 10


def test_nobody_reads_ahead_of_a_slow_client(proxy: Front) -> None:
    Path("/proc/self/clear_refs").write_text("5")
    before = peak_kib()
    with proxy.connect() as slow:
        slow.sendall(proxy.head("/big?200000000"))
        for _ in range(20):  # other requests go on meanwhile
            assert proxy.get("/").status == 200
        assert peak_kib() - before < 24 << 10
        assert slow.recv(5) == b"HTTP/"


def test_a_websocket_echoes(proxy: Front) -> None:
    async def go() -> None:
        uri = f"ws://lab.localhost:{proxy.port}/ws"
        headers = {"Cookie": f"tawtin_workspace={COOKIE}"}
        async with websockets.connect(
            uri, host="127.0.0.1", additional_headers=headers, origin=None, max_size=None, proxy=None
        ) as link:
            for message in ("word", "ء" * 200, b"\0" * 100_000):
                await link.send(message)
                assert await link.recv() == message

    asyncio.run(go())


def test_the_first_bytes_of_a_client_are_activity(door: Room) -> None:
    with front(door.address) as one:
        one.get("/", cookie="wrong")
        assert one.book.seen_keys == []
        one.get("/")  # as a page that was left open does by itself
        assert one.book.seen_keys == []
        one.get("/", "Sec-Fetch-Mode: navigate")
        one.get("/", "Sec-Fetch-Mode: navigate")
        assert one.book.seen_keys == ["lab"]


def test_a_pong_is_no_activity_and_a_word_is() -> None:
    assert is_pong(b"\x8a\x80mask")
    assert is_pong(b"\x8a\x84mask1234")
    assert not is_pong(b"\x81\x84mask1234")
    assert not is_pong(b"\x8a\x80mask\x81\x81maskx")
    assert not is_pong(b"\x8a")


@pytest.mark.parametrize("how", ["reset", "end"])
def test_a_client_that_goes_ends_what_the_application_does_for_it(proxy: Front, door: Room, how: str) -> None:
    file = door.home / f"gone-{how}"
    with proxy.connect() as connection:
        connection.sendall(proxy.head(f"/stream?{file.name}"))
        assert connection.recv(10)
        if how == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(file.exists)
    until(lambda: not proxy.proxy.open)


def test_a_silent_client_that_ended_its_side_is_not_waited_for_long(door: Room, tmp_path: Path) -> None:
    with (
        room(tmp_path, ["/bin/sh", "-c", SILENT]) as one,
        front(one.address, ProxySettings(port=0, half_seconds_max=1)) as way,
        way.connect() as connection,
    ):
        connection.sendall(way.head("/"))
        connection.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionResetError):
            read_all(connection)


SILENT = """exec /usr/bin/python3 -c "
import os, socket, signal
one = socket.socket(socket.AF_UNIX); one.bind(os.environ['TAWTIN_SOCKET']); one.listen(9); signal.pause()"
"""


def test_who_ends_its_side_after_a_request_still_gets_the_answer(proxy: Front) -> None:
    with proxy.connect() as connection:
        connection.sendall(proxy.head("/big?3000000"))
        connection.shutdown(socket.SHUT_WR)
        assert len(read(connection).body) == 3_000_000


def test_an_application_that_is_not_there_yet_is_asked_for_again(tmp_path: Path) -> None:
    with (
        room(tmp_path, ["/bin/sleep", "600"], wait=False) as one,
        front(one.address, ProxySettings(port=0, start_seconds_max=1)) as way,
    ):
        first = way.get("/")
        assert (first.status, first.headers["retry-after"]) == (503, "1")
        assert b'http-equiv="refresh"' in first.body
        until(lambda: way.get("/").status == 504)
        assert b"refresh" not in way.get("/").body


def test_an_answer_that_breaks_off_is_not_taken_for_whole(tmp_path: Path) -> None:
    with room(tmp_path) as one, front(one.address) as way:
        with way.connect() as connection:
            connection.sendall(way.head("/die"))
            with pytest.raises(ConnectionResetError):
                read_all(connection)
        assert one.process.wait(WAIT_S) == 7
        assert way.get("/").status == 503


def test_a_proxy_that_closes_ends_what_is_open(door: Room) -> None:
    with front(door.address) as one:
        connection = one.connect()
        connection.sendall(one.head("/stream?closing"))
        assert connection.recv(10)
    with connection, pytest.raises(ConnectionResetError):
        read_all(connection)
    assert threading.active_count() < 10
