"""Stands between a client and a PostgreSQL server on a Unix socket, and cuts the connection where it hurts."""

from __future__ import annotations

import selectors
import socket
import threading
from pathlib import Path
from typing import Literal, Self

Cut = Literal["", "request", "answer"]


class CuttingProxy:
    """A proxy that `cut` arms for the next thing a client asks, which must be a commit.

    It is lost before it reaches the server (`request`), or it is carried out and the answer is lost (`answer`).
    """

    def __init__(self, folder: Path, server: Path) -> None:
        self.folder = folder
        self.cut: Cut = ""
        self.cuts = 0
        self.refuse = False
        self._server = str(server / ".s.PGSQL.5432")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / ".s.PGSQL.5432"))
        self._listener.listen()
        self._threads: list[threading.Thread] = []
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._accepting = threading.Thread(target=self._accept)

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(10)
        self._listener.close()
        self.hang_up()
        for thread in self._threads:
            thread.join(10)

    def hang_up(self) -> None:
        """Cut all connections that are there."""
        for pair in self._pairs:
            for end in pair:
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.refuse:
                client.close()
                continue
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._server)
            self._pairs.append((client, server))
            thread = threading.Thread(target=self._carry, args=(client, server))
            self._threads.append(thread)
            thread.start()

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        with client, server, selectors.DefaultSelector() as selector:
            for end in (client, server):
                selector.register(end, selectors.EVENT_READ, end)
            deaf = False
            while True:
                for key, _ in selector.select():
                    chunk = _receive(key.data)
                    if not chunk:
                        return
                    if key.data is client:
                        if self.cut:
                            cut, self.cut = self.cut, ""
                            self.cuts += 1
                            if cut == "request":
                                return
                            deaf = True
                        if not _send(server, chunk):
                            return
                    elif deaf:
                        if _committed(chunk):
                            return
                    elif not _send(client, chunk):
                        return


def _receive(end: socket.socket) -> bytes:
    try:
        return end.recv(1 << 20)
    except OSError:
        return b""


def _send(end: socket.socket, chunk: bytes) -> bool:
    """Whether the other side was still there to be sent to; who hangs up may do so at any moment."""
    try:
        end.sendall(chunk)
    except OSError:
        return False
    return True


def _committed(chunk: bytes) -> bool:
    """Whether the server says that the transaction is done."""
    return b"COMMIT\0" in chunk
