"""The door of a workspace, with a real child behind it."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.workspaces import rooms
from tests.workspaces.rooms import DOOR, TOKEN, WAIT_S, Room, read_all, room


def get(connection: socket.socket, target: str) -> bytes:
    connection.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    return read_all(connection).partition(b"\r\n\r\n")[2]


def test_it_connects_to_the_application(door: Room) -> None:
    connection, answer = door.knock("app")
    with connection:
        assert answer == "OK"
        assert json.loads(get(connection, "/a%2e%2e/b?c"))["target"] == "/a%2e%2e/b?c"


@pytest.mark.parametrize(
    "line",
    [
        f"TAWTIN {TOKEN}x app\n",
        f"TAWTIN {TOKEN[:-1]} app\n",
        "TAWTIN  app\n",
        f"TAWTIN {TOKEN} door\n",
        f"TAWTIN {TOKEN}\n",
        f"TAWTIN {TOKEN} app x\n",
        f"tawtin {TOKEN} app\n",
        "GET / HTTP/1.1\r\n\r\n",
        "x" * 10_000,
        "\n",
    ],
)
def test_whoever_does_not_say_the_token_and_a_known_word_hears_nothing(door: Room, line: str) -> None:
    with socket.create_connection(("127.0.0.1", door.port), WAIT_S) as connection:
        heard = b"none"
        try:
            connection.sendall(line.encode())
            heard = read_all(connection)
        except ConnectionError:
            heard = b""
        assert heard == b""


def test_many_who_say_nothing_keep_nobody_out(door: Room) -> None:
    silent = [socket.create_connection(("127.0.0.1", door.port), WAIT_S) for _ in range(150)]
    try:
        connection, answer = door.knock("app")
        connection.close()
        assert answer == "OK"
    finally:
        for each in silent:
            each.close()


def test_the_end_of_one_direction_goes_on_and_the_answer_still_comes(door: Room) -> None:
    connection, _ = door.knock("app")
    with connection:
        connection.sendall(b"GET /big?300000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        assert len(read_all(connection).partition(b"\r\n\r\n")[2]) == 300_000


def test_the_token_is_nowhere_in_the_sandbox(door: Room) -> None:
    connection, _ = door.knock("app")
    with connection:
        seen = json.loads(get(connection, "/environment"))
    assert "TAWTIN_DOOR_TOKEN" not in seen["own"]
    assert Path(seen["own"]["TAWTIN_SOCKET"]).name == "app"
    if (
        rooms.BWRAP and rooms.AS_ROOT
    ):  # else this machine's other processes are seen, the test's own among them
        assert TOKEN not in json.dumps({pid: text for pid, text in seen["all"].items() if pid != "1"})


def test_without_an_application_it_asks_to_wait(tmp_path: Path) -> None:
    with room(tmp_path, ["/bin/sleep", "600"], wait=False) as one:
        connection, answer = one.knock("app")
        with connection:
            assert answer == "WAIT"
            assert read_all(connection) == b""


def test_the_home_comes_as_tar_without_the_host_key_and_sockets(door: Room) -> None:
    own = door.home / ".ssh" / "tawtin"
    own.mkdir(exist_ok=True)
    (own / "secret").write_text("a")
    own.chmod(0o755)
    (door.home / "notes & more.txt").write_text("words")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(door.home / "socket"))
        connection, answer = door.knock("tar")
        with connection:
            assert answer == "OK"
            with tarfile.open(fileobj=io.BytesIO(read_all(connection))) as found:
                names = found.getnames()
    assert "./notes & more.txt" in names
    assert "./.ssh" in names
    assert not [each for each in names if "tawtin" in each or each.endswith("socket")]


def frames(connection: socket.socket) -> tuple[bytes, int]:
    """What a terminal showed, and the exit code."""
    file = connection.makefile("rb")
    shown = b""
    while head := file.read(3):
        kind, size = struct.unpack("!cH", head)
        data = file.read(size)
        if kind == b"X":
            return shown, data[0]
        shown += data
    raise AssertionError(f"no exit code came; shown: {shown!r}")


def test_a_shell_knows_its_window_and_says_how_it_ended(door: Room) -> None:
    connection, answer = door.knock("shell")
    with connection:
        assert answer == "OK"
        typed = b"stty size; tty; pwd; exit $((40 + 2))\n"
        connection.sendall(struct.pack("!cHHH", b"W", 4, 33, 101) + struct.pack("!cH", b"D", len(typed)))
        connection.sendall(typed)
        shown, code = frames(connection)
    assert code == 42
    assert b"33 101" in shown
    assert b"/dev/pts/" in shown


def test_a_shell_ends_with_its_client(door: Room) -> None:
    connection, _ = door.knock("shell")
    typed = b"echo $$ > pid; exec sleep 601\n"
    connection.sendall(struct.pack("!cH", b"D", len(typed)) + typed)
    pid = door.home / "pid"
    until(lambda: pid.exists() and bool(pid.read_text().strip()))
    connection.close()
    until(
        lambda: (
            subprocess.run(["pgrep", "-f", "^sleep 601$"], stdout=subprocess.DEVNULL, check=False).returncode
            != 0
        )
    )


def until(true: Callable[[], object]) -> None:
    """Wait until something holds."""
    for _ in range(WAIT_S * 20):
        if true():
            return
        rooms.select.select([], [], [], 0.05)
    raise AssertionError("it did not come about")


@pytest.mark.parametrize(
    ("script", "sent", "want"),
    [
        ("exit 5", None, 5),
        ("trap 'exit 6' TERM; echo > ready; while :; do sleep 0.05; done", signal.SIGTERM, 6),
        ("echo > ready; exec sleep 600", signal.SIGTERM, 128 + 15),
    ],
)
def test_it_passes_signals_on_and_ends_with_its_childs_exit_code(
    tmp_path: Path, script: str, sent: signal.Signals | None, want: int
) -> None:
    environment = {
        **os.environ,
        "PORT": str(rooms.free_port()),
        "TAWTIN_DOOR_TOKEN": "t",
        "HOME": str(tmp_path),
    }
    environment["TMPDIR"] = str(tmp_path)
    process = subprocess.Popen(
        [rooms.PYTHON, str(DOOR), "/bin/sh", "-c", script], env=environment, cwd=tmp_path
    )
    if sent is not None:
        until((tmp_path / "ready").exists)
        process.send_signal(sent)
    assert process.wait(WAIT_S) == want
    assert not list(tmp_path.glob("tawtin-*"))


@pytest.mark.parametrize("missing", ["PORT", "TAWTIN_DOOR_TOKEN"])
def test_without_port_or_token_it_does_not_begin(missing: str) -> None:
    environment = {"PORT": "1", "TAWTIN_DOOR_TOKEN": "t"}
    environment[missing] = ""
    done = subprocess.run(
        [sys.executable, str(DOOR), "true"], env=environment, capture_output=True, check=False
    )
    assert done.returncode == 2
    assert b"TAWTIN_DOOR_TOKEN" in done.stderr
