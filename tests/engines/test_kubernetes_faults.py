"""A real Kubernetes that is killed, lied about, emptied and meddled with: no run is lost, and none starts twice."""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tawtin.engines.conformance import Bench
from tawtin.model.reasons import Cause
from tawtin.model.resources import NodeHealth
from tawtin.model.workload import Outcome
from tests.engines.benches import kubernetes_bench
from tests.engines.kubernetes_proxy import Proxy
from tools.kubernetes_cluster import Cluster, cluster

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(180)]
JOBS = "/apis/batch/v1/jobs"
START = 'echo started >>"$TAWTIN_WORKDIR/starts"; echo started'


@pytest.fixture(scope="module")
def kubernetes() -> Generator[Cluster]:
    with cluster(nodes=2) as made:
        yield made


@pytest.fixture
def proxy(kubernetes: Cluster) -> Generator[Proxy]:
    made = Proxy(kubernetes)
    yield made
    made.close()


@pytest.fixture
def bench(proxy: Proxy, tmp_path: Path) -> Generator[Bench]:
    made = kubernetes_bench(proxy.kubeconfig, tmp_path, vanished_ms=3_000, call_ms_max=5_000)
    made.name = "fault"
    made.open()
    yield made
    made.engine.close()
    for job in jobs(proxy.cluster, made):
        name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
        path = f"/apis/batch/v1/namespaces/{namespace}/jobs/{name}?propagationPolicy=Background"
        proxy.cluster.call("DELETE", path)


def jobs(kubernetes: Cluster, bench: Bench) -> list[dict[str, Any]]:
    """The Jobs of this bench's runs."""
    found: dict[str, Any] = kubernetes.call("GET", JOBS) or {"items": []}
    here = str(bench.folder)
    return [
        each
        for each in found["items"]
        if here in each["spec"]["template"]["spec"]["containers"][0]["command"][1]
    ]


def path_of(kubernetes: Cluster, bench: Bench) -> str:
    """The path of the one Job that there is."""
    [job] = jobs(kubernetes, bench)
    return f"/apis/batch/v1/namespaces/{job['metadata']['namespace']}/jobs/{job['metadata']['name']}"


def pods(kubernetes: Cluster, bench: Bench) -> list[str]:
    """Paths of the pods of the one Job that there is."""
    [job] = jobs(kubernetes, bench)
    space, name = job["metadata"]["namespace"], job["metadata"]["name"]
    path = f"/api/v1/namespaces/{space}/pods"
    found = kubernetes.call("GET", f"{path}?labelSelector=batch.kubernetes.io/job-name={name}")
    return [f"{path}/{each['metadata']['name']}" for each in found["items"]]


def starts(bench: Bench, run: str) -> list[str]:
    path = bench.folder / "engine" / "runs" / run / "files" / "work" / "starts"
    return path.read_text("ascii").split() if path.exists() else []


def noted(bench: Bench, text: str) -> None:
    bench.until(lambda: any(text in note for note in bench.engine.notes()), f"it is noted that `{text}`")


def test_orders_given_while_the_api_server_is_dead_start_once_when_it_is_back(
    bench: Bench, kubernetes: Cluster
) -> None:
    orders = [bench.order(bench.run_id(), START) for _ in range(3)]
    kubernetes.kill("apiserver")
    for each in orders:
        bench.engine.ensure(each)
    noted(bench, "does not answer")
    kubernetes.start_apiserver()
    for each in orders:
        report = bench.end(each.run)
        assert (report.outcome, report.exit_code) == (Outcome.FINISHED, 0), str(report)
        assert starts(bench, each.run) == ["started"]
    assert len(jobs(kubernetes, bench)) == 3


def test_an_api_server_that_dies_under_runs_neither_ends_nor_loses_them(
    bench: Bench, kubernetes: Cluster
) -> None:
    run = bench.run_id()
    bench.engine.ensure(bench.order(run, f"{START}; {bench.waiting(run)}; exit 4"))
    bench.says(run, "started")
    kubernetes.kill("apiserver")
    noted(bench, "does not answer")
    bench.go(run)
    kubernetes.start_apiserver()
    assert bench.end(run).exit_code == 4
    assert starts(bench, run) == ["started"]


@pytest.mark.parametrize(
    ("status", "reason", "headers"),
    [
        (429, "TooManyRequests", {"Retry_After": "1"}),
        (500, "InternalError", {}),
        (503, "ServiceUnavailable", {}),
    ],
)
def test_a_busy_api_server_is_asked_again(
    bench: Bench, proxy: Proxy, status: int, reason: str, headers: dict[str, str]
) -> None:
    planted = proxy.plant("POST", "/jobs", status, reason, times=2, **headers)
    run, report = bench.finish(START)
    assert planted.met == 2
    assert (report.exit_code, starts(bench, run)) == (0, ["started"])


def test_a_creation_whose_answer_is_lost_is_found_again_and_made_once(
    bench: Bench, proxy: Proxy, kubernetes: Cluster
) -> None:
    planted = proxy.plant("POST", "/jobs", times=1)
    run, report = bench.finish(START)
    assert planted.met == 1
    assert (report.exit_code, starts(bench, run)) == (0, ["started"])
    assert len(jobs(kubernetes, bench)) == 1


def test_a_conflict_with_a_job_that_is_not_there_is_no_reason_to_start_twice(
    bench: Bench, proxy: Proxy
) -> None:
    proxy.plant("POST", "/jobs", 409, "AlreadyExists")
    run, report = bench.finish(START)
    assert (report.cause, report.started_ms) == (Cause.START_FAILED, None)
    assert starts(bench, run) == []


def test_a_watch_that_has_expired_is_begun_anew(bench: Bench, proxy: Proxy) -> None:
    run = bench.run_id()
    bench.engine.ensure(bench.order(run, f"{START}; {bench.waiting(run)}"))
    bench.says(run, "started")
    before = proxy.count("GET", "/apis/batch/v1/jobs?labelSelector")
    planted = proxy.plant("GET", "watch=1", 410, "Expired", times=3)
    proxy.end_watches()
    bench.until(lambda: planted.met == 3, "it hears that its watches have expired")
    bench.go(run)
    assert bench.end(run).exit_code == 0
    assert proxy.count("GET", "/apis/batch/v1/jobs?labelSelector") > before


def test_a_job_that_a_person_deletes_is_interrupted_and_says_so(bench: Bench, kubernetes: Cluster) -> None:
    run = bench.start(f"{START}; sleep 300")
    bench.began(run)
    kubernetes.call("DELETE", f"{path_of(kubernetes, bench)}?propagationPolicy=Background")
    report = bench.end(run)
    assert (report.outcome, report.cause) == (Outcome.INTERRUPTED, Cause.ENGINE_ENDED)
    assert "deleted" in report.message, report


def test_a_pod_that_a_person_deletes_ends_the_run_which_never_starts_again(
    bench: Bench, kubernetes: Cluster
) -> None:
    run = bench.start(f"{START}; sleep 300")
    bench.says(run, "started")
    [pod] = pods(kubernetes, bench)
    kubernetes.call("DELETE", pod)
    report = bench.end(run)
    assert (report.outcome, report.cause) == (Outcome.INTERRUPTED, Cause.ENGINE_ENDED), report
    time.sleep(2)
    assert starts(bench, run) == ["started"]


def test_a_crash_between_creation_and_its_record_finds_the_job_again(
    bench: Bench, kubernetes: Cluster
) -> None:
    run = bench.run_id()
    bench.engine.ensure(bench.order(run, f"{START}; {bench.waiting(run)}"))
    bench.says(run, "started")
    bench.engine.close()
    (bench.folder / "engine" / "runs" / run / "job").unlink()
    bench.said.clear()
    bench.open()
    bench.go(run)
    assert bench.end(run).exit_code == 0
    assert starts(bench, run) == ["started"]
    assert len(jobs(kubernetes, bench)) == 1


def test_an_image_that_cannot_be_had_is_named(proxy: Proxy, tmp_path: Path) -> None:
    bench = kubernetes_bench(proxy.kubeconfig, tmp_path, image="tawtin.test/nothing:1", image_ms_max=1_000)
    bench.name = "image"
    bench.open()
    try:
        _, report = bench.finish(START)
        assert (report.cause, report.started_ms) == (Cause.START_FAILED, None)
        assert "tawtin.test/nothing:1" in report.message
        bench.until(lambda: not jobs(proxy.cluster, bench), "its Job is gone")
    finally:
        bench.engine.close()


def test_a_full_quota_makes_a_run_wait_and_says_so(proxy: Proxy, tmp_path: Path) -> None:
    bench = kubernetes_bench(proxy.kubeconfig, tmp_path, namespace="full", quota={"pods": "0"})
    bench.name = "quota"
    bench.open()
    try:
        run = bench.start(START)
        noted(bench, "exceeded quota")
        bench.engine.stop(run, Cause.CANCELLED, 0)
        assert bench.end(run).outcome is Outcome.CANCELLED
    finally:
        bench.engine.close()


def test_a_pod_that_admission_refuses_is_no_run_that_waits_for_ever(proxy: Proxy, tmp_path: Path) -> None:
    bench = kubernetes_bench(proxy.kubeconfig, tmp_path, namespace="hard", runtime_class="nobody-has-it")
    bench.name = "refused"
    bench.open()
    try:
        _, report = bench.finish(START)
        assert (report.cause, report.started_ms) == (Cause.START_FAILED, None)
        assert "nobody-has-it" in report.message
    finally:
        bench.engine.close()


def test_what_others_have_of_a_node_is_not_offered(bench: Bench, kubernetes: Cluster) -> None:
    before = bench.engine.nodes()[0]
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "other"},
        "spec": {
            "nodeName": before.name,
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": "it",
                    "image": "tawtin.test/pause:1",
                    "imagePullPolicy": "Never",
                    "resources": {"requests": {"cpu": "300m", "memory": "64Mi"}},
                }
            ],
        },
    }
    assert kubernetes.call("POST", "/api/v1/namespaces/default/pods", body)
    bench.until(
        lambda: bench.engine.nodes()[0].cpus_milli == before.cpus_milli - 300,
        "others' processors are left out",
    )
    assert bench.engine.nodes()[0].memory_mib == before.memory_mib - 64
    kubernetes.call("DELETE", "/api/v1/namespaces/default/pods/other?gracePeriodSeconds=0")
    bench.until(lambda: bench.engine.nodes()[0].cpus_milli == before.cpus_milli, "they are there again")


def test_a_node_that_is_cordoned_takes_no_runs(bench: Bench, kubernetes: Cluster) -> None:
    name = bench.engine.nodes()[1].name
    path, kind = f"/api/v1/nodes/{name}", "application/merge-patch+json"
    kubernetes.call("PATCH", path, {"spec": {"unschedulable": True}}, kind=kind)
    bench.until(lambda: bench.engine.nodes()[1].health is NodeHealth.DRAINING, "it drains")
    kubernetes.call("PATCH", path, {"spec": {"unschedulable": False}}, kind=kind)
    bench.until(lambda: bench.engine.nodes()[1].health is NodeHealth.READY, "it is ready again")


def test_a_gang_whose_node_dies_is_interrupted_as_a_whole(kubernetes: Cluster, tmp_path: Path) -> None:
    """Last in its file: the node does not come back."""
    bench = kubernetes_bench(kubernetes.kubeconfig, tmp_path, lost_ms=1_000)
    bench.name = "node"
    bench.open()
    run = bench.start(f"{START}; while :; do date >alive.$NODE_RANK; sleep 0.2; done", nodes=2)
    bench.until(lambda: len(starts(bench, run)) == 2, "both ranks started")
    kubernetes.kill_node("node1")
    report = bench.end(run)
    assert (report.outcome, report.cause) == (Outcome.INTERRUPTED, Cause.NODE_FAILED), report
    assert "node1" in report.message or "node is gone" in report.message, report
    work = bench.folder / "engine" / "runs" / run / "files" / "work"
    for path in work.glob("alive.*"):
        path.unlink()
    time.sleep(2)
    assert not list(work.glob("alive.*"))
    assert len(starts(bench, run)) == 2
    bench.until(
        lambda: [node.health for node in bench.engine.nodes()] == [NodeHealth.READY, NodeHealth.SICK],
        "the node is sick",
    )
    bench.engine.close()
