"""How much a run used over its time: so many looks at most, however long it goes on.

Where there is no room for another look, every second one is dropped and looks come half as often, so that what is kept
spans the whole run. Only the supervisor writes; anyone may read meanwhile. The standard library alone.
"""

from __future__ import annotations

import contextlib
import os
import struct
from typing import Final, NamedTuple

from tawtin.engines.local.orders import SAMPLES

_FORM: Final = struct.Struct("<QQQi")
_UNKNOWN: Final = -1


class Look(NamedTuple):
    """What a run used at one moment."""

    at_ms: int
    """Milliseconds UTC."""
    cpu_ms: int
    """Processor time since its start."""
    memory_bytes: int
    gpu_permille: int | None
    """How busy its GPUs were, their mean in thousandths; None where no driver says so."""


class Samples:
    """Writes the looks at one run into its folder."""

    def __init__(self, folder: str, *, count_max: int, interval_ms: int) -> None:
        """Keep at most `count_max` (0: none), at first one every `interval_ms`."""
        self._path = os.path.join(folder, SAMPLES)
        self._room = max(2, count_max) if count_max else 0
        self._kept = bytearray()
        self._fd = -1
        self.interval_ms = interval_ms
        """How long after a look the next one is wanted; 0 for never."""
        if not self._room:
            self.interval_ms = 0

    def add(self, look: Look) -> None:
        """Keep a look. What the disk does not take is missing for readers, and nothing else."""
        if not self._room:
            return
        busy = _UNKNOWN if look.gpu_permille is None else look.gpu_permille
        record = _FORM.pack(look.at_ms, look.cpu_ms, look.memory_bytes, busy)
        with contextlib.suppress(OSError):
            if self._fd < 0:
                self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if len(self._kept) >= self._room * _FORM.size:
                self._thin()
            at = len(self._kept)
            self._kept += record
            os.pwrite(self._fd, record, at)

    def _thin(self) -> None:
        size = _FORM.size
        self._kept = bytearray().join(
            self._kept[at : at + size] for at in range(0, len(self._kept), 2 * size)
        )
        self.interval_ms *= 2
        os.pwrite(self._fd, self._kept, 0)
        os.ftruncate(self._fd, len(self._kept))

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def read_samples(folder: str) -> list[Look]:
    """What was kept of a run, oldest first; nothing where nothing is, or what is there cannot be read."""
    try:
        with open(os.path.join(folder, SAMPLES), "rb") as file:
            data = file.read()
    except OSError:
        return []
    found: list[Look] = []
    for at in range(0, len(data) - len(data) % _FORM.size, _FORM.size):
        at_ms, cpu_ms, memory_bytes, busy = _FORM.unpack_from(data, at)
        if at_ms > (found[-1].at_ms if found else 0):  # not a hole, nor what is being thinned at this moment
            found.append(Look(at_ms, cpu_ms, memory_bytes, None if busy == _UNKNOWN else busy))
    return found
