"""The pipe between a run and its log: read no faster than the log may grow, so that a flood slows its own source."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from typing import Final

from tawtin.engines.local.logfile import LogWriter
from tawtin.engines.local.spawn import pipe

_PIPE_BYTES: Final = 1 << 18
_READ_BYTES: Final = 1 << 18
_BURST_S: Final = 1


class Output:
    """A run's output, stdout and stderr in one pipe in the order of writing."""

    def __init__(self, folder: str, *, bytes_max: int, bytes_per_s: int) -> None:
        """Keep at most `bytes_max` in `folder`, and take in `bytes_per_s` at most (0: as fast as it comes)."""
        self._writer = LogWriter(folder, bytes_max)
        self._rate = bytes_per_s
        self._credit = float(bytes_per_s * _BURST_S)
        self._credit_at = time.monotonic()
        self._reading = -1
        self._writing = -1
        self.full = False
        """The disk took no more; output is read and lost."""

    def open(self) -> int:
        """Make a new pipe; return its write end, to be closed here by `opened` once it was handed over."""
        self._reading, self._writing = pipe(_PIPE_BYTES)
        os.set_blocking(self._reading, False)
        return self._writing

    def opened(self) -> None:
        """Close the write end on this side."""
        if self._writing >= 0:
            os.close(self._writing)
            self._writing = -1

    @property
    def fd(self) -> int:
        """The read end, or -1 once all writers are gone."""
        return self._reading

    def wait_s(self) -> float:
        """Seconds until reading may go on; 0 if it may now."""
        if not self._rate:
            return 0.0
        now = time.monotonic()
        self._credit = min(self._rate * _BURST_S, self._credit + (now - self._credit_at) * self._rate)
        self._credit_at = now
        return 0.0 if self._credit > 0 else min(1.0, -self._credit / self._rate + 0.02)

    def pump(self) -> bool:
        """Move what is there, at most one buffer; return False once all writers are gone or nothing is there."""
        if self._reading < 0:
            return False
        try:
            data = os.read(self._reading, _READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self.shut()
            return False
        self._credit -= len(data)
        self.note(data)
        return True

    def note(self, data: bytes) -> None:
        """Append to the log; if the disk is full it is lost, and said so where there is place again."""
        try:
            self._writer.write(data)
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
                raise
            self.full = True

    def drain(self) -> None:
        """Take the rest that ended processes left in the pipe, which is bounded by its size."""
        with contextlib.suppress(OSError):
            while self.pump():
                pass
        self.shut()

    def tail(self, size: int) -> str:
        """The last `size` bytes written, as text; for messages about a failed start."""
        return self._writer.tail(size).decode("utf-8", "replace").strip()

    def shut(self) -> None:
        """Close the pipe."""
        self.opened()
        if self._reading >= 0:
            os.close(self._reading)
            self._reading = -1

    def close(self) -> None:
        """Close the pipe and the log."""
        self.shut()
        self._writer.close()
