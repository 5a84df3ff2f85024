"""The table of all routes."""

from __future__ import annotations

from typing import Any, Final

from tawtin.model.artifact import Artifact
from tawtin.model.gateway import EndpointsView, TokensUsed
from tawtin.model.health import Quarantine
from tawtin.model.introduction import Introduction
from tawtin.model.requests import (
    ArtifactFilter,
    ArtifactNew,
    Digests,
    DigitsHeard,
    EventRange,
    EventStart,
    ForTenant,
    InvitationNew,
    JoinNew,
    KeyNew,
    LocalisationFilter,
    LogRange,
    Lost,
    NodeChange,
    NodeQuarantine,
    NodeReturn,
    ReplicasWanted,
    TenantChange,
    TenantNew,
    UsageFilter,
    WorkloadFilter,
)
from tawtin.model.resources import Node
from tawtin.model.roaming import Peer
from tawtin.model.services import ServiceView
from tawtin.model.tenant import Account, Scope, Tenant
from tawtin.model.views import (
    ArtifactView,
    BlobKept,
    CapacityView,
    EventPage,
    Explanation,
    IdentityView,
    Invited,
    Items,
    KeyView,
    NewKey,
    Page,
    PlanView,
    Rates,
    StoreView,
    Submitted,
    WhoAmI,
    WorkloadView,
)
from tawtin.model.workload import Run
from tawtin.spec.job import Job
from tawtin.web.handlers import artifacts, documents, services, site, streams, tenants, workloads
from tawtin.web.route import Route

_JOB: Final[dict[str, Any]] = {
    "name": "digits",
    "run": "python3 train.py",
    "resources": {"cpus": 2, "memory": "4GB"},
    "max_duration": "10m",
    "data": {"class": "public", "origin": "MA"},
}
_FORMS: Final[dict[str, Any]] = {
    "application/yaml": "name: digits\nrun: python3 train.py\nresources: {cpus: 2, memory: 4GB}\n",
    "text/x-sbatch": "#!/bin/bash\n#SBATCH --job-name=digits\n#SBATCH --time=10\npython3 train.py\n",
}
_SERVICE: Final[dict[str, Any]] = {
    "name": "hello",
    "service": {"readiness_probe": {"path": "/"}, "replicas": 2},
    "run": 'python3 -m http.server --bind "$TAWTIN_HOST" "$PORT"',
}
_SERVICE_FORMS: Final[dict[str, Any]] = {
    "application/yaml": "name: hello\nservice: {readiness_probe: /}\nrun: python3 -m http.server $PORT\n"
}
_DIGEST: Final = "sha256:" + "0" * 64

_PEER_KEY: Final = "6d5kkmPE7rOCGh2Zc2mqsc5oF8kA0n2Gm3jv6F7bP1E="
ROUTES: Final[tuple[Route, ...]] = (
    Route("/api/v1/workloads", workloads.submit, methods=["POST"], scope=Scope.SUBMIT, query=ForTenant,
          body=Job, bodies=_FORMS, answers=Submitted, status=201, headers=("Idempotency-Key",),
          errors=(404, 409, 415, 422, 507), example=_JOB),
    Route("/api/v1/workloads", workloads.list_workloads,
          scope=Scope.AUDIT, query=WorkloadFilter, answers=Page[WorkloadView]),
    Route("/api/v1/plan", workloads.plan, methods=["POST"], query=ForTenant, body=Job, bodies=_FORMS,
          answers=PlanView, errors=(404, 415, 422), example=_JOB),
    Route("/api/v1/workloads/{id}", workloads.show_workload,
          scope=Scope.AUDIT, answers=WorkloadView, etag=True, errors=(404,)),
    Route("/api/v1/workloads/{id}/cancel", workloads.cancel, methods=["POST"], scope=Scope.SUBMIT,
          answers=WorkloadView, etag=True, headers=("If-Match",), errors=(404, 412, 507)),
    Route("/api/v1/workloads/{id}/retry", workloads.retry, methods=["POST"], scope=Scope.SUBMIT,
          answers=Submitted, status=201, headers=("Idempotency-Key",), errors=(404, 409, 422, 507)),
    Route("/api/v1/workloads/{id}/lost", workloads.declare_lost, methods=["POST"], scope=Scope.ADMIN, body=Lost,
          answers=WorkloadView, etag=True, errors=(404, 409, 415, 507), example={"why": "its site is gone"}),
    Route("/api/v1/workloads/{id}/explain", workloads.explain, scope=Scope.AUDIT, answers=Explanation, errors=(404,)),
    Route("/api/v1/workloads/{id}/runs", workloads.list_runs, scope=Scope.AUDIT, answers=Items[Run], errors=(404,)),
    Route("/api/v1/workloads/{id}/logs", streams.read_logs, query=LogRange, media="text/plain",
          headers=("Last-Event-ID",), errors=(404,)),
    Route("/api/v1/services", services.list_services,
          scope=Scope.AUDIT, query=ForTenant, answers=Items[ServiceView], errors=(404,)),
    Route("/api/v1/services/{name:path}", services.show_service,
          scope=Scope.AUDIT, query=ForTenant, answers=ServiceView, errors=(404,)),
    Route("/api/v1/services/{name:path}", services.update_service, methods=["PUT"], scope=Scope.SUBMIT,
          query=ForTenant, body=Job, bodies=_SERVICE_FORMS, answers=ServiceView, errors=(404, 415, 422, 507),
          example=_SERVICE),
    Route("/api/v1/services/{name:path}", services.scale_service, methods=["PATCH"], scope=Scope.SUBMIT,
          query=ForTenant, body=ReplicasWanted, answers=ServiceView, errors=(404, 415, 422, 507),
          example={"replicas": 3}),
    Route("/api/v1/services/{name:path}", services.end_service, methods=["DELETE"], scope=Scope.SUBMIT,
          query=ForTenant, answers=ServiceView, errors=(404, 507)),
    Route("/api/v1/events", site.list_events, scope=Scope.AUDIT, query=EventRange, answers=EventPage),
    Route("/api/v1/events/stream", streams.stream_events,
          scope=Scope.AUDIT, query=EventStart, media="text/event-stream", headers=("Last-Event-ID",)),
    Route("/api/v1/tenants", tenants.list_tenants, scope=Scope.AUDIT, answers=Items[Tenant]),
    Route("/api/v1/tenants", tenants.create_tenant, methods=["POST"], scope=Scope.ADMIN, body=TenantNew,
          answers=Tenant, status=201, etag=True, errors=(409, 415, 507),
          example={"id": "lab", "name": "A laboratory", "kind": "public_body", "quota": {"gpus": 8}}),
    Route("/api/v1/tenants/{id}", tenants.show_tenant,
          scope=Scope.AUDIT, answers=Tenant, etag=True, headers=("If-None-Match",), errors=(304, 404)),
    Route("/api/v1/tenants/{id}", tenants.replace_tenant, methods=["PUT"], scope=Scope.ADMIN,
          body=TenantChange, answers=Tenant, etag=True, headers=("If-Match",),
          errors=(404, 412, 415, 428, 507), example={"name": "A laboratory", "quota": {"gpus": 16}}),
    Route("/api/v1/tenants/{id}", tenants.change_tenant, methods=["PATCH"], scope=Scope.ADMIN,
          body=TenantChange, answers=Tenant, etag=True, headers=("If-Match",),
          errors=(404, 412, 415, 428, 507), example={"quota": {"gpus": 16, "budget_minor_per_month": 5_000_000}}),
    Route("/api/v1/keys", tenants.list_keys, scope=Scope.AUDIT, query=ForTenant, answers=Items[KeyView], errors=(404,)),
    Route("/api/v1/keys", tenants.issue_key, methods=["POST"], scope=Scope.TENANT, body=KeyNew,
          answers=NewKey, status=201, errors=(404, 415, 507), example={"name": "ci", "scope": "submit"}),
    Route("/api/v1/keys/{id}", tenants.revoke_key, methods=["DELETE"],
          scope=Scope.AUDIT, answers=KeyView, errors=(404, 507)),
    Route("/api/v1/capacity", site.capacity, scope=Scope.AUDIT, answers=CapacityView),
    Route("/api/v1/quarantines", site.list_quarantines, scope=Scope.AUDIT, answers=Items[Quarantine]),
    Route("/api/v1/nodes/{name:path}/quarantine", site.quarantine, methods=["POST"], scope=Scope.ADMIN,
          body=NodeQuarantine, answers=Items[Quarantine], errors=(404, 415, 507),
          example={"gpus": [3], "why": "its fan is loud"}),
    Route("/api/v1/nodes/{name:path}/return", site.bring_back, methods=["POST"], scope=Scope.ADMIN,
          body=NodeReturn, answers=Items[Quarantine], errors=(404, 409, 415, 507), example={"gpus": [3]}),
    Route("/api/v1/nodes/{name:path}/health", site.set_node_health, methods=["PUT"], scope=Scope.ADMIN,
          body=NodeChange, answers=Node, errors=(404, 415, 507), example={"health": "draining"}),
    Route("/api/v1/usage", site.usage, scope=Scope.AUDIT, query=UsageFilter, answers=Items[Account]),
    Route("/api/v1/endpoints", site.endpoints, scope=Scope.AUDIT, answers=EndpointsView, errors=(404,)),
    Route("/api/v1/endpoints/usage", site.tokens,
          scope=Scope.AUDIT, query=UsageFilter, answers=Items[TokensUsed], errors=(404,)),
    Route("/api/v1/localisation", site.localisation, scope=Scope.AUDIT, query=LocalisationFilter, answers=Rates),
    Route("/api/v1/identity", site.identity, scope=Scope.AUDIT, answers=IdentityView),
    Route("/api/v1/peers", site.list_peers, scope=Scope.ADMIN, answers=Items[Peer]),
    Route("/api/v1/peers/{name}", site.put_peer, methods=["PUT"], scope=Scope.ADMIN, body=Peer, answers=Peer,
          errors=(409, 415, 507),
          example={"name": "nairobi", "address": "https://nairobi.example:8470", "key": _PEER_KEY, "state": "active",
                   "country": "KE", "currency": "MAD", "lends": {"gpus": {"H100": 4}}}),
    Route("/api/v1/peers/{name}/waive", site.waive_peer, methods=["POST"], scope=Scope.ADMIN, body=Lost,
          answers=StoreView, errors=(404, 409, 415, 507), example={"why": "its site is gone"}),
    Route("/api/v1/store", site.show_store, scope=Scope.ADMIN, answers=StoreView),
    Route("/api/v1/introductions", site.list_introductions, scope=Scope.ADMIN, answers=Items[Introduction],
          errors=(409,)),
    Route("/api/v1/introductions", site.invite, methods=["POST"], scope=Scope.ADMIN, body=InvitationNew,
          answers=Invited, status=201, errors=(409, 415, 507),
          example={"address": "https://casablanca.example:8470", "lends": {"gpus": {"H100": 4}}}),
    Route("/api/v1/introductions/join", site.join, methods=["POST"], scope=Scope.ADMIN, body=JoinNew,
          answers=Introduction, errors=(409, 415, 507),
          example={"invitation": "tawtin-invitation-...", "address": "https://nairobi.example:8470"}),
    Route("/api/v1/introductions/{name}/confirm", site.confirm, methods=["POST"], scope=Scope.ADMIN,
          body=DigitsHeard, answers=Peer, errors=(404, 409, 415, 507), example={"digits": "482 907"}),
    Route("/api/v1/introductions/{name}", site.withdraw, methods=["DELETE"], scope=Scope.ADMIN,
          answers=Introduction, errors=(404, 409)),
    Route("/api/v1/artifacts", artifacts.list_artifacts, query=ArtifactFilter, answers=Page[Artifact]),
    Route("/api/v1/artifacts", artifacts.put_artifact, methods=["POST"], scope=Scope.SUBMIT, query=ForTenant,
          body=ArtifactNew, answers=Artifact, status=201, errors=(404, 415, 507),
          example={"manifest": {"files": []}, "name": "nothing"}),
    Route("/api/v1/artifacts/{id}", artifacts.show_artifact, answers=ArtifactView, errors=(404,)),
    Route("/api/v1/artifacts/{id}", artifacts.drop_artifact, methods=["DELETE"], scope=Scope.SUBMIT,
          status=204, errors=(404, 507)),
    Route("/api/v1/artifacts/{id}/files/{path:path}", artifacts.read_file, media="application/octet-stream",
          errors=(404,)),
    Route("/api/v1/blobs/missing", artifacts.missing_blobs, methods=["POST"], scope=Scope.SUBMIT, body=Digests,
          answers=Digests, errors=(415,), example={"digests": [_DIGEST]}),
    Route("/api/v1/blobs/{digest}", artifacts.put_blob, methods=["PUT"], scope=Scope.SUBMIT,
          bodies={"application/octet-stream": ""}, answers=BlobKept, status=201, errors=(507,)),
    Route("/api/v1/whoami", site.whoami, scope=Scope.AUDIT, answers=WhoAmI),
    Route("/api/v1/openapi.json", documents.openapi, scope=None),
    Route("/healthz", site.healthz, scope=None, media="text/plain"),
    Route("/readyz", site.readyz, scope=None, media="text/plain", errors=(503,)),
    Route("/metrics", documents.metrics, scope=None, media="text/plain", access="metrics"),
)  # fmt: skip
