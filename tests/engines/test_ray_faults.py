"""A real Ray that is killed, restarted, emptied and meddled with: no run is lost, and none starts twice."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tawtin.engines import manifest
from tawtin.engines.conformance import Bench
from tawtin.model.reasons import Cause
from tawtin.model.resources import NodeHealth
from tawtin.model.workload import Outcome
from tawtin.ports import EngineParts
from tawtin.store.artifacts import BlobArtifacts
from tawtin.store.blobs import LocalBlobs
from tests.engines import planes
from tests.engines.benches import bench_of
from tools.ray_cluster import Cluster, cluster

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]


HASTE = {
    "RAY_gcs_rpc_server_reconnect_timeout_s": "15",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "10",
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
}
"""Ray finds out within seconds what takes it a minute otherwise; with fewer, a head gives itself up on busy cores."""


@pytest.fixture(scope="module")
def running() -> Generator[Cluster]:
    with cluster(nodes=2, cpus=16, environment=HASTE) as made:
        yield made


@pytest.fixture
def ray(running: Cluster) -> Cluster:
    """The cluster of this module, mended after what the test before did to it."""
    if "head" not in running.processes:
        running.start_head()
    for name in running.names:
        if name not in running.processes:
            running.start_node(name)
    running.wait_alive()
    return running


def table(ray: Cluster, **more: object) -> dict[str, Any]:
    known = {"address": ray.url, "token_file": str(ray.token_file), "look_ms": 100, "ask_ms": 300}
    return known | {"nodes_ms": 500, "vanished_ms": 3_000, "call_ms_max": 10_000} | more


@contextmanager
def opened(folder: Path, settings: dict[str, Any]) -> Generator[Bench]:
    made = bench_of("ray", settings, folder)
    made.name = "fault"
    made.open()
    try:
        yield made
    finally:
        made.engine.close()


@pytest.fixture
def bench(ray: Cluster, tmp_path: Path) -> Generator[Bench]:
    with opened(tmp_path, table(ray)) as made:
        yield made


def job_of(bench: Bench, run: str) -> str:
    path = bench.folder / "engine" / "runs" / run / "job"
    bench.until(path.exists, f"{run} has a job")
    return path.read_text("ascii")


def ours(ray: Cluster, bench: Bench) -> list[str]:
    """The jobs of this bench, by what Ray says."""
    return [
        row["submission_id"]
        for row in ray.ask("GET", "/api/jobs/")[1]
        if bench.folder.name in row["submission_id"]
    ]


def scripts(word: str, run: str) -> list[int]:
    """Processes that run a script of a run."""
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        except OSError:
            continue
        if any(each.endswith(f"/{run}/scripts/{word}") for each in words):
            found.append(int(entry.name))
    return found


LIVES = "echo ready; while :; do date >{shared}/alive.$NODE_RANK; sleep 0.2; done"


def ended(bench: Bench) -> None:
    """Nothing of a run of LIVES is left."""
    for path in bench.shared.glob("alive.*"):
        path.unlink()
    time.sleep(1)
    assert list(bench.shared.glob("alive.*")) == []


def test_a_look_at_a_sound_set_up_finds_no_fault_and_runs_something(ray: Cluster, tmp_path: Path) -> None:
    known = manifest.found()["ray"]
    artifacts = BlobArtifacts(LocalBlobs(tmp_path / "blobs"))
    parts = EngineParts(name="ray", root=str(tmp_path / "engine"), mark=tmp_path.name, artifacts=artifacts)
    found = list(manifest.probe(known, manifest.settings_of(known, table(ray)), parts, deep=True))
    assert [each for each in found if each.state != "ok"] == []
    assert "2 of 2 take work, with 32 processors" in next(
        each.found for each in found if each.name == "nodes"
    )
    assert "a run of `true`" in found[-1].found


def test_a_job_that_somebody_stops_is_told_first_and_says_by_whom(bench: Bench, ray: Cluster) -> None:
    run = bench.start("trap 'sleep 4; echo told; exit 0' TERM; echo ready; while :; do sleep 0.1; done")
    bench.says(run, "ready")
    assert ray.ask("POST", f"/api/jobs/{job_of(bench, run)}/stop")[0] == 200
    report = bench.end(run)
    assert (report.outcome, report.cause) == (Outcome.INTERRUPTED, Cause.ENGINE_ENDED)
    assert "told" in bench.text(run)


def test_a_script_that_somebody_kills_takes_all_with_it_that_it_started(bench: Bench) -> None:
    run = bench.start(f"setsid bash -c '{LIVES}' & wait".format(shared=bench.shared))
    bench.says(run, "ready")
    for pid in scripts("job.sh", run):
        os.kill(pid, signal.SIGKILL)
    report = bench.end(run)
    assert (report.outcome, report.cause) == (Outcome.INTERRUPTED, Cause.ENGINE_ENDED)
    ended(bench)


def test_a_gang_whose_driver_is_killed_ends_everywhere(bench: Bench) -> None:
    run = bench.start(LIVES.format(shared=bench.shared), nodes=2)
    bench.until(lambda: len(list(bench.shared.glob("alive.*"))) == 2, "both ranks run")
    for pid in scripts("ranks.py", run):
        os.kill(pid, signal.SIGKILL)
    report = bench.end(run)
    assert (report.outcome, report.cause) == (Outcome.INTERRUPTED, Cause.ENGINE_ENDED)
    ended(bench)


def test_what_others_have_of_a_node_is_not_offered(bench: Bench, ray: Cluster) -> None:
    names = [node.name for node in bench.engine.nodes()]
    assert names == ["ray0", "ray1"], "the head offers nothing"
    other, there = f"other-{time.time_ns()}", {f"node:{ray.address_of('ray1')}": 0.001}
    body = {
        "entrypoint": "sleep 60",
        "entrypoint_num_cpus": 5,
        "submission_id": other,
        "entrypoint_resources": there,
    }
    assert ray.ask("POST", "/api/jobs/", body)[0] == 200
    bench.until(lambda: bench.engine.nodes()[1].cpus_milli == 11_000, "others' processors are left out")
    run = bench.start("echo ready; sleep 60", nodes=2)
    bench.says(run, "ready")
    time.sleep(3)  # Ray says once a second what is used
    assert [node.cpus_milli for node in bench.engine.nodes()] == [16_000, 11_000]
    bench.engine.stop(run, Cause.CANCELLED, 0)
    assert bench.end(run).outcome is Outcome.CANCELLED
    ray.ask("POST", f"/api/jobs/{other}/stop")


def test_a_job_that_was_submitted_twice_runs_once(bench: Bench, ray: Cluster) -> None:
    run = bench.run_id()
    bench.engine.ensure(bench.order(run, f"echo started >>{bench.shared}/starts; {bench.waiting(run)}"))
    bench.began(run)
    folder = bench.folder / "engine" / "runs" / run
    twin = f"twin-{time.time_ns()}"
    body = {"entrypoint": f"exec /bin/bash {folder}/scripts/job.sh", "submission_id": twin}
    assert ray.ask("POST", "/api/jobs/", body)[0] == 200
    ray.wait(lambda: ray.ask("GET", f"/api/jobs/{twin}")[1]["status"] == "SUCCEEDED", "the twin does not end")
    bench.go(run)
    report = bench.end(run)
    assert (report.outcome, report.exit_code) == (Outcome.FINISHED, 0)
    assert (bench.shared / "starts").read_text("ascii") == "started\n"
    assert bench.text(run) == ""


def test_a_crash_between_submission_and_its_record_finds_the_job_again(bench: Bench, ray: Cluster) -> None:
    run = bench.run_id()
    bench.engine.ensure(bench.order(run, f"echo started; {bench.waiting(run)}"))
    job = job_of(bench, run)
    bench.engine.close()
    (bench.folder / "engine" / "runs" / run / "job").unlink()
    bench.said.clear()
    bench.open()
    assert job_of(bench, run) == job
    bench.go(run)
    assert bench.end(run).exit_code == 0
    assert bench.text(run) == "started\n"
    assert ours(ray, bench) == [job]


class _Between(BaseHTTPRequestHandler):
    """Hands everything on, and loses the answers to submissions as its server wants."""

    def do_GET(self) -> None:
        self._hand_on(None)

    def do_POST(self) -> None:
        self._hand_on(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def _hand_on(self, body: bytes | None) -> None:
        server = self.server
        assert isinstance(server, _Server)
        connection = HTTPConnection("127.0.0.1", server.port, timeout=30)
        headers = {
            name: self.headers[name] for name in ("Authorization", "Content-Type") if self.headers[name]
        }
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        said = answer.read()
        connection.close()
        if body and self.path == "/api/jobs/" and server.losses:
            how = server.losses.pop()
            if how:
                self.send_error(how)
            self.close_connection = True
            return
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that its base has
        pass


class _Server(ThreadingHTTPServer):
    def __init__(self, port: int, losses: list[int]) -> None:
        super().__init__(("127.0.0.1", 0), _Between)
        self.port, self.losses = port, losses


def test_an_order_whose_submission_was_accepted_but_answered_by_an_error_runs_once(
    ray: Cluster, tmp_path: Path
) -> None:
    server = _Server(ray.dashboard_port, [0, 502, 500])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    with opened(tmp_path, table(ray, address=address)) as bench:
        runs = [bench.start("echo started >>$TAWTIN_WORKDIR/../../starts") for _ in range(3)]
        for run in runs:
            report = bench.end(run)
            assert (report.outcome, report.exit_code) == (Outcome.FINISHED, 0)
            path = bench.folder / "engine" / "runs" / run / "starts"
            assert path.read_text("ascii") == "started\n"
        assert server.losses == []
        assert len(ours(ray, bench)) == 3
    server.shutdown()
    server.server_close()


def test_a_token_that_is_not_accepted_is_named_and_orders_wait_until_it_is_mended(
    ray: Cluster, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    with opened(tmp_path, table(ray, token_file=str(token))) as bench:
        for text, says in ((None, "cannot be read (`token_file`)"), ("0" * 64, "does not accept the token")):
            if text:
                token.write_text(text)
            bench.until(
                lambda says=says: any(says in note for note in bench.engine.notes()), f"it says {says}"
            )
            assert not any("0" * 64 in note for note in bench.engine.notes())
        token.write_text(ray.token)
        bench.until(bench.engine.nodes, "it shows its nodes")
        token.write_text("0" * 64)
        run = bench.start("echo started")
        time.sleep(2)
        assert any("does not accept the token" in note for note in bench.engine.notes())
        token.write_text(ray.token)
        assert bench.end(run).exit_code == 0
        assert not any("token" in note for note in bench.engine.notes())
    with opened(tmp_path, table(ray, token_file="")) as bench:
        bench.until(lambda: any("it wants a token" in note for note in bench.engine.notes()), "it says so")


def test_control_planes_that_are_killed_at_any_time_start_each_run_once(ray: Cluster, tmp_path: Path) -> None:
    planes.check("ray", table(ray, look_ms=50), tmp_path, (0.0, 0.05, 0.3), each=2)


def test_a_node_that_fails_under_a_gang_ends_all_of_it(bench: Bench, ray: Cluster) -> None:
    run = bench.start(LIVES.format(shared=bench.shared), nodes=2)
    bench.until(lambda: len(list(bench.shared.glob("alive.*"))) == 2, "both ranks run")
    ray.kill("ray1")
    report = bench.end(run)
    assert (report.outcome, report.cause) == (Outcome.INTERRUPTED, Cause.NODE_FAILED)
    ended(bench)
    bench.until(
        lambda: [node.health for node in bench.engine.nodes()] == [NodeHealth.READY, NodeHealth.SICK],
        "the node is sick",
    )


def test_a_node_that_fails_under_a_run_is_told_from_a_stopped_job(bench: Bench, ray: Cluster) -> None:
    run = bench.start(LIVES.format(shared=bench.shared))
    bench.says(run, "ready")
    ray.kill("ray0")
    report = bench.end(run)
    assert (report.outcome, report.cause) == (Outcome.INTERRUPTED, Cause.NODE_FAILED)
    ended(bench)


def test_a_head_that_is_killed_and_comes_back_empty_loses_no_order_and_starts_none_twice(
    bench: Bench, ray: Cluster
) -> None:
    lost = bench.start(LIVES.format(shared=bench.shared))
    bench.says(lost, "ready")
    ray.kill("head")
    waiting = [bench.start(f"echo started >>{bench.shared}/starts.{number}") for number in range(2)]
    bench.until(lambda: any("does not answer" in note for note in bench.engine.notes()), "it says so")
    assert bench.last(lost).outcome is None, "what may still run is given up"
    ray.start_head()
    report = bench.end(lost)
    assert report.outcome is Outcome.INTERRUPTED
    ended(bench)
    for name in ray.names:  # nodes end by themselves when their head has forgotten them
        ray.processes.pop(name).wait(60)
        ray.start_node(name)
    for number, run in enumerate(waiting):
        report = bench.end(run)
        assert (report.outcome, report.exit_code) == (Outcome.FINISHED, 0)
        assert (bench.shared / f"starts.{number}").read_text("ascii") == "started\n"
    assert not any("does not answer" in note for note in bench.engine.notes())
