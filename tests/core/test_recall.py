"""What follows from a store that was put back: the rows of the tables that are about it, and the fold."""

from __future__ import annotations

from dataclasses import replace as changed

import pytest

from tawtin.core.fold import FoldError, fold
from tawtin.core.handshake import home as homes
from tawtin.core.handshake import visited
from tawtin.model.events import Entry, EpochsRaised, Event, RecallWaived, StopOrdered, StoreRestored
from tawtin.model.ids import made_ms, make_id
from tawtin.model.reasons import Cause
from tawtin.model.roaming import (
    CompleteAck,
    Dispute,
    NotHeld,
    Recall,
    Recalled,
    Renew,
    Stop,
    StopReason,
    Unknown,
)
from tawtin.ports import Batch
from tawtin.runtime.hindsight import behind_engine, behind_mark
from tawtin.store.mark import MarkFile
from tawtin.store.memory import MemoryJournal
from tests.core.test_handshake import COMPLETE, DONE, HERE, REQ, RESV, WL, commit, home, never, there

RECALL = Recall(workload=WL, epoch=3)


def entries(count: int, first: int = 0) -> Batch:
    events: list[Event] = [RecallWaived(peer=f"peer-{number}") for number in range(count)]
    return Batch(entries=tuple(Entry(seq=first + at, at_ms=at, event=each) for at, each in enumerate(events)))


def test_what_was_lost_is_stopped_and_disputed_once_the_restore_is_known_and_only_raises_the_alarm_before():
    renew = Renew(workload=WL, epoch=2, req=REQ)
    before = homes.hear(home(None, last=1), "nairobi", renew)
    assert (before.send, before.back) == ((), True)
    knows = changed(home(None, last=1), restored=True)
    assert homes.hear(knows, "nairobi", renew).send == (
        Stop(workload=WL, epoch=2, resv=REQ, reason=StopReason.FENCED),
    )
    ack, dispute = homes.hear(knows, "nairobi", COMPLETE).send
    assert ack == CompleteAck(workload=WL, epoch=2, accepted=False)
    assert isinstance(dispute, Dispute)


def test_unknown_closes_nothing_and_names_what_a_person_has_to_do():
    move = homes.hear(home(), "nairobi", Unknown(workload=WL, epoch=2, resv=RESV))
    assert (move.events, move.send, move.heard) == ((), (), False)
    assert "tawtin lost wl-1" in move.alarm


def test_a_reservation_of_an_earlier_incarnation_is_unknown_and_one_that_is_held_is_not():
    other = "0" * 32 + ".beef"
    stop = Stop(workload=WL, epoch=2, resv=other, reason=StopReason.CANCELLED)
    for message in (commit(other), stop):
        (said,) = visited.hear(there(None), message, "casa", never).send
        assert said == Unknown(workload=WL, epoch=2, resv=other)
    renamed = changed(there(None), incarnation="beef")
    assert isinstance(visited.hear(renamed, commit(other), "casa", never).send[0], NotHeld)


def test_recall_ends_what_home_does_not_know_and_is_answered_once_that_is_over():
    move = visited.recall(RECALL, (HERE,), DONE, 3)
    assert move.events == (StopOrdered(run="gw-1.1", cause=Cause.FENCED),)
    assert (move.send, move.drop) == ((), True)
    move = visited.recall(RECALL, (), DONE, 3)
    assert move.send == (Recalled(workload=WL, epoch=3, highest=3, receipt=DONE.receipt),)
    assert (move.events, move.drop) == ((), True)


def test_epochs_are_raised_once_after_a_restore_and_never_lowered():
    from tawtin.core.state import State
    from tawtin.model.site import Site

    state = State(Site(name="casa", country="MA"))
    with pytest.raises(FoldError):
        fold(state, Entry(seq=0, at_ms=0, event=EpochsRaised()))
    fold(state, Entry(seq=0, at_ms=5, event=StoreRestored(incarnation="1" * 16, by="mark", why="")))
    with pytest.raises(FoldError):
        fold(state, Entry(seq=1, at_ms=5, event=EpochsRaised(epochs={"wl-gone": 2})))
    fold(state, Entry(seq=1, at_ms=6, event=RecallWaived(peer="nairobi")))
    fold(state, Entry(seq=2, at_ms=7, event=EpochsRaised()))
    assert state.restored is not None
    assert (state.restored.count, state.restored.waived, state.restored.over) == (1, ("nairobi",), True)
    fold(state, Entry(seq=3, at_ms=8, event=StoreRestored(incarnation="2" * 16, by="mark", why="")))
    assert (state.restored.count, state.restored.waived, state.restored.over) == (2, (), False)


def test_a_journal_that_is_shorter_or_another_one_than_the_mark_is_noticed_and_one_that_went_on_is_not():
    journal = MemoryJournal()
    journal.commit(entries(3))
    older = journal.backup()
    mark = journal.commit(entries(2, first=3))
    assert behind_mark(journal, mark) == behind_mark(journal, None) == ""
    assert behind_mark(older, mark) == "the log has 3 entries, and had 5"
    older.commit(entries(7, first=3))
    assert behind_mark(older, mark) == "", "the same entries again are the same log"
    other = MemoryJournal()
    other.commit(entries(1))
    other.commit(entries(9, first=1))
    assert behind_mark(other, mark).startswith("the first 5 entries")
    journal.commit(entries(4, first=5))
    assert behind_mark(journal, mark) == ""


def test_an_engine_that_remembers_a_run_of_which_the_journal_knows_nothing_is_a_witness():
    journal = MemoryJournal()
    assert behind_engine(journal, ["wl-1.1"]) == "", "a store that was made anew"
    journal.commit(entries(1))
    assert behind_engine(journal, []) == ""
    assert "wl-1.1 and 1 more" in behind_engine(journal, ["wl-2.1", "wl-1.1"])


def test_the_mark_is_read_as_it_was_written_and_what_is_torn_is_none(tmp_path: pytest.TempPathFactory):
    from pathlib import Path

    path = Path(str(tmp_path), "log.mark")
    mark = MarkFile(path)
    assert mark.read() is None
    journal = MemoryJournal()
    for number in (1, 100):
        head = journal.commit(entries(number, first=journal.head().size))
        mark.write(head)
        assert MarkFile(path).read() == head
    mark.close()
    assert path.stat().st_mode & 0o077 == 0
    path.write_text(path.read_text()[:20])
    assert MarkFile(path).read() is None


def test_the_time_of_an_id_is_the_one_that_it_was_made_at():
    assert made_ms(make_id("wl", 1_795_737_600_000, 12345)) == 1_795_737_600_000
    assert made_ms("wl-1") is None
