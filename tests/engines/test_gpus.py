"""What NVML says of GPUs, read from a stand-in for its binding (there need be no GPU here)."""

from __future__ import annotations

import sys

import pytest

from tawtin.core.health import Sample
from tawtin.engines.local import gpus, machine
from tawtin.engines.local.machine import Capacity
from tawtin.engines.local.settings import DeclaredGpus, LocalSettings
from tawtin.engines.shared.gpus import canonical_model
from tawtin.model.resources import NodeHealth
from tawtin.spec import parse_yaml
from tests.engines.nvml import FakeNvml, card


def read(nvml: FakeNvml) -> list[gpus.Gpu]:
    return [gpu for each in gpus.cards(nvml) for gpu in each.gpus]


def test_gpus_are_listed_with_model_memory_and_slices() -> None:
    found = read(FakeNvml())
    want = [
        ("GPU-0", "H100", 81920, "GPU-0"),
        ("GPU-1", "H100", 81920, "GPU-1"),
        ("MIG-a", "A100-MIG-1G.5GB", 5120, "GPU-2"),
        ("MIG-b", "A100-MIG-1G.5GB", 5120, "GPU-2"),
        ("GPU-3", "T4", 15360, "GPU-3"),
    ]
    assert [(gpu.uuid, gpu.model, gpu.memory_mib, gpu.card) for gpu in found] == want
    assert [gpu.devices[0] for gpu in found] == [
        "/dev/nvidia0",
        "/dev/nvidia1",
        "/dev/nvidia2",
        "/dev/nvidia2",
        "/dev/nvidia3",
    ]


def test_a_driver_says_how_a_gpu_is_and_what_it_does_not_support_is_no_sickness() -> None:
    made = card("GPU-0", ecc=2, pending=1, temperature=91, slowdowns=0x48, links=[1, 1, 0])
    old = card("GPU-1", ecc=None, pending=None, slowdown=None, temperature=None, slowdowns=None)
    first, second = (each.sample for each in gpus.cards(FakeNvml([made, old])))
    assert first == Sample(
        ecc_uncorrected=2,
        remap_pending=True,
        temperature_c=91,
        slowdown_c=87,
        slowdowns=0x48,
        nvlinks=2,
    )
    assert second == Sample()


def test_a_slice_is_a_model_of_its_own_that_a_spec_can_ask_for() -> None:
    parsed = parse_yaml("run: hostname\nresources: {accelerators: {A100-MIG-1g.5gb: 1}}\n")
    assert [option.gpu_model for option in parsed.spec.demand.options] == ["A100-MIG-1G.5GB"]


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
        ("NVIDIA RTX 6000 Ada Generation", "RTX6000-ADA"),
        ("NVIDIA RTX A6000", "RTXA6000"),
        ("Quadro RTX 8000", "RTX8000"),
        ("NVIDIA", "NVIDIA"),
    ],
)
def test_models_have_the_short_names_that_specs_use(name: str, want: str) -> None:
    assert canonical_model(name) == want


def test_a_machine_with_several_models_is_several_nodes_that_share_its_processors() -> None:
    offered = Capacity(cpus_milli=64_000, memory_mib=512_000, disk_mib=1_000_000)
    found = machine.nodes("host", offered, read(FakeNvml()), LocalSettings(), full=False)
    assert [(node.name, node.gpus) for node in found] == [
        ("host/A100-MIG-1G.5GB", 2),
        ("host/H100", 2),
        ("host/T4", 1),
    ]
    assert [node.gpu_ids for node in found] == [("MIG-a", "MIG-b"), ("GPU-0", "GPU-1"), ("GPU-3",)]
    assert sum(node.cpus_milli for node in found) == offered.cpus_milli
    assert sum(node.memory_mib for node in found) == offered.memory_mib
    assert sum(node.disk_mib for node in found) == offered.disk_mib
    assert found[0].cpus_milli == 64_000 * 2 // 5


def test_declared_gpus_never_pass_for_real_ones() -> None:
    offered = Capacity(cpus_milli=4000, memory_mib=4000, disk_mib=4000)
    settings = LocalSettings(gpus_declared=(DeclaredGpus(model="H100", count=4),))
    found = machine.nodes("host", offered, read(FakeNvml())[:1], settings, full=False)
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
