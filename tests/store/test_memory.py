"""How a simulation crashes the journal in memory."""

from __future__ import annotations

import pytest

from tawtin.ports import Batch, JournalError
from tawtin.store.memory import MemoryJournal
from tests.store.journals import entries, fill, recomputed, row


class Killed(BaseException):
    """The simulated process dies here."""


def _die(_: Batch) -> None:
    raise Killed


BATCH = Batch(entries=entries(2, 3), rows=(row("w-1"),), secrets_put=(("w-1", "A", "1"),))


def test_a_crash_before_a_commit_takes_effect_leaves_nothing_of_it() -> None:
    journal = MemoryJournal(before=lambda batch: _die(batch) if batch is BATCH else None)
    fill(journal, 2)
    with pytest.raises(Killed):
        journal.commit(BATCH)
    survivor = journal.survivor()
    assert survivor.head().size == 2
    assert recomputed(survivor) == survivor.head()
    assert (survivor.get("workload", "w-1"), survivor.secrets("w-1")) == (None, {})


def test_a_crash_after_a_commit_took_effect_leaves_all_of_it() -> None:
    journal = MemoryJournal(after=lambda batch: _die(batch) if batch is BATCH else None)
    fill(journal, 2)
    with pytest.raises(Killed):
        journal.commit(BATCH)
    survivor = journal.survivor()
    assert survivor.head().size == 5
    assert recomputed(survivor) == survivor.head()
    assert (survivor.get("workload", "w-1"), survivor.secrets("w-1")) == (b"w-1", {"A": "1"})
    assert survivor.commit(Batch(entries=entries(5, 1))).size == 6


def test_the_process_that_crashed_cannot_write_any_more() -> None:
    journal = MemoryJournal()
    fill(journal, 1)
    survivor = journal.survivor()
    with pytest.raises(JournalError, match="is closed"):
        fill(journal, 1)
    assert survivor.head().size == 1
