"""A run from its order to its outcome, whatever dies in between."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tawtin.engines.local.engine import EngineError, LocalEngine
from tawtin.engines.local.settings import LocalSettings
from tawtin.model.reasons import Cause
from tawtin.model.resources import Shape
from tawtin.model.workload import Checkpoint, Outcome
from tests.engines.rig import GO, Rig, kill

pytestmark = pytest.mark.sandbox


def test_a_run_reports_its_exit_code_its_log_and_its_usage(engine: Rig) -> None:
    report = engine.finish("w-1.1", "echo out; echo err >&2; echo more; sleep 0.2; exit 3")
    assert (report.outcome, report.cause, report.exit_code) == (Outcome.FINISHED, Cause.COMPLETED, 3)
    assert engine.text("w-1.1") == "out\nerr\nmore\n"
    assert report.started_ms is not None
    assert report.ended_ms is not None
    assert 200 <= report.usage.wall_ms <= report.ended_ms - report.started_ms + 50
    assert report.usage.cpu_ms > 0
    assert report.usage.memory_peak_mib > 0
    assert report.usage.energy_mj is None


def test_a_run_that_is_ordered_twice_starts_once(engine: Rig) -> None:
    order = engine.order("w-1.1", "echo started; sleep 0.3")
    engine.engine.ensure(order)
    engine.engine.ensure(order)
    engine.end("w-1.1")
    engine.reopen()
    engine.engine.ensure(order)
    engine.end("w-1.1")
    time.sleep(0.5)
    assert engine.text("w-1.1") == "started\n"


def test_a_run_that_was_forgotten_does_not_start_again(engine: Rig) -> None:
    order = engine.order("w-1.1", "echo started")
    engine.engine.ensure(order)
    engine.end("w-1.1")
    engine.engine.forget("w-1.1")
    engine.until(lambda: Path(engine.settings.root, "done", "w-1.1").exists())
    engine.said.clear()
    engine.engine.ensure(order)
    assert engine.end("w-1.1").exit_code == 0
    assert engine.text("w-1.1") == "started\n"


def test_a_run_that_was_stopped_before_it_was_ordered_never_starts(engine: Rig) -> None:
    engine.engine.stop("w-1.1", Cause.CANCELLED, 1000)
    report = engine.end("w-1.1")
    assert (report.outcome, report.cause, report.started_ms) == (Outcome.CANCELLED, Cause.CANCELLED, None)
    engine.reopen()
    engine.start("w-1.1", "echo started")
    assert engine.end("w-1.1").outcome is Outcome.CANCELLED
    time.sleep(0.3)
    assert engine.text("w-1.1") == ""


def test_sigterm_comes_first_and_a_program_may_clean_up(engine: Rig) -> None:
    engine.start("w-1.1", "trap 'echo cleaning; exit 7' TERM; echo ready; while :; do sleep 0.05; done")
    engine.says("w-1.1", "ready")
    engine.engine.stop("w-1.1", Cause.CANCELLED, 10_000)
    report = engine.end("w-1.1")
    assert (report.outcome, report.cause, report.exit_code) == (Outcome.CANCELLED, Cause.CANCELLED, 7)
    assert "cleaning" in engine.text("w-1.1")


def test_a_program_below_the_shell_may_clean_up_as_well(engine: Rig) -> None:
    script = """python3 -c '
import signal, time
signal.signal(15, lambda *_: (time.sleep(0.5), print("saved", flush=True), exit(0)))
print("ready", flush=True)
while True: time.sleep(1)'"""
    engine.start("w-1.1", f"{script}\necho went on")
    engine.says("w-1.1", "ready")
    engine.engine.stop("w-1.1", Cause.CANCELLED, 10_000)
    assert engine.end("w-1.1").outcome is Outcome.CANCELLED
    assert engine.text("w-1.1") == "ready\nsaved\n"


def test_a_program_that_ignores_sigterm_is_killed_after_its_grace(engine: Rig) -> None:
    engine.start("w-1.1", "trap '' TERM; echo ready; while :; do sleep 0.05; done")
    engine.says("w-1.1", "ready")
    began = time.monotonic()
    engine.engine.stop("w-1.1", Cause.CANCELLED, 700)
    report = engine.end("w-1.1")
    assert report.outcome is Outcome.CANCELLED
    assert time.monotonic() - began >= 0.7
    assert engine.processes("w-1.1") == []


def test_a_run_over_its_time_limit_is_ended_and_is_an_answer(engine: Rig) -> None:
    report = engine.finish("w-1.1", "sleep 60", max_duration_ms=500, stop_grace_ms=200)
    assert (report.outcome, report.cause) == (Outcome.FINISHED, Cause.TIME_LIMIT)
    assert 500 <= report.usage.wall_ms < 20_000


def test_preemption_sends_the_checkpoint_signal_to_those_that_handle_it(engine: Rig) -> None:
    script = "trap 'echo saving; exit 0' USR1; sleep 60 & echo ready; wait"
    engine.start("w-1.1", script, checkpoint=Checkpoint(signal="SIGUSR1", grace_ms=20_000))
    engine.says("w-1.1", "ready")
    engine.engine.stop("w-1.1", Cause.PREEMPTED, 20_000)
    report = engine.end("w-1.1")
    assert (report.outcome, report.cause) == (Outcome.INTERRUPTED, Cause.PREEMPTED)
    assert engine.text("w-1.1") == "ready\nsaving\n"


def test_a_checkpoint_that_takes_too_long_is_followed_by_sigterm(engine: Rig) -> None:
    script = (
        "trap 'echo saving' USR1; trap 'echo ending; exit 1' TERM; echo ready; while :; do sleep 0.05; done"
    )
    engine.start("w-1.1", script, checkpoint=Checkpoint(signal="SIGUSR1", grace_ms=300))
    engine.says("w-1.1", "ready")
    engine.engine.stop("w-1.1", Cause.DRAINED, 20_000)
    assert engine.end("w-1.1").outcome is Outcome.INTERRUPTED
    assert [line for line in engine.text("w-1.1").split() if line != "Terminated"] == [
        "ready",
        "saving",
        "ending",
    ]


def test_a_cancelled_run_gets_no_checkpoint_signal(engine: Rig) -> None:
    script = "trap 'echo saving' USR1; trap 'exit 1' TERM; echo ready; while :; do sleep 0.05; done"
    engine.start("w-1.1", script, checkpoint=Checkpoint(grace_ms=20_000))
    engine.says("w-1.1", "ready")
    engine.engine.stop("w-1.1", Cause.CANCELLED, 5000)
    engine.end("w-1.1")
    assert "saving" not in engine.text("w-1.1")


def test_a_run_is_adopted_by_the_next_control_plane_and_reported_once(engine: Rig) -> None:
    engine.start("w-1.1", f"echo before; {GO}; echo after")
    engine.says("w-1.1", "before")
    supervisor = engine.supervisor("w-1.1")
    engine.reopen()
    engine.until(lambda: engine.last("w-1.1"))
    found = engine.last("w-1.1")
    assert found is not None
    assert found.outcome is None
    assert found.started_ms is not None
    assert engine.supervisor("w-1.1") == supervisor
    engine.go_on("w-1.1")
    report = engine.end("w-1.1")
    assert (report.outcome, report.exit_code) == (Outcome.FINISHED, 0)
    assert engine.text("w-1.1") == "before\nafter\n"
    assert [one for one in engine.said["w-1.1"] if one.outcome] == [report]
    assert engine.engine.reports() == []


def test_a_run_that_ends_while_there_is_no_control_plane_is_reported_at_the_next_start(engine: Rig) -> None:
    engine.start("w-1.1", f"echo before; {GO}; exit 4")
    engine.says("w-1.1", "before")
    engine.engine.close()
    engine.go_on("w-1.1")
    record = Path(engine.settings.root, "runs", "w-1.1", "exit.json")
    end = time.monotonic() + 30
    while not record.exists() and time.monotonic() < end:
        time.sleep(0.01)
    engine.said.clear()
    engine.open()
    report = engine.end("w-1.1")
    assert (report.outcome, report.exit_code) == (Outcome.FINISHED, 4)


def test_when_a_supervisor_is_killed_nothing_of_its_run_goes_on(engine: Rig) -> None:
    engine.start("w-1.1", "sleep 300 & setsid sleep 300 & echo ready; sleep 300")
    engine.says("w-1.1", "ready")
    assert engine.processes("w-1.1") != []
    kill(engine.supervisor("w-1.1"))
    report = engine.end("w-1.1")
    assert (report.outcome, report.cause) == (Outcome.INTERRUPTED, Cause.SUPERVISOR_LOST)
    assert report.started_ms is not None
    assert engine.processes("w-1.1") == []


def test_a_supervisor_that_was_killed_with_the_control_plane_is_found_at_the_next_start(engine: Rig) -> None:
    engine.start("w-1.1", "echo ready; sleep 300")
    engine.says("w-1.1", "ready")
    supervisor = engine.supervisor("w-1.1")
    engine.engine.close()
    kill(supervisor)
    engine.said.clear()
    engine.open()
    report = engine.end("w-1.1")
    assert (report.outcome, report.cause) == (Outcome.INTERRUPTED, Cause.SUPERVISOR_LOST)
    assert engine.processes("w-1.1") == []


def test_after_a_restart_of_the_machine_its_runs_are_interrupted(engine: Rig) -> None:
    engine.start("w-1.1", "echo ready; sleep 300")
    engine.says("w-1.1", "ready")
    supervisor = engine.supervisor("w-1.1")
    engine.engine.close()
    kill(supervisor)
    path = Path(engine.settings.root, "runs", "w-1.1", "state.json")
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    path.write_text(path.read_text(encoding="utf-8").replace(boot, "another"), encoding="utf-8")
    engine.said.clear()
    engine.open()
    report = engine.end("w-1.1")
    assert (report.outcome, report.cause) == (Outcome.INTERRUPTED, Cause.HOST_RESTARTED)


def test_the_launcher_may_die_and_runs_go_on_and_new_ones_start(engine: Rig) -> None:
    engine.start("w-1.1", f"echo ready; {GO}; exit 5")
    engine.says("w-1.1", "ready")
    launcher = engine.engine._link.pid
    kill(launcher)
    engine.start("w-2.1", "exit 6")
    assert engine.end("w-2.1").exit_code == 6
    engine.go_on("w-1.1")
    assert engine.end("w-1.1").exit_code == 5
    assert engine.engine._link.pid not in {0, launcher}


def test_orders_that_are_under_way_when_the_launcher_dies_are_started_once_or_lost_but_never_twice(
    engine: Rig,
) -> None:
    engine.finish("w-0.1", "true")
    runs = [f"w-{number}.1" for number in range(1, 25)]
    for number, run in enumerate(runs):
        engine.start(run, "echo started")
        if number == 10:
            kill(engine.engine._link.pid)
    for run in runs:
        report = engine.end(run)
        if report.outcome is Outcome.FINISHED:
            assert engine.text(run) == "started\n"
        else:
            assert report.cause is Cause.SUPERVISOR_LOST


def test_a_launcher_of_another_version_is_replaced_and_its_runs_go_on(engine: Rig) -> None:
    engine.start("w-1.1", f"echo ready; {GO}; exit 5")
    engine.says("w-1.1", "ready")
    old = engine.engine._link.pid
    engine.engine.close()
    engine.said.clear()
    engine.engine = LocalEngine(engine.settings, engine.artifacts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tawtin.engines.local.link.version", lambda: "another")
        engine.engine.open(engine.woken.set)
    engine.start("w-2.1", "exit 6")
    assert engine.end("w-2.1").exit_code == 6
    engine.go_on("w-1.1")
    assert engine.end("w-1.1").exit_code == 5
    assert engine.engine._link.pid != old


def test_two_control_planes_do_not_share_a_folder(engine: Rig) -> None:
    second = LocalEngine(engine.settings, engine.artifacts)
    with pytest.raises(EngineError, match="is in use by another control plane"):
        second.open(lambda: None)


def test_a_root_inside_an_exposed_path_is_refused(tmp_path: Path) -> None:
    settings = LocalSettings(root=str(tmp_path / "a" / "engine"), expose=(str(tmp_path / "a"),))
    with pytest.raises(EngineError, match="overlap"):
        LocalEngine(settings, None)  # pyright: ignore[reportArgumentType] - it is refused before


def test_a_prepared_folder_of_an_earlier_control_plane_is_never_started(engine: Rig) -> None:
    stale = engine.engine._folders.prepare("w-1.1")
    engine.reopen()
    assert not Path(stale).exists()
    assert engine.finish("w-1.1", "echo started").exit_code == 0
    assert engine.text("w-1.1") == "started\n"


def test_usage_is_metered_while_a_run_goes_on(engine: Rig) -> None:
    engine.start("w-1.1", "echo ready; while :; do :; done")
    engine.until(lambda: (report := engine.last("w-1.1")) is not None and report.usage.cpu_ms >= 300)
    before = engine.last("w-1.1")
    assert before is not None
    kill(engine.supervisor("w-1.1"))
    report = engine.end("w-1.1")
    assert report.usage.cpu_ms >= before.usage.cpu_ms
    assert report.usage.wall_ms >= before.usage.wall_ms


def test_declared_gpus_are_metered_and_named(tmp_path: Path) -> None:
    from tawtin.engines.local.settings import DeclaredGpus
    from tests.engines.rig import rig

    with rig(tmp_path, gpus_declared=(DeclaredGpus(model="H100", count=8),)) as engine:
        (node,) = engine.engine.nodes()
        assert (node.gpu_model, node.gpus, node.gpus_declared, node.gpu_ids) == ("H100", 8, True, ())
        shape = Shape(gpu_model="H100", gpus=2, memory_mib=256)
        report = engine.finish(
            "w-1.1", 'sleep 0.2; echo "$CUDA_VISIBLE_DEVICES $NUM_GPUS_PER_NODE"', shape=shape
        )
        assert engine.text("w-1.1") == "0,1 2\n"
        assert report.usage.gpu_ms == 2 * report.usage.wall_ms
        assert (report.usage.gpu_model, report.usage.gpus_declared) == ("H100", True)
