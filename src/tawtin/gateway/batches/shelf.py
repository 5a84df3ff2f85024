"""Files, batches and answers on disk: one SQLite file, and a folder with the bytes of files.

A file's bytes are whole on disk before its row is there, and its row is gone before its bytes go; what has no row is
swept away at the next start. An answer is recorded once for each line, whoever says it twice.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec

from tawtin.gateway.batches.records import Batch, File
from tawtin.gateway.secret import open_secret
from tawtin.model.base import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

DATABASE: Final = "batches.db"
SECRET: Final = "secret"  # noqa: S105 - the name of a file
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS files (
    id TEXT PRIMARY KEY, tenant TEXT NOT NULL, purpose TEXT NOT NULL, size_bytes INTEGER NOT NULL,
    expires_ms INTEGER, body BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS files_tenant ON files (tenant, id);
CREATE TABLE IF NOT EXISTS batches (
    id TEXT PRIMARY KEY, tenant TEXT NOT NULL, final INTEGER NOT NULL, body BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS batches_tenant ON batches (tenant, id);
CREATE INDEX IF NOT EXISTS batches_open ON batches (id) WHERE final = 0;
CREATE TABLE IF NOT EXISTS lines (
    batch TEXT NOT NULL, line INTEGER NOT NULL, start INTEGER NOT NULL, length INTEGER NOT NULL,
    custom_id TEXT NOT NULL, good INTEGER, answer BLOB, PRIMARY KEY (batch, line)
) WITHOUT ROWID;
"""
_encode: Final = msgspec.json.Encoder().encode


class Line(Record, frozen=True, kw_only=True):
    """Where a request stands in its file."""

    number: int
    """Counted from 1."""
    start: int
    length: int
    custom_id: str


class Answer(Record, frozen=True, kw_only=True):
    """What became of a line."""

    line: int
    good: bool
    """Whether it belongs to the results, and not to the errors."""
    entry: msgspec.Raw
    """As it will stand in the file of results or of errors, without a line break."""


class Shelf:
    """All of it. Every call blocks, and may come from any thread. Raises sqlite3.Error, OSError."""

    def __init__(self, folder: Path) -> None:
        """Open it, or make it."""
        self.files = folder / "files"
        self.files.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(folder / DATABASE, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(_SCHEMA)
        self.secret = open_secret(folder / SECRET)
        """What passes of batches are made from."""
        self._sweep()

    def close(self) -> None:
        """Let go of it."""
        with self._lock:
            self._db.close()

    def _sweep(self) -> None:
        kept = {id for (id,) in self._db.execute("SELECT id FROM files")}
        for path in self.files.iterdir():
            if path.name not in kept:
                path.unlink(missing_ok=True)

    # --- files ----------------------------------------------------------------------------------------------------

    def draft(self, id: str) -> BinaryIO:
        """A file to write to; it is none of anybody's until it is kept."""
        descriptor = os.open(self.files / id, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        return os.fdopen(descriptor, "wb")

    def discard(self, id: str) -> None:
        """Throw a draft away."""
        (self.files / id).unlink(missing_ok=True)

    def keep(self, file: File) -> None:
        """Make a draft a file, whose bytes are flushed already."""
        _sync(self.files / file.id)
        _sync(self.files)
        with self._lock:
            self._db.execute(
                "INSERT OR IGNORE INTO files VALUES (?, ?, ?, ?, ?, ?)",
                (file.id, file.tenant, file.purpose, file.size_bytes, file.expires_ms, _encode(file)),
            )

    def file(self, tenant: str, id: str) -> File | None:
        """One file of a tenant."""
        with self._lock:
            row = self._db.execute(
                "SELECT body FROM files WHERE id = ? AND tenant = ?", (id, tenant)
            ).fetchone()
        return None if row is None else msgspec.json.decode(row[0], type=File)

    def list_files(self, tenant: str, purpose: str, after: str, limit: int, *, newest: bool) -> list[File]:
        """Files of a tenant, newest or oldest first, of one purpose or (empty) of all, behind the id `after`."""
        order, sign = ("DESC", "<") if newest else ("ASC", ">")
        with self._lock:
            rows = self._db.execute(
                f"SELECT body FROM files WHERE tenant = ? AND (? = '' OR purpose = ?) AND (? = '' OR id {sign} ?)"  # noqa: S608 - two words of our own
                f" ORDER BY id {order} LIMIT ?",
                (tenant, purpose, purpose, after, after, limit),
            ).fetchall()
        return [msgspec.json.decode(body, type=File) for (body,) in rows]

    def held_bytes(self, tenant: str) -> int:
        """How much the files of a tenant are together."""
        with self._lock:
            (held,) = self._db.execute(
                "SELECT coalesce(sum(size_bytes), 0) FROM files WHERE tenant = ?", (tenant,)
            ).fetchone()
        return int(held)

    def drop(self, id: str) -> None:
        """Delete a file."""
        with self._lock:
            self._db.execute("DELETE FROM files WHERE id = ?", (id,))
        self.discard(id)

    def expired(self, now_ms: int) -> list[str]:
        """Files whose time is over."""
        with self._lock:
            rows = self._db.execute("SELECT id FROM files WHERE expires_ms <= ?", (now_ms,)).fetchall()
        return [id for (id,) in rows]

    # --- batches --------------------------------------------------------------------------------------------------

    def put(self, batch: Batch) -> None:
        """Keep a batch as it is now."""
        with self._lock:
            self._db.execute(
                "INSERT OR REPLACE INTO batches VALUES (?, ?, ?, ?)",
                (batch.id, batch.tenant, batch.status.final, _encode(batch)),
            )

    def batch(self, tenant: str, id: str) -> Batch | None:
        """One batch of a tenant."""
        with self._lock:
            row = self._db.execute(
                "SELECT body FROM batches WHERE id = ? AND tenant = ?", (id, tenant)
            ).fetchone()
        return None if row is None else msgspec.json.decode(row[0], type=Batch)

    def list_batches(self, tenant: str, after: str, limit: int) -> list[Batch]:
        """Batches of a tenant, newest first, behind the id `after`."""
        with self._lock:
            rows = self._db.execute(
                "SELECT body FROM batches WHERE tenant = ? AND (? = '' OR id < ?) ORDER BY id DESC LIMIT ?",
                (tenant, after, after, limit),
            ).fetchall()
        return [msgspec.json.decode(body, type=Batch) for (body,) in rows]

    def open_batches(self) -> list[Batch]:
        """Those that are not over."""
        with self._lock:
            rows = self._db.execute("SELECT body FROM batches WHERE final = 0 ORDER BY id").fetchall()
        return [msgspec.json.decode(body, type=Batch) for (body,) in rows]

    # --- lines and answers ----------------------------------------------------------------------------------------

    def put_lines(self, batch: str, lines: Iterable[Line]) -> None:
        """Keep where the requests of a batch are, in the place of what was known before."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.execute("DELETE FROM lines WHERE batch = ?", (batch,))
                self._db.executemany(
                    "INSERT INTO lines (batch, line, start, length, custom_id) VALUES (?, ?, ?, ?, ?)",
                    ((batch, each.number, each.start, each.length, each.custom_id) for each in lines),
                )
                self._db.execute("COMMIT")
            except BaseException:
                self._db.execute("ROLLBACK")
                raise

    def unanswered(self, batch: str, after: int, limit: int) -> list[Line]:
        """Lines without an answer, behind the line `after`."""
        with self._lock:
            rows = self._db.execute(
                "SELECT line, start, length, custom_id FROM lines"
                " WHERE batch = ? AND line > ? AND good IS NULL ORDER BY line LIMIT ?",
                (batch, after, limit),
            ).fetchall()
        return [
            Line(number=number, start=start, length=length, custom_id=custom_id)
            for number, start, length, custom_id in rows
        ]

    def line(self, batch: str, number: int) -> Line | None:
        """One line."""
        found = self.unanswered(batch, number - 1, 1)
        return found[0] if found and found[0].number == number else None

    def answer(self, batch: str, said: Answer) -> bool:
        """Keep an answer; whether it is the first one."""
        with self._lock:
            done = self._db.execute(
                "UPDATE lines SET good = ?, answer = ? WHERE batch = ? AND line = ? AND good IS NULL",
                (said.good, bytes(said.entry), batch, said.line),
            )
        return done.rowcount == 1

    def counts(self, batch: str) -> tuple[int, int]:
        """How many lines have a result, and how many an error."""
        with self._lock:
            row = self._db.execute(
                "SELECT coalesce(sum(good = 1), 0), coalesce(sum(good = 0), 0) FROM lines WHERE batch = ?",
                (batch,),
            ).fetchone()
        return int(row[0]), int(row[1])

    def answers(self, batch: str, *, good: bool) -> Iterator[bytes]:
        """What the file of results, or of errors, has in it, in the order of the lines."""
        after = 0
        while True:  # one at a time, as each may be long
            with self._lock:
                row = self._db.execute(
                    "SELECT line, answer FROM lines WHERE batch = ? AND line > ? AND good = ?"
                    " ORDER BY line LIMIT 1",
                    (batch, after, good),
                ).fetchone()
            if row is None:
                return
            after = row[0]
            yield row[1]

    def drop_lines(self, batch: str) -> None:
        """Forget the lines of a batch that is over."""
        with self._lock:
            self._db.execute("DELETE FROM lines WHERE batch = ?", (batch,))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
