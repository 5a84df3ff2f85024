"""The engine with less: as an ordinary user, without a sandbox, without control groups."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tawtin.model.reasons import Cause
from tawtin.model.resources import Shape
from tawtin.model.workload import Mount, Outcome, Output
from tests.engines.rig import GO, Rig, kill, rig

ROOT = Path(__file__).parents[2]
USER = 61_234


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can pass through, unlike pytest's own."""
    path = Path(tempfile.mkdtemp(prefix="tawtin-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def bare(open_folder: Path) -> Iterator[Rig]:
    with rig(open_folder, sandbox=False, cgroup="") as made:
        yield made


def test_without_a_sandbox_the_engine_says_so_loudly_and_still_works(bare: Rig) -> None:
    assert not bare.engine.isolated()
    assert any(note.startswith("NO SANDBOX") for note in bare.engine.notes())
    code = bare.keep({"main.sh": b"echo from $PWD; cat in/a; echo x >out\n"})
    report = bare.finish(
        "w-1.1",
        "bash main.sh; id -u; echo $SECRET; exit 3",
        setup="echo setting up",
        workdir=code,
        mounts=(Mount(path="/home/run/work/in", artifact=bare.keep({"a": b"A\n"})),),
        outputs=(Output(name="out", path="out"),),
        secrets_given={"SECRET": "it's"},
    )
    assert (report.outcome, report.cause, report.exit_code) == (Outcome.FINISHED, Cause.COMPLETED, 3)
    uid = bare.settings.uid_base + 1 if os.geteuid() == 0 else os.geteuid()
    work = f"{bare.settings.root}/runs/w-1.1/files/work"
    assert bare.text("w-1.1") == f"setting up\nfrom {work}\nA\n{uid}\nit's\n"
    assert [bare.fetch(kept.artifact) for kept in report.outputs] == [{"out": b"x\n"}]
    assert report.usage.cpu_ms > 0
    assert report.usage.memory_peak_mib > 0


def test_without_a_sandbox_daemons_of_a_run_are_ended_with_it(bare: Rig) -> None:
    report = bare.finish("w-1.1", "setsid sleep 300 & (setsid sleep 300 &) ; echo ready")
    assert report.exit_code == 0
    assert bare.processes("w-1.1") == []


def test_without_a_sandbox_a_run_can_be_stopped_and_limited(bare: Rig) -> None:
    bare.start("w-1.1", "trap '' TERM; sleep 300 & echo ready; while :; do sleep 0.05; done")
    bare.says("w-1.1", "ready")
    bare.engine.stop("w-1.1", Cause.CANCELLED, 300)
    assert bare.end("w-1.1").outcome is Outcome.CANCELLED
    assert bare.processes("w-1.1") == []
    script = "for i in $(seq 1000); do head -c 4M /dev/zero >file$i; sleep 0.01; done"
    assert bare.finish("w-2.1", script, shape=Shape(memory_mib=256, disk_mib=64)).cause is Cause.DISK_LIMIT


def test_without_a_sandbox_a_killed_supervisor_leaves_no_process(bare: Rig) -> None:
    bare.start("w-1.1", "setsid sleep 300 & sleep 300 & echo ready; sleep 300")
    bare.says("w-1.1", "ready")
    kill(bare.supervisor("w-1.1"))
    report = bare.end("w-1.1")
    assert (report.outcome, report.cause) == (Outcome.INTERRUPTED, Cause.SUPERVISOR_LOST)
    assert bare.processes("w-1.1") == []


def test_what_a_killed_supervisor_left_is_told_from_a_run_of_that_name_at_another_factory(
    bare: Rig, open_folder: Path
) -> None:
    (open_folder / "other").mkdir()
    with rig(open_folder / "other", sandbox=False, cgroup="") as other:
        for each in (bare, other):
            each.start("w-1.1", f"setsid sleep 300 & echo ready; {GO}")
            each.says("w-1.1", "ready")
        kill(bare.supervisor("w-1.1"))
        assert bare.end("w-1.1").cause is Cause.SUPERVISOR_LOST
        assert bare.processes("w-1.1") == []
        assert other.processes("w-1.1") != []
        other.go_on("w-1.1")
        assert other.end("w-1.1").exit_code == 0


def test_without_a_sandbox_a_mount_outside_of_the_working_folder_is_refused(bare: Rig) -> None:
    report = bare.finish("w-1.1", "true", mounts=(Mount(path="/data", artifact=bare.keep({"a": b"1"})),))
    assert report.cause is Cause.START_FAILED
    assert "install bubblewrap" in report.message


@pytest.mark.root
@pytest.mark.sandbox
@pytest.mark.slow
def test_the_same_tests_pass_as_an_ordinary_user(open_folder: Path) -> None:
    """Most of them again, by a user who is not root: in user namespaces, and without version 1 of control groups."""
    python = shutil.which("python3.11", path="/usr/bin") or ""
    if not python or not _importable(python):
        pytest.skip("needs: a Python interpreter and libraries that other users may read")
    names = [f"tests/engines/test_local_{name}.py" for name in ("life", "walls", "files", "limits", "poor")]
    wanted = "walls or poor or adopted or supervisor or sigterm or launcher or outputs or set_up_runs or fork or disk"
    command = [
        *(
            python,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-o",
            f"cache_dir={open_folder / 'c'}",
            "--basetemp",
            str(open_folder / "t"),
        ),
        *("-k", f"not ordinary_user and ({wanted})", *names),
    ]
    os.chown(open_folder, USER, USER)
    env = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(open_folder),
        "PYTHONPATH": _path(),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    env["HYPOTHESIS_STORAGE_DIRECTORY"] = str(open_folder / "h")
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=env,
        user=USER,
        group=USER,
        extra_groups=[],
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def _path() -> str:
    site = next(path for path in sys.path if path.endswith("site-packages"))
    return f"{ROOT / 'src'}:{ROOT}:{site}"


def _importable(python: str) -> bool:
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": _path()}
    command = [python, "-c", "import msgspec, pytest, tawtin.engines.local.engine"]
    return (
        subprocess.run(
            command,
            cwd="/",
            env=env,
            user=USER,
            group=USER,
            extra_groups=[],
            capture_output=True,
            check=False,
        ).returncode
        == 0
    )
