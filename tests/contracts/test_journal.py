"""What every journal keeps to: SQLite, PostgreSQL and memory."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tawtin.core.chain import EMPTY_ROOT, leaf_hash
from tawtin.model.events import encode_entry
from tawtin.ports import KINDS, Batch, Head, Journal, JournalError, Query, Row
from tests.store.journals import Place, entries, fill, recomputed, row


def test_an_empty_journal_has_the_root_of_the_empty_tree(journal: Journal) -> None:
    assert journal.head() == Head(size=0, root=EMPTY_ROOT)
    assert list(journal.live()) == []
    assert journal.events(0, 10) == []
    assert journal.get("workload", "w") is None
    assert journal.secrets("w") == {}


def test_what_was_committed_is_there_after_opening_again(place: Place) -> None:
    journal = place.open()
    head = journal.commit(
        Batch(entries=entries(0, 3), rows=(row("w-1"),), secrets_put=(("w-1", "TOKEN", "sésame"),))
    )
    journal = place.open()
    assert journal.head() == head
    assert journal.get("workload", "w-1") == b"w-1"
    assert journal.secrets("w-1") == {"TOKEN": "sésame"}
    assert journal.commit(Batch(entries=entries(3, 1))).size == 4


def test_stored_bytes_are_the_ones_that_were_hashed(journal: Journal) -> None:
    some = entries(0, 5)
    head = journal.commit(Batch(entries=some))
    want = [encode_entry(entry) for entry in some]
    assert journal.events(0, 5) == want
    assert journal.events(2, 2) == want[2:4]
    assert journal.events(4, 100) == want[4:]
    assert recomputed(journal) == head
    assert len({leaf_hash(body) for body in want}) == 5


@given(sizes=st.lists(st.integers(0, 20), max_size=12))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_root_is_that_of_all_bodies_however_they_were_batched(place: Place, sizes: list[int]) -> None:
    journal = place.open()
    at = journal.head().size
    for size in sizes:
        head = journal.commit(Batch(entries=entries(at, size)))
        at += size
        assert head.size == at
    assert recomputed(journal) == journal.head() == place.open().head()


@pytest.mark.parametrize(
    ("first", "wrong"), [(3, "4"), (3, "2"), (3, "0"), (0, "1")], ids=["gap", "twice", "old", "start"]
)
def test_an_entry_that_does_not_continue_the_log_is_refused(journal: Journal, first: int, wrong: str) -> None:
    before = journal.commit(Batch(entries=entries(0, first)))
    with pytest.raises(JournalError, match=rf"`{wrong}`.*next entry is {first}") as caught:
        journal.commit(Batch(entries=entries(int(wrong), 2), rows=(row("w-9"),)))
    assert not caught.value.full
    assert journal.head() == before == recomputed(journal)
    assert journal.get("workload", "w-9") is None
    assert journal.commit(Batch(entries=entries(first, 1))).size == first + 1


def test_a_gap_inside_a_batch_is_refused(journal: Journal) -> None:
    with pytest.raises(JournalError, match=r"`5`.*next entry is 2"):
        journal.commit(Batch(entries=(*entries(0, 2), *entries(5, 1))))
    assert journal.head().size == 0


def test_a_row_of_an_unknown_kind_is_refused(journal: Journal) -> None:
    with pytest.raises(JournalError, match="`x-1` has the unknown kind `thing`"):
        journal.commit(Batch(entries=entries(0, 1), rows=(Row(kind="thing", id="x-1", body=b"1"),)))
    assert journal.head().size == 0


def test_a_row_replaces_the_row_of_its_kind_and_id_in_every_column(journal: Journal) -> None:
    journal.commit(Batch(rows=(row("w-1", tenant="a", phase="queued", parent="p"), row("w-1", kind="run"))))
    journal.commit(Batch(rows=(row("w-1", tenant="b", phase="failed", live=False, body=b"new"),)))
    assert journal.get("workload", "w-1") == b"new"
    assert journal.get("run", "w-1") == b"w-1"
    assert [(found.kind, found.id) for found in journal.live()] == [("run", "w-1")]
    assert journal.list(Query(kind="workload", tenant="a")) == []
    assert journal.list(Query(kind="workload", parent="p")) == []
    assert journal.list(Query(kind="workload", tenant="b", phases=("failed",), live=False)) == [b"new"]


def test_empty_bytes_delete_a_row(journal: Journal) -> None:
    journal.commit(Batch(rows=(row("w-1"), row("w-2"))))
    journal.commit(Batch(rows=(row("w-1", body=b""), row("never-there", body=b""))))
    assert journal.get("workload", "w-1") is None
    assert journal.list(Query(kind="workload")) == [b"w-2"]


def test_the_last_of_several_rows_with_one_id_counts(journal: Journal) -> None:
    journal.commit(Batch(rows=(row("a", body=b"1"), row("a", body=b"2"), row("b"), row("b", body=b""))))
    assert journal.get("workload", "a") == b"2"
    assert journal.get("workload", "b") is None


def test_live_rows_come_in_the_order_of_kinds_then_of_ids(place: Place) -> None:
    journal = place.open()
    ids = ("b-2", "a-1", "B-3", "é-4", "a-10")
    rows = tuple(
        row(id, kind=kind, tenant="t", phase="p", parent="x") for kind in reversed(KINDS) for id in ids
    )
    journal.commit(Batch(rows=(*rows, row("ended", live=False), row("gone"))))
    journal.commit(Batch(rows=(row("gone", body=b""),)))
    want = [(kind, id) for kind in KINDS for id in sorted(ids)]
    assert [(found.kind, found.id) for found in journal.live()] == want
    found = next(place.open().live())
    assert found == Row(kind=KINDS[0], id="B-3", tenant="t", phase="p", parent="x", body=b"B-3")


@pytest.fixture
def listed(journal: Journal) -> tuple[Journal, list[Row]]:
    rows = [
        row(
            f"w-{n:03d}",
            tenant=f"t-{n % 3}",
            phase=("queued", "failed", "")[n % 4 % 3],
            parent="arr" * (n % 2),
            live=n % 5 > 0,
        )
        for n in range(60)
    ]
    journal.commit(Batch(rows=(*rows, row("w-000", kind="run", tenant="t-0"))))
    return journal, rows


@pytest.mark.parametrize("tenant", ["", "t-1", "nobody"])
@pytest.mark.parametrize("phases", [(), ("queued",), ("failed", "queued"), ("queued", "queued", "none")])
@pytest.mark.parametrize("parent", ["", "arr"])
@pytest.mark.parametrize("live", [None, True, False])
def test_lists_filter_and_page_from_the_newest_on(
    listed: tuple[Journal, list[Row]], tenant: str, phases: tuple[str, ...], parent: str, live: bool | None
) -> None:
    journal, rows = listed
    want = [
        found.body
        for found in reversed(rows)
        if (not tenant or found.tenant == tenant)
        and (not phases or found.phase in phases)
        and (not parent or found.parent == parent)
        and (live is None or found.live == live)
    ]
    got: list[bytes] = []
    before = ""
    while True:
        page = journal.list(
            Query(
                kind="workload",
                tenant=tenant,
                phases=phases,
                parent=parent,
                live=live,
                before=before,
                limit=7,
            )
        )
        got += page
        if len(page) < 7:
            break
        before = page[-1].decode()
    assert got == want


def test_secrets_are_replaced_by_name_and_dropped_with_their_workload(journal: Journal) -> None:
    journal.commit(
        Batch(secrets_put=(("w-1", "A", "1"), ("w-1", "B", "2"), ("w-2", "A", "3"), ("w-1", "A", "4")))
    )
    assert journal.secrets("w-1") == {"A": "4", "B": "2"}
    journal.commit(
        Batch(secrets_put=(("w-1", "C", "5"), ("w-3", "A", "6\n\0'")), secrets_drop=("w-1", "w-1", "w-0"))
    )
    assert journal.secrets("w-1") == {}
    assert journal.secrets("w-2") == {"A": "3"}
    assert journal.secrets("w-3") == {"A": "6\n\0'"}


def test_old_idempotency_keys_are_purged_by_their_time(journal: Journal) -> None:
    rows = tuple(row(f"t/{n}", kind="idempotency", phase=f"{n:013d}") for n in range(10))
    journal.commit(Batch(rows=(*rows, row("w-1", phase=f"{1:013d}"), row("no-time", kind="idempotency"))))
    assert journal.purge_idempotency(f"{4:013d}") == 4
    assert journal.purge_idempotency(f"{4:013d}") == 0
    left = [found.id for found in journal.live() if found.kind == "idempotency"]
    assert left == ["no-time", *(f"t/{n}" for n in range(4, 10))]
    assert journal.get("workload", "w-1") is not None


def test_an_empty_batch_changes_nothing(journal: Journal) -> None:
    fill(journal, 2)
    assert journal.commit(Batch()) == journal.head() == recomputed(journal)


def test_a_large_batch_is_stored_whole(journal: Journal) -> None:
    rows = tuple(row(f"w-{n:05d}", body=b"x" * 500) for n in range(3000))
    assert journal.commit(Batch(entries=entries(0, 3000), rows=rows)).size == 3000
    assert recomputed(journal) == journal.head()
    assert sum(1 for _ in journal.live()) == 3000


def test_bytes_of_any_kind_and_size_come_back_as_they_were(journal: Journal) -> None:
    body = bytes(range(256)) * 8192
    journal.commit(Batch(rows=(row("w-1", body=body), row("w'; DROP TABLE records; --", body=b"\x00"))))
    assert journal.get("workload", "w-1") == body
    assert journal.get("workload", "w'; DROP TABLE records; --") == b"\x00"


def test_a_closed_journal_refuses_everything(journal: Journal) -> None:
    journal.close()
    journal.close()
    for call in (
        lambda: journal.commit(Batch()),
        lambda: list(journal.live()),
        lambda: journal.get("meta", "m"),
        lambda: journal.list(Query(kind="run")),
        lambda: journal.events(0, 1),
        lambda: journal.purge_idempotency("1"),
    ):
        with pytest.raises(JournalError, match="is closed"):
            call()
