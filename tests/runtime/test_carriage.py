"""Transfers between two stores, with a way in between that breaks, lies and stops."""

from __future__ import annotations

import asyncio
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tawtin.model.artifact import FileEntry, Manifest
from tawtin.model.roaming import FileAsk, Peer, Piece, Side
from tawtin.ports import TransportError
from tawtin.runtime import carriage
from tawtin.runtime.carriage import Broken, Carriage, Load
from tawtin.runtime.errors import NotFound
from tawtin.store.artifacts import encode_manifest, manifest_id
from tawtin.store.blobs import LocalBlobs
from tawtin.store.digests import digest_of
from tawtin.store.incoming import LocalIncoming

if TYPE_CHECKING:
    from collections.abc import Callable


NAIROBI = Peer(name="Nairobi")


class Way:
    """A transport that asks the other end directly, and what it does to the answers."""

    giver: Carriage

    def __init__(self, artifacts: tuple[str, ...]) -> None:
        self.artifacts = artifacts
        self.asked: list[FileAsk] = []
        self.spoil: Callable[[FileAsk, Piece], Piece] = lambda _, piece: piece

    async def piece(self, peer: Peer, ask: FileAsk) -> Piece:
        assert peer is NAIROBI
        self.asked.append(ask)
        return self.spoil(ask, await self.giver.give(ask, self.artifacts))


class Ends:
    """A giver with one artifact, and a taker."""

    def __init__(self, folder: Path, files: dict[str, bytes]) -> None:
        self.there = LocalBlobs(folder / "there")
        self.here = LocalBlobs(folder / "here")
        self.incoming = LocalIncoming(folder / "incoming", self.here)
        entries = [
            FileEntry(path=path, digest=digest_of(data), size_bytes=len(data))
            for path, data in sorted(files.items())
        ]
        manifest = Manifest(files=tuple(entries))
        self.artifact = manifest_id(manifest)
        for data in (*files.values(), encode_manifest(manifest)):
            self.there.put(digest_of(data), io.BytesIO(data), len(data))
        self.way = Way((self.artifact,))
        unused = LocalIncoming(folder / "unused", self.there)
        self.way.giver = Carriage(blobs=self.there, incoming=unused, transport=self.way)
        self.taker = Carriage(
            blobs=self.here, incoming=self.incoming, transport=self.way, bytes_max=20_000_000
        )
        self.load = Load(workload="wl-1", epoch=1, side=Side.INPUT, artifacts=(self.artifact,))

    def bring(self, tries: int = 100) -> list[carriage.Brought]:
        left = iter(range(tries))

        def peer() -> Peer | None:
            return NAIROBI if next(left, None) is not None else None

        return asyncio.run(self.taker.bring(peer, self.load, lambda: None))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carriage, "PAUSE_S", 0.0)
    monkeypatch.setattr(carriage, "PAUSE_S_MAX", 0.0)


def test_all_files_arrive_and_the_second_time_nothing_moves(tmp_path: Path):
    large = os.urandom(6 * carriage.PIECE_BYTES * carriage.AT_ONCE // 5 + 1)
    ends = Ends(tmp_path, {"a": b"", "b/c": b"small", "large": large, "exact": large[: carriage.PIECE_BYTES]})
    want = len(large) + 5 + carriage.PIECE_BYTES
    assert ends.bring() == [carriage.Brought(want, want)]
    assert ends.bring() == [carriage.Brought(want, 0)]
    with ends.here.open(digest_of(large)) as source:
        assert source.read() == large


def test_a_broken_way_is_tried_again_from_where_it_broke(tmp_path: Path):
    large = os.urandom(20 * carriage.PIECE_BYTES)
    ends = Ends(tmp_path, {"large": large})
    broken = iter([9, 13])

    def spoil(ask: FileAsk, piece: Piece) -> Piece:
        if ask.offset and ask.offset // carriage.PIECE_BYTES == at[0]:
            at[0] = next(broken, -1)
            msg = "the cable is cut"
            raise TransportError(msg)
        return piece

    at = [next(broken)]
    ends.way.spoil = spoil
    assert ends.bring() == [carriage.Brought(len(large), len(large))]
    again = [ask.offset for ask in ends.way.asked if ask.digest == digest_of(large)]
    assert again.count(0) == 1, "what has arrived is not asked for again"
    assert len(again) > 20


def test_a_peer_that_gives_other_bytes_is_given_up_and_nothing_is_kept(tmp_path: Path):
    ends = Ends(tmp_path, {"a": b"right"})
    ends.way.spoil = lambda ask, piece: (
        piece if ask.digest == ends.artifact else Piece(size_bytes=5, data=b"wrong")
    )
    with pytest.raises(Broken, match="hash to"):
        ends.bring()
    assert not ends.here.has(digest_of(b"right"))
    assert not list((tmp_path / "incoming").iterdir())


@pytest.mark.parametrize("data", [b"righ", b"righty", b""])
def test_a_piece_of_another_length_is_refused(tmp_path: Path, data: bytes):
    ends = Ends(tmp_path, {"a": b"right"})
    ends.way.spoil = lambda ask, piece: (
        piece if ask.digest == ends.artifact else Piece(size_bytes=5, data=data)
    )
    with pytest.raises(Broken):
        ends.bring()


def test_a_manifest_that_is_none_is_refused(tmp_path: Path):
    ends = Ends(tmp_path, {"a": b"right"})
    ends.way.spoil = lambda _, __: Piece(size_bytes=2, data=b"{}")
    with pytest.raises(Broken):
        ends.bring()


def test_more_bytes_than_are_taken_in_are_refused_before_they_travel(tmp_path: Path):
    ends = Ends(tmp_path, {"a": b"x" * 20_000_001})
    with pytest.raises(Broken, match="at most 20000000"):
        ends.bring()
    assert {ask.digest for ask in ends.way.asked} == {ends.artifact}


def test_what_is_not_wanted_any_more_is_not_brought(tmp_path: Path):
    ends = Ends(tmp_path, {"a": b"right"})
    with pytest.raises(TransportError, match="not wanted"):
        ends.bring(tries=0)
    assert not ends.way.asked


def test_only_what_the_epoch_names_is_given(tmp_path: Path):
    ends = Ends(tmp_path, {"a": b"named"})
    secret = b"another tenant's"
    ends.there.put(digest_of(secret), io.BytesIO(secret), len(secret))

    def ask(digest: str) -> Piece:
        asked = FileAsk(workload="wl-1", epoch=1, side=Side.INPUT, digest=digest)
        return asyncio.run(ends.way.giver.give(asked, (ends.artifact,)))

    assert ask(digest_of(b"named")).data == b"named"
    with pytest.raises(NotFound) as known:
        ask(digest_of(secret))
    with pytest.raises(NotFound) as unknown:
        ask(digest_of(b"nobody's"))
    assert str(known.value).replace(digest_of(secret), "") == str(unknown.value).replace(
        digest_of(b"nobody's"), ""
    )
