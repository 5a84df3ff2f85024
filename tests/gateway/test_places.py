"""Where requests go, and in which order: at home first, then as the operator says, and never where they may not be."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tawtin.client.errors import ConnectionBroken
from tawtin.core.route import Tier, first_tier
from tawtin.gateway.settings import GatewaySettings, ReplicaSettings, TenantSettings
from tawtin.gateway.snapshot import Holder, Model, Permit, Profile, Replica, Snapshot, SnapshotReader
from tawtin.gateway.worker.dispatch import Dispatch
from tawtin.gateway.worker.link import Link
from tawtin.gateway.worker.places import Wish, places
from tawtin.gateway.worker.upstream import Pool
from tests.gateway.harness import CHAT, Running, running, served
from tests.gateway.stub import Stub
from tests.web.raw import connect

TALKS: list[Any] = [[{"role": "user", "content": f"{number} salam"}] for number in range(8)]


# --- in pieces -------------------------------------------------------------------------------------------------------

NOW_MS = 1_795_000_000_000
COUNTRIES = ("MA", "KE", "FR", "US")
PERMITS = st.one_of(
    st.none(),
    st.just(Permit(allowed=False, why="no")),
    st.builds(
        Permit, allowed=st.just(True), not_after_ms=st.none() | st.integers(NOW_MS - 2_000, NOW_MS + 8_000)
    ),
)
REPLICAS = st.lists(
    st.tuples(
        st.sampled_from(COUNTRIES),
        st.sampled_from(("", "", "Example AI")),
        st.integers(0, 2),
        st.integers(0, 2),
        PERMITS,
    ),
    min_size=1,
    max_size=6,
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("later"), st.integers(1, 3_000)),
        st.tuples(st.just("permit"), st.integers(0, 5), PERMITS),
        st.tuples(st.just("external"), st.booleans()),
        st.tuples(st.just("withdrawn"), st.booleans()),
        st.tuples(st.just("open"), st.integers(0, 5), st.integers(0, 3)),
        st.tuples(
            st.just("ask"), st.integers(0, 2**32 - 1), st.lists(st.integers(0, 2_000), min_size=1, max_size=7)
        ),
    ),
    max_size=25,
)


class Network:
    """A worker's dispatch over replicas that nobody connects to, and what an oracle knows of them."""

    def __init__(self, drawn: list[tuple[str, str, int, int, Permit | None]]) -> None:
        self.replicas = [
            Replica(
                id=f"m#{number}", url="http://h", country=country, provider=provider,
                priority=priority, requests_max=most,
            )
            for number, (country, provider, priority, most, _) in enumerate(drawn)
        ]  # fmt: skip
        self.permits = {f"m#{number}": permit for number, (*_, permit) in enumerate(drawn)}
        self.now_ms = NOW_MS
        self.external = False
        self.withdrawn = False
        self.reader = SnapshotReader(Path("/nowhere"), 1_000)
        settings = GatewaySettings(failures_max=1, shut_seconds=3_600)
        self.dispatch = Dispatch(settings, self.reader, Link(Path("/nowhere"), "w", 1.0))
        self.say()

    def say(self) -> None:
        """Let the worker know what the oracle knows."""
        permits = {id: permit for id, permit in self.permits.items() if permit is not None}
        self.reader.held = Snapshot(
            factory="casa",
            country="MA",
            made_ms=self.now_ms,
            class_default="personal",
            models={"m": Model(name="m", context_tokens_max=1, replicas=tuple(self.replicas))},
            profiles=(Profile(permits={"personal/": permits, "public/": {}}),),
            tenants={} if self.withdrawn else {"t": Holder(profile=0, external=self.external, home="MA")},
        )
        self.reader._fresh_ms = self.now_ms  # pyright: ignore[reportPrivateUsage]

    def lawful(self, replica: Replica) -> bool:
        permit = self.permits[replica.id]
        return (
            not self.withdrawn
            and permit is not None
            and permit.allowed
            and (permit.not_after_ms is None or self.now_ms < permit.not_after_ms)
            and (self.external or not replica.provider)
        )

    def pool(self, replica: Replica) -> Pool:
        return self.dispatch._pool(replica)  # pyright: ignore[reportPrivateUsage]

    def request(self, key: int, pauses: list[int]) -> None:
        """Ask one replica after the other, all of which fail, with time and changes between."""
        tried: set[str] = set()
        for pause in pauses:
            found = places(self.reader.current(self.now_ms), Wish("t", "m", "personal", ""), self.now_ms)
            pool = self.dispatch._choose(found, tried, key)  # pyright: ignore[reportPrivateUsage]
            left = [
                each
                for each in self.replicas
                if each.id not in tried and self.lawful(each) and self.pool(each).may(0)
            ]
            if pool is None:
                assert not left
                return
            assert self.lawful(pool.replica)
            assert pool.replica in left
            assert order(pool.replica) == min(map(order, left))
            tried.add(pool.replica.id)
            self.now_ms += pause
            self.say()
            if pause % 2:
                self.hedge(tried, key)
            pool.went_wrong()

    def hedge(self, tried: set[str], key: int) -> None:
        """Ask a second one beside it."""
        found = places(self.reader.current(self.now_ms), Wish("t", "m", "personal", ""), self.now_ms)
        pool = self.dispatch._choose(found, tried, key, outside=False)  # pyright: ignore[reportPrivateUsage]
        if pool is not None:
            assert self.lawful(pool.replica)
            assert not pool.replica.provider
            assert pool.replica.id not in tried
            tried.add(pool.replica.id)


def order(replica: Replica) -> tuple[bool, bool, int]:
    return bool(replica.provider), replica.country != "MA", replica.priority


@settings(max_examples=150)
@given(REPLICAS, STEPS)
def test_nothing_is_offered_to_a_place_without_a_verdict_that_allows_it_then(
    drawn: list[tuple[str, str, int, int, Permit | None]], steps: list[tuple[Any, ...]]
) -> None:
    """Over networks drawn at random: verdicts absent, refused, out of date and withdrawn, whatever fails or is full."""

    async def history() -> None:
        network = Network(drawn)
        for kind, *what in steps:
            number = f"m#{what[0] % len(drawn)}"
            match kind:
                case "later":
                    network.now_ms += what[0]
                case "permit":
                    network.permits[number] = what[1]
                case "external":
                    network.external = what[0]
                case "withdrawn":
                    network.withdrawn = what[0]
                case "open":
                    network.pool(network.replicas[int(number[2:])]).open = what[1]
                case _:
                    network.request(what[0], what[1])
            network.say()

    asyncio.run(history())


def test_a_snapshot_that_is_too_old_gives_no_place() -> None:
    network = Network([("MA", "", 0, 0, Permit(allowed=True))])
    wish = Wish("t", "m", "personal", "")
    assert places(network.reader.current(NOW_MS + 1_000), wish, NOW_MS).replicas
    assert not places(network.reader.current(NOW_MS + 1_001), wish, NOW_MS).replicas


def test_the_first_tier_is_at_home_then_the_operators_then_abroad_then_outside() -> None:
    outside, abroad, dear, near = (
        Tier(external=True, abroad=False, priority=0),
        Tier(external=False, abroad=True, priority=0),
        Tier(external=False, abroad=False, priority=5),
        Tier(external=False, abroad=False, priority=1),
    )
    tiers = [outside, abroad, dear, near, near]
    assert first_tier(tiers) == [3, 4]
    assert [first_tier(tiers[:end]) for end in (3, 2, 1, 0)] == [[2], [1], [0], []]


# --- with real processes ---------------------------------------------------------------------------------------------


@contextmanager
def held(gateway: Running, key: str, stub: Stub) -> Generator[None]:
    """A request that a replica has for the time of the block, and does not answer."""
    body = json.dumps({"model": "plain", **CHAT}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    before = len(stub.asked)
    with connect(gateway.url) as connection:
        connection.sendall(head.encode() + body)
        gateway.until(lambda: len(stub.asked) > before, "the request")
        yield
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # leave at once
    assert stub.asked[-1].gone.wait(30)


def test_replicas_are_asked_in_the_order_of_their_tiers(tmp_path: Path) -> None:
    """Two at home by number, one abroad; each takes over while those before it are full, and no longer."""
    with ExitStack() as stack:
        near, dear, abroad = (stack.enter_context(Stub("plain")) for _ in range(3))
        replicas = [
            ReplicaSettings(url=dear.url, priority=5, requests_max=1),
            ReplicaSettings(url=abroad.url, country="FR"),
            ReplicaSettings(url=near.url, priority=1, requests_max=1),
        ]
        gateway = stack.enter_context(running(tmp_path, {"plain": served(*replicas)}))
        key, guest = gateway.key(), gateway.key("guest", country="FR")

        def at(key: str) -> set[str]:
            """Where eight conversations go."""
            before = {stub.url: len(stub.asked) for stub in (near, dear, abroad)}
            for each in TALKS:
                assert gateway.ask(key, "plain", messages=each).status == 200
            return {stub.url for stub in (near, dear, abroad) if len(stub.asked) > before[stub.url]}

        assert at(key) == {near.url}
        assert at(guest) == {abroad.url}, "home is the tenant's country"
        near.always = dear.always = "mute"
        with held(gateway, key, near):
            dear.always = "plain"
            assert at(key) == {dear.url}
            dear.always = "mute"
            with held(gateway, key, dear):
                assert at(key) == {abroad.url}
        near.always = dear.always = "plain"
        gateway.until(lambda: at(key) == {near.url}, "the return")


def test_forbidden_countries_count_nothing_whatever_fails_at_home(tmp_path: Path) -> None:
    """Replicas of all kinds in countries where the data may not be: none of them hears of a request."""
    with ExitStack() as stack:
        home = [stack.enter_context(Stub(kind)) for kind in ("closes", "busy", "plain")]
        away = [stack.enter_context(Stub("plain")) for _ in range(3)]
        replicas = [
            *(ReplicaSettings(url=each.url, priority=9) for each in home),
            ReplicaSettings(url=away[0].url, country="US"),
            ReplicaSettings(url=away[1].url, country="FR", priority=0),
            ReplicaSettings(url=away[2].url, country="US", external="Example AI"),
        ]
        gateway = stack.enter_context(
            running(
                tmp_path,
                {"plain": served(*replicas)},
                for_tenants={"lab": TenantSettings(external=True)},
                class_default="government_sensitive",
                failures_max=30,
                shut_seconds=1,
                tries_max=6,
            )
        )
        key = gateway.key()
        for number in range(40):
            if number == 20:
                home[2].always = "closes"
            if number == 30:
                for each in home:
                    each.always = "dies"
            messages: Any = [{"role": "user", "content": f"{number} salam"}]
            try:
                got = gateway.ask(key, "plain", messages=messages, stream=number % 2 == 0)
            except ConnectionBroken:
                continue  # its answer broke off
            assert got.headers.get("x-tawtin-country", "MA") == "MA"
            assert got.status == 200 or number >= 20
        rows = gateway.settled()
        assert {each["country"] for each in rows} <= {"MA", ""}
        assert sum(len(each.asked) for each in home) > 40, "none failed, so nothing was shown"
        assert [len(each.asked) for each in away] == [0, 0, 0]
        for each in home:
            each.always = "closes"
        away_class = gateway.ask(key, "plain", headers={"x-tawtin-class": "public"})
        assert away_class.status == 200
        assert sum(len(each.asked) for each in away) == 1, "and they would have answered"
