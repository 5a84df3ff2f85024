"""What is particular to the journal in PostgreSQL: lost connections, crashed servers, other control planes, schema."""

from __future__ import annotations

import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tawtin.ports import Batch, JournalError, Query
from tawtin.store.migrations import Migration, load_migrations
from tawtin.store.open import open_journal
from tawtin.store.postgres import PostgresJournal
from tests.store.cutting_proxy import Cut, CuttingProxy
from tests.store.journals import entries, fill, recomputed, row
from tests.store.postgres_server import Server

pytestmark = pytest.mark.postgres
NEWEST = load_migrations("postgres")[-1].version


@pytest.fixture
def dsn(server: Server) -> str:
    return server.new_schema()


@pytest.fixture
def proxy(server: Server) -> Iterator[CuttingProxy]:
    with (
        tempfile.TemporaryDirectory(prefix="px") as folder,
        CuttingProxy(Path(folder), server.folder) as running,
    ):
        yield running


def through(proxy: CuttingProxy, dsn: str) -> str:
    return make_conninfo(dsn, host=str(proxy.folder))


@pytest.mark.parametrize("cut", ["request", "answer"])
def test_a_connection_lost_in_mid_commit_neither_doubles_nor_loses_the_batch(
    proxy: CuttingProxy, dsn: str, cut: Cut
) -> None:
    with PostgresJournal(through(proxy, dsn), patience_s=20) as journal:
        fill(journal, 3)
        for number in range(3):
            proxy.cut = cut
            at = journal.head().size
            batch = Batch(entries=entries(at, 5), rows=(row(f"w-{number}"),))
            assert journal.commit(batch).size == at + 5
            assert proxy.cuts == number + 1
        assert recomputed(journal) == journal.head()
        assert journal.head().size == 18
        assert journal.list(Query(kind="workload")) == [b"w-2", b"w-1", b"w-0"]


def test_reads_survive_connections_that_were_cut(proxy: CuttingProxy, dsn: str) -> None:
    with PostgresJournal(through(proxy, dsn)) as journal:
        journal.commit(Batch(entries=entries(0, 2), rows=(row("w-1"),)))
        assert journal.get("workload", "w-1") == b"w-1"
        proxy.hang_up()
        assert journal.get("workload", "w-1") == b"w-1"
        assert len(journal.events(0, 9)) == 2
        proxy.hang_up()
        assert [found.id for found in journal.live()] == ["w-1"]
        fill(journal, 1)
        assert journal.head().size == 3


def test_an_outcome_that_nobody_can_tell_is_said_and_stops_further_commits(
    proxy: CuttingProxy, dsn: str
) -> None:
    with PostgresJournal(through(proxy, dsn), patience_s=0.5) as journal:
        fill(journal, 1)
        proxy.cut, proxy.refuse = "answer", True
        with pytest.raises(
            JournalError, match="whether the last batch was stored is not known: start the factory again"
        ):
            journal.commit(Batch(entries=entries(1, 1)))
        proxy.refuse = False
        with pytest.raises(JournalError, match="takes no more commits"):
            journal.commit(Batch(entries=entries(1, 1)))
    with PostgresJournal(dsn) as journal:
        assert journal.head().size == 2
        assert recomputed(journal) == journal.head()


def test_a_server_that_is_away_before_a_commit_is_waited_for(server: Server, dsn: str) -> None:
    with PostgresJournal(dsn, patience_s=20) as journal:
        fill(journal, 2)
        server.stop()
        later = threading.Timer(0.5, server.start)
        later.start()
        try:
            fill(journal, 2)
        finally:
            later.join()
        assert recomputed(journal) == journal.head()
        assert journal.head().size == 4


def test_a_server_that_crashes_under_load_loses_nothing_that_was_acknowledged(
    server: Server, dsn: str
) -> None:
    with PostgresJournal(dsn, patience_s=30) as journal:
        for _ in range(3):
            crash = threading.Timer(0.15, lambda: (server.stop(signal.SIGQUIT), server.start()))
            crash.start()
            until = time.monotonic() + 0.6
            while time.monotonic() < until:
                fill(journal, 1)
            crash.join()
        head = journal.head()
        assert recomputed(journal) == head
    with PostgresJournal(dsn) as again:
        assert again.head() == head


def test_another_control_plane_that_took_over_is_noticed(proxy: CuttingProxy, dsn: str) -> None:
    with PostgresJournal(through(proxy, dsn), patience_s=5) as journal:
        fill(journal, 2)
        proxy.hang_up()
        other = _open_when_free(dsn)
        fill(other, 1)
        other.close()
        with pytest.raises(JournalError, match="another control plane wrote to"):
            fill(journal, 1)
        with pytest.raises(JournalError, match="takes no more commits"):
            fill(journal, 1)
    with _open_when_free(dsn) as journal:  # the server sees the end of a session a moment later
        assert recomputed(journal) == journal.head()
        assert journal.head().size == 3


def _open_when_free(dsn: str) -> PostgresJournal:
    deadline = time.monotonic() + 10
    while True:
        try:
            return PostgresJournal(dsn)
        except JournalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def test_two_schemas_of_one_database_hold_two_factories(server: Server) -> None:
    with PostgresJournal(server.new_schema()) as one, PostgresJournal(server.new_schema()) as two:
        fill(one, 2)
        fill(two, 1)
        assert (one.head().size, two.head().size) == (2, 1)


def test_commits_wait_for_the_disk_even_if_the_server_would_not(dsn: str) -> None:
    schema = conninfo_to_dict(dsn)["options"]
    lazy = make_conninfo(dsn, options=f"-csynchronous_commit=off {schema}")
    with PostgresJournal(lazy) as journal:
        assert journal._link.rows("SHOW synchronous_commit") == [("on",)]


def test_a_journal_of_a_newer_tawtin_is_refused(dsn: str) -> None:
    later = Migration(version=NEWEST + 1, name="later", sql="CREATE TABLE later (a integer);")
    with PostgresJournal(dsn, migrations=(*load_migrations("postgres"), later)) as journal:
        fill(journal, 2)
    with pytest.raises(JournalError, match=f"written by a newer tawtin \\(schema {NEWEST + 1}"):
        PostgresJournal(dsn)


def test_a_migration_that_fails_changes_nothing(dsn: str) -> None:
    steps = load_migrations("postgres")
    PostgresJournal(dsn, migrations=steps).close()
    broken = Migration(
        version=NEWEST + 1,
        name="broken",
        sql="CREATE TABLE half (a integer); INSERT INTO nowhere VALUES (1);",
    )
    with pytest.raises(JournalError, match="nowhere"):
        PostgresJournal(dsn, migrations=(*steps, broken))
    with PostgresJournal(dsn) as journal:
        assert journal._link.rows("SELECT to_regclass('half')") == [(None,)]


def test_a_log_that_does_not_fit_its_head_is_refused(dsn: str) -> None:
    with PostgresJournal(dsn) as journal:
        fill(journal, 5)
    with psycopg.connect(dsn, autocommit=True) as shell:
        shell.execute("DELETE FROM events WHERE seq = 4")
    with pytest.raises(JournalError, match="its log holds 4 entries and its head says 5; restore a backup"):
        PostgresJournal(dsn)


def test_a_server_that_does_not_answer_is_named_without_the_password(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="cannot be reached") as caught:
        open_journal(f"postgresql://me:sesame@/factory?host={tmp_path}&port=1")
    assert f"postgresql://{tmp_path}:1/factory" in str(caught.value)
    assert "sesame" not in str(caught.value)


def test_an_address_that_is_not_understood_says_how_to_write_one() -> None:
    with pytest.raises(JournalError, match="write `postgresql://user@host:5432/database`") as caught:
        open_journal("postgresql://me:sesame@host:port:more/factory?what=ever")
    assert "sesame" not in str(caught.value)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(JournalError, match=r"pip install 'tawtin\[postgres\]'"):
        open_journal("postgresql://host/factory")
