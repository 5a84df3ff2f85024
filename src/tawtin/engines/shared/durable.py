"""Files that are whole or absent, also after a crash; and who a process is, beyond its reusable number.

Shared by the control plane, the launcher and the supervisors, so it needs the standard library alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import signal
import stat
import time
from typing import Any, Final, cast

_RENAME_NOREPLACE: Final = 1
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_PR_SET_NO_NEW_PRIVS: Final = 38
_AT_FDCWD: Final = -100
_READ_BYTES: Final = 1 << 16
_DEPTH_MAX: Final = 100

_libc = ctypes.CDLL(None, use_errno=True)


def kept(path: str, first: bytes) -> bytes:
    """The bytes at `path`; `first`, written there, if there are none yet. Raises OSError."""
    if not os.path.exists(path):
        write_file(path, first)
    with open(path, "rb") as file:
        return file.read()


def write_file(path: str, body: bytes, *, sync: bool = True) -> None:
    """Replace `path` by a file of these bytes, mode 0600: readers see the old file or the whole new one.

    With `sync` it is on disk, name included, when this returns. Raises OSError.
    """
    temporary = f"{path}.tmp"
    write_unread(temporary, body, sync=sync)
    os.rename(temporary, path)
    if sync:
        sync_folder(os.path.dirname(path))


def write_unread(path: str, body: bytes, *, sync: bool) -> None:
    """Write a file, mode 0600, in a folder that nobody reads yet; `sync` is for its bytes alone. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(body)
        while view:
            view = view[os.write(fd, view) :]
        if sync:
            os.fdatasync(fd)
    finally:
        os.close(fd)


def write_json(path: str, value: object, *, sync: bool = True) -> None:
    """Replace `path` by `value` as JSON. Raises OSError."""
    write_file(path, json.dumps(value, separators=(",", ":")).encode(), sync=sync)


class Slate:
    """A small JSON file that is overwritten in place: no new file each time, and whole when its writer is killed.

    One write call of at most a page replaces all of it. After a crash of the machine it may be anything.
    """

    def __init__(self, path: str, *, size: int = 2048) -> None:
        """Make the file, or take over what is there. Raises OSError."""
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._size = size

    def write(self, value: object) -> None:
        """Replace the content. Raises OSError, ValueError if it does not fit."""
        body = json.dumps(value, separators=(",", ":")).encode()
        if len(body) > self._size:
            raise ValueError(f"{len(body)} bytes do not fit into {self._size}")
        os.pwrite(self._fd, body.ljust(self._size), 0)

    def close(self) -> None:
        """Write no more."""
        os.close(self._fd)


def read_bytes(path: str) -> bytes:
    """The content of a small file, such as those of the kernel, in a fifth of the time that `open` takes.

    Raises OSError.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        body = data = os.read(fd, _READ_BYTES)
        while data:
            data = os.read(fd, _READ_BYTES)
            body += data
    finally:
        os.close(fd)
    return body


def read_json(path: str) -> dict[str, Any] | None:
    """The JSON object in `path`, or None if the file is absent, torn or no object."""
    try:
        value: object = json.loads(read_bytes(path))
    except (OSError, ValueError):
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def sync_folder(path: str) -> None:
    """Make the names in the folder `path` durable. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def rename_new(source: str, target: str) -> bool:
    """Rename atomically unless `target` exists; return whether it was done. Raises OSError for other failures."""
    if (
        _libc.renameat2(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE)
        == 0
    ):
        return True
    code = ctypes.get_errno()
    if code == errno.EEXIST:
        return False
    if code in {
        errno.EINVAL,
        errno.ENOSYS,
    }:  # a file system without the flag: a folder with content is not replaced
        try:
            os.rename(source, target)
        except OSError as error:
            if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
                return False
            raise
        return True
    raise OSError(code, os.strerror(code), source)


def remove_tree(path: str) -> None:
    """Delete a folder that a tenant may have filled, following no links; what resists is left behind.

    A tenant that took all rights of its own folder (mode 000) does not keep its owner from deleting it, and one that
    nested folders without end does not exhaust us: deep ones are lifted to the top first.
    """
    try:
        top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(path)
        return
    try:
        while _empty(top, top, 0):
            pass
    finally:
        os.close(top)
    with contextlib.suppress(OSError):
        os.rmdir(path)


def _empty(folder: int, top: int, depth: int) -> bool:
    """Delete what is in `folder`; return whether something was lifted to `top`, which is then to be emptied again."""
    again = False
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            try:
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.name, dir_fd=folder)
                elif depth >= _DEPTH_MAX:
                    os.rename(entry.name, f"deep-{time.monotonic_ns()}", src_dir_fd=folder, dst_dir_fd=top)
                    again = True
                else:
                    again = _remove_folder(entry.name, folder, top, depth) or again
            except OSError:
                continue
    return again


def _remove_folder(name: str, parent: int, top: int, depth: int) -> bool:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        folder = os.open(name, flags, dir_fd=parent)
    except PermissionError:
        os.chmod(
            name, 0o700, dir_fd=parent
        )  # it is no link: it was seen as a folder, and nobody else is there any more
        folder = os.open(name, flags, dir_fd=parent)
    try:
        if not os.fstat(folder).st_mode & stat.S_IWUSR or not os.fstat(folder).st_mode & stat.S_IXUSR:
            os.fchmod(folder, 0o700)
        again = _empty(folder, top, depth + 1)
    finally:
        os.close(folder)
    os.rmdir(name, dir_fd=parent)
    return again


def lock_file(path: str) -> int | None:
    """Take the exclusive lock of `path`; return the file descriptor that holds it, or None if another has it.

    The lock is shared by every process that inherits the descriptor, and goes when the last of them closes it or
    dies. Raises OSError.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def lock_held(path: str) -> bool:
    """Whether some process holds the lock of `path`; an absent file is held by nobody."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def boot_id() -> str:
    """What tells this start of the machine from every other."""
    return read_bytes("/proc/sys/kernel/random/boot_id").decode().strip()


def start_ticks(pid: int) -> int | None:
    """When process `pid` started, in clock ticks since boot; None if there is none. Zombies count as there."""
    try:
        return int(read_bytes(f"/proc/{pid}/stat").rpartition(b")")[2].split(None, 20)[19])
    except (OSError, IndexError, ValueError):
        return None


def is_zombie(pid: int) -> bool:
    """Whether process `pid` has ended and only waits to be reaped."""
    try:
        return read_bytes(f"/proc/{pid}/stat").rpartition(b")")[2].split(None, 1)[0] in {b"Z", b"X"}
    except (OSError, IndexError):
        return False


def still_there(pid: int, ticks: int) -> bool:
    """Whether the process that had number `pid` and started at `ticks` still runs."""
    try:
        fields = read_bytes(f"/proc/{pid}/stat").rpartition(b")")[2].split(None, 20)
        return int(fields[19]) == ticks and fields[0] not in {b"Z", b"X"}
    except (OSError, IndexError, ValueError):
        return False


def kill_confirmed(pid: int, ticks: int, wait_s: float) -> bool:
    """Kill the process that had number `pid` and started at `ticks`; return whether it is gone within `wait_s`."""
    end = time.monotonic() + wait_s
    while still_there(pid, ticks):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def die_with_parent(parent: int) -> bool:
    """Have the kernel kill the calling process when `parent` ends. False if `parent` is gone already."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    return os.getppid() == parent


def adopt_orphans() -> None:
    """Become the parent of orphaned descendants, so that none escapes to the system's first process."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def forbid_new_privileges() -> None:
    """Give up gaining rights through programs with the set-user-id bit, for good."""
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
