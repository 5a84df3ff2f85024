"""What the Kubernetes engine reads and writes, without a cluster: quantities, nodes, ends, names, objects."""

from __future__ import annotations

from typing import Any

import pytest

from tawtin.engines.kubernetes import inventory, names, states
from tawtin.engines.kubernetes.manifests import Makes
from tawtin.engines.kubernetes.settings import KubernetesSettings
from tawtin.engines.shared.cluster import Holding, Phase
from tawtin.engines.shared.folders import PlanError
from tawtin.model.reasons import Cause
from tawtin.model.resources import Demand, NodeHealth, Shape, Slot
from tawtin.model.workload import WorkloadSpec
from tawtin.ports import RunOrder

READY = {"type": "Ready", "status": "True"}


@pytest.mark.parametrize(
    ("quantity", "times", "want"),
    [
        ("2", 1000, 2000), ("1500m", 1000, 1500), ("0.5", 1000, 500), (4, 1, 4), ("2Gi", 1, 2 << 30), ("1G", 1, 10**9),
        ("100n", 1000, 1), ("1e3", 1, 1000), ("128974848", 1, 128974848), ("", 1, 0), ("many", 1, 0), (None, 1, 0),
    ],
)  # fmt: skip
def test_quantities_are_read_in_every_form_that_they_have(quantity: object, times: int, want: int) -> None:
    assert inventory.amount(quantity, times) == want


def container(cpu: str, gpus: str = "0", **more: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"resources": {"requests": {"cpu": cpu, "memory": "1Mi", "nvidia.com/gpu": gpus}}, **more}


def test_a_pod_takes_the_sum_of_its_containers_or_what_its_largest_first_one_does() -> None:
    pod = {
        "spec": {
            "containers": [container("300m", "1"), container("200m")],
            "initContainers": [container("2"), container("100m", restartPolicy="Always")],
        }
    }
    assert inventory.needs(pod, "nvidia.com/gpu") == inventory.Taken(2000, 3 << 20, 1)


def node(**more: Any) -> dict[str, Any]:  # noqa: ANN401
    found: dict[str, Any] = {
        "metadata": {
            "name": "a",
            "labels": {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3", "pool": "ai"},
        },
        "spec": {},
        "status": {
            "conditions": [READY],
            "allocatable": {"cpu": "8", "memory": "16Gi", "nvidia.com/gpu": "4"},
        },
    }
    return found | more


def seen(machine: dict[str, Any], pods: list[dict[str, Any]], **settings: Any) -> Any:  # noqa: ANN401
    return inventory.nodes(
        [machine],
        pods,
        {"a": Holding(gpus=1, indices=(3,))},
        KubernetesSettings(**settings),
        engine="k",
        disk_mib=1,
        answering=True,
        is_ours=lambda _: False,
    )


def test_what_pods_of_others_have_is_not_offered_and_what_ended_counts_no_more() -> None:
    other = {"metadata": {}, "spec": {"nodeName": "a", "containers": [container("1", "1")]}, "status": {}}
    ended = other | {"status": {"phase": "Succeeded"}}
    [found] = seen(node(), [other, ended])
    assert (found.gpu_model, found.gpus, found.gpus_sick) == ("H100", 4, (2,))
    assert (found.cpus_milli, found.memory_mib, found.health) == (7000, 16383, NodeHealth.READY)


@pytest.mark.parametrize(
    ("spec", "conditions", "want"),
    [
        ({}, [READY], NodeHealth.READY),
        ({}, [{"type": "Ready", "status": "Unknown"}], NodeHealth.SICK),
        ({}, [READY, {"type": "DiskPressure", "status": "True"}], NodeHealth.SICK),
        ({"unschedulable": True, "taints": [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]},
         [READY], NodeHealth.DRAINING),
        ({"taints": [{"key": "theirs", "effect": "NoSchedule"}]}, [READY], NodeHealth.SICK),
        ({"taints": [{"key": "theirs", "effect": "PreferNoSchedule"}]}, [READY], NodeHealth.READY),
        ({"taints": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]}, [READY], NodeHealth.READY),
    ],
)  # fmt: skip
def test_a_node_takes_runs_if_its_conditions_and_taints_let_it(
    spec: dict[str, Any], conditions: list[dict[str, Any]], want: NodeHealth
) -> None:
    [found] = seen(node(spec=spec, status={"conditions": conditions, "allocatable": {}}), [])
    assert found.health is want


def test_nodes_without_the_labels_that_are_asked_for_are_left_out() -> None:
    assert seen(node(), [], node_labels={"pool": "other"}) == ()
    assert len(seen(node(), [], node_labels={"pool": "ai"})) == 1


JOB: dict[str, Any] = {"metadata": {"namespace": "n", "name": "j"}, "spec": {"completions": 1}, "status": {}}


def pod(phase: str, **status: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"metadata": {}, "spec": {"nodeName": "a"}, "status": {"phase": phase, **status}}


def ended(code: int, reason: str) -> list[dict[str, Any]]:
    return [{"state": {"terminated": {"exitCode": code, "reason": reason}}}]


def disrupted(reason: str) -> list[dict[str, Any]]:
    return [{"type": "DisruptionTarget", "status": "True", "reason": reason}]


@pytest.mark.parametrize(
    ("one", "want"),
    [
        (pod("Succeeded", containerStatuses=ended(0, "Completed")), None),
        (pod("Failed", containerStatuses=ended(3, "Error")), None),
        (pod("Failed", containerStatuses=ended(137, "OOMKilled")), Cause.OUT_OF_MEMORY),
        (pod("Failed", containerStatuses=ended(128, "StartError")), Cause.START_FAILED),
        (pod("Failed", containerStatuses=ended(137, "ContainerStatusUnknown")), Cause.NODE_FAILED),
        (pod("Failed", reason="Evicted"), Cause.NODE_FAILED),
        (pod("Failed", reason="OutOfcpu"), Cause.ENGINE_ENDED),
        (pod("Failed", reason="DeadlineExceeded"), Cause.TIME_LIMIT),
        (pod("Failed", conditions=disrupted("PreemptionByScheduler")), Cause.PREEMPTED),
        (pod("Failed", conditions=disrupted("EvictionByEvictionAPI")), Cause.DRAINED),
        (pod("Failed", conditions=disrupted("DeletionByTaintManager")), Cause.NODE_FAILED),
    ],
)
def test_why_a_pod_ended_is_told_by_its_conditions_reasons_and_codes(
    one: dict[str, Any], want: Cause | None
) -> None:
    found = states.job_of("r", "n/j", JOB, [one], ran=True, ready={"a": True})
    assert (found.phase, found.cause) == (Phase.OVER, want)


def test_a_pod_that_is_to_end_where_nobody_answers_is_lost_and_elsewhere_runs_on() -> None:
    going = pod("Running") | {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}
    lost = states.job_of("r", "n/j", JOB, [going], ran=True, ready={"a": False})
    assert (lost.phase, lost.cause) == (Phase.OVER, Cause.NODE_FAILED)
    assert states.job_of("r", "n/j", JOB, [going], ran=True, ready={"a": True}).phase is Phase.RUNS
    assert states.job_of("r", "n/j", JOB, [pod("Running")], ran=True, ready={"a": False}).phase is Phase.RUNS


def test_names_are_short_and_differ_wherever_what_they_name_does() -> None:
    runs = ["wl-a.1", "wl-a-1", "WL-A.1", "wl-" + "x" * 200 + ".1", "wl-" + "x" * 200 + ".2", "é"]
    made = [names.job_of("m", run) for run in runs]
    assert len(set(made)) == len(runs)
    assert all(len(name) <= 50 and name[0] == "t" and name.replace("-", "").isalnum() for name in made)
    assert names.job_of("m", "wl-a.1") != names.job_of("n", "wl-a.1")
    spaces = [names.namespace_of("tawtin", tenant) for tenant in ("a", "A", "b" * 100, "-")]
    assert len(set(spaces)) == 4
    assert all(len(name) <= 63 and not name.endswith("-") for name in spaces)


def order(nodes: int = 1, **spec: Any) -> RunOrder:  # noqa: ANN401
    shape = Shape(gpu_model="H100", gpus=2, cpus_milli=1500, memory_mib=512)
    return RunOrder(
        run="wl-a.1",
        workload="wl-a",
        tenant="Ministry of Health",
        tenant_number=1,
        epoch=1,
        spec=WorkloadSpec(name="a", run="true", demand=Demand(nodes=nodes, options=(shape,)), **spec),
        shape=shape,
        slots=tuple(Slot(node=f"node{number}", gpus=(0, 1)) for number in range(nodes)),
    )


def test_a_run_sees_its_own_folder_alone_and_has_no_rights() -> None:
    makes = Makes(KubernetesSettings(), "mark", "/shared/tawtin", 64_000)
    job = makes.job(order(), "/shared/tawtin/runs/wl-a.1")
    spec = job["spec"]["template"]["spec"]
    [one] = spec["containers"]
    assert one["volumeMounts"][0]["subPath"] == "runs/wl-a.1"
    assert one["resources"]["limits"] == {"cpu": "1500m", "memory": "512Mi", "nvidia.com/gpu": "2"}
    assert one["resources"]["limits"] == one["resources"]["requests"]
    assert one["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["automountServiceAccountToken"] is False
    assert job["spec"]["backoffLimit"] == 0


def test_a_gang_has_a_pod_on_each_of_its_nodes() -> None:
    makes = Makes(KubernetesSettings(), "mark", "/shared/tawtin", 64_000)
    job = makes.job(order(nodes=3), "/shared/tawtin/runs/wl-a.1")
    assert (job["spec"]["completions"], job["spec"]["parallelism"]) == (3, 3)
    affinity = job["spec"]["template"]["spec"]["affinity"]
    assert "podAntiAffinity" in affinity
    terms = affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert [term["matchFields"][0]["values"] for term in terms] == [["node0"], ["node1"], ["node2"]]


def test_a_folder_outside_of_the_volume_is_refused() -> None:
    with pytest.raises(PlanError, match="set `volume_path`"):
        Makes(KubernetesSettings(volume_path="/other"), "mark", "/shared/tawtin", 64_000)
    with pytest.raises(PlanError, match="/etc"):
        Makes(KubernetesSettings(expose=("/etc",)), "mark", "/shared/tawtin", 64_000)


@pytest.mark.parametrize(
    ("said", "want"),
    [
        ('pods "a" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true', True),
        ('pods "a" is forbidden: exceeded quota: lab, requested: cpu=2, used: cpu=8, limited: cpu=8', False),
        (
            'pods is forbidden: User "system:job-controller" cannot create resource "pods" in API group ""',
            False,
        ),
        ("Internal error occurred: failed calling webhook", False),
        ("", False),
    ],
)
def test_a_refusal_of_pods_lasts_or_it_does_not(said: str, want: bool) -> None:
    assert states.lasts(said and f"Error creating: {said}") is want
