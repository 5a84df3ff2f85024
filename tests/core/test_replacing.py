"""Which replicas end in an update, and when there are too many."""

from __future__ import annotations

import pytest

from tawtin.core.services import current, newest, replaced, surplus
from tawtin.model.workload import ServiceRef, Workload
from tests.core.building import spec


def replica(name: str, *, cancel: bool = False) -> Workload:
    """`2b` is of revision 2."""
    ref = ServiceRef(name="chat", revision=int(name[0]), replica=ord(name[1]))
    return Workload(
        id=name,
        tenant="lab",
        spec=spec(),
        digest="d",
        service=ref,
        cancel=cancel,
        submitted_ms=0,
        queued_ms=0,
    )


@pytest.mark.parametrize(
    ("there", "ready", "want"),
    [
        ("1a 1b 2c 2d", "1a 1b", ""),
        ("1a 1b 2c 2d", "1a 1b 2c", "1a"),
        ("1a 1b 2c 2d", "1b 2c", "1a"),
        ("1a 1b 2c 2d", "2c 2d", "1a 1b"),
        ("1a 1b 1c 2d", "1a 1b 1c", ""),
        ("1a 1b 1c 2d", "1a 1b 1c 2d", "1a 1b 1c"),
        ("1a 2b 2c 2d", "1a 2b 2c", ""),
        ("1a 2b 2c 2d", "2b 2c 2d", "1a"),
        ("1a 2b 3c 3d", "1a 3c", "2b"),
        ("2a 2b", "2a", ""),
        ("", "", ""),
    ],
)
def test_an_earlier_replica_ends_when_one_that_replaces_it_is_ready(there: str, ready: str, want: str):
    found = replaced([replica(each) for each in there.split()], ready.split())
    assert [each.id for each in found] == want.split()


def test_what_is_ending_already_counts_for_nothing():
    replicas = [replica("1a", cancel=True), replica("1b"), replica("2c"), replica("2d")]
    assert replaced(replicas, {"1b", "2c"}) == []
    assert [each.id for each in current([*replicas, replica("2e", cancel=True)])] == ["2c", "2d"]
    assert newest(replicas) == 2


@pytest.mark.parametrize(
    ("ready", "wanted", "want"),
    [("2a 2b 2c", 2, "2c"), ("2b 2c", 2, "2a"), ("2b", 1, "2c 2a"), ("2a", 3, ""), ("", 9, "")],
)
def test_what_is_not_ready_goes_before_what_is_younger(ready: str, wanted: int, want: str):
    there = [replica(each) for each in ("1z", "2a", "2b", "2c")]
    assert [each.id for each in surplus(there, ready.split(), wanted)] == want.split()
