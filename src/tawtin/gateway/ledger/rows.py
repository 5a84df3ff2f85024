"""The file of the ledger: one row a request, in SQLite. A row is open from its reservation until it is settled."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Final

import msgspec

from tawtin.core.meter import month_of
from tawtin.gateway.ledger.messages import Reserve, Settle
from tawtin.model.gateway import TokensUsed

if TYPE_CHECKING:
    from pathlib import Path

    from tawtin.gateway.ledger.book import Book, Held

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
    also TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS requests_open ON requests (worker) WHERE settled_ms IS NULL;
CREATE INDEX IF NOT EXISTS requests_recent ON requests (reserved_ms);
CREATE INDEX IF NOT EXISTS requests_month ON requests (month, tenant, model, country);
"""
_SINCE: Final = {"provider": "TEXT NOT NULL DEFAULT ''", "also": "TEXT NOT NULL DEFAULT ''"}
"""Columns that files of earlier versions lack."""
_RESERVE: Final = """
INSERT INTO requests (receipt, tenant, key, model, month, worker, reserved_ms, reserve)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""
_SETTLE: Final = """
UPDATE requests SET settled_ms = ?, replica = ?, country = ?, provider = ?, also = ?,
    tokens_in = ?, tokens_out = ?, micro = ?, estimated = ?, cause = ?, reserve = X''
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
    count(*), sum(tokens_in), sum(tokens_out), sum(estimated), sum(micro)
FROM requests
WHERE settled_ms IS NOT NULL AND (? = '' OR tenant = ?) AND (? = '' OR month = ?)
GROUP BY tenant, month, model, country, provider ORDER BY tenant, month, model, country, provider
"""
_encode: Final = msgspec.msgpack.Encoder().encode


class Rows:
    """The file. Every call blocks: they are for the ledger's writing thread, and for its start."""

    def __init__(self, folder: Path) -> None:
        """Open it, or make it. Raises sqlite3.Error, OSError."""
        self._path = folder / FILE
        self._db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(_SCHEMA)
        there = {row[1] for row in self._db.execute("PRAGMA table_info(requests)")}
        for name, kind in _SINCE.items():
            if name not in there:
                self._db.execute(f"ALTER TABLE requests ADD COLUMN {name} {kind}")

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
            self._db.executemany(
                _SETTLE,
                [
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
                        said.receipt,
                    )
                    for said, at_ms in settled
                ],
            )
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    def used(self, tenant: str, month: str) -> tuple[TokensUsed, ...]:
        """What was settled, by tenant, month, model, country and provider.

        By a connection of its own, as it may take long.
        """
        with contextlib.closing(sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True)) as db:
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

    def close(self) -> None:
        """Let go of it."""
        self._db.close()
