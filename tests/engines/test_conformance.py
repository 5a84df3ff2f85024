"""Every engine that there is, put through everything that an engine has to do."""

from __future__ import annotations

from collections.abc import Generator

import msgspec
import pytest

from tawtin.engines import manifest
from tawtin.engines.conformance import CASES, Bench, Case, try_case
from tawtin.engines.local.engine import LocalEngine
from tests.engines.benches import bench_of
from tools.slurm_cluster import Cluster, cluster


@pytest.fixture(scope="module")
def slurm() -> Generator[Cluster]:
    with cluster(nodes=2, cpus=16, gpus=4) as made:
        yield made


@pytest.fixture(scope="module")
def on_slurm(slurm: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    table = {"conf": slurm.conf, "gpus_declared": True, "look_ms": 200, "ask_ms": 500}
    return bench_of("slurm", table, tmp_path_factory.mktemp("slurm"))


@pytest.fixture(scope="module")
def on_this_machine(tmp_path_factory: pytest.TempPathFactory) -> Generator[Bench]:
    folder = tmp_path_factory.mktemp("local")
    table = {
        "expose": (str(folder / "shared"),),
        "gpus_declared": ({"model": "H100", "count": 4},),
        "cgroup": f"tawtin-{folder.name}",
        "meter_interval_ms": 200,
    }
    bench = bench_of("local", table, folder)
    yield bench
    engine = bench.make()
    assert isinstance(engine, LocalEngine)
    engine.open(lambda: None)
    engine.retire_launcher()
    engine.close()


def tried(bench: Bench, case: Case, use: str) -> None:
    if case.needs and not getattr(manifest.found()[use].manifest.capabilities, case.needs):
        pytest.skip(f"{use} does not say that it can do {case.needs}")
    assert try_case(bench, case) == ""


@pytest.mark.sandbox
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_this_machine_does_what_an_engine_has_to_do(case: Case, on_this_machine: Bench) -> None:
    tried(on_this_machine, case, "local")


@pytest.mark.slurm
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_slurm_does_what_an_engine_has_to_do(case: Case, on_slurm: Bench) -> None:
    tried(on_slurm, case, "slurm")


def test_every_manifest_lists_every_setting_with_its_default() -> None:
    for found in manifest.found().values():
        settings = manifest.load(found).Settings
        want = {field.name for field in msgspec.structs.fields(settings)}
        optional = {name for name, value in msgspec.structs.asdict(settings()).items() if value is None}
        assert set(found.manifest.settings) == want - optional
        assert msgspec.convert(found.manifest.settings, settings) == settings()
