"""Datasets over HTTP: put by name, read by name, judged by their law, and nobody else's business."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from tests.web.harness import JOB, Factory
from tests.web.raw import Got, request

WORKLOADS, PLAN = "/api/v1/workloads", "/api/v1/plan"


def put(factory: Factory, key: str, dataset: str, data: bytes = b"rows", **more: object) -> Got:
    name = "sha256:" + hashlib.sha256(data).hexdigest()
    request(factory.url, "PUT", f"/api/v1/blobs/{name}", key=key, body=data)
    files = [{"path": "rows.csv", "digest": name, "size_bytes": len(data)}]
    body = {"manifest": {"files": files}, "name": dataset, "dataset": dataset, **more}
    return request(factory.url, "POST", "/api/v1/artifacts", key=key, body=body)


def submit(factory: Factory, key: str, *names: str, path: str = WORKLOADS, **data: object) -> Got:
    body = {**JOB, "data": {"datasets": list(names), **data}}
    return request(factory.url, "POST", path, key=key, body=body)


def spec_of(got: Got) -> Any:  # noqa: ANN401 - JSON
    assert got.status == 201, got.body
    return got.json["workloads"][0]["spec"]


def test_a_dataset_is_put_listed_and_read_by_its_name(factory: Factory) -> None:
    key = factory.key("data")
    put(factory, key, "", b"no name")
    made = put(factory, key, "rows", origin="KE").json
    listed = request(factory.url, "GET", "/api/v1/artifacts?datasets=true", key=key).json["items"]
    assert [(each["id"], each["datasets"]) for each in listed] == [(made["id"], ["rows"])]
    spec = spec_of(submit(factory, key, "rows"))
    assert spec["mounts"] == [{"path": "/home/run/datasets/rows", "artifact": made["id"]}]
    assert spec["data"]["inputs"] == [{"artifact": made["id"], "name": "rows", "origin": "KE"}]


def test_an_unknown_name_is_refused_with_its_field_and_what_is_close_and_nothing_is_done(
    factory: Factory,
) -> None:
    key = factory.key("unknown")
    put(factory, key, "census-2024")
    for path in (WORKLOADS, PLAN):
        got = submit(factory, key, "census-2024", "census-2042", path=path)
        assert got.problem == (422, "UnknownDataset")
        (error,) = got.json["errors"]
        assert error["field"] == "data.datasets[1]"
        assert error["message"] == (
            "tenant `unknown` has no dataset `census-2042` here; did you mean `census-2024`?"
        )
    assert request(factory.url, "GET", WORKLOADS, key=key).json["items"] == []


def test_a_spec_with_lines_is_refused_with_the_line(factory: Factory) -> None:
    body = b"name: j\nrun: 'true'\nresources: {cpus: 1}\ndata:\n  datasets:\n    - gone\n    - away\n"
    got = request(
        factory.url, "POST", WORKLOADS, key=factory.key("lines"), body=body, media="application/yaml"
    )
    assert [(each["field"], each["line"], each["column"]) for each in got.json["errors"]] == [
        ("data.datasets[0]", 6, 7),
        ("data.datasets[1]", 7, 7),
    ]


def test_datasets_of_others_look_absent_to_submit_and_to_list(factory: Factory) -> None:
    owner, other = factory.key("data-a"), factory.key("data-b")
    put(factory, owner, "secret-rows", b"the owner's")
    absent = submit(factory, other, "no-such-thing-at-all")
    got = submit(factory, other, "secret-rows")
    assert got.problem == absent.problem == (422, "UnknownDataset")
    assert got.json["detail"].replace("secret-rows", "*") == absent.json["detail"].replace(
        "no-such-thing-at-all", "*"
    )
    assert request(factory.url, "GET", "/api/v1/artifacts?datasets=true", key=other).json["items"] == []


def test_a_newer_version_is_for_later_submissions_and_a_retry_reads_the_older_one(factory: Factory) -> None:
    key = factory.key("versions")
    old = put(factory, key, "rows", b"one").json["id"]
    first = submit(factory, key, "rows").json["workloads"][0]
    new = put(factory, key, "rows", b"two").json["id"]
    assert old != new
    assert spec_of(submit(factory, key, "rows"))["mounts"][0]["artifact"] == new
    seen = request(factory.url, "GET", f"{WORKLOADS}/{first['id']}", key=key).json["workload"]
    assert seen["spec"]["mounts"][0]["artifact"] == old
    factory.engine.end(factory.started(first["id"]), exit_code=1)

    def over() -> bool:
        got = request(factory.url, "GET", f"{WORKLOADS}/{first['id']}", key=key)
        return got.json["status"] == "failed"

    factory.until(over)
    again = request(factory.url, "POST", f"{WORKLOADS}/{first['id']}/retry", key=key)
    assert spec_of(again)["mounts"][0]["artifact"] == old


def test_the_same_idempotency_key_gives_the_same_answer_although_the_name_has_moved(
    factory: Factory,
) -> None:
    key = factory.key("moved")
    put(factory, key, "rows", b"before")
    body = {**JOB, "data": {"datasets": ["rows"]}}
    headers = {"Idempotency-Key": "moved-once"}
    first = request(factory.url, "POST", WORKLOADS, key=key, body=body, headers=headers)
    put(factory, key, "rows", b"after")
    again = request(factory.url, "POST", WORKLOADS, key=key, body=body, headers=headers)
    said = [(each["id"], each["spec"]) for got in (first, again) for each in got.json["workloads"]]
    assert said[0] == said[1]


@pytest.mark.parametrize(
    ("dataset", "more", "status"),
    [
        ("../up", {}, 400),
        ("a/b", {}, 400),
        (".hidden", {}, 400),
        ("line\n", {}, 400),
        ("fine", {"class": "secret"}, 400),
        ("fine", {"origin": "Morocco"}, 400),
    ],
)
def test_what_is_no_name_class_or_country_is_refused(
    factory: Factory, dataset: str, more: dict[str, Any], status: int
) -> None:
    assert put(factory, factory.key("odd"), dataset, **more).status == status


def test_the_same_bytes_are_not_had_under_a_looser_law_by_another_name(factory: Factory) -> None:
    key = factory.key("loose")
    assert put(factory, key, "people", b"p", **{"class": "personal"}).status == 201
    assert put(factory, key, "people-too", b"p").problem == (409, "Conflict")
    assert put(factory, key, "people-too", b"p", **{"class": "personal", "origin": "MA"}).status == 201


def test_a_plan_says_what_is_read_and_is_judged_by_it(factory: Factory) -> None:
    key = factory.key("plan-data")
    put(factory, key, "people", b"q", **{"class": "government_classified"})
    view = submit(factory, key, "people", path=PLAN).json
    assert view["lawful"] is False
    assert [(each["name"], each["class"]) for each in view["inputs"]] == [("people", "government_classified")]
    assert submit(factory, key, "people").problem == (422, "NoLawfulFactory")
