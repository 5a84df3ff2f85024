"""Submitting, looking, cancelling and retrying over HTTP."""

from __future__ import annotations

import json

import pytest

from tawtin.model.tenant import Scope
from tests.web.harness import JOB, Factory
from tests.web.raw import Got, request

PATH = "/api/v1/workloads"


def submit(factory: Factory, key: str, *, idempotency: str = "", **fields: object) -> Got:
    headers = {"Idempotency-Key": idempotency} if idempotency else {}
    return request(factory.url, "POST", PATH, key=key, body={**JOB, **fields}, headers=headers)


def test_a_submission_is_answered_with_its_workload_and_where_it_is(factory: Factory) -> None:
    key = factory.key("sub")
    got = submit(factory, key)
    (workload,) = got.json["workloads"]
    assert (got.status, got.headers["location"]) == (201, f"{PATH}/{workload['id']}")
    assert workload["tenant"] == "sub"
    seen = request(factory.url, "GET", got.headers["location"], key=key)
    assert seen.status == 200
    assert seen.json["workload"]["spec"]["name"] == "digits"
    assert seen.headers["etag"] == f'"{seen.json["workload"].get("version", 1)}"'


@pytest.mark.parametrize(
    ("media", "body"),
    [
        ("application/yaml", "name: digits\nrun: 'true'\nresources: {cpus: 1}\n"),
        ("text/x-sbatch", "#!/bin/bash\n#SBATCH --job-name=digits\n#SBATCH --cpus-per-task=1\ntrue\n"),
        ("application/json; charset=UTF-8", json.dumps(JOB)),
    ],
)
def test_a_spec_is_taken_in_each_form(factory: Factory, media: str, body: str) -> None:
    got = request(factory.url, "POST", PATH, key=factory.key("forms"), body=body.encode(), media=media)
    assert got.status == 201, got.body
    assert got.json["workloads"][0]["spec"]["name"] == "digits"


def test_an_array_gives_one_workload_for_each_index(factory: Factory) -> None:
    key = factory.key("array")
    made = submit(factory, key, array=4).json["workloads"]
    assert [each["array"]["index"] for each in made] == [0, 1, 2, 3]
    listed = request(factory.url, "GET", f"{PATH}?array={made[0]['array']['id']}", key=key)
    assert len(listed.json["items"]) == 4


def test_the_same_key_and_body_give_the_same_answer(factory: Factory) -> None:
    key = factory.key("again")
    first = submit(factory, key, idempotency="one", array=3)
    again = submit(factory, key, idempotency="one", array=3)
    ids = [each["id"] for each in first.json["workloads"]]
    assert (again.status, [each["id"] for each in again.json["workloads"]]) == (201, ids)
    assert submit(factory, key, idempotency="two", array=3).json["workloads"][0]["id"] not in ids


def test_the_same_key_with_another_body_is_refused(factory: Factory) -> None:
    key = factory.key("other")
    submit(factory, key, idempotency="one")
    assert submit(factory, key, idempotency="one", name="another").problem == (409, "Conflict")


def test_the_same_key_of_two_tenants_means_two_workloads(factory: Factory) -> None:
    one = submit(factory, factory.key("key-a"), idempotency="shared").json["workloads"][0]["id"]
    other = submit(factory, factory.key("key-b"), idempotency="shared").json["workloads"][0]["id"]
    assert one != other


def test_lists_are_paged_newest_first_and_each_workload_comes_once(factory: Factory) -> None:
    key = factory.key("pages")
    made = [submit(factory, key).json["workloads"][0]["id"] for _ in range(7)]
    seen: list[str] = []
    before = ""
    for _ in range(4):
        page = request(factory.url, "GET", f"{PATH}?limit=3&before={before}", key=key).json
        seen += [each["workload"]["id"] for each in page["items"]]
        before = page.get("next", "")
        if not before:
            break
    assert seen == sorted(made, reverse=True)


def test_lists_are_filtered_by_several_phases(factory: Factory) -> None:
    key = factory.key("phases")
    made = submit(factory, key).json["workloads"][0]["id"]
    factory.engine.end(factory.started(made))
    factory.until(
        lambda: (
            request(factory.url, "GET", f"{PATH}/{made}", key=key).json["workload"]["phase"] == "succeeded"
        ),
        "success",
    )
    count = {
        phase: len(request(factory.url, "GET", f"{PATH}?phase={phase}", key=key).json["items"])
        for phase in ("succeeded", "failed,succeeded", "queued,failed")
    }
    assert count == {"succeeded": 1, "failed,succeeded": 1, "queued,failed": 0}


def test_cancel_heeds_the_version_that_was_read(factory: Factory) -> None:
    key = factory.key("cancel")
    made = submit(factory, key).json["workloads"][0]["id"]
    factory.started(made)
    stale = request(factory.url, "POST", f"{PATH}/{made}/cancel", key=key, headers={"If-Match": '"999"'})
    assert stale.problem == (412, "VersionMismatch")
    tag = request(factory.url, "GET", f"{PATH}/{made}", key=key).headers["etag"]
    done = request(factory.url, "POST", f"{PATH}/{made}/cancel", key=key, headers={"If-Match": tag})
    assert (done.status, done.json["workload"]["cancel"]) == (200, True)


def test_a_finished_workload_is_retried_once_under_one_key(factory: Factory) -> None:
    key = factory.key("retry")
    made = submit(factory, key).json["workloads"][0]["id"]
    path = f"{PATH}/{made}/retry"
    assert request(factory.url, "POST", path, key=key).problem == (409, "Conflict")
    factory.engine.end(factory.started(made), exit_code=3)
    factory.until(lambda: made not in factory.service.state.workloads, "the end")
    headers = {"Idempotency-Key": "r"}
    first = request(factory.url, "POST", path, key=key, headers=headers)
    again = request(factory.url, "POST", path, key=key, headers=headers)
    assert first.json["workloads"][0]["retry_of"] == made
    assert again.json["workloads"][0]["id"] == first.json["workloads"][0]["id"]


def test_what_cannot_run_says_why(factory: Factory) -> None:
    key = factory.key("why")
    made = submit(factory, key, resources={"accelerators": "H100:64"}).json["workloads"][0]["id"]
    waiting = request(factory.url, "GET", f"{PATH}/{made}/explain", key=key).json["waiting"]
    assert waiting["reason"] in {"ExceedsCapacity", "NotYetDecided"}
    factory.until(
        lambda: (
            request(factory.url, "GET", f"{PATH}/{made}/explain", key=key).json["waiting"]["reason"]
            == "ExceedsCapacity"
        ),
        "the reason",
    )


def test_a_plan_stores_nothing(factory: Factory) -> None:
    key = factory.key("plan", Scope.READ)
    plan = request(factory.url, "POST", "/api/v1/plan", key=key, body=JOB)
    assert (plan.status, plan.json["lawful"]) == (200, True)
    assert request(factory.url, "GET", PATH, key=key).json["items"] == []


def test_a_refused_submission_has_a_token(factory: Factory) -> None:
    got = submit(factory, factory.key("law"), residency={"deny": ["MA"]})
    assert got.problem == (422, "NoLawfulFactory")


def test_every_mistake_of_a_spec_is_named_with_its_field(factory: Factory) -> None:
    got = submit(factory, factory.key("bad"), resources={"cpus": "many"}, max_duration="soon")
    assert got.problem == (422, "InvalidSpec")
    assert {"resources.cpus", "max_duration"} <= set(got.places)


def test_a_mistake_in_yaml_is_named_with_its_line(factory: Factory) -> None:
    body = b"name: x\nrun: 'true'\nnot_known: 1\n"
    got = request(factory.url, "POST", PATH, key=factory.key("yaml"), body=body, media="application/yaml")
    assert got.problem == (422, "InvalidSpec")
    assert [(each["field"], each["line"]) for each in got.json["errors"]] == [("not_known", 3)]


def test_local_paths_are_refused_with_what_to_do(factory: Factory) -> None:
    body = b"name: x\nrun: 'true'\nworkdir: .\n"
    got = request(factory.url, "POST", PATH, key=factory.key("local"), body=body, media="application/yaml")
    assert got.problem == (422, "InvalidSpec")
    assert got.places == ["workdir"]
    assert "upload" in got.json["errors"][0]["message"]


def test_a_budget_in_another_currency_is_refused(factory: Factory) -> None:
    got = submit(factory, factory.key("money"), budget="10 ZAR")
    assert (got.problem, got.places) == ((422, "InvalidSpec"), ["budget"])


def test_secrets_are_in_no_answer(factory: Factory) -> None:
    key = factory.key("secret")
    made = submit(factory, key, secrets={"TOKEN": "hunter2-hunter2"})
    paths = [
        made.headers["location"],
        PATH,
        f"{made.headers['location']}/runs",
        "/api/v1/events?limit=1000",
    ]
    bodies = [request(factory.url, "GET", path, key=key).body for path in paths]
    assert all(b"hunter2" not in body for body in [made.body, *bodies])
