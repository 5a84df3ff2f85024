"""A second replica that is asked when the first one is slow: who wins, what is charged, and where it never goes."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tawtin.gateway.settings import ReplicaSettings, TenantSettings
from tests.gateway.harness import error_of, running, served
from tests.gateway.stub import COMPLETION, Stub

TALKS: list[Any] = [[{"role": "user", "content": f"{number} salam"}] for number in range(8)]


@pytest.mark.parametrize("stream", [False, True])
def test_the_first_that_answers_wins_the_other_is_closed_and_one_is_charged(
    tmp_path: Path, stream: bool
) -> None:
    """The slow one takes requests and says nothing; of a stream it sends the head at once."""
    with Stub("headed" if stream else "mute") as slow, Stub("plain") as well:
        models = {"plain": served(ReplicaSettings(url=slow.url), ReplicaSettings(url=well.url))}
        with running(tmp_path, models, hedge_ms=20, hedge_percent=100) as gateway:
            key = gateway.key()
            answers = [gateway.ask(key, "plain", messages=each, stream=stream) for each in TALKS]
            assert [each.status for each in answers] == [200] * 8
            if stream:
                assert all(each.body.rstrip().endswith(b"data: [DONE]") for each in answers)
            else:
                assert all(each.json == COMPLETION for each in answers)
            assert slow.asked, "no other was asked first, so nothing was shown"
            assert all(each.gone.wait(30) for each in slow.asked), "it was not told to stop"
            rows = gateway.settled()
            assert len(rows) == len(well.asked) == 8
            assert {(each["replica"], each["cause"]) for each in rows} == {("plain#1", "done")}
            assert {(each["tokens_in"], each["tokens_out"], each["estimated"]) for each in rows} == {
                (7, 3, 0)
            }
            also = sum(each["also"] == "plain#0" for each in rows)
            assert also >= len(slow.asked), "what it was sent it may not have read before it was closed"
            asked = {each.headers["x-request-id"] for each in (*slow.asked, *well.asked)}
            assert asked == {each["receipt"] for each in rows}

            def told() -> bool:
                said = gateway.do(gateway.gateway.endpoints(replicas=True)).replicas
                return not any(each.open for each in said) and sum(each.hedges for each in said) >= also

            gateway.until(told, "that nothing is left open, and hedges are counted")


def test_a_second_one_that_fails_or_refuses_leaves_the_first_its_time(tmp_path: Path) -> None:
    with Stub("late") as late, Stub("closes") as bad:
        models = {"plain": served(ReplicaSettings(url=late.url), ReplicaSettings(url=bad.url))}
        with running(tmp_path, models, hedge_ms=1, hedge_percent=100, failures_max=1_000) as gateway:
            key = gateway.key()
            for kind in ("closes", "busy"):
                bad.always = kind
                before = len(bad.asked)
                answers = [gateway.ask(key, "plain", messages=each) for each in TALKS]
                assert [each.status for each in answers] == [200] * 8
                assert len(bad.asked) > before
            assert {each["replica"] for each in gateway.settled()} == {"plain#0"}


def test_second_requests_are_few_however_slow_all_are(tmp_path: Path) -> None:
    with Stub("late") as one, Stub("late") as other:
        models = {"plain": served(ReplicaSettings(url=one.url), ReplicaSettings(url=other.url))}
        with running(tmp_path, models, hedge_ms=1, hedge_percent=20) as gateway:
            key = gateway.key()
            for _ in range(3):
                assert {gateway.ask(key, "plain", messages=each).status for each in TALKS} == {200}
            count = len(one.asked) + len(other.asked)
            assert 24 < count <= 24 + 4
            assert len(gateway.settled()) == 24


def test_what_is_usual_for_a_replica_is_waited_for(tmp_path: Path) -> None:
    """By the percentile alone: no second request before something is known, and one when it goes mute."""
    with Stub("plain") as one, Stub("plain") as other:
        models = {"plain": served(ReplicaSettings(url=one.url), ReplicaSettings(url=other.url, priority=1))}
        with running(tmp_path, models, hedge_percentile=100, hedge_percent=100) as gateway:
            key = gateway.key()
            for _ in range(3):
                assert {gateway.ask(key, "plain", messages=each).status for each in TALKS} == {200}
            one.always = "mute"
            assert gateway.ask(key, "plain").status == 200
            assert one.asked[-1].gone.wait(30)


def test_nobody_is_asked_as_well_who_may_not_have_it_nor_a_provider_outside(tmp_path: Path) -> None:
    with ExitStack() as stack:
        slow = stack.enter_context(Stub("mute"))
        away, provider = (stack.enter_context(Stub("plain")) for _ in range(2))
        replicas = [
            ReplicaSettings(url=slow.url),
            ReplicaSettings(url=away.url, country="US"),
            ReplicaSettings(url=provider.url, country="MA", external="Example AI"),
        ]
        models = {"plain": served(*replicas), "outside": served(replicas[0], replicas[2])}
        gateway = stack.enter_context(
            running(
                tmp_path,
                models,
                for_tenants={"lab": TenantSettings(external=True)},
                hedge_ms=1,
                hedge_percent=100,
                first_byte_seconds_max=1,
            )
        )
        key = gateway.key("other")
        secret = {"x-tawtin-class": "government_sensitive"}
        assert error_of(gateway.ask(key, "plain", headers=secret)) == (502, "replica_failed")
        assert len(away.asked) == len(provider.asked) == 0
        assert gateway.ask(gateway.key(), "outside").headers["x-tawtin-provider"] == "Example AI"

        def hedges() -> int:
            return sum(each.hedges for each in gateway.do(gateway.gateway.endpoints(replicas=True)).replicas)

        assert gateway.ask(key, "plain").headers["x-tawtin-country"] == "US"
        gateway.until(lambda: hedges() == 1, "the one that was let through: to the own one abroad")
