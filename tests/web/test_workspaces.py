"""Workspaces over HTTP: who sees, who opens, who lets rest; and what looks like nothing is there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from tawtin.client import Client
from tawtin.model.reasons import Cause
from tawtin.model.requests import TenantNew
from tawtin.model.services import Readiness
from tawtin.model.tenant import Scope
from tawtin.model.workload import Outcome, WorkloadType
from tests.web import harness
from tests.web.harness import Factory, FakeEngine, running
from tests.web.raw import request

SPEC: dict[str, Any] = {"name": "lab", "type": "workspace", "run": "exec serve", "resources": {"cpus": 1}}


class Engine(FakeEngine):
    """Ends a run that is to rest as a real one does."""

    def stop(self, run: str, cause: Cause, grace_ms: int) -> None:
        if run not in self.over:
            rests = cause is Cause.RESTED
            self.end(run, outcome=Outcome.INTERRUPTED if rests else Outcome.CANCELLED, cause=cause)


@pytest.fixture(scope="module")
def factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    site = msgspec.structs.replace(harness.SITE, types=(WorkloadType.JOB, WorkloadType.WORKSPACE))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(harness, "SITE", site)
        with running(tmp_path_factory.mktemp("factory"), engine=Engine()) as one:
            one.service.workspace_url = "http://{label}.localhost:1"
            yield one


@pytest.fixture(scope="module")
def students(factory: Factory) -> Iterator[tuple[Client, Client, Client, Client]]:
    """Two students of a school, their teacher, and somebody of another tenant; the first has a workspace."""
    with factory.client() as admin:
        for name in ("school", "elsewhere"):
            admin.create_tenant(TenantNew(id=name))
        for name in ("amina", "badr"):
            admin.create_tenant(TenantNew(id=name, network=True, school="school"))
    names = ("amina", "badr", "school", "elsewhere")
    found = tuple(Client(factory.url, factory.key(name, Scope.SUBMIT)) for name in names)
    made = found[0].submit(SPEC).workloads[0]
    factory.started(made.id)
    yield found  # pyright: ignore[reportReturnType] - four of them
    for each in found:
        each.close()


Four = tuple[Client, Client, Client, Client]


def test_its_owner_and_its_teacher_see_it_and_nobody_else(students: Four) -> None:
    amina, badr, teacher, stranger = students
    assert [(each.name, each.may) for each in amina.workspaces()] == [("lab", "use")]
    assert [(each.tenant, each.may) for each in teacher.workspaces()] == [("amina", "look")]
    assert badr.workspaces() == stranger.workspaces() == ()
    assert badr.workspaces(tenant="amina") == stranger.workspaces(tenant="amina") == ()
    assert teacher.workspace("lab", tenant="amina").owner == amina.workspace("lab").owner


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("POST", "/open", None),
        ("POST", "/start", {"for_ms": 1}),
        ("POST", "/stop", None),
        ("POST", "/share", {"shared": True}),
        ("DELETE", "", None),
    ],
)
def test_anothers_workspace_looks_like_one_that_is_not_there(
    factory: Factory, students: Four, method: str, path: str, body: dict[str, object] | None
) -> None:
    assert students[0].workspace("lab")
    key = factory.key("badr", Scope.TENANT)
    for name, tenant in (("lab", "amina"), ("none", "amina"), ("lab", "nobody"), ("none", "badr")):
        url = f"/api/v1/workspaces/{name}{path}?tenant={tenant}"
        got = request(factory.url, method, url, key=key, body=body)
        assert got.problem == (404, "NotFound")
        assert got.json["detail"] == f"no workspace `{name}`"


def test_a_teacher_looks_and_changes_nothing(factory: Factory, students: Four) -> None:
    amina, _, teacher, _ = students
    assert (
        amina.open_workspace("lab").read_only,
        teacher.open_workspace("lab", tenant="amina").read_only,
    ) == (
        False,
        True,
    )
    key = factory.key("school", Scope.SUBMIT)
    for what, body in (("start", {"for_ms": 1}), ("stop", None), ("share", {"shared": True})):
        path = f"/api/v1/workspaces/lab/{what}?tenant=amina"
        assert request(factory.url, "POST", path, key=key, body=body).problem == (403, "Denied")
    path = "/api/v1/workspaces/lab?tenant=amina"
    assert request(factory.url, "DELETE", path, key=key).problem == (403, "Denied")
    reader = factory.key("school", Scope.READ)
    assert request(factory.url, "GET", path, key=reader).status == 404


def test_it_is_kept_awake_shared_let_rest_and_deleted(factory: Factory, students: Four) -> None:
    badr = students[1]
    workload = badr.submit(SPEC).workloads[0].id
    factory.started(workload)
    before = int(time.time() * 1000)
    awake = badr.start_workspace("lab", for_ms=3_600_000)
    assert awake.awake_until_ms >= before + 3_600_000
    assert badr.share_workspace("lab", shared=True).shared
    with Client(factory.url, factory.key("badr", Scope.SUBMIT)) as fellow:
        assert fellow.open_workspace("lab").read_only
        assert not badr.share_workspace("lab", shared=False).shared
        assert request(
            factory.url, "POST", "/api/v1/workspaces/lab/open", key=factory.key("badr", Scope.READ)
        ).problem == (403, "Denied")
    assert badr.stop_workspace("lab").state in {Readiness.ENDING, Readiness.RESTING}
    factory.until(lambda: badr.workspace("lab").state is Readiness.RESTING, "its rest")
    badr.open_workspace("lab")
    factory.started(workload, epoch=2)
    assert badr.delete_workspace("lab").state is Readiness.ENDING
    factory.until(lambda: not badr.workspaces(), "its end")
    assert not badr.services()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("start", {"for_ms": -1}),
        ("start", {"for_ms": 2_592_000_001}),
        ("start", {"for_ms": "1h"}),
        ("share", {}),
        ("share", {"shared": "yes"}),
        ("share", {"shared": True, "to": "all"}),
        ("stop", {"now": True}),
        ("open", {"as": "amina"}),
    ],
)
def test_a_body_that_is_not_understood_is_refused(
    factory: Factory, students: Four, path: str, body: dict[str, Any]
) -> None:
    assert students[0].workspace("lab")
    key = factory.key("amina", Scope.TENANT)
    got = request(factory.url, "POST", f"/api/v1/workspaces/lab/{path}", key=key, body=body)
    assert got.problem == (400, "Invalid")


def test_a_school_is_another_tenant_that_exists_and_is_the_operators_to_say(factory: Factory) -> None:
    admin = factory.key("casa", Scope.ADMIN)
    assert request(factory.url, "POST", "/api/v1/tenants", key=admin, body={"id": "dar"}).status == 201
    head = {"If-Match": "*"}
    for wrong in ("absent", "dar", "A B"):
        body = {"school": wrong}
        got = request(factory.url, "PATCH", "/api/v1/tenants/dar", key=admin, body=body, headers=head)
        assert got.status == 400
    body = {"school": "casa", "course": "physics"}
    got = request(factory.url, "PATCH", "/api/v1/tenants/dar", key=admin, body=body, headers=head)
    assert (got.json["school"], got.json["course"]) == ("casa", "physics")
    other = {"network": True}
    got = request(factory.url, "PATCH", "/api/v1/tenants/dar", key=admin, body=other, headers=head)
    assert (got.json["school"], got.json["course"]) == ("casa", "physics")
    own = factory.key("dar", Scope.TENANT)
    got = request(factory.url, "PATCH", "/api/v1/tenants/dar", key=own, body=body, headers=head)
    assert got.problem == (403, "Denied")
