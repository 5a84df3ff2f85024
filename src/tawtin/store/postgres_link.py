"""One connection to PostgreSQL: made, locked, migrated, asked, its errors put into words without the password."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from tawtin.core.chain import Chain, unpack_chain
from tawtin.ports import JournalError
from tawtin.store import postgres_queries as queries
from tawtin.store.migrations import Migration, pending

if TYPE_CHECKING:
    from psycopg import Connection

Value = str | int | bool | bytes | Sequence[str] | Sequence[int] | Sequence[bool] | Sequence[bytes]
_MISSING_EXTRA: Final = (
    "a journal in PostgreSQL needs a package that is not here; `pip install 'tawtin[postgres]'`, "
    "or keep the journal in a file: `sqlite:///path/to/journal.db`"
)
_DEFAULTS: Final = {
    "application_name": "tawtin",
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
}
"""A server that is gone is noticed within seconds; what the user writes in the address wins."""
_LOCK_PAUSE_S: Final = 0.1


def lost(error: Exception) -> bool:
    """Whether an error means that the connection is gone, so that a commit's outcome is unknown."""
    import psycopg  # noqa: PLC0415 - an extra

    return isinstance(error, psycopg.OperationalError) and (
        error.sqlstate is None or error.sqlstate.startswith(("08", "57P"))
    )


class Link:
    """A connection to the database that `dsn` names, and how to make it again.

    Raises JournalError if the extra is missing or the address is not understood.
    """

    def __init__(self, dsn: str) -> None:
        try:
            from psycopg import ProgrammingError, conninfo  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise JournalError(_MISSING_EXTRA) from error
        self._dsn = dsn
        try:
            parts = conninfo.conninfo_to_dict(dsn)
        except ProgrammingError as error:
            raise JournalError(
                "the address of the database is not understood; write `postgresql://user@host:5432/database`"
            ) from error
        self._conninfo = conninfo.make_conninfo("", **{**_DEFAULTS, **parts})
        self._connection: Connection | None = None
        host, port, name = (parts.get(key) for key in ("host", "port", "dbname"))
        self.place = f"postgresql://{host or 'localhost'}{f':{port}' if port else ''}/{name or ''}"

    def another(self) -> Link:
        """A further connection to the same place, not made yet."""
        return Link(self._dsn)

    @property
    def closed(self) -> bool:
        """Whether there is no connection."""
        return self._connection is None or self._connection.closed

    def connect(self) -> None:
        """Make the connection, giving up an earlier one. Raises JournalError."""
        import psycopg  # noqa: PLC0415 - an extra

        self.close()
        try:
            self._connection = psycopg.connect(self._conninfo, autocommit=True)
            self._connection.execute(queries.SETTLE)
        except psycopg.Error as error:
            raise self.explain(error) from error

    def lock(self, *, until: float) -> None:
        """Become the only writer, trying until this monotonic time, at least once. Raises JournalError."""
        try:
            while not (ours := self.rows(queries.LOCK)[0][0]) and time.monotonic() < until:
                time.sleep(_LOCK_PAUSE_S)
            holders = [] if ours else self.rows(queries.HOLDER)
        except Exception as error:
            raise self.explain(error) from error
        if not ours:
            raise self._held(holders)

    def _held(self, holders: list[tuple[Any, ...]]) -> JournalError:
        who = (
            f"server process {holders[0][0]}, connected from {holders[0][1]}"
            if holders
            else "another session"
        )
        return JournalError(
            f"`{self.place}` is in use by another control plane ({who}); stop that one first, "
            "or give this one a database or schema of its own"
        )

    def migrate(self, steps: tuple[Migration, ...]) -> None:
        """Apply the migrations that are missing, each in a transaction that also records it. Raises JournalError."""
        try:
            there = self.rows(queries.HAS_SCHEMA)[0][0]
            have = self.rows(queries.GET_VERSION)[0][0] if there else 0
            for step in pending(steps, have, self.place):
                with self._live().transaction():
                    if step.version == 1 and not there:
                        self._live().execute(queries.MAKE_SCHEMA)
                    self._live().execute(step.sql.encode())
                    self._live().execute(queries.SET_VERSION, (step.version, step.name))
        except JournalError:
            raise
        except Exception as error:
            raise self.explain(error) from error

    def chain(self) -> Chain:
        """The log's head. Raises JournalError if it does not fit the entries or itself."""
        try:
            rows = self.rows(queries.GET_CHAIN)
        except Exception as error:
            raise self.explain(error) from error
        damage = f"the journal in `{self.place}` is damaged: "
        advice = "; restore a backup, or look at the damage with `tawtin doctor --deep`"
        if not rows:
            raise JournalError(f"{damage}it has lost the head of its log{advice}")
        size, frontier, root, entries = rows[0]
        try:
            chain = unpack_chain(size, frontier)
        except ValueError as error:
            raise JournalError(f"{damage}{error}{advice}") from error
        if entries != size or chain.root() != root:
            raise JournalError(f"{damage}its log holds {entries} entries and its head says {size}{advice}")
        return chain

    def transact(self, steps: Sequence[tuple[str, Sequence[Value]]]) -> None:
        """Run statements in one transaction and one round trip."""
        connection = self._live()
        try:
            with connection.pipeline():
                connection.execute("BEGIN")
                for sql, values in steps:
                    connection.execute(sql.encode(), values)
                connection.execute("COMMIT")
        except BaseException:
            if not connection.closed:
                connection.rollback()  # the server skipped the COMMIT
            raise

    def rows(self, sql: str, values: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        """All rows of one statement, bytes in binary."""
        return self._live().execute(sql.encode(), values, binary=True).fetchall()

    def one(self, sql: str) -> object:
        """The one value that a statement yields, or None. Raises JournalError."""
        try:
            rows = self.rows(sql)
        except Exception as error:
            raise self.explain(error) from error
        return rows[0][0] if rows else None

    def change(self, sql: str, values: Sequence[Value]) -> int:
        """Run one statement in a transaction of its own; how many rows it touched."""
        return self._live().execute(sql.encode(), values).rowcount

    @contextmanager
    def snapshot(self) -> Generator[None]:
        """Let all statements inside see the same moment."""
        connection = self._live()
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield

    def pages(self, sql: str, values: Sequence[Value], page: int) -> Iterator[tuple[Any, ...]]:
        """Rows of one statement, fetched `page` at a time; only inside `snapshot`."""
        with self._live().cursor(name="pages", binary=True) as cursor:
            cursor.itersize = page
            yield from cursor.execute(sql.encode(), values)

    def close(self) -> None:
        """Give the connection up."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def explain(self, error: Exception) -> JournalError:
        """Put an error into words: what it means for this database, and what to do."""
        if isinstance(error, JournalError):
            return error
        code = getattr(error, "sqlstate", None) or ""
        said = " ".join(str(error).split())
        if code == "53100":
            return JournalError(
                f"no space is left for `{self.place}`; nothing was stored: free some on its server", full=True
            )
        if code == "23502" and "size" in said:
            return JournalError(
                f"something else wrote to the log in `{self.place}`, which is not where this process left it; "
                "stop the factory and run `tawtin doctor --deep`"
            )
        if lost(error):
            return JournalError(
                f"`{self.place}` cannot be reached ({said}); check the server and the address"
            )
        if code.startswith("28"):
            return JournalError(
                f"`{self.place}` refuses the login ({said}); check user, password and pg_hba.conf"
            )
        return JournalError(
            f"`{self.place}` refused: {said} ({code or type(error).__name__}); nothing was stored"
        )

    def _live(self) -> Connection:
        if self._connection is None:
            raise JournalError(f"there is no connection to `{self.place}`")
        return self._connection
