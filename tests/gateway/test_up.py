"""The gateway as a part of a factory: settings that are wrong, and what becomes of it when the factory is killed."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.cli.conftest import Home, made
from tests.gateway.harness import CHAT, Running, error_of
from tests.gateway.stub import Stub
from tests.web.raw import request

MODELS = (
    '\n[gateway]\nport = 0\nsnapshot_ms = 100\n[models.plain]\n[[models.plain.replicas]]\nurl = "{url}"\n'
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return made(tmp_path / "home")


def configure(home: Home, text: str) -> None:
    file = home.folder / "factory.toml"
    file.write_text(file.read_text() + text)


def gateway_of(home: Home) -> str:
    said = json.loads((home.folder / "data" / "address.json").read_text())
    return str(said["gateway"]).removesuffix("/v1")


def names(home: Home) -> set[str]:
    """What runs of the gateway: `ledger`, `worker`."""
    found: set[str] = set()
    for pid in home.processes():
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"tawtin.gateway" in words:
            found.add(words[words.index(b"tawtin.gateway") + 1].decode())
    return found


def test_a_factory_without_models_has_no_gateway(home: Home) -> None:
    try:
        home.up()
        assert "gateway" not in json.loads((home.folder / "data" / "address.json").read_text())
        assert names(home) == set()
        assert not (home.folder / "data" / "gateway").exists()
        told = home.tawtin("models")
        assert (told.code, "serves no models" in told.err) == (5, True)
    finally:
        home.end()


def test_a_factory_that_is_killed_takes_its_gateway_along_and_brings_it_back(home: Home) -> None:
    with Stub("plain") as stub:
        configure(home, MODELS.format(url=stub.url))
        try:
            home.up()
            key = (home.folder / "data" / "owner.key").read_text().strip()

            def ask() -> int:
                url = gateway_of(home)
                body = {"model": "plain", **CHAT}
                return request(url, "POST", "/v1/chat/completions", key=key, body=body).status

            Running.until(lambda: ask() == 200, "an answer")
            before = gateway_of(home)
            os.kill(home.pid(), signal.SIGKILL)
            Running.until(lambda: names(home) == set(), "the end of the gateway")
            with pytest.raises(OSError, match="refused"):
                request(before, "GET", "/healthz")
            home.up()
            Running.until(lambda: ask() == 200, "an answer again")
            rows = home.tawtin("endpoints", "usage", "--json").json["items"]
            assert [(each["model"], each["requests"]) for each in rows] == [("plain", len(stub.asked))]
        finally:
            home.end()
        assert names(home) == set()


def test_a_revoked_key_ends_at_the_gateway_as_well(home: Home) -> None:
    with Stub("plain") as stub:
        configure(home, MODELS.format(url=stub.url))
        try:
            home.up()
            made_key = home.tawtin("key", "create", "--json").json
            url, body = gateway_of(home), {"model": "plain", **CHAT}

            def ask() -> int:
                return request(url, "POST", "/v1/chat/completions", key=made_key["secret"], body=body).status

            Running.until(lambda: ask() == 200, "the key")
            assert home.tawtin("key", "revoke", made_key["id"]).code == 0
            Running.until(lambda: ask() == 401, "its end")
            got = request(url, "POST", "/v1/chat/completions", key=made_key["secret"], body=body)
            assert error_of(got) == (401, "invalid_api_key")
        finally:
            home.end()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[gateway]\nclass_default = "secret"\n', "gateway.class_default: `secret` is not one of"),
        ("[gateway]\nstale_ms = 1000\n", "gateway.stale_ms: has to be at least twice"),
        ("[gateway]\nworkers = 0\n", "gateway.workers: "),
        ('[models."a b"]\n', "models"),
        ('[models.a]\n[[models.a.replicas]]\nurl = "file:///x"\n', "models.a.replicas"),
        ('[models.a]\n[[models.a.replicas]]\nurl = "http://h"\ncountry = "Morocco"\n', "models.a.replicas"),
    ],
)
def test_settings_that_are_wrong_are_named(home: Home, text: str, said: str) -> None:
    configure(home, "\n" + text)
    told = home.tawtin("up")
    assert told.code == 2
    assert said in told.err
