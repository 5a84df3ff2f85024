"""The OpenAPI document says what the API does: it is valid, complete, and a fuzzer that reads it finds nothing."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any, cast

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck
from openapi_spec_validator import validate
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS  # pyright: ignore[reportUnknownVariableType] - an open type

from tawtin.model.tenant import Scope
from tawtin.runtime import errors
from tawtin.web.openapi import document_bytes
from tawtin.web.route import Route
from tawtin.web.routes import ROUTES
from tests.web.harness import JOB, Factory
from tests.web.raw import request

ROOT = Path(__file__).parents[2]
DOCUMENT: dict[str, Any] = json.loads(document_bytes())
ENDLESS = {"stream_events"}
"""Operations whose answer never ends."""


def test_the_document_is_valid() -> None:
    validate(DOCUMENT)


def test_the_document_is_served_to_everybody(factory: Factory) -> None:
    got = request(factory.url, "GET", "/api/v1/openapi.json")
    assert (got.status, got.json) == (200, DOCUMENT)


def test_every_route_is_in_the_document_with_a_summary() -> None:
    found = {
        operation["operationId"]: operation
        for path in DOCUMENT["paths"].values()
        for operation in path.values()
    }
    assert len(found) == len(ROUTES)
    assert [name for name, each in found.items() if len(each["summary"].split()) < 3] == []


def test_every_example_is_a_body_that_its_record_takes() -> None:
    import msgspec

    for route in ROUTES:
        if route.body is not None:
            assert route.example, route.path
            msgspec.json.decode(json.dumps(route.example), type=route.body)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_fuzzer_that_reads_the_document_finds_nothing(factory: Factory) -> None:
    admin = factory.key("casa", Scope.ADMIN)
    request(factory.url, "POST", "/api/v1/workloads", key=admin, body=JOB)
    schema: Any = schemathesis.openapi.from_dict(DOCUMENT)  # its types are open
    registry = cast("Any", CHECKS)
    schema.config.update(base_url=factory.url)
    refused = schema.config.checks.negative_data_rejection.expected_statuses
    schema.config.checks.negative_data_rejection.expected_statuses = [
        *refused,
        "412",
    ]  # looked at before the body
    checks = [check for check in registry.get_all() if check.__name__ not in LEFT_OUT]
    assert len(checks) == len(registry.get_all()) - len(LEFT_OUT)
    tried = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.definition.raw["operationId"] in ENDLESS:
            continue

        @hypothesis.settings(
            max_examples=40,
            deadline=None,
            derandomize=True,
            suppress_health_check=[
                HealthCheck.too_slow,
                HealthCheck.filter_too_much,
                HealthCheck.data_too_large,
            ],
        )
        @hypothesis.given(
            case=operation.as_strategy(GenerationMode.POSITIVE)
            | operation.as_strategy(GenerationMode.NEGATIVE)
        )
        def attack(case: Any) -> None:  # noqa: ANN401 - a type of the fuzzer
            nonlocal tried
            tried += 1
            if case.query:
                case.query.pop("follow", None)
            answer = case.call(headers={"Authorization": f"Bearer {admin}"}, timeout=20)
            case.validate_response(answer, checks=checks)

        attack()
    assert tried > 300
    assert request(factory.url, "GET", "/readyz").status == 200


LEFT_OUT = {
    "positive_data_acceptance": "a spec that fits the schema can still be one that the factory refuses, with 422",
    "ignored_auth": "sends a request without the key; a test below does so for every route",
    "use_after_free": "looks at several answers together; here each stands alone",
    "ensure_resource_availability": "the same",
}
"""Checks of the fuzzer that are not asked for, and why."""


@pytest.mark.parametrize("route", [route for route in ROUTES if route.scope], ids=lambda route: route.name)
def test_every_route_asks_for_its_key_and_its_scope(factory: Factory, route: Route) -> None:
    path = (
        route.path.replace("{path:path}", "x")
        .replace("{id}", "x")
        .replace("{name}", "x")
        .replace("{digest}", "x")
    )
    assert request(factory.url, route.method, path).status == 401
    for narrower in list(Scope)[: list(Scope).index(route.scope or Scope.READ)]:
        got = request(factory.url, route.method, path, key=factory.key("scoped", narrower))
        assert got.problem == (403, "Denied"), narrower


def test_every_token_of_a_problem_is_documented() -> None:
    page = (ROOT / "docs/reference/api.md").read_text()
    calls = [
        node
        for path in (ROOT / "src/tawtin/web").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"HttpError", "_problem"}
        and len(node.args) > 2
    ]
    tokens = {str(call.args[2].value) for call in calls if isinstance(call.args[2], ast.Constant)}
    tokens |= {
        kind.token
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.ServiceError)
    }
    tokens -= {"ServiceError", "Refused"}  # the base, and the one that carries a reason instead
    assert {"Invalid", "Unauthenticated", "TooLarge"} <= tokens
    assert sorted(token for token in tokens if f"`{token}`" not in page) == []
