"""Blobs that are given up while others use the store: whoever relies on bytes keeps them."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import IO

import pytest

from tawtin.ports import BlobError
from tawtin.store.artifacts import digest_of
from tawtin.store.blobs import LocalBlobs
from tawtin.store.guarded import GuardedBlobs

BODY = b"a guest's"
NAME = digest_of(BODY)
HOLD_MS = 1_000


class Clock:
    ms = 0


@pytest.fixture
def blobs(tmp_path: Path) -> GuardedBlobs:
    Clock.ms = 0
    made = GuardedBlobs(LocalBlobs(tmp_path), hold_ms=HOLD_MS, monotonic_ms=lambda: Clock.ms)
    made.put(NAME, io.BytesIO(BODY), 100)
    return made


@pytest.mark.parametrize("use", ["has", "missing", "open", "put"])
def test_what_was_looked_for_lately_is_not_retired(blobs: GuardedBlobs, use: str):
    Clock.ms = 5_000
    if use == "has":
        assert blobs.has(NAME)
    elif use == "missing":
        assert blobs.missing([NAME]) == []
    elif use == "open":
        blobs.open(NAME).close()
    else:
        blobs.put(NAME, io.BytesIO(BODY), 100)
    Clock.ms += HOLD_MS - 1
    assert not blobs.retire([NAME])
    Clock.ms += 1
    assert blobs.retire([NAME])


def test_what_is_retired_is_not_offered_and_goes(blobs: GuardedBlobs):
    Clock.ms = 5_000
    assert blobs.retire([NAME])
    assert not blobs.has(NAME)
    assert blobs.missing([NAME]) == [NAME]
    with pytest.raises(BlobError):
        blobs.open(NAME)
    blobs.drop(NAME)
    assert not blobs.inner.has(NAME)


def test_what_is_brought_again_after_it_was_retired_stays(blobs: GuardedBlobs):
    Clock.ms = 5_000
    assert blobs.retire([NAME])
    blobs.put(NAME, io.BytesIO(BODY), 100)
    blobs.drop(NAME)
    assert blobs.has(NAME)


def test_what_is_not_retired_is_never_dropped(blobs: GuardedBlobs):
    blobs.drop(NAME)
    assert blobs.has(NAME)


def test_what_is_retired_and_given_back_is_offered_again(blobs: GuardedBlobs):
    Clock.ms = 5_000
    assert blobs.retire([NAME])
    blobs.restore([NAME])
    assert blobs.has(NAME)


def test_what_is_being_put_for_long_is_not_retired(blobs: GuardedBlobs):
    reads, goes_on = threading.Event(), threading.Event()

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            reads.set()
            assert goes_on.wait(10)
            return super().read(size)

    source: IO[bytes] = Slow(BODY)
    writer = threading.Thread(target=lambda: blobs.put(NAME, source, 100))
    writer.start()
    assert reads.wait(10)
    Clock.ms = 1_000_000
    assert not blobs.retire([NAME])
    goes_on.set()
    writer.join(10)
    assert blobs.has(NAME)
