"""Limits hold exactly whatever dies, and every request has one row."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tawtin.gateway.ledger.book import MICRO, Book
from tawtin.gateway.ledger.messages import Denied, Reserve, Settle
from tawtin.gateway.ledger.rows import Rows
from tawtin.gateway.settings import Limits, ReplicaSettings
from tawtin.model.tenant import Quota, Tenant
from tests.gateway.harness import CHAT, Running, error_of, running, served
from tests.gateway.stub import Stub

pytestmark = pytest.mark.timeout(400)  # the client is Python too, and its processor is shared
NOW_MS = 1_795_000_000_000


async def many(
    gateway: Running, key: str, model: str, count: int, at_once: int
) -> list[httpx.Response | None]:
    """So many requests, so many of them at once; None for one whose connection broke."""
    limit = asyncio.Semaphore(at_once)
    limits = httpx.Limits(max_connections=at_once)
    async with httpx.AsyncClient(base_url=gateway.url, timeout=60, limits=limits) as client:

        async def one() -> httpx.Response | None:
            async with limit:
                try:
                    return await client.post(
                        "/v1/chat/completions",
                        json={"model": model, "max_tokens": 10, **CHAT},
                        headers={"authorization": f"Bearer {key}"},
                    )
                except httpx.TransportError:
                    return None

        return await asyncio.gather(*(one() for _ in range(count)))


@pytest.mark.parametrize("by", ["money", "requests"])
def test_256_at_once_over_two_workers_never_exceed_what_100_may(tmp_path: Path, by: str) -> None:
    with Stub("exact") as stub:
        models = {"exact": served(ReplicaSettings(url=stub.url))}
        body = len(
            f'{{"model":"exact","max_tokens":10,"messages":{CHAT["messages"]}}}'.replace(", ", ",").replace(
                ": ", ":"
            )
        )
        price = (body // 4 + 1) * 1 + 10 * 2
        limits = Limits(minor_per_month=100 * price) if by == "money" else Limits(requests_per_minute=100)
        with running(tmp_path, models, workers=2, limits=limits) as gateway:
            key = gateway.key()
            answers = asyncio.run(many(gateway, key, "exact", 400, 256))
            statuses = Counter(each.status_code for each in answers if each is not None)
            rows = gateway.settled()
    assert statuses == {200: 100, 429: 300}
    assert len(stub.asked) == len(rows) == 100
    assert sum(each["micro"] for each in rows) == 100 * price * MICRO
    workers = {each["worker"] for each in rows}
    assert len(workers) == 2, "both workers took part, or nothing was shown"
    codes = {each.json()["error"]["code"] for each in answers if each is not None and each.status_code == 429}
    assert codes == {"insufficient_quota" if by == "money" else "rate_limit_exceeded"}


def test_workers_that_are_killed_under_load_lose_no_row_and_count_none_twice(tmp_path: Path) -> None:
    with Stub() as stub:
        models = {name: served(ReplicaSettings(url=stub.url)) for name in ("plain", "mute")}
        with running(tmp_path, models, workers=2) as gateway:
            key = gateway.key()

            async def killed() -> list[httpx.Response | None]:
                hanging = asyncio.create_task(many(gateway, key, "mute", 8, 8))
                while len(stub.asked) < 8:
                    await asyncio.sleep(0.005)
                asking = asyncio.create_task(many(gateway, key, "plain", 500, 32))
                for part in (1, 2):
                    while len(stub.asked) < part * 120 or len(gateway.pids("worker")) < 2:
                        await asyncio.sleep(0.005)
                    os.kill(gateway.pids("worker")[part - 1], signal.SIGKILL)
                return await asking + await hanging

            answers = asyncio.run(killed())
            rows = gateway.settled()
        with_receipt = [
            each.headers["x-tawtin-receipt"]
            for each in answers
            if each is not None and each.status_code == 200
        ]
        asked = [each.headers["x-request-id"] for each in stub.asked]
    assert any(each is None for each in answers), "nobody was cut off, so nothing was shown"
    assert len(set(with_receipt)) == len(with_receipt)
    receipts = {each["receipt"] for each in rows}
    assert set(with_receipt) <= receipts
    assert set(asked) <= receipts, "what a replica was asked was durable before"
    assert len(receipts) == len(rows) <= len(answers)
    lost = [each for each in rows if each["cause"] == "worker_lost"]
    assert len(lost) >= 8, "what hung when its worker died"
    assert all(each["estimated"] for each in lost)


def test_a_ledger_that_is_killed_under_load_forgets_nothing(tmp_path: Path) -> None:
    with (
        Stub("plain") as stub,
        running(tmp_path, {"plain": served(ReplicaSettings(url=stub.url))}, workers=2) as gateway,
    ):
        key = gateway.key()

        async def killed() -> list[httpx.Response | None]:
            asking = asyncio.create_task(many(gateway, key, "plain", 500, 32))
            while len(stub.asked) < 150:
                await asyncio.sleep(0.005)
            os.kill(gateway.pids("ledger")[0], signal.SIGKILL)
            return await asking

        answers = asyncio.run(killed())
        gateway.until(lambda: gateway.ask(key, "plain").status == 200, "the ledger")
        rows = gateway.settled()
    statuses = Counter(each.status_code if each is not None else 0 for each in answers)
    assert set(statuses) <= {200, 503}
    assert statuses[503], "nobody met the gap, so nothing was shown"
    done = [each for each in rows if each["cause"] == "done"]
    assert len(done) == statuses[200] + 1 == len(stub.asked)
    assert {each["micro"] for each in rows if each["cause"] != "done"} <= {0}


def test_a_tenants_own_budget_holds_and_a_key_has_limits_of_its_own(tmp_path: Path) -> None:
    with Stub("plain") as stub:
        models = {"plain": served(ReplicaSettings(url=stub.url))}
        tenants = (Tenant(id="poor", quota=Quota(budget_minor_per_month=0)),)
        with running(tmp_path, models, tenants=tenants) as gateway:
            assert error_of(gateway.ask(gateway.key("poor"), "plain")) == (429, "insufficient_quota")
            limited = gateway.key("rich")
            id = next(each.id for each in gateway.state.keys.values() if each.tenant == "rich")
            gateway.gateway.settings.keys[id] = Limits(requests_per_minute=1)
            gateway.key("another")  # by then the snapshot was made anew
            answers = [gateway.ask(limited, "plain") for _ in range(2)]
            assert [each.status for each in answers] == [200, 429]
            assert 0 < int(answers[1].headers["retry-after-ms"]) <= 60_000
            assert gateway.ask(gateway.key("rich"), "plain").status == 200


# --- the book alone --------------------------------------------------------------------------------------------------


def asked(number: int, **more: int | Limits) -> Reserve:
    fields = {"tokens_in": 10, "tokens_max": 30, "micro_in": 10, "micro_max": 50, **more}
    return Reserve(receipt=f"rc-{number}", tenant="lab", key="key-1", model="m", **fields)  # pyright: ignore[reportArgumentType]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "settle", "again", "lost"]),
        st.integers(0, 40),
        st.integers(0, 50),
        st.integers(0, 20_000),
    ),
    max_size=120,
)


@given(STEPS)
def test_no_sequence_of_requests_exceeds_a_limit(steps: list[tuple[str, int, int, int]]) -> None:
    """Against a plain recount of everything, at every step."""
    limits = Limits(requests_per_minute=5, tokens_per_minute=100, minor_per_month=1)
    book, now = Book(), NOW_MS
    granted: dict[int, list[int]] = {}  # number -> [when, tokens, micro, open]
    for kind, number, amount, later in steps:
        now += later
        if kind == "reserve" and number not in granted:
            micro = amount * 10_000
            said = book.reserve(
                asked(number, micro_max=micro, tokens_max=amount, tenant_limits=limits), "w", now
            )
            recent = [each for each in granted.values() if each[0] > now - 60_000]
            fits = (
                len(recent) < 5
                and sum(each[1] for each in recent) + amount <= 100
                and sum(each[2] for each in granted.values()) + micro <= MICRO
            )
            assert (said is None) == fits
            if said is None:
                granted[number] = [now, amount, micro, 1]
        elif kind == "settle" and number in granted:
            used = min(amount, granted[number][1])
            done = book.settle(Settle(receipt=f"rc-{number}", tokens_out=used, micro=used * 10_000), now)
            assert (done is not None) == bool(granted[number][3]), "settled once"
            if done is not None:
                granted[number] = [granted[number][0], used, used * 10_000, 0]
        elif kind == "lost":
            assert {each.receipt for each in book.lost("w")} == {
                f"rc-{each}" for each, (*_, held) in granted.items() if held
            }


def test_a_wait_that_is_named_is_long_enough_and_no_longer() -> None:
    book, limits = Book(), Limits(requests_per_minute=1)
    assert book.reserve(asked(1, tenant_limits=limits), "w", NOW_MS) is None
    said = book.reserve(asked(2, tenant_limits=limits), "w", NOW_MS + 1_000)
    assert isinstance(said, Denied)
    assert (said.limit, said.retry_ms) == ("requests_per_minute", 59_000)
    assert book.reserve(asked(2, tenant_limits=limits), "w", NOW_MS + 59_999) is not None
    assert book.reserve(asked(2, tenant_limits=limits), "w", NOW_MS + 60_000) is None


def test_a_book_that_is_read_again_decides_as_before(tmp_path: Path) -> None:
    limits = Limits(minor_per_month=1)
    book, rows = Book(), Rows(tmp_path)
    for number, micro in ((1, 400_000), (2, 500_000)):
        assert book.reserve(asked(number, micro_max=micro, tenant_limits=limits), "w", NOW_MS) is None
        rows.write([(book.held[f"rc-{number}"], NOW_MS)], [])
    settle = Settle(receipt="rc-1", tokens_in=4, tokens_out=1, micro=100_000, country="MA", replica="m#0")
    assert book.settle(settle, NOW_MS) is not None
    rows.write([], [(settle, NOW_MS), (settle, NOW_MS + 1)])
    rows.close()
    again, rows = Book(), Rows(tmp_path)
    rows.restore(again, NOW_MS + 10)
    assert again.held.keys() == book.held.keys() == {"rc-2"}
    assert again.micro == book.micro
    for each in (again, book):
        assert isinstance(
            each.reserve(asked(3, micro_max=400_001, tenant_limits=limits), "w", NOW_MS + 20), Denied
        )
        assert each.reserve(asked(3, micro_max=400_000, tenant_limits=limits), "w", NOW_MS + 20) is None
    assert [(each.requests, each.tokens_in, each.cost_micro) for each in rows.used("lab", "")] == [
        (1, 4, 100_000)
    ]
    assert rows.used("other", "") == rows.used("lab", "1999-01") == ()
    rows.close()
