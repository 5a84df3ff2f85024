"""Parts of the Ray engine without a Ray: a server that answers what it is told to stands in for the head."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from tawtin.engines.ray import inventory
from tawtin.engines.ray.client import Machine, Ray, RayDeniedError, RayTwinError
from tawtin.engines.ray.probe import look
from tawtin.engines.ray.settings import RaySettings
from tawtin.engines.shared.cluster import ClusterDownError, ClusterRefusedError, Holding
from tawtin.engines.shared.inventory import Amount
from tawtin.model.resources import NodeHealth
from tools import ray_cluster


class Head(ThreadingHTTPServer):
    """Says what it is told to say, whatever it is asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.says: dict[str, tuple[int, str]] = {}
        self.heard: list[str] = []

    @property
    def ray(self) -> Ray:
        return Ray(RaySettings(address=f"http://127.0.0.1:{self.server_address[1]}", call_ms_max=5_000))


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        head = self.server
        assert isinstance(head, Head)
        head.heard.append(f"{self.command} {self.path}")
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, text = head.says.get(self.path.partition("?")[0], (404, "no such route"))
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    do_POST = do_GET  # noqa: N815 - the name that its base looks for

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that its base has
        pass


@pytest.fixture
def head() -> Generator[Head]:
    made = Head()
    thread = threading.Thread(target=made.serve_forever, args=[0.02])
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def node(
    name: str, id: str, *, alive: bool = True, since: int = 1, more: dict[str, float] | None = None
) -> dict[str, object]:
    total = {"CPU": 8.0, "memory": 2.0**30, "node:10.0.0.1": 1.0} | (more or {})
    state = "ALIVE" if alive else "DEAD"
    known: dict[str, object] = {"node_id": id, "node_ip": "10.0.0.1", "node_name": name, "state": state}
    return known | {"resources_total": total, "start_time_ms": since, "labels": {}}


def nodes(*rows: dict[str, object]) -> tuple[int, str]:
    return 200, json.dumps({"result": True, "data": {"result": {"result": list(rows)}}})


def test_of_several_nodes_with_one_name_the_one_that_is_alive_counts(head: Head) -> None:
    head.says["/api/cluster_status"] = (200, '{"data": {"clusterStatus": null}}')
    head.says["/api/v0/nodes"] = nodes(
        node("a", "3", alive=False, since=9),
        node("a", "2", since=5),
        node("a", "1", since=4),
        node("b", "4", alive=False),
    )
    found = head.ray.machines()
    assert [(machine.name, machine.id, machine.alive) for machine in found] == [
        ("a", "2", True),
        ("b", "4", False),
    ]


@pytest.mark.parametrize(
    "said", ['{"data": {"clusterStatus": null}}', '{"data": {"clusterStatus": {"loadMetricsReport": 5}}}']
)
def test_nodes_are_shown_where_ray_does_not_say_what_is_used(head: Head, said: str) -> None:
    head.says["/api/cluster_status"] = (200, said)
    head.says["/api/v0/nodes"] = nodes(node("a", "1"))
    ray = head.ray
    assert [machine.total.cpus_milli for machine in ray.machines()] == [8_000]
    assert not ray.tells_use


def test_what_is_used_is_told_by_node(head: Head) -> None:
    used = {"usageByNode": {"1": {"CPU": [2.5, 8], "GPU": [0.5, 4], "memory": [2.0**20 + 1, 2.0**30]}}}
    head.says["/api/cluster_status"] = (
        200,
        json.dumps({"data": {"clusterStatus": {"loadMetricsReport": used}}}),
    )
    head.says["/api/v0/nodes"] = nodes(node("a", "1", more={"GPU": 4.0, "accelerator_type:H100": 1.0}))
    (machine,) = head.ray.machines()
    assert machine.taken == Amount(cpus_milli=2_500, memory_mib=2, gpus=1)
    assert (machine.gpu_model, machine.total.gpus) == ("H100", 4)


@pytest.mark.parametrize(
    ("status", "said", "kind", "message"),
    [
        (400, "Traceback\n  File x\nValueError: no such option", ClusterRefusedError, "ValueError: no such option"),
        (500, "RuntimeError: Request failed with status code 400: bad\n.", ClusterRefusedError, "status code 400"),
        (500, "Job with submission_id a already exists. Please\n.\n", RayTwinError, "already exists"),
        (500, "RuntimeError: No available agent to submit job", ClusterDownError, "No available agent"),
        (502, "<html>bad gateway</html>", ClusterDownError, "HTTP status 502"),
        (503, "", ClusterDownError, "HTTP status 503"),
        (401, "Unauthorized: Missing authentication token", RayDeniedError, "set `token_file`"),
        (403, "Forbidden: Invalid authentication token", RayDeniedError, "does not accept the token"),
    ],
)  # fmt: skip
def test_an_answer_says_whether_it_was_done(
    head: Head, status: int, said: str, kind: type[Exception], message: str
) -> None:
    head.says["/api/jobs/"] = (status, said)
    with pytest.raises(kind) as raised:
        head.ray.submit(b"{}")
    assert type(raised.value) is kind
    assert message in str(raised.value)


@pytest.mark.parametrize("said", ["<html>please log in</html>", '{"result": true}', "[5]", ""])
def test_an_answer_that_is_none_of_rays_is_no_news_of_jobs(head: Head, said: str) -> None:
    head.says["/api/jobs/"] = (200, said)
    with pytest.raises(ClusterDownError) as raised:
        head.ray.jobs()
    assert "none of Ray's answers" in str(raised.value)


def test_a_job_is_stopped_by_its_whole_name_and_none_to_stop_is_no_error(head: Head) -> None:
    head.ray.stop("a/../b?c")
    assert head.heard == ["POST /api/jobs/a%2F..%2Fb%3Fc/stop"]


def looked(head: Head, **settings: str) -> tuple[str, str, str]:
    """The last finding about a head: its name, state and mend."""
    address = f"http://127.0.0.1:{head.server_address[1]}"
    made = msgspec.convert({"address": address, "call_ms_max": 5_000, **settings}, RaySettings)
    found = list(look(made, Ray(made)))
    return found[-1].name, found[-1].state, found[-1].mend


def test_a_look_at_a_set_up_names_what_is_wrong_and_its_mend(head: Head, tmp_path: Path) -> None:
    token = tmp_path / "token"
    head.says["/api/jobs/"] = (200, "[]")
    assert looked(head)[:2] == ("head", "fault")
    head.says["/api/version"] = (200, '{"ray_version": "2.60.0"}')
    name, state, mend = looked(head)
    assert (name, state) == ("token", "warning")
    assert "RAY_AUTH_MODE=token" in mend
    name, state, mend = looked(head, token_file=str(token))
    assert (name, state) == ("token", "fault")
    assert "mend `token_file`" in mend
    token.write_text("0" * 64)
    token.chmod(0o644)
    assert looked(head, token_file=str(token)) == ("token", "fault", f"chmod 600 {token}")
    token.chmod(0o600)
    assert looked(head, token_file=str(token))[:2] == ("token", "ok")
    head.says["/api/version"] = (200, '{"ray_version": "2.8.1"}')
    assert looked(head, token_file=str(token)) == ("head", "fault", "install a newer Ray")
    head.says["/api/version"] = (403, "Forbidden: Invalid authentication token")
    assert looked(head, token_file=str(token))[:2] == ("token", "fault")
    name, state, mend = looked(head, address="http://127.0.0.1:1")
    assert (name, state) == ("head", "fault")
    assert "port 8265" in mend


def test_what_others_have_is_left_out_and_what_is_ours_is_not() -> None:
    machine = Machine(
        name="a", id="1", address="10.0.0.1", alive=True, gpu_model="h100",
        total=Amount(cpus_milli=8_000, memory_mib=1_000, gpus=4),
        taken=Amount(cpus_milli=5_000, memory_mib=300, gpus=3),
    )  # fmt: skip
    ours = {"a": Holding(cpus=2, memory_mib=100, gpus=1, indices=(3,))}
    (node,) = inventory.nodes([machine], ours, engine="ray", disk_mib=7, declared=True, answering=True)
    assert (node.cpus_milli, node.memory_mib, node.gpus_sick) == (5_000, 800, (1, 2))
    assert (node.gpu_model, node.gpus, node.gpus_declared, node.health) == ("H100", 4, True, NodeHealth.READY)
    (node,) = inventory.nodes([machine], ours, engine="ray", disk_mib=7, declared=True, answering=False)
    assert node.health is NodeHealth.SICK


def test_all_of_a_cluster_goes_when_whoever_started_it_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "cluster"
    folder.mkdir()
    left = subprocess.Popen(
        ["sleep", "300"], env={ray_cluster.MARK: f"{folder}/ray0"}, start_new_session=True
    )
    other = subprocess.Popen(
        ["sleep", "300"], env={ray_cluster.MARK: f"{folder}2/ray0"}, start_new_session=True
    )
    reaper = subprocess.Popen([sys.executable, ray_cluster.__file__, str(folder)], stdin=subprocess.PIPE)
    time.sleep(0.3)
    assert left.poll() is None
    reaper.communicate(timeout=20)
    assert left.wait(5) == -9
    assert other.poll() is None
    assert not folder.exists()
    other.kill()
    other.wait()
