"""What `setup` left, kept for later runs of the same tenant: home and working folder, as they were when it ended well.

The key is a hash of everything that set-up may depend on (see `plan.setup_key`). A run with the same key gets a copy
(blocks are shared where the file system can) instead of doing it again; runs that start together wait for the first.
A set-up that failed is not kept. Folders are the tenant's own: another tenant's run never sees them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Generator
from typing import Final, NamedTuple

from tawtin.engines.local.orders import SetupCache
from tawtin.engines.local.watch import Ended
from tawtin.engines.shared import durable

KEPT: Final = ("home", "work")
_WAIT_S: Final = 0.05


class Claim(NamedTuple):
    """What a run may do about its set-up."""

    ready: bool = False
    """An earlier run left it."""
    stopped: Ended | None = None
    """The run was ended while it waited for another's set-up."""


@contextlib.contextmanager
def locked(cache: SetupCache | None, give_up: Callable[[], Ended | None]) -> Generator[Claim]:
    """Hold the key of `cache`: for reading if it is there, else for making it. Waits while another run makes it."""
    if cache is None:
        yield Claim()
        return
    os.makedirs(cache["folder"], mode=0o700, exist_ok=True)
    fd = os.open(f"{entry(cache)}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            ready = os.path.isdir(entry(cache))
            try:
                fcntl.flock(fd, (fcntl.LOCK_SH if ready else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except BlockingIOError:
                stopped = give_up()
                if stopped is not None:
                    yield Claim(stopped=stopped)
                    return
                time.sleep(_WAIT_S)
                continue
            if ready == os.path.isdir(entry(cache)):  # else it came or went before the lock was ours
                yield Claim(ready=ready)
                return
            fcntl.flock(fd, fcntl.LOCK_UN)
    finally:
        os.close(fd)


def entry(cache: SetupCache) -> str:
    """The folder of one kept set-up."""
    return os.path.join(cache["folder"], cache["key"])


def restore(cache: SetupCache | None, files: str) -> bool:
    """Replace home and work below `files` by copies of what was kept; return whether that was possible."""
    if cache is None:
        return False
    source = entry(cache)
    for name in KEPT:
        durable.remove_tree(os.path.join(files, name))
        if not copy_tree(os.path.join(source, name), os.path.join(files, name)):
            return False
    with contextlib.suppress(OSError):
        os.utime(source)  # the least recently used go first
    return True


def keep(cache: SetupCache | None, files: str) -> None:
    """Keep home and work below `files`; what cannot be kept is done again by the next run."""
    if cache is None:
        return
    making = f"{entry(cache)}.{os.getpid()}.new"
    try:
        os.mkdir(making, 0o700)
        if all(copy_tree(os.path.join(files, name), os.path.join(making, name)) for name in KEPT):
            durable.sync_folder(making)
            durable.rename_new(making, entry(cache))
    except OSError:
        pass
    finally:
        if os.path.isdir(making):
            durable.remove_tree(making)


def copy_tree(source: str, target: str) -> bool:
    """Copy a folder as it is, links as links, owners kept where we may; return whether all of it was copied."""
    command = ["cp", "-a", "--reflink=auto", "-T", "--", source, target]
    silent: list[tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)
    ]
    pid = os.posix_spawnp("cp", command, {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}, file_actions=silent)
    return os.waitpid(pid, 0)[1] == 0


def evict(caches: str, trash: str, bytes_max: int, size_of: Callable[[str], int]) -> None:
    """Drop the least recently used set-ups of all tenants until they take at most `bytes_max` together."""
    found: list[tuple[float, str, int]] = []
    with contextlib.suppress(OSError):
        for tenant in os.listdir(caches):
            for key in os.listdir(os.path.join(caches, tenant)):
                path = os.path.join(caches, tenant, key)
                if os.path.isdir(path):
                    found.append((os.stat(path).st_mtime, path, size_of(path)))
    total = sum(size for _, _, size in found)
    for _, path, size in sorted(found):
        if total <= bytes_max:
            return
        fd = durable.lock_file(f"{path}.lock")
        if fd is None:
            continue  # a run is copying it right now
        try:
            gone = os.path.join(trash, f"setup-{os.path.basename(path)}-{time.time_ns()}")
            os.rename(path, gone)
            durable.remove_tree(gone)
            total -= size
        except OSError:
            continue
        finally:
            os.close(fd)
