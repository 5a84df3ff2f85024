"""A supervisor takes several runs, one after the other: nothing of one is left for the next."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tawtin.engines.local import cgroups, spares
from tawtin.engines.shared import durable
from tawtin.model.reasons import Cause
from tawtin.model.resources import Shape
from tawtin.model.workload import Outcome, Usage
from tests.engines.rig import Rig, kill

GROUPS = bool(cgroups.detect(f"tawtin-probe-{os.getpid()}")[0])
cgroups.remove_parents(cgroups.detect(f"tawtin-probe-{os.getpid()}")[0])
pytestmark = pytest.mark.skipif(not GROUPS, reason="needs: control groups that are ours to write")
TRIES = 40
"""A busy machine may give the next run to another supervisor; soon enough one has two in a row."""


@pytest.fixture
def names() -> Iterator[str]:
    return (f"wl-{number}.1" for number in itertools.count())


def finish(engine: Rig, run: str, script: str = "true", **more: object) -> int:
    """Finish a run; return its supervisor, which waits for another one (or is gone) then."""
    engine.finish(run, script, **more)
    state = engine.state(run)
    pid = int(state["pid"])
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            if f"/{state['group']}\n" not in Path(f"/proc/{pid}/cgroup").read_text():
                break
        except OSError:
            break
        time.sleep(0.005)
    time.sleep(0.01)
    return pid


def in_turn(
    engine: Rig, names: Iterator[str], first: str, second: str, before: Shape, after: Shape
) -> tuple[str, str]:
    """Two runs that one supervisor had directly one after the other."""
    for _ in range(TRIES):
        one, two = next(names), next(names)
        if finish(engine, one, first, shape=before) == finish(engine, two, second, shape=after):
            return one, two
    raise AssertionError("no supervisor took a second run")


def usage(engine: Rig, run: str) -> Usage:
    report = engine.last(run)
    assert report is not None
    assert report.usage is not None
    return report.usage


def test_each_run_has_a_control_group_of_its_own(engine: Rig, names: Iterator[str]) -> None:
    one, two = in_turn(engine, names, "true", "true", Shape(memory_mib=64), Shape(memory_mib=64))
    assert engine.state(one)["group"] != engine.state(two)["group"]


def test_no_descriptor_of_an_earlier_run_is_kept(engine: Rig, names: Iterator[str]) -> None:
    counts: dict[int, list[int]] = {}
    for run in itertools.islice(names, 24):
        pid = finish(engine, run)
        held = [str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()]
        assert not [path for path in held if "/runs/" in path]
        counts.setdefault(pid, []).append(len(held))
    several = [seen for seen in counts.values() if len(seen) > 2]
    assert several, "no supervisor had three runs"
    assert all(seen[-1] <= seen[0] for seen in several)


def test_what_one_run_used_is_not_counted_for_the_next(engine: Rig, names: Iterator[str]) -> None:
    burn = 'python3 -c "b = bytearray(150 << 20); n = sum(range(20_000_000))"'
    heavy, light = in_turn(engine, names, burn, "true", Shape(memory_mib=256), Shape(memory_mib=256))
    assert usage(engine, heavy).memory_peak_mib >= 150
    assert usage(engine, light).memory_peak_mib < 60
    assert usage(engine, heavy).cpu_ms >= 100
    assert usage(engine, light).cpu_ms < 100


def test_limits_and_end_of_one_run_are_not_those_of_the_next(engine: Rig, names: Iterator[str]) -> None:
    eat = "python3 -c 'b = bytearray(100 << 20)'"
    small, large = in_turn(engine, names, eat, eat, Shape(memory_mib=48), Shape(memory_mib=256))
    ends = [engine.last(run) for run in (small, large)]
    assert [report and report.cause for report in ends] == [Cause.OUT_OF_MEMORY, Cause.COMPLETED]


def test_a_late_order_to_stop_does_not_reach_the_next_run(engine: Rig, names: Iterator[str]) -> None:
    for _ in range(TRIES):
        over, next_run = next(names), next(names)
        pid = finish(engine, over)
        engine.start(next_run, "echo on; sleep 0.5")
        engine.says(next_run, "on")
        supervisor = engine.supervisor(next_run)
        engine.engine.stop(over, Cause.CANCELLED, 0)
        report = engine.end(next_run)
        assert (report.cause, report.outcome) == (Cause.COMPLETED, Outcome.FINISHED)
        if supervisor == pid:
            return
    raise AssertionError("no supervisor took a second run")


def test_one_that_is_killed_while_it_waits_costs_no_run(engine: Rig, names: Iterator[str]) -> None:
    pid = finish(engine, next(names))
    ticks = durable.start_ticks(pid)
    assert ticks is not None
    kill(pid)
    engine.until(lambda: not durable.still_there(pid, ticks))
    run = next(names)
    assert engine.finish(run, "echo fine").exit_code == 0
    assert engine.supervisor(run) != pid


def test_one_goes_after_so_many_runs(engine: Rig, names: Iterator[str]) -> None:
    pids = [finish(engine, run) for run in itertools.islice(names, 2 * spares.RUNS_MAX + 8)]
    assert 1 < max(pids.count(pid) for pid in pids) <= spares.RUNS_MAX


def test_more_runs_than_may_be_young_at_a_time_are_all_started(engine: Rig, names: Iterator[str]) -> None:
    runs = list(itertools.islice(names, 3 * spares.YOUNG_MAX))
    for run in runs:
        engine.start(run, "echo on; sleep 1000")
    for run in runs:
        engine.says(run, "on")
    assert len({engine.supervisor(run) for run in runs}) == len(runs)


def test_nothing_of_a_launcher_comes_into_being_after_it_went(engine: Rig) -> None:
    """It has just begun to make supervisors when it is told to go: each moves into groups yet, or would."""
    parents, _ = cgroups.detect(engine.settings.cgroup)
    for _ in range(4):
        engine.engine.retire_launcher()
        end = time.monotonic() + 0.2
        while time.monotonic() < end:
            found = [path for parent in parents.values() for path in Path(parent).iterdir() if path.is_dir()]
            assert not found
        engine.reopen()
