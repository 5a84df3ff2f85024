"""The manifests fit Kubernetes' schemas, hold together, and ask for no right that they do not need."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tawtin.bootstrap.settings import load_settings

FOLDER = Path(__file__).parents[2] / "deploy" / "kustomize"
ENGINE = FOLDER.with_name("kustomize-engine")
OLDEST, NEWEST = "1.29", kubernetes_validate.latest_version()
"""`ReadWriteOncePod` is for everybody since 1.29."""
Manifest = dict[str, Any]


def manifests() -> dict[str, Manifest]:
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    found = {name: yaml.safe_load((FOLDER / name).read_text()) for name in listed}
    return {each["kind"]: each for each in found.values()}


def wrong(manifest: Manifest) -> list[str]:
    """What is wrong with a manifest, by the schemas of the oldest and the newest version."""
    said: list[str] = []
    for version in (OLDEST, NEWEST):
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            said.append(f"{version}: {error.message}")
    return said


def pod() -> Manifest:
    return manifests()["StatefulSet"]["spec"]["template"]["spec"]


def test_every_manifest_fits_the_schemas() -> None:
    assert {kind: said for kind, each in manifests().items() if (said := wrong(each))} == {}


def test_a_manifest_that_does_not_fit_would_be_noticed() -> None:
    broken = manifests()["StatefulSet"]
    broken["spec"]["template"]["spec"]["containers"][0]["securityContext"]["runAsNonroot"] = True
    assert len(wrong(broken)) == 2


def test_every_file_of_the_folder_is_used() -> None:
    said = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    used = {*said["resources"], *(file for each in said["configMapGenerator"] for file in each["files"])}
    assert used == {path.name for path in FOLDER.iterdir()} - {"kustomization.yaml"}


def test_the_pod_is_as_restricted_as_its_namespace_asks() -> None:
    """Pod Security Standards, restricted; and more: nothing in the image can be written, and no token is there."""
    spec, (container,) = pod(), pod()["containers"]
    assert (spec["securityContext"]["runAsNonRoot"], spec["automountServiceAccountToken"]) == (True, False)
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert all({"configMap", "emptyDir"} & set(volume) for volume in spec["volumes"])
    level = manifests()["Namespace"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
    assert level == "restricted"


def test_labels_ports_and_volumes_name_each_other() -> None:
    found, (container,) = manifests(), pod()["containers"]
    labels = found["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    for selector in (
        found["StatefulSet"]["spec"]["selector"]["matchLabels"],
        found["Service"]["spec"]["selector"],
        found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert {port["targetPort"] for port in found["Service"]["spec"]["ports"]} <= set(ports)
    there = {volume["name"] for volume in pod()["volumes"]}
    there |= {claim["metadata"]["name"] for claim in found["StatefulSet"]["spec"]["volumeClaimTemplates"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == there
    assert pod()["serviceAccountName"] == found["ServiceAccount"]["metadata"]["name"]


def test_its_settings_are_understood_and_fit_the_pod() -> None:
    said, (container,) = load_settings(FOLDER / "factory.toml"), pod()["containers"]
    assert [port["containerPort"] for port in container["ports"]] == [said.api.port]
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}
    writable = [place for place, read_only in mounts.items() if not read_only]
    assert any(Path(said.data).is_relative_to(place) for place in writable)
    home = {each["name"]: each["value"] for each in container["env"]}["TAWTIN_HOME"]
    assert container["args"] == ["up", home]
    assert mounts[home] is True
    client = yaml.safe_load((FOLDER / "client.toml").read_text().replace(" = ", ": "))
    assert {str(Path(path).parent) for path in client.values()} == {said.data}


def built_of(folder: Path) -> list[Manifest]:
    done = subprocess.run(
        ["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=True, timeout=60
    )
    return list(yaml.safe_load_all(done.stdout))


@pytest.mark.kustomize
def test_kustomize_builds_the_folder_into_manifests_that_fit() -> None:
    built = built_of(FOLDER)
    assert {each["kind"] for each in built} == {*manifests(), "ConfigMap"}
    assert {each["kind"]: said for each in built if (said := wrong(each))} == {}
    (settings,) = [each for each in built if each["kind"] == "ConfigMap"]
    assert settings["data"]["factory.toml"] == (FOLDER / "factory.toml").read_text()
    (stateful,) = [each for each in built if each["kind"] == "StatefulSet"]
    volumes = stateful["spec"]["template"]["spec"]["volumes"]
    assert settings["metadata"]["name"] in [each.get("configMap", {}).get("name") for each in volumes]


@pytest.mark.kustomize
def test_the_overlay_for_an_engine_adds_rights_a_token_and_the_volume_of_runs() -> None:
    built = built_of(ENGINE)
    assert {each["kind"]: said for each in built if (said := wrong(each))} == {}
    found = {each["kind"]: each for each in built}
    assert len(found) == len(built)
    (subject,) = found["ClusterRoleBinding"]["subjects"]
    account = found["ServiceAccount"]["metadata"]
    assert (subject["name"], subject["namespace"]) == (account["name"], account["namespace"])
    spec = found["StatefulSet"]["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is True
    assert found["ConfigMap"]["data"]["factory.toml"] == (ENGINE / "factory.toml").read_text()
    engine = load_settings(ENGINE / "factory.toml").engines["cluster"]
    assert engine["volume"] == {"nfs": found["PersistentVolume"]["spec"]["nfs"]}
    assert engine["volume_path"] in [each["mountPath"] for each in spec["containers"][0]["volumeMounts"]]
