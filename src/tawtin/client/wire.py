"""HTTP/1.1 and server-sent events as a client needs them, without a socket: bytes in, facts out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tawtin.client.errors import ConnectionBroken

HEAD_BYTES_MAX: Final = 64 << 10
_LINE_BYTES_MAX: Final = 1024


def request_head(method: str, target: str, headers: dict[str, str]) -> bytes:
    """Return the head of a request. Raises ValueError if a header holds a line break."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if any("\r" in line or "\n" in line or "\0" in line for line in lines):
        msg = "a header or an address holds a line break: remove it"
        raise ValueError(msg)
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class AnswerReader:
    """Reads one answer. Feed it what arrives; it is over when `done`.

    `status` is 0 until the head is whole. `take` gives what has come of the body since.
    """

    def __init__(self, method: str) -> None:
        """`method` decides whether a body follows."""
        self.status = 0
        self.headers: dict[str, str] = {}
        self.done = False
        self.keep = True
        """Whether the connection can be used again."""
        self._method = method
        self._buffer = bytearray()
        self._body = bytearray()
        self._left: int | None = None
        """Bytes that follow of the body, or of the present chunk; None for `until the end`."""
        self._chunked = False
        self._state = "head"

    def feed(self, data: bytes) -> None:
        """Take bytes; none means that the connection ended. Raises ConnectionBroken if that was too early."""
        if not data:
            self._end()
            return
        self._buffer += data
        while not self.done and self._step():
            pass

    def take(self) -> bytes:
        """Return the body that arrived since the last call."""
        data = bytes(self._body)
        self._body.clear()
        return data

    def _step(self) -> bool:
        """Make sense of a little more; False if more bytes are needed."""
        match self._state:
            case "head":
                return self._head()
            case "size":
                return self._chunk_size()
            case "trailer":
                return self._trailer()
            case _:
                return self._data()

    def _head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > HEAD_BYTES_MAX:
                raise ConnectionBroken("the answer's headers do not end: is this the address of a factory?")
            return False
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        words = lines[0].split(None, 2)
        if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
            raise ConnectionBroken(
                "what answers there does not speak HTTP: is this the address of a factory?"
            )
        status = int(words[1])
        if status < 200:  # 100 Continue and the like come before the answer
            return True
        self.status = status
        for line in lines[1:]:
            name, _, value = line.partition(":")
            self.headers[name.strip().lower()] = value.strip()
        self.keep = self.headers.get("connection", "").lower() != "close" and words[0] != "HTTP/1.0"
        self._what_follows()
        return True

    def _what_follows(self) -> None:
        length = self.headers.get("content-length", "")
        if self._method == "HEAD" or self.status in {204, 304}:
            self.done = True
        elif "chunked" in self.headers.get("transfer-encoding", "").lower():
            self._chunked, self._state = True, "size"
        elif length.isdigit():
            self._left, self._state = int(length), "data"
            self.done = self._left == 0
        else:
            self._left, self._state, self.keep = None, "data", False

    def _chunk_size(self) -> bool:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            if len(self._buffer) > _LINE_BYTES_MAX:
                raise ConnectionBroken("the answer is cut into pieces without a size")
            return False
        text = bytes(self._buffer[:end]).partition(b";")[0].strip()
        del self._buffer[: end + 2]
        try:
            self._left = int(text, 16)
        except ValueError:
            raise ConnectionBroken("the answer is cut into pieces without a size") from None
        self._state = "data" if self._left else "trailer"
        return True

    def _data(self) -> bool:
        if self._left is None:
            self._body += self._buffer
            self._buffer.clear()
            return False
        piece = self._buffer[: self._left]
        self._body += piece
        del self._buffer[: len(piece)]
        self._left -= len(piece)
        if self._left:
            return False
        if not self._chunked:
            self.done = True
            return False
        if len(self._buffer) < 2:
            return False
        del self._buffer[:2]
        self._state = "size"
        return True

    def _trailer(self) -> bool:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            return False
        empty = end == 0
        del self._buffer[: end + 2]
        self.done = empty
        return not empty

    def _end(self) -> None:
        self.keep = False
        if self.status and self._left is None and not self._chunked:
            self.done = True
        if not self.done:
            raise ConnectionBroken("the connection ended before the answer was whole")


class EventReader:
    """Reads server-sent events: feed it text, get (id, event, data).

    A block that has an id alone says where to go on; its event is empty.
    """

    def __init__(self) -> None:
        """Start between two events."""
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[tuple[str, str, bytes]]:
        """Yield the events that are whole now. Comments are left out."""
        *whole, self._buffer = (self._buffer + data).split(b"\n\n")
        for block in whole:
            fields: dict[bytes, list[bytes]] = {}
            for line in block.split(b"\n"):
                name, _, value = line.partition(b":")
                if name:
                    fields.setdefault(name, []).append(value.removeprefix(b" "))
            place = fields.get(b"id", [b""])[-1].decode()
            if b"data" in fields:
                yield place, fields.get(b"event", [b"message"])[-1].decode(), b"\n".join(fields[b"data"])
            elif place:
                yield place, "", b""
