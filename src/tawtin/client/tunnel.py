"""The way into a workspace for programs: bytes of `ssh`, `shell` or `tar` through the factory's proxy.

`tunnel` is what ssh calls as its ProxyCommand; `shell` is a terminal. The protocol is in
docs/reference/workspace-door.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import struct
import termios
import threading
import tty
from collections.abc import Callable, Coroutine, Generator
from typing import Final, Literal
from urllib.parse import urlsplit

from tawtin.client.errors import ClientError, ConfigError, ConnectionBroken
from tawtin.client.wire import AnswerReader, request_head

CONNECT_S: Final = 30
_PIECE_BYTES: Final = 65_535
"""Not more than a frame of the shell holds."""
_HEAD_BYTES_MAX: Final = 65_536
_REFUSAL_BYTES_MAX: Final = 4096
_END_OF_TEXT: Final = b"\x04"
"""What a terminal takes for the end of what is typed."""
Service = Literal["ssh", "shell", "tar"]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class WorkspaceRefused(ClientError):
    """The proxy, or the door, says no."""

    def __init__(self, status: int, text: str) -> None:
        """Keep the HTTP status."""
        super().__init__(text)
        self.status = status


async def tunnel(
    url: str, label: str, host: str, bearer: str, what: Service, stdin: int, stdout: int
) -> None:
    """Splice two descriptors with a service of the workspace `label`, until it ends.

    `url` is where the proxy listens, such as `https://factory.example`; `host` what workspaces are below, with a port
    unless it is the usual one: `localhost:8490`. Raises ConfigError, ConnectionBroken and WorkspaceRefused.
    """
    reader, writer = await connected(url, label, host, bearer, what)

    async def up(data: bytes) -> None:
        if data:
            writer.write(data)
            await writer.drain()
        elif writer.can_write_eof():
            writer.write_eof()
        elif what != "tar":  # TLS knows no end of one direction alone
            writer.close()

    typed = _Input(stdin, up)
    try:
        while data := await reader.read(_PIECE_BYTES):
            await asyncio.to_thread(_write_all, stdout, data)
    except OSError as error:
        raise _broken(error) from error
    finally:
        writer.transport.abort()
        await typed.stop()


async def shell(url: str, label: str, host: str, bearer: str, stdin: int = 0, stdout: int = 1) -> int:
    """A login shell in a workspace, on the terminal of these descriptors; returns its exit code.

    The terminal is as it was before, whatever happens. Raises what `tunnel` raises, and ConnectionBroken if no exit
    code came.
    """
    reader, writer = await connected(url, label, host, bearer, "shell")
    loop = asyncio.get_running_loop()

    async def up(data: bytes) -> None:
        data = data or _END_OF_TEXT
        writer.write(struct.pack("!cH", b"D", len(data)) + data)
        await writer.drain()

    def resized() -> None:
        rows, columns = _size(stdout)
        writer.write(struct.pack("!cHHH", b"W", 4, rows, columns))

    with _raw(stdin):
        resized()
        with _signals(loop, resized):
            typed = _Input(stdin, up)
            try:
                return await _shown(reader, stdout)
            except (OSError, asyncio.IncompleteReadError) as error:
                raise _broken(error) from error
            finally:
                writer.transport.abort()
                await typed.stop()


async def connected(url: str, label: str, host: str, bearer: str, what: Service) -> Streams:
    """A connection to a service of a workspace. Raises ConfigError, ConnectionBroken and WorkspaceRefused."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"`{url}` is no address of a factory's proxy: give `http://host:port` or `https://host`"
        )
    tls = parts.scheme == "https"
    name = f"{label}.{host}"
    try:
        head = request_head(
            "GET",
            f"/_tawtin/{what}",
            {"Host": name, "Authorization": f"Bearer {bearer}", "Connection": "Upgrade", "Upgrade": "tawtin"},
        )
    except ValueError as error:
        raise ConfigError(str(error)) from None
    try:
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(
                parts.hostname,
                parts.port or (443 if tls else 80),
                ssl=True if tls else None,
                server_hostname=name.partition(":")[0] if tls else None,
                limit=_HEAD_BYTES_MAX,
            )
    except (OSError, ValueError) as error:
        raise _broken(error) from error
    try:
        writer.write(head)
        async with asyncio.timeout(CONNECT_S):
            await _agreed(reader)
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        writer.transport.abort()
        raise _broken(error) from error
    except BaseException:
        writer.transport.abort()
        raise
    return reader, writer


async def _agreed(reader: asyncio.StreamReader) -> None:
    """Read the head of the answer. Raises WorkspaceRefused and ConnectionBroken, and what reading raises."""
    head = await reader.readuntil(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 101 "):
        return
    answer = AnswerReader("GET")
    answer.feed(head)
    body = answer.take()
    while not answer.done and len(body) < _REFUSAL_BYTES_MAX:
        answer.feed(await reader.read(_REFUSAL_BYTES_MAX))
        body += answer.take()
    text = body.decode("utf-8", "replace").strip()
    plain = answer.headers.get("content-type", "").startswith("text/plain")
    shown = "".join(each for each in text if each.isprintable()) if plain else ""
    raise WorkspaceRefused(
        answer.status, shown or f"the workspace's proxy answered {answer.status}: is it up?"
    )


async def _shown(reader: asyncio.StreamReader, stdout: int) -> int:
    """Show what comes until the shell ends; returns its exit code."""
    while True:
        kind, size = struct.unpack("!cH", await reader.readexactly(3))
        data = await reader.readexactly(size)
        if kind == b"X" and data:
            return data[0]
        if kind == b"D":
            await asyncio.to_thread(_write_all, stdout, data)


class _Input:
    """Reads a descriptor of any kind in a thread, and hands on what comes; nothing at its end.

    The descriptor stays as it is: to make it non-blocking would do so for every program that shares it.
    """

    def __init__(self, descriptor: int, hand_on: Callable[[bytes], Coroutine[None, None, None]]) -> None:
        """Begin at once. `hand_on` is awaited on the present loop, and nothing more is read before it is done."""
        self._descriptor = descriptor
        self._hand_on = hand_on
        self._loop = asyncio.get_running_loop()
        self._over, self._tell = os.pipe()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        poll = select.poll()
        for each in (self._descriptor, self._over):
            poll.register(each, select.POLLIN)
        data = b"."
        while data:
            if self._over in [each for each, _ in poll.poll()]:
                return
            try:
                data = os.read(self._descriptor, _PIECE_BYTES)
            except OSError:  # a terminal that is gone
                data = b""
            handed = asyncio.run_coroutine_threadsafe(self._hand_on(data), self._loop)
            if handed.exception() is not None:
                return  # the connection is gone, which its reader learns as well

    async def stop(self) -> None:
        """Read no more. What hands on has to end by itself."""
        os.write(self._tell, b".")
        await asyncio.to_thread(self._thread.join)
        os.close(self._over)
        os.close(self._tell)


@contextlib.contextmanager
def _raw(descriptor: int) -> Generator[None]:
    """Let every key through, and give the terminal back as it was."""
    if not os.isatty(descriptor):
        yield
        return
    before = termios.tcgetattr(descriptor)
    try:
        tty.setraw(descriptor, termios.TCSADRAIN)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _signals(loop: asyncio.AbstractEventLoop, resized: Callable[[], None]) -> Generator[None]:
    """Tell of a new size of the window, and end in order where a signal would end this program at once."""
    task = asyncio.current_task(loop)
    ends = (signal.SIGTERM, signal.SIGHUP)
    loop.add_signal_handler(signal.SIGWINCH, resized)
    for each in ends:
        if task is not None:
            loop.add_signal_handler(each, task.cancel)
    try:
        yield
    finally:
        for each in (signal.SIGWINCH, *ends):
            loop.remove_signal_handler(each)


def _size(descriptor: int) -> tuple[int, int]:
    """Rows and columns of a terminal."""
    try:
        found = os.get_terminal_size(descriptor)
    except OSError:
        return 24, 80
    return found.lines, found.columns


def _write_all(descriptor: int, data: bytes) -> None:
    """Write all of it. Raises OSError."""
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:  # somebody else made it non-blocking
            select.select([], [descriptor], [])


def _broken(error: Exception) -> ConnectionBroken:
    why = (isinstance(error, OSError) and error.strerror) or str(error) or "no answer in time"
    return ConnectionBroken(
        f"the connection to the workspace broke ({why}): is it running, is the address right?"
    )
