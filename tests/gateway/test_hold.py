"""Requests for a model whose service rests: they wait for it, are its load, and are let go for every good reason."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tawtin.gateway.settings import ReplicaSettings
from tawtin.model.tenant import Tenant
from tawtin.model.workload import Residency
from tests.gateway.harness import CHAT, Running, error_of, running, served
from tests.gateway.stub import Stub

MODELS = {"plain": served(ReplicaSettings(service="lab/atlas"))}
READY: list[tuple[str, str]] = []


def ready(_tenant: str, _name: str) -> list[tuple[str, str]]:
    return list(READY)


def may_start(_tenant: str, _name: str) -> bool:
    return True


ABROAD = Tenant(id="abroad", residency=Residency(allow=("FR",)))


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Running]:
    READY.clear()
    with running(
        tmp_path,
        MODELS,
        ready=ready,
        may_start=may_start,
        tenants=(ABROAD,),
        holds_max=2,
    ) as one:
        yield one


def waiting(one: Running) -> int:
    load = one.do(one.gateway.loads()).get("lab/atlas")
    return load.in_flight if load is not None else 0


def test_requests_wait_for_a_replica_and_are_its_load_until_they_are_answered(one: Running) -> None:
    key, abroad = one.key(), one.key("abroad")
    with Stub() as stub, ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(one.ask, key, "plain") for _ in range(2)]
        one.until(lambda: waiting(one) == 2, "two that wait")
        assert error_of(one.ask(key, "plain")) == (503, "no_replica_ready")
        assert error_of(one.ask(abroad, "plain")) == (403, "no_lawful_replica")
        assert stub.asked == []
        READY.append(("run-1", urlsplit(stub.url).netloc))
        answers = [each.result(60) for each in asked]
        assert [each.status for each in answers] == [200, 200]
        receipts = {each.headers["x-tawtin-receipt"] for each in answers}
        one.until(lambda: one.do(one.gateway.loads())["lab/atlas"].tokens == 20, "its tokens")
        load = one.do(one.gateway.loads())["lab/atlas"]
        assert (load.in_flight, load.arrived) == (0, 2)
        rows = {row["receipt"]: row["cause"] for row in one.settled()}
        assert {rows.pop(each) for each in receipts} == {"done"}
        assert set(rows.values()) == {"not_sent"}


def test_a_client_that_goes_is_waited_for_no_more_and_pays_nothing(one: Running) -> None:
    key, body = one.key(), json.dumps({"model": "plain", **CHAT}).encode()
    where = urlsplit(one.url)
    with socket.create_connection((where.hostname or "", where.port or 0), timeout=30) as client:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {key}\r\n"
        client.sendall(
            f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
        )
        one.until(lambda: waiting(one) == 1, "one that waits")
    one.until(lambda: waiting(one) == 0, "its end")
    (row,) = one.settled()
    assert (row["cause"], row["tokens_in"], row["tokens_out"]) == ("not_sent", 0, 0)


def test_what_waits_too_long_is_told_so(tmp_path: Path) -> None:
    with running(tmp_path, MODELS, may_start=may_start, hold_seconds_max=1) as one:
        assert error_of(one.ask(one.key(), "plain")) == (503, "no_replica_ready")
        with running(tmp_path / "other", MODELS) as other:  # its service does not start for anybody
            assert error_of(other.ask(other.key(), "plain")) == (403, "no_lawful_replica")
