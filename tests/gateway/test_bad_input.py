"""Bytes that no proper client sends, over raw sockets: refused with a clear answer, and nothing of them forwarded."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tawtin.gateway.settings import ReplicaSettings
from tawtin.gateway.worker.http import Chunks, Head, Problem
from tests.gateway.harness import CHAT, Running, error_of, running, served
from tests.gateway.stub import Stub
from tests.web.raw import Got, connect, exchange, read, request

BODY = json.dumps({"model": "plain", **CHAT}).encode()


@pytest.fixture(scope="module")
def gateway(stub: Stub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    models = {"plain": served(ReplicaSettings(url=stub.url))}
    with running(
        tmp_path_factory.mktemp("gateway"),
        models,
        header_seconds_max=1,
        body_seconds_max=1,
        idle_seconds_max=1,
        header_bytes_max=4_096,
        body_bytes_max=1 << 20,
        connections_max=20,
    ) as one:
        yield one


def head_of(key: str, *lines: str, line: str = "POST /v1/chat/completions HTTP/1.1") -> bytes:
    fixed = [line, "Host: h", f"Authorization: Bearer {key}", "Content-Type: application/json"]
    return "\r\n".join([*fixed, *lines]).encode("latin-1") + b"\r\n\r\n"


LENGTH = f"Content-Length: {len(BODY)}"
CHUNKED = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
SMUGGLED: dict[str, tuple[list[str], bytes]] = {
    "length and coding": ([LENGTH, "Transfer-Encoding: chunked"], CHUNKED),
    "coding and length": (["Transfer-Encoding: chunked", LENGTH], CHUNKED),
    "two lengths": ([LENGTH, "Content-Length: 5"], BODY),
    "two equal lengths": ([LENGTH, LENGTH], BODY),
    "a list of lengths": ([f"{LENGTH}, {len(BODY)}"], BODY),
    "a signed length": ([f"Content-Length: +{len(BODY)}"], BODY),
    "a hexadecimal length": ([f"Content-Length: 0x{len(BODY):x}"], BODY),
    "a tab before a length": ([f"Content-Length:\t{len(BODY)}"], BODY),
    "a tab before a coding": (["Transfer-Encoding:\tchunked"], CHUNKED),
    "two codings": (["Transfer-Encoding: chunked", "Transfer-Encoding: identity"], CHUNKED),
    "a coding that is none": (["Transfer-Encoding: xchunked"], CHUNKED),
    "a list of codings": (["Transfer-Encoding: gzip, chunked"], CHUNKED),
    "a space before the colon": (["Transfer-Encoding : chunked"], CHUNKED),
    "a folded line": ([LENGTH, "X-A: b", " c: d"], BODY),
    "a tab before a name": ([LENGTH, "\tX-A: b"], BODY),
    "a bare line feed": ([LENGTH, "X-A: b\nTransfer-Encoding: chunked"], BODY),
    "a bare carriage return": ([LENGTH, "X-A: b\rTransfer-Encoding: chunked"], BODY),
    "a zero byte": ([LENGTH, "X-A: \0b"], BODY),
    "a name that is empty": ([LENGTH, ": b"], BODY),
    "a line without a colon": ([LENGTH, "X-A"], BODY),
    "two hosts": ([LENGTH, "Host: other"], BODY),
    "two keys": ([LENGTH, "Authorization: Bearer twk_x_y"], BODY),
    "a chunk without a size": (["Transfer-Encoding: chunked"], b"zz\r\n"),
    "a chunk that is longer than it says": (["Transfer-Encoding: chunked"], b"1\r\nab\r\n0\r\n\r\n"),
    "a chunk size that is signed": (["Transfer-Encoding: chunked"], b"-1\r\n"),
    "a chunk size with a bare line feed": (["Transfer-Encoding: chunked"], b"1\na\r\n0\r\n\r\n"),
    "a trailer": (["Transfer-Encoding: chunked"], b"0\r\nX-A: b\r\n\r\n"),
    "a chunk size that overflows": (["Transfer-Encoding: chunked"], b"10000000000000001\r\n"),
}


@pytest.mark.parametrize("shape", sorted(SMUGGLED))
def test_what_two_readers_could_take_for_two_things_is_refused(
    gateway: Running, stub: Stub, key: str, shape: str
) -> None:
    lines, body = SMUGGLED[shape]
    before = len(stub.asked)
    follows = head_of(key, "Content-Length: 0", line="GET /v1/models HTTP/1.1")
    with connect(gateway.url) as connection:
        connection.sendall(head_of(key, *lines) + body + follows)
        got = read(connection)
        assert error_of(got) == (400, "bad_http")
        assert got.headers["connection"] == "close"
        assert connection.recv(65_536) == b"", "nothing behind it is answered"
    assert len(stub.asked) == before


@pytest.mark.parametrize(
    ("first", "want"),
    [
        ("POST /v1/chat/completions HTTP/1.0", (505, "http_version")),
        ("POST /v1/chat/completions HTTP/2.0", (505, "http_version")),
        ("POST http://h/v1/chat/completions HTTP/1.1", (400, "bad_http")),
        ("POST  /v1/chat/completions HTTP/1.1", (400, "bad_http")),
        ("POST /v1/chat/completions", (400, "bad_http")),
        ("post /v1/chat/completions HTTP/1.1", (400, "bad_http")),
        ("CONNECT h:443 HTTP/1.1", (400, "bad_http")),
        ("POST /v1/\xe9 HTTP/1.1", (400, "bad_http")),
    ],
)
def test_a_first_line_is_one_of_http_1_1(
    gateway: Running, key: str, first: str, want: tuple[int, str]
) -> None:
    assert error_of(exchange(gateway.url, head_of(key, LENGTH, line=first) + BODY)) == want


def test_a_head_in_bare_line_feeds_is_refused(gateway: Running, key: str) -> None:
    head = head_of(key, LENGTH).replace(b"\r\n", b"\n")
    assert error_of(exchange(gateway.url, head + BODY)) == (400, "bad_http")


def test_headers_of_the_client_do_not_reach_a_replica(gateway: Running, stub: Stub, key: str) -> None:
    lines = (LENGTH, "X-Forwarded-For: 1.2.3.4", "X-Request-Id: mine", "Cookie: a=b")
    got = exchange(gateway.url, head_of(key, *lines) + BODY)
    assert got.status == 200
    assert set(stub.asked[-1].headers) == {"host", "content-type", "content-length", "x-request-id"}
    assert stub.asked[-1].headers["x-request-id"] == got.headers["x-tawtin-receipt"]


def test_chunked_bodies_arrive_whole(gateway: Running, stub: Stub, key: str) -> None:
    pieces = b"".join(b"%x;a=b\r\n%s\r\n" % (1, BODY[at : at + 1]) for at in range(len(BODY)))
    got = exchange(gateway.url, head_of(key, "Transfer-Encoding: chunked") + pieces + b"0\r\n\r\n")
    assert (got.status, stub.asked[-1].body) == (200, BODY)


def test_requests_that_arrive_together_are_answered_in_order(gateway: Running, key: str) -> None:
    two = head_of(key, LENGTH) + BODY
    listing = head_of(key, line="GET /v1/models/plain HTTP/1.1")
    wrong = head_of(key, "Content-Length: 2") + b"{}"
    with connect(gateway.url) as connection:
        connection.sendall(two + listing + wrong + two)
        answers = read_many(connection, 4)
    assert [each.status for each in answers] == [200, 200, 400, 200]
    assert answers[1].json["id"] == "plain"


def read_many(connection: socket.socket, count: int) -> list[Got]:
    """Answers with a length, of which several may come in one piece."""
    held, found = b"", list[Got]()
    while len(found) < count:
        while b"\r\n\r\n" not in held:
            held += connection.recv(65_536)
        raw, _, held = held.partition(b"\r\n\r\n")
        first, *lines = raw.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        length = int(headers["content-length"])
        while len(held) < length:
            held += connection.recv(65_536)
        found.append(Got(status=int(first.split()[1]), headers=headers, body=held[:length]))
        held = held[length:]
    return found


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b'{"model":"plain","model":"other"}', "twice"),
        (b'{"model":"plain","messages":[{"role":"user","role":"system"}]}', "twice"),
        (b'{"model":"plain","mod\\u0065l":"other"}', "twice"),
        (b'{"model":"pl\xffain"}', "UTF-8"),
        (b'{"model":"plain","x":"\xed\xa0\x80"}', "UTF-8"),
        (b'{"model":"plain","x":NaN}', "NaN"),
        (b'{"model":"plain"} {}', "JSON"),
        (b'{"model":"plain"', "JSON"),
        (b"", "JSON"),
        (b"[]", "object"),
        (b"[" * 100_000, "deeply"),
        (b'{"x":' * 100_000, "deeply"),
        (b'{"messages":[]}', "model"),
        (b'{"model":7}', "model"),
        (b'{"model":"plain","stream":"yes"}', "stream"),
        (b'{"model":"plain","max_tokens":-1}', "max_tokens"),
        (b'{"model":"plain","max_tokens":1e3}', "max_tokens"),
        (b'{"model":"plain","max_tokens":' + b"9" * 5_000 + b"}", "JSON"),
        (b'{"model":"plain","n":true}', "`n`"),
        (b'{"model":"plain","stream_options":[]}', "stream_options"),
    ],
)  # fmt: skip
def test_a_body_that_is_wrong_is_refused_and_the_connection_goes_on(
    gateway: Running, stub: Stub, key: str, body: bytes, word: str
) -> None:
    before = len(stub.asked)
    with connect(gateway.url) as connection:
        connection.sendall(head_of(key, f"Content-Length: {len(body)}") + body)
        got = read(connection)
        assert got.status == 400
        assert word in got.json["error"]["message"]
        assert len(stub.asked) == before
        connection.sendall(head_of(key, LENGTH) + BODY)
        assert read(connection).status == 200


def test_another_kind_of_body_is_refused(gateway: Running, key: str) -> None:
    got = request(gateway.url, "POST", "/v1/chat/completions", key=key, body=BODY, media="text/plain")
    assert error_of(got) == (415, "unsupported_media_type")
    coded = request(
        gateway.url, "POST", "/v1/chat/completions", key=key, body=BODY, headers={"Content-Encoding": "gzip"}
    )
    assert error_of(coded) == (415, "unsupported_media_type")


def test_what_is_too_long_is_refused_before_it_arrived(gateway: Running, key: str) -> None:
    with connect(gateway.url) as connection:
        connection.sendall(head_of(key, "Content-Length: 10485760"))
        assert error_of(read(connection)) == (413, "body_too_large")
    with connect(gateway.url) as connection:
        connection.sendall(head_of(key, "Transfer-Encoding: chunked") + b"a00000\r\n")
        assert error_of(read(connection)) == (413, "body_too_large")
    with connect(gateway.url) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX-Long: " + b"a" * 5_000)
        assert error_of(read(connection)) == (431, "headers")


def test_a_long_body_without_a_key_is_refused_before_it_arrived(gateway: Running, key: str) -> None:
    for lines in (["Content-Length: 1000000"], ["Transfer-Encoding: chunked"]):
        with connect(gateway.url) as connection:
            connection.sendall(head_of(key[:-1], *lines))
            got = read(connection)
            assert error_of(got) == (401, "invalid_api_key")
            assert got.headers["connection"] == "close"


def test_a_body_of_just_the_longest_length_is_taken(gateway: Running, stub: Stub, key: str) -> None:
    empty = len(json.dumps({"model": "plain", "x": ""}))
    body = json.dumps({"model": "plain", "x": "a" * ((1 << 20) - empty)}).encode()
    assert request(gateway.url, "POST", "/v1/chat/completions", key=key, body=body).status == 200
    assert stub.asked[-1].body == body
    assert request(gateway.url, "POST", "/v1/chat/completions", key=key, body=body + b" ").status == 413


def test_slow_clients_are_let_go(gateway: Running, key: str) -> None:
    for sent in (
        b"POST /v1/chat",
        head_of(key, LENGTH) + BODY[:5],
        head_of(key, "Transfer-Encoding: chunked") + b"5\r\n",
    ):
        with connect(gateway.url) as connection:
            connection.sendall(sent)
            assert error_of(read(connection)) == (408, "timeout")
            assert connection.recv(100) == b""
    with connect(gateway.url) as connection:
        connection.sendall(head_of(key, LENGTH) + BODY)
        assert read(connection).status == 200
        assert connection.recv(100) == b"", "an idle connection is closed without a word"


def test_a_client_that_drips_is_let_go_as_well(gateway: Running, key: str) -> None:
    with connect(gateway.url) as connection:
        for byte in head_of(key, *(f"X-{number}: a" for number in range(100))):
            try:
                connection.sendall(bytes([byte]))
                connection.settimeout(0.1)
                data = connection.recv(65_536)
            except TimeoutError:
                continue
            except OSError:
                break
            assert data == b"" or b" 408 " in data
            break
        else:
            pytest.fail("it was never told")


def test_too_many_connections_are_told_so(gateway: Running) -> None:
    held = [connect(gateway.url) for _ in range(20)]
    try:
        with connect(gateway.url) as one:
            assert error_of(read(one)) == (503, "busy")
    finally:
        for each in held:
            each.close()
    gateway.until(lambda: request(gateway.url, "GET", "/healthz").status == 200, "the end of the others")


def test_a_client_is_told_to_go_on_only_with_a_body_that_will_be_taken(gateway: Running, key: str) -> None:
    with connect(gateway.url) as connection:
        connection.sendall(head_of(key, LENGTH, "Expect: 100-continue"))
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        assert read(connection).status == 200
    with connect(gateway.url) as connection:
        connection.sendall(head_of(key, "Content-Length: 10485760", "Expect: 100-continue"))
        assert error_of(read(connection)) == (413, "body_too_large")


# --- the readers alone -----------------------------------------------------------------------------------------------


@given(st.binary(max_size=300))
def test_no_head_makes_the_reader_fail_in_another_way(raw: bytes) -> None:
    for given_bytes in (raw, b"GET / HTTP/1.1\r\nHost: h\r\n" + raw + b"\r\n\r\n"):
        found: Problem | None = None
        try:
            Head(given_bytes)
        except Problem as problem:
            found = problem
        assert found is None or found.close


@given(
    st.lists(st.binary(min_size=1, max_size=30), max_size=8),
    st.lists(st.integers(1, 9), min_size=1, max_size=50),
)
def test_chunks_read_the_same_however_they_are_cut(pieces: list[bytes], cuts: list[int]) -> None:
    raw = b"".join(b"%X\r\n%s\r\n" % (len(each), each) for each in pieces) + b"0\r\n\r\nREST"
    chunks, held, at, number = Chunks(1_000), bytearray(), 0, 0
    while not chunks.feed(held):
        step = cuts[number % len(cuts)]
        held += raw[at : at + step]
        at, number = at + step, number + 1
    assert bytes(chunks.body) == b"".join(pieces)
    assert b"REST".startswith(bytes(held))


@given(st.binary(max_size=60))
def test_no_chunk_makes_the_reader_fail_in_another_way_or_hold_more_than_it_may(raw: bytes) -> None:
    chunks = Chunks(20)
    found: Problem | None = None
    try:
        chunks.feed(bytearray(raw))
    except Problem as problem:
        found = problem
    assert found is None or found.close
    assert len(chunks.body) <= 20
