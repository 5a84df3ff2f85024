"""A look at what is special about a Kubernetes set-up: credentials, API server and version, rights, the volume."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from tawtin.engines.kubernetes import rights
from tawtin.engines.kubernetes.client import Api
from tawtin.engines.kubernetes.settings import KubernetesSettings
from tawtin.engines.kubernetes.things import text
from tawtin.engines.shared.cluster import ClusterError
from tawtin.model.findings import Finding, fault, ok, warning
from tawtin.ports import EngineError

_OLDEST: Final = (1, 29)


def look(settings: KubernetesSettings) -> Iterator[Finding]:
    """Everything that the API server can tell without a run; a fault is the last that is said."""
    try:
        api = Api(settings)
    except EngineError as error:
        yield fault("credentials", str(error), "set `kubeconfig` to a file that `kubectl` works with")
        return
    try:
        yield from _server(api, settings)
    except ClusterError as error:
        mend = "see whether it is up and can be reached from here, and whether the credentials are still good"
        yield fault("API server", f"{api.server}: {error}", mend)
    finally:
        api.close()


def _server(api: Api, settings: KubernetesSettings) -> Iterator[Finding]:
    version = text(api.call("GET", "/version"), "gitVersion")
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < _OLDEST:
        yield fault("API server", f"Kubernetes {version} is older than 1.29", "update the cluster")
        return
    lost = rights.missing(api, settings)
    if lost:
        said = f"the account may not {', '.join(map(str, lost))}"
        yield fault("rights", said, "kubectl apply -f deploy/kubernetes/rbac.yaml")
        return
    yield ok("API server", f"{api.server}, Kubernetes {version}")
    yield ok("rights", "the account may do all that these settings take")
    if not settings.volume:
        said = f"nobody looks whether the claim `{settings.claim}` is in every namespace that is used"
        yield warning("volume", said, "set `volume`, and claims are made; or make them before the first run")
