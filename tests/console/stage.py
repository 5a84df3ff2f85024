"""A server of small pages for tests of scripts: what a path answers and what a stream says is up to the test."""

from __future__ import annotations

import base64
import json
import queue
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; font-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
EVENTS: Final = "text/event-stream"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a path answers, `after` something has happened."""

    body: bytes
    kind: str = "text/html; charset=utf-8"
    status: int = 200
    after: threading.Event | None = None


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request that came."""

    method: str
    path: str
    headers: dict[str, str]
    body: str


@dataclass(kw_only=True)
class Stream:
    """Readers of one stream of events: each gets what is said while it reads."""

    readers: list[queue.Queue[bytes | None]] = field(default_factory=list[queue.Queue[bytes | None]])
    opened: int = 0

    def say(self, event: str, data: str = "", number: str = "") -> None:
        named = f"id: {number}\n" if number else ""
        for each in list(self.readers):
            each.put(f"event: {event}\n{named}data: {data}\n\n".encode())

    def log(self, written: bytes, number: str = "") -> None:
        self.say("log", json.dumps({"data": base64.b64encode(written).decode()}), number)


class Stage:
    """The server, in threads; `cut` ends it with all its connections, `mend` brings it back at the same address."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.streams: dict[str, Stream] = {}
        self.asked: list[Asked] = []
        self._server: ThreadingHTTPServer | None = None
        self._port = 0
        self.mend()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def put(self, path: str, html: str) -> None:
        self.answers[path] = Answer(body=html.encode())

    def stream(self, path: str) -> Stream:
        return self.streams.setdefault(path, Stream())

    def mend(self) -> None:
        stage = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:  # the name that http.server looks for
                stage.answer(self, "GET")

            def do_POST(self) -> None:
                stage.answer(self, "POST")

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._server.daemon_threads = True
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def cut(self) -> None:
        if self._server is None:
            return
        self._server.shutdown()
        self._server.server_close()
        self._server = None
        for stream in self.streams.values():
            for each in list(stream.readers):
                each.put(None)

    def answer(self, to: BaseHTTPRequestHandler, method: str) -> None:
        path = to.path.partition("?")[0]
        body = to.rfile.read(int(to.headers.get("Content-Length", 0))).decode()
        self.asked.append(Asked(method=method, path=to.path, headers=dict(to.headers), body=body))
        try:
            if path in self.streams:
                self._tell(to, self.streams[path])
            else:
                self._send(to, self.answers.get(path, Answer(body=b"", status=404)))
        except OSError:
            return  # the reader has gone

    def _send(self, to: BaseHTTPRequestHandler, answer: Answer) -> None:
        if answer.after:
            answer.after.wait()
        self._begin(to, answer.kind, answer.status)
        to.wfile.write(answer.body)

    def _begin(self, to: BaseHTTPRequestHandler, kind: str, status: int) -> None:
        to.send_response(status)
        to.send_header("Content-Type", kind)
        to.send_header("Content-Security-Policy", POLICY)
        to.send_header("Cache-Control", "no-store")
        to.end_headers()

    def _tell(self, to: BaseHTTPRequestHandler, stream: Stream) -> None:
        said: queue.Queue[bytes | None] = queue.Queue()
        self._begin(to, EVENTS, 200)
        to.wfile.write(b": hello\n\n")
        to.wfile.flush()
        stream.readers.append(said)
        stream.opened += 1
        try:
            while (event := said.get()) is not None:
                to.wfile.write(event)
                to.wfile.flush()
        finally:
            stream.readers.remove(said)


def until(holds: object, what: str, seconds: float = 20) -> None:
    """Wait until a question has the answer yes. Raises AssertionError."""
    assert callable(holds)
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)
