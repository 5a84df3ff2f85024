"""What NVML says of GPUs, read from a stand-in for its binding (there need be no GPU here)."""

from __future__ import annotations

import sys
from typing import Any, ClassVar

import pytest

from tawtin.engines.local import gpus, machine
from tawtin.engines.local.machine import Capacity
from tawtin.engines.local.settings import DeclaredGpus, LocalSettings
from tawtin.model.resources import NodeHealth


class FakeNvmlError(Exception):
    pass


class FakeNvml:
    """Stands in for pynvml: two H100, one of them failing, one A100 cut into slices, one T4 without ECC."""

    NVMLError = FakeNvmlError
    NVML_MEMORY_ERROR_TYPE_UNCORRECTED = 1
    NVML_VOLATILE_ECC = 0
    NVML_TEMPERATURE_THRESHOLD_SHUTDOWN = 0
    cards: ClassVar[list[dict[str, Any]]] = [
        {"name": "NVIDIA H100 80GB HBM3", "uuid": "GPU-0", "memory": 80 << 30},
        {"name": "NVIDIA H100 80GB HBM3", "uuid": "GPU-1", "memory": 80 << 30, "ecc": 3},
        {
            "name": "NVIDIA A100-SXM4-40GB", "uuid": "GPU-2", "memory": 40 << 30,
            "slices": [("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "MIG-a"), ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "MIG-b")],
        },
        {"name": b"Tesla T4", "uuid": b"GPU-3", "memory": 15 << 30, "ecc": None},
    ]  # fmt: skip

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802 - NVML's names
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> dict[str, Any]:  # noqa: N802
        return {**self.cards[index], "minor": index}

    def nvmlDeviceGetName(self, handle: dict[str, Any]) -> object:  # noqa: N802
        return handle["name"]

    def nvmlDeviceGetUUID(self, handle: dict[str, Any]) -> object:  # noqa: N802
        return handle["uuid"]

    def nvmlDeviceGetMinorNumber(self, handle: dict[str, Any]) -> int:  # noqa: N802
        return int(handle["minor"])

    def nvmlDeviceGetMemoryInfo(self, handle: dict[str, Any]) -> Any:  # noqa: N802, ANN401
        class Info:
            total = handle["memory"]

        return Info

    def nvmlDeviceGetMigMode(self, handle: dict[str, Any]) -> tuple[int, int]:  # noqa: N802
        if "slices" not in handle:
            raise FakeNvmlError("not supported")
        return 1, 1

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: dict[str, Any]) -> int:  # noqa: N802
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: dict[str, Any], index: int) -> dict[str, Any]:  # noqa: N802
        if index >= len(handle["slices"]):
            raise FakeNvmlError("not found")
        name, uuid = handle["slices"][index]
        return {"name": name, "uuid": uuid, "memory": 5 << 30}

    def nvmlDeviceGetGpuInstanceId(self, handle: dict[str, Any]) -> int:  # noqa: N802
        return 7

    def nvmlDeviceGetComputeInstanceId(self, handle: dict[str, Any]) -> int:  # noqa: N802
        return 0

    def nvmlDeviceGetTotalEccErrors(self, handle: dict[str, Any], kind: int, counter: int) -> int:  # noqa: N802
        if handle.get("ecc", 0) is None:
            raise FakeNvmlError("not supported")
        return int(handle.get("ecc", 0))

    def nvmlDeviceGetRemappedRows(self, handle: dict[str, Any]) -> tuple[int, int, int, int]:  # noqa: N802
        return 0, 0, int(handle.get("pending", 0)), 0

    def nvmlDeviceGetTemperatureThreshold(self, handle: dict[str, Any], kind: int) -> int:  # noqa: N802
        return 92

    def nvmlDeviceGetTemperature(self, handle: dict[str, Any], sensor: int) -> int:  # noqa: N802
        return int(handle.get("temperature", 40))


def test_gpus_are_listed_with_model_memory_slices_and_health() -> None:
    found = gpus.read(FakeNvml())
    want = [
        ("GPU-0", "H100", 81920, ""),
        ("GPU-1", "H100", 81920, "3 uncorrected memory errors since the driver started"),
        ("MIG-a", "A100-MIG-1g.5gb", 5120, ""),
        ("MIG-b", "A100-MIG-1g.5gb", 5120, ""),
        ("GPU-3", "T4", 15360, ""),
    ]
    assert [(gpu.uuid, gpu.model, gpu.memory_mib, gpu.sick) for gpu in found] == want
    assert [gpu.devices[0] for gpu in found] == [
        "/dev/nvidia0",
        "/dev/nvidia1",
        "/dev/nvidia2",
        "/dev/nvidia2",
        "/dev/nvidia3",
    ]


@pytest.mark.parametrize(
    ("change", "want"),
    [
        ({"pending": 1}, "it must be reset so that its memory is repaired (row remapping is pending)"),
        ({"temperature": 92}, "its temperature is 92 °C, and it shuts down at 92 °C"),
    ],
)
def test_a_gpu_that_fails_a_check_is_sick(
    change: dict[str, int], want: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = {"name": "NVIDIA L4", "uuid": "GPU-9", "memory": 24 << 30, **change}
    monkeypatch.setattr(FakeNvml, "cards", [card])
    assert [gpu.sick for gpu in gpus.read(FakeNvml())] == [want]


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100"),
        ("NVIDIA H100 NVL", "H100"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA GH200 480GB", "GH200"),
        ("NVIDIA B200", "B200"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA A100 80GB PCIe", "A100"),
        ("NVIDIA A10G", "A10G"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA L4", "L4"),
        ("Tesla T4", "T4"),
        ("Tesla V100-SXM2-16GB", "V100"),
        ("NVIDIA GeForce RTX 4090", "RTX4090"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX6000-Ada"),
        ("NVIDIA RTX A6000", "RTXA6000"),
        ("Quadro RTX 8000", "RTX8000"),
        ("NVIDIA", "NVIDIA"),
    ],
)
def test_models_have_the_short_names_that_specs_use(name: str, want: str) -> None:
    assert gpus.canonical_model(name) == want


def test_a_machine_with_several_models_is_several_nodes_that_share_its_processors() -> None:
    offered = Capacity(cpus_milli=64_000, memory_mib=512_000, disk_mib=1_000_000)
    found = machine.nodes("host", offered, gpus.read(FakeNvml()), LocalSettings(), full=False)
    assert [(node.name, node.gpus, node.gpus_sick) for node in found] == [
        ("host/A100-MIG-1g.5gb", 2, ()),
        ("host/H100", 2, (1,)),
        ("host/T4", 1, ()),
    ]
    assert [node.gpu_ids for node in found] == [("MIG-a", "MIG-b"), ("GPU-0", "GPU-1"), ("GPU-3",)]
    assert sum(node.cpus_milli for node in found) == offered.cpus_milli
    assert sum(node.memory_mib for node in found) == offered.memory_mib
    assert sum(node.disk_mib for node in found) == offered.disk_mib
    assert found[0].cpus_milli == 64_000 * 2 // 5


def test_declared_gpus_never_pass_for_real_ones() -> None:
    offered = Capacity(cpus_milli=4000, memory_mib=4000, disk_mib=4000)
    settings = LocalSettings(gpus_declared=(DeclaredGpus(model="H100", count=4),))
    found = machine.nodes("host", offered, gpus.read(FakeNvml())[:1], settings, full=False)
    assert [(node.name, node.gpus, node.gpus_declared) for node in found] == [
        ("host/H100", 1, False),
        ("host/H100-declared", 4, True),
    ]


def test_a_machine_without_gpus_is_one_node_and_a_full_disk_makes_it_sick() -> None:
    offered = Capacity(cpus_milli=4000, memory_mib=4000, disk_mib=4000)
    (node,) = machine.nodes("host", offered, [], LocalSettings(), full=True)
    assert (node.name, node.gpus, node.health) == ("host", 0, NodeHealth.SICK)


def test_a_missing_binding_or_driver_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    found, note = gpus.find()
    assert found == []
    assert "extra `gpu`" in note


@pytest.mark.gpu
def test_the_real_driver_lists_its_gpus() -> None:
    found, note = gpus.find()
    assert note == ""
    assert found
    assert all(gpu.uuid and gpu.memory_mib for gpu in found)
