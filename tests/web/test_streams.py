"""Logs and events as streams: from where on, until when, and again after a lost connection."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from tawtin.client.wire import AnswerReader, EventReader
from tawtin.model.reasons import Cause
from tawtin.model.workload import Outcome
from tests.web.harness import JOB, Factory
from tests.web.raw import connect, request


class Stream:
    """An open stream of server-sent events."""

    def __init__(self, url: str, path: str, key: str, headers: dict[str, str]) -> None:
        lines = [f"GET {path} HTTP/1.1", f"Host: {urlsplit(url).netloc}", f"Authorization: Bearer {key}"]
        lines += [f"{name}: {value}" for name, value in {"Accept": "text/event-stream", **headers}.items()]
        self.socket = connect(url)
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self.answer = AnswerReader("GET")
        self._events = EventReader()
        self._ready: list[tuple[str, str, bytes]] = []

    def next(self) -> tuple[str, str, dict[str, Any]]:
        """The next event: id, kind, data. An id alone has the kind ``."""
        while not self._ready:
            assert not self.answer.done, "the stream ended"
            self.answer.feed(self.socket.recv(65_536))
            self._ready += self._events.feed(self.answer.take())
        place, kind, data = self._ready.pop(0)
        return place, kind, json.loads(data) if data else {}

    def until(self, kind: str) -> tuple[str, dict[str, Any]]:
        while True:
            place, found, data = self.next()
            if found == kind:
                return place, data


@contextmanager
def stream(factory: Factory, path: str, key: str, **headers: str) -> Generator[Stream]:
    one = Stream(factory.url, path, key, {name.replace("_", "-"): value for name, value in headers.items()})
    try:
        yield one
    finally:
        one.socket.close()


def text(data: dict[str, Any]) -> bytes:
    return base64.b64decode(str(data["data"]))


def submitted(factory: Factory, key: str) -> str:
    got = request(factory.url, "POST", "/api/v1/workloads", key=key, body=JOB)
    return str(got.json["workloads"][0]["id"])


def logs(workload: str, query: str = "") -> str:
    return f"/api/v1/workloads/{workload}/logs{query}"


def test_a_log_is_read_whole_from_an_offset_and_from_its_end(factory: Factory) -> None:
    key = factory.key("read")
    workload = submitted(factory, key)
    run = factory.started(workload)
    factory.engine.write(run, b"".join(b"line %d\n" % number for number in range(20_000)))
    whole = request(factory.url, "GET", logs(workload), key=key)
    assert whole.body == factory.engine.output[run]
    assert (whole.headers["tawtin-log-epoch"], whole.headers["tawtin-log-offset"]) == ("1", "0")
    later = request(factory.url, "GET", logs(workload, "?offset=100&limit=10"), key=key)
    assert later.body == whole.body[100:110]
    tail = request(factory.url, "GET", logs(workload, "?tail=2"), key=key)
    assert tail.body == b"line 19998\nline 19999\n"
    assert request(factory.url, "GET", logs(workload, "?tail=0"), key=key).body == b""
    long = request(factory.url, "GET", logs(workload, "?tail=9000"), key=key)
    assert long.body.count(b"\n") == 9000
    factory.engine.end(run)


def test_what_rotation_dropped_is_said(factory: Factory) -> None:
    key = factory.key("drop")
    workload = submitted(factory, key)
    run = factory.started(workload)
    factory.engine.write(run, b"0123456789")
    factory.engine.dropped[run] = 6
    got = request(factory.url, "GET", logs(workload, "?offset=2"), key=key)
    assert got.body == b"6789"
    assert (got.headers["tawtin-log-offset"], got.headers["tawtin-log-dropped"]) == ("6", "4")
    factory.engine.end(run)


def test_a_followed_log_goes_on_until_the_end(factory: Factory) -> None:
    key = factory.key("follow")
    workload = submitted(factory, key)
    with stream(factory, logs(workload, "?follow=true"), key) as open_stream:
        run = factory.started(workload)
        factory.engine.write(run, b"one\n")
        _, first = open_stream.until("log")
        factory.engine.write(run, b"two\n")
        place, second = open_stream.until("log")
        assert (text(first), text(second), place) == (b"one\n", b"two\n", "1:8")
        factory.engine.end(run, exit_code=7)
        assert open_stream.until("end")[1] == {"phase": "failed", "exit_code": 7}


def test_a_followed_log_reaches_the_reader_soon(factory: Factory) -> None:
    key = factory.key("soon")
    workload = submitted(factory, key)
    with stream(factory, logs(workload, "?follow=true"), key) as open_stream:
        run = factory.started(workload)
        time.sleep(0.5)
        began = time.monotonic()
        factory.engine.write(run, b"late\n")
        open_stream.until("log")
        assert time.monotonic() - began < 1.0
    factory.engine.end(run)


def test_a_log_goes_on_where_the_connection_was_lost(factory: Factory) -> None:
    key = factory.key("resume")
    workload = submitted(factory, key)
    run = factory.started(workload)
    factory.engine.write(run, b"before|")
    with stream(factory, logs(workload, "?follow=true"), key) as open_stream:
        place, _ = open_stream.until("log")
    factory.engine.write(run, b"after")
    factory.engine.end(run)
    with stream(factory, logs(workload, "?follow=true"), key, Last_Event_ID=place) as open_stream:
        assert text(open_stream.until("log")[1]) == b"after"
        open_stream.until("end")


def test_a_followed_log_goes_on_through_later_runs(factory: Factory) -> None:
    key = factory.key("later")
    workload = submitted(factory, key)
    first = factory.started(workload)
    factory.engine.write(first, b"first ")
    with stream(factory, logs(workload, "?follow=true"), key) as open_stream:
        assert text(open_stream.until("log")[1]) == b"first "
        factory.engine.end(first, outcome=Outcome.INTERRUPTED, cause=Cause.SUPERVISOR_LOST)
        second = factory.started(workload, epoch=2)
        factory.engine.write(second, b"second")
        factory.engine.end(second)
        place, data = open_stream.until("log")
        assert (text(data), data["epoch"], place) == (b"second", 2, "2:6")
        open_stream.until("end")
    pinned = request(factory.url, "GET", logs(workload, "?epoch=1"), key=key)
    assert pinned.body == b"first "


def test_a_log_of_bytes_is_followed_too(factory: Factory) -> None:
    key = factory.key("bytes")
    workload = submitted(factory, key)
    run = factory.started(workload)
    factory.engine.write(run, b"\xff\x00 not text\n")
    threading.Timer(0.3, lambda: (factory.engine.write(run, b"end\n"), factory.engine.end(run))).start()
    got = request(factory.url, "GET", logs(workload, "?follow=true"), key=key)
    assert got.body == b"\xff\x00 not text\nend\n"


def test_a_log_that_contradicts_itself_is_refused(factory: Factory) -> None:
    key = factory.key("contradict")
    workload = submitted(factory, key)
    for query in ("?tail=1&offset=5", "?follow=true&limit=5"):
        assert request(factory.url, "GET", logs(workload, query), key=key).problem == (400, "Invalid")
    bad = {"Last-Event-ID": "nonsense"}
    assert request(factory.url, "GET", logs(workload), key=key, headers=bad).problem == (400, "Invalid")
    assert request(factory.url, "GET", logs(workload, "?epoch=9"), key=key).problem == (404, "NotFound")


def test_events_are_followed_and_taken_up_again(factory: Factory) -> None:
    key = factory.key("events")
    with stream(factory, "/api/v1/events/stream", key) as open_stream:
        open_stream.next()
        workload = submitted(factory, key)
        place, data = open_stream.until("WorkloadsSubmitted")
        assert data["event"]["workloads"][0]["id"] == workload
    factory.engine.end(factory.started(workload))
    with stream(factory, "/api/v1/events/stream", key, Last_Event_ID=place) as open_stream:
        kinds = [open_stream.next()[1] for _ in range(4)]
        assert [kind for kind in kinds if kind] == ["RunPlaced", "RunStarted", "RunEnded"]


def test_events_are_paged_to_their_end(factory: Factory) -> None:
    key = factory.key("paged")
    workload = submitted(factory, key)
    factory.engine.end(factory.started(workload))
    factory.until(lambda: workload not in factory.service.state.workloads, "the end")
    seen: list[str] = []
    start = 0
    while True:
        page = request(factory.url, "GET", f"/api/v1/events?start={start}&limit=3", key=key).json
        seen += [entry["event"]["event"] for entry in page["items"]]
        if page["next"] == start:
            break
        start = page["next"]
    assert seen == ["TenantPut", "KeyPut", "WorkloadsSubmitted", "RunPlaced", "RunStarted", "RunEnded"]


def test_a_silent_stream_says_that_it_lives(factory: Factory) -> None:
    with stream(factory, "/api/v1/events/stream?start=1000000", factory.key("silent")) as open_stream:
        data = b""
        while data.count(b": still here") < 2:
            open_stream.answer.feed(open_stream.socket.recv(65_536))
            data += open_stream.answer.take()


def test_a_reader_that_went_away_is_forgotten(factory: Factory) -> None:
    def open_streams(count: int) -> bool:
        return b"tawtin_http_streams_open %d.0" % count in request(factory.url, "GET", "/metrics").body

    factory.until(lambda: open_streams(0), "the end of earlier streams")
    with stream(factory, "/api/v1/events/stream", factory.key("away")) as open_stream:
        open_stream.next()
        assert open_streams(1)
    factory.until(lambda: open_streams(0), "the end")
