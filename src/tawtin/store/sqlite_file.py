"""The SQLite file itself: made, connected to, brought up to date, its errors put into words."""

from __future__ import annotations

import errno
import os
import resource
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

from tawtin.ports import JournalError
from tawtin.store.migrations import Migration, pending

APPLICATION_ID: Final = 0x7477746E
"""`twtn`, in the header of every journal, so that another program's database is not taken for one."""

_SETTINGS: Final = (
    "PRAGMA synchronous = FULL",
    "PRAGMA secure_delete = ON",  # secrets that were dropped do not linger in free pages
    "PRAGMA temp_store = MEMORY",
    "PRAGMA cache_size = -16384",
    "PRAGMA wal_autocheckpoint = 4000",  # pages that every commit touches are copied back less often
    "PRAGMA journal_size_limit = 67108864",  # the WAL shrinks again after a burst
    "PRAGMA trusted_schema = OFF",
)
_PROBE_BYTES: Final = 1 << 20


def new_file(path: Path) -> None:
    """Make an empty file for its owner alone, or narrow the rights of the one that is there."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(file).st_mode & 0o077:
                os.fchmod(file, 0o600)
        finally:
            os.close(file)
    except OSError as error:
        raise JournalError(
            f"`{path}` cannot be opened for writing ({error.strerror}); check the folder and its owner",
            full=error.errno in {errno.ENOSPC, errno.EDQUOT},
        ) from error


def connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """Return a connection without implicit transactions, usable from any one thread at a time."""
    mode = "ro" if read_only else "rw"
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode={mode}",
        uri=True,
        isolation_level=None,
        timeout=5,
        check_same_thread=False,
    )
    try:
        if not read_only:
            _use_wal(connection, path)
        for setting in _SETTINGS:
            connection.execute(setting)
    except BaseException:
        connection.close()
        raise
    return connection


def _use_wal(connection: sqlite3.Connection, path: Path) -> None:
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise JournalError(
            f"`{path}` lies where SQLite keeps no write-ahead log (mode `{mode}`); use a local disk"
        )


def schema_version(connection: sqlite3.Connection) -> int:
    """The number of the last migration that was applied, 0 for an empty database.

    Raises JournalError for a database of another program.
    """
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables:
        return 0
    ours = connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
    if not ours or "schema" not in tables:
        place = connection.execute("PRAGMA database_list").fetchone()[2]
        raise JournalError(f"`{place}` is a database of another program; name another file for the journal")
    return connection.execute("SELECT coalesce(max(version), 0) FROM schema").fetchone()[0]


def migrate(connection: sqlite3.Connection, steps: tuple[Migration, ...], place: str) -> None:
    """Apply the steps that are missing, each in a transaction of its own that also records it."""
    have = schema_version(connection)
    for step in pending(steps, have, place):
        connection.execute("BEGIN IMMEDIATE")
        try:
            if step.version == 1:
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute("CREATE TABLE schema (version INTEGER PRIMARY KEY, name TEXT NOT NULL)")
            for statement in _statements(step.sql):
                connection.execute(statement)
            connection.execute("INSERT INTO schema (version, name) VALUES (?, ?)", (step.version, step.name))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def explain(error: Exception, path: Path) -> JournalError:
    """Put an error of SQLite into words: what it means for the file at `path`, and what to do."""
    code = getattr(error, "sqlite_errorname", "") or ""
    if code == "SQLITE_FULL" or (code.startswith("SQLITE_IOERR") and _no_space(path)):
        return JournalError(
            f"no space is left for `{path}`; nothing was stored: free some, and it goes on by itself",
            full=True,
        )
    if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return JournalError(
            f"`{path}` is damaged or no journal ({error}); stop the factory, keep a copy, restore a backup"
        )
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return JournalError(
            f"`{path}` is locked by another program, such as an open `sqlite3` shell; close that first"
        )
    if code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
        return JournalError(f"`{path}` cannot be opened or written ({error}); check its owner and folder")
    return JournalError(f"`{path}` could not be used: {error} ({code or type(error).__name__})")


def _no_space(path: Path) -> bool:
    """Whether a little more no longer fits: SQLite tells a used-up quota or file size limit as any failure to write."""
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    files = [file for file in (path, path.with_name(f"{path.name}-wal")) if file.exists()]
    if limit != resource.RLIM_INFINITY and any(file.stat().st_size + _PROBE_BYTES > limit for file in files):
        return True
    try:
        with tempfile.TemporaryFile(dir=path.parent) as probe:
            os.posix_fallocate(probe.fileno(), 0, _PROBE_BYTES)
    except OSError as error:
        return error.errno in {errno.ENOSPC, errno.EDQUOT}
    return False


def _statements(script: str) -> Iterator[str]:
    """The statements of an SQL script."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement
