"""Malformed, huge and slow requests: each gets a problem that names what is wrong, and the factory goes on."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import time
from pathlib import Path

import msgspec
import pytest

from tawtin.model.tenant import Scope
from tests.web.harness import JOB, WEB, Factory, running
from tests.web.raw import connect, exchange, read, request

PATH = "/api/v1/workloads"


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("limit=0", "limit"),
        ("limit=many", "limit"),
        ("limit=1&limit=2", "limit"),
        ("unknown=1", "unknown"),
        ("phase=queued,nonsense", "phase"),
        ("tenant=Not%20An%20Id", "tenant"),
        ("limit", "limit"),
    ],
)
def test_a_wrong_query_parameter_is_named(factory: Factory, query: str, named: str) -> None:
    got = request(factory.url, "GET", f"{PATH}?{query}", key=factory.key("query"))
    assert got.problem == (400, "Invalid")
    assert f"`{named}" in got.json["detail"]
    assert got.places[0].startswith(named)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"name": "x", "run": "true",}',
        b'{"name": "\xff", "run": "true"}',
        b"[" * 100_000,
        b'{"labels": ' * 20_000,
        b'{"name": "x", "name": "y", "run": "true"}',
        b'{"name": "x", "run": "true", "surprise": 1}',
        json.dumps({**JOB, "priority": 10**40}).encode(),
        json.dumps({**JOB, "resources": {"cpus": 10**30}}).encode(),
        json.dumps({**JOB, "name": "a\x00b"}).encode(),
    ],
)
def test_a_malformed_spec_is_refused_and_nothing_breaks(factory: Factory, body: bytes) -> None:
    key = factory.key("malformed")
    got = request(factory.url, "POST", PATH, key=key, body=body)
    assert got.problem == (422, "InvalidSpec")
    assert got.json["errors"]


@pytest.mark.parametrize(
    ("body", "places"),
    [
        (b"{", [""]),
        (b'{"name": 1}', ["name"]),
        (b'{"nam": "x"}', ["nam"]),
        (b'{"scope": "everything"}', ["scope"]),
        (b"[" * 200_000, [""]),
        (b'{"name": "\xff"}', [""]),
        (b'{"expires_ms": 99999999999999999999999999}', ["expires_ms"]),
    ],
)
def test_a_malformed_record_is_refused_with_its_place(
    factory: Factory, body: bytes, places: list[str]
) -> None:
    got = request(factory.url, "POST", "/api/v1/keys", key=factory.key("malformed"), body=body)
    assert (got.problem, got.places) == ((400, "Invalid"), places)


def test_json_that_nests_for_ever_is_refused(factory: Factory) -> None:
    admin = factory.key("casa", Scope.ADMIN)
    for body in (b'{"name": ' + b"[" * 500_000, b'{"a":' * 200_000):
        got = request(
            factory.url, "PATCH", "/api/v1/tenants/casa", key=admin, body=body, headers={"If-Match": '"1"'}
        )
        assert got.problem == (400, "Invalid")
        assert "nested too deeply" in got.json["detail"]


def test_malformed_json_is_refused_with_line_and_column(factory: Factory) -> None:
    got = request(factory.url, "POST", "/api/v1/keys", key=factory.key("place"), body=b'{\n  "name": "x",\n}')
    assert (got.json["errors"][0]["line"], got.json["errors"][0]["column"]) == (3, 1)


def test_a_body_that_is_too_long_is_refused_unread(factory: Factory) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {factory.key('long')}\r\n"
    declared = exchange(factory.url, f"{head}Content-Length: {1 << 40}\r\n\r\n".encode())
    assert declared.problem == (413, "TooLarge")
    with connect(factory.url) as connection:
        connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        with contextlib.suppress(OSError):  # it may be closed while we go on
            for _ in range(5 * 1024):
                connection.sendall(b"400\r\n" + b" " * 1024 + b"\r\n")
        assert read(connection).problem == (413, "TooLarge")


@pytest.mark.parametrize(
    ("media", "extra", "want"),
    [
        ("text/html", {}, 415),
        ("application/json; charset=latin-1", {}, 415),
        ("application/json", {"Content-Encoding": "gzip"}, 415),
    ],
)
def test_a_media_type_without_meaning_is_refused(
    factory: Factory, media: str, extra: dict[str, str], want: int
) -> None:
    got = request(factory.url, "POST", PATH, key=factory.key("media"), body=JOB, media=media, headers=extra)
    assert got.problem == (want, "UnsupportedMediaType")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", PATH, "GET, HEAD, POST"),
        ("POST", "/api/v1/whoami", "GET, HEAD"),
        ("PUT", "/api/v1/workloads/wl-1/cancel", "POST"),
        ("OPTIONS", "/healthz", "GET, HEAD"),
    ],
)
def test_a_method_without_meaning_is_told_those_that_have_one(
    factory: Factory, method: str, path: str, allow: str
) -> None:
    got = request(factory.url, method, path, key=factory.key("method"))
    assert (got.problem, got.headers["allow"]) == ((405, "MethodNotAllowed"), allow)


def test_head_is_get_without_its_body(factory: Factory) -> None:
    key = factory.key("head")
    head, get = (request(factory.url, method, "/api/v1/whoami", key=key) for method in ("HEAD", "GET"))
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"]


def test_a_path_without_a_route_is_a_problem(factory: Factory) -> None:
    for path in ("/api/v1/nothing", "/nothing", "/api/v1/workloads/", "/api/v1/../../etc/passwd", "/%00"):
        assert request(factory.url, "GET", path).problem == (404, "NotFound")


@pytest.mark.parametrize("name", ["Authorization", "Idempotency-Key", "If-Match"])
def test_a_header_that_stands_there_twice_is_refused(factory: Factory, name: str) -> None:
    key = factory.key("twice")
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Length: 0\r\n"
    data = f"{head}{name}: a\r\n{name}: b\r\n\r\n"
    assert exchange(factory.url, data.encode()).problem == (400, "Invalid")


@pytest.mark.parametrize("value", ["", "a" * 256, "über"])
def test_an_idempotency_key_that_is_none_is_refused(factory: Factory, value: str) -> None:
    headers = {"Idempotency-Key": value}
    got = request(factory.url, "POST", PATH, key=factory.key("idem"), body=JOB, headers=headers)
    assert got.problem == (400, "Invalid")


def test_an_answer_names_the_request(factory: Factory) -> None:
    mine = request(factory.url, "GET", "/healthz", headers={"X-Request-Id": "trace-me.1"})
    theirs = request(factory.url, "GET", "/healthz", headers={"X-Request-Id": "no spaces\tplease"})
    assert mine.headers["x-request-id"] == "trace-me.1"
    assert theirs.headers["x-request-id"] not in {"", "no spaces\tplease"}


def test_headers_that_are_too_long_are_refused(factory: Factory) -> None:
    whole = b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"".join(
        b"X-%d: %s\r\n" % (n, b"a" * 900) for n in range(60)
    )
    assert exchange(factory.url, whole + b"\r\n").status == 431
    with connect(factory.url) as connection, contextlib.suppress(OSError):
        connection.sendall(b"GET /healthz HTTP/1.1\r\nX-Endless: ")
        for _ in range(64):
            connection.sendall(b"a" * 4096)
            time.sleep(0.002)
        assert read(connection).status == 431


def test_slow_requests_are_let_go_and_whole_ones_are_not(tmp_path: Path) -> None:
    quick = msgspec.structs.replace(WEB, header_seconds_max=1, body_seconds_max=1, idle_seconds_max=5)
    with running(tmp_path, settings=quick) as factory:
        silent, half, body, idle = (connect(factory.url) for _ in range(4))
        with silent, half, body, idle:
            half.sendall(b"GET /healthz HTTP/1.1\r\nHost:")
            body.sendall(
                f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {factory.key('slow')}\r\n".encode()
            )
            body.sendall(b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
            idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert read(idle).status == 200
            for connection in (silent, half, body):
                assert read(connection).status == 408
            idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert read(idle).status == 200, "a connection between two requests is not slow"


def test_requests_in_one_packet_are_answered_in_their_order(factory: Factory) -> None:
    one = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-Id: %s\r\n\r\n"
    with connect(factory.url) as connection:
        connection.sendall(one % b"a" + one % b"b")
        data = b""
        while data.count(b"ok\n") < 2:
            data += connection.recv(65_536)
    assert data.index(b"x-request-id: a") < data.index(b"x-request-id: b")


def test_what_breaks_inside_is_logged_and_not_shown(
    factory: Factory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("the innermost secret")

    key = factory.key("broken")
    with monkeypatch.context() as patched, caplog.at_level(logging.ERROR, "tawtin.http"):
        patched.setattr(factory.service, "capacity", broken)
        got = request(factory.url, "GET", "/api/v1/capacity", key=key, headers={"X-Request-Id": "find-me"})
    assert got.problem == (500, "Internal")
    assert b"innermost" not in got.body
    assert b"Traceback" not in got.body
    assert "find-me" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_logged_requests_hold_no_key_and_no_query(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    every = msgspec.structs.replace(WEB, log_requests="all")
    with caplog.at_level(logging.INFO, "tawtin.http"), running(tmp_path, settings=every) as factory:
        key = factory.key("logged")
        request(factory.url, "GET", f"{PATH}?before=private-cursor", key=key)
    logged = [record for record in caplog.records if record.name == "tawtin.http"]
    # Another test's factory may still write a line of its own: what it answered is logged after the answer was sent.
    (line,) = [record for record in logged if record.__dict__["tenant"] == "logged"]
    assert (line.__dict__["route"], line.__dict__["status"]) == (PATH, 200)
    assert key not in str(line.__dict__)
    assert "private-cursor" not in str(line.__dict__)


def test_what_is_no_http_is_refused(factory: Factory) -> None:
    with connect(factory.url) as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200))
        with contextlib.suppress(ConnectionError):
            assert connection.recv(100).startswith((b"HTTP/1.1 400", b""))
    assert request(factory.url, "GET", "/healthz").status == 200


def test_an_address_in_use_is_named(factory: Factory, tmp_path: Path) -> None:
    taken = int(factory.url.rpartition(":")[2])
    with (
        pytest.raises(OSError, match=rf"cannot listen on `127.0.0.1:{taken}`"),
        running(tmp_path, settings=msgspec.structs.replace(WEB, port=taken)),
    ):
        pass


def test_a_request_smuggled_in_a_body_is_not_answered(factory: Factory) -> None:
    inner = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    data = (
        b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        % len(inner)
    )
    with connect(factory.url) as connection:
        connection.sendall(data + inner)
        connection.settimeout(2)
        got = b""
        with contextlib.suppress(socket.timeout, ConnectionError):
            while piece := connection.recv(65_536):
                got += piece
    assert b"200 OK" not in got
