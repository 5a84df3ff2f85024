"""What the gateway charged is in the accounts, to the millionth, whatever dies and whatever is put back."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from tawtin.core.keep import keep
from tawtin.core.meter import month_of
from tawtin.core.state import State
from tawtin.gateway.ledger.book import Book
from tawtin.gateway.ledger.messages import Settle
from tawtin.gateway.ledger.rows import Rows
from tawtin.gateway.settings import ReplicaSettings
from tawtin.gateway.snapshot import SnapshotReader
from tawtin.model.tenant import Account, Quota, Tenant
from tests.cli.conftest import Home, made
from tests.gateway.harness import SITE, Running, running, served
from tests.gateway.stub import Stub
from tests.gateway.test_ledger import NOW_MS, asked, many
from tests.gateway.test_up import configure, gateway_of, names

pytestmark = pytest.mark.timeout(400)  # the client is Python too, and its processor is shared
Sums = Counter[tuple[str, ...]]


def of_rows(rows: list[dict[str, Any]]) -> Sums:
    """Requests, tokens and price of the ledger's settled rows, by tenant, month and model."""
    sums: Sums = Counter()
    for row in rows:
        place = (row["tenant"], row["month"], row["model"])
        sums[*place, "requests"] += 1
        sums[*place, "tokens"] += row["tokens_in"] + row["tokens_out"]
        sums[*place, "estimated"] += row["estimated"]
        sums[*place, "micro"] += row["micro"]
    return +sums


def of_accounts(accounts: list[Account]) -> Sums:
    sums: Sums = Counter()
    for account in accounts:
        for model, each in account.models.items():
            place = (account.tenant, account.month, model)
            sums[*place, "requests"] += each.requests
            sums[*place, "tokens"] += each.tokens_in + each.tokens_out
            sums[*place, "estimated"] += each.estimated
            sums[*place, "micro"] += each.cost_micro
        assert account.tokens_micro == sum(each.cost_micro for each in account.models.values())
    return +sums


def test_a_ledger_that_is_killed_under_load_is_charged_once(tmp_path: Path) -> None:
    with Stub() as stub:
        models = {name: served(ReplicaSettings(url=stub.url)) for name in ("plain", "mute")}
        with running(tmp_path, models, workers=2, charge_ms=50, return_seconds_max=1) as gateway:
            key = gateway.key()

            async def killed() -> None:
                hanging = asyncio.create_task(many(gateway, key, "mute", 4, 4))
                asking = asyncio.create_task(many(gateway, key, "plain", 400, 32))
                for part in (1, 2):
                    while len(stub.asked) < part * 100 or not gateway.pids("ledger"):
                        await asyncio.sleep(0.005)
                    os.kill(gateway.pids("ledger")[0], signal.SIGKILL)
                os.kill(gateway.pids("worker")[0], signal.SIGKILL)
                await asking
                os.kill(gateway.pids("worker")[-1], signal.SIGKILL)
                await hanging

            asyncio.run(killed())
            gateway.until(lambda: gateway.ask(key, "plain").status == 200, "the ledger")
            want = of_rows(gateway.settled())
            gateway.until(lambda: of_accounts([*gateway.state.accounts.values()]) == want, "the accounts")
            lives = {each["ledger"] for each in gateway.rows()}
            assert len(lives) > 1, "the ledger had one life, so nothing was shown"
            assert lives == gateway.state.charged.keys()
            assert sum(each.missing for each in gateway.state.charged.values()) == 0


def test_a_factory_that_is_killed_under_load_has_in_its_accounts_what_its_ledger_has(tmp_path: Path) -> None:
    home = made(tmp_path / "home")
    text = (
        "\n[gateway]\nport = 0\nsnapshot_ms = 100\ncharge_ms = 50\nreturn_seconds_max = 1\nstop_seconds_max = 2\n"
        "[models.plain]\ncontext_tokens_max = 1000\n"
        "input_minor_per_million = 333\noutput_minor_per_million = 777\n"
        '[[models.plain.replicas]]\nurl = "{url}"\n'
    )
    with Stub("plain") as stub:
        configure(home, text.format(url=stub.url))
        try:
            home.up()
            key = (home.folder / "data" / "owner.key").read_text().strip()

            async def killed() -> None:
                target: Any = SimpleNamespace(url=gateway_of(home))
                before = len(stub.asked)
                asking = asyncio.create_task(many(target, key, "plain", 150, 16))
                while len(stub.asked) < before + 50 and not asking.done():
                    await asyncio.sleep(0.005)
                os.kill(home.pid(), signal.SIGKILL)
                await asking

            Running.until(lambda: healthy(home), "the gateway")
            asyncio.run(killed())
            Running.until(lambda: names(home) == set(), "the end of the gateway")
            home.up()
            folder = home.folder / "data" / "gateway"
            Running.until(lambda: all(each["settled_ms"] for each in rows_of(folder)), "settlements")
            want = of_rows(rows_of(folder))
            assert want
            Running.until(lambda: of_accounts(accounts_of(home)) == want, "the accounts")
            requests = sum(want[place] for place in want if place[-1] == "requests")
            assert f" {requests} " in home.tawtin("usage").out
            assert "tokens" in home.tawtin("localisation").out
        finally:
            home.end()


def healthy(home: Home) -> bool:
    from tests.web.raw import request

    return request(gateway_of(home), "GET", "/healthz").status == 200


def rows_of(folder: Path) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(f"{(folder / 'ledger.db').as_uri()}?mode=ro", uri=True)) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute("SELECT * FROM requests")]


def accounts_of(home: Home) -> list[Account]:
    from msgspec import convert

    return convert(home.tawtin("usage", "--json").json["items"], list[Account])


def test_a_ledger_that_was_put_back_or_lost_is_noticed_and_charges_nothing_twice(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state, folder, copy = State(SITE), tmp_path / "gateway", tmp_path / "copy"
    charged: Sums = Counter()
    with Stub("plain") as stub:
        models = {"plain": served(ReplicaSettings(url=stub.url))}

        def ask(count: int, known: set[str]) -> set[str]:
            """Ask so often in one life of the gateway; the receipts of all that the ledger knows after it."""
            with running(tmp_path, models, known=state, charge_ms=50) as gateway:
                key = gateway.key()
                for _ in range(count):
                    assert gateway.ask(key, "plain").status == 200
                rows = gateway.settled()
            charged.update(of_rows([each for each in rows if each["receipt"] not in known]))
            assert of_accounts([*state.accounts.values()]) == charged
            return {each["receipt"] for each in rows}

        with caplog.at_level(logging.ERROR, "tawtin.gateway"):
            known = ask(2, set())
            shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("*.sock"))
            known |= ask(3, known)
            assert not caplog.records
            shutil.rmtree(folder)
            shutil.copytree(copy, folder)
            known |= ask(2, known)
            assert "an older copy of it was put back" in caplog.text
            assert [each.instead_of != "" for each in state.charged.values()] == [False, False, True]
            caplog.clear()
            shutil.rmtree(folder)
            known |= ask(1, known)
            assert "was lost" in caplog.text
            caplog.clear()
            known |= ask(1, known)
            assert not caplog.records, "it is said once"
    assert sum(charged[place] for place in charged if place[-1] == "requests") == 9 == len(stub.asked)


def test_a_file_of_before_settlements_had_numbers_is_charged_whole(tmp_path: Path) -> None:
    book, rows = Book(), Rows(tmp_path)
    for number in (1, 2, 3):
        assert book.reserve(asked(number), "w", NOW_MS) is None
        rows.write([(book.held[f"rc-{number}"], NOW_MS)], [])
    for number in (2, 1):
        rows.write([], [(Settle(receipt=f"rc-{number}", tokens_in=number, micro=7, country="MA"), NOW_MS)])
    rows.close()
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as db:
        db.executescript(
            "DROP INDEX requests_settled; DROP TABLE lives;"
            "ALTER TABLE requests DROP COLUMN ledger; ALTER TABLE requests DROP COLUMN seq;"
        )
    rows = Rows(tmp_path)
    rows.write([], [(Settle(receipt="rc-3", tokens_in=3, micro=7, country="MA"), NOW_MS)])
    lives = rows.lives("").lives
    assert [each.settled for each in lives] == [2, 1]
    charges = [rows.charge(each.ledger, 0) for each in lives]
    assert [each and (each.up_to, each.missing, each.lines[0].tokens_in) for each in charges] == [
        (2, 0, 3),
        (1, 0, 3),
    ]
    assert rows.charge(lives[0].ledger, 2) is None
    rows.close()


def test_a_settlement_that_is_repeated_gets_no_number(tmp_path: Path) -> None:
    book, rows = Book(), Rows(tmp_path)
    assert book.reserve(asked(1), "w", NOW_MS) is None
    rows.write([(book.held["rc-1"], NOW_MS)], [])
    settle = Settle(receipt="rc-1", tokens_in=1, micro=7, country="MA")
    rows.write([], [(settle, NOW_MS), (settle, NOW_MS)])
    rows.write([], [(settle, NOW_MS)])
    assert rows.lives(rows.ledger).known == 1
    charge = rows.charge(rows.ledger, 0)
    assert charge is not None
    assert (charge.up_to, charge.lines[0].requests) == (1, 1)
    rows.close()


def test_a_snapshot_is_made_anew_for_what_it_shows_and_not_for_what_was_charged(tmp_path: Path) -> None:
    with Stub("plain") as stub:
        rich, poor = Tenant(id="rich"), Tenant(id="poor", quota=Quota(budget_minor_per_month=5_000))
        models = {"plain": served(ReplicaSettings(url=stub.url))}
        with running(tmp_path, models, tenants=(rich, poor), charge_ms=50) as gateway:
            key = gateway.key("poor")
            month = month_of(time.time_ns() // 1_000_000)
            reader = SnapshotReader(gateway.gateway.folder, 60_000)
            reader.look()
            before = reader.path.stat().st_ino
            assert gateway.ask(key, "plain").status == 200
            gateway.until(lambda: ("poor", month) in gateway.state.accounts, "the charge")
            account = gateway.state.accounts["poor", month]
            fresh_ns = reader.fresh.stat().st_mtime_ns
            gateway.until(lambda: reader.fresh.stat().st_mtime_ns > fresh_ns + 10**8, "two looks")
            assert reader.path.stat().st_ino == before, "the ledger knows what requests cost"

            async def spend(tenant: str) -> None:
                keep(gateway.state, replace(account, tenant=tenant, cost_minor=20))

            gateway.do(spend("rich"))
            fresh_ns = reader.fresh.stat().st_mtime_ns
            gateway.until(lambda: reader.fresh.stat().st_mtime_ns > fresh_ns + 10**8, "two looks")
            assert reader.path.stat().st_ino == before, "nobody holds a tenant without a budget to it"
            gateway.do(spend("poor"))
            gateway.until(lambda: reader.look() and reader.path.stat().st_ino != before, "the snapshot")
            assert reader.held is not None
            assert reader.held.tenants["poor"].limits.minor_per_month == 4_980
