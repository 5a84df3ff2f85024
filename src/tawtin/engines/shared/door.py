"""The door of a workspace: runs beside the application, in its sandbox, and lets the factory's proxy in.

A program of its own, `python3 door.py COMMAND...`, for any Python from 3.9 on; nothing imports it. It listens at
`TAWTIN_HOST`:`PORT` and starts COMMAND, which is to listen at the Unix socket `TAWTIN_SOCKET`. A connection begins
with one line, `TAWTIN <token> <word>`; docs/reference/workspace-door.md has the words, the answers and the frames.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import hmac
import os
import pty
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Callable

LINE_BYTES_MAX = 256
LINE_SECONDS_MAX = 5
STRANGERS_MAX = 64
"""Connections that did not yet say the token; a further one takes the place of the oldest."""
GUESTS_MAX = 256
"""Connections that did."""
CONNECT_SECONDS_MAX = 5
HALF_SECONDS_MAX = 300
"""How long one direction may be silent once the other has ended."""
PIECE_BYTES = 65536
FRAME_BYTES_MAX = 65535
SSHD = "/usr/sbin/sshd"
KEYGEN = "/usr/bin/ssh-keygen"
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
OF_SSHD = frozenset("HOME SHELL USER LOGNAME TERM PWD OLDPWD SHLVL _".split())
"""What sshd and the shell set themselves."""
DUMPABLE = 4  # PR_SET_DUMPABLE


class Door:
    """What is open, and what was started."""

    def __init__(self, token: str) -> None:
        """`token` is what a connection has to say."""
        self.token = token.encode()
        self.home = os.environ.get("HOME") or os.getcwd()
        self.folder = private_folder()
        self.app = f"{self.folder}/app"
        self.environment = {**os.environ, "TAWTIN_SOCKET": self.app}
        self.loop = asyncio.get_running_loop()
        self.strangers: dict[asyncio.Task[None], None] = {}
        self.guests: set[asyncio.Task[None]] = set()
        self.children: dict[int, tuple[subprocess.Popen[bytes], asyncio.Future[int]]] = {}
        self.key = asyncio.Lock()

    # --- processes ------------------------------------------------------------------------------------------------

    def start(
        self,
        command: list[str],
        ends: int | None = None,
        *,
        terminal: bool = False,
    ) -> tuple[subprocess.Popen[bytes], asyncio.Future[int]]:
        """Start a process, on `ends` if they are given; returns it and what will be its exit code."""
        alone = ends is not None
        process = subprocess.Popen(
            command,
            stdin=ends,
            stdout=ends,
            stderr=ends if terminal else subprocess.DEVNULL if alone else None,
            cwd=self.home if alone else None,
            env=self.environment,
            start_new_session=alone,
            preexec_fn=take_terminal if terminal else None,  # noqa: PLW1509 - there are no threads
        )
        done: asyncio.Future[int] = self.loop.create_future()
        self.children[process.pid] = (process, done)
        return process, done

    def reap(self) -> None:
        """Take leave of every process that ended, orphans too where this is the first process of a container."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            process, done = self.children.pop(pid, (None, None))
            if process is not None and done is not None:
                code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
                process.returncode = code
                if not done.done():
                    done.set_result(code)

    # --- connections ----------------------------------------------------------------------------------------------

    async def listen(self, listener: socket.socket) -> None:
        """Take connections for ever."""
        while True:
            try:
                connection, _ = await self.loop.sock_accept(listener)
            except OSError:  # out of descriptors: some will be closed
                await asyncio.sleep(0.1)
                continue
            connection.setblocking(False)  # noqa: FBT003 - its argument has no name
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if len(self.strangers) >= STRANGERS_MAX:
                next(iter(self.strangers)).cancel()
            task = self.loop.create_task(self.serve(connection))
            self.strangers[task] = None
            task.add_done_callback(self.forget)

    def forget(self, task: asyncio.Task[None]) -> None:
        """A connection ended."""
        self.strangers.pop(task, None)
        self.guests.discard(task)
        if not task.cancelled() and (error := task.exception()) and not isinstance(error, OSError):
            sys.stderr.write(f"tawtin door: {error!r}\n")

    async def serve(self, connection: socket.socket) -> None:
        """One connection, until it ends."""
        with connection:
            words = {b"app": self.to_app, b"ssh": self.to_ssh, b"shell": self.to_shell, b"tar": self.to_tar}
            reading = self.loop.create_task(self.line(connection))
            try:
                await asyncio.wait({reading}, timeout=LINE_SECONDS_MAX)
            finally:
                reading.cancel()
            said = reading.result().split(b" ") if reading.done() and not reading.cancelled() else []
            known = len(said) == 3 and said[0] == b"TAWTIN" and hmac.compare_digest(said[1], self.token)
            if not known or said[2] not in words or len(self.guests) >= GUESTS_MAX:
                return
            task = asyncio.current_task()
            if task is not None:
                self.strangers.pop(task, None)
                self.guests.add(task)
            await words[said[2]](connection)

    async def line(self, connection: socket.socket) -> bytes:
        """The first line, and no byte of what follows: that may be another program's to read."""
        line = b""
        while len(line) < LINE_BYTES_MAX:
            piece = await self.loop.sock_recv(connection, 1)
            if piece in (b"", b"\n"):
                return line if piece else b""
            line += piece
        return b""

    async def answer(self, connection: socket.socket, text: str) -> None:
        """Say one line."""
        await self.loop.sock_sendall(connection, f"{text}\n".encode())

    async def to_app(self, connection: socket.socket) -> None:
        """Bytes both ways between the connection and the application."""
        app = await self.connected()
        if app is None:
            await self.answer(connection, "WAIT")
            return
        with app:
            await self.answer(connection, "OK")
            await spliced(connection, app)

    async def connected(self) -> socket.socket | None:
        """A connection to the application; None if it does not listen yet.

        A full queue makes `connect` fail at once on a Unix socket, which asyncio would take for being under way.
        """
        end = self.loop.time() + CONNECT_SECONDS_MAX
        app = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        app.setblocking(False)  # noqa: FBT003 - the same
        while True:
            try:
                app.connect(self.app)
                return app
            except BlockingIOError:
                if self.loop.time() < end:
                    await asyncio.sleep(0.02)
                    continue
            except OSError:
                pass
            app.close()
            return None

    async def to_ssh(self, connection: socket.socket) -> None:
        """An SSH server that is this user's own, for this one connection."""
        if not os.access(SSHD, os.X_OK):
            await self.answer(
                connection, "NO there is no sshd here: install the Debian package openssh-server"
            )
            return
        try:
            config = await self.ssh_config()
        except OSError as error:
            await self.answer(connection, f"NO sshd could not be set up: {error}".replace("\n", " "))
            return
        await self.answer(connection, "OK")
        await self.hand_over(connection, [SSHD, "-i", "-e", "-f", config])

    async def ssh_config(self) -> str:
        """The path of its configuration. The host key stays in the home. Raises OSError."""
        async with self.key:
            own = f"{self.home}/.ssh/tawtin"
            made = f"{self.folder}/host_key"
            if prepared(own):
                command = [KEYGEN, "-q", "-t", "ed25519", "-N", "", "-C", "workspace", "-f", made]
                if await self.start(command, subprocess.DEVNULL)[1]:
                    raise OSError("ssh-keygen failed")
                for name in ("host_key.pub", "host_key"):
                    shutil.move(f"{self.folder}/{name}", f"{own}/{name}")
            path = f"{self.folder}/sshd_config"
            write_once(path, ssh_lines(self.home, self.environment))
            return path

    async def to_tar(self, connection: socket.socket) -> None:
        """The home as a tar stream."""
        tar = shutil.which("tar", path="/usr/bin:/bin")
        if tar is None:
            await self.answer(connection, "NO there is no tar here: install the Debian package tar")
            return
        left_out = ["./.ssh/tawtin"]
        if self.folder.startswith(f"{self.home}/"):
            left_out.append(f".{self.folder[len(self.home) :]}")
        await self.answer(connection, "OK")
        options = ["--create", "--file=-", "--ignore-failed-read", "--anchored", "--no-wildcards"]
        options += [*(f"--exclude={path}" for path in left_out), f"--directory={self.home}", "."]
        await self.hand_over(connection, [tar, *options])

    async def hand_over(self, connection: socket.socket, command: list[str]) -> None:
        """Let a program have the connection, until it ends."""
        connection.setblocking(True)  # noqa: FBT003 - the same
        process, done = self.start(command, connection.fileno())
        connection.close()
        await self.ended(process, done)

    async def ended(self, process: subprocess.Popen[bytes], done: asyncio.Future[int]) -> int:
        """Wait for a process; it ends with the connection."""
        try:
            return await done
        finally:
            if not done.done() or done.cancelled():
                process.terminate()

    async def to_shell(self, connection: socket.socket) -> None:
        """A login shell on a terminal; in frames, as the size of its window and its exit code go along."""
        master, slave = pty.openpty()
        try:
            try:
                shell = self.environment.get("SHELL") or "/bin/bash"
                shell = shell if os.access(shell, os.X_OK) else "/bin/sh"
                process, done = self.start([shell, "-l"], slave, terminal=True)
            finally:
                os.close(slave)
            await self.answer(connection, "OK")
            os.set_blocking(master, False)
            typed = self.loop.create_task(self.typed(connection, master))
            shown = self.loop.create_task(self.shown(connection, master, done))
            try:
                await asyncio.wait({typed, shown}, return_when=asyncio.FIRST_COMPLETED)
                if not done.done():
                    process.send_signal(signal.SIGHUP)
                await asyncio.wait({typed, shown}, timeout=2)  # the client closes once it knows the exit code
            finally:
                typed.cancel()
                shown.cancel()
                await asyncio.gather(typed, shown, return_exceptions=True)
        finally:
            os.close(master)

    async def typed(self, connection: socket.socket, master: int) -> None:
        """Frames of the client, until it ends."""
        while len(head := await self.exactly(connection, 3)) == 3:
            kind, size = struct.unpack("!cH", head)
            data = await self.exactly(connection, size)
            if len(data) < size:
                return
            if kind == b"W" and size == 4:
                rows, columns = struct.unpack("!HH", data)
                fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            while kind == b"D" and data:
                try:
                    data = data[os.write(master, data) :]
                except BlockingIOError:
                    await ready(self.loop.add_writer, self.loop.remove_writer, master)
                except OSError:
                    return

    async def exactly(self, connection: socket.socket, size: int) -> bytes:
        """So many bytes, or fewer where the connection ended. Raises OSError."""
        data = b""
        while len(data) < size:
            piece = await self.loop.sock_recv(connection, size - len(data))
            if not piece:
                break
            data += piece
        return data

    async def shown(self, connection: socket.socket, master: int, done: asyncio.Future[int]) -> None:
        """What the terminal shows, and at its end the exit code. Raises OSError."""
        while True:
            try:
                data = os.read(master, FRAME_BYTES_MAX)
            except BlockingIOError:
                over = done.done()
                more = self.loop.create_task(ready(self.loop.add_reader, self.loop.remove_reader, master))
                try:
                    if over:  # what was written last may still be on its way through the terminal
                        await asyncio.wait({more}, timeout=0.1)
                    else:
                        await asyncio.wait({more, done}, return_when=asyncio.FIRST_COMPLETED)
                    if over and not more.done():
                        break
                finally:
                    more.cancel()
                continue
            except OSError:  # nobody has the terminal open any more
                break
            await self.loop.sock_sendall(connection, struct.pack("!cH", b"D", len(data)) + data)
        code = await asyncio.shield(done)
        await self.loop.sock_sendall(connection, struct.pack("!cHB", b"X", 1, code & 255))
        connection.shutdown(socket.SHUT_WR)


async def ready(
    add: Callable[[int, Callable[[], None]], None], remove: Callable[[int], bool], descriptor: int
) -> None:
    """Wait until a descriptor can be read, or written."""
    event = asyncio.Event()
    add(descriptor, event.set)
    try:
        await event.wait()
    finally:
        remove(descriptor)


async def spliced(client: socket.socket, app: socket.socket) -> None:
    """Bytes both ways; the end of one direction goes on as such, a broken connection breaks the other one."""
    loop = asyncio.get_running_loop()
    moved = [0]

    async def pump(source: socket.socket, sink: socket.socket) -> None:
        heard = True
        while data := await loop.sock_recv(source, PIECE_BYTES):
            moved[0] += 1
            try:
                if heard:
                    await loop.sock_sendall(sink, data)
            except OSError:
                if sink is client:
                    raise
                heard = False  # it may have answered before it stopped listening
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    tasks = [loop.create_task(pump(client, app)), loop.create_task(pump(app, client))]
    broken = True
    try:
        done, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        before = -1
        while left and not any(task.exception() for task in done) and before != moved[0]:
            before = moved[0]
            done, left = await asyncio.wait(left, timeout=HALF_SECONDS_MAX)
        broken = bool(left) or any(task.exception() for task in done)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if broken:  # so that nobody takes a part for the whole
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def take_terminal() -> None:
    """Make the terminal at descriptor 0 that of this session."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def ssh_lines(home: str, environment: dict[str, str]) -> str:
    """The configuration of sshd: this user's keys alone, and the environment that the application has."""

    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    path = home.replace("%", "%%")
    shared = [
        quoted(f"{name}={value}")
        for name, value in sorted(environment.items())
        if name.isidentifier() and value.isprintable() and name not in OF_SSHD
    ]
    lines = [
        f"HostKey {quoted(f'{home}/.ssh/tawtin/host_key')}",
        f"AuthorizedKeysFile {quoted(f'{path}/.ssh/authorized_keys')}",
        "AuthenticationMethods publickey",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "UsePAM no",
        "StrictModes no",
        "PidFile none",
        "PrintMotd no",
        "PrintLastLog no",
        "X11Forwarding no",
        "LoginGraceTime 60",
        "Subsystem sftp internal-sftp",
    ]
    if shared:
        lines.append(f"SetEnv {' '.join(shared)}")
    return "\n".join([*lines, ""])


def prepared(own: str) -> bool:
    """Make the folder of the host key; whether there is no key yet. Raises OSError."""
    os.makedirs(os.path.dirname(own), mode=0o700, exist_ok=True)
    os.makedirs(own, mode=0o700, exist_ok=True)
    os.chmod(own, 0o700)
    return not os.path.exists(f"{own}/host_key")


def write_once(path: str, text: str) -> None:
    """Write a file that only this user may read, if it is not there. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w") as file:
            file.write(text)


def private_folder() -> str:
    """A folder for this user alone, with a path that leaves room for the name of a socket."""
    path = tempfile.mkdtemp(prefix="tawtin-")
    if len(os.fsencode(path)) > 90:
        os.rmdir(path)
        path = tempfile.mkdtemp(prefix="tawtin-", dir="/tmp")
    return path


async def main(command: list[str], listener: socket.socket, token: str) -> int:
    """Run the command behind the door; returns its exit code."""
    door = Door(token)
    try:
        door.loop.add_signal_handler(signal.SIGCHLD, door.reap)
        for number in PASSED_ON:  # before it starts: what comes meanwhile is heard once the loop goes on
            door.loop.add_signal_handler(number, lambda number=number: process.send_signal(number))
        process, done = door.start(command)
        listening = door.loop.create_task(door.listen(listener))
        code = await done
        listening.cancel()
        open_ones = [*door.strangers, *door.guests]
        for task in open_ones:
            task.cancel()
        if open_ones:
            await asyncio.wait(open_ones, timeout=2)
        return code
    finally:
        for process, _ in list(door.children.values()):
            process.terminate()
        shutil.rmtree(door.folder, ignore_errors=True)


def begin(command: list[str]) -> int:
    """Read the environment and begin; returns the exit code."""
    token = os.environ.pop("TAWTIN_DOOR_TOKEN", "")
    port = os.environ.get("PORT", "")
    if not command or not token or not port.isdigit():
        sys.stderr.write("tawtin door: needs PORT and TAWTIN_DOOR_TOKEN in the environment, and a command\n")
        return 2
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(
            DUMPABLE, 0, 0, 0, 0
        )  # the environment that this began with is nobody's to read
    host = os.environ.get("TAWTIN_HOST") or "127.0.0.1"
    try:
        listener = socket.create_server(
            (host, int(port)), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        )
    except (OSError, OverflowError) as error:
        sys.stderr.write(f"tawtin door: cannot listen at {host}:{port}: {error}\n")
        return 1
    listener.setblocking(False)  # noqa: FBT003 - the same
    try:
        return asyncio.run(main(command, listener, token))
    except OSError as error:
        sys.stderr.write(f"tawtin door: cannot start {command[0]}: {error}\n")
        return 127


if __name__ == "__main__":
    sys.exit(begin(sys.argv[1:]))
