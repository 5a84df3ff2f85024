"""What the control plane tells workers, and that nothing but that lets a request through."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tawtin.core.residency import Judge
from tawtin.core.state import State
from tawtin.gateway.settings import GatewaySettings, ReplicaSettings
from tawtin.gateway.snapshot import (
    Snapshot,
    SnapshotReader,
    make_snapshot,
    models_of,
    say_fresh,
    write_snapshot,
)
from tawtin.model.resources import Demand, Shape
from tawtin.model.rules import DATA_CLASSES, Authorisation, Facts
from tawtin.model.site import Site
from tawtin.model.tenant import Tenant, TenantKind
from tawtin.model.workload import Data, Residency, WorkloadSpec
from tests.gateway.harness import SITE, error_of, judge, running, served
from tests.gateway.stub import Stub

NOW_MS = 1_795_000_000_000
JUDGE = judge()
COUNTRIES = ("MA", "EG", "KE", "NG", "ZA", "FR", "US", "CI")
FACTS = st.builds(Facts, law=st.sampled_from(("", *COUNTRIES)), keys=st.sampled_from(("", *COUNTRIES)))
TENANTS = st.builds(
    Tenant,
    id=st.just("t"),
    kind=st.sampled_from(list(TenantKind)),
    country=st.sampled_from(("", *COUNTRIES)),
    residency=st.builds(
        Residency,
        allow=st.lists(st.sampled_from(COUNTRIES), max_size=3).map(tuple),
        deny=st.lists(st.sampled_from(COUNTRIES), max_size=2).map(tuple),
    ),
    authorisations=st.lists(
        st.builds(
            Authorisation,
            kind=st.sampled_from(
                sorted(
                    {
                        need
                        for pack in JUDGE.packs.values()
                        for rule in pack.rules
                        for need in rule.needs
                        if ":" not in need and "|" not in need and "=" not in need
                    }
                )
                or ["x"]
            ),
            number=st.just("1"),
            covers=st.lists(st.sampled_from(("*", *COUNTRIES)), min_size=1, max_size=2).map(tuple),
            expires_ms=st.sampled_from((NOW_MS - 1, NOW_MS + 1_000, None)),
        ),
        max_size=2,
    ).map(tuple),
)
REPLICAS = st.lists(
    st.builds(
        ReplicaSettings, url=st.just("http://h"), country=st.sampled_from(COUNTRIES), facts=st.none() | FACTS
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=60)
@given(st.sampled_from(COUNTRIES), FACTS, st.lists(TENANTS, min_size=1, max_size=4), REPLICAS)
def test_a_permit_is_what_the_judge_says_of_that_tenant_and_that_place(
    home: str, facts: Facts, tenants: list[Tenant], replicas: list[ReplicaSettings]
) -> None:
    """Over networks drawn at random, each verdict asked for again, from a judge that remembers nothing."""
    from msgspec.structs import replace

    site = Site(name="home", country=home, facts=facts)
    state = State(site)
    state.tenants = {f"t{number}": replace(each, id=f"t{number}") for number, each in enumerate(tenants)}
    models = models_of({"m": served(*replicas)}, site)
    made = make_snapshot(state, JUDGE, models, GatewaySettings(), NOW_MS)
    fresh = Judge(JUDGE.packs.values())
    for id, tenant in state.tenants.items():
        permits = made.profiles[made.tenants[id].profile].permits
        assert len(permits) == len(DATA_CLASSES) * (1 + len(made.purposes))
        for place, row in permits.items():
            data_class, purpose = place.split("/")
            spec = WorkloadSpec(
                name="w",
                run="",
                demand=Demand(options=(Shape(),)),
                data=Data(data_class=data_class, purpose=purpose),
            )
            for number, replica in enumerate(models["m"].replicas):
                there = Site(name=f"{number}-{id}", country=replica.country, facts=replica.facts)
                want = fresh.verdict(spec, tenant, there, NOW_MS, home=home)
                got = row[replica.id]
                assert (got.allowed, got.not_after_ms) == (want.allowed, want.not_after_ms)
                assert not got.allowed or replica.country not in tenant.residency.deny


def made() -> Snapshot:
    state = State(SITE)
    state.tenants["lab"] = Tenant(id="lab")
    models = models_of({"m": served(ReplicaSettings(url="http://h"))}, SITE)
    return make_snapshot(state, JUDGE, models, GatewaySettings(), NOW_MS)


def test_a_snapshot_that_is_absent_broken_or_old_is_none(tmp_path: Path) -> None:
    reader = SnapshotReader(tmp_path, 1_000)
    reader.look()
    assert reader.current(NOW_MS) is None
    write_snapshot(tmp_path, made())
    say_fresh(tmp_path)
    os.utime(tmp_path / "fresh", ns=(NOW_MS * 10**6, NOW_MS * 10**6))
    reader.look()
    assert reader.current(NOW_MS) is not None
    assert reader.current(NOW_MS + 1_001) is None
    assert reader.current(NOW_MS - 1_001) is None, "a clock that was set back makes nothing fresh"
    (tmp_path / "snapshot.json").write_bytes(b"{")
    reader.look()
    assert reader.current(NOW_MS) is None


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    write_snapshot(tmp_path, made())
    assert (tmp_path / "snapshot.json").stat().st_mode & 0o077 == 0


def test_workers_refuse_when_the_factory_says_nothing_and_when_a_verdict_is_over(tmp_path: Path) -> None:
    with Stub("plain") as stub:
        models = {"plain": served(ReplicaSettings(url=stub.url))}
        with running(tmp_path, models, stale_ms=400, snapshot_ms=100) as gateway:
            key = gateway.key()
            gateway.until(lambda: gateway.ask(key, "plain").status == 200, "an answer")

            async def silence() -> None:
                for task in gateway.gateway._tasks:  # pyright: ignore[reportPrivateUsage]
                    task.cancel()

            gateway.do(silence())
            gateway.until(lambda: gateway.ask(key, "plain").status == 503, "a refusal")
            before = len(stub.asked)
            assert error_of(gateway.ask(key, "plain")) == (503, "snapshot_stale")
            assert len(stub.asked) == before


def test_a_verdict_counts_until_its_own_date_whatever_the_snapshot_says(tmp_path: Path) -> None:
    import time

    from msgspec.structs import replace

    with Stub("plain") as stub:
        models = {"plain": served(ReplicaSettings(url=stub.url))}
        with running(tmp_path, models) as gateway:
            key = gateway.key()
            soon = time.time_ns() // 1_000_000 + 1_500

            def shortened(snapshot: Snapshot) -> Snapshot:
                def cut(permits: dict[str, Any]) -> dict[str, Any]:
                    return {id: replace(each, not_after_ms=soon) for id, each in permits.items()}

                profiles = [
                    replace(each, permits={place: cut(row) for place, row in each.permits.items()})
                    for each in snapshot.profiles
                ]
                return replace(snapshot, profiles=tuple(profiles))

            reader = SnapshotReader(gateway.gateway.folder, 60_000)
            reader.look()
            assert reader.held is not None
            write_snapshot(gateway.gateway.folder, shortened(reader.held))
            gateway.until(lambda: gateway.ask(key, "plain").status == 403, "the end of the verdict")
            got = gateway.ask(key, "plain")
            assert error_of(got) == (403, "no_lawful_replica")
            assert "out of date" in got.json["error"]["message"]
            assert time.time_ns() // 1_000_000 >= soon
