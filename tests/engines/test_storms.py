"""Every engine in a hundred rounds of random faults, the same story by its seed."""

from __future__ import annotations

import itertools
import random
import time
from pathlib import Path

import pytest

from tawtin.engines.conformance import Bench, NotMetError, storm
from tawtin.engines.conformance.storm import ROUNDS, weather
from tawtin.engines.local.engine import LocalEngine
from tawtin.engines.shared import scripts
from tawtin.engines.shared.engine import ClusterEngine
from tawtin.ports import Engine
from tests.engines.benches import bench_of, kubernetes_bench
from tools import kubernetes_cluster, ray_cluster
from tools.slurm_cluster import cluster

pytestmark = pytest.mark.timeout(400)
OWN = Path(__file__).parents[2] / "docs/how-to/engine-of-your-own"


@pytest.mark.sandbox
def test_this_machine_loses_nothing_and_starts_nothing_twice(tmp_path: Path) -> None:
    table = {"expose": (str(tmp_path / "shared"),), "cgroup": f"tawtin-{tmp_path.name}"}
    bench = bench_of("local", table, tmp_path)
    try:
        story = weather(bench, seed=11)
        assert len(story.runs) > ROUNDS / 4
    finally:
        engine = bench.make()
        assert isinstance(engine, LocalEngine)
        engine.open(lambda: None)
        engine.retire_launcher()
        engine.close()


@pytest.mark.slurm
def test_slurm_loses_nothing_and_starts_nothing_twice(tmp_path: Path) -> None:
    with cluster(nodes=2, cpus=64) as made:

        def disturb(chance: random.Random) -> None:
            """Its controller dies, and comes back; a moment's memory is lost."""
            made.kill("slurmctld")
            time.sleep(chance.uniform(0, 1))
            made.start_controller()

        table = {"conf": made.conf, "look_ms": 100, "ask_ms": 300, "vanished_ms": 5_000, "call_ms_max": 5_000}
        story = weather(bench_of("slurm", table, tmp_path), 12, disturb)
        assert story.disturbed
        assert len(story.runs) > ROUNDS / 4


@pytest.mark.kubernetes
def test_kubernetes_loses_nothing_and_starts_nothing_twice(tmp_path: Path) -> None:
    with kubernetes_cluster.cluster(nodes=2) as made:

        def disturb(chance: random.Random) -> None:
            """Its API server dies, and comes back."""
            made.kill("apiserver")
            time.sleep(chance.uniform(0, 1))
            made.start_apiserver()

        bench = kubernetes_bench(made.kubeconfig, tmp_path, vanished_ms=5_000, call_ms_max=5_000)
        story = weather(bench, 13, disturb)
        assert story.disturbed
        assert len(story.runs) > ROUNDS / 4


@pytest.mark.ray
@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_ray_loses_nothing_and_starts_nothing_twice(tmp_path: Path) -> None:
    with ray_cluster.cluster(nodes=2, cpus=16) as made:

        def disturb(chance: random.Random) -> None:
            """A node dies with what it runs, and comes back."""
            made.kill("ray1")
            time.sleep(chance.uniform(0, 1))
            made.start_node("ray1")
            made.wait_alive()

        table = {"address": made.url, "token_file": str(made.token_file), "look_ms": 200, "ask_ms": 500}
        story = weather(bench_of("ray", {**table, "vanished_ms": 20_000}, tmp_path), 14, disturb)
        assert story.disturbed
        assert len(story.runs) > ROUNDS / 4


def processes(folder: Path) -> Bench:
    """The engine of the how-to, which is quick."""
    table = {"look_ms": 100, "ask_ms": 300, "vanished_ms": 5_000, "cpus": 64}
    return bench_of("processes", table, folder, (str(OWN),))


def test_the_engine_of_the_how_to_loses_nothing_and_starts_nothing_twice(tmp_path: Path) -> None:
    assert len(weather(processes(tmp_path), 15).runs) > ROUNDS / 4


def test_a_storm_finds_a_run_that_starts_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job: str = vars(scripts)["_JOB"]
    careless = job.replace('{ : >"$here/@token@"; } 2>/dev/null ||', "true ||")
    assert careless != job
    monkeypatch.setattr(scripts, "_JOB", careless)
    bench = processes(tmp_path)
    make = bench.make

    def hasty() -> Engine:
        engine = make()
        cluster = vars(engine)["_cluster"]
        submit = cluster.submit

        def twice(*words: object) -> str:
            submit(*words)
            return submit(*words)

        cluster.submit = twice
        return engine

    bench.make = hasty
    with pytest.raises(NotMetError, match="started 2 times"):
        weather(bench, 15)


def test_a_storm_finds_an_end_that_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storm, "_ENDS_S", 10.0)
    tell = vars(ClusterEngine)["_report_end"]
    count = itertools.count(1)

    def most(*words: object) -> None:
        if next(count) % 7:
            tell(*words)

    monkeypatch.setattr(ClusterEngine, "_report_end", most)
    with pytest.raises(NotMetError, match="nobody says what became of"):
        weather(processes(tmp_path), 15)
