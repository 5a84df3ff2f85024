"""A stand-in for NVML's binding, shaped after what the real one says: there need be no GPU where tests run."""

# ruff: noqa: N802, N815, ANN401 - NVML's names, and its values
from __future__ import annotations

import ctypes
import queue
from typing import Any, ClassVar

TIMEOUT = 10
LOST = 15


class FakeNvmlError(Exception):
    def __init__(self, value: int, text: str) -> None:
        super().__init__(text)
        self.value = value


class Event:
    def __init__(self, device: object, code: int) -> None:
        self.device, self.eventType, self.eventData = device, 8, code


def card(uuid: str, name: str = "NVIDIA H100 80GB HBM3", **more: Any) -> dict[str, Any]:
    return {"name": name, "uuid": uuid, "memory": 80 << 30, **more}


def two_h100_an_a100_in_slices_and_a_t4() -> list[dict[str, Any]]:
    """One of the H100 has errors; the T4 has no ECC, and its strings are bytes, as older bindings have them."""
    slices = [("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "MIG-a"), ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "MIG-b")]
    return [
        card("GPU-0"),
        card("GPU-1", ecc=3),
        card("GPU-2", "NVIDIA A100-SXM4-40GB", memory=40 << 30, slices=slices),
        {"name": b"Tesla T4", "uuid": b"GPU-3", "memory": 15 << 30, "ecc": None},
    ]


class FakeNvml:
    """Stands in for the module `pynvml`. `cards` may change between two looks; a lost one does not answer."""

    NVMLError = FakeNvmlError
    NVML_ERROR_TIMEOUT = TIMEOUT
    NVML_MEMORY_ERROR_TYPE_UNCORRECTED = 1
    NVML_VOLATILE_ECC = 0
    NVML_TEMPERATURE_THRESHOLD_SLOWDOWN = 1
    nvmlEventTypeXidCriticalError = 8
    max_wait_s: ClassVar[float] = 0.05

    def __init__(self, cards: list[dict[str, Any]] | None = None) -> None:
        self.cards = two_h100_an_a100_in_slices_and_a_t4() if cards is None else cards
        self.events: queue.Queue[Event] = queue.Queue()
        self.down = ""
        """Why the driver does not answer at all."""

    # what a test does

    def of(self, uuid: str) -> dict[str, Any]:
        return next(each for each in self.cards if each["uuid"] == uuid)

    def xid(self, uuid: str, code: int) -> None:
        """The driver reports an error; after number 79 it does not find the GPU any more."""
        index = next(place for place, each in enumerate(self.cards) if each["uuid"] == uuid)
        if code == 79:
            self.cards[index]["lost"] = True
        self.events.put(Event(ctypes.c_void_p(0x1000 * (index + 1)), code))

    # what the binding does

    def nvmlInit(self) -> None:
        if self.down:
            raise FakeNvmlError(9, self.down)

    def nvmlShutdown(self) -> None:
        pass

    def nvmlDeviceGetCount(self) -> int:
        if self.down:
            raise FakeNvmlError(9, self.down)
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> ctypes.c_void_p:
        if self.cards[index].get("lost"):
            raise FakeNvmlError(LOST, "GPU is lost")
        return ctypes.c_void_p(0x1000 * (index + 1))

    def _card(self, handle: ctypes.c_void_p) -> dict[str, Any]:
        number = handle.value or 0
        found = self.cards[number // 0x1000 - 1]
        if found.get("lost"):
            raise FakeNvmlError(LOST, "GPU is lost")
        if number % 0x1000:
            name, uuid = found["slices"][number % 0x1000 - 1]
            return {"name": name, "uuid": uuid, "memory": 5 << 30}
        return found

    def _of(self, handle: ctypes.c_void_p, name: str, otherwise: int) -> int:
        value = self._card(handle).get(name, otherwise)
        if value is None:
            raise FakeNvmlError(3, "not supported")
        return int(value)

    def nvmlDeviceGetName(self, handle: ctypes.c_void_p) -> object:
        return self._card(handle)["name"]

    def nvmlDeviceGetUUID(self, handle: ctypes.c_void_p) -> object:
        return self._card(handle)["uuid"]

    def nvmlDeviceGetMinorNumber(self, handle: ctypes.c_void_p) -> int:
        return (handle.value or 0) // 0x1000 - 1

    def nvmlDeviceGetPciInfo(self, handle: ctypes.c_void_p) -> Any:
        class Info:
            busId = f"00000000:{(handle.value or 0) // 0x1000:02X}:00.0".encode()

        return Info

    def nvmlDeviceGetMemoryInfo(self, handle: ctypes.c_void_p) -> Any:
        class Info:
            total = self._card(handle)["memory"]

        return Info

    def nvmlDeviceGetMigMode(self, handle: ctypes.c_void_p) -> tuple[int, int]:
        if "slices" not in self._card(handle):
            raise FakeNvmlError(3, "not supported")
        return 1, 1

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: ctypes.c_void_p) -> int:
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: ctypes.c_void_p, index: int) -> ctypes.c_void_p:
        if index >= len(self._card(handle)["slices"]):
            raise FakeNvmlError(6, "not found")
        return ctypes.c_void_p((handle.value or 0) + index + 1)

    def nvmlDeviceGetGpuInstanceId(self, handle: ctypes.c_void_p) -> int:
        return 7

    def nvmlDeviceGetComputeInstanceId(self, handle: ctypes.c_void_p) -> int:
        return 0

    def nvmlDeviceGetTotalEccErrors(self, handle: ctypes.c_void_p, kind: int, counter: int) -> int:
        return self._of(handle, "ecc", 0)

    def nvmlDeviceGetRemappedRows(self, handle: ctypes.c_void_p) -> tuple[int, int, int, int]:
        return 0, 0, self._of(handle, "pending", 0), self._of(handle, "failed", 0)

    def nvmlDeviceGetTemperatureThreshold(self, handle: ctypes.c_void_p, kind: int) -> int:
        return self._of(handle, "slowdown", 87)

    def nvmlDeviceGetTemperature(self, handle: ctypes.c_void_p, sensor: int) -> int:
        return self._of(handle, "temperature", 40)

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: ctypes.c_void_p) -> int:
        return self._of(handle, "slowdowns", 0)

    def nvmlDeviceGetNvLinkState(self, handle: ctypes.c_void_p, link: int) -> int:
        links = self._card(handle).get("links", [])
        if link >= len(links):
            raise FakeNvmlError(2, "invalid argument")
        return int(links[link])

    def nvmlEventSetCreate(self) -> object:
        return object()

    def nvmlDeviceRegisterEvents(self, handle: ctypes.c_void_p, kinds: int, events: object) -> None:
        self._card(handle)

    def nvmlEventSetWait_v2(self, events: object, timeout_ms: int) -> Event:
        try:
            return self.events.get(timeout=min(timeout_ms / 1000, self.max_wait_s))
        except queue.Empty:
            raise FakeNvmlError(TIMEOUT, "timeout") from None

    def nvmlEventSetFree(self, events: object) -> None:
        pass
