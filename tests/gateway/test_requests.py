"""What a client gets, and what the ledger then says."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tawtin.gateway.settings import ReplicaSettings
from tawtin.model.tenant import Scope
from tests.gateway.harness import CHAT, Running, error_of, running, served
from tests.gateway.stub import COMPLETION, Stub
from tests.web.raw import request


@pytest.fixture(scope="module")
def gateway(stub: Stub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    names = ("plain", "lies", "silent", "wrong", "nonsense", "huge", "closes")
    models = {name: served(ReplicaSettings(url=stub.url)) for name in names}
    models["abroad"] = served(ReplicaSettings(url=stub.url, country="US"))
    models["renamed"] = served(ReplicaSettings(url=stub.url + "/base", model="plain-7b"))
    with running(tmp_path_factory.mktemp("gateway"), models, answer_bytes_max=1 << 20) as one:
        yield one


def test_an_answer_passes_untouched_and_is_settled_by_the_replicas_count(
    gateway: Running, stub: Stub, key: str
) -> None:
    got = gateway.ask(key, "plain", tools=[{"type": "function"}], x_unknown=[1, 2.5])
    assert (got.status, got.json) == (200, COMPLETION)
    assert (got.headers["x-tawtin-factory"], got.headers["x-tawtin-country"]) == ("casa", "MA")
    sent = stub.asked[-1]
    assert sent.json == {"model": "plain", **CHAT, "tools": [{"type": "function"}], "x_unknown": [1, 2.5]}
    assert "authorization" not in sent.headers
    row = gateway.row(got.headers["x-tawtin-receipt"])
    assert (row["tokens_in"], row["tokens_out"], row["micro"]) == (7, 3, 7_000_000 + 2 * 3_000_000)
    assert (row["tenant"], row["model"], row["country"], row["estimated"]) == ("lab", "plain", "MA", 0)


def test_a_stream_passes_and_the_event_that_only_counts_is_taken_out_again(
    gateway: Running, stub: Stub, key: str
) -> None:
    got = gateway.ask(key, "plain", stream=True)
    assert got.headers["content-type"].startswith("text/event-stream")
    events = [line[6:] for line in got.body.decode().splitlines() if line.startswith("data: ")]
    assert events[-1] == "[DONE]"
    said = [json.loads(each) for each in events[:-1]]
    assert "".join(each["choices"][0]["delta"]["content"] for each in said) == "marhaba"
    assert stub.asked[-1].json["stream_options"] == {"include_usage": True}
    row = gateway.row(got.headers["x-tawtin-receipt"])
    assert (row["tokens_in"], row["tokens_out"], row["estimated"]) == (7, 3, 0)


def test_a_client_that_asks_for_usage_gets_it_once(gateway: Running, stub: Stub, key: str) -> None:
    got = gateway.ask(key, "plain", stream=True, stream_options={"include_usage": True})
    assert got.body.count(b'"usage"') == 1
    assert stub.asked[-1].body.count(b"stream_options") == 1
    other = gateway.ask(key, "plain", stream=True, stream_options={"x": 1})
    assert b'"usage"' not in other.body
    assert stub.asked[-1].json["stream_options"] == {"x": 1, "include_usage": True}


def test_a_replica_is_asked_by_its_own_name_of_the_model(gateway: Running, stub: Stub, key: str) -> None:
    assert gateway.ask(key, "renamed").status == 200
    assert (stub.asked[-1].json["model"], stub.asked[-1].path) == ("plain-7b", "/base/v1/chat/completions")


@pytest.mark.parametrize("model", ["lies", "silent"])
def test_a_count_that_cannot_be_is_replaced_by_an_estimate_that_is_marked(
    gateway: Running, key: str, model: str
) -> None:
    got = gateway.ask(key, model, max_tokens=20)
    row = gateway.row(got.headers["x-tawtin-receipt"])
    assert (got.status, row["estimated"]) == (200, 1)
    assert 0 < row["tokens_out"] <= 20


def test_what_a_replica_refuses_is_passed_on_and_costs_nothing(gateway: Running, key: str) -> None:
    got = gateway.ask(key, "wrong")
    assert (got.status, got.json) == (400, {"error": {"message": "no such tool"}})
    assert gateway.row(got.headers["x-tawtin-receipt"])["micro"] == 0


@pytest.mark.parametrize("model", ["nonsense", "huge", "closes"])
def test_a_replica_that_does_not_answer_properly_costs_nothing(
    gateway: Running, key: str, model: str
) -> None:
    assert error_of(gateway.ask(key, model)) == (502, "replica_failed")
    assert {each["micro"] for each in gateway.settled() if each["model"] == model} == {0}


def test_the_catalogue_is_listed(gateway: Running, key: str) -> None:
    got = request(gateway.url, "GET", "/v1/models", key=key)
    listed = {each["id"]: each for each in got.json["data"]}
    assert listed["abroad"]["countries"] == ["US"]
    assert request(gateway.url, "GET", "/v1/models/plain", key=key).json["id"] == "plain"
    assert error_of(request(gateway.url, "GET", "/v1/models/none", key=key)) == (404, "model_not_found")


def test_data_goes_where_rules_allow_it_and_nowhere_else(gateway: Running, stub: Stub, key: str) -> None:
    assert gateway.ask(key, "abroad").status == 200, "public data may be anywhere"
    before = len(stub.asked)
    got = gateway.ask(key, "abroad", headers={"x-tawtin-class": "government_sensitive"})
    assert error_of(got) == (403, "no_lawful_replica")
    assert "US" in got.json["error"]["message"]
    assert error_of(gateway.ask(key, "abroad", headers={"x-tawtin-class": "secret"})) == (
        400,
        "invalid_class",
    )
    assert error_of(gateway.ask(key, "plain", headers={"x-tawtin-purpose": "fun"})) == (
        400,
        "invalid_purpose",
    )
    assert len(stub.asked) == before


def test_keys_are_those_of_the_factory_and_end_with_it(gateway: Running) -> None:
    key = gateway.key("short")
    assert gateway.ask(key, "plain").status == 200
    for wrong in ("", "nonsense", key[:-1] + ("0" if key[-1] != "0" else "1")):
        assert error_of(gateway.ask(wrong, "plain")) == (401, "invalid_api_key")
    for scope in (Scope.READ, Scope.AUDIT):
        assert error_of(gateway.ask(gateway.key("short", scope), "plain")) == (401, "invalid_api_key")
    del gateway.state.tenants["short"]
    gateway.until(lambda: gateway.ask(key, "plain").status == 401, "the end of the key")


def test_unknown_models_paths_and_methods_are_named(gateway: Running, key: str) -> None:
    assert error_of(gateway.ask(key, "none")) == (404, "model_not_found")
    assert error_of(gateway.ask(key, "plain", "/v1/audio")) == (404, "unknown_url")
    assert error_of(request(gateway.url, "GET", "/v1/completions", key=key)) == (405, "method")
