"""An auditor sees the evidence about every tenant, nothing of what is theirs, and changes nothing."""

from __future__ import annotations

import pytest

from tawtin.model.tenant import Scope
from tawtin.web.console.table import PAGES
from tawtin.web.routes import ROUTES
from tests.web.browsing import signed_in, text_of
from tests.web.harness import JOB, Factory
from tests.web.raw import request

EVIDENCE = {
    "list_workloads", "show_workload", "explain", "list_runs", "list_services", "show_service", "list_events",
    "stream_events", "list_tenants", "show_tenant", "list_keys", "capacity", "list_quarantines", "usage", "endpoints",
    "tokens", "localisation", "identity", "whoami", "revoke_key",
}  # fmt: skip
"""Of `revoke_key`, that of its own key."""
PAGES_OF_EVIDENCE = {
    "/", "/live", "/workloads", "/workloads/{id}", "/models", "/usage", "/usage.csv", "/rules", "/operator/events",
}  # fmt: skip


def _submitted(factory: Factory, tenant: str, output: bytes = b"") -> str:
    made = request(factory.url, "POST", "/api/v1/workloads", key=factory.key(tenant), body=JOB)
    workload: str = made.json["workloads"][0]["id"]
    factory.engine.write(factory.started(workload), output)
    return workload


def test_what_an_auditor_may_ask_for_is_what_is_listed_here() -> None:
    assert {route.name for route in ROUTES if route.scope is Scope.AUDIT} == EVIDENCE
    assert {page.path for page in PAGES if page.scope is Scope.AUDIT} == PAGES_OF_EVIDENCE
    assert {page.method for page in PAGES if page.scope is Scope.AUDIT} == {"GET"}


def test_an_auditor_sees_workloads_runs_verdicts_usage_and_the_log_of_every_tenant(factory: Factory) -> None:
    workload, auditor = _submitted(factory, "watched"), factory.key("regulator", Scope.AUDIT)
    own = factory.key("neighbour", Scope.READ)
    for path in ("", "/runs", "/explain"):
        at = f"/api/v1/workloads/{workload}{path}"
        assert request(factory.url, "GET", at, key=auditor).status == 200, path
        assert request(factory.url, "GET", at, key=own).status == 404, path
    listed = request(factory.url, "GET", "/api/v1/workloads", key=auditor).json["items"]
    assert workload in [each["workload"]["id"] for each in listed]
    tenants = request(factory.url, "GET", "/api/v1/tenants", key=auditor).json["items"]
    assert {"watched", "regulator", "casa"} <= {each["id"] for each in tenants}
    kinds = {each["event"]["event"] for each in _log(factory, auditor)}
    assert {"TenantPut", "KeyPut", "RunPlaced"} <= kinds, kinds
    said = request(factory.url, "GET", "/api/v1/localisation?by=country", key=auditor)
    assert said.status == 200, said.body
    assert request(factory.url, "GET", "/api/v1/usage?tenant=watched", key=auditor).status == 200


def _log(factory: Factory, key: str) -> list[dict[str, dict[str, str]]]:
    found: list[dict[str, dict[str, str]]] = []
    start = 0
    while True:
        page = request(factory.url, "GET", f"/api/v1/events?start={start}&limit=1000", key=key).json
        if page["next"] == start:
            return found
        found += page["items"]
        start = page["next"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/v1/workloads/{id}/logs", None),
        ("GET", "/api/v1/artifacts", None),
        ("GET", "/api/v1/artifacts?tenant=watched", None),
        ("GET", "/api/v1/artifacts/sha256:x", None),
        ("GET", "/api/v1/artifacts/sha256:x/files/y", None),
        ("POST", "/api/v1/plan", JOB),
        ("POST", "/api/v1/workloads", JOB),
        ("POST", "/api/v1/workloads/{id}/cancel", None),
        ("POST", "/api/v1/workloads/{id}/retry", None),
        ("POST", "/api/v1/workloads/{id}/lost", {"why": "x"}),
        ("POST", "/api/v1/keys", {"name": "x", "scope": "audit"}),
        ("POST", "/api/v1/tenants", {"id": "another"}),
        ("PUT", "/api/v1/nodes/node-1/health", {"health": "draining"}),
    ],
)
def test_an_auditor_reads_no_content_and_changes_nothing(
    factory: Factory, method: str, path: str, body: dict[str, object] | None
) -> None:
    workload, auditor = _submitted(factory, "watched"), factory.key("regulator", Scope.AUDIT)
    before = factory.service.state.seq
    got = request(factory.url, method, path.replace("{id}", workload), key=auditor, body=body)
    assert got.problem == (403, "Denied")
    assert factory.service.state.seq == before


def test_an_auditor_ends_its_own_key_and_no_other(factory: Factory) -> None:
    auditor, other = factory.key("regulator", Scope.AUDIT), factory.key("regulator", Scope.READ)
    ids = [request(factory.url, "GET", "/api/v1/whoami", key=each).json["key"] for each in (auditor, other)]
    assert request(factory.url, "DELETE", f"/api/v1/keys/{ids[1]}", key=auditor).problem == (403, "Denied")
    assert request(factory.url, "DELETE", f"/api/v1/keys/{ids[0]}", key=auditor).status == 200
    assert request(factory.url, "GET", "/api/v1/whoami", key=auditor).status == 401


def test_only_an_operator_makes_auditors(factory: Factory) -> None:
    """The scope is the narrowest, and crosses tenants all the same: an admin of a tenant does not have it to give."""
    wanted = {"name": "x", "scope": "audit"}
    for scope in (Scope.READ, Scope.SUBMIT, Scope.TENANT):
        key = factory.key("watched", scope)
        assert request(factory.url, "POST", "/api/v1/keys", key=key, body=wanted).problem == (403, "Denied")
    operator = factory.key("casa", Scope.ADMIN)
    made = request(factory.url, "POST", "/api/v1/keys", key=operator, body={**wanted, "tenant": "watched"})
    assert (made.status, made.json["scope"]) == (201, "audit")


def test_the_pages_of_an_auditor_have_the_evidence_and_neither_logs_nor_buttons(factory: Factory) -> None:
    workload = _submitted(factory, "watched", b"the tenant's own words")
    with signed_in(factory, factory.key("regulator", Scope.AUDIT)) as auditor:
        before = factory.service.state.seq
        assert "auditor" in text_of(auditor.get("/console/").text)
        assert workload in auditor.get("/console/workloads").text
        page = auditor.get(f"/console/workloads/{workload}").text
        assert "watched" in text_of(page)
        assert "own words" not in page
        assert 'method="post" action="/console/workloads' not in page
        assert 'href="/console/new"' not in page
        assert "watched" in auditor.get("/console/usage").text
        events = auditor.get("/console/operator/events")
        assert events.status_code == 200
        assert 'href="/console/operator/events"' in page
        for path in (
            "/operator",
            "/new",
            "/operator/tenants/watched",
            f"/workloads/{workload}/log",
            "/schema.json",
        ):
            assert auditor.get(f"/console{path}").status_code == 403, path
        for path in (f"/workloads/{workload}/cancel", "/workloads/cancel", "/new", "/plan", "/models/ask"):
            assert auditor.post(f"/console{path}", data={"id": workload}).status_code == 403, path
        assert factory.service.state.seq == before
    with signed_in(factory, factory.key("watched", Scope.TENANT)) as member:
        assert "own words" in member.get(f"/console/workloads/{workload}").text
        assert member.get("/console/operator/events").status_code == 403
