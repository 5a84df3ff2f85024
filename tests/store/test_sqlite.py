"""What is particular to the journal in a SQLite file: the file, its rights, its lock, its schema, a full disk."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tawtin.ports import Batch, JournalError, Query, Row
from tawtin.store import sqlite_queries
from tawtin.store.migrations import Migration, load_migrations
from tawtin.store.sqlite import SqliteJournal
from tests.store.journals import entries, fill, recomputed, row

VERSION_1 = Path(__file__).with_name("journal_v1.sql")
NEWEST = load_migrations("sqlite")[-1].version


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "factory" / "journal.db"


def test_only_the_owner_can_read_what_it_writes(path: Path) -> None:
    before = os.umask(0)
    try:
        with SqliteJournal(path) as journal:
            journal.commit(Batch(entries=entries(0, 1)))
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert set(modes) == {"journal.db", "journal.db-wal", "journal.db-shm", "journal.db.lock"}
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_rights_that_are_too_wide_are_narrowed(path: Path) -> None:
    SqliteJournal(path).close()
    path.chmod(0o644)
    SqliteJournal(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_commits_wait_for_the_disk(path: Path) -> None:
    with SqliteJournal(path) as journal:
        assert journal._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert journal._writer.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


def test_the_holder_of_the_lock_is_named_by_its_process_id(path: Path) -> None:
    url = f"sqlite://{path}"
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.store.committer", url], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    try:
        child.stdout.readline()
        with pytest.raises(JournalError) as caught:
            SqliteJournal(path)
        want = (
            f"`{path}` is in use by process {child.pid}; stop that factory first, "
            "or give this one a journal of its own"
        )
        assert str(caught.value) == want
    finally:
        child.kill()
        child.wait(10)
        child.stdout.close()
    SqliteJournal(path).close()


def test_a_reader_of_another_process_needs_no_lock_and_can_change_nothing(path: Path) -> None:
    with SqliteJournal(path) as journal, SqliteJournal(path, read_only=True) as other:
        fill(journal, 3)
        assert other.head() == journal.head() == recomputed(other)
        with pytest.raises(JournalError, match="was opened for reading only"):
            other.commit(Batch())
        with pytest.raises(JournalError, match="was opened for reading only"):
            other.purge_idempotency("1")


def test_reading_a_journal_that_does_not_exist_makes_none(path: Path) -> None:
    with pytest.raises(JournalError, match="does not exist; there is nothing to read"):
        SqliteJournal(path, read_only=True)
    assert not path.exists()


def test_values_of_dropped_secrets_are_not_in_the_file(path: Path) -> None:
    with SqliteJournal(path) as journal:
        fill(journal, 5)
        journal.commit(Batch(secrets_put=(("w-1", "TOKEN", "open sesame"), ("w-2", "TOKEN", "stays here"))))
        journal.commit(Batch(secrets_drop=("w-1",)))
    files = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    assert any(b"stays here" in body for body in files.values())
    assert [name for name, body in files.items() if b"open sesame" in body] == []


def test_latency_can_be_added_to_commits(path: Path) -> None:
    with SqliteJournal(path, commit_delay_ms=30) as journal:
        started = time.perf_counter()
        fill(journal, 3)
        assert time.perf_counter() - started >= 0.09


# --- damage ----------------------------------------------------------------------------------------------------------


def test_a_file_that_is_no_database_is_named_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"my thesis, the only copy\n" * 100)
    with pytest.raises(JournalError, match=r"journal.db` is damaged or no journal .*restore a backup"):
        SqliteJournal(path)
    assert path.read_bytes() == b"my thesis, the only copy\n" * 100


def test_a_database_of_another_program_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE events (mine TEXT)")
    other.close()
    with pytest.raises(JournalError, match="is a database of another program; name another file"):
        SqliteJournal(path)
    with sqlite3.connect(path) as other:
        assert other.execute("SELECT name FROM sqlite_master").fetchall() == [("events",)]
    other.close()


@pytest.mark.parametrize(
    ("damage", "want"),
    [
        ("DELETE FROM events WHERE seq = 4", "its log holds 4 entries and its head says 5"),
        ("UPDATE chain SET size = 4", "a log of 4 entries has no frontier of 64 bytes"),
        ("UPDATE chain SET root = zeroblob(32)", "its log holds 5 entries and its head says 5"),
        ("DELETE FROM chain", "has lost the head of its log"),
    ],
)
def test_a_log_that_does_not_fit_its_head_is_refused(path: Path, damage: str, want: str) -> None:
    with SqliteJournal(path) as journal:
        fill(journal, 5)
    with sqlite3.connect(path) as shell:
        shell.execute(damage)
    shell.close()
    with pytest.raises(JournalError, match=want) as caught:
        SqliteJournal(path)
    assert str(path) in str(caught.value)
    assert "restore a backup" in str(caught.value)


def test_damaged_pages_are_reported_with_the_file_and_the_mend(path: Path) -> None:
    with SqliteJournal(path) as journal:
        journal.commit(Batch(rows=tuple(row(f"w-{n:04d}", body=b"x" * 900) for n in range(500))))
    with path.open("r+b") as file:
        for page in range(12, 60):
            file.seek(page * 4096)
            file.write(b"\xff" * 4096)
    with (
        SqliteJournal(path) as journal,
        pytest.raises(JournalError, match=r"is damaged .*restore a backup") as caught,
    ):
        list(journal.live())
    assert str(path) in str(caught.value)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match=r"journal.db` cannot be opened for writing \("):
        SqliteJournal(tmp_path / "file" / "journal.db")


def test_a_shell_that_holds_the_database_is_told_apart_from_damage(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SqliteJournal(path) as journal:
        fill(journal, 1)
        journal._writer.execute("PRAGMA busy_timeout = 10")
        shell = sqlite3.connect(path, isolation_level=None)
        shell.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError, match="is locked by another program"):
            fill(journal, 1)
        shell.execute("ROLLBACK")
        shell.close()
        fill(journal, 1)
        assert recomputed(journal) == journal.head()


def test_a_disk_that_fails_stops_all_further_commits(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failed sync nobody knows what the disk holds, so trying again would be a guess."""
    failure = sqlite3.OperationalError("disk I/O error")
    failure.sqlite_errorname = "SQLITE_IOERR_FSYNC"

    def fails(_: object) -> None:
        raise failure

    with SqliteJournal(path) as journal:
        fill(journal, 2)
        with monkeypatch.context() as patch:
            patch.setattr(journal, "_write", fails)
            with pytest.raises(JournalError, match="disk I/O error"):
                fill(journal, 1)
        with pytest.raises(JournalError, match="takes no more commits since writing failed"):
            fill(journal, 1)
        assert len(journal.events(0, 10)) == 2


# --- schema ----------------------------------------------------------------------------------------------------------


def test_a_journal_of_a_newer_tawtin_is_refused_unchanged(path: Path) -> None:
    later = Migration(version=NEWEST + 1, name="later", sql="CREATE TABLE later (a);")
    with SqliteJournal(path, migrations=(*load_migrations("sqlite"), later)) as journal:
        fill(journal, 2)
    before = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(JournalError, match=rf"(newer tawtin )?\(?schema {NEWEST + 1}") as caught:
            SqliteJournal(path, read_only=read_only)
        assert str(path) in str(caught.value)
    assert path.read_bytes() == before


def test_a_journal_of_the_first_version_is_brought_up_to_date(path: Path) -> None:
    """The fixture is a dump of a version 1 journal: three entries, one row of each sort, one secret."""
    path.parent.mkdir()
    with sqlite3.connect(path) as old:
        old.executescript(VERSION_1.read_text())
    old.close()
    with SqliteJournal(path) as journal:
        assert journal.head().size == 3
        assert recomputed(journal) == journal.head()
        assert journal.list(Query(kind="workload", tenant="t-1", phases=("queued",))) == [b'{"id":"w-1"}']
        assert journal.secrets("w-1") == {"TOKEN": "sesame"}
        fill(journal, 1)
        assert journal._writer.execute("SELECT max(version) FROM schema").fetchone() == (NEWEST,)


def test_migrations_are_applied_in_order_and_once(path: Path) -> None:
    steps = load_migrations("sqlite")
    with SqliteJournal(path, migrations=steps[:1]) as journal:
        fill(journal, 3)
    later = (
        Migration(
            version=2, name="adds", sql="CREATE TABLE extra (a);\n-- a note;\nINSERT INTO extra VALUES (1);"
        ),
        Migration(version=3, name="doubles", sql="UPDATE extra SET a = a * 2;"),
    )
    for _ in range(2):
        with SqliteJournal(path, migrations=(*steps[:1], *later)) as journal:
            assert journal._writer.execute("SELECT a FROM extra").fetchall() == [(2,)]
            assert journal.head().size == 3


def test_a_migration_that_fails_changes_nothing(path: Path) -> None:
    steps = load_migrations("sqlite")
    with SqliteJournal(path, migrations=steps) as journal:
        fill(journal, 3)
    broken = Migration(
        version=NEWEST + 1, name="broken", sql="CREATE TABLE half (a);\nINSERT INTO nowhere VALUES (1);"
    )
    with pytest.raises(JournalError, match="nowhere"):
        SqliteJournal(path, migrations=(*steps, broken))
    with SqliteJournal(path) as journal:
        assert journal.head().size == 3
        assert journal._writer.execute("SELECT name FROM sqlite_master WHERE name = 'half'").fetchall() == []


# --- speed of lists --------------------------------------------------------------------------------------------------


def test_a_page_costs_the_same_however_many_rows_there_are(path: Path) -> None:
    """In steps of SQLite's machine: also where a tenant has few, or none, of what is sought."""
    queries = [
        Query(kind="workload", tenant=tenant, phases=phases, before=before, limit=20)
        for tenant in ("", "many", "few")
        for phases in ((), ("failed",), ("queued",), ("queued", "placed"))
        for before in ("", "w-000900")
    ]

    def steps(journal: SqliteJournal) -> list[int]:
        counted: list[int] = []
        for query in queries:
            sql, values = sqlite_queries.list_records(query)
            ticks = [0]

            def tick(ticks: list[int] = ticks) -> int:
                ticks[0] += 1
                return 0

            journal._writer.set_progress_handler(tick, 10)
            journal._writer.execute(sql, values).fetchall()
            journal._writer.set_progress_handler(None, 0)
            counted.append(ticks[0])
        return counted

    def put(journal: SqliteJournal, numbers: range) -> None:
        rows = [
            Row(
                kind="workload", id=f"w-{at:06d}", tenant="few" if at % 500 == 0 else "many",
                phase="failed" if at % 1000 == 0 else "succeeded", live=False, body=b"{}",
            )
            for at in numbers
        ]  # fmt: skip
        journal.commit(Batch(rows=tuple(rows)))

    with SqliteJournal(path) as journal:
        put(journal, range(1_000))
        few = steps(journal)
        put(journal, range(1_000, 20_000))
        many = steps(journal)
    assert all(after <= before + 60 for before, after in zip(few, many, strict=True)), (few, many)


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (Query(kind="workload"), "PRIMARY KEY"),
        (Query(kind="workload", live=True), "records_live"),
        (Query(kind="workload", tenant="t", phases=("failed",), live=True), "records_tenant_phase"),
        (Query(kind="run", parent="w-1", tenant="t", live=False, phases=("done",)), "records_parent"),
        (Query(kind="workload", phases=("failed", "queued"), before="w-5"), "records_phase"),
    ],
)
def test_every_list_is_answered_by_an_index_without_sorting_all(path: Path, query: Query, index: str) -> None:
    with SqliteJournal(path) as journal:
        sql, values = sqlite_queries.list_records(query)
        plan = [text for *_, text in journal._writer.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
    searches = [step for step in plan if " records " in step]
    assert searches, plan
    assert all(step.startswith("SEARCH") and index in step for step in searches), plan
    assert index == "records_phase" or not any("TEMP B-TREE" in step for step in plan), plan
