"""Stands between an engine and a real API server, and answers in its place, loses answers, or ends watches."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tools.kubernetes_cluster import Cluster


@dataclass
class Fault:
    """What is done about requests that it is for, so many times."""

    method: str
    path: str
    """What the path, with its query, contains."""
    status: int = 0
    """Answer this. 0: hand the request on, and close the connection instead of answering."""
    reason: str = ""
    times: int = 1
    headers: dict[str, str] = field(default_factory=dict[str, str])
    met: int = 0

    @property
    def body(self) -> bytes:
        """A Status, as the API server writes it."""
        said = {"kind": "Status", "status": "Failure", "reason": self.reason, "code": self.status}
        return json.dumps({**said, "message": f"planted: {self.reason or self.status}"}).encode()


@dataclass
class Proxy:
    """Speaks plain HTTP, on loopback, to the engine; what it hands on, it hands on as the cluster's administrator."""

    cluster: Cluster
    faults: list[Fault] = field(default_factory=list[Fault])
    seen: list[str] = field(default_factory=list[str])
    watches: list[Callable[[], None]] = field(default_factory=list[Callable[[], None]])

    def __post_init__(self) -> None:
        self.lock = threading.Lock()
        self.context = ssl.create_default_context(cafile=str(self.cluster.folder / "ca.crt"))
        self.context.load_cert_chain(self.cluster.folder / "admin.crt", self.cluster.folder / "admin.key")
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that it has
                """Say nothing."""

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except OSError:
                    self.close_connection = True

            def do_GET(self) -> None:
                proxy.handle(self)

            do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815 - the names that they have

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.block_on_close = False
        self.thread = threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        self.thread.start()

    @property
    def kubeconfig(self) -> str:
        """For an engine that is to speak to this."""
        path = self.cluster.folder / "proxy.kubeconfig"
        text: dict[str, object] = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {"name": "p", "cluster": {"server": f"http://127.0.0.1:{self.server.server_address[1]}"}}
            ],
            "users": [{"name": "p", "user": {}}],
            "contexts": [{"name": "p", "context": {"cluster": "p", "user": "p"}}],
            "current-context": "p",
        }
        Path(path).write_text(json.dumps(text))
        return str(path)

    def plant(
        self, method: str, path: str, status: int = 0, reason: str = "", times: int = 1, **headers: str
    ) -> Fault:
        fault = Fault(
            method, path, status, reason, times, {k.replace("_", "-"): v for k, v in headers.items()}
        )
        with self.lock:
            self.faults.append(fault)
        return fault

    def count(self, method: str, path: str) -> int:
        """How many requests there were, those that were answered here included."""
        with self.lock:
            return sum(each.startswith(method) and path in each for each in self.seen)

    def end_watches(self) -> None:
        with self.lock:
            watches, self.watches = self.watches, []
        for end in watches:
            end()

    def close(self) -> None:
        self.end_watches()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def _fault(self, method: str, path: str) -> Fault | None:
        with self.lock:
            self.seen.append(f"{method} {path}")
            for fault in self.faults:
                if fault.method == method and fault.path in path and fault.met < fault.times:
                    fault.met += 1
                    return fault
        return None

    def handle(self, asked: BaseHTTPRequestHandler) -> None:
        length = int(asked.headers.get("Content-Length") or 0)
        body = asked.rfile.read(length) if length else None
        fault = self._fault(asked.command, asked.path)
        if fault is not None and fault.status:
            self._answer(
                asked, fault.status, fault.body, {"Content-Type": "application/json", **fault.headers}
            )
            return
        upstream = http.client.HTTPSConnection(
            "127.0.0.1", self.cluster.ports["apiserver"], context=self.context, timeout=60
        )
        try:
            kind = asked.headers.get("Content-Type", "application/json")
            upstream.request(
                asked.command, asked.path, body, {"Accept": "application/json", "Content-Type": kind}
            )
            answer = upstream.getresponse()
            if fault is not None:
                asked.close_connection = True
            elif "watch=1" in asked.path and answer.status == 200:
                self._stream(asked, upstream, answer)
            else:
                self._answer(asked, answer.status, answer.read(), {"Content-Type": "application/json"})
        except (OSError, http.client.HTTPException):
            asked.close_connection = True
        finally:
            upstream.close()

    def _answer(
        self, asked: BaseHTTPRequestHandler, status: int, body: bytes, headers: dict[str, str]
    ) -> None:
        asked.send_response(status)
        for name, value in headers.items():
            asked.send_header(name, value)
        asked.send_header("Content-Length", str(len(body)))
        asked.end_headers()
        asked.wfile.write(body)

    def _stream(
        self,
        asked: BaseHTTPRequestHandler,
        upstream: http.client.HTTPSConnection,
        answer: http.client.HTTPResponse,
    ) -> None:
        sock = upstream.sock
        with self.lock:
            self.watches.append(lambda: _shut(sock))
        asked.send_response(200)
        asked.send_header("Content-Type", "application/json")
        asked.send_header("Connection", "close")
        asked.end_headers()
        asked.close_connection = True
        while part := answer.read1(65_536):
            asked.wfile.write(part)
            asked.wfile.flush()


def _shut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it has ended
        sock.shutdown(socket.SHUT_RDWR)
