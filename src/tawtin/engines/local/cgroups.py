"""Control groups, version 2 or 1: one group a run, with its limits, its accounts, and the list of its processes.

A delegated version 2 is used where there is one, else version 1 as root, else none. The standard library alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import Final

from tawtin.engines.shared.durable import read_bytes

_V1: Final = ("memory", "pids", "cpu", "cpuacct")
_V2_NEEDS: Final = ("memory", "pids", "cpu")
_CPU_PERIOD_US: Final = 100_000
_MOUNTS: Final = "/proc/self/mounts"


def detect(name: str) -> tuple[dict[str, str], str]:
    """Find where groups can be made, and make the parent group `name` there.

    Returns ({controller: folder}, what was found in words). The folders are empty where there is no way; version 2
    has the one key `unified`.
    """
    mounts = _mounts()
    why = "no control groups are mounted"
    for place in mounts.get("cgroup2", []):
        folder, why = _open_v2(place, name)
        if folder:
            return {"unified": folder}, "control groups, version 2"
    v1 = {kind: place for kind in _V1 for place in mounts.get(f"cgroup:{kind}", [])}
    if len(v1) == len(_V1):
        folders: dict[str, str] = {}
        try:
            for kind, place in v1.items():
                folders[kind] = os.path.join(place, name)
                os.makedirs(folders[kind], exist_ok=True)
                if not os.access(os.path.join(folders[kind], "cgroup.procs"), os.W_OK):
                    raise PermissionError
        except OSError:
            return {}, "control groups, version 1, are not ours to write"
        return folders, "control groups, version 1"
    return {}, why


def _mounts() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    with open(_MOUNTS, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            _, place, kind, options, *_ = line.split(" ")
            if kind == "cgroup2":
                found.setdefault(kind, []).append(place)
            elif kind == "cgroup":
                for option in options.split(","):
                    found.setdefault(f"cgroup:{option}", []).append(place)
    return found


def _open_v2(place: str, name: str) -> tuple[str, str]:
    own = "/"
    with open("/proc/self/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            if line.startswith("0::"):
                own = line[3:].rstrip("\n")
    mine = os.path.join(place, own.lstrip("/")).rstrip("/")
    # a group with processes may not hand controllers to children, so the parent of ours (a delegated slice) comes first
    for base in dict.fromkeys((os.path.dirname(mine) if len(mine) > len(place) else mine, mine)):
        folder = os.path.join(base, name)
        try:
            have = _words(os.path.join(base, "cgroup.controllers"))
            if not set(_V2_NEEDS) <= set(have):
                continue
            missing = set(_V2_NEEDS) - set(_words(os.path.join(base, "cgroup.subtree_control")))
            if missing:
                _write(
                    os.path.join(base, "cgroup.subtree_control"),
                    " ".join(f"+{kind}" for kind in sorted(missing)),
                )
            os.makedirs(folder, exist_ok=True)
            _write(os.path.join(folder, "cgroup.subtree_control"), " ".join(f"+{kind}" for kind in _V2_NEEDS))
            if not os.access(os.path.join(folder, "cgroup.procs"), os.W_OK):
                continue
        except OSError:
            with contextlib.suppress(OSError):
                os.rmdir(folder)
            continue
        return folder, ""
    return "", "control groups, version 2, are not delegated to us with memory, pids and cpu"


class Group:
    """The control group of one run."""

    def __init__(self, parents: dict[str, str], name: str) -> None:
        """Name the group; `parents` as `detect` returned them, empty for no group at all."""
        self._folders = {kind: os.path.join(parent, name) for kind, parent in parents.items()}
        self.name = name
        self._v2 = "unified" in parents

    def __bool__(self) -> bool:
        """Whether there is a group."""
        return bool(self._folders)

    def enter(self) -> None:
        """Create the group and move the calling process, which has one thread, into it. Raises OSError.

        The kernel waits for all processors each time a process moves, some 20 ms: done before there is work, and what
        is forked later is in the group from its first instruction.
        """
        for folder in self._folders.values():
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder)
            _write(os.path.join(folder, "cgroup.procs"), "0")

    def limit(self, *, memory_bytes: int, cpus_milli: int, processes: int) -> None:
        """Set the group's limits; zero means no limit. Raises OSError."""
        quota = max(1000, cpus_milli * _CPU_PERIOD_US // 1000)
        if self._v2:
            self._set("unified", "memory.max", memory_bytes)
            self._set("unified", "memory.swap.max", 0 if memory_bytes else -1, optional=True)
            self._set("unified", "pids.max", processes)
            if cpus_milli:
                _write(os.path.join(self._folders["unified"], "cpu.max"), f"{quota} {_CPU_PERIOD_US}")
        elif self._folders:
            self._set("memory", "memory.limit_in_bytes", memory_bytes)
            self._set("memory", "memory.memsw.limit_in_bytes", memory_bytes, optional=True)
            self._set("pids", "pids.max", processes)
            if cpus_milli:
                self._set("cpu", "cpu.cfs_quota_us", quota)

    def _set(self, kind: str, file: str, value: int, *, optional: bool = False) -> None:
        if value < 0 or (value == 0 and not optional):
            return
        try:
            _write(os.path.join(self._folders[kind], file), str(value))
        except OSError:
            if not optional:
                raise

    def cpu_ms(self) -> int | None:
        """Processor time of all its processes, also of those that ended; None where it is not known."""
        try:
            if self._v2:
                return _table(os.path.join(self._folders["unified"], "cpu.stat"))["usage_usec"] // 1000
            return int(_words(os.path.join(self._folders["cpuacct"], "cpuacct.usage"))[0]) // 1_000_000
        except (OSError, KeyError, ValueError, IndexError):
            return None

    def memory_peak_bytes(self) -> int | None:
        """Most memory that was in use at one time; None where it is not known."""
        kind, file = ("unified", "memory.peak") if self._v2 else ("memory", "memory.max_usage_in_bytes")
        return self._int(kind, file)

    def memory_bytes(self) -> int | None:
        """Memory in use now; None where it is not known."""
        return self._int(
            *(("unified", "memory.current") if self._v2 else ("memory", "memory.usage_in_bytes"))
        )

    def _int(self, kind: str, file: str) -> int | None:
        try:
            return int(_words(os.path.join(self._folders[kind], file))[0])
        except (OSError, KeyError, ValueError, IndexError):
            return None

    def memory_kills(self) -> int:
        """How many of its processes the kernel killed for want of memory."""
        kind, file = ("unified", "memory.events") if self._v2 else ("memory", "memory.oom_control")
        try:
            return _table(os.path.join(self._folders[kind], file)).get("oom_kill", 0)
        except (OSError, KeyError, ValueError):
            return 0

    def pids(self) -> list[int]:
        """Its processes now: every controller lists the same ones, as what forks stays in all groups of its parent."""
        for folder in self._folders.values():
            with contextlib.suppress(OSError, ValueError):
                return sorted({int(word) for word in _words(os.path.join(folder, "cgroup.procs"))} - {0})
        return []

    def kill(self, wait_s: float, *, but: int = 0) -> bool:
        """Kill all its processes except `but`; return whether no other is left within `wait_s`."""
        end = time.monotonic() + wait_s
        while True:
            if self._v2 and not but:
                with contextlib.suppress(OSError):
                    _write(os.path.join(self._folders["unified"], "cgroup.kill"), "1")
            pids = [pid for pid in self.pids() if pid != but]
            if not pids:
                return True
            for pid in pids:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > end:
                return False
            time.sleep(0.005)

    def remove(self) -> None:
        """Delete the group, if no process is left in it."""
        for folder in self._folders.values():
            for _ in range(20):
                try:
                    os.rmdir(folder)
                except FileNotFoundError:
                    break
                except OSError:  # its last process is on the way out
                    time.sleep(0.002)
                else:
                    break


def sweep(parents: dict[str, str]) -> None:
    """Delete the groups that nobody is in any more."""
    for parent in parents.values():
        with contextlib.suppress(OSError):
            for name in os.listdir(parent):
                if os.path.isdir(os.path.join(parent, name)):
                    with contextlib.suppress(OSError):
                        os.rmdir(os.path.join(parent, name))


def remove_parents(parents: dict[str, str]) -> None:
    """Delete the parent group that `detect` made, if it is empty."""
    for folder in parents.values():
        with contextlib.suppress(OSError):
            os.rmdir(folder)


def _words(path: str) -> list[str]:
    return read_bytes(path).decode().split()


def _table(path: str) -> dict[str, int]:
    words = _words(path)
    return {key: int(value) for key, value in zip(words[::2], words[1::2], strict=False) if value.isdigit()}


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
