"""A factory in a Kubernetes cluster that is its engine as well: the overlay, applied to a real one as it is shipped.

Its pod runs bash instead of a factory; what the kubelet gave it is then what an engine on this machine works with, at
the place where it would be in the pod.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from tools.kubernetes_cluster import Cluster, cluster
from tools.kubernetes_nodes import IMAGE

ROOT = Path(__file__).parents[2]
OVERLAY = ROOT / "deploy" / "kustomize-engine"
pytestmark = [
    pytest.mark.kubernetes,
    pytest.mark.kustomize,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not shutil.which("unshare"), reason="needs: unshare (Debian package util-linux)"),
]

HERE = """\
resources: [{overlay}, data.yaml]
images:
  - {{name: registry.example/tawtin, newName: {image}, newTag: "{tag}"}}
patches:
  - target: {{kind: PersistentVolume, name: tawtin-shared}}
    patch: |
      - {{op: remove, path: /spec/nfs}}
      - {{op: add, path: /spec/hostPath, value: {{path: {shared}}}}}
  - target: {{kind: StatefulSet}}
    patch: |
      - {{op: add, path: /spec/template/spec/containers/0/command, value: [/bin/bash, -c]}}
      - op: replace
        path: /spec/template/spec/containers/0/args
        value: ["env >/shared/environment && sleep 600 & wait"]
"""
DATA = """\
apiVersion: v1
kind: PersistentVolume
metadata: {{name: data}}
spec:
  capacity: {{storage: 100Gi}}
  accessModes: [ReadWriteOncePod]
  hostPath: {{path: {data}}}
"""


@pytest.fixture(scope="module")
def kubernetes() -> Generator[Cluster]:
    with cluster(nodes=2, gpus=2) as made:
        yield made


def apply(kubernetes: Cluster, folder: Path, shared: Path) -> None:
    """Apply the overlay with what this cluster lacks: storage, and an image with tawtin in it."""
    data = folder / "data"
    data.mkdir()
    image, _, tag = IMAGE.rpartition(":")
    words = {"overlay": os.path.relpath(OVERLAY, folder), "image": image, "tag": tag, "shared": shared}
    (folder / "kustomization.yaml").write_text(HERE.format(**words))
    (folder / "data.yaml").write_text(DATA.format(data=data))
    done = subprocess.run(
        ["kubectl", f"--kubeconfig={kubernetes.kubeconfig}", "apply", "-k", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def given(kubernetes: Cluster) -> Path:
    """The folder that the kubelet mounted into the factory's pod: its token, and whom to trust."""
    for node in kubernetes.node_set.names:
        seen = Path("/proc", str(kubernetes.processes[f"containerd-{node}"].pid), "root")
        pods = seen / kubernetes.folder.relative_to("/") / node / "kubelet" / "pods"
        for found in pods.glob("*/volumes/kubernetes.io~projected/*/token"):
            return found.parent
    raise AssertionError("no pod was given a token")


def test_its_pod_is_given_all_that_the_engine_needs(kubernetes: Cluster, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    apply(kubernetes, tmp_path, shared)
    said = shared / "environment"
    pods = "/api/v1/namespaces/tawtin/pods"
    kubernetes.wait(
        lambda: said.exists() and said.stat().st_size,
        f"the pod does not run: {kubernetes.call('GET', pods)}",
        60,
    )
    assert "KUBERNETES_SERVICE_HOST=" in said.read_text()
    assert said.stat().st_uid == 10001

    place = tmp_path / "run" / "secrets" / "kubernetes.io" / "serviceaccount"
    place.mkdir(parents=True)
    for name in ("token", "ca.crt"):
        (place / name).write_bytes((given(kubernetes) / name).read_bytes())
    settings = (OVERLAY / "factory.toml").read_text()
    nfs = settings[settings.index("[engines.cluster.volume.nfs]") : settings.index("[local]")]
    for theirs, ours in (
        (nfs, ""),
        ("/shared", str(shared)),
        ("/var/lib/tawtin", str(tmp_path)),
        (
            '"docker.io/library/python:3.12-bookworm"',
            f'"{IMAGE}"\ngpus_declared = true\nimage_pull = "Never"',
        ),
    ):
        assert theirs in settings
        settings = settings.replace(theirs, ours)
    volume = f"\n[engines.cluster.volume.hostPath]\npath = {json.dumps(str(shared))}\n"
    (tmp_path / "factory.toml").write_text(settings + volume)
    host, port = kubernetes.server.removeprefix("https://").split(":")
    env = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    env |= {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port, "HOME": str(tmp_path)}
    done = subprocess.run(
        [
            *("unshare", "--mount", "--propagation", "private", "sh", "-ec"),
            *('mount --bind "$1" /run; shift; exec "$@"', "sh", str(tmp_path / "run")),
            *(sys.executable, "-m", "tawtin", "engine", "check", "cluster", "--cases"),
            *("--dir", str(tmp_path)),
        ],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
