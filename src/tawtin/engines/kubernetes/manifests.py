"""From orders to the objects that Kubernetes is given: a Job, and what a tenant's namespace has beside it."""

from __future__ import annotations

import os
from typing import Final

from tawtin.engines.kubernetes import names
from tawtin.engines.kubernetes.settings import KubernetesSettings
from tawtin.engines.kubernetes.things import Object, labels_of
from tawtin.engines.kubernetes.ways import SCRIPT
from tawtin.engines.shared.folders import PlanError
from tawtin.ports import RunOrder

VOLUMES: Final = "/api/v1/persistentvolumes"
_SPARE_S: Final = 120
"""Added to the deadline of pods: the run's limit is kept to the second by its script; this one is for its loss."""
_SCRIPT_S: Final = 5
"""Beyond the grace of a run, so that its script can write down how it ended."""


class Makes:
    """Objects for one engine."""

    def __init__(self, settings: KubernetesSettings, mark: str, root: str, uid: int) -> None:
        """`root` has the runs, and lies on the volume. Raises PlanError."""
        self._settings = settings
        self._mark = names.short(mark, 40)
        self._top = os.path.normpath(settings.volume_path or root)
        self._uid = uid
        self._claim_name = names.short(f"{settings.claim}-{mark}", 60) if settings.volume else settings.claim
        self.selector = f"{names.MARK}={self._mark}"
        for path in (root, *settings.expose):
            self._below(path)

    def _below(self, path: str) -> str:
        found = os.path.relpath(path, self._top)
        if found.startswith(".."):
            raise PlanError(f"`{path}` is not below `{self._top}`, the top of the volume; set `volume_path`")
        return found

    def namespace_of(self, tenant: str) -> str:
        """Where a tenant's runs are."""
        prefix = self._settings.namespace
        return prefix if self._settings.one_namespace else names.namespace_of(prefix, tenant)

    def is_ours(self, thing: Object) -> bool:
        """Whether an object is of a run of ours."""
        return labels_of(thing).get(names.MARK) == self._mark

    # --- a run -------------------------------------------------------------------------------------------------------

    def job(self, order: RunOrder, folder: str) -> Object:
        """The Job of a run that lives in this folder."""
        settings, spec, count = self._settings, order.spec, len(order.slots)
        labels = {
            names.MARK: self._mark,
            "tawtin/run-short": names.short(order.run, 60),
            names.TENANT: names.short(order.tenant, 60),
            names.EPOCH: str(order.epoch),
            names.GANG: "yes" if count > 1 else "no",
            names.NETWORK: "open" if spec.network else "closed",
        }
        annotations = {names.RUN: order.run}
        grace_s = -(-spec.stop_grace_ms // 1000) + _SCRIPT_S
        body: Object = {
            "completions": count,
            "parallelism": count,
            "completionMode": "Indexed",
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "ttlSecondsAfterFinished": settings.keep_ms // 1000,
            "template": {
                "metadata": {"labels": labels, "annotations": annotations},
                "spec": self._pod(order, folder, grace_s),
            },
        }
        if settings.queue:
            body["suspend"] = True
            labels = {**labels, "kueue.x-k8s.io/queue-name": settings.queue}
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "name": names.job_of(self._mark, order.run),
                "namespace": self.namespace_of(order.tenant),
                "labels": labels,
                "annotations": annotations,
            },
            "spec": body,
        }

    def _pod(self, order: RunOrder, folder: str, grace_s: int) -> Object:
        settings = self._settings
        wanted = sorted({slot.node for slot in order.slots})
        affinity: Object = {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [
                        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}
                        for name in wanted
                    ]
                }
            }
        }
        if len(wanted) == len(order.slots) > 1:  # each rank has a node of its own
            affinity["podAntiAffinity"] = {
                "requiredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "topologyKey": "kubernetes.io/hostname",
                        "labelSelector": {"matchLabels": {"tawtin/run-short": names.short(order.run, 60)}},
                    }
                ]
            }
        lost_s = settings.lost_ms // 1000
        silent = [
            {
                "key": f"node.kubernetes.io/{key}",
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": lost_s,
            }
            for key in ("not-ready", "unreachable")
        ]
        pod: Object = {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": grace_s,
            "affinity": affinity,
            "tolerations": [*silent, *({"key": key, "operator": "Exists"} for key in settings.tolerate)],
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": self._uid,
                "runAsGroup": self._uid,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "volumes": [
                {"name": "runs", "persistentVolumeClaim": {"claimName": self._claim_name}},
                {"name": "memory", "emptyDir": {"medium": "Memory"}},
            ],
            "containers": [self._container(order, folder)],
        }
        if order.spec.max_duration_ms is not None:
            pod["activeDeadlineSeconds"] = -(-order.spec.max_duration_ms // 1000) + grace_s + _SPARE_S
        for key, value in (
            ("priorityClassName", settings.priority_class),
            ("runtimeClassName", settings.runtime_class),
            ("imagePullSecrets", [{"name": name} for name in settings.pull_secrets]),
        ):
            if value:
                pod[key] = value
        return pod

    def _container(self, order: RunOrder, folder: str) -> Object:
        settings, shape = self._settings, order.shape
        resources = {"cpu": f"{max(1, shape.cpus_milli)}m", "memory": f"{max(1, shape.memory_mib)}Mi"}
        gpus = max((len(slot.gpus) for slot in order.slots), default=0)
        if gpus:
            resources[settings.gpu_resource] = str(gpus)
        mounts: list[Object] = [
            {"name": "runs", "mountPath": folder, "subPath": self._below(folder)},
            {"name": "memory", "mountPath": "/dev/shm"},  # noqa: S108 - where programs expect it
        ]
        mounts += [
            {"name": "runs", "mountPath": path, "subPath": self._below(path), "readOnly": True}
            for path in settings.expose
        ]
        return {
            "name": "run",
            "image": settings.image,
            "imagePullPolicy": settings.image_pull,
            "command": ["/bin/bash", f"{folder}/scripts/{SCRIPT}"],
            "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
            "resources": {"requests": resources, "limits": dict(resources)},
            "volumeMounts": mounts,
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }

    # --- a tenant ----------------------------------------------------------------------------------------------------

    def around(self, namespace: str) -> list[tuple[str, Object]]:
        """(path, object) of what a tenant's namespace is and has, in the order in which it is made."""
        settings = self._settings
        found: list[tuple[str, Object]] = []
        if not settings.one_namespace:
            found.append(("/api/v1/namespaces", _namespace(namespace)))
        inside = f"/api/v1/namespaces/{namespace}"
        if settings.volume:
            found += [
                (VOLUMES, self._volume(namespace)),
                (f"{inside}/persistentvolumeclaims", self._claim(namespace)),
            ]
        if settings.network_policies:
            path = f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies"
            found += [(path, policy) for policy in _policies(namespace)]
        if settings.quota:
            quota = _object("v1", "ResourceQuota", "tawtin", namespace)
            found.append((f"{inside}/resourcequotas", quota | {"spec": {"hard": dict(settings.quota)}}))
        return found

    def _volume(self, namespace: str) -> Object:
        return {
            **_object("v1", "PersistentVolume", names.short(f"{self._mark}-{namespace}", 60), ""),
            "spec": {
                **self._settings.volume,
                "capacity": {"storage": "1Ti"},
                "accessModes": ["ReadWriteMany"],
                "persistentVolumeReclaimPolicy": "Retain",
                "storageClassName": "",
                "claimRef": {"namespace": namespace, "name": self._claim_name},
            },
        }

    def _claim(self, namespace: str) -> Object:
        return {
            **_object("v1", "PersistentVolumeClaim", self._claim_name, namespace),
            "spec": {
                "accessModes": ["ReadWriteMany"],
                "resources": {"requests": {"storage": "1Ti"}},
                "storageClassName": "",
                "volumeName": names.short(f"{self._mark}-{namespace}", 60),
            },
        }


def _object(version: str, kind: str, name: str, namespace: str) -> Object:
    place = {"namespace": namespace} if namespace else {}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **place}}


def _namespace(name: str) -> Object:
    """Pod Security `restricted`: what a pod here may not have, the API server refuses."""
    thing = _object("v1", "Namespace", name, "")
    thing["metadata"]["labels"] = {
        f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")
    }
    return thing


def _policies(namespace: str) -> list[Object]:
    """Nothing comes in or goes out, but between the ranks of gangs, and out of runs that ask for a network."""
    gang = {"matchLabels": {names.GANG: "yes"}}
    specs: dict[str, Object] = {
        "tawtin-closed": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
        "tawtin-gang": {
            "podSelector": gang,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [{"podSelector": gang}]}],
            "egress": [{"to": [{"podSelector": gang}]}],
        },
        "tawtin-open": {
            "podSelector": {"matchLabels": {names.NETWORK: "open"}},
            "policyTypes": ["Egress"],
            "egress": [{}],
        },
    }
    version = "networking.k8s.io/v1"
    return [
        _object(version, "NetworkPolicy", name, namespace) | {"spec": spec} for name, spec in specs.items()
    ]
