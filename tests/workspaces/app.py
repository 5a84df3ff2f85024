"""A small application as a workspace has one: HTTP and a WebSocket that echoes, at the Unix socket `TAWTIN_SOCKET`.

Runs in the sandbox on the standard library alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socketserver
import sys
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

PIECE = b"x" * 65536


class App(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        known = {
            "/big": self.big,
            "/cookies": self.cookies,
            "/die": self.die,
            "/environment": self.environment,
            "/framed": self.framed,
            "/stream": self.stream,
            "/ws": self.websocket,
        }
        known.get(path, self.echo)(query)

    do_HEAD = do_POST = do_PUT = do_OPTIONS = do_GET  # noqa: N815 - the names that the library asks for

    def echo(self, _: str) -> None:
        """What this request was."""
        body = self.body()
        said = {
            "method": self.command,
            "target": self.path,
            "headers": [[name.lower(), value] for name, value in self.headers.items()],
            "bytes": len(body),
            "digest": hashlib.sha256(body).hexdigest(),
        }
        self.say(json.dumps(said).encode())

    def body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", "0")))
        whole = b""
        while size := int(self.rfile.readline(), 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def say(self, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(200)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def big(self, query: str) -> None:
        """So many bytes."""
        left = int(query)
        self.send_response(200)
        self.send_header("Content-Length", query)
        self.end_headers()
        while left:
            self.wfile.write(PIECE[:left])
            left -= min(left, len(PIECE))

    def cookies(self, _: str) -> None:
        cookies = [
            "plain=1; Path=/; HttpOnly",
            "wide=1; Domain=localhost; Path=/",
            "tawtin_workspace=stolen; Path=/",
            "__Host-tawtin_workspace=stolen; Path=/; Secure",
            " Tawtin_0123abcd =stolen",
            "=tawtin_workspace=stolen",
            "tawtin_workspace",
        ]
        self.say(b"", *(("Set-Cookie", each) for each in cookies), ("Clear-Site-Data", '"cookies"'))

    def die(self, _: str) -> None:
        """End in the middle of an answer."""
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        self.wfile.write(b"part")
        self.wfile.flush()
        os._exit(7)

    def environment(self, _: str) -> None:
        """What the environments of the processes here show."""
        seen: dict[str, str] = {}
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                seen[path.parent.name] = path.read_bytes().decode()
            except OSError as error:
                seen[path.parent.name] = type(error).__name__
        self.say(json.dumps({"own": dict(os.environ), "all": seen}).encode())

    def framed(self, _: str) -> None:
        self.say(b"", ("Content-Security-Policy", "frame-ancestors 'none'"))

    def stream(self, query: str) -> None:
        """A line now and then, for ever; a file says when nobody listens any more."""
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"line\n")
                self.wfile.flush()
                time.sleep(0.02)
        except OSError:
            Path(query).write_text("gone")
        self.close_connection = True

    def websocket(self, _: str) -> None:
        """Answer the handshake, then echo frames until one says close."""
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        accept = base64.b64encode(hashlib.sha1(key.encode(), usedforsecurity=False).digest())
        self.send_header("Sec-WebSocket-Accept", accept.decode())
        self.end_headers()
        self.close_connection = True
        while head := self.rfile.read(2):
            size = head[1] & 127
            length = self.rfile.read({126: 2, 127: 8}.get(size, 0))
            size = int.from_bytes(length, "big") if length else size
            mask = self.rfile.read(4) * (size // 4 + 1)
            data = int.from_bytes(self.rfile.read(size), "big") ^ int.from_bytes(mask[:size], "big")
            self.wfile.write(bytes([head[0], head[1] & 127]) + length + data.to_bytes(size, "big"))
            if head[0] & 15 == 8:
                return

    def address_string(self) -> str:
        return "door"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing."""


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 64


if __name__ == "__main__":
    sys.stdin.close()
    with Server(os.environ["TAWTIN_SOCKET"], App) as server:
        server.serve_forever(poll_interval=0.1)
