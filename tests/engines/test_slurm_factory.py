"""A real factory on this machine and on a Slurm cluster: one spec runs on either, and nobody has to know where."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.cli.conftest import Home
from tools.slurm_cluster import cluster

pytestmark = [pytest.mark.slurm, pytest.mark.sandbox, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Generator[Home]:
    with cluster(nodes=2, cpus=8, gpus=4) as slurm:
        made = Home(tmp_path_factory.mktemp("factory") / "home")
        told = made.tawtin("init", "--name", "Nairobi", "--country", "KE", "--port", "0")
        assert told.code == 0, told.err
        settings = made.folder / "factory.toml"
        table = f'[engines.hpc]\nuse = "slurm"\nconf = "{slurm.conf}"\ngpus_declared = true\nask_ms = 500\n'
        settings.write_text(f"{settings.read_text()}\n{table}")
        made.up()
        yield made
        made.end()


def test_the_nodes_of_both_engines_are_shown(home: Home) -> None:
    nodes = {each["node"]["name"]: each["node"] for each in home.tawtin("capacity", "--json").json["nodes"]}
    assert {name: node.get("engine", "local") for name, node in nodes.items() if name.startswith("node")} == {
        "node0": "hpc",
        "node1": "hpc",
    }
    assert "local" in {node.get("engine", "local") for node in nodes.values()}


def test_what_asks_for_gpus_runs_on_the_cluster_and_its_log_comes_back(home: Home) -> None:
    out, node = home.ran("--gpus", "H100:2", "--", "sh", "-c", 'echo "gpus: $CUDA_VISIBLE_DEVICES"')
    assert "gpus: 0,1" in out
    assert node in {"node0", "node1"}


def test_a_gang_of_two_nodes_runs_on_the_cluster(home: Home, tmp_path: Path) -> None:
    spec = tmp_path / "gang.yaml"
    spec.write_text(
        "name: gang\nnum_nodes: 2\nresources: {cpus: 1, memory: 1GB, accelerators: 'H100:1'}\n"
        "run: echo rank $NODE_RANK of $NUM_NODES\n"
    )
    out, _ = home.ran(str(spec))
    assert "rank 0 of 2" in out
    assert "rank 1 of 2" in out


def test_a_wrong_setting_of_an_engine_is_named_and_nothing_starts(home: Home, tmp_path: Path) -> None:
    other = Home(tmp_path / "other")
    assert other.tawtin("init", "--name", "Lagos", "--country", "NG", "--port", "0").code == 0
    settings = other.folder / "factory.toml"
    before = settings.read_text()
    for table, says in (
        ('[engines.hpc]\nuse = "slurmm"\n', "there is no engine `slurmm`"),
        ('[engines.hpc]\nuse = "slurm"\nask = 1\n', "unknown field `ask`"),
        ('[engines.hpc]\nuse = "slurm"\nask_ms = 0\n', "engines.hpc.ask_ms"),
        ("[engines.hpc]\nask_ms = 1\n", "engines.hpc.use"),
        ('[engines.hpc]\nuse = "local"\n', "there is no engine `local`"),
        ('[engines.hpc]\nuse = "slurm"\nprograms = "/nowhere"\n', "install slurm-client"),
    ):
        settings.write_text(f"{before}\n{table}")
        told = other.tawtin("up", "--detach")
        assert told.code != 0
        assert says in told.err, (table, told.err)
        if says != "install slurm-client":  # only the engine itself knows that, when it opens
            told = other.tawtin("doctor")
            assert told.code == 1
            assert says in told.out, (table, told.out)
    other.end()


def test_each_partition_is_an_engine_with_an_account_of_its_own(tmp_path: Path) -> None:
    """On nodes that two engines have, runs go by way of the first; that is said, and nothing is offered twice."""
    partitions = "PartitionName=a100 Nodes=node0 State=UP\nPartitionName=h100 Nodes=node1 State=UP"
    with cluster(nodes=2, cpus=8, options=partitions) as slurm:
        home = Home(tmp_path / "home")
        assert home.tawtin("init", "--name", "Nairobi", "--country", "KE", "--port", "0").code == 0
        tables = [
            f'[engines.{name}]\nuse = "slurm"\nconf = "{slurm.conf}"\nask_ms = 500\n'
            f'partitions = ["{partition}"]\naccount = "{account}"\n'
            for name, partition, account in (
                ("old", "a100", "teaching"),
                ("new", "h100", "research"),
                ("rest", "all", "x"),
            )
        ]
        settings = home.folder / "factory.toml"
        settings.write_text("\n".join([settings.read_text(), *tables]))
        try:
            home.up("--set", "local.enabled=false")
            told = home.tawtin("capacity", "--json").json
            nodes = [(each["node"]["name"], each["node"]["engine"]) for each in told["nodes"]]
            assert sorted(nodes) == [("node0", "old"), ("node1", "new")]
            assert (
                "node `node0` of `rest` is left out: `old` has one of that name"
                in home.tawtin("capacity").out
            )
            spec = tmp_path / "gang.yaml"
            spec.write_text("name: half\nresources: {cpus: 8, memory: 1GB}\nrun: sleep 1\n")
            runs = [home.begin("run", "-y", str(spec)) for _ in range(2)]
            said = [run.communicate(timeout=100) for run in runs]
            assert [run.returncode for run in runs] == [0, 0], said
            jobs = slurm.client("squeue", "--states=all", "--noheader", "--format=%N %P %a").splitlines()
            assert {tuple(job.split()) for job in jobs} == {
                ("node0", "a100", "teaching"),
                ("node1", "h100", "research"),
            }
        finally:
            home.end()
