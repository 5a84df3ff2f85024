"""A real factory on this machine and on a Kubernetes: one spec runs on either, and nobody has to know where."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.cli.conftest import Home
from tools.kubernetes_cluster import cluster
from tools.kubernetes_nodes import IMAGE

pytestmark = [pytest.mark.kubernetes, pytest.mark.sandbox, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Generator[Home]:
    folder = tmp_path_factory.mktemp("factory")
    with cluster(nodes=2, gpus=4) as kubernetes:
        made = Home(folder / "home")
        told = made.tawtin("init", "--name", "Nairobi", "--country", "KE", "--port", "0")
        assert told.code == 0, told.err
        settings = made.folder / "factory.toml"
        root = folder / "shared"
        root.mkdir(mode=0o755)
        table = {
            "kubeconfig": kubernetes.kubeconfig,
            "root": str(root),
            "image": IMAGE,
            "image_pull": "Never",
        }
        lines = [f"{name} = {json.dumps(value)}" for name, value in table.items()]
        text = "\n".join(["[engines.cloud]", 'use = "kubernetes"', "gpus_declared = true", *lines])
        volume = f"[engines.cloud.volume.hostPath]\npath = {json.dumps(str(root))}\n"
        settings.write_text(f"{settings.read_text()}\n{text}\n{volume}")
        made.up()
        yield made
        made.end()


def test_what_asks_for_gpus_runs_in_a_pod_and_its_log_comes_back(home: Home) -> None:
    out, node = home.ran("--gpus", "H100:2", "--", "sh", "-c", 'echo "gpus: $NUM_GPUS_PER_NODE as $(id -u)"')
    assert "gpus: 2 as " in out
    assert "as 0" not in out
    assert node in {"node0", "node1"}


def test_the_ranks_of_a_gang_are_pods_that_reach_each_other(home: Home, tmp_path: Path) -> None:
    spec = tmp_path / "gang.yaml"
    # whose port nobody listens at says so itself: what answers is the other pod
    script = (
        'peer=$(echo "$NODE_IPS" | sed -n "$((2 - NODE_RANK))p"); '
        'said=$( (echo >"/dev/tcp/$peer/9") 2>&1 || :); [[ $said = *refused* ]]; echo "$NODE_RANK reached $peer"'
    )
    spec.write_text(
        "name: gang\nnum_nodes: 2\nresources: {cpus: 1, memory: 1GB, accelerators: 'H100:1'}\n"
        f"run: |\n  {script}\n"
    )
    out, _ = home.ran(str(spec))
    assert "0 reached 10." in out
    assert "1 reached 10." in out
