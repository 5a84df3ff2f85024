"""What goes into a run and what comes out: working folder, mounts, outputs, and the set-up that later runs share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tawtin.model.reasons import Cause
from tawtin.model.workload import SANDBOX_DATASETS, Data, Mount, Outcome, Output
from tests.engines.rig import GO, Rig

pytestmark = pytest.mark.sandbox

ABSENT = "sha256:" + "0" * 64


def test_a_run_finds_its_working_folder_and_mounts_and_its_outputs_are_kept(engine: Rig) -> None:
    code = engine.keep(
        {"main.sh": b"cat /data/x/a ~/in/b cfg/one.txt; echo result >out.txt; mkdir -p d/e; echo 2 >d/e/f\n"}
    )
    data, more, single = (
        engine.keep({"a": b"A\n"}),
        engine.keep({"b": b"B\n"}),
        engine.keep({"one.txt": b"C\n"}),
    )
    report = engine.finish(
        "w-1.1",
        "bash main.sh; touch /data/x/new 2>&1 || :",
        workdir=code,
        mounts=(
            Mount(path="/data/x", artifact=data),
            Mount(path="/home/run/in", artifact=more),
            Mount(path="/home/run/work/cfg/one.txt", artifact=single),
        ),
        outputs=(
            Output(name="text", path="out.txt"),
            Output(name="tree", path="d"),
            Output(name="none", path="absent"),
        ),
    )
    assert engine.text("w-1.1").startswith("A\nB\nC\n")
    assert "Read-only file system" in engine.text("w-1.1")
    assert report.exit_code == 0
    assert {kept.name: engine.fetch(kept.artifact) for kept in report.outputs} == {
        "text": {"out.txt": b"result\n"},
        "tree": {"e/f": b"2\n"},
    }
    assert "output `none` was not kept" in report.message
    assert report.usage.bytes_in == sum(map(len, (b"A\n", b"B\n", b"C\n"))) + 84
    assert report.usage.bytes_out == len(b"result\n2\n")
    assert not Path(engine.settings.root, "runs", "w-1.1", "files").exists()


def test_a_run_finds_datasets_below_one_variable_and_cannot_change_them(engine: Rig) -> None:
    rows, file = engine.keep({"rows.csv": b"1\n", "more/rows.csv": b"2\n"}), engine.keep({"one.txt": b"3\n"})
    report = engine.finish(
        "w-1.1",
        "cd $TAWTIN_DATASETS; ls; cat census/rows.csv census/more/rows.csv one.txt; touch census/new",
        data=Data(datasets=("census", "one.txt")),
        mounts=(
            Mount(path=f"{SANDBOX_DATASETS}/census", artifact=rows),
            Mount(path=f"{SANDBOX_DATASETS}/one.txt", artifact=file),
        ),
    )
    assert engine.text("w-1.1").startswith("census\none.txt\n1\n2\n3\n")
    assert "Read-only file system" in engine.text("w-1.1")
    assert report.exit_code == 1
    assert engine.finish("w-2.1", "echo ${TAWTIN_DATASETS-none}").exit_code == 0
    assert engine.text("w-2.1") == "none\n"


def test_outputs_of_an_adopted_run_are_collected_after_the_restart(engine: Rig) -> None:
    engine.start("w-1.1", f"echo ready; {GO}; echo x >out", outputs=(Output(name="out", path="out"),))
    engine.says("w-1.1", "ready")
    engine.engine.close()
    engine.said.clear()
    engine.go_on("w-1.1")
    engine.open()
    report = engine.end("w-1.1")
    assert [engine.fetch(kept.artifact) for kept in report.outputs] == [{"out": b"x\n"}]
    engine.reopen()
    assert engine.end("w-1.1") == report


def test_an_input_that_is_missing_fails_the_start_with_its_name(engine: Rig) -> None:
    report = engine.finish("w-1.1", "true", mounts=(Mount(path="/data", artifact=ABSENT),))
    assert (report.outcome, report.cause, report.exit_code) == (Outcome.FINISHED, Cause.START_FAILED, None)
    assert "mount `/data`" in report.message


def test_set_up_runs_before_the_run_and_its_result_is_shared_by_later_runs(engine: Rig) -> None:
    spec = {
        "setup": "echo setting up; echo tool >~/tool; echo here >made; chmod +x made; ln -s made link",
        "workdir": engine.keep({"code": b"1"}),
    }
    script = "cat ~/tool made code; test -x link; echo changed >made; echo by=$TAWTIN_RUN"
    assert engine.finish("w-1.1", script, **spec).exit_code == 0
    assert engine.text("w-1.1") == "setting up\ntool\nhere\n1by=w-1.1\n"
    assert engine.finish("w-2.1", script, **spec).exit_code == 0
    assert engine.text("w-2.1") == "tool\nhere\n1by=w-2.1\n"


def test_another_tenant_or_another_variable_has_its_own_set_up(engine: Rig) -> None:
    engine.finish("w-1.1", "true", setup="echo setting up")
    for run, more in (
        ("w-2.1", {"tenant": 2}),
        ("w-3.1", {"envs": {"A": "1"}}),
        ("w-4.1", {"secrets_given": {"S": "1"}}),
    ):
        engine.finish(run, "true", setup="echo setting up", **more)
        assert engine.text(run) == "setting up\n"


def test_a_set_up_that_failed_is_not_kept_and_is_the_cause(engine: Rig) -> None:
    for run in ("w-1.1", "w-2.1"):
        report = engine.finish(run, "echo ran", setup="echo trying; false; echo not reached")
        assert (report.outcome, report.cause, report.exit_code) == (Outcome.FINISHED, Cause.SETUP_FAILED, 1)
        assert engine.text(run) == "trying\n"


def test_runs_that_start_together_do_the_same_set_up_once(engine: Rig) -> None:
    runs = [f"w-{number}.1" for number in range(4)]
    for run in runs:
        engine.start(run, "cat ~/made", setup="echo setting up; sleep 1; echo x >~/made")
    assert [engine.end(run).exit_code for run in runs] == [0, 0, 0, 0]
    assert sum("setting up" in engine.text(run) for run in runs) == 1
    assert all("x\n" in engine.text(run) for run in runs)


def test_a_run_may_be_cancelled_while_it_waits_for_anothers_set_up(engine: Rig) -> None:
    engine.start("w-1.1", "true", setup="echo setting up; sleep 300")
    engine.says("w-1.1", "setting up")
    engine.start("w-2.1", "true", setup="echo setting up; sleep 300")
    engine.until(lambda: engine.last("w-2.1"))
    engine.engine.stop("w-2.1", Cause.CANCELLED, 100)
    assert engine.end("w-2.1").outcome is Outcome.CANCELLED
    engine.engine.stop("w-1.1", Cause.CANCELLED, 100)
    assert engine.end("w-1.1").outcome is Outcome.CANCELLED


def test_the_log_stays_after_the_run_is_forgotten(engine: Rig) -> None:
    engine.finish("w-1.1", "echo hello")
    engine.engine.forget("w-1.1")
    engine.until(lambda: Path(engine.settings.root, "done", "w-1.1").exists())
    chunk = engine.engine.log("w-1.1", 0, 100)
    assert (chunk.data, chunk.end) == (b"hello\n", True)
    engine.reopen()
    assert engine.engine.log("w-1.1", -3, 2).data == b"lo"
    assert engine.engine.reports() == []


def test_done_runs_are_purged_by_age_and_by_count(engine: Rig) -> None:
    for number in range(3):
        run = f"w-{number}.1"
        engine.finish(run, "true")
        engine.engine.forget(run)
        engine.until(lambda run=run: Path(engine.settings.root, "done", run).exists())
    engine.engine._folders.purge(age_ms=1 << 40, count_max=2)
    assert len(list(Path(engine.settings.root, "done").iterdir())) == 2
    engine.engine._folders.purge(age_ms=0, count_max=2)
    assert list(Path(engine.settings.root, "done").iterdir()) == []
