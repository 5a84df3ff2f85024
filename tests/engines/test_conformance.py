"""Every engine that there is, put through everything that an engine has to do."""

from __future__ import annotations

import json
import os
import tempfile
import tomllib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tawtin.engines import manifest
from tawtin.engines.conformance import CASES, Bench, Case, Result, put_through
from tawtin.engines.local.engine import LocalEngine
from tests.engines.benches import bench_of, kubernetes_bench
from tools import engine_table, kubernetes_cluster, ray_cluster
from tools.engine_table import LEFT_OUT, NO, YES
from tools.slurm_cluster import cluster

OWN = Path(__file__).parents[2] / "docs/how-to/engine-of-your-own"
FOUND_NOW: engine_table.Found = {}


class Trial:
    """One kind of engine that is put through all cases, some at a time, while tests wait for one after the other."""

    def __init__(
        self, use: str, make: Callable[[int], Bench], at_once: int, folders: tuple[str, ...] = ()
    ) -> None:
        self._use = use
        self._results: Iterator[Result] = put_through(
            make, manifest.found(folders)[use].manifest.capabilities, at_once=at_once
        )
        self._known: dict[str, Result] = {}

    def of(self, case: Case) -> None:
        """Fail if this case did, and skip if it is left out."""
        while case.name not in self._known:
            result = next(self._results)
            self._known[result.case.name] = result
        result = self._known[case.name]
        word = LEFT_OUT if result.left_out else NO if result.failure else YES
        FOUND_NOW.setdefault(self._use, {})[case.name] = word
        if result.left_out:
            pytest.skip(f"{self._use} does not say that it can do {case.needs}")
        assert result.failure == ""


def benches(
    use: str, folder: Path, table: Callable[[Path], dict[str, Any]], folders: tuple[str, ...] = ()
) -> Callable[[int], Bench]:
    """Benches of engines of one kind, each with a folder of its own."""

    def make(number: int) -> Bench:
        own = folder / f"{folder.name}-{number}"
        own.mkdir()
        return bench_of(use, table(own), own, folders)

    return make


@pytest.fixture(scope="module")
def on_slurm(tmp_path_factory: pytest.TempPathFactory) -> Generator[Trial]:
    with cluster(nodes=2, cpus=16, gpus=4) as made:
        table = {"conf": made.conf, "gpus_declared": True, "look_ms": 200, "ask_ms": 500}
        yield Trial("slurm", benches("slurm", tmp_path_factory.mktemp("slurm"), lambda _: table), 6)


@pytest.fixture(scope="module")
def on_ray(tmp_path_factory: pytest.TempPathFactory) -> Generator[Trial]:
    with ray_cluster.cluster(nodes=2, cpus=16, gpus=8) as made:
        table = {"address": made.url, "token_file": str(made.token_file), "gpus_declared": True}
        table |= {"look_ms": 200, "ask_ms": 500}
        yield Trial("ray", benches("ray", tmp_path_factory.mktemp("ray"), lambda _: table), 3)


@pytest.fixture(scope="module")
def on_kubernetes(tmp_path_factory: pytest.TempPathFactory) -> Generator[Trial]:
    theirs = os.environ.get("TAWTIN_KUBERNETES_SETTINGS")
    if theirs:  # somebody's cluster
        yield Trial("kubernetes", somebodys(tomllib.loads(Path(theirs).read_text("utf-8"))), 6)
        return
    folder = tmp_path_factory.mktemp("kubernetes")
    with kubernetes_cluster.cluster(nodes=2, gpus=4) as made:

        def make(number: int) -> Bench:
            own = folder / f"{folder.name}-{number}"
            own.mkdir()
            return kubernetes_bench(made.kubeconfig, own)

        yield Trial("kubernetes", make, 6)


def somebodys(table: dict[str, Any]) -> Callable[[int], Bench]:
    """Benches on a cluster that is there, in new folders below its `volume_path`."""

    def make(number: int) -> Bench:
        top = str(table["volume_path"])
        own = Path(tempfile.mkdtemp(prefix=f"tawtin-case{number}-", dir=top))
        own.chmod(0o755)
        own_table = {"expose": (str(own / "shared"),), "gpus_declared": True, **table}
        return bench_of("kubernetes", own_table, own)

    return make


@pytest.fixture(scope="module")
def on_this_machine(tmp_path_factory: pytest.TempPathFactory) -> Generator[Trial]:
    made: list[Bench] = []

    def table(folder: Path) -> dict[str, Any]:
        return {
            "expose": (str(folder / "shared"),),
            "gpus_declared": ({"model": "H100", "count": 4},),
            "cgroup": f"tawtin-{folder.name}",
            "meter_interval_ms": 200,
        }

    some = benches("local", tmp_path_factory.mktemp("local"), table)

    def make(number: int) -> Bench:
        made.append(some(number))
        return made[-1]

    yield Trial("local", make, 3)
    for bench in made:
        engine = bench.make()
        assert isinstance(engine, LocalEngine)
        engine.open(lambda: None)
        engine.retire_launcher()
        engine.close()


@pytest.mark.sandbox
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_this_machine_does_what_an_engine_has_to_do(case: Case, on_this_machine: Trial) -> None:
    on_this_machine.of(case)


@pytest.mark.slurm
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_slurm_does_what_an_engine_has_to_do(case: Case, on_slurm: Trial) -> None:
    on_slurm.of(case)


@pytest.mark.ray
@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_ray_does_what_an_engine_has_to_do(case: Case, on_ray: Trial) -> None:
    on_ray.of(case)


@pytest.mark.kubernetes
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_kubernetes_does_what_an_engine_has_to_do(case: Case, on_kubernetes: Trial) -> None:
    on_kubernetes.of(case)


@pytest.fixture(scope="module")
def on_an_own(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    table = {"look_ms": 100, "ask_ms": 300, "vanished_ms": 5_000, "cpus": 8}
    make = benches("processes", tmp_path_factory.mktemp("own"), lambda _: table, (str(OWN),))
    return Trial("processes", make, 4, (str(OWN),))


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_the_engine_of_the_how_to_does_what_an_engine_has_to_do(case: Case, on_an_own: Trial) -> None:
    on_an_own.of(case)


def test_the_engine_of_the_how_to_has_less_than_a_hundred_lines() -> None:
    assert len((OWN / "engine.py").read_text("utf-8").splitlines()) < 100


def test_the_table_in_the_docs_says_what_was_found() -> None:
    engine_table.FOUND.parent.mkdir(exist_ok=True)
    engine_table.FOUND.write_text(json.dumps(FOUND_NOW), "utf-8")
    text = engine_table.PAGE.read_text("utf-8")
    there = engine_table.on_page(text)
    for use, words in FOUND_NOW.items():
        if set(words) == {case.name for case in CASES}:
            assert there.get(use) == words, "python -m tools.engine_table"
    assert text.endswith(engine_table.table(there))


def test_every_manifest_lists_every_setting_with_its_default() -> None:
    for found in manifest.found((str(OWN),)).values():
        settings = manifest.load(found).Settings
        want = {field.name for field in msgspec.structs.fields(settings)}
        optional = {name for name, value in msgspec.structs.asdict(settings()).items() if value is None}
        assert set(found.manifest.settings) == want - optional
        assert msgspec.convert(found.manifest.settings, settings) == settings()
