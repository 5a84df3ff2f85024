"""A cluster's nodes as nodes of the factory: what pods of others have of them is not offered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from tawtin.engines.kubernetes.settings import KubernetesSettings
from tawtin.engines.kubernetes.states import is_over
from tawtin.engines.kubernetes.things import Object, labels_of, name_of, rows, table, text
from tawtin.engines.shared import inventory
from tawtin.engines.shared.cluster import Holding
from tawtin.engines.shared.gpus import canonical_model
from tawtin.engines.shared.inventory import Amount
from tawtin.model.resources import Node, NodeHealth

_PRESSURES: Final = frozenset({"MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable"})
_UNITS: Final = {
    "n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15,
    "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "Pi": 1 << 50,
}  # fmt: skip


class Taken(NamedTuple):
    """What pods have of a node."""

    cpus_milli: int = 0
    memory_bytes: int = 0
    gpus: int = 0


def nodes(
    machines: Iterable[Object],
    pods: Iterable[Object],
    ours: Mapping[str, Holding],
    settings: KubernetesSettings,
    *,
    engine: str,
    disk_mib: int,
    answering: bool,
    is_ours: Callable[[Object], bool],
) -> tuple[Node, ...]:
    """Nodes with the labels that are asked for. `disk_mib` is free where runs have their folders."""
    taken = _taken((pod for pod in pods if not is_ours(pod)), settings.gpu_resource)
    found: list[Node] = []
    for machine in sorted(machines, key=name_of):
        name, labels = name_of(machine), labels_of(machine)
        if not settings.node_labels.items() <= labels.items():
            continue
        has = table(machine, "status", "allocatable")
        foreign = taken.get(name, Taken())
        sick = not answering or sickness(machine, settings.tolerate) != ""
        found.append(
            inventory.node(
                name,
                Amount(
                    cpus_milli=amount(has.get("cpu", "0"), 1000),
                    memory_mib=amount(has.get("memory", "0")) >> 20,
                    gpus=amount(has.get(settings.gpu_resource, "0")),
                ),
                Amount(
                    cpus_milli=foreign.cpus_milli,
                    memory_mib=-(-foreign.memory_bytes >> 20),
                    gpus=foreign.gpus,
                ),
                ours.get(name, Holding()),
                engine=engine,
                gpu_model=model_of(machine, settings.gpu_label),
                declared=settings.gpus_declared,
                disk_mib=disk_mib,
                health=_health(machine, sick=sick),
            )
        )
    return tuple(found)


def model_of(machine: Object, label: str) -> str:
    """The model of a node's GPUs as specs name it; empty if no label says it."""
    said = labels_of(machine).get(label, "")
    return canonical_model(said) if said else ""


def _health(machine: Object, *, sick: bool) -> NodeHealth:
    if sick:
        return NodeHealth.SICK
    return NodeHealth.DRAINING if table(machine, "spec").get("unschedulable") else NodeHealth.READY


def sickness(machine: Object, tolerate: Iterable[str]) -> str:
    """Why a node takes no runs; empty if it does."""
    conditions = {text(each, "type"): each for each in rows(machine, "status", "conditions")}
    ready = conditions.get("Ready", {})
    if ready.get("status") != "True":
        return text(ready, "message") or "it is not ready"
    for name in sorted(_PRESSURES & conditions.keys()):
        if conditions[name].get("status") == "True":
            return f"{name}: {conditions[name].get('message', '')}"
    keeps = [
        text(taint, "key")
        for taint in rows(machine, "spec", "taints")
        if taint.get("effect") in {"NoSchedule", "NoExecute"}
        and taint.get("key") not in {*tolerate, "node.kubernetes.io/unschedulable"}
    ]
    return f"its taint `{keeps[0]}` keeps runs away" if keeps else ""


def _taken(pods: Iterable[Object], gpu_resource: str) -> dict[str, Taken]:
    found: dict[str, Taken] = {}
    for pod in pods:
        node = text(pod, "spec", "nodeName")
        if not node or is_over(pod):
            continue
        had, more = found.get(node, Taken()), needs(pod, gpu_resource)
        found[node] = Taken(*(a + b for a, b in zip(had, more, strict=True)))
    return found


def needs(pod: Object, gpu_resource: str) -> Taken:
    """What a pod asks for: the sum of its containers, or what the largest of its first ones asks for."""
    inits = rows(pod, "spec", "initContainers")
    kept = [each for each in inits if each.get("restartPolicy") == "Always"]
    first = [each for each in inits if each.get("restartPolicy") != "Always"]

    def of(container: Object) -> Taken:
        asked = table(container, "resources", "requests")
        return Taken(
            amount(asked.get("cpu", "0"), 1000),
            amount(asked.get("memory", "0")),
            amount(asked.get(gpu_resource, "0")),
        )

    together = [of(each) for each in [*rows(pod, "spec", "containers"), *kept]]
    largest = [of(each) for each in first]
    sums = (sum(parts) for parts in zip(*together, strict=True)) if together else Taken()
    most = (max(parts) for parts in zip(*largest, strict=True)) if largest else Taken()
    return Taken(*(max(a, b) for a, b in zip(sums, most, strict=True)))


def amount(quantity: Any, times: int = 1) -> int:  # noqa: ANN401 - text, or a number, as JSON has it
    """A quantity of Kubernetes, such as `1500m` or `2Gi`, in whole units of one part in `times`, rounded up."""
    words = str(quantity).strip()
    unit = words.lstrip("+-0123456789.")
    number = words[: len(words) - len(unit)]
    if unit[:1] in {"e", "E"} and unit[1:].lstrip("+-").isdecimal():
        return -(-int(float(words) * times) // 1)
    if not number or unit not in _UNITS:
        return 0
    scaled = float(number) * float(_UNITS[unit]) * times
    whole = int(scaled)
    return whole + (scaled - whole > 1e-6)
