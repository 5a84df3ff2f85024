"""Runs that take more than they asked for: each is ended, and others do not notice."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tawtin.engines.local import cgroups
from tawtin.model.reasons import Cause
from tawtin.model.resources import Shape
from tawtin.model.workload import Outcome
from tests.engines.rig import Rig, rig

pytestmark = pytest.mark.sandbox

GROUPS = bool(cgroups.detect(f"tawtin-probe-{os.getpid()}")[0])
cgroups.remove_parents(cgroups.detect(f"tawtin-probe-{os.getpid()}")[0])
EATS = "python3 -c 'x = []\nwhile True: x.append(bytearray(b\"x\" * (8 << 20)))'"


def test_a_run_that_eats_its_memory_is_ended_as_out_of_memory(engine: Rig) -> None:
    report = engine.finish("w-1.1", EATS, shape=Shape(memory_mib=128))
    assert (report.outcome, report.cause) == (Outcome.FINISHED, Cause.OUT_OF_MEMORY)
    assert "128 MiB" in report.message
    assert report.usage.memory_peak_mib >= 64
    assert not GROUPS or report.usage.memory_peak_mib <= 160


def test_memory_in_dev_shm_counts_as_memory(engine: Rig) -> None:
    report = engine.finish("w-1.1", "head -c 60M /dev/zero >/dev/shm/a; " + EATS, shape=Shape(memory_mib=128))
    assert report.cause is Cause.OUT_OF_MEMORY
    assert not GROUPS or report.usage.memory_peak_mib <= 160


@pytest.mark.skipif(not GROUPS, reason="needs: control groups that are ours to write")
def test_a_part_of_a_run_that_is_out_of_memory_ends_all_of_it(engine: Rig) -> None:
    report = engine.finish("w-1.1", f"({EATS}) || true; sleep 60", shape=Shape(memory_mib=128))
    assert report.cause is Cause.OUT_OF_MEMORY


def test_without_control_groups_memory_is_watched(tmp_path: Path) -> None:
    with rig(tmp_path, cgroup="") as engine:
        assert any("memory is watched" in note for note in engine.engine.notes())
        slow = EATS.replace("8 << 20)))", '1 << 20))); __import__("time").sleep(0.005)')
        report = engine.finish("w-1.1", slow, shape=Shape(memory_mib=128))
        assert (report.outcome, report.cause) == (Outcome.FINISHED, Cause.OUT_OF_MEMORY)
        assert engine.processes("w-1.1") == []


@pytest.mark.parametrize("groups", [True, False])
def test_a_fork_bomb_is_contained_and_others_run_on(tmp_path: Path, groups: bool) -> None:
    with rig(tmp_path, processes_max=64, **({} if groups else {"cgroup": ""})) as engine:
        engine.start(
            "w-1.1", "echo ready; bomb() { bomb | bomb & }; bomb; sleep 300", shape=Shape(memory_mib=512)
        )
        engine.says("w-1.1", "ready")
        time.sleep(0.5)
        assert len(engine.processes("w-1.1")) <= 70
        assert engine.finish("w-2.1", "echo fine", tenant=2).exit_code == 0
        engine.engine.stop("w-1.1", Cause.CANCELLED, 200)
        assert engine.end("w-1.1").outcome is Outcome.CANCELLED
        assert engine.processes("w-1.1") == []


def test_a_run_that_fills_its_disk_is_ended_with_the_disk_limit(engine: Rig) -> None:
    script = "for i in $(seq 1000); do head -c 4M /dev/zero >file$i; sleep 0.01; done"
    report = engine.finish("w-1.1", script, shape=Shape(memory_mib=256, disk_mib=64))
    assert (report.outcome, report.cause) == (Outcome.FINISHED, Cause.DISK_LIMIT)
    assert report.usage.disk_peak_mib >= 64
    engine.until(lambda: not Path(engine.settings.root, "runs", "w-1.1", "files").exists())


def test_one_file_can_not_grow_beyond_the_disk_limit(engine: Rig) -> None:
    report = engine.finish("w-1.1", "head -c 1G /dev/zero >file", shape=Shape(memory_mib=256, disk_mib=16))
    assert (report.outcome, report.cause) == (Outcome.FINISHED, Cause.DISK_LIMIT)
    assert report.usage.disk_peak_mib <= 40


def test_disk_in_home_and_tmp_counts_and_so_do_deleted_files(engine: Rig) -> None:
    fill = "while :; do head -c 1M /dev/zero >&5; head -c 1M /dev/zero >&6; sleep 0.01; done"
    script = f"exec 5>$HOME/a 6>/tmp/b; rm $HOME/a /tmp/b; {fill}"
    report = engine.finish("w-1.1", script, shape=Shape(memory_mib=256, disk_mib=100))
    assert report.cause is Cause.DISK_LIMIT


def test_folders_nested_without_end_do_not_hide_what_is_in_them(engine: Rig) -> None:
    script = "for i in $(seq 400); do mkdir d; cd d; done; sleep 60"
    report = engine.finish("w-1.1", script, shape=Shape(memory_mib=256, disk_mib=100))
    assert report.cause is Cause.DISK_LIMIT
    assert "nested" in report.message
    engine.until(lambda: not Path(engine.settings.root, "runs", "w-1.1", "files").exists())


def test_a_flood_of_log_lines_is_slowed_and_capped_and_the_end_is_kept(tmp_path: Path) -> None:
    with rig(tmp_path, log_bytes_max=1 << 20, log_bytes_per_s=8 << 20) as engine:
        engine.start("w-1.1", "echo first; seq 1000000 4000000; echo last")
        assert engine.finish("w-2.1", "echo fine", tenant=2).exit_code == 0
        report = engine.end("w-1.1")
        assert report.exit_code == 0
        want = len("first\n") + len("1000000\n") * 3_000_001 + len("last\n")
        kept = sum(path.stat().st_size for path in Path(engine.settings.root, "runs", "w-1.1").glob("log.*"))
        assert kept <= (1 << 20) + (1 << 17)
        begin = engine.engine.log("w-1.1", 0, 1000)
        assert begin.data.startswith(b"first\n1000000\n1000001\n")
        end = engine.engine.log("w-1.1", -5, 100)
        assert (end.data, end.offset, end.end) == (b"last\n", want - 5, True)
        gap = engine.engine.log("w-1.1", 1 << 17, 100)
        assert gap.dropped > 1 << 20
        assert gap.offset == (1 << 17) + gap.dropped


def test_a_million_lines_a_second_cost_the_supervisor_little(tmp_path: Path) -> None:
    with rig(tmp_path, log_bytes_per_s=4 << 20) as engine:
        engine.start("w-1.1", "yes")
        engine.says("w-1.1", "y\n")
        supervisor = engine.supervisor("w-1.1")
        before, begun = _cpu_s(supervisor), time.monotonic()
        time.sleep(2)
        share = (_cpu_s(supervisor) - before) / (time.monotonic() - begun)
        total = engine.engine.log("w-1.1", -1, 1).offset
        assert share < 0.2
        assert total < 4 * (4 << 20) + (8 << 20)
        engine.engine.stop("w-1.1", Cause.CANCELLED, 100)
        engine.end("w-1.1")


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(not GROUPS, reason="needs: control groups that are ours to write")
def test_processors_are_limited_to_what_was_asked_for(engine: Rig) -> None:
    script = "timeout 1 bash -c 'while :; do :; done' & timeout 1 bash -c 'while :; do :; done' & wait || :"
    report = engine.finish("w-1.1", script, shape=Shape(memory_mib=256, cpus_milli=200))
    assert report.usage.cpu_ms < 700


def test_open_files_are_limited(tmp_path: Path) -> None:
    with rig(tmp_path, open_files_max=50) as engine:
        script = "python3 -c 'x = [open(\"/dev/null\") for _ in range(100)]'"
        assert engine.finish("w-1.1", script).exit_code == 1
        assert "Too many open files" in engine.text("w-1.1")
