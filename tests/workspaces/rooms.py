"""A real door with a real child, in a sandbox where there is one, as an ordinary user where that takes root."""

from __future__ import annotations

import os
import select
import shutil
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import tawtin.engines.shared

DOOR = Path(tawtin.engines.shared.__file__).with_name("door.py")
APP = Path(__file__).with_name("app.py")
TOKEN = "token-of-the-door"
USER = 20_017
WAIT_S = 30
BWRAP = shutil.which("bwrap") or ""
AS_ROOT = os.geteuid() == 0
PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable


@dataclass(kw_only=True)
class Room:
    """A door that is open."""

    port: int
    home: Path
    process: subprocess.Popen[bytes]

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def knock(self, what: str, token: str = TOKEN) -> tuple[socket.socket, str]:
        """Say who is there; returns the connection and the door's answer, empty where it closed."""
        connection = socket.create_connection(("127.0.0.1", self.port), WAIT_S)
        connection.sendall(f"TAWTIN {token} {what}\n".encode())
        answer = b""
        with suppress(ConnectionError):
            while not answer.endswith(b"\n") and (piece := connection.recv(1)):
                answer += piece
        return connection, answer.decode().strip()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


def boxed(home: Path, scripts: Path, environment: dict[str, str], command: list[str]) -> list[str]:
    """A command in a sandbox like a run's, but that it sees `scripts` and this machine's loopback."""
    uid = USER if AS_ROOT else os.getuid()
    account = f"root:x:0:0:root:/root:/usr/sbin/nologin\nrun:x:{uid}:{uid}:run:/home/run:/bin/bash\n"
    (scripts / "passwd").write_text(account)
    (scripts / "group").write_text(f"root:x:0:\nrun:x:{uid}:\n")
    args = [BWRAP, "--unshare-ipc", "--unshare-pid", "--unshare-uts", "--die-with-parent", "--new-session"]
    if AS_ROOT:
        args += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
        args += ["--cap-add", "CAP_SETPCAP"]
    else:
        args += ["--unshare-user", "--disable-userns", "--uid", str(uid), "--gid", str(uid)]
    args += ["--clearenv", *(part for each in environment.items() for part in ("--setenv", *each))]
    args += ["--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev"]
    for top in ("/bin", "/sbin", "/lib", "/lib32", "/lib64"):
        if Path(top).is_symlink():
            args += ["--symlink", str(Path(top).readlink()), top]
        elif Path(top).is_dir():
            args += ["--ro-bind", top, top]
    for folder in ("/home", "/etc", "/run", "/scripts"):
        args += ["--perms", "0755", "--dir", folder]
    for name in ("passwd", "group"):
        args += ["--ro-bind", str(scripts / name), f"/etc/{name}"]
    args += ["--bind", str(home), "/home/run", "--perms", "1777", "--tmpfs", "/tmp"]
    for each in (DOOR, APP):
        args += ["--ro-bind", str(each), f"/scripts/{each.name}"]
    args += ["--remount-ro", "/", "--chdir", "/home/run", "--"]
    if AS_ROOT:
        args += ["/usr/bin/setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups"]
        args += ["--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"]
    return [*args, *command]


@contextmanager
def room(folder: Path, command: list[str] | None = None, *, wait: bool = True) -> Generator[Room]:
    """Open a door. `command` runs behind it, `{app}` being the path of the application; nothing for the application."""
    home, scripts = folder / "home", folder / "scripts"
    (home / ".ssh").mkdir(parents=True)
    scripts.mkdir()
    port = free_port()
    environment = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PORT": str(port), "TAWTIN_DOOR_TOKEN": TOKEN}
    app = "/scripts/app.py" if BWRAP else str(APP)
    inner = [each.replace("{app}", app) for each in command or [PYTHON, "-I", "{app}"]]
    if BWRAP:
        environment |= {"HOME": "/home/run", "TMPDIR": "/tmp", "A_WORD": 'of "two" words'}
        if AS_ROOT:
            for path in (home, home / ".ssh"):
                os.chown(path, USER, USER)
        line = boxed(home, scripts, environment, [PYTHON, "/scripts/door.py", *inner])
    else:
        environment |= {"HOME": str(home), "A_WORD": 'of "two" words'}
        line = [PYTHON, str(DOOR), *inner]
    process = subprocess.Popen(line, env=environment, stdin=subprocess.DEVNULL)
    try:
        opened = Room(port=port, home=home, process=process)
        until_open(opened, app=wait)
        yield opened
    finally:
        process.terminate()
        try:
            process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def until_open(one: Room, *, app: bool) -> None:
    """Until the door answers, and, if asked, the application behind it."""
    for _ in range(WAIT_S * 20):
        if one.process.poll() is not None:
            raise RuntimeError(f"the door ended with {one.process.returncode}")
        with suppress(OSError):
            connection, answer = one.knock("app")
            connection.close()
            if answer == "OK" or (answer and not app):
                return
        select.select([], [], [], 0.05)
    raise RuntimeError("the door did not open")


def read_all(connection: socket.socket) -> bytes:
    """All that comes, until the end."""
    whole = b""
    while piece := connection.recv(65536):
        whole += piece
    return whole
