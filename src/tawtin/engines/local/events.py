"""One thread that hears of runs: datagrams from supervisors, the end of their processes, and a regular tick."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable

from tawtin.engines.shared import durable


class Events:
    """Calls back from its own thread."""

    def __init__(
        self,
        path: str,
        *,
        on_event: Callable[[str, str], None],
        on_exit: Callable[[str], None],
        on_tick: Callable[[], None],
        tick_ms: int,
    ) -> None:
        """Listen on the datagram socket `path`: (event, run) for what supervisors say, (run) when one ended."""
        self._on_event, self._on_exit, self._on_tick = on_event, on_exit, on_tick
        self._tick_s = tick_ms / 1000
        self._selector = selectors.DefaultSelector()
        self._lock = threading.Lock()
        self._followed: dict[str, int] = {}
        self._stopping = False
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._selector.register(self._wake_fd, selectors.EVENT_READ)
        self._channel = _bind(path)
        self._selector.register(self._channel, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, name="tawtin-events", daemon=True)

    def start(self) -> None:
        """Begin to call back."""
        self._thread.start()

    def stop(self) -> None:
        """Call back no more."""
        self._stopping = True
        os.eventfd_write(self._wake_fd, 1)
        if self._thread.is_alive():
            self._thread.join()
        with self._lock:
            for fd in self._followed.values():
                os.close(fd)
            self._followed.clear()
        self._channel.close()
        self._selector.close()
        os.close(self._wake_fd)

    def follow(self, run: str, pid: int, ticks: int) -> bool:
        """Watch the process that has number `pid` and started at `ticks`; False if it is gone already."""
        try:
            fd = os.pidfd_open(pid)
        except OSError:
            return False
        if durable.start_ticks(pid) != ticks:
            os.close(fd)
            return False
        with self._lock:
            if self._stopping or run in self._followed:
                os.close(fd)
                return True
            self._followed[run] = fd
            self._selector.register(fd, selectors.EVENT_READ, run)
        return True

    def unfollow(self, run: str) -> None:
        """Watch it no more."""
        with self._lock:
            fd = self._followed.pop(run, None)
            if fd is not None:
                with contextlib.suppress(KeyError, ValueError):
                    self._selector.unregister(fd)
                os.close(fd)

    def _serve(self) -> None:
        next_tick = time.monotonic() + self._tick_s
        while not self._stopping:
            ready = self._selector.select(max(0.0, next_tick - time.monotonic()))
            for key, _ in ready:
                if self._stopping:
                    return
                if key.fileobj is self._channel:
                    self._hear()
                elif isinstance(key.data, str):
                    self.unfollow(key.data)
                    self._on_exit(key.data)
            if time.monotonic() >= next_tick:
                self._on_tick()
                next_tick = time.monotonic() + self._tick_s

    def _hear(self) -> None:
        for _ in range(256):
            try:
                data = self._channel.recv(512)
            except BlockingIOError:
                return
            event, _, run = data.decode("utf-8", "replace").partition(" ")
            self._on_event(event, run)


def _bind(path: str) -> socket.socket:
    folder = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    short = f"/proc/self/fd/{folder}/{os.path.basename(path)}"  # socket names are limited to 108 bytes, roots are not
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(short)
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        channel.settimeout(0)
        channel.bind(short)
        os.chmod(short, 0o600)
    finally:
        os.close(folder)
    return channel
