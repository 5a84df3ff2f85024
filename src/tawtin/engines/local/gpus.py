"""GPUs of this machine, asked of NVIDIA's management library (NVML): model, memory, MIG slices, and how they are.

The library is optional (extra `gpu`) and imported when asked for; where it or the driver is absent there are no GPUs,
and a note says which of the two it was.
"""

# ruff: noqa: ANN401 - the binding of NVML has no types
from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

from tawtin.core.health import Sample
from tawtin.engines.shared.gpus import canonical_model
from tawtin.model.base import Record
from tawtin.model.health import GpuFault

MIB: Final = 1 << 20
_TEMPERATURE_GPU: Final = 0
_LINKS_MAX: Final = 36
T = TypeVar("T")


class Gpu(Record, frozen=True, kw_only=True):
    """One GPU, or one MIG slice of one."""

    uuid: str
    model: str
    memory_mib: int
    devices: tuple[str, ...]
    """Device files that a run needs in order to use it."""
    card: str = ""
    """The UUID of the GPU that it is a slice of; its own for a whole one."""
    faults: tuple[GpuFault, ...] = ()
    """What is wrong with it."""


def mig_model(parent: str, name: str) -> str:
    """The name of a MIG slice: `NVIDIA A100-SXM4-40GB MIG 1g.5gb` of an `A100` is `A100-MIG-1G.5GB`."""
    match = re.search(r"(\d+c\.)?\d+g\.\d+gb(\+[a-z.]+)?", name)
    return f"{parent}-MIG-{match[0] if match else 'slice'}".upper()


class NoGpus(Exception):
    """GPUs cannot be asked for; the message says why."""


class Card:
    """One physical GPU at one look."""

    __slots__ = ("bus", "gpus", "handle", "sample", "uuid")

    def __init__(self, nvml: Any, handle: Any) -> None:
        """Ask the driver. Raises its NVMLError if not even the name can be had."""
        self.handle = handle
        self.uuid = _text(nvml.nvmlDeviceGetUUID(handle))
        self.bus = _bus(nvml, handle)
        """As the kernel's log has it: `0000:3b:00`."""
        self.gpus = _gpus(nvml, handle, self.uuid)
        self.sample = sample(nvml, handle)


def binding() -> Any:
    """NVML, initialised. Raises NoGpus."""
    try:
        nvml: Any = importlib.import_module("pynvml")
    except ImportError:
        raise NoGpus("no GPUs are looked for: the NVML binding is not installed (extra `gpu`)") from None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise NoGpus(f"no GPUs are there: {error}") from error
    return nvml


def find() -> tuple[list[Gpu], str]:
    """All GPUs, in the order of their bus ids, and a note where something is amiss."""
    try:
        nvml = binding()
    except NoGpus as error:
        return [], str(error)
    try:
        return [gpu for card in cards(nvml) for gpu in card.gpus], ""
    except NoGpus as error:
        return [], str(error)
    finally:
        nvml.nvmlShutdown()


def cards(nvml: Any) -> list[Card]:
    """All physical GPUs that answer. Raises NoGpus where not even listing works."""
    found: list[Card] = []
    try:
        count = int(nvml.nvmlDeviceGetCount())
    except nvml.NVMLError as error:
        raise NoGpus(f"the GPUs cannot be listed: {error}") from error
    for index in range(count):
        try:
            found.append(Card(nvml, nvml.nvmlDeviceGetHandleByIndex(index)))
        except nvml.NVMLError:
            continue  # it is lost; who knew it says so
    return found


def _bus(nvml: Any, handle: Any) -> str:
    try:
        address = _text(nvml.nvmlDeviceGetPciInfo(handle).busId).lower()
    except nvml.NVMLError:
        return ""
    domain, _, rest = address.partition(":")
    return f"{domain[-4:]}:{rest.rpartition('.')[0]}"


def _gpus(nvml: Any, handle: Any, uuid: str) -> tuple[Gpu, ...]:
    model = canonical_model(_text(nvml.nvmlDeviceGetName(handle)))
    device = f"/dev/nvidia{nvml.nvmlDeviceGetMinorNumber(handle)}"
    slices = _slices(nvml, handle, model, device, uuid)
    if slices is not None:
        return tuple(slices)
    memory = int(nvml.nvmlDeviceGetMemoryInfo(handle).total) // MIB
    return (Gpu(uuid=uuid, model=model, memory_mib=memory, devices=(device,), card=uuid),)


def _slices(nvml: Any, handle: Any, model: str, device: str, card: str) -> list[Gpu] | None:
    """The MIG slices of a GPU; None if it is not divided."""
    try:
        current, _pending = nvml.nvmlDeviceGetMigMode(handle)
        if not current:
            return None
        count = int(nvml.nvmlDeviceGetMaxMigDeviceCount(handle))
    except nvml.NVMLError:
        return None
    found: list[Gpu] = []
    for place in range(count):
        try:
            piece = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, place)
        except nvml.NVMLError:
            continue  # places without a slice are normal
        memory = int(nvml.nvmlDeviceGetMemoryInfo(piece).total) // MIB
        name = mig_model(model, _text(nvml.nvmlDeviceGetName(piece)))
        uuid = _text(nvml.nvmlDeviceGetUUID(piece))
        found.append(
            Gpu(
                uuid=uuid,
                model=name,
                memory_mib=memory,
                devices=(device, *_caps(nvml, piece, device)),
                card=card,
            )
        )
    return found


def _caps(nvml: Any, piece: Any, device: str) -> tuple[str, ...]:
    """The device files that give the right to a slice, numbered by the driver's table."""
    try:
        gpu = device.removeprefix("/dev/nvidia")
        instance = int(nvml.nvmlDeviceGetGpuInstanceId(piece))
        compute = int(nvml.nvmlDeviceGetComputeInstanceId(piece))
        wanted = (f"gpu{gpu}/gi{instance}/access", f"gpu{gpu}/gi{instance}/ci{compute}/access")
        with open("/proc/driver/nvidia-caps/mig-minors", encoding="ascii") as file:
            minors = dict(line.split() for line in file if len(line.split()) == 2)
        return tuple(f"/dev/nvidia-caps/nvidia-cap{minors[name]}" for name in wanted if name in minors)
    except (OSError, ValueError, nvml.NVMLError):
        return ()


def sample(nvml: Any, handle: Any) -> Sample:
    """How a GPU is. What the driver does not support is left out, and is no sickness."""
    remapped = _asked(nvml, lambda: nvml.nvmlDeviceGetRemappedRows(handle)) or (0, 0, 0, 0)
    return Sample(
        ecc_uncorrected=_asked(
            nvml,
            lambda: int(
                nvml.nvmlDeviceGetTotalEccErrors(
                    handle, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
                )
            ),
        ),
        remap_pending=bool(remapped[2]),
        remap_failed=bool(remapped[3]),
        temperature_c=_asked(nvml, lambda: int(nvml.nvmlDeviceGetTemperature(handle, _TEMPERATURE_GPU))),
        slowdown_c=_asked(
            nvml,
            lambda: int(
                nvml.nvmlDeviceGetTemperatureThreshold(handle, nvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN)
            ),
        ),
        slowdowns=_asked(nvml, lambda: int(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))) or 0,
        nvlinks=_links_up(nvml, handle),
    )


def _links_up(nvml: Any, handle: Any) -> int | None:
    """How many links to other GPUs are up; None for a GPU that has none."""
    states: list[int] = []
    for link in range(_LINKS_MAX):
        state = _asked(nvml, lambda link=link: int(nvml.nvmlDeviceGetNvLinkState(handle, link)))
        if state is None:
            break
        states.append(state)
    return sum(1 for state in states if state) if states else None


def _asked(nvml: Any, ask: Callable[[], T]) -> T | None:
    try:
        return ask()
    except (nvml.NVMLError, AttributeError):
        return None


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
