"""A service of a real factory: its programs and control plane are killed, and it is updated while it is asked."""

from __future__ import annotations

import http.client
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults.real import RealFactory, Refused, factory_in

WAIT_S = 60.0
SPEC: dict[str, Any] = {
    "name": "pages",
    "service": {"readiness_probe": {"path": "/"}, "replicas": 2},
    "resources": {"cpus": "0.05", "memory": "64MB"},
    "stop_grace": "5s",
    "envs": {"VERSION": "one"},
    "run": 'echo "$VERSION" > version; exec python3 -m http.server --bind "$TAWTIN_HOST" "$PORT"',
}


def until(what: Callable[[], object]) -> None:
    end = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.05)


def replicas(factory: RealFactory) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = factory.call("GET", "services/pages")["replicas"]
    return found


def ready(factory: RealFactory) -> list[dict[str, Any]]:
    return [each for each in replicas(factory) if each["readiness"] == "ready"]


def asked(address: str, path: str = "/") -> str:
    """What a replica answers. Raises OSError or HTTPException where it does not."""
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200
        return answer.read().decode().strip()
    finally:
        connection.close()


def programs_at(address: str) -> list[int]:
    """Processes of the program that listens there."""
    port = address.partition(":")[2].encode()
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"http.server" in words and port in words:
            found.append(int(path.parent.name))
    return found


class Caller(threading.Thread):
    """Somebody who asks whichever replica is said to be ready, all the time."""

    def __init__(self, factory: RealFactory) -> None:
        super().__init__(daemon=True)
        self.factory = factory
        self.over = threading.Event()
        self.problems: list[str] = []
        self.versions: list[str] = []

    def run(self) -> None:
        while not self.over.wait(0.05):
            there = ready(self.factory)
            if not there:
                self.problems.append("nothing is ready")
            elif not any(self._answers(each["address"]) for each in there):
                self.problems.append(f"nobody answers of {[each['address'] for each in there]}")

    def _answers(self, address: str) -> bool:
        try:
            self.versions.append(asked(address, "/version"))
        except (OSError, http.client.HTTPException):
            return False
        return True


def test_a_service_outlives_its_programs_and_its_control_plane_and_is_updated_without_a_gap(tmp_path: Path):
    with factory_in(tmp_path) as factory:
        # 1. two replicas get ready, each at an address of its own
        submitted = factory.call("POST", "workloads", SPEC)
        names = [each["id"] for each in submitted["workloads"]]
        until(lambda: len(ready(factory)) == 2)
        first, second = ready(factory)
        assert first["address"] != second["address"]
        assert asked(first["address"], "/version") == "one"

        # 2. one program is killed and comes back, as a new run
        for pid in programs_at(first["address"]):
            os.kill(pid, signal.SIGKILL)
        until(lambda: sorted(each["epoch"] for each in ready(factory)) == [1, 2])
        assert next(each for each in ready(factory) if each["epoch"] == 2)["workload"] == first["workload"]

        # 3. the control plane is killed and started: no replica notices
        before = {each["run"]: programs_at(each["address"]) for each in ready(factory)}
        factory.kill()
        assert asked(second["address"], "/version") == "one"
        factory.up()
        until(lambda: len(ready(factory)) == 2)
        after = {each["run"]: programs_at(each["address"]) for each in ready(factory)}
        assert after == before

        # 4. an update, while somebody asks all the time
        caller = Caller(factory)
        caller.start()
        until(lambda: len(caller.versions) > 5)
        view = factory.call("PUT", "services/pages", {**SPEC, "envs": {"VERSION": "two"}})
        assert view["revision"] == 2
        until(lambda: [each["revision"] for each in replicas(factory)] == [2, 2])
        until(lambda: caller.versions[-1] == "two" or not caller.is_alive())
        caller.over.set()
        caller.join(WAIT_S)
        assert caller.problems == []
        assert {factory.phase(name) for name in names} == {"cancelled"}

        # 5. its end is the end of all of it, and all of it was metered
        factory.call("DELETE", "services/pages")
        until(lambda: _gone(factory))
        assert not any(
            programs_at(each["address"]) for each in (first, second, *view["replicas"]) if each.get("address")
        )
        for name in names:
            for run in factory.call("GET", f"workloads/{name}/runs")["items"]:
                assert run["usage"]["wall_ms"] > 0
        runs = [factory.call("GET", f"workloads/{name}/runs")["items"] for name in names]
        assert sorted(len(each) for each in runs) == [1, 2]


def _gone(factory: RealFactory) -> bool:
    try:
        replicas(factory)
    except Refused as refused:
        return refused.status == 404
    return False
