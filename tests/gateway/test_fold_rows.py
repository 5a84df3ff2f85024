"""Rows that are old and charged become sums by month: what was used stays the same, and nothing is charged twice."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tawtin.core.meter import month_of
from tawtin.gateway.ledger.book import Book
from tawtin.gateway.ledger.messages import Settle
from tawtin.gateway.ledger.rows import Rows
from tawtin.gateway.settings import ReplicaSettings
from tests.gateway.harness import running, served
from tests.gateway.stub import Stub
from tests.gateway.test_ledger import NOW_MS, asked

DAY_MS = 86_400_000
BEFORE_MS = NOW_MS - 90 * DAY_MS
LONG_AGO_MS = NOW_MS - 100 * DAY_MS


def settled(rows: Rows, *times_ms: int, first: int = 1) -> None:
    book = Book()
    for number, at_ms in enumerate(times_ms, first):
        assert book.reserve(asked(number), "w", at_ms) is None
        rows.write([(book.held[f"rc-{number}"], at_ms)], [])
        settle = Settle(receipt=f"rc-{number}", tokens_in=number, micro=7 * number, country="MA")
        assert book.settle(settle, at_ms) is not None
        rows.write([], [(settle, at_ms)])


def kept(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "ledger.db")) as db:
        return [row[0] for row in db.execute("SELECT receipt FROM requests ORDER BY receipt")]


def test_rows_become_sums_once_they_are_old_and_charged_and_their_month_is_over(tmp_path: Path) -> None:
    rows = Rows(tmp_path)
    settled(rows, LONG_AGO_MS, LONG_AGO_MS, LONG_AGO_MS, NOW_MS, LONG_AGO_MS)
    used, ledger, month = rows.used("", ""), rows.ledger, month_of(NOW_MS)
    assert rows.fold({}, BEFORE_MS, month) == 0
    assert rows.fold({"another": 5}, BEFORE_MS, month) == 0
    assert rows.fold({ledger: 5}, BEFORE_MS, month_of(LONG_AGO_MS)) == 0, "limits may need this month"
    assert rows.fold({ledger: 2}, BEFORE_MS, month) == 2
    assert rows.fold({ledger: 2}, BEFORE_MS, month) == 0
    assert (kept(tmp_path), rows.used("", "")) == (["rc-3", "rc-4", "rc-5"], used)
    assert rows.fold({ledger: 5}, BEFORE_MS, month) == 1
    assert rows.fold({ledger: 5}, BEFORE_MS, month) == 0, (
        "from the first on, so that what is missing is one number"
    )
    assert (kept(tmp_path), rows.used("lab", "")) == (["rc-4", "rc-5"], used)
    after = rows.charge(ledger, 3)
    assert after is not None
    assert (after.up_to, after.missing, sum(each.requests for each in after.lines)) == (5, 0, 2)
    put_back = rows.charge(ledger, 0)
    assert put_back is not None
    assert (put_back.up_to, put_back.missing) == (5, 3)
    rows.close()
    rows = Rows(tmp_path)
    settled(rows, LONG_AGO_MS, first=6)
    assert rows.fold({ledger: 5, rows.ledger: 1}, BEFORE_MS, month) == 1, "the next life has a row of its own"
    assert rows.fold({ledger: 5, rows.ledger: 1}, NOW_MS + 1, month_of(NOW_MS + 40 * DAY_MS)) == 2
    assert kept(tmp_path) == []
    assert sum(each.cost_micro for each in rows.used("", "")) == 7 * (1 + 2 + 3 + 4 + 5 + 6)
    rows.close()


def test_a_gateway_folds_what_it_has_charged(tmp_path: Path) -> None:
    folder = tmp_path / "gateway"
    folder.mkdir(mode=0o700)
    rows = Rows(folder)
    settled(rows, *[LONG_AGO_MS] * 3)
    used = rows.used("", "")
    rows.close()
    with Stub("plain") as stub:
        models = {"plain": served(ReplicaSettings(url=stub.url))}
        with running(tmp_path, models, charge_ms=50) as gateway:
            gateway.until(lambda: kept(folder) == [], "the end of old rows")
            assert gateway.do(gateway.gateway.used("", "")) == used
            (charged,) = gateway.state.charged.values()
            assert (charged.seq, charged.missing) == (3, 0)
