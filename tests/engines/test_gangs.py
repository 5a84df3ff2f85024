"""What gangs are for: programs whose ranks meet, on each engine that has several nodes; and programs of Ray's own."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tawtin.engines.conformance import Bench
from tawtin.model.workload import Outcome
from tests.engines.benches import bench_of
from tools import ray_cluster, slurm_cluster

pytestmark = pytest.mark.timeout(240)

TRAIN = """
import json, os
import torch
import torch.distributed as dist

dist.init_process_group("gloo", rank=int(os.environ["NODE_RANK"]), world_size=int(os.environ["NUM_NODES"]))
torch.manual_seed(dist.get_rank())
model = torch.nn.Linear(4, 1)
for parameter in model.parameters():
    dist.broadcast(parameter.data, 0)
features = torch.randn(256, 4)
labels = features @ torch.tensor([[1.0], [2.0], [3.0], [4.0]])
for _ in range(200):
    loss = torch.nn.functional.mse_loss(model(features), labels)
    model.zero_grad()
    loss.backward()
    for parameter in model.parameters():
        dist.all_reduce(parameter.grad)
        parameter.data -= 0.1 * parameter.grad / dist.get_world_size()
weights = [round(float(each), 3) for each in model.weight.data[0]]
print(json.dumps({"rank": dist.get_rank(), "weights": weights, "loss": float(loss)}), flush=True)
"""
JAX = Path(__file__).parents[2] / ".make" / "jax" / "bin" / "python"
ADDS = """
import json, os
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
jax.distributed.initialize(where, int(os.environ["NUM_NODES"]), int(os.environ["NODE_RANK"]))
rank = jax.process_index()
mesh = Mesh(np.array(jax.devices()), ("ranks",))
own = np.arange(4, dtype=np.float32)[None] + 10 * rank
rows = jax.make_array_from_process_local_data(NamedSharding(mesh, PartitionSpec("ranks")), own)
total = jax.jit(lambda each: each.sum(0), out_shardings=NamedSharding(mesh, PartitionSpec()))(rows)
said = {"rank": rank, "ranks": jax.process_count(), "sum": np.asarray(total.addressable_data(0)).tolist()}
print(json.dumps(said), flush=True)
"""
RAY_PROGRAM = """
import ray
ray.init(address="auto")
print("nodes", len({node["NodeID"] for node in ray.nodes() if node["Alive"]}))
print("squares", ray.get([ray.remote(lambda n: n * n).remote(n) for n in range(4)]))
"""
WORKERS = """
import os, ray, time
ray.init()

@ray.remote(num_cpus=4, scheduling_strategy="SPREAD")
def where():
    time.sleep(3)  # so that one node does not do both
    return ray.util.get_node_ip_address()

places = set(ray.get([where.remote() for _ in range(2)]))
print("workers at", len(places), "nodes of", os.environ["NUM_NODES"])
"""


@contextmanager
def on(use: str, folder: Path, table: dict[str, Any]) -> Generator[Bench]:
    bench = bench_of(use, {"look_ms": 200, "ask_ms": 500, **table}, folder)
    bench.name = "gang"
    bench.open()
    try:
        yield bench
    finally:
        bench.engine.close()


@pytest.fixture(scope="module")
def on_slurm(tmp_path_factory: pytest.TempPathFactory) -> Generator[Bench]:
    with (
        slurm_cluster.cluster(nodes=2, cpus=4) as made,
        on("slurm", tmp_path_factory.mktemp("slurm"), {"conf": made.conf}) as bench,
    ):
        yield bench


@pytest.fixture(scope="module")
def on_ray(tmp_path_factory: pytest.TempPathFactory) -> Generator[Bench]:
    with ray_cluster.cluster(nodes=2, cpus=4) as made:
        table = {"address": made.url, "token_file": str(made.token_file)}
        with on("ray", tmp_path_factory.mktemp("ray"), table) as bench:
            yield bench


def trains(bench: Bench) -> None:
    """Two ranks with different data end with the same, and the right, model."""
    (bench.shared / "train.py").write_text(TRAIN)
    script = f"GLOO_SOCKET_IFNAME=lo exec /usr/bin/python3 {bench.shared}/train.py"
    run, report = bench.finish(script, nodes=2, max_duration_ms=90_000)
    text = bench.text(run)
    assert (report.outcome, report.exit_code) == (Outcome.FINISHED, 0), text
    said = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    assert sorted(each["rank"] for each in said) == [0, 1]
    assert said[0]["weights"] == said[1]["weights"] == [1.0, 2.0, 3.0, 4.0]


def adds(bench: Bench) -> None:
    """Two ranks of JAX add up what each of them alone has."""
    (bench.shared / "adds.py").write_text(ADDS)
    script = f"JAX_PLATFORMS=cpu exec {JAX} {bench.shared}/adds.py"
    run = bench.start(script, nodes=2, max_duration_ms=120_000)
    bench.says(run, '"sum"')  # both have imported JAX by then, which takes longest
    report = bench.end(run)
    text = bench.text(run)
    assert (report.outcome, report.exit_code) == (Outcome.FINISHED, 0), text
    said = [json.loads(line[line.index("{") :]) for line in text.splitlines() if '{"rank"' in line]
    want = [{"rank": rank, "ranks": 2, "sum": [10.0, 12.0, 14.0, 16.0]} for rank in (0, 1)]
    assert sorted(said, key=lambda each: each["rank"]) == want, text


@pytest.mark.slurm
@pytest.mark.jax
def test_the_ranks_of_a_gang_on_slurm_add_up_with_jax(on_slurm: Bench) -> None:
    adds(on_slurm)


@pytest.mark.ray
@pytest.mark.jax
def test_the_ranks_of_a_gang_on_ray_add_up_with_jax(on_ray: Bench) -> None:
    adds(on_ray)


@pytest.mark.slurm
@pytest.mark.torch
def test_a_gang_on_slurm_trains_one_model(on_slurm: Bench) -> None:
    trains(on_slurm)


@pytest.mark.ray
@pytest.mark.torch
def test_a_gang_on_ray_trains_one_model(on_ray: Bench) -> None:
    trains(on_ray)


@pytest.mark.ray
def test_a_program_of_rays_own_runs_as_it_is(on_ray: Bench) -> None:
    (on_ray.shared / "program.py").write_text(RAY_PROGRAM)
    run, report = on_ray.finish(f"exec python {on_ray.shared}/program.py")
    text = on_ray.text(run)
    assert (report.outcome, report.exit_code) == (Outcome.FINISHED, 0), text
    assert "nodes 3" in text
    assert "squares [0, 1, 4, 9]" in text


@pytest.mark.ray
def test_a_rank_of_a_gang_has_the_ray_of_its_cluster(on_ray: Bench) -> None:
    line = "import ray; ray.init(); print('rank sees', len(ray.nodes()))"
    run, report = on_ray.finish(f'[ "$NODE_RANK" = 0 ] || exec python -c "{line}"', nodes=2)
    text = on_ray.text(run)
    assert report.exit_code == 0, text
    assert "rank sees 3" in text


@pytest.mark.ray
def test_a_program_of_rays_own_has_for_its_workers_what_the_run_asked_for(on_ray: Bench) -> None:
    (on_ray.shared / "workers.py").write_text(WORKERS)
    run, report = on_ray.finish(
        f"exec python {on_ray.shared}/workers.py", nodes=2, envs={"TAWTIN_RAY_DRIVER": "1"}
    )
    text = on_ray.text(run)
    assert (report.outcome, report.exit_code) == (Outcome.FINISHED, 0), text
    assert text.count("workers at 2 nodes of 2") == 1, text
