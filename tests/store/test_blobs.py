"""What is particular to blobs in a folder and in S3: rights, crashes, addresses, credentials."""

from __future__ import annotations

import io
import os
import stat
import sys
import time
from hashlib import sha256
from pathlib import Path

import pytest

from tawtin.ports import BlobError, JournalError
from tawtin.store.blobs import LocalBlobs
from tawtin.store.memory import MemoryJournal
from tawtin.store.open import open_blobs, open_journal
from tawtin.store.s3 import S3Blobs
from tawtin.store.sqlite import SqliteJournal

BODY = b"some bytes"
DIGEST = f"sha256:{sha256(BODY).hexdigest()}"


def test_only_the_owner_can_read_blobs(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        LocalBlobs(tmp_path / "blobs").put(DIGEST, io.BytesIO(BODY), 100)
    finally:
        os.umask(before)
    for path in [tmp_path / "blobs", *(tmp_path / "blobs").rglob("*")]:
        want = 0o700 if path.is_dir() else 0o600
        assert (path, stat.S_IMODE(path.stat().st_mode)) == (path, want)


def test_a_crash_in_mid_upload_leaves_a_draft_that_a_later_start_removes(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path)
    left, fresh = tmp_path / "tmp" / "left-behind", tmp_path / "tmp" / "fresh"
    left.write_bytes(b"half")
    fresh.write_bytes(b"half")
    os.utime(left, (time.time() - 3600, time.time() - 3600))
    assert not blobs.has(DIGEST)
    LocalBlobs(tmp_path)
    assert not left.exists()
    assert fresh.exists()


def test_a_slow_upload_is_not_swept_away_by_another_start(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path)

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            for draft in (tmp_path / "tmp").iterdir():
                os.utime(draft, (0, 0))
            LocalBlobs(tmp_path)
            return super().read(size)

    assert blobs.put(DIGEST, Slow(BODY), 100) == len(BODY)
    assert blobs.has(DIGEST)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BlobError, match=r"file/blobs.*check its owner and rights"):
        LocalBlobs(tmp_path / "file" / "blobs")


@pytest.mark.parametrize(
    "url",
    [
        "s3:///no-bucket",
        "s3://bucket/prefix?endpont=https://host",
        "s3://bucket/prefix?endpoint=ftp://host",
        "s3://bucket?endpoint=https://me:sesame@host",
        "s3://me:sesame@bucket/prefix",
    ],
)
def test_an_s3_address_that_is_not_understood_is_refused(url: str) -> None:
    with pytest.raises(BlobError) as caught:
        open_blobs(url)
    assert "write `" in str(caught.value) or "set `AWS_ACCESS_KEY_ID`" in str(caught.value)


def test_credentials_are_in_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sesame-sesame")
    said: list[str] = []
    for blobs in (
        open_blobs("s3://bucket/prefix?endpoint=http://127.0.0.1:9"),
        S3Blobs(
            "s3://bucket/prefix?endpoint=http://127.0.0.1:9",
            access_key_id="id",
            secret_access_key="open-sesame",
        ),
    ):
        with pytest.raises(BlobError, match="`s3://bucket/prefix` failed") as caught:
            blobs.has(DIGEST)
        said.append(f"{caught.value} {blobs!r} {vars(blobs)['_store']!r}")
    with pytest.raises(BlobError) as caught:
        open_blobs("s3://me:sesame@bucket/prefix")
    said.append(str(caught.value))
    assert [text for text in said if "sesame" in text] == []


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    with pytest.raises(BlobError, match=r"pip install 'tawtin\[s3\]'"):
        open_blobs("s3://bucket/prefix")


@pytest.mark.parametrize(
    "url", ["ftp://host/x", "", "blobs", "file://host/path", "file:///", "file:///x?y=1"]
)
def test_a_blob_address_that_names_none_is_refused(url: str) -> None:
    with pytest.raises(BlobError, match="write `file:///"):
        open_blobs(url)


@pytest.mark.parametrize("url", ["mysql://me:sesame@host/x", "journal.db", "sqlite://host/x", "sqlite:///"])
def test_a_journal_address_that_names_none_is_refused(url: str) -> None:
    with pytest.raises(JournalError, match="write `sqlite:///") as caught:
        open_journal(url)
    assert "sesame" not in str(caught.value)


def test_journal_addresses_open_what_they_name(tmp_path: Path) -> None:
    assert isinstance(open_journal("memory:"), MemoryJournal)
    for url in (f"sqlite://{tmp_path}/a%20b.db", f"sqlite:///{tmp_path}/a b.db"):
        journal = open_journal(url)
        assert isinstance(journal, SqliteJournal)
        journal.close()
    assert sorted(path.name for path in tmp_path.glob("*.db")) == ["a b.db"]
