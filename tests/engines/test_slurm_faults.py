"""A real Slurm that is killed, restarted, emptied and meddled with: no run is lost, and none starts twice."""

from __future__ import annotations

import random
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from tawtin.engines.conformance import Bench
from tawtin.model.reasons import Cause
from tawtin.model.resources import NodeHealth
from tawtin.model.workload import Outcome
from tests.engines import planes
from tests.engines.benches import bench_of
from tools.slurm_cluster import Cluster, cluster

pytestmark = pytest.mark.slurm


@pytest.fixture
def slurm() -> Generator[Cluster]:
    with cluster(nodes=2, cpus=16) as made:
        yield made


@pytest.fixture
def bench(slurm: Cluster, tmp_path: Path) -> Generator[Bench]:
    table = {"conf": slurm.conf, "look_ms": 100, "ask_ms": 300, "nodes_ms": 500, "vanished_ms": 3_000}
    made = bench_of("slurm", {**table, "call_ms_max": 5_000}, tmp_path)
    made.name = "fault"
    made.open()
    yield made
    made.engine.close()


def jobs(slurm: Cluster) -> list[str]:
    return slurm.client("squeue", "--noheader", "--states=all", "--format=%A").split()


def fill(slurm: Cluster) -> str:
    """Somebody else's job takes all there is, so that nothing begins."""
    return slurm.client("sbatch", "--parsable", "-N2", "-n2", "-c16", "--wrap", "sleep 300").strip()


def job_of(bench: Bench, run: str) -> str:
    path = bench.folder / "engine" / "runs" / run / "job"
    bench.until(path.exists, f"{run} has a job")
    return path.read_text("ascii")


def test_orders_given_while_the_controller_is_dead_start_once_when_it_is_back(
    bench: Bench, slurm: Cluster
) -> None:
    slurm.kill("slurmctld")
    order = [bench.order(bench.run_id(), "echo started") for _ in range(4)]
    for each in order:
        bench.engine.ensure(each)
    bench.until(lambda: any("does not answer" in note for note in bench.engine.notes()), "it says so")
    slurm.start_controller()
    for each in order:
        report = bench.end(each.run)
        assert (report.outcome, report.exit_code) == (Outcome.FINISHED, 0)
        assert bench.text(each.run) == "started\n"
    assert len(jobs(slurm)) == 4
    assert not any("does not answer" in note for note in bench.engine.notes())


def test_a_controller_that_is_killed_in_mid_submission_neither_loses_a_run_nor_starts_it_twice(
    bench: Bench, slurm: Cluster
) -> None:
    runs = [bench.run_id() for _ in range(30)]
    for number, run in enumerate(runs):
        bench.engine.ensure(bench.order(run, f"echo started >>{bench.shared}/{run}.starts"))
        if number in {6, 18}:
            time.sleep(0.3)
            slurm.kill("slurmctld")
            slurm.start_controller()
    for number, run in enumerate(runs):
        report = bench.end(run)
        path = bench.shared / f"{run}.starts"
        starts = path.read_text("ascii").splitlines() if path.exists() else []
        if report.outcome is Outcome.INTERRUPTED:
            # a slurmctld that is killed forgets what it accepted a moment before, and ends what of it had begun
            assert number <= 18
            assert starts in ([], ["started"])
        else:
            assert (report.outcome, starts) == (Outcome.FINISHED, ["started"])


def test_a_job_that_was_submitted_twice_runs_once(bench: Bench, slurm: Cluster) -> None:
    run = bench.run_id()
    bench.engine.ensure(bench.order(run, f"echo started >>{bench.shared}/starts; {bench.waiting(run)}"))
    job = job_of(bench, run)
    bench.began(run)
    script = bench.folder / "engine" / "runs" / run / "scripts" / "job.sh"
    comment = slurm.client("squeue", "--noheader", "--format=%k").strip()
    twin = slurm.client("sbatch", "--parsable", "--hold", f"--comment={comment}", str(script)).strip()
    slurm.wait(
        lambda: "CANCELLED" in slurm.client("squeue", "-h", "-t", "all", "-j", twin, "-o", "%T"),
        "the twin is not cancelled", 20,
    )  # fmt: skip
    released = slurm.client("sbatch", "--parsable", f"--comment={comment}", str(script)).strip()
    assert released
    time.sleep(2)
    bench.go(run)
    assert bench.end(run).exit_code == 0
    assert job_of(bench, run) == job
    assert (bench.shared / "starts").read_text("ascii") == "started\n"


def test_a_twin_that_begins_first_is_the_job_of_the_run(bench: Bench, slurm: Cluster) -> None:
    run = bench.run_id()
    other = fill(slurm)
    bench.engine.ensure(bench.order(run, f"echo started >>{bench.shared}/starts"))
    job = job_of(bench, run)
    bench.engine.close()
    slurm.client("scontrol", "hold", job)
    comment = slurm.client("squeue", "--noheader", "--format=%k", "--jobs", job).strip()
    script = bench.folder / "engine" / "runs" / run / "scripts" / "job.sh"
    words = ("--parsable", f"--comment={comment}", "--output=/dev/null", str(script))
    twins = [slurm.client("sbatch", *words).strip() for _ in range(2)]
    slurm.client("scancel", other)
    slurm.wait((script.parents[1] / "exit").exists, "no twin has run", 20)
    bench.said.clear()
    bench.open()
    assert bench.end(run).exit_code == 0
    assert (bench.shared / "starts").read_text("ascii") == "started\n"
    assert (script.parents[1] / "began").read_text("ascii").split()[1] in twins
    slurm.wait(lambda: job not in slurm.client("squeue", "-h", "-o", "%A"), "the other one waits", 20)


def test_a_crash_between_submission_and_its_record_finds_the_job_again(bench: Bench, slurm: Cluster) -> None:
    run = bench.run_id()
    order = bench.order(run, "echo started")
    other = fill(slurm)
    bench.engine.ensure(order)
    job = job_of(bench, run)
    bench.engine.close()
    (bench.folder / "engine" / "runs" / run / "job").unlink()
    bench.said.clear()
    bench.open()
    assert job_of(bench, run) == job
    slurm.client("scancel", other)
    assert bench.end(run).exit_code == 0
    assert bench.text(run) == "started\n"
    assert set(jobs(slurm)) == {job, other}


def test_a_crash_before_submission_submits_what_was_laid_out(bench: Bench, slurm: Cluster) -> None:
    run = bench.run_id()
    slurm.kill("slurmctld")
    bench.engine.ensure(bench.order(run, "echo started"))
    bench.until((bench.folder / "engine" / "runs" / run).exists, "it is laid out")
    bench.restart()
    slurm.start_controller()
    assert bench.end(run).exit_code == 0
    assert bench.text(run) == "started\n"


def test_a_job_that_somebody_cancels_is_interrupted_and_says_by_whom(bench: Bench, slurm: Cluster) -> None:
    run = bench.start("echo ready; sleep 300")
    bench.began(run)
    slurm.client("scancel", job_of(bench, run))
    report = bench.end(run)
    assert (report.outcome, report.cause) == (Outcome.INTERRUPTED, Cause.ENGINE_ENDED)
    assert "CANCELLED" in report.message


def test_a_job_that_somebody_cancels_before_it_begins_never_starts(bench: Bench, slurm: Cluster) -> None:
    order = bench.order(bench.run_id(), "echo started", secrets_given={"TOKEN": "of-the-tenant"})
    fill(slurm)
    bench.engine.ensure(order)
    environment = bench.folder / "engine" / "runs" / order.run / "environment"
    job = job_of(bench, order.run)
    assert "of-the-tenant" in environment.read_text()
    assert environment.stat().st_mode & 0o077 == 0
    slurm.client("scancel", job)
    report = bench.end(order.run)
    assert (report.outcome, report.cause, report.started_ms) == (
        Outcome.INTERRUPTED, Cause.ENGINE_ENDED, None,
    )  # fmt: skip
    assert not environment.exists(), "secrets stay"


def test_a_job_that_somebody_requeues_ends_and_never_runs_again(bench: Bench, slurm: Cluster) -> None:
    run = bench.start(f"echo started >>{bench.shared}/starts; sleep 300")
    bench.began(run)
    job = job_of(bench, run)
    slurm.client("scontrol", "update", f"jobid={job}", "requeue=1")
    slurm.client("scontrol", "requeue", job)
    report = bench.end(run)
    assert (report.outcome, report.cause) == (Outcome.INTERRUPTED, Cause.ENGINE_ENDED)
    time.sleep(2)
    assert (bench.shared / "starts").read_text("ascii") == "started\n"


def test_a_controller_that_lost_its_state_ends_runs_for_certain_before_they_are_given_up(
    bench: Bench, slurm: Cluster
) -> None:
    run = bench.start(f"echo ready; while :; do date >{bench.shared}/alive; sleep 0.2; done")
    bench.says(run, "ready")
    slurm.kill("slurmctld")
    slurm.start_controller(clean=True)
    report = bench.end(run)
    assert report.outcome is Outcome.INTERRUPTED
    (bench.shared / "alive").unlink(missing_ok=True)
    time.sleep(1)
    assert not (bench.shared / "alive").exists()


def test_a_node_that_fails_under_a_run_is_told_from_a_cancelled_job_and_the_run_is_ended(
    bench: Bench, slurm: Cluster
) -> None:
    run = bench.start(f"echo ready; while :; do date >{bench.shared}/alive; sleep 0.2; done")
    bench.says(run, "ready")
    slurm.kill("node0")  # nobody there can end what runs
    slurm.client("scontrol", "update", "nodename=node0", "state=down", "reason=test")
    report = bench.end(run)
    assert (report.outcome, report.cause) == (Outcome.INTERRUPTED, Cause.NODE_FAILED)
    assert "NODE_FAIL" in report.message
    (bench.shared / "alive").unlink(missing_ok=True)
    time.sleep(1)
    assert not (bench.shared / "alive").exists()
    bench.until(
        lambda: [node.health for node in bench.engine.nodes()] == [NodeHealth.SICK, NodeHealth.READY],
        "the node is sick",
    )


def test_what_others_have_of_a_node_is_not_offered(bench: Bench, slurm: Cluster) -> None:
    slurm.client("sbatch", "-n", "1", "-c", "5", "-w", "node0", "--wrap", "sleep 60")
    bench.until(lambda: bench.engine.nodes()[0].cpus_milli == 11_000, "others' processors are left out")
    bench.start("sleep 60")
    time.sleep(2)
    assert bench.engine.nodes()[0].cpus_milli == 11_000


def test_an_order_that_no_partition_takes_says_why(bench: Bench, slurm: Cluster) -> None:
    slurm.client("scontrol", "update", "partition=all", "maxtime=10")
    bench.restart()
    _, report = bench.finish("true", max_duration_ms=3_600_000)
    assert report.cause is Cause.START_FAILED
    assert "allow 10 minutes" in report.message
    bench.engine.close()
    slurm.client("scontrol", "update", "partition=all", "maxtime=infinite")


def test_output_without_end_is_kept_up_to_its_limit(slurm: Cluster, tmp_path: Path) -> None:
    bench = bench_of("slurm", {"conf": slurm.conf, "log_bytes_max": 100_000}, tmp_path)
    bench.name = "flood"
    bench.open()
    run, report = bench.finish("head -c 50000000 /dev/zero; exit 3")
    assert report.exit_code == 3
    assert len(bench.engine.log(run, 0, 1 << 24).data) == 100_000
    bench.engine.close()


def test_control_planes_that_are_killed_at_any_time_start_each_run_once(
    slurm: Cluster, tmp_path: Path
) -> None:
    chance = random.Random(4)
    pauses = [chance.uniform(0.0, 0.8) for _ in range(12)]
    planes.check("slurm", {"conf": slurm.conf, "look_ms": 50, "ask_ms": 200}, tmp_path, pauses, each=5)
