"""GPUs of this machine, asked of NVIDIA's management library (NVML): model, memory, MIG slices, health.

The library is optional (extra `gpu`) and imported when asked for; where it or the driver is absent there are no GPUs,
and a note says which of the two it was.
"""

# ruff: noqa: ANN401 - the binding of NVML has no types
from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from typing import Any, Final

MIB: Final = 1 << 20
_NOISE: Final = frozenset(
    {
        "NVIDIA",
        "TESLA",
        "QUADRO",
        "GEFORCE",
        "GRAPHICS",
        "DEVICE",
        "GENERATION",
        "HBM2",
        "HBM2E",
        "HBM3",
        "HBM3E",
        "PCIE",
        "NVL",
        "GPU",
    }
)
_FORM: Final = re.compile(r"^(SXM\d?|PG\d+|\d+GB|MIG|\d+G)$")
_TEMPERATURE_GPU: Final = 0


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One GPU, or one MIG slice of one."""

    uuid: str
    model: str
    memory_mib: int
    devices: tuple[str, ...]
    """Device files that a run needs in order to use it."""
    sick: str = ""
    """Why it is not handed out; empty if it is healthy."""


def canonical_model(name: str) -> str:
    """The short name that specs use: `NVIDIA H100 80GB HBM3` is `H100`, `Tesla V100-SXM2-16GB` is `V100`.

    RTX cards keep their line and number: `NVIDIA GeForce RTX 4090` is `RTX4090`, `NVIDIA RTX 6000 Ada Generation`
    is `RTX6000-Ada`, `NVIDIA RTX A6000` is `RTXA6000`. The two Hopper-Grace boards are `GH200` and `GB200`.
    """
    words = [word for word in re.split(r"[\s_-]+", name.strip()) if word]
    kept = [word for word in words if word.upper() not in _NOISE and not _FORM.match(word.upper())]
    if not kept:
        return "-".join(words) or "GPU"
    if kept[0].upper() in {"RTX", "GTX", "TITAN"} and len(kept) > 1:
        return "-".join([kept[0].upper() + kept[1], *kept[2:]])
    return "-".join(kept) if len(kept) > 1 and not re.search(r"\d", kept[0]) else kept[0]


def mig_model(parent: str, name: str) -> str:
    """The name of a MIG slice: `NVIDIA A100-SXM4-40GB MIG 1g.5gb` of an `A100` is `A100-MIG-1g.5gb`."""
    match = re.search(r"(\d+c\.)?\d+g\.\d+gb(\+[a-z.]+)?", name)
    return f"{parent}-MIG-{match[0] if match else 'slice'}"


def find() -> tuple[list[Gpu], str]:
    """All GPUs, in the order of their bus ids, and a note where something is amiss."""
    try:
        nvml: Any = importlib.import_module("pynvml")
    except ImportError:
        return [], "no GPUs are looked for: the NVML binding is not installed (extra `gpu`)"
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return [], f"no GPUs are there: {error}"
    try:
        return read(nvml), ""
    except nvml.NVMLError as error:
        return [], f"the GPUs cannot be listed: {error}"
    finally:
        nvml.nvmlShutdown()


def read(nvml: Any) -> list[Gpu]:
    """All GPUs that an initialised NVML lists. Raises its NVMLError where not even listing works."""
    found: list[Gpu] = []
    for index in range(int(nvml.nvmlDeviceGetCount())):
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        model = canonical_model(_text(nvml.nvmlDeviceGetName(handle)))
        device = f"/dev/nvidia{nvml.nvmlDeviceGetMinorNumber(handle)}"
        sick = _sickness(nvml, handle)
        slices = _slices(nvml, handle, model, device, sick)
        if slices is not None:
            found += slices
            continue
        memory = int(nvml.nvmlDeviceGetMemoryInfo(handle).total) // MIB
        uuid = _text(nvml.nvmlDeviceGetUUID(handle))
        found.append(Gpu(uuid=uuid, model=model, memory_mib=memory, devices=(device,), sick=sick))
    return found


def _slices(nvml: Any, handle: Any, model: str, device: str, sick: str) -> list[Gpu] | None:
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
                sick=sick,
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


def _sickness(nvml: Any, handle: Any) -> str:
    """Why a GPU should not be handed out. What the driver does not support is no sickness."""
    checks = (_uncorrected_errors, _retired_pages, _too_hot)
    for check in checks:
        try:
            why = check(nvml, handle)
        except (nvml.NVMLError, AttributeError):
            continue
        if why:
            return why
    return ""


def _uncorrected_errors(nvml: Any, handle: Any) -> str:
    count = int(
        nvml.nvmlDeviceGetTotalEccErrors(
            handle, nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
        )
    )
    return f"{count} uncorrected memory errors since the driver started" if count else ""


def _retired_pages(nvml: Any, handle: Any) -> str:
    _correctable, _uncorrectable, pending, failed = nvml.nvmlDeviceGetRemappedRows(handle)
    if failed:
        return "its memory could not be repaired (row remapping failed)"
    return "it must be reset so that its memory is repaired (row remapping is pending)" if pending else ""


def _too_hot(nvml: Any, handle: Any) -> str:
    limit = int(nvml.nvmlDeviceGetTemperatureThreshold(handle, nvml.NVML_TEMPERATURE_THRESHOLD_SHUTDOWN))
    now = int(nvml.nvmlDeviceGetTemperature(handle, _TEMPERATURE_GPU))
    return f"its temperature is {now} °C, and it shuts down at {limit} °C" if limit and now >= limit else ""


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
