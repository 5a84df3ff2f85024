"""How much a run used over its time: kept within a bound, over its whole length, and as long as its log."""

# ruff: noqa: ANN401 - values of ctypes

from __future__ import annotations

import ctypes
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tawtin.engines.local.meter import Energy
from tawtin.engines.local.orders import SAMPLES
from tawtin.engines.local.samples import Look, Samples, read_samples
from tests.engines.rig import GO, rig


def look(number: int) -> Look:
    return Look(1_000 + number, 10 * number, 1 << 20, None if number % 3 else number % 1_001)


@given(count=st.integers(0, 300), room=st.integers(2, 40))
def test_looks_fill_their_room_and_span_the_whole_run(
    tmp_path_factory: pytest.TempPathFactory, count: int, room: int
) -> None:
    folder = tmp_path_factory.mktemp("samples")
    samples = Samples(str(folder), count_max=room, interval_ms=1)
    due = 0
    for number in range(count):
        if number >= due:  # as the supervisor does: the next look comes when the interval is over
            samples.add(look(number))
            due = number + samples.interval_ms
    samples.close()
    found = read_samples(str(folder))
    assert len(found) <= room
    assert [each.at_ms for each in found] == sorted({each.at_ms for each in found})
    assert all(each == look(each.at_ms - 1_000) for each in found)
    if count:
        assert found[0] == look(0)
        assert count - (found[-1].at_ms - 1_000) <= samples.interval_ms
        assert len(found) > min(count, room) // 2 - 1
        steps = [after.at_ms - before.at_ms for before, after in pairwise(found)]
        assert max(steps, default=0) <= samples.interval_ms


def test_what_is_torn_or_missing_in_the_file_is_left_out(tmp_path: Path) -> None:
    samples = Samples(str(tmp_path), count_max=10, interval_ms=1)
    for number in range(4):
        samples.add(look(number))
    samples.close()
    file = tmp_path / SAMPLES
    whole = file.read_bytes()
    size = len(whole) // 4
    file.write_bytes(whole[:size] + bytes(size) + whole[2 * size :] + b"torn")
    assert read_samples(str(tmp_path)) == [look(0), look(2), look(3)]
    none = Samples(str(tmp_path / "nowhere"), count_max=0, interval_ms=1)
    none.add(look(1))
    assert (none.interval_ms, read_samples(str(tmp_path / "nowhere"))) == (0, [])


@pytest.mark.sandbox
def test_what_a_run_used_over_its_time_is_kept_as_long_as_its_log(tmp_path: Path) -> None:
    with rig(tmp_path, samples_max=6, sample_ms=30) as engine:
        engine.start(
            "w-1.1", f"echo ready; {GO}; i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo over"
        )
        engine.until(lambda: len(engine.engine.samples("w-1.1")) >= 3)
        engine.go_on("w-1.1")
        report = engine.end("w-1.1")
        found = engine.engine.samples("w-1.1")
        assert 3 <= len(found) <= 6
        assert report.started_ms is not None
        assert report.ended_ms is not None
        assert report.started_ms <= found[0].at_ms < found[-1].at_ms <= report.ended_ms
        used = [each.cpu_ms for each in found]
        assert used == sorted(used)
        assert used[-1] <= report.usage.cpu_ms
        assert all(0 < each.memory_bytes <= report.usage.memory_peak_mib << 20 for each in found)
        assert all(each.gpu_permille is None for each in found)
        engine.engine.forget("w-1.1")
        engine.until(lambda: Path(engine.settings.root, "done", "w-1.1").exists())
        engine.reopen()
        assert engine.engine.samples("w-1.1") == found
        assert engine.engine.samples("w-2.1") == ()


def test_how_busy_gpus_are_is_asked_of_each_and_unknown_where_one_does_not_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rates = {b"GPU-0": 90, b"GPU-1": 15}
    refused: list[bytes] = []

    def by_uuid(uuid: bytes, handle: Any) -> int:
        handle._obj.value = list(rates).index(uuid)
        return 0

    def utilization(handle: Any, into: Any) -> int:
        uuid = list(rates)[handle.value or 0]
        if uuid in refused:
            return 3
        into._obj[0], into._obj[1] = rates[uuid], 1
        return 0

    def energy_used(_handle: Any, _into: Any) -> int:
        return 0

    library = SimpleNamespace(
        nvmlInit_v2=lambda: 0,
        nvmlDeviceGetHandleByUUID=by_uuid,
        nvmlDeviceGetTotalEnergyConsumption=energy_used,
        nvmlDeviceGetUtilizationRates=utilization,
    )

    def load(_name: str) -> SimpleNamespace:
        return library

    monkeypatch.setattr(ctypes, "CDLL", load)
    energy = Energy(["GPU-0", "GPU-1"])
    assert energy.busy_permille() == 525
    refused.append(b"GPU-1")
    assert energy.busy_permille() is None
    assert Energy([]).busy_permille() is None
