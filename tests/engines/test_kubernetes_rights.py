"""The manifest that is shipped gives the engine's account what it takes, and nothing else; what is missing is named."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from tawtin.engines import manifest
from tawtin.engines.kubernetes import rights
from tawtin.engines.kubernetes.settings import KubernetesSettings
from tawtin.model.reasons import Cause
from tawtin.ports import EngineError, EngineParts
from tawtin.store.artifacts import BlobArtifacts
from tawtin.store.blobs import LocalBlobs
from tests.engines.benches import kubernetes_bench
from tools.kubernetes_cluster import Cluster, cluster
from tools.kubernetes_nodes import FOLDERS, IMAGE, SETTINGS

pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(180)]
MANIFEST = Path("deploy/kubernetes/rbac.yaml")
PATHS = {
    "Namespace": "/api/v1/namespaces",
    "ServiceAccount": "/api/v1/namespaces/tawtin/serviceaccounts",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
}
ALL = KubernetesSettings(volume={"hostPath": {"path": "/x"}}, quota={"pods": "100"})
"""Settings that use every right."""


def things() -> list[dict[str, Any]]:
    return [cast("dict[str, Any]", each) for each in yaml.safe_load_all(MANIFEST.read_text("utf-8"))]


def role() -> dict[str, Any]:
    [found] = [each for each in things() if each["kind"] == "ClusterRole"]
    return found


def machine() -> dict[str, object]:
    """What nodes of a test's cluster could change of the machine that it runs on."""
    names = ("net/ipv4/ip_forward", *SETTINGS)
    save = shutil.which("iptables-save", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    rules = subprocess.run([save], capture_output=True, text=True, check=False).stdout if save else ""
    return {
        **{name: Path("/proc/sys", name).read_text() for name in names},
        "chains": sorted({line.split()[0] for line in rules.splitlines() if line.startswith(":")}),
        "addresses of pods": "10.231." in Path("/proc/net/fib_trie").read_text(),
        "folders": {path: _entries(path) for path in FOLDERS},
    }


def _entries(path: str) -> list[str]:
    return sorted(each.name for each in Path(path).iterdir()) if Path(path).exists() else []


@pytest.fixture(scope="module")
def machine_before() -> dict[str, object]:
    return machine()


@pytest.fixture(scope="module")
def kubernetes(machine_before: dict[str, object]) -> Generator[Cluster]:
    assert machine_before
    with cluster(nodes=1) as made:
        for each in things():
            assert made.call("POST", PATHS[each["kind"]], each), each
        yield made


def as_account(kubernetes: Cluster, seconds: int = 3600) -> str:
    """A kubeconfig of the account."""
    path = f"{PATHS['ServiceAccount']}/tawtin/token"
    asked = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": seconds},
    }
    token = kubernetes.call("POST", path, asked)["status"]["token"]
    return kubernetes.trust.kubeconfig("account", kubernetes.server, {"token": token})


def test_the_manifest_has_every_right_that_the_engine_takes_and_no_other() -> None:
    has = {
        (verb, group, resource)
        for rule in role()["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert has == {(right.verb, right.group, right.resource) for right in rights.needed(ALL)}


def test_the_engine_works_with_the_account_of_the_manifest(kubernetes: Cluster, tmp_path: Path) -> None:
    bench = kubernetes_bench(as_account(kubernetes), tmp_path, quota={"pods": "100"})
    bench.name = "account"
    bench.open()
    try:
        run, report = bench.finish("echo in a pod")
        assert (report.exit_code, bench.text(run)) == (0, "in a pod\n")
        run = bench.start("trap '' TERM; echo ready; while :; do sleep 0.1; done", stop_grace_ms=0)
        bench.says(run, "ready")
        bench.engine.stop(run, Cause.CANCELLED, 0)
        bench.end(run)
    finally:
        bench.engine.close()


def test_a_pod_that_runs_has_changed_nothing_of_the_machine(
    kubernetes: Cluster, machine_before: dict[str, object], tmp_path: Path
) -> None:
    """It has an address, and forwarding is on, in a network of the cluster's own."""
    bench = kubernetes_bench(kubernetes.kubeconfig, tmp_path)
    bench.name = "machine"
    bench.open()
    try:
        run = bench.start("cat /proc/net/fib_trie; echo there; sleep 60", stop_grace_ms=0)
        bench.says(run, "there")
        assert "10.231.0." in bench.text(run)
        assert machine() == machine_before
        bench.engine.stop(run, Cause.CANCELLED, 0)
        bench.end(run)
    finally:
        bench.engine.close()


def test_each_right_that_is_missing_is_named(kubernetes: Cluster, tmp_path: Path) -> None:
    path = f"{PATHS['ClusterRole']}/tawtin"
    bench = kubernetes_bench(as_account(kubernetes), tmp_path, quota={"pods": "100"})
    for right in rights.needed(ALL):
        less = copy.deepcopy(role())
        for rule in less["rules"]:
            if right.group in rule["apiGroups"] and right.resource in rule["resources"]:
                rule["verbs"] = [verb for verb in rule["verbs"] if verb != right.verb]
        less["rules"] = [rule for rule in less["rules"] if rule["verbs"]]
        assert kubernetes.call("PUT", path, less)
        with pytest.raises(EngineError) as error:
            kubernetes.wait(lambda: bench.open() or bench.engine.close(), "the right is not taken away", 10)
        assert f"may not {right}:" in str(error.value)
        assert "deploy/kubernetes/rbac.yaml" in str(error.value)
    assert kubernetes.call("PUT", path, role())


def test_credentials_that_are_taken_away_are_said_and_cost_no_run(
    kubernetes: Cluster, tmp_path: Path
) -> None:
    bench = kubernetes_bench(as_account(kubernetes), tmp_path)
    bench.name = "gone"
    bench.open()
    try:
        path = f"{PATHS['ClusterRole']}/tawtin"
        less = role()
        less["rules"] = [rule for rule in less["rules"] if rule["resources"] != ["jobs"]]
        order = bench.order(bench.run_id(), "echo started")
        assert kubernetes.call("PUT", path, less)
        bench.engine.ensure(order)
        bench.until(
            lambda: any("cannot create resource" in note for note in bench.engine.notes()),
            "it says what is missing",
        )
        assert kubernetes.call("PUT", path, role())
        assert bench.end(order.run).exit_code == 0
        assert bench.text(order.run) == "started\n"
    finally:
        bench.engine.close()


def test_a_token_that_nobody_issued_is_said_to_be_refused(kubernetes: Cluster, tmp_path: Path) -> None:
    kubeconfig = kubernetes.trust.kubeconfig("stranger", kubernetes.server, {"token": "of-nobody"})
    bench = kubernetes_bench(kubeconfig, tmp_path)
    bench.open()
    try:
        bench.until(
            lambda: any("does not accept the credentials" in note for note in bench.engine.notes()),
            "it says so",
        )
        assert not any("of-nobody" in note for note in bench.engine.notes())
    finally:
        bench.engine.close()


def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path) -> None:
    bench = kubernetes_bench(str(tmp_path / "nothing"), tmp_path)
    with pytest.raises(EngineError, match="set `kubeconfig`"):
        bench.open()


def said(kubeconfig: str, folder: Path, **more: object) -> list[str]:
    """What a look at the set-up finds, a line each."""
    table = {
        "kubeconfig": kubeconfig,
        "root": str(folder),
        "volume": {"hostPath": {"path": str(folder)}},
        "image": IMAGE,
        "image_pull": "Never",
        **more,
    }
    found = manifest.found()["kubernetes"]
    parts = EngineParts(
        name="k", root=str(folder), mark="probe", artifacts=BlobArtifacts(LocalBlobs(folder / "blobs"))
    )
    looked = manifest.probe(found, manifest.settings_of(found, table), parts, deep=True)
    return [f"{each.state} {each.name}: {each.found} {each.mend}" for each in looked]


def test_a_look_at_the_set_up_names_what_is_wrong_and_ends_with_a_run(
    kubernetes: Cluster, tmp_path: Path
) -> None:
    lines = said(as_account(kubernetes), tmp_path)
    assert [line.split()[0] for line in lines] == ["ok"] * len(lines), lines
    assert "Kubernetes v1." in lines[0]
    assert "a run of `true` on `node0` took" in lines[-1]
    stranger = kubernetes.trust.kubeconfig("stranger", kubernetes.server, {"token": "of-nobody"})
    for kubeconfig, what in (
        (stranger, "does not accept the credentials"),
        (str(tmp_path / "nothing"), "set `kubeconfig`"),
        (
            kubernetes.trust.kubeconfig("dead", "https://127.0.0.1:1", {"token": "x"}),
            "can be reached from here",
        ),
    ):
        [line] = said(kubeconfig, tmp_path)
        assert line.startswith("fault")
        assert what in line
    [line] = said(as_account(kubernetes), tmp_path, volume_path=str(tmp_path / "other"))
    assert "set `volume_path`" in line
