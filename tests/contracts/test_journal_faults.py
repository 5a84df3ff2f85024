"""What journals keep to when something goes wrong: a commit fails, a process is killed, readers look meanwhile."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time

import pytest

from tawtin.ports import Batch, Journal, JournalError, Query
from tests.contracts.conftest import DURABLE
from tests.store.committer import BATCH, batch
from tests.store.journals import Place, entries, recomputed, row


def check_whole(journal: Journal) -> int:
    """Invariant 6: entries, rows and secrets of each batch are all there, or none of them; the number of batches."""
    size = journal.head().size
    number, rest = divmod(size, BATCH)
    assert rest == 0
    assert recomputed(journal) == journal.head()
    assert (journal.get("meta", "batches") or b"0") == str(number).encode()
    rows = journal.list(Query(kind="workload", tenant="t", limit=1_000_000))
    assert len(rows) == size
    assert journal.secrets(f"w-{number:06d}") == {}
    if number:
        assert journal.secrets(f"w-{number - 1:06d}") == {"TOKEN": str(number - 1)}
    return number


@pytest.mark.parametrize("place", DURABLE, indirect=True)
@pytest.mark.parametrize("after_ms", [0, 3, 11, 40, 97, 200])
def test_a_process_killed_in_mid_commit_leaves_whole_transactions(place: Place, after_ms: int) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.store.committer", place.url], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    try:
        heard = [child.stdout.readline()]  # at least one commit was acknowledged
        time.sleep(after_ms / 1000 + random.Random(after_ms).random() / 100)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait(10)
    heard += child.stdout.read().splitlines()
    child.stdout.close()
    acknowledged = max(int(line) for line in heard if line.strip().isdecimal())

    journal = _open_when_free(place)
    number = check_whole(journal)
    assert acknowledged <= number * BATCH <= acknowledged + BATCH
    journal.commit(batch(number * BATCH))
    assert check_whole(journal) == number + 1


def _open_when_free(place: Place) -> Journal:
    """A database server notices a killed client when it next writes to it."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return place.open()
        except JournalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def test_a_batch_that_fails_half_way_leaves_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Atomicity: the last part of the transaction is broken on purpose, after entries and rows were written."""
    journal = place.open()
    before = journal.commit(
        Batch(entries=entries(0, 2), rows=(row("w-1"),), secrets_put=(("w-1", "A", "1"),))
    )
    if place.name == "memory":
        journal.before = _fail  # pyright: ignore[reportAttributeAccessIssue] - the journal in memory
    else:
        module = f"tawtin.store.{place.name}_queries"
        each = "= ?" if place.name == "sqlite" else "= ANY(%b::text[])"
        monkeypatch.setattr(f"{module}.DROP_SECRETS", f"DELETE FROM no_such_table WHERE workload {each}")
    with pytest.raises(JournalError, match=r"no_such_table|on purpose") as caught:
        journal.commit(
            Batch(
                entries=entries(2, 2),
                rows=(row("w-2"), row("w-1", body=b"")),
                secrets_put=(("w-2", "A", "2"),),
                secrets_drop=("w-1",),
            )
        )
    assert not caught.value.full
    monkeypatch.undo()
    if place.name == "memory":
        journal.before = None  # pyright: ignore[reportAttributeAccessIssue] - as above
    assert journal.head() == before == recomputed(journal)
    assert journal.list(Query(kind="workload")) == [b"w-1"]
    assert journal.secrets("w-1") == {"A": "1"}
    assert journal.secrets("w-2") == {}
    assert journal.commit(Batch(entries=entries(2, 2))).size == 4
    assert recomputed(place.open()).size == 4


def _fail(_: Batch) -> None:
    raise JournalError("it fails on purpose")


def test_readers_see_whole_transactions_while_commits_go_on(journal: Journal) -> None:
    """Every batch replaces all rows by a new generation; no reader may meet two generations at once."""
    width, stop, wrong = 40, threading.Event(), list[str]()

    def generation(number: int) -> Batch:
        rows = tuple(row(f"w-{n:02d}", tenant="t", phase="queued", body=b"%d" % number) for n in range(width))
        return Batch(entries=entries(number * 2, 2), rows=rows)

    def look() -> None:
        for bodies in (
            journal.list(Query(kind="workload", tenant="t")),
            [found.body for found in journal.live()],
        ):
            if len(set(bodies)) != 1 or len(bodies) != width:
                wrong.append(f"rows of generations {sorted(set(bodies))}")
        if len(journal.events(0, 1 << 40)) % 2:
            wrong.append("half of a batch's entries")

    def read() -> None:
        while not stop.is_set():
            look()

    journal.commit(generation(0))
    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    try:
        for number in range(1, 150):
            journal.commit(generation(number))
    finally:
        stop.set()
        for reader in readers:
            reader.join(30)
    assert wrong == []
    assert recomputed(journal) == journal.head()


def test_live_rows_are_those_of_one_moment_even_if_commits_come_between(journal: Journal) -> None:
    journal.commit(Batch(rows=(row("m", kind="meta", body=b"old"), row("r", kind="run", body=b"old"))))
    rows = journal.live()
    seen = [next(rows)]
    journal.commit(Batch(rows=(row("m", kind="meta", body=b"new"), row("r", kind="run", body=b"new"))))
    seen += rows
    assert [found.body for found in seen] == [b"old", b"old"]
    assert [found.body for found in journal.live()] == [b"new", b"new"]


def test_a_walk_through_live_rows_can_be_given_up(journal: Journal) -> None:
    journal.commit(Batch(rows=tuple(row(f"w-{n}") for n in range(10))))
    for _ in range(20):
        next(journal.live())
    assert journal.commit(Batch(entries=entries(0, 1))).size == 1
    assert len(list(journal.live())) == 10


@pytest.mark.parametrize("place", DURABLE, indirect=True)
def test_a_second_writer_is_refused_while_the_first_one_lives(place: Place) -> None:
    first = place.open()
    with pytest.raises(JournalError, match="is in use by") as caught:
        Place(place.name, place.url).open()
    assert "process" in str(caught.value)
    assert first.commit(Batch(entries=entries(0, 1))).size == 1
    first.close()
    assert _open_when_free(place).head().size == 1
