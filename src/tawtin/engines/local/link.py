"""The control plane's end of the launcher's socket: finds a launcher, starts one where there is none, speaks to it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from tawtin import __version__
from tawtin.engines.local.launcher import SOCKET, frame, frames

_START_S: Final = 15.0
_START_AGAIN_S: Final = 1.0
_LOG: Final = "launcher.log"
_MODULES: Final = (
    "cgroups", "fuse", "launcher", "logfile", "meter", "mountpoints", "orders", "output", "setupcache", "spares",
    "spawn", "supervisor", "watch", "../shared/durable", "../shared/places", "../shared/shell",
)  # fmt: skip
"""What the launcher loads: when one of these changed, it is another launcher."""


class LaunchError(Exception):
    """No launcher could be reached or started; the message says why."""


def version() -> str:
    """What tells this launcher from others: the release, and a hash of the code that it loads."""
    here = os.path.dirname(os.path.abspath(__file__))
    digest = hashlib.sha256()
    for name in _MODULES:
        with open(os.path.join(here, f"{name}.py"), "rb") as file:
            digest.update(file.read())
    return f"{__version__}+{digest.hexdigest()[:16]}"


class Link:
    """A connection to the launcher, made again whenever it is needed. Methods may be called from several threads."""

    def __init__(
        self,
        root: str,
        groups: dict[str, str],
        on_answer: Callable[[dict[str, Any]], None],
        on_lost: Callable[[], None],
    ) -> None:
        """`groups` is where control groups are made, as `cgroups.detect` found it.

        `on_answer` and `on_lost` are called from the link's own thread.
        """
        self._root = root
        self._groups = groups
        self._version = version()
        self._on_answer = on_answer
        self._on_lost = on_lost
        self._lock = threading.Lock()
        self._channel: socket.socket | None = None
        self.pid = 0
        """Of the launcher; 0 while there is none."""

    def send(self, message: dict[str, Any]) -> None:
        """Send a request, starting a launcher if there is none. Raises LaunchError."""
        body = frame(message)
        with self._lock:
            for attempt in (1, 2):
                channel = self._channel or self._connect()
                try:
                    channel.sendall(body)
                except OSError as error:
                    self._channel = None
                    if attempt == 2:
                        raise LaunchError(f"the launcher does not take orders: {error}") from error
                else:
                    return

    def open(self) -> None:
        """Reach a launcher of our version now. Raises LaunchError."""
        with self._lock:
            if self._channel is None:
                self._connect()

    def retire(self) -> None:
        """Tell the launcher to go, and wait until it did; its runs go on."""
        with self._lock:
            if self._channel is None:
                with contextlib.suppress(OSError):
                    self._channel = self._dial()
            if self._channel is not None:
                with contextlib.suppress(OSError):
                    self._channel.sendall(frame({"op": "retire"}))
                self._await_gone()

    def _await_gone(self) -> None:
        end = time.monotonic() + _START_S
        while time.monotonic() < end:
            try:
                self._dial().close()
            except OSError:
                return
            time.sleep(0.01)

    def close(self) -> None:
        """Let go of the launcher, which stays for a while."""
        with self._lock:
            if self._channel is not None:
                with contextlib.suppress(OSError):
                    self._channel.shutdown(socket.SHUT_RDWR)
                self._channel = None

    def _dial(self) -> socket.socket:
        folder = os.open(self._root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            channel.settimeout(_START_S)
            channel.connect(f"/proc/self/fd/{folder}/{SOCKET}")
        except OSError:
            channel.close()
            raise
        finally:
            os.close(folder)
        return channel

    def _connect(self) -> socket.socket:
        end = time.monotonic() + _START_S
        start_at = 0.0
        while True:
            try:
                channel = self._dial()
                hello, rest = self._greet(channel)
            except (OSError, ValueError) as error:
                if time.monotonic() > end:
                    raise LaunchError(f"no launcher answers; see `{self._root}/{_LOG}` ({error})") from error
                if time.monotonic() >= start_at:
                    self._start()
                    start_at = time.monotonic() + _START_AGAIN_S
                time.sleep(0.01)
                continue
            if hello.get("hello") == self._version:
                break
            with contextlib.suppress(OSError):
                channel.sendall(frame({"op": "retire"}))
            channel.close()
            self._await_gone()
            start_at = 0.0
        channel.settimeout(None)
        self.pid = int(hello["pid"])
        self._channel = channel
        threading.Thread(
            target=self._listen, args=(channel, rest), name="tawtin-launcher", daemon=True
        ).start()
        return channel

    def _greet(self, channel: socket.socket) -> tuple[dict[str, Any], bytearray]:
        channel.sendall(frame({"op": "hello", "cgroup": self._groups}))
        buffer = bytearray()
        while True:
            data = channel.recv(65536)
            if not data:
                raise ConnectionError("it hung up")
            buffer += data
            found = frames(buffer)
            if found:
                return found[0], buffer

    def _start(self) -> None:
        source = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
        code = (
            "import sys; sys.path.insert(0, sys.argv[1]); "
            "from tawtin.engines.local.launcher import main; main(sys.argv[2:])"
        )
        command = [sys.executable, "-I", "-S", "-c", code, source, self._root, self._version]
        with open(os.path.join(self._root, _LOG), "ab") as log:
            os.chmod(log.name, 0o600)
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": "/usr/bin:/bin"},
                timeout=_START_S,
                check=False,
            )
        if done.returncode != 0:
            raise LaunchError(f"the launcher does not start; see `{self._root}/{_LOG}`")

    def _listen(self, channel: socket.socket, buffer: bytearray) -> None:
        while True:
            try:
                data = channel.recv(1 << 20)
                buffer += data
                answers = frames(buffer)
            except (OSError, ValueError):
                data, answers = b"", []
            for answer in answers:
                self._on_answer(answer)
            if not data:
                break
        with self._lock:
            if self._channel is channel:
                self._channel = None
                self.pid = 0
        channel.close()
        self._on_lost()
