"""Replicas and clients that stall, die and flood: what goes on, what is charged, and that memory stays bounded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tawtin.gateway.settings import ReplicaSettings
from tests.gateway.harness import CHAT, Running, error_of, running, served
from tests.gateway.stub import Stub
from tests.web.raw import connect, request


@pytest.fixture(scope="module")
def gateway(stub: Stub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    names = ("plain", "dies", "stalls", "mute", "endless", "flood")
    models = {name: served(ReplicaSettings(url=stub.url)) for name in names}
    with running(
        tmp_path_factory.mktemp("gateway"),
        models,
        first_byte_seconds_max=1,
        pause_seconds_max=1,
        body_seconds_max=2,
        event_bytes_max=256 << 10,
        failures_max=1_000,
    ) as one:
        yield one


def streamed(url: str, key: str, model: str) -> tuple[bytes, bool]:
    """What came of a stream, and whether it ended as a whole one does."""
    body = json.dumps({"model": model, "stream": True, **CHAT}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    with connect(url) as connection:
        connection.sendall(head.encode() + body)
        got = b""
        while data := connection.recv(65_536):
            got += data
    return got, got.endswith(b"0\r\n\r\n")


@pytest.mark.parametrize(
    ("model", "word"),
    [("dies", "closed the connection"), ("stalls", "took too long"), ("endless", "longer than 262144 bytes")],
)
def test_a_stream_that_breaks_off_says_so_and_does_not_look_whole(
    gateway: Running, key: str, model: str, word: str
) -> None:
    got, ended = streamed(gateway.url, key, model)
    assert not ended
    assert b'"code":"replica_failed"' in got
    assert word.encode() in got
    assert b"[DONE]" not in got
    row = next(each for each in gateway.settled() if each["model"] == model)
    assert (row["cause"], row["country"]) == ("replica_failed", "MA")
    assert (row["tokens_out"] > 0, row["estimated"]) == ((True, 1) if model == "dies" else (False, 0))


def test_a_replica_that_never_answers_is_given_up(gateway: Running, key: str) -> None:
    assert error_of(gateway.ask(key, "mute")) == (502, "replica_failed")


def test_a_client_that_goes_away_ends_the_answer_and_pays_for_what_was_made(
    gateway: Running, stub: Stub, key: str
) -> None:
    body = json.dumps({"model": "flood", "stream": True, "max_tokens": 50, **CHAT}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with connect(gateway.url) as connection:
        connection.sendall(head.encode() + body)
        assert connection.recv(1_000)
        while len(connection.recv(65_536)) < 1_000:
            pass
    asked = stub.asked[-1]
    assert asked.gone.wait(30), "the replica was not told to stop"
    row = next(each for each in gateway.settled() if each["model"] == "flood")
    assert (row["cause"], row["estimated"]) == ("client_gone", 1)
    assert row["tokens_in"] > 0
    assert 0 < row["tokens_out"] <= 50


def test_a_client_that_does_not_read_holds_its_replica_back_and_is_let_go(
    gateway: Running, stub: Stub, key: str
) -> None:
    body = json.dumps({"model": "flood", "stream": True, **CHAT}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    before = len(stub.asked)
    with connect(gateway.url) as connection:
        connection.sendall(head.encode() + body)
        gateway.until(lambda: len(stub.asked) > before, "the request")
        asked = stub.asked[-1]
        assert asked.gone.wait(60), "it was not let go"
    assert asked.sent < 64 << 20, "what a client does not read is not read from the replica either"
    resident = Path(f"/proc/{gateway.pids('worker')[0]}/statm").read_text().split()[1]
    assert int(resident) * 4096 < 256 << 20


def test_another_lawful_replica_answers_when_the_first_fails_before_its_answer(tmp_path: Path) -> None:
    with Stub("closes") as closing, Stub("busy") as busy, Stub("plain") as well, Stub("plain") as abroad:
        replicas = [ReplicaSettings(url=each.url) for each in (closing, busy, well)]
        replicas.append(ReplicaSettings(url=abroad.url, country="US"))
        with running(tmp_path, {"plain": served(*replicas)}, class_default="government_sensitive") as gateway:
            key = gateway.key()
            talks = [[{"role": "user", "content": f"{number} salam"}] for number in range(12)]
            answers = [gateway.ask(key, "plain", messages=each) for each in talks]
            rows = gateway.settled()
        assert [each.status for each in answers] == [200] * 12
        assert {each.headers["x-tawtin-country"] for each in answers} == {"MA"}
        assert not abroad.asked
        assert len(well.asked) == len(rows) == 12
        assert {each["replica"] for each in rows} == {"plain#2"}
        assert closing.asked, "no other was tried first, so nothing was shown"
        assert busy.asked


def test_a_replica_that_fails_again_and_again_is_left_alone_for_a_while(tmp_path: Path) -> None:
    with Stub("closes") as bad, Stub("plain") as well:
        models = {"plain": served(ReplicaSettings(url=bad.url), ReplicaSettings(url=well.url))}
        with running(tmp_path, models, failures_max=2, shut_seconds=2) as gateway:
            key = gateway.key()
            assert {gateway.ask(key, "plain").status for _ in range(20)} == {200}
            assert len(bad.asked) == 2
            gateway.until(
                lambda: gateway.ask(key, "plain").status == 200 and len(bad.asked) > 2, "another try"
            )
            bad.always = "plain"

            def shut() -> list[int]:
                return [each.shut for each in gateway.do(gateway.gateway.endpoints(replicas=True)).replicas]

            gateway.until(lambda: gateway.ask(key, "plain").status == 200 and shut() == [0, 0], "its return")


def test_processes_that_die_are_started_again(tmp_path: Path) -> None:
    import os
    import signal

    with (
        Stub("plain") as stub,
        running(tmp_path, {"plain": served(ReplicaSettings(url=stub.url))}) as gateway,
    ):
        key = gateway.key()
        for role in ("worker", "ledger"):
            old = gateway.pids(role)
            os.kill(old[0], signal.SIGKILL)
            gateway.until(
                lambda old=old, role=role: bool(gateway.pids(role)) and gateway.pids(role) != old, role
            )
            gateway.until(lambda: gateway.ask(key, "plain").status == 200, "an answer")


def test_a_stop_lets_answers_end_and_takes_no_new_ones(tmp_path: Path) -> None:
    with (
        Stub("stalls") as stub,
        running(tmp_path, {"plain": served(ReplicaSettings(url=stub.url))}) as gateway,
    ):
        key, url = gateway.key(), gateway.url
        body = json.dumps({"model": "plain", "stream": True, **CHAT}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {key}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        with connect(url) as connection:
            connection.sendall(head.encode() + body)
            gateway.until(lambda: bool(stub.asked), "the request")
            gateway.do(gateway.gateway.stop())
        assert [each["cause"] for each in gateway.rows()] == ["client_gone"]
        with pytest.raises(OSError, match="refused"):
            request(url, "GET", "/healthz")
