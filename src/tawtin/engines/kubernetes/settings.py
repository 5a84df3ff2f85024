"""What an operator can set about a Kubernetes engine."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from tawtin.engines.shared.settings import ClusterSettings, Natural, Positive

Label = Annotated[str, msgspec.Meta(pattern="^[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?$")]


class KubernetesSettings(ClusterSettings, frozen=True, kw_only=True):
    """Settings of a Kubernetes engine."""

    kubeconfig: str = ""
    """Path of a kubeconfig; empty for the account of the pod that the factory runs in, else what `kubectl` uses."""
    context: str = ""
    """Which context of the kubeconfig; empty for its current one."""
    namespace: Label = "tawtin"
    """Each tenant has a namespace that begins so; with `one_namespace`, that one."""
    one_namespace: bool = False
    """All runs are in the one namespace, which an operator has made: for accounts that may not make any."""
    claim: str = "tawtin"
    """The PersistentVolumeClaim that holds `volume_path`, in every namespace that is used."""
    volume: dict[str, Any] = {}
    """Where that volume is, as in a PersistentVolume, such as `{ nfs = { server = "...", path = "..." } }`: the engine
    then makes a volume and a claim for each namespace, whose name begins with `claim`. Empty if an operator has made
    the claims."""
    volume_path: str = ""
    """Where the volume's own top is at the factory; empty for `root`, which must not lie outside of it."""
    expose: tuple[str, ...] = ()
    """Folders below `volume_path` that every run sees at the same path, and cannot change."""
    image: str = "docker.io/library/python:3.12-bookworm"
    """What runs run in: it has bash, coreutils and procps."""
    image_pull: Annotated[str, msgspec.Meta(pattern="^(IfNotPresent|Always|Never)$")] = "IfNotPresent"
    """When nodes pull it."""
    image_ms_max: Positive = 300_000
    """A run whose image cannot be pulled for so long is given up."""
    pull_secrets: tuple[str, ...] = ()
    """Secrets with which it is pulled, in every namespace that is used."""
    uid: Annotated[int, msgspec.Meta(ge=1)] = 64_000
    """User and group that pods have if the factory is root; otherwise they have the factory's."""
    gpu_resource: str = "nvidia.com/gpu"
    """The extended resource that a GPU is."""
    gpu_label: str = "nvidia.com/gpu.product"
    """The label of nodes that says which model theirs are."""
    node_labels: dict[str, str] = {}
    """Only nodes with all of these labels are used."""
    tolerate: tuple[str, ...] = ("nvidia.com/gpu",)
    """Keys of taints that do not keep runs away."""
    priority_class: str = ""
    """The PriorityClass of pods; empty for the cluster's default."""
    runtime_class: str = ""
    """The RuntimeClass of pods, such as `nvidia` or `gvisor`; empty for the cluster's default."""
    queue: str = ""
    """Kueue's LocalQueue in each namespace that Jobs wait in; empty if there is no Kueue."""
    quota: dict[str, str] = {}
    """`hard` of a ResourceQuota for each tenant's namespace, such as `{ "requests.nvidia.com/gpu" = "8" }`."""
    network_policies: bool = True
    """Each tenant's namespace refuses all traffic but that of gangs, and that of specs which ask for a network."""
    lost_ms: Positive = 60_000
    """A run whose node is silent for so long is over."""
    keep_ms: Natural = 600_000
    """How long the Jobs of ended runs stay."""
