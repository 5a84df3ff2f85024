from __future__ import annotations

from datetime import UTC, datetime
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from tawtin.core.meter import HOUR_MS, cost_minor, month_of
from tawtin.model.money import Rate
from tawtin.model.resources import Shape, Slot
from tawtin.model.workload import Run, Usage


def run(rate: Rate, *, cpus: int = 1000, nodes: int = 1) -> Run:
    return Run(
        id="w.1",
        workload="w",
        tenant="t",
        epoch=1,
        shape=Shape(gpus=1, cpus_milli=cpus),
        slots=tuple(Slot(node=f"n{number}") for number in range(nodes)),
        rate=rate,
        placed_ms=0,
    )


def test_half_a_minor_unit_goes_up_once_for_each_run():
    rate = Rate(minor_per_gpu_hour=1, minor_per_cpu_hour=0)
    just_under, half = Usage(gpu_ms=HOUR_MS // 2 - 1), Usage(gpu_ms=HOUR_MS // 2)
    assert (cost_minor(just_under, run(rate)), cost_minor(half, run(rate))) == (0, 1)


@given(
    gpu_ms=st.integers(0, 10**12),
    wall_ms=st.integers(0, 10**11),
    gpu=st.integers(0, 10**6),
    cpu=st.integers(0, 10**6),
    cpus=st.integers(0, 10**6),
    nodes=st.integers(1, 64),
)
def test_cost_is_the_exact_fraction_rounded(
    gpu_ms: int, wall_ms: int, gpu: int, cpu: int, cpus: int, nodes: int
):
    rate = Rate(minor_per_gpu_hour=gpu, minor_per_cpu_hour=cpu)
    exact = Fraction(gpu_ms * gpu, HOUR_MS) + Fraction(wall_ms * cpus * nodes * cpu, 1000 * HOUR_MS)
    want = int(exact + Fraction(1, 2))
    assert cost_minor(Usage(gpu_ms=gpu_ms, wall_ms=wall_ms), run(rate, cpus=cpus, nodes=nodes)) == want


@given(at_ms=st.integers(0, 253_402_300_799_999))
def test_months_are_those_of_the_calendar(at_ms: int):
    assert month_of(at_ms) == datetime.fromtimestamp(at_ms // 1000, tz=UTC).strftime("%Y-%m")
