"""The file of the ledger: one row a request, in SQLite. A row is open from its reservation until it is settled.

Settlements are numbered in the order in which they become durable, from 1 in each life of the ledger. A life has a
name that is drawn at its start: a file that was put back goes on under another one, so that no number ever means two
settlements.
"""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tawtin.core.charges import gathered
from tawtin.core.meter import month_of
from tawtin.gateway.ledger.messages import Life, Lives, Reserve, Settle
from tawtin.model.gateway import Settlement, TokensUsed

if TYPE_CHECKING:
    from pathlib import Path

    from tawtin.gateway.ledger.book import Book, Held
    from tawtin.model.gateway import Charge

FILE: Final = "ledger.db"
_MINUTE_MS: Final = 60_000
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS requests (
    receipt TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    key TEXT NOT NULL,
    model TEXT NOT NULL,
    month TEXT NOT NULL,
    worker TEXT NOT NULL,
    reserved_ms INTEGER NOT NULL,
    reserve BLOB NOT NULL,
    settled_ms INTEGER,
    replica TEXT NOT NULL DEFAULT '',
    country TEXT NOT NULL DEFAULT '',
    tokens_in INTEGER NOT NULL DEFAULT 0,
    tokens_out INTEGER NOT NULL DEFAULT 0,
    micro INTEGER NOT NULL DEFAULT 0,
    estimated INTEGER NOT NULL DEFAULT 0,
    cause TEXT NOT NULL DEFAULT '',
    provider TEXT NOT NULL DEFAULT '',
    also TEXT NOT NULL DEFAULT '',
    ledger TEXT NOT NULL DEFAULT '',
    seq INTEGER
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lives (
    number INTEGER PRIMARY KEY,
    ledger TEXT NOT NULL UNIQUE,
    settled INTEGER NOT NULL,
    removed INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS months (
    tenant TEXT NOT NULL,
    month TEXT NOT NULL,
    model TEXT NOT NULL,
    country TEXT NOT NULL,
    provider TEXT NOT NULL,
    requests INTEGER NOT NULL,
    tokens_in INTEGER NOT NULL,
    tokens_out INTEGER NOT NULL,
    estimated INTEGER NOT NULL,
    micro INTEGER NOT NULL,
    PRIMARY KEY (tenant, month, model, country, provider)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS requests_open ON requests (worker) WHERE settled_ms IS NULL;
CREATE INDEX IF NOT EXISTS requests_recent ON requests (reserved_ms);
CREATE INDEX IF NOT EXISTS requests_month ON requests (month, tenant, model, country);
CREATE UNIQUE INDEX IF NOT EXISTS requests_settled ON requests (ledger, seq) WHERE seq IS NOT NULL;
"""
_NUMBER: Final = """
UPDATE requests SET ledger = ?, seq = numbered.seq
FROM (SELECT receipt AS id, row_number() OVER (ORDER BY settled_ms, receipt) AS seq
      FROM requests WHERE settled_ms IS NOT NULL AND seq IS NULL) AS numbered
WHERE receipt = numbered.id
"""
_LIFE: Final = """
INSERT INTO lives (ledger, settled) VALUES (?, ?) ON CONFLICT (ledger) DO UPDATE SET settled = excluded.settled
"""
_SINCE: Final = {
    "provider": "TEXT NOT NULL DEFAULT ''",
    "also": "TEXT NOT NULL DEFAULT ''",
    "ledger": "TEXT NOT NULL DEFAULT ''",
    "seq": "INTEGER",
}
"""Columns that files of earlier versions lack."""
_RESERVE: Final = """
INSERT INTO requests (receipt, tenant, key, model, month, worker, reserved_ms, reserve)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_SETTLE: Final = """
UPDATE requests SET settled_ms = ?, replica = ?, country = ?, provider = ?, also = ?,
    tokens_in = ?, tokens_out = ?, micro = ?, estimated = ?, cause = ?, ledger = ?, seq = ?, reserve = X''
WHERE receipt = ? AND settled_ms IS NULL
"""
_SPENT: Final = (
    "SELECT {column}, sum(micro) FROM requests WHERE month = ? AND settled_ms IS NOT NULL GROUP BY 1"
)
_RECENT: Final = """
SELECT tenant, key, reserved_ms, tokens_in + tokens_out FROM requests
WHERE reserved_ms > ? AND settled_ms IS NOT NULL ORDER BY reserved_ms
"""
_USED: Final = """
SELECT tenant, month, model, country, provider,
    sum(requests), sum(tokens_in), sum(tokens_out), sum(estimated), sum(micro)
FROM (
    SELECT tenant, month, model, country, provider, 1 AS requests, tokens_in, tokens_out, estimated, micro
    FROM requests WHERE settled_ms IS NOT NULL
    UNION ALL SELECT tenant, month, model, country, provider, requests, tokens_in, tokens_out, estimated, micro
    FROM months
)
WHERE (? = '' OR tenant = ?) AND (? = '' OR month = ?)
GROUP BY tenant, month, model, country, provider ORDER BY tenant, month, model, country, provider
"""
_OLDEST: Final = (
    "SELECT seq, settled_ms, month FROM requests WHERE ledger = ? AND seq > ? ORDER BY seq LIMIT ?"
)
_FOLD: Final = """
INSERT INTO months SELECT tenant, month, model, country, provider,
    count(*), sum(tokens_in), sum(tokens_out), sum(estimated), sum(micro)
FROM requests WHERE ledger = ? AND seq > ? AND seq <= ? GROUP BY tenant, month, model, country, provider
ON CONFLICT DO UPDATE SET requests = requests + excluded.requests, tokens_in = tokens_in + excluded.tokens_in,
    tokens_out = tokens_out + excluded.tokens_out, estimated = estimated + excluded.estimated,
    micro = micro + excluded.micro
"""
FOLDED_MAX: Final = 1_000
"""So many rows are folded in one transaction at most, as reservations wait for it."""
_SETTLED: Final = """
SELECT seq, receipt, tenant, month, model, country, provider, tokens_in, tokens_out, estimated, micro FROM requests
WHERE ledger = ? AND seq > ? ORDER BY seq LIMIT ?
"""
SETTLED_MAX: Final = 10_000
"""So many settlements go into one charge at most."""
_encode: Final = msgspec.msgpack.Encoder().encode


class Rows:
    """The file. Every call blocks: they are for the ledger's writing thread, and for its start."""

    def __init__(self, folder: Path) -> None:
        """Open it, or make it. Raises sqlite3.Error, OSError."""
        self._path = folder / FILE
        self._db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self.ledger = secrets.token_hex(8)
        """This life of the ledger."""
        self._settled = 0
        self._prepare()

    def _prepare(self) -> None:
        there = {row[1] for row in self._db.execute("PRAGMA table_info(requests)")}
        for name, kind in _SINCE.items() if there else ():
            if name not in there:
                self._db.execute(f"ALTER TABLE requests ADD COLUMN {name} {kind}")
        self._db.executescript(_SCHEMA)
        self._db.execute("BEGIN IMMEDIATE")
        older = secrets.token_hex(8)
        numbered = self._db.execute(_NUMBER, (older,)).rowcount
        if numbered:
            self._db.execute(_LIFE, (older, numbered))
        self._db.execute("COMMIT")

    def restore(self, book: Book, now_ms: int) -> None:
        """Tell a book what was held and used."""
        month = month_of(now_ms)
        for whose in ("tenant", "key"):
            for id, micro in self._db.execute(_SPENT.format(column=whose), (month,)):
                book.restore_spent(whose, id, month, micro)
        for tenant, key, at_ms, tokens in self._db.execute(_RECENT, (now_ms - _MINUTE_MS,)):
            book.restore_recent(tenant, key, at_ms, tokens)
        for worker, at_ms, reserve in self._db.execute(
            "SELECT worker, reserved_ms, reserve FROM requests WHERE settled_ms IS NULL ORDER BY reserved_ms"
        ):
            book.restore(msgspec.msgpack.decode(reserve, type=Reserve), worker, at_ms)

    def write(self, reserved: list[tuple[Held, int]], settled: list[tuple[Settle, int]]) -> None:
        """Make reservations and settlements durable, in one transaction. Raises sqlite3.Error."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany(
                _RESERVE,
                [
                    (
                        held.reserve.receipt,
                        held.reserve.tenant,
                        held.reserve.key,
                        held.reserve.model,
                        held.month,
                        held.worker,
                        at_ms,
                        _encode(held.reserve),
                    )
                    for held, at_ms in reserved
                ],
            )
            last = self._settle(settled)
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._settled = last

    def _settle(self, settled: list[tuple[Settle, int]]) -> int:
        """Settle what is open; return the number of the last settlement. One that is repeated gets none."""
        seq = self._settled
        for said, at_ms in settled:
            done = self._db.execute(
                _SETTLE,
                (
                    at_ms,
                    said.replica,
                    said.country,
                    said.provider,
                    " ".join(said.also),
                    said.tokens_in,
                    said.tokens_out,
                    said.micro,
                    said.estimated,
                    said.cause,
                    self.ledger,
                    seq + 1,
                    said.receipt,
                ),
            )
            seq += done.rowcount
        if seq > self._settled:
            self._db.execute(_LIFE, (self.ledger, seq))
        return seq

    def used(self, tenant: str, month: str) -> tuple[TokensUsed, ...]:
        """What was settled, by tenant, month, model, country and provider.

        By a connection of its own, as it may take long.
        """
        with self._reading() as db:
            rows = db.execute(_USED, (tenant, tenant, month, month)).fetchall()
        return tuple(
            TokensUsed(
                tenant=row[0],
                month=row[1],
                model=row[2],
                country=row[3],
                provider=row[4],
                requests=row[5],
                tokens_in=row[6],
                tokens_out=row[7],
                estimated=row[8],
                cost_micro=row[9],
            )
            for row in rows
        )

    def fold(self, charged: dict[str, int], before_ms: int, month: str) -> int:
        """Make sums by month of some rows and remove them; how many, which is 0 once none is left.

        Of each life from its first settlement on: those that are charged, were settled before `before_ms`, and are of a
        month before `month`, so that limits do not need them. Raises sqlite3.Error.
        """
        for ledger, removed in self._db.execute(
            "SELECT ledger, removed FROM lives ORDER BY number"
        ).fetchall():
            last, count = removed, 0
            oldest = self._db.execute(_OLDEST, (ledger, removed, FOLDED_MAX)).fetchall()
            for seq, settled_ms, of_month in oldest:
                if seq > charged.get(ledger, 0) or settled_ms >= before_ms or of_month >= month:
                    break
                last, count = seq, count + 1
            if not count:
                continue
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.execute(_FOLD, (ledger, removed, last))
                self._db.execute(
                    "DELETE FROM requests WHERE ledger = ? AND seq > ? AND seq <= ?", (ledger, removed, last)
                )
                self._db.execute("UPDATE lives SET removed = ? WHERE ledger = ?", (last, ledger))
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            return count
        return 0

    def lives(self, known: str) -> Lives:
        """All lives in which something was settled, and how much that was in one of them."""
        with self._reading() as db:
            rows = db.execute("SELECT ledger, settled FROM lives ORDER BY number")
            lives = tuple(Life(ledger=ledger, settled=settled) for ledger, settled in rows)
            found = db.execute("SELECT settled FROM lives WHERE ledger = ?", (known,)).fetchone()
        return Lives(lives=lives, known=found[0] if found is not None else 0)

    def charge(self, ledger: str, after: int) -> Charge | None:
        """What was settled in a life after a number, as far as it goes into one charge."""
        with self._reading() as db:
            found = db.execute("SELECT removed FROM lives WHERE ledger = ?", (ledger,)).fetchone()
            rows = db.execute(_SETTLED, (ledger, after, SETTLED_MAX))
            settlements = (_settlement(ledger, row) for row in rows)
            return gathered(ledger, after, settlements, found[0] if found is not None else 0)

    def _reading(self) -> contextlib.closing[sqlite3.Connection]:
        """A connection of its own, as it may take long and is not for the writing thread."""
        return contextlib.closing(sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True))

    def close(self) -> None:
        """Let go of it."""
        self._db.close()


def _settlement(ledger: str, row: tuple[Any, ...]) -> Settlement:
    seq, receipt, tenant, month, model, country, provider, tokens_in, tokens_out, estimated, micro = row
    return Settlement(
        ledger=ledger,
        seq=seq,
        receipt=receipt,
        tenant=tenant,
        month=month,
        model=model,
        country=country,
        provider=provider,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        estimated=bool(estimated),
        cost_micro=micro,
    )
