"""Who may do what, and that tenants do not see each other."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tawtin.model.tenant import Scope
from tests.web.harness import JOB, Factory
from tests.web.raw import request

NEW = {"id": "newcomer", "name": "A newcomer", "quota": {"gpus": 4}}


def test_without_a_key_there_is_no_answer(factory: Factory) -> None:
    got = request(factory.url, "GET", "/api/v1/workloads")
    assert got.problem == (401, "Unauthenticated")
    assert got.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("wrong", ["secret", "id", "revoked", "expired", "text"])
def test_a_key_that_is_not_good_is_refused(factory: Factory, wrong: str) -> None:
    soon = int(time.time() * 1000) + 300
    key = factory.key("keys", expires_ms=soon if wrong == "expired" else None)
    match wrong:
        case "secret":
            key = key[:-1] + ("0" if key[-1] != "0" else "1")
        case "id":
            key = key.replace("twk_0", "twk_1", 1)
        case "revoked":
            key_id = "key-" + key.split("_")[1]
            assert request(factory.url, "DELETE", f"/api/v1/keys/{key_id}", key=key).status == 200
        case "expired":
            time.sleep(0.35)
        case _:
            key = "ÿ" * 20
    assert request(factory.url, "GET", "/api/v1/whoami", key=key).status == 401


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/workloads/{id}"),
        ("GET", "/api/v1/workloads/{id}/runs"),
        ("GET", "/api/v1/workloads/{id}/explain"),
        ("GET", "/api/v1/workloads/{id}/logs"),
        ("GET", "/api/v1/workloads/{id}/logs?follow=true"),
        ("POST", "/api/v1/workloads/{id}/cancel"),
        ("POST", "/api/v1/workloads/{id}/retry"),
    ],
)
def test_a_foreign_workload_looks_like_an_absent_one(factory: Factory, method: str, path: str) -> None:
    owner, other = factory.key("mine"), factory.key("theirs")
    made = request(factory.url, "POST", "/api/v1/workloads", key=owner, body=JOB).json["workloads"][0]["id"]
    absent = "wl-" + "0" * 26
    foreign = request(factory.url, method, path.replace("{id}", made), key=other)
    nothing = request(factory.url, method, path.replace("{id}", absent), key=other)
    assert foreign.problem == nothing.problem == (404, "NotFound")
    assert foreign.body.replace(made.encode(), b"") == nothing.body.replace(absent.encode(), b"")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/v1/workloads?tenant=theirs", None),
        ("GET", "/api/v1/usage?tenant=theirs", None),
        ("GET", "/api/v1/localisation?tenant=theirs", None),
        ("GET", "/api/v1/keys?tenant=theirs", None),
        ("GET", "/api/v1/artifacts?tenant=theirs", None),
        ("GET", "/api/v1/tenants/theirs", None),
        ("POST", "/api/v1/workloads?tenant=theirs", JOB),
        ("POST", "/api/v1/plan?tenant=theirs", JOB),
        ("POST", "/api/v1/keys", {"tenant": "theirs"}),
    ],
)
def test_a_foreign_tenant_looks_like_an_absent_one(
    factory: Factory, method: str, path: str, body: dict[str, object] | None
) -> None:
    key = factory.key("mine")
    factory.key("theirs")
    nowhere = {**body, "tenant": "nowhere"} if body and "tenant" in body else body
    foreign = request(factory.url, method, path, key=key, body=body)
    absent = request(factory.url, method, path.replace("theirs", "nowhere"), key=key, body=nowhere)
    assert foreign.problem == absent.problem == (404, "NotFound")


def test_lists_and_the_log_hold_nothing_of_others(factory: Factory) -> None:
    one, other = factory.key("list-a"), factory.key("list-b")
    made = request(factory.url, "POST", "/api/v1/workloads", key=one, body=JOB).json["workloads"][0]["id"]
    for path in ("/api/v1/workloads", "/api/v1/events?limit=1000", "/api/v1/tenants", "/api/v1/keys"):
        got = request(factory.url, "GET", path, key=other)
        assert got.status == 200
        assert made.encode() not in got.body
        assert b"list-a" not in got.body


def test_an_admin_crosses_tenants(factory: Factory) -> None:
    made = request(factory.url, "POST", "/api/v1/workloads", key=factory.key("crossed"), body=JOB).json
    admin = factory.key("casa", Scope.ADMIN)
    path = f"/api/v1/workloads/{made['workloads'][0]['id']}"
    assert request(factory.url, "GET", path, key=admin).status == 200
    assert len(request(factory.url, "GET", "/api/v1/workloads?tenant=crossed", key=admin).json["items"]) == 1


@pytest.mark.parametrize(
    ("scope", "method", "path", "body", "want"),
    [
        (Scope.READ, "POST", "/api/v1/workloads", JOB, 403),
        (Scope.READ, "GET", "/api/v1/workloads", None, 200),
        (Scope.SUBMIT, "POST", "/api/v1/workloads", JOB, 201),
        (Scope.SUBMIT, "POST", "/api/v1/keys", {"name": "x"}, 403),
        (Scope.TENANT, "POST", "/api/v1/keys", {"name": "x"}, 201),
        (Scope.TENANT, "POST", "/api/v1/keys", {"name": "x", "scope": "admin"}, 403),
        (Scope.TENANT, "POST", "/api/v1/tenants", NEW, 403),
        (Scope.TENANT, "PUT", "/api/v1/nodes/node-1/health", {"health": "draining"}, 403),
    ],
)
def test_a_key_does_what_its_scope_allows(
    factory: Factory, scope: Scope, method: str, path: str, body: dict[str, object] | None, want: int
) -> None:
    assert request(factory.url, method, path, key=factory.key("scopes", scope), body=body).status == want


def test_a_tenant_is_created_changed_and_closed(factory: Factory) -> None:
    admin = factory.key("casa", Scope.ADMIN)
    made = request(factory.url, "POST", "/api/v1/tenants", key=admin, body=NEW)
    assert (made.status, made.json["quota"]["gpus"], made.headers["etag"]) == (201, 4, '"1"')
    assert request(factory.url, "POST", "/api/v1/tenants", key=admin, body=NEW).problem == (409, "Conflict")
    path = "/api/v1/tenants/newcomer"
    change = {"quota": {"budget_minor_per_month": 500}}
    assert request(factory.url, "PATCH", path, key=admin, body=change).problem == (
        428,
        "PreconditionRequired",
    )
    tag = {"If-Match": made.headers["etag"]}
    changed = request(factory.url, "PATCH", path, key=admin, body=change, headers=tag)
    assert changed.json["quota"] == {"gpus": 4, "budget_minor_per_month": 500}
    assert request(factory.url, "PATCH", path, key=admin, body=change, headers=tag).problem == (
        412,
        "VersionMismatch",
    )
    lifted = request(
        factory.url, "PATCH", path, key=admin, body={"quota": {"gpus": None}}, headers={"If-Match": '"2"'}
    )
    assert lifted.json["quota"] == {"budget_minor_per_month": 500}
    member = factory.key("newcomer")
    closed = request(
        factory.url,
        "PUT",
        path,
        key=admin,
        body={"name": "Gone", "closed": True},
        headers={"If-Match": '"3"'},
    )
    assert (closed.json["closed"], closed.json.get("quota", {})) == (True, {})
    assert request(factory.url, "GET", "/api/v1/whoami", key=member).status == 401


def test_a_tenant_that_did_not_change_is_not_sent_again(factory: Factory) -> None:
    key = factory.key("fresh")
    first = request(factory.url, "GET", "/api/v1/tenants/fresh", key=key)
    again = request(
        factory.url, "GET", "/api/v1/tenants/fresh", key=key, headers={"If-None-Match": first.headers["etag"]}
    )
    assert (again.status, again.body) == (304, b"")


def test_a_change_names_the_field_that_is_wrong(factory: Factory) -> None:
    admin = factory.key("casa", Scope.ADMIN)
    factory.key("wrong")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"quota": {"gpus": -1}}, "quota.gpus"),
        ({"quotas": {}}, "quotas"),
        ({"owner": True}, "owner"),
    ]
    for body, want in cases:
        got = request(
            factory.url, "PATCH", "/api/v1/tenants/wrong", key=admin, body=body, headers={"If-Match": '"1"'}
        )
        assert (got.problem, got.places) == ((400, "Invalid"), [want])


def test_a_secret_is_shown_once_and_its_hash_never(factory: Factory) -> None:
    key = factory.key("shown")
    made = request(factory.url, "POST", "/api/v1/keys", key=key, body={"name": "ci", "scope": "submit"})
    listed = request(factory.url, "GET", "/api/v1/keys", key=key)
    assert made.json["id"] in {each["id"] for each in listed.json["items"]}
    assert made.json["secret"].rpartition("_")[2].encode() not in listed.body
    assert b"sha256" not in listed.body
    assert request(factory.url, "GET", "/api/v1/whoami", key=made.json["secret"]).json["scope"] == "submit"


def test_issuing_a_key_takes_no_idempotency_key(factory: Factory) -> None:
    got = request(
        factory.url,
        "POST",
        "/api/v1/keys",
        key=factory.key("once"),
        body={},
        headers={"Idempotency-Key": "k"},
    )
    assert got.problem == (400, "Invalid")


def test_a_node_is_drained_and_brought_back(factory: Factory) -> None:
    admin = factory.key("casa", Scope.ADMIN)
    path = "/api/v1/nodes/node-1/health"
    try:
        drained = request(factory.url, "PUT", path, key=admin, body={"health": "draining"})
        assert (drained.status, drained.json["health"]) == (200, "draining")
    finally:
        back = request(factory.url, "PUT", path, key=admin, body={"health": "ready"})
    assert back.status == 200
    assert request(factory.url, "PUT", path, key=admin, body={"health": "gone"}).problem == (400, "Invalid")


def test_metrics_from_behind_a_proxy_need_an_admin(factory: Factory) -> None:
    proxied = {"X-Forwarded-For": "203.0.113.9"}
    assert request(factory.url, "GET", "/metrics").status == 200
    assert request(factory.url, "GET", "/metrics", headers=proxied).status == 401
    assert request(factory.url, "GET", "/metrics", key=factory.key("m"), headers=proxied).status == 403
    admin = factory.key("casa", Scope.ADMIN)
    got = request(factory.url, "GET", "/metrics", key=admin, headers=proxied)
    assert b"tawtin_http_request_seconds_bucket" in got.body
    assert b"tawtin_workloads_submitted_total" in got.body


@pytest.mark.parametrize("by", ["factory", "country", "network"])
def test_localisation_of_more_than_the_callers_own_needs_an_admin(factory: Factory, by: str) -> None:
    path = f"/api/v1/localisation?by={by}"
    assert request(factory.url, "GET", path, key=factory.key("own", Scope.TENANT)).problem == (403, "Denied")
    admin = factory.key("casa", Scope.ADMIN)
    assert request(factory.url, "GET", path, key=admin).json["by"] == by
    assert request(factory.url, "GET", f"{path}&tenant=own", key=admin).problem == (400, "Invalid")


@pytest.mark.parametrize(
    "query", ["by=planet", "since=lately", "until=2026-13", "month=2026-11&since=2026-10"]
)
def test_localisation_that_cannot_be_asked_for_is_refused(factory: Factory, query: str) -> None:
    admin = factory.key("casa", Scope.ADMIN)
    assert request(factory.url, "GET", f"/api/v1/localisation?{query}", key=admin).problem == (400, "Invalid")
