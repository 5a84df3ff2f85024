"""What is taken out of requests before a replica sees them; and nothing is written down unless a tenant wants it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from tawtin.gateway.settings import ReplicaSettings, TenantSettings
from tawtin.gateway.worker.content import Contents, Said
from tests.gateway.harness import error_of, running, served
from tests.gateway.stub import Stub

HOOK = """
import re
def hide(fields):
    for message in fields["messages"]:
        message["content"] = re.sub(r"[A-Z]{2}[0-9]{6}", "[card]", message["content"])
        if message["content"] == "break":
            raise RuntimeError("never tell: " + message["content"])
        if message["content"] == "change":
            return {**fields, "model": "another"}
        if message["content"] == "nothing":
            return None
    return fields
"""
SECRET = "my card is AB123456, سلام"


def talk(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_a_replica_sees_what_the_hook_leaves_and_nothing_where_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "hooks_of_a_test.py").write_text(HOOK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Stub("plain") as stub:
        models = {"plain": served(ReplicaSettings(url=stub.url))}
        with running(tmp_path, models, redact="hooks_of_a_test:hide") as gateway:
            key = gateway.key()
            assert gateway.ask(key, "plain", messages=talk(SECRET), stream=True, x_more=1).status == 200
            sent = stub.asked[-1].json
            assert sent["messages"] == talk("my card is [card], سلام")
            assert (sent["x_more"], sent["stream_options"]) == (1, {"include_usage": True})
            before = len(stub.asked)
            for word in ("break", "change", "nothing"):
                got = gateway.ask(key, "plain", messages=talk(word))
                assert error_of(got) == (500, "redaction_failed")
                assert "never tell" not in got.body.decode()
            assert len(stub.asked) == before
            assert len(gateway.settled()) == 1
    assert "never tell" not in capfd.readouterr().err


def test_a_hook_that_is_not_there_lets_nothing_through(tmp_path: Path) -> None:
    with Stub("plain") as stub:
        models = {"plain": served(ReplicaSettings(url=stub.url))}
        with running(tmp_path, models, redact="no_such_module:hide") as gateway:
            assert error_of(gateway.ask(gateway.key(), "plain")) == (500, "redaction_failed")
            assert not stub.asked


def test_content_is_kept_for_tenants_that_want_it_and_for_nobody_else(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Stub("plain") as stub:
        models = {"plain": served(ReplicaSettings(url=stub.url))}
        with running(tmp_path, models, for_tenants={"lab": TenantSettings(log_content=True)}) as gateway:
            key, other = gateway.key(), gateway.key("other")
            folder = gateway.gateway.folder
            for stream in (False, True):
                assert gateway.ask(other, "plain", messages=talk("zzsecret"), stream=stream).status == 200
            assert error_of(gateway.ask(other, "none", messages=talk("zzsecret"))) == (404, "model_not_found")
            assert not (folder / "content").exists()
            whole = gateway.ask(key, "plain", messages=talk(SECRET))
            stream = gateway.ask(key, "plain", messages=talk("again"), stream=True)
            path = folder / "content" / "lab.jsonl"
            gateway.until(lambda: path.read_bytes().count(b"\n") == 2, "two lines")
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            assert json.loads(lines[0]["request"])["messages"] == talk(SECRET)
            assert json.loads(lines[0]["answer"]) == whole.json
            assert lines[1]["answer"].encode() == stream.body
            for line, got in zip(lines, (whole, stream), strict=True):
                assert line["receipt"] == got.headers["x-tawtin-receipt"]
                assert (line["tenant"], line["country"], line["status"], line.get("cut", False)) == (
                    "lab",
                    "MA",
                    200,
                    False,
                )
            assert {each.stat().st_mode & 0o077 for each in (path, path.parent)} == {0}
            assert [each.name for each in path.parent.glob("*.jsonl")] == ["lab.jsonl"]
        kept = b"".join(each.read_bytes() for each in folder.rglob("*") if each.is_file())
        assert b"zzsecret" not in kept, "no file of the gateway has what others said"
    assert "zzsecret" not in capfd.readouterr().err


def test_files_stay_within_their_bound_and_the_newest_are_there(tmp_path: Path) -> None:
    contents = Contents(tmp_path, 8_192)
    said = Said(
        at_ms=1, receipt="", tenant="a/../b", model="m", path="/v1", replica="m#0", country="MA", status=200,
        request="x" * 900, answer="",
    )  # fmt: skip
    for number in range(40):
        contents.write(replace(said, receipt=f"rc-{number}"))
    contents.write(replace(said, receipt="rc-long", request="\0" * 1_000))
    files = sorted((tmp_path / "content").glob("*.jsonl"))
    assert [each.name for each in files] == ["a%2F..%2Fb.1.jsonl", "a%2F..%2Fb.jsonl"]
    assert sum(each.stat().st_size for each in files) <= 8_192
    newest = [json.loads(line) for line in files[1].read_text().splitlines()][-1]
    assert (newest["receipt"], newest["request"], newest["cut"]) == ("rc-long", "", True)
