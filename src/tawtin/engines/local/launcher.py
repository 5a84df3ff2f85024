"""The process that forks supervisors: everything they need is loaded already, so that a run starts in milliseconds.

It outlives the control plane, holds nothing that must not be lost, and may be killed at any time: a run's start token
is the atomic rename of its prepared folder to its final name, made durable before the fork. A launcher of another
version is told to retire; runs that it started go on. The standard library alone.

Requests and answers are JSON objects, each behind its length (4 bytes, most significant first).
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import selectors
import signal
import socket
import struct
import sys
import time
from collections import deque
from typing import Any, Final, NoReturn, cast

from tawtin.engines.local.orders import Plan
from tawtin.engines.local.spares import Spares
from tawtin.engines.shared import durable, places

SOCKET: Final = "launcher.sock"
_LOCK: Final = "launcher.lock"
_REQUEST_BYTES_MAX: Final = 64 << 20
_READ_BYTES: Final = 1 << 20
_ROOM_S: Final = 0.01
"""How often it looks whether there is room for what waits to be started."""
_LONELY_S: Final = 60.0
"""It goes when no control plane was connected for so long; the next one starts another."""


def frame(message: object) -> bytes:
    """`message` as it goes over the socket."""
    body = json.dumps(message, separators=(",", ":")).encode()
    return struct.pack(">I", len(body)) + body


def frames(buffer: bytearray) -> list[dict[str, Any]]:
    """Take all whole messages from the front of `buffer`. Raises ValueError if they are none of ours."""
    found: list[dict[str, Any]] = []
    while len(buffer) >= 4:
        size = int.from_bytes(buffer[:4], "big")
        if size > _REQUEST_BYTES_MAX:
            raise ValueError("a message is too long")
        if len(buffer) < 4 + size:
            break
        found.append(cast("dict[str, Any]", json.loads(buffer[4 : 4 + size])))
        del buffer[: 4 + size]
    return found


def main(argv: list[str]) -> None:
    """Become a daemon and serve. Arguments: root folder of runs, version to answer to."""
    root, version = argv
    if os.fork():
        os._exit(0)
    os.setsid()
    os.umask(0o077)
    os.chdir("/")
    lock = durable.lock_file(os.path.join(root, _LOCK))
    if lock is None:
        os._exit(0)  # another one serves already
    Launcher(root, version, lock).serve()


class Launcher:
    """The server."""

    def __init__(self, root: str, version: str, lock: int) -> None:
        """Serve the runs below `root`; `lock` says that nobody else does."""
        self._lock = lock
        self._root = root
        self._runs = os.path.join(root, "runs")
        self._version = version
        self._selector = selectors.DefaultSelector()
        self._listener = self._listen()
        self._buffers: dict[socket.socket, bytearray] = {}
        self._asked: deque[tuple[socket.socket, dict[str, Any]]] = deque()
        """What control planes asked for and there was no room for yet."""
        self._retired = False
        self._spares = Spares(self._close_for_child, self._watch, self._unwatch)

    def _listen(self) -> socket.socket:
        folder = os.open(self._root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        short = f"/proc/self/fd/{folder}/{SOCKET}"  # socket names are limited to 108 bytes, roots are not
        with contextlib.suppress(FileNotFoundError):
            os.unlink(short)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(short)
        os.chmod(short, 0o600)
        listener.listen(16)
        os.close(folder)
        return listener

    def serve(self) -> NoReturn:
        """Answer until told to retire."""
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        self._selector.register(self._listener, selectors.EVENT_READ)
        gc.disable()  # the collector would touch, and so copy, pages that supervisors share with us
        gc.freeze()
        lonely_since = time.monotonic()
        again_s = 0.0
        while not self._retired:
            if self._buffers:
                lonely_since = time.monotonic()
            elif time.monotonic() - lonely_since > _LONELY_S:
                break
            for key, _ in self._selector.select(timeout=min(1.0, again_s)):
                channel = cast("socket.socket", key.fileobj)
                if channel is self._listener:
                    self._accept()
                elif self._spares.is_one(channel):
                    self._spares.back(channel)
                else:
                    self._read(channel)
            self._launch()
            self._spares.reap()
            if not self._retired:
                again_s = _ROOM_S if self._asked else self._spares.tidy()
        self._spares.dismiss()
        os._exit(0)

    def _watch(self, channel: socket.socket) -> None:
        self._selector.register(channel, selectors.EVENT_READ)

    def _unwatch(self, channel: socket.socket) -> None:
        self._selector.unregister(channel)

    def _accept(self) -> None:
        channel, _ = self._listener.accept()
        peer = channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        if struct.unpack("3i", peer)[1] != os.geteuid():
            channel.close()
            return
        self._buffers[channel] = bytearray()
        self._watch(channel)

    def _read(self, channel: socket.socket) -> None:
        buffer = self._buffers[channel]
        try:
            data = channel.recv(_READ_BYTES)
            buffer += data
            requests = frames(buffer)
        except (OSError, ValueError):
            data, requests = b"", []
        for request in requests:
            if request["op"] == "hello":
                self._spares.parents = dict(request.get("cgroup") or {})
                self._say(channel, {"hello": self._version, "pid": os.getpid()})
            elif request["op"] == "retire":
                self._retired = True
            elif request["op"] == "launch":
                self._asked.append((channel, request))
        if not data:
            self._forget(channel)

    def _say(self, channel: socket.socket, *answers: dict[str, object]) -> None:
        try:
            channel.sendall(b"".join(frame(answer) for answer in answers))
        except OSError:
            self._forget(channel)

    def _forget(self, channel: socket.socket) -> None:
        """A control plane went. It will ask again for what was not answered."""
        if self._buffers.pop(channel, None) is not None:
            self._asked = deque(each for each in self._asked if each[0] is not channel)
            self._selector.unregister(channel)
            channel.close()

    def _launch(self) -> None:
        """Start what was asked for, as far as there is room."""
        wanted: dict[socket.socket, list[dict[str, Any]]] = {}
        for _ in range(min(len(self._asked), self._spares.room())):
            channel, request = self._asked.popleft()
            wanted.setdefault(channel, []).append(request)
        for channel, requests in wanted.items():
            self._say(channel, *self._start(requests))

    def _start(self, requests: list[dict[str, Any]]) -> list[dict[str, object]]:
        answers: list[dict[str, object]] = []
        tokens: list[tuple[Plan, int]] = []
        for request in requests:
            plan = cast("Plan", request["plan"])
            try:
                lock = self._take_token(str(request["prepared"]), plan)
            except OSError as error:
                answers.append({"run": plan["run"], "error": str(error)})
                continue
            if lock is None:
                answers.append({"run": plan["run"], "taken": True})
            else:
                tokens.append((plan, lock))
        if tokens:
            durable.sync_folder(self._runs)  # from here on these runs were started, whatever happens
        for plan, lock in tokens:
            try:
                pid = self._spares.hand_over(plan, lock)
            except OSError as error:
                answers.append({"run": plan["run"], "error": f"no process could be made: {error}"})
            else:
                answers.append({"run": plan["run"], "pid": pid, "ticks": durable.start_ticks(pid)})
            finally:
                os.close(lock)
        return answers

    def _close_for_child(self) -> None:
        os.close(self._lock)  # a supervisor must not keep the next launcher from serving
        self._selector.close()
        self._listener.close()
        for channel in self._buffers:
            channel.close()

    def _take_token(self, prepared: str, plan: Plan) -> int | None:
        """Make the run's folder its own, with its lock held; return the lock, or None if the run was started before."""
        lock = durable.lock_file(os.path.join(prepared, places.ORDER))
        if lock is None:
            return None
        try:
            if durable.rename_new(prepared, plan["folder"]):
                return lock
        except OSError:
            os.close(lock)
            raise
        os.close(lock)
        return None


if __name__ == "__main__":
    main(sys.argv[1:])
