"""Replicas of a service share this machine's network: each has a port of its own, and the engine says which."""

from __future__ import annotations

import socket
import urllib.request
from pathlib import Path

import pytest

from tawtin.bootstrap.engines import portless
from tawtin.bootstrap.settings import FactorySettings, Settings
from tawtin.engines.local import portbook
from tawtin.engines.local.checks import check
from tawtin.engines.local.portbook import PortBook
from tawtin.engines.local.settings import LocalSettings
from tawtin.engines.shared.folders import PlanError
from tawtin.model.reasons import Cause
from tawtin.model.resources import Demand, Shape, Slot
from tawtin.model.workload import Serving, WorkloadSpec, WorkloadType
from tawtin.ports import EngineError, RunOrder
from tests.engines.rig import Rig

SERVE = """
echo "$TAWTIN_SERVICE $TAWTIN_REPLICA $SKYPILOT_SERVE_REPLICA_ID"
python3 -m http.server --bind "$TAWTIN_HOST" "$PORT"
"""


def serving(engine: Rig, run: str, port: int = 0) -> None:
    engine.start(run, SERVE, type=WorkloadType.SERVICE, service=Serving(port=port), network=True)


def address(engine: Rig, run: str) -> str:
    """Where it said that it is reached."""
    engine.until(lambda: (report := engine.last(run)) is not None and report.address)
    report = engine.last(run)
    assert report is not None
    return report.address


def answers(engine: Rig, where: str) -> None:
    def asks() -> bool:
        try:
            with urllib.request.urlopen(f"http://{where}/", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    engine.until(asks)


def test_each_replica_answers_at_the_address_that_the_engine_says(engine: Rig) -> None:
    for run in ("wl-a.1", "wl-b.1"):
        serving(engine, run)
    said = [address(engine, run) for run in ("wl-a.1", "wl-b.1")]
    assert len(set(said)) == 2
    for each in said:
        answers(engine, each)
    engine.says("wl-a.1", "test 1 1")


def test_an_address_outlives_the_control_plane_and_is_given_to_nobody_else(engine: Rig) -> None:
    serving(engine, "wl-a.1")
    said = address(engine, "wl-a.1")
    engine.reopen()
    assert address(engine, "wl-a.1") == said
    serving(engine, "wl-b.1", port=int(said.partition(":")[2]))
    assert address(engine, "wl-b.1") != said


def test_a_program_of_its_own_port_has_it_if_nobody_else_does(engine: Rig) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        own = int(probe.getsockname()[1])
    serving(engine, "wl-a.1", port=own)
    assert address(engine, "wl-a.1") == f"127.0.0.1:{own}"
    engine.engine.stop("wl-a.1", Cause.NOT_READY, 0)
    assert engine.end("wl-a.1").cause is Cause.NOT_READY


def test_a_port_at_which_somebody_listens_is_passed_over() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        busy = int(other.getsockname()[1])
        assert not portbook.is_free(busy)
        with pytest.raises(PlanError, match=f"no port of {busy} to {busy} is free"):
            PortBook(busy, busy).place(order("wl-a.1"), ())
    assert portbook.is_free(busy)


def test_ports_are_given_in_turn_and_come_back_when_runs_are_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def free(_port: int) -> bool:
        return True

    monkeypatch.setattr(portbook, "is_free", free)
    book = PortBook(3000, 3002)
    given = [book.place(order(f"wl-{name}.1"), ("wl-a.1", "wl-b.1")).port for name in "abc"]
    assert given == [3000, 3001, 3002]
    assert book.place(order("wl-d.1"), ("wl-a.1", "wl-c.1")).port == 3001
    with pytest.raises(PlanError):
        book.place(order("wl-e.1"), ("wl-a.1", "wl-c.1", "wl-d.1"))


def test_a_range_of_ports_that_ends_before_it_begins_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"above `local\.ports_last`"):
        check(LocalSettings(root=str(tmp_path), ports_first=3001, ports_last=3000))


def test_a_cluster_beside_this_machine_is_named_as_what_runs_no_services() -> None:
    settings = Settings(factory=FactorySettings(name="casa", country="MA"), engines={"hpc": {"use": "slurm"}})
    assert portless(settings) == ("hpc",)
    assert portless(Settings(factory=settings.factory)) == ()


def order(run: str) -> RunOrder:
    spec = WorkloadSpec(name="s", run="x", demand=Demand(options=(Shape(),)), service=Serving())
    return RunOrder(
        run=run,
        workload="w",
        tenant="t",
        tenant_number=1,
        epoch=1,
        spec=spec,
        shape=Shape(),
        slots=(Slot(node="n"),),
    )
