"""What the account must be allowed to do, and whether it is: asked of the API server, which tells everybody."""

from __future__ import annotations

from typing import Final, NamedTuple

from tawtin.engines.kubernetes.client import Api
from tawtin.engines.kubernetes.settings import KubernetesSettings

_REVIEWS: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


class Right(NamedTuple):
    """To do this with things of this kind: in the namespace of runs, or (`everywhere`) in the whole cluster."""

    verb: str
    group: str
    resource: str
    everywhere: bool = False

    def __str__(self) -> str:
        """As an operator would say it."""
        kind = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{self.verb} {kind}"


def needed(settings: KubernetesSettings) -> tuple[Right, ...]:
    """Every right that these settings take."""
    found = [
        *(Right(verb, "batch", "jobs", everywhere=True) for verb in ("list", "watch")),
        *(Right(verb, "", "pods", everywhere=True) for verb in ("list", "watch")),
        *(Right(verb, "", "nodes", everywhere=True) for verb in ("list", "watch")),
        *(Right(verb, "batch", "jobs") for verb in ("get", "create", "delete")),
        Right("deletecollection", "", "pods"),
        Right("list", "", "events"),
    ]
    if not settings.one_namespace:
        found.append(Right("create", "", "namespaces", everywhere=True))
    if settings.volume:
        found += [
            *(Right(verb, "", "persistentvolumes", everywhere=True) for verb in ("get", "create")),
            Right("create", "", "persistentvolumeclaims"),
        ]
    if settings.network_policies:
        found.append(Right("create", "networking.k8s.io", "networkpolicies"))
    if settings.quota:
        found.append(Right("create", "", "resourcequotas"))
    return tuple(found)


def missing(api: Api, settings: KubernetesSettings) -> list[Right]:
    """Which of them the account has not. Raises ClusterError."""
    lost: list[Right] = []
    for right in needed(settings):
        attributes = {"verb": right.verb, "group": right.group, "resource": right.resource}
        if not right.everywhere and settings.one_namespace:
            attributes["namespace"] = settings.namespace
        review = api.call(
            "POST",
            _REVIEWS,
            {
                "apiVersion": "authorization.k8s.io/v1",
                "kind": "SelfSubjectAccessReview",
                "spec": {"resourceAttributes": attributes},
            },
        )
        if not review["status"].get("allowed"):
            lost.append(right)
    return lost
