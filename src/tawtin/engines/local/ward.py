"""Watches over this machine's GPUs: who is there, in which order, and what is wrong with each, also over a restart.

A GPU keeps its index as long as the machine is up, though the driver loses it, because runs hold GPUs by their indices.
What was found wrong, and since when, is kept in a file, so that the next control plane does not take it for news.
Errors of the driver (Xid) come as NVML's events; those of the time in which nobody listened are in the kernel's log.
"""

# ruff: noqa: ANN401 - the binding of NVML has no types
from __future__ import annotations

import contextlib
import ctypes
import os
import re
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from tawtin.core.health import Sample, Watched, judge
from tawtin.engines.local import gpus
from tawtin.engines.local.gpus import Card, Gpu, NoGpus
from tawtin.engines.shared import durable
from tawtin.model.base import Record
from tawtin.model.health import HealthLimits

_WAIT_MS: Final = 500
_ABSENT_LOOKS: Final = 2
"""A GPU that is not listed so often in a row is lost; one that the driver itself calls lost is not listed either."""
_WRITE_MS: Final = 60_000
"""So often it is written down at least until when somebody listened."""
_KERNEL_LOG: Final = "/dev/kmsg"
_XID: Final = re.compile(r"NVRM: Xid \((?:PCI:)?([0-9a-fA-F:.]+)\): (\d+),")


class Book(Record, frozen=True, kw_only=True):
    """What is remembered: the file `gpus.json`."""

    boot: str = ""
    """The start of the machine that the rest is of."""
    looked_ms: int = 0
    gpus: tuple[Gpu, ...] = ()
    """In the order of their indices."""
    watched: dict[str, Watched] = {}
    """By the UUID of the physical GPU."""


class Ward:
    """All GPUs of this machine."""

    def __init__(self, path: str, limits: HealthLimits, *, kernel_log: str = _KERNEL_LOG) -> None:
        """`path` is the file to remember in."""
        self._path = path
        self._limits = limits
        self._kernel_log = kernel_log
        self._book = Book()
        self._absent: dict[str, int] = {}
        self._written_ms = 0
        self._xids: list[tuple[str, int, int]] = []
        """(UUID, number, when) that were heard since the last look."""
        self._handles: dict[int, str] = {}
        self._nvml: Any = None
        self._lock = threading.RLock()
        self._listener: threading.Thread | None = None
        self._closed = threading.Event()
        self.note = ""
        """What is amiss with asking at all."""

    def open(self, *, idle: bool, on_xid: Callable[[], None]) -> None:
        """Remember, look, and listen. `idle`: no run holds an index, so that they are given out anew."""
        kept = self._read()
        if kept.boot != durable.boot_id():
            kept = Book(boot=durable.boot_id())
        self._book = msgspec.structs.replace(kept, gpus=()) if idle else kept
        self.look(since_ms=kept.looked_ms)
        if self._nvml is not None and self._handles:
            self._listener = threading.Thread(
                target=self._listen, args=(on_xid,), name="tawtin-gpus", daemon=True
            )
            self._listener.start()

    def close(self) -> None:
        """Stop listening."""
        self._closed.set()
        if self._listener is not None:
            self._listener.join(5)
        if self._nvml is not None:
            with contextlib.suppress(self._nvml.NVMLError):
                self._nvml.nvmlShutdown()

    @property
    def gpus(self) -> tuple[Gpu, ...]:
        """As of the last look."""
        return self._book.gpus

    def look(self, since_ms: int = 0) -> bool:
        """Look at every GPU; return whether anything is new about what is wrong. Without an answer nothing is.

        `since_ms`: the kernel's log is read for errors after that time.
        """
        with self._lock:
            try:
                if self._nvml is None:
                    self._nvml = gpus.binding()
                found = gpus.cards(self._nvml)
            except NoGpus as error:
                self.note = str(error)
                return False
            self.note = ""
            self._handles = {_address(card.handle): card.uuid for card in found}
            heard, self._xids = self._xids, []
            if since_ms:
                by_bus = {card.bus: card.uuid for card in found if card.bus}
                heard += [
                    (by_bus[bus], code, at_ms) for bus, code, at_ms in self._missed(since_ms) if bus in by_bus
                ]
            book = self._judged(found, heard)
            news = _wrong(book) != _wrong(self._book)
            changed = news or book.gpus != self._book.gpus or book.watched != self._book.watched
            self._book = book
            if changed or book.looked_ms - self._written_ms >= _WRITE_MS:
                self._written_ms = book.looked_ms
                durable.write_file(self._path, msgspec.json.encode(book))
            return news

    def _judged(self, found: list[Card], heard: list[tuple[str, int, int]]) -> Book:
        now_ms = time.time_ns() // 1_000_000
        here = {card.uuid: card for card in found}
        cards = dict.fromkeys([*(gpu.card for gpu in self._book.gpus), *here])
        watched: dict[str, Watched] = {}
        for uuid in cards:
            xids = tuple((code, at_ms) for each, code, at_ms in heard if each == uuid)
            card, known = here.get(uuid), self._book.watched.get(uuid, Watched())
            self._absent[uuid] = 0 if card is not None else self._absent.get(uuid, 0) + 1
            if card is not None:
                sample = msgspec.structs.replace(card.sample, xids=xids)
            elif xids or self._absent[uuid] >= _ABSENT_LOOKS:
                sample = Sample(lost=True, xids=xids)
            else:
                watched[uuid] = known
                continue
            watched[uuid] = judge(known, sample, self._limits, now_ms)
        listed = {gpu.uuid: gpu for card in found for gpu in card.gpus}
        order = [listed.pop(gpu.uuid, gpu) for gpu in self._book.gpus]
        order += listed.values()
        seen = tuple(msgspec.structs.replace(gpu, faults=watched[gpu.card].faults) for gpu in order)
        return Book(boot=self._book.boot, looked_ms=now_ms, gpus=seen, watched=watched)

    def _read(self) -> Book:
        try:
            with open(self._path, "rb") as file:
                return msgspec.json.decode(file.read(), type=Book)
        except (OSError, msgspec.DecodeError):
            return Book()

    # --- errors of the driver -----------------------------------------------------------------------------------

    def _listen(self, on_xid: Callable[[], None]) -> None:
        nvml = self._nvml
        while not self._closed.is_set():
            try:
                events = nvml.nvmlEventSetCreate()
            except nvml.NVMLError:
                return  # this driver has none; looks go on
            try:
                with self._lock:
                    self._register(nvml, events)
                self._hear(nvml, events, on_xid)
            finally:
                with contextlib.suppress(nvml.NVMLError):
                    nvml.nvmlEventSetFree(events)

    @staticmethod
    def _register(nvml: Any, events: Any) -> None:
        for index in range(int(nvml.nvmlDeviceGetCount())):
            with contextlib.suppress(nvml.NVMLError):
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
                nvml.nvmlDeviceRegisterEvents(handle, nvml.nvmlEventTypeXidCriticalError, events)

    def _hear(self, nvml: Any, events: Any, on_xid: Callable[[], None]) -> None:
        """Take in errors until there is none to come from this set of events."""
        while not self._closed.is_set():
            try:
                event = nvml.nvmlEventSetWait_v2(events, _WAIT_MS)
            except nvml.NVMLError as error:
                if getattr(error, "value", None) == nvml.NVML_ERROR_TIMEOUT:
                    continue
                self._closed.wait(1.0)  # such as a GPU that was lost: begin anew with those that are left
                return
            if event.eventType != nvml.nvmlEventTypeXidCriticalError:
                continue
            uuid = self._handles.get(_address(event.device))
            if uuid is not None:
                with self._lock:
                    self._xids.append((uuid, int(event.eventData), time.time_ns() // 1_000_000))
                on_xid()

    def _missed(self, since_ms: int) -> list[tuple[str, int, int]]:
        try:
            fd = os.open(self._kernel_log, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return []  # it takes root, or a kernel that lets others read it
        lines: list[str] = []
        try:
            while True:
                try:
                    data = os.read(fd, 8192)
                except BrokenPipeError:
                    continue  # what was next is overwritten already; the one after it follows
                if not data:
                    break
                lines += data.decode("utf-8", "replace").splitlines()
        except OSError:
            pass  # nothing more now
        finally:
            os.close(fd)
        began_ms = (time.time_ns() - time.monotonic_ns()) // 1_000_000
        return [each for each in xids(lines, began_ms) if each[2] > since_ms]


def xids(lines: Iterable[str], began_ms: int) -> list[tuple[str, int, int]]:
    """The driver's errors in lines of the kernel's log: (bus address such as `0000:3b:00`, number, when).

    `began_ms` is when the log's clock was 0, milliseconds UTC.
    """
    found: list[tuple[str, int, int]] = []
    for line in lines:
        match = _XID.search(line)
        fields = line.partition(";")[0].split(",")
        if match and len(fields) >= 3 and fields[2].isdecimal():
            bus = match[1].partition(".")[0].lower()
            found.append((bus, int(match[2]), began_ms + int(fields[2]) // 1000))
    return found


def _address(handle: Any) -> int:
    return ctypes.cast(handle, ctypes.c_void_p).value or 0


def _wrong(book: Book) -> list[tuple[str, object]]:
    return [(gpu.uuid, gpu.faults) for gpu in book.gpus if gpu.faults]
