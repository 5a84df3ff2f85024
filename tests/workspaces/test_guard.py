"""What the proxy refuses, and what it takes away, in front of a real application."""

from __future__ import annotations

import socket
from urllib.parse import quote

import pytest

from tawtin.web.workspaces.settings import ProxySettings
from tests.workspaces.front import COOKIE, KEY, Front, front, read
from tests.workspaces.rooms import WAIT_S, Room, read_all


def test_a_ticket_becomes_a_cookie_once(proxy: Front) -> None:
    proxy.book.tickets.add("t1")
    entered = proxy.get("/_tawtin/enter?ticket=t1&next=/lab/tree%3Fa%3Db", cookie="")
    assert (entered.status, entered.headers["location"]) == (303, "/lab/tree?a=b")
    assert entered.all("set-cookie") == [f"tawtin_workspace={COOKIE}; Path=/; HttpOnly; SameSite=Lax"]
    assert entered.headers["cache-control"] == "no-store"
    assert proxy.get("/_tawtin/enter?ticket=t1", cookie="").status == 403
    assert proxy.get("/_tawtin/enter").status == 400


def test_over_tls_no_other_host_can_set_the_cookie(door: Room) -> None:
    with front(door.address, ProxySettings(port=0, tls=True)) as one:
        cookie = one.get("/_tawtin/enter?ticket=ticket").headers["set-cookie"]
        assert cookie == f"__Host-tawtin_workspace={COOKIE}; Path=/; HttpOnly; SameSite=Lax; Secure"
        assert one.get("/").status == 401  # the plain name
        head = one.head("/", f"Cookie: __Host-tawtin_workspace={COOKIE}", cookie="x")
        assert dict(one.said(head).json["headers"])["x-forwarded-proto"] == "https"


@pytest.mark.parametrize(
    "target",
    ["//evil.example", "/\\evil.example", "https://evil.example", "evil", "/a\r\nX-Y: z", "/a b", "/é", ""],
)
def test_next_leads_nowhere_else(proxy: Front, target: str) -> None:
    proxy.book.tickets.add("t2")
    entered = proxy.get(f"/_tawtin/enter?ticket=t2&next={quote(target, safe='')}")
    assert (entered.status, entered.headers["location"]) == (303, "/")
    assert "x-y" not in entered.headers


@pytest.mark.parametrize("cookie", ["", "stolen", COOKIE.upper()])
def test_without_the_cookie_nobody_gets_through(proxy: Front, cookie: str) -> None:
    assert proxy.get("/", cookie=cookie).status == 401
    assert proxy.get("/", f"Authorization: Bearer {KEY}", cookie=cookie).status == 401


def test_a_second_cookie_of_that_name_locks_nobody_out(proxy: Front) -> None:
    assert proxy.get("/", f"Cookie: a=b; tawtin_workspace={COOKIE}", cookie="tossed").status == 200


def test_what_a_page_says_is_text(proxy: Front) -> None:
    said = proxy.get("/", label="other")
    assert said.status == 404
    assert b"No &lt;such&gt; thing" in said.body
    assert b"<gone>" not in said.body
    assert "default-src 'none'" in said.headers["content-security-policy"]


@pytest.mark.parametrize(
    "host",
    ["localhost", "lab.example", "lab.localhost.evil", "a.lab.localhost", "-.localhost", ".localhost",
     "lab.localhost:x", "lab.localhost, x", "lab.localhost/x", "lab@x.localhost", "[::1]", "127.0.0.1"],
)  # fmt: skip
def test_a_host_that_is_no_workspaces_is_not_served(proxy: Front, host: str) -> None:
    raw = f"GET / HTTP/1.1\r\nHost: {host}\r\nCookie: tawtin_workspace={COOKIE}\r\n\r\n"
    assert proxy.said(raw.encode()).status == 421


POST = "POST / HTTP/1.1\r\nHost: {h}\r\nCookie: {c}\r\n"
GET = "GET / HTTP/1.1\r\nHost: {h}\r\nCookie: {c}\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n\r\n"
UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\n"
SMUGGLED = {
    "two lengths": POST + "Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
    "the same length twice": POST + "Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd",
    "a list of lengths": POST + "Content-Length: 4, 4\r\n\r\nabcd",
    "a signed length": POST + "Content-Length: +4\r\n\r\nabcd",
    "length and chunks": POST + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an unknown coding": POST + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": POST + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a coding behind a tab": POST + "Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n",
    "a folded line": GET + "X-A: b\r\n Transfer-Encoding: chunked\r\n\r\n",
    "a space before the colon": GET + "Content-Length : 4\r\n\r\nabcd",
    "line feeds alone": "GET / HTTP/1.1\nHost: {h}\n\n\r\n\r\n",
    "a line feed in a value": GET + "X-A: b\nX-B: c\r\n\r\n",
    "a carriage return in a value": GET + "X-A: b\rX-B: c\r\n\r\n",
    "a zero in a value": GET + "X-A: b\0\r\n\r\n",
    "a name that is none": GET + "X A: b\r\n\r\n",
    "two hosts": GET + "Host: {h}\r\n\r\n",
    "another address": "GET http://{h}/ HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "a star": "OPTIONS * HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "an old version": "GET / HTTP/1.0\r\nHost: {h}\r\n\r\n",
    "a size that is none": POST + CHUNKED + "0x4\r\nabcd\r\n0\r\n\r\n",
    "a signed size": POST + CHUNKED + "+4\r\nabcd\r\n0\r\n\r\n",
    "a chunk without an end": POST + CHUNKED + "4\r\nabcdef0\r\n\r\n",
    "trailers": POST + CHUNKED + "4\r\nabcd\r\n0\r\nX-A: b\r\n\r\n",
    "an upgrade with a body": POST + UPGRADE + "Content-Length: 4\r\n\r\nabcd",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(SMUGGLED))
def test_what_could_be_read_in_two_ways_is_refused_and_nothing_after_it_is_read(
    proxy: Front, name: str
) -> None:
    filled = SMUGGLED[name].replace("{h}", f"lab.localhost:{proxy.port}")
    raw = filled.replace("{c}", f"tawtin_workspace={COOKIE}").encode("latin-1")
    with proxy.connect() as connection:
        connection.sendall(raw + proxy.head("/second"))
        assert read(connection).status == 400
        assert b"second" not in read_all(connection)


def test_too_much_of_a_head_is_refused(proxy: Front) -> None:
    assert proxy.get("/", "X-A: " + "b" * 40_000).status == 431
    assert proxy.get("/", *(f"X-{number}: b" for number in range(150))).status == 431
    assert proxy.get("/", method="TRACE").status == 405
    assert proxy.get("/", method="CONNECT").status == 405
    assert proxy.get("/", "Expect: something").status == 417


def test_the_application_gets_what_is_its_own_alone(proxy: Front) -> None:
    got = proxy.get(
        "/a/%2e%2e/b//c;d?e=%00",
        "Cookie: theirs=1; tawtin_0123abcd=console; TAWTIN_x=y; other=2",
        f"Authorization: Bearer {KEY}",
        "X-Forwarded-For: 6.6.6.6",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Anything: x",
        "X_Forwarded_For: 6.6.6.6",
        "Forwarded: for=6.6.6.6",
        "Proxy: evil",
        "Keep-Alive: 5",
        "TE: trailers",
        "Connection: X-Listed, host",
        "X-Listed: x",
        "Accept: a/b",
    ).json
    host = f"lab.localhost:{proxy.port}"
    assert got["target"] == "/a/%2e%2e/b//c;d?e=%00"
    assert sorted((name, value) for name, value in got["headers"]) == [
        ("accept", "a/b"),
        ("connection", "close"),
        ("cookie", "theirs=1; other=2"),
        ("host", host),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", host),
        ("x-forwarded-proto", "http"),
    ]
    theirs = dict(proxy.get("/", "Authorization: token abc").json["headers"])
    assert theirs["authorization"] == "token abc"


@pytest.mark.parametrize(
    "target",
    ["/_tawtin", "/_tawtin/", "/_tawtin/other", "/_tawtin/ssh/", "/_tawtin/ssh/../shell", "/%5Ftawtin/ssh",
     "/%5ftawtin/enter?ticket=ticket", "/a/../_tawtin/ssh", "/./_tawtin/ssh", "//_tawtin/ssh", "/%2e/_tawtin/ssh",
     "/a/%2e%2e/_tawtin/ssh", "/%255Ftawtin/ssh", "/_TAWTIN/ssh", "/\\_tawtin/ssh", "/_tawtin;a/ssh", "/_tawtin%2fssh"],
)  # fmt: skip
def test_a_path_that_only_looks_like_one_of_ours_is_none(proxy: Front, target: str) -> None:
    upgrade = ("Connection: Upgrade", "Upgrade: tawtin", f"Authorization: Bearer {KEY}")
    assert proxy.get(target, *upgrade, cookie="").status == 404
    assert proxy.get(target).status == 404


def test_a_name_inside_of_a_path_is_the_applications(proxy: Front) -> None:
    assert proxy.get("/files/_tawtin/ssh").json["target"] == "/files/_tawtin/ssh"


@pytest.mark.parametrize(
    ("method", "headers", "want"),
    [
        ("GET", [], 200),
        ("POST", [], 200),
        ("POST", ["Origin: {own}", "Sec-Fetch-Site: same-origin"], 200),
        ("POST", ["Origin: https://evil.example"], 403),
        ("POST", ["Origin: null"], 403),
        ("POST", ["Origin: {sibling}"], 403),
        ("PUT", ["Sec-Fetch-Site: same-site"], 403),
        ("DELETE", ["Sec-Fetch-Site: cross-site"], 403),
        ("OPTIONS", ["Origin: https://evil.example"], 403),
        ("GET", ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"], 200),
        ("GET", ["Sec-Fetch-Site: same-site", "Sec-Fetch-Mode: no-cors"], 403),
        ("GET", ["Origin: https://evil.example", "Connection: Upgrade", "Upgrade: websocket"], 403),
        ("GET", ["Origin: {sibling}", "Connection: Upgrade", "Upgrade: websocket"], 403),
        ("GET", ["Sec-Fetch-Site: same-site", "Connection: Upgrade", "Upgrade: websocket"], 403),
    ],
)
def test_pages_of_other_origins_start_nothing(
    proxy: Front, method: str, headers: list[str], want: int
) -> None:
    own, sibling = (f"http://{name}.localhost:{proxy.port}" for name in ("lab", "look"))
    headers = [each.format(own=own, sibling=sibling) for each in headers]
    assert proxy.get("/", *headers, method=method).status == want


def test_who_may_only_read_does_only_that(proxy: Front) -> None:
    assert proxy.get("/", label="look").status == 200
    assert proxy.get("/", label="look", method="HEAD").status == 200
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert proxy.get("/", label="look", method=method).status == 403
    socket_head = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x")
    assert proxy.get("/ws", *socket_head, label="look").status == 403
    for service in ("ssh", "shell", "tar"):
        head = ("Connection: Upgrade", "Upgrade: tawtin", f"Authorization: Bearer {KEY}")
        assert proxy.get(f"/_tawtin/{service}", *head, label="look", cookie="").status == 403


def test_an_application_sets_its_own_cookies_alone(proxy: Front) -> None:
    got = proxy.get("/cookies")
    assert got.all("set-cookie") == ["plain=1; Path=/; HttpOnly", "wide=1; Path=/"]
    assert "clear-site-data" not in got.headers


def test_another_origin_frames_no_application_that_does_not_say_so(proxy: Front) -> None:
    assert proxy.get("/").headers["content-security-policy"] == "frame-ancestors 'self'"
    assert proxy.get("/framed").all("content-security-policy") == ["frame-ancestors 'none'"]


def test_another_protocol_than_websocket_is_not_asked_for(proxy: Front) -> None:
    got = proxy.get(
        "/", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"
    ).json
    assert not {name for name, _ in got["headers"]} & {"upgrade", "http2-settings"}


def test_a_door_that_is_not_there_or_does_not_let_us_in_is_said_so(proxy: Front) -> None:
    assert proxy.get("/", label="gone").status == 503  # it may not stand yet
    assert proxy.get("/", label="wrong").status == 502


def test_who_is_slow_with_a_head_is_sent_away(door: Room) -> None:
    with front(door.address, ProxySettings(port=0, header_seconds_max=1, idle_seconds_max=1)) as one:
        with one.connect() as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nX-A: b\r\n")
            assert read(connection).status == 408
        with one.connect() as connection:
            assert read_all(connection) == b""


def test_more_connections_than_there_may_be_are_refused(door: Room) -> None:
    with front(door.address, ProxySettings(port=0, connections_max=1)) as one, one.connect() as first:
        first.sendall(one.head("/"))
        assert read(first).status == 200
        with socket.create_connection(("127.0.0.1", one.port), WAIT_S) as second:
            assert read(second).status == 503
