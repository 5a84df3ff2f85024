"""External providers: the last resort, for tenants and data that may, shown as such, and never anything else."""

from __future__ import annotations

import sqlite3
import ssl
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tawtin.gateway.ledger.rows import FILE, Rows
from tawtin.gateway.settings import (
    GatewaySettings,
    Limits,
    ModelSettings,
    ReplicaSettings,
    TenantSettings,
    unsound,
)
from tawtin.gateway.snapshot import models_of
from tawtin.model.rules import Facts
from tests.gateway.harness import SITE, error_of, running, served
from tests.gateway.stub import Stub
from tests.web.raw import request
from tools.kubernetes_trust import Trust

MAY = {"lab": TenantSettings(external=True)}
TALKS: list[Any] = [[{"role": "user", "content": f"{number} salam"}] for number in range(8)]


def outside(stub: Stub, country: str = "US", **more: Any) -> ReplicaSettings:  # noqa: ANN401 - fields
    return ReplicaSettings(url=stub.url, country=country, external="Example AI", **more)


def test_it_answers_only_where_no_other_can_and_says_who_it_is(tmp_path: Path) -> None:
    key_file = tmp_path / "outside.key"
    key_file.write_text("sk-outside\n")
    with Stub("plain") as home, Stub("plain") as provider:
        models = {"plain": served(ReplicaSettings(url=home.url), outside(provider, key_file=str(key_file)))}
        with running(tmp_path, models, for_tenants=MAY, failures_max=2, shut_seconds=3600) as gateway:
            key = gateway.key()
            answers = [gateway.ask(key, "plain", messages=each) for each in TALKS]
            assert {each.headers.get("x-tawtin-provider") for each in answers} == {None}
            assert not provider.asked
            home.always = "closes"
            got = gateway.ask(key, "plain", stream=True)
            assert (got.status, got.headers["x-tawtin-provider"]) == (200, "Example AI")
            assert got.headers["x-tawtin-country"] == "US"
            assert provider.asked[-1].headers["authorization"] == "Bearer sk-outside"
            gateway.ask(key, "plain")
            before = len(home.asked)
            assert gateway.ask(key, "plain").headers["x-tawtin-provider"] == "Example AI"
            assert len(home.asked) == before, "it is shut, and not asked first again"
            row = gateway.row(got.headers["x-tawtin-receipt"])
            assert (row["provider"], row["country"], row["replica"]) == ("Example AI", "US", "plain#1")
            assert {each["provider"] for each in gateway.settled()} == {"", "Example AI"}
            used = gateway.do(gateway.gateway.used("lab", ""))
            assert {(each.country, each.provider): each.requests for each in used} == {
                ("MA", ""): len(TALKS),
                ("US", "Example AI"): 3,
            }
            view = gateway.do(gateway.gateway.endpoints(replicas=True))
            assert view.models[0].providers == ("Example AI",)
            assert [each.provider for each in view.replicas] == ["", "Example AI"]
            listed = request(gateway.url, "GET", "/v1/models/plain", key=key).json
            assert listed["providers"] == ["Example AI"]


def test_it_gets_nothing_of_tenants_and_data_that_may_not(tmp_path: Path) -> None:
    with Stub("plain") as home, Stub("plain") as provider:
        models = {
            "plain": served(ReplicaSettings(url=home.url), outside(provider)),
            "only": served(outside(provider)),
        }
        with running(tmp_path, models, for_tenants=MAY) as gateway:
            lab, other = gateway.key(), gateway.key("other")
            home.always = "closes"
            got = gateway.ask(other, "plain")
            assert error_of(got) == (502, "replica_failed")
            assert "external provider Example AI in US: this tenant may not" in got.body.decode()
            got = gateway.ask(other, "only")
            assert error_of(got) == (403, "no_lawful_replica")
            assert "external provider Example AI in US: this tenant may not" in got.body.decode()
            secret = {"x-tawtin-class": "government_sensitive"}
            for model, want in (("plain", (502, "replica_failed")), ("only", (403, "no_lawful_replica"))):
                got = gateway.ask(lab, model, headers=secret)
                assert error_of(got) == want
                assert "external provider Example AI in US: a replica in US refused" in got.body.decode()
            assert not provider.asked
            assert gateway.ask(lab, "only").status == 200, "nothing else stood in the way"


def test_it_is_spoken_with_over_tls_and_only_if_its_name_is_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Trust(tmp_path).server("provider", "127.0.0.2")  # and `localhost`, but not where it really listens
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "provider.crt", tmp_path / "provider.key")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.crt"))
    with Stub("plain", tls=context) as provider:
        named = provider.url.replace("127.0.0.1", "localhost")
        models = {
            "plain": served(ReplicaSettings(url=named, country="US", external="Example AI")),
            "wrong": served(ReplicaSettings(url=provider.url, country="US", external="Example AI")),
        }
        with running(tmp_path, models, for_tenants=MAY) as gateway:
            key = gateway.key()
            assert gateway.ask(key, "plain").status == 200
            before = len(provider.asked)
            assert error_of(gateway.ask(key, "wrong")) == (502, "replica_failed")
            assert len(provider.asked) == before


def test_nothing_is_taken_for_granted_of_who_runs_it() -> None:
    """One in the factory's own country has not the factory's facts."""
    site = replace(SITE, facts=Facts(law="MA", control_plane="MA", keys="MA"))
    own = ReplicaSettings(url="https://h", country="MA")
    models = models_of({"m": served(own, replace(own, external="X"))}, site)
    assert [each.facts for each in models["m"].replicas] == [site.facts, Facts()]


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        (ReplicaSettings(url="https://h", external="X"), "country"),
        (ReplicaSettings(url="http://h", external="X", country="US"), "https"),
        (ReplicaSettings(service="lab/atlas", external="X"), "service"),
    ],
)
def test_what_is_outside_says_where_and_is_private(wrong: ReplicaSettings, word: str) -> None:
    said = unsound(GatewaySettings(), {"m": ModelSettings(replicas=(wrong,))})
    assert said.startswith("models.m.replicas[0]")
    assert word in said


def test_a_tenant_that_may_use_providers_has_the_limits_of_all_tenants() -> None:
    assert TenantSettings(external=True).limits is None
    assert TenantSettings(tokens_per_minute=5).limits == Limits(tokens_per_minute=5)


def test_a_ledger_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    Rows(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / FILE)) as db, db:
        db.execute("ALTER TABLE requests DROP COLUMN provider")
        db.execute(
            "INSERT INTO requests"
            " (receipt, tenant, key, model, month, worker, reserved_ms, reserve, settled_ms, country)"
            " VALUES ('rc-1', 'lab', 'k', 'm', '2026-11', 'w', 1, X'', 2, 'MA')"
        )
    for _ in range(2):
        rows = Rows(tmp_path)
        assert [(each.country, each.provider, each.requests) for each in rows.used("", "")] == [("MA", "", 1)]
        rows.close()
