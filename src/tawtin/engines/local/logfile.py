"""A run's output as files of bounded size: the beginning is kept, the end is kept, the middle is dropped.

Each segment is a file named `log.` and the offset of its first byte in the whole output. Only the supervisor writes;
anyone may read meanwhile.
"""

from __future__ import annotations

import os
from typing import Final

from tawtin.engines.local.orders import LOG_PREFIX

_NAME_DIGITS: Final = 20
_SEGMENTS: Final = 8
"""A full log is this many segments: the first of them, and the last ones."""
_SEGMENT_BYTES_MIN: Final = 4096


class LogWriter:
    """Appends to a log of at most `bytes_max` bytes, give or take one segment."""

    def __init__(self, folder: str, bytes_max: int) -> None:
        """Start in an existing folder without a log."""
        self._folder = folder
        self._segment_bytes = max(_SEGMENT_BYTES_MIN, bytes_max // _SEGMENTS)
        self._starts: list[int] = []
        self._fd = -1
        self._room: int = 0
        self.total = 0
        """Bytes of output so far, dropped ones included."""

    def write(self, data: bytes) -> None:
        """Append. Raises OSError when the disk is full; nothing of `data` counts as dropped then."""
        view = memoryview(data)
        while view:
            if self._room <= 0:
                self._next_segment()
            written = os.write(self._fd, view[: self._room])
            self._room -= written
            self.total += written
            view = view[written:]

    def tail(self, size: int) -> bytes:
        """The last `size` bytes."""
        return read_log(self._folder, -size, size)[1]

    def close(self) -> None:
        """Write no more."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._room = 0

    def _next_segment(self) -> None:
        self.close()
        path = _segment(self._folder, self.total)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._starts.append(self.total)
        self._room = self._segment_bytes
        if len(self._starts) > _SEGMENTS:
            oldest = self._starts.pop(1)
            os.unlink(_segment(self._folder, oldest))


def _segment(folder: str, start: int) -> str:
    return os.path.join(folder, f"{LOG_PREFIX}{start:0{_NAME_DIGITS}d}")


def read_log(folder: str, offset: int, limit: int) -> tuple[int, bytes, int, int]:
    """Read at most `limit` bytes from `offset`; a negative offset counts from the end.

    Returns (offset of the data, data, bytes dropped between the offset asked for and that, total bytes so far). An
    absent folder is an empty log.
    """
    for _ in range(3):  # a segment may be dropped between listing and opening it: look again
        try:
            return _read_once(folder, offset, limit)
        except FileNotFoundError:
            continue
    return max(0, offset), b"", 0, 0


def _read_once(folder: str, offset: int, limit: int) -> tuple[int, bytes, int, int]:
    try:
        starts = sorted(
            int(name[len(LOG_PREFIX) :]) for name in os.listdir(folder) if name.startswith(LOG_PREFIX)
        )
    except FileNotFoundError:
        return max(0, offset), b"", 0, 0
    spans = [(start, os.stat(_segment(folder, start)).st_size) for start in starts]
    total = spans[-1][0] + spans[-1][1] if spans else 0
    wanted = max(0, total + offset) if offset < 0 else min(offset, total)
    at = wanted
    parts: list[bytes] = []
    room = max(0, limit)
    for start, size in spans:
        if start + size <= at:
            continue
        if start > at:
            if parts:
                break  # a gap: the next call starts behind it
            at = start
        with open(_segment(folder, start), "rb") as file:
            file.seek(at - start)
            piece = file.read(min(room, start + size - at))
        parts.append(piece)
        at += len(piece)
        room -= len(piece)
        if room <= 0:
            break
    data = b"".join(parts)
    first = at - len(data)
    return first, data, first - wanted, total
