"""What a run uses: processor time, memory, disk and energy; from its control group where it has one, else counted.

Without a group, memory and processor time are sums over its processes, looked at from time to time: a spike between
two looks is not seen. Disk is counted by walking the folders that the run can write. The standard library alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import stat
import time
from typing import Final

from tawtin.engines.local.cgroups import Group
from tawtin.engines.shared.durable import read_bytes

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_TICK_MS: Final = 1000 // os.sysconf("SC_CLK_TCK")
_DEPTH_MAX: Final = 200
_FDS_LOOKED_AT_MAX: Final = 10_000
MIB: Final = 1 << 20


def boot_ms() -> int:
    """Milliseconds since the machine started, time asleep included."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def descendants(root: int) -> list[int]:
    """All processes below process `root`, itself not included, parents first."""
    found: list[int] = []
    queue = [root]
    while queue:
        pid = queue.pop()
        with contextlib.suppress(OSError, ValueError):
            for thread in os.listdir(f"/proc/{pid}/task"):
                listed = read_bytes(f"/proc/{pid}/task/{thread}/children")
                children = [int(word) for word in listed.split()]
                found += children
                queue += children
    return found


def tree_memory_bytes(pids: list[int]) -> int:
    """Resident memory of these processes; pages that several share are counted for each."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError):
            total += int(read_bytes(f"/proc/{pid}/statm").split()[1]) * _PAGE
    return total


def tree_cpu_ms(pids: list[int]) -> int:
    """Processor time of these processes and of their children that ended."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = read_bytes(f"/proc/{pid}/stat").rpartition(b")")[2].split()
            total += sum(int(field) for field in fields[11:15]) * _TICK_MS
    return total


class TooDeepError(Exception):
    """Folders are nested so deep that their size cannot be counted."""


def disk_bytes(path: str) -> int:
    """Bytes that a folder occupies on disk, a file with several names counted once; follows no links.

    Raises TooDeepError beyond 200 levels, which would otherwise hide what is below.
    """
    seen: set[tuple[int, int]] = set()
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return 0
    return _disk_below(fd, 0, seen)


def _disk_below(folder: int, depth: int, seen: set[tuple[int, int]]) -> int:
    total = 0
    try:
        if depth > _DEPTH_MAX:
            raise TooDeepError
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    info = entry.stat(follow_symlinks=False)
                    if info.st_nlink > 1 and not stat.S_ISDIR(info.st_mode):
                        if (info.st_dev, info.st_ino) in seen:
                            continue
                        seen.add((info.st_dev, info.st_ino))
                    total += info.st_blocks * 512
                    if stat.S_ISDIR(info.st_mode):
                        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                        below = os.open(entry.name, flags, dir_fd=folder)
                        total += _disk_below(below, depth + 1, seen)
                except OSError:
                    continue
    except OSError:
        pass
    finally:
        os.close(folder)
    return total


def deleted_bytes(pids: list[int], device: int) -> int:
    """Bytes of files on `device` that have no name any more but are held open by one of these processes."""
    seen: dict[int, int] = {}
    looked = 0
    for pid in pids:
        try:
            names = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            continue
        for name in names:
            looked += 1
            if looked > _FDS_LOOKED_AT_MAX:
                return sum(seen.values())
            with contextlib.suppress(OSError):
                info = os.stat(f"/proc/{pid}/fd/{name}")
                if info.st_nlink == 0 and info.st_dev == device and stat.S_ISREG(info.st_mode):
                    seen[info.st_ino] = info.st_blocks * 512
    return sum(seen.values())


class Energy:
    """Energy counters of GPUs, and how busy they are, by the driver's own library; silent where that is absent."""

    def __init__(self, uuids: list[str]) -> None:
        """Remember the counters of the GPUs with these UUIDs."""
        self._handles: list[ctypes.c_void_p] = []
        self._lib: ctypes.CDLL | None = None
        self._start: int | None = None
        if not uuids:
            return
        try:
            lib = ctypes.CDLL("libnvidia-ml.so.1")
            if lib.nvmlInit_v2() != 0:
                return
            for uuid in uuids:
                handle = ctypes.c_void_p()
                if lib.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(handle)) != 0:
                    return
                self._handles.append(handle)
        except (OSError, AttributeError):
            return
        self._lib = lib
        self._start = self._read()

    def _read(self) -> int | None:
        if self._lib is None:
            return None
        total = 0
        for handle in self._handles:
            value = ctypes.c_ulonglong()
            if self._lib.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(value)) != 0:
                return None
            total += value.value
        return total

    def busy_permille(self) -> int | None:
        """How busy the GPUs are now, their mean in thousandths; None without one, or where a driver does not say."""
        if self._lib is None or not self._handles:
            return None
        total = 0
        for handle in self._handles:
            rates = (ctypes.c_uint * 2)()  # per cent of the last moments: GPU, memory
            if self._lib.nvmlDeviceGetUtilizationRates(handle, ctypes.byref(rates)) != 0:
                return None
            total += rates[0]
        return total * 10 // len(self._handles)

    def used_mj(self) -> int | None:
        """Millijoules since the start, or None where the driver does not count them."""
        now = self._read()
        return None if now is None or self._start is None else max(0, now - self._start)


class Meter:
    """The peaks and sums of one run."""

    def __init__(self, group: Group, files: str, uuids: list[str]) -> None:
        """Count what `group` (which may be empty) and the folder `files` take; `uuids` are its GPUs."""
        self._group = group
        self._files = files
        self._cpu_ms = 0
        self._cpu_before = (group.cpu_ms() or 0) - int(time.process_time() * 1000)
        """The group's time that is the supervisor's own, who is in it: subtracted."""
        self._memory_peak = 0
        self._energy = Energy(uuids)
        self.disk_bytes = 0
        self.disk_peak = 0
        self.too_deep = False
        self._device = os.stat(files).st_dev

    def look(self, pids: list[int]) -> int:
        """Look at processor time and memory now; return the memory in use, bytes."""
        if self._group:
            own = self._cpu_before + int(time.process_time() * 1000)
            self._cpu_ms = max(self._cpu_ms, (self._group.cpu_ms() or 0) - own)
            self._memory_peak = max(self._memory_peak, self._group.memory_peak_bytes() or 0)
            now = self._group.memory_bytes()
            if now is not None:
                self._memory_peak = max(self._memory_peak, now)
                return now
        self._cpu_ms = max(self._cpu_ms, tree_cpu_ms(pids))
        memory = tree_memory_bytes(pids)
        self._memory_peak = max(self._memory_peak, memory)
        return memory

    def look_at_disk(self, pids: list[int]) -> int:
        """Count the disk in use now; return bytes."""
        try:
            self.disk_bytes = disk_bytes(self._files) + deleted_bytes(pids, self._device)
        except TooDeepError:
            self.too_deep = True
        self.disk_peak = max(self.disk_peak, self.disk_bytes)
        return self.disk_bytes

    def settle(self) -> None:
        """Take what is known only after all processes were reaped."""
        if not self._group:
            spent = resource.getrusage(resource.RUSAGE_CHILDREN)
            self._cpu_ms = max(self._cpu_ms, int((spent.ru_utime + spent.ru_stime) * 1000))
            self._memory_peak = max(self._memory_peak, spent.ru_maxrss * 1024)

    def gpu_permille(self) -> int | None:
        """How busy its GPUs are now, their mean in thousandths, where the driver says so."""
        return self._energy.busy_permille()

    def cpu_ms(self) -> int:
        """Processor time so far, milliseconds."""
        return self._cpu_ms

    def memory_peak_mib(self) -> int:
        """The most memory seen in use, MiB rounded up."""
        return -(-self._memory_peak // MIB)

    def disk_peak_mib(self) -> int:
        """The most disk seen in use, MiB rounded up."""
        return -(-self.disk_peak // MIB)

    def energy_mj(self) -> int | None:
        """Energy so far, millijoules, where the driver counts it."""
        return self._energy.used_mj()
