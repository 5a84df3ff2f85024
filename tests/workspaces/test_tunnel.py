"""Programs reach a workspace: a shell on a terminal, the home as tar, and OpenSSH with sshd in the sandbox."""

from __future__ import annotations

import asyncio
import io
import os
import pty
import signal
import socket
import subprocess
import sys
import tarfile
import termios
from pathlib import Path

import pytest

from tawtin.client.errors import ClientError, ConfigError, ConnectionBroken
from tawtin.client.tunnel import WorkspaceRefused, tunnel
from tests.workspaces import rooms
from tests.workspaces.front import COOKIE, KEY, Front
from tests.workspaces.rooms import WAIT_S, Room
from tests.workspaces.test_door import until

ROOT = Path(__file__).parents[2]
PROGRAM = """
import asyncio, sys
from tawtin.client import tunnel
from tawtin.client.errors import ClientError
what, url, host, key = sys.argv[1:5]
try:
    if what == "shell":
        sys.exit(asyncio.run(tunnel.shell(url, "lab", host, key)))
    asyncio.run(tunnel.tunnel(url, "lab", host, key, what, 0, 1))
except ClientError as error:
    sys.exit(f"said: {error}")
"""


def program(proxy: Front, what: str, key: str = KEY) -> list[str]:
    """The command line of a client."""
    url, host = f"http://127.0.0.1:{proxy.port}", f"localhost:{proxy.port}"
    return [sys.executable, "-c", PROGRAM, what, url, host, key]


def test_the_home_comes_through_whole(proxy: Front, door: Room) -> None:
    data = os.urandom(3_000_000)
    (door.home / "big").write_bytes(data)
    done = subprocess.run(
        program(proxy, "tar"), stdin=subprocess.DEVNULL, capture_output=True, timeout=WAIT_S, check=True
    )
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as found:
        file = found.extractfile("./big")
        assert file is not None
        assert file.read() == data


def test_a_shell_has_the_terminal_and_gives_it_back(proxy: Front) -> None:
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (41, 123))
    before = termios.tcgetattr(slave)
    process = subprocess.Popen(program(proxy, "shell"), stdin=slave, stdout=slave, start_new_session=True)
    heard = b""
    try:
        until(lambda: termios.tcgetattr(slave) != before)
        os.write(master, b"stty size; echo $((6 * 7))-done\n")
        while b"42-done" not in heard or b"41 123" not in heard:
            heard += os.read(master, 65536)
        termios.tcsetwinsize(slave, (50, 60))
        process.send_signal(signal.SIGWINCH)  # the terminal is not the one that controls it
        os.write(master, b"until [ \"$(stty size)\" = '50 60' ]; do sleep 0.05; done; exit 9\n")
        assert process.wait(WAIT_S) == 9
        assert termios.tcgetattr(slave) == before
    finally:
        process.kill()
        process.wait()
        os.close(master)
        os.close(slave)


def test_a_terminal_is_given_back_also_to_who_is_told_to_end(proxy: Front) -> None:
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    process = subprocess.Popen(program(proxy, "shell"), stdin=slave, stdout=slave, stderr=subprocess.DEVNULL)
    try:
        until(lambda: termios.tcgetattr(slave) != before)
        os.write(master, b"echo $((6 * 7))-done\n")
        heard = b""
        while b"42-done" not in heard:
            heard += os.read(master, 65536)
        process.terminate()
        assert process.wait(WAIT_S) != 0
        assert termios.tcgetattr(slave) == before
    finally:
        process.kill()
        process.wait()
        os.close(master)
        os.close(slave)


def test_a_script_on_the_standard_input_runs_to_its_end(proxy: Front) -> None:
    done = subprocess.run(
        program(proxy, "shell"), input=b"exit 3\n", capture_output=True, timeout=WAIT_S, check=False
    )
    assert done.returncode == 3


def said(proxy: Front, url: str, label: str = "lab", key: str = KEY) -> ClientError:
    """What is wrong."""
    with pytest.raises(ClientError) as caught:
        asyncio.run(tunnel(url, label, f"localhost:{proxy.port}", key, "tar", 0, 1))
    return caught.value


def test_what_goes_wrong_is_said(proxy: Front) -> None:
    url = f"http://127.0.0.1:{proxy.port}"
    refused = said(proxy, url, key="twk_wrong")
    assert isinstance(refused, WorkspaceRefused)
    assert (refused.status, str(refused)) == (401, "Sign in: the session is over")
    assert isinstance(said(proxy, url, key="a\r\nX: y"), ConfigError)
    assert isinstance(said(proxy, "ftp://x"), ConfigError)
    assert isinstance(said(proxy, f"http://127.0.0.1:{rooms.free_port()}"), ConnectionBroken)
    answer = said(proxy, url, label="wrong")
    assert isinstance(answer, WorkspaceRefused)
    assert answer.status == 502


def test_a_browser_that_finds_a_tunnel_is_told(proxy: Front) -> None:
    assert proxy.get("/_tawtin/tar").status == 426


class Remote:
    """OpenSSH, with this client as its ProxyCommand."""

    def __init__(self, proxy: Front, door: Room, folder: Path) -> None:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True)
        (door.home / ".ssh" / "authorized_keys").write_text((folder / "key.pub").read_text())
        script = folder / "proxy.sh"
        words = " ".join(f"'{each}'" for each in program(proxy, "ssh"))
        script.write_text(f"exec {words}\n")
        self.options = ["-F", "none", "-i", str(folder / "key"), "-o", f"ProxyCommand=sh {script}"]
        self.options += ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=accept-new"]
        self.options += ["-o", f"UserKnownHostsFile={folder / 'known'}", "-o", "LogLevel=ERROR"]

    def run(self, *command: str, text: bytes = b"") -> bytes:
        return subprocess.run(
            ["ssh", *self.options, "run@lab", *command],
            input=text,
            capture_output=True,
            timeout=WAIT_S,
            check=True,
        ).stdout


@pytest.fixture(scope="module")
def remote(proxy: Front, door: Room, tmp_path_factory: pytest.TempPathFactory) -> Remote:
    return Remote(proxy, door, tmp_path_factory.mktemp("ssh"))


@pytest.mark.sandbox
@pytest.mark.sshd
def test_ssh_reaches_the_sandbox_with_the_environment_of_the_application(remote: Remote, door: Room) -> None:
    said_there = remote.run(
        "pwd; id -un; echo $A_WORD; echo ${TAWTIN_DOOR_TOKEN:-none}; cat", text=b"typed\n"
    )
    assert said_there.decode().splitlines() == ["/home/run", "run", 'of "two" words', "none", "typed"]
    own = door.home / ".ssh" / "tawtin"
    assert own.stat().st_mode & 0o777 == 0o700
    assert (own / "host_key").stat().st_mode & 0o777 == 0o600


@pytest.mark.sandbox
@pytest.mark.sshd
def test_rsync_goes_through_ssh(remote: Remote, door: Room, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "file").write_bytes(os.urandom(1_000_000))
    shell = " ".join(f"'{each}'" for each in ["ssh", *remote.options])
    command = ["rsync", "-a", "-e", shell, f"{tmp_path}/data/", "run@lab:data/"]
    subprocess.run(command, check=True, timeout=WAIT_S)
    assert (door.home / "data" / "file").read_bytes() == (tmp_path / "data" / "file").read_bytes()


@pytest.mark.sandbox
@pytest.mark.sshd
def test_a_key_that_is_not_the_users_is_refused(remote: Remote, door: Room) -> None:
    keys = door.home / ".ssh" / "authorized_keys"
    before = keys.read_text()
    keys.write_text("")
    try:
        with pytest.raises(subprocess.CalledProcessError) as caught:
            remote.run("true")
        assert b"Permission denied (publickey)" in caught.value.stderr
    finally:
        keys.write_text(before)


def test_the_cookie_opens_no_tunnel_to_a_page_of_another_origin(proxy: Front) -> None:
    head = ("Connection: Upgrade", "Upgrade: tawtin", "Origin: https://evil.example")
    assert proxy.get("/_tawtin/shell", *head, cookie=COOKIE).status == 403
    with proxy.connect() as connection:
        connection.sendall(proxy.head("/_tawtin/tar", *head[:2]))
        assert connection.recv(12) == b"HTTP/1.1 101"
        connection.shutdown(socket.SHUT_RDWR)
