"""What every blob store keeps to: a local folder, and S3 as `moto` imitates it (a stand-in, not a real S3 server)."""

from __future__ import annotations

import io
import logging
import os
import threading
import urllib.request
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from tawtin.ports import BlobError, Blobs
from tawtin.store.open import open_blobs

ROOM = 1 << 40
SIZES = [0, 1, 1 << 20, (8 << 20) - 1, 8 << 20, (8 << 20) + 1, 20 << 20]


def digest(body: bytes) -> str:
    return f"sha256:{sha256(body).hexdigest()}"


class Bucket:
    """An imitated S3 server, and what it holds."""

    def __init__(self) -> None:
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.endpoint = f"http://{host}:{port}"

    def ask(self, method: str, path: str) -> str:
        """The answer to a bare request; the imitation asks for no signature."""
        request = urllib.request.Request(f"{self.endpoint}{path}", method=method)  # noqa: S310 - http, made above
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - as above
            return answer.read().decode()

    def stop(self) -> None:
        self._server.stop()


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    pytest.importorskip("moto.server", reason="needs: the package moto, which imitates S3")
    pytest.importorskip("obstore", reason="needs: the extra s3")
    found = Bucket()
    found.ask("PUT", "/bytes")
    yield found
    found.stop()


@pytest.fixture(params=["file", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "file":
        return f"file://{tmp_path}/blobs"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sesame")
    server: Bucket = request.getfixturevalue("bucket")
    return f"s3://bytes/{tmp_path.name}/of%20tests?endpoint={server.endpoint}&region=us-east-1"


@pytest.fixture
def blobs(url: str) -> Blobs:
    return open_blobs(url)


@pytest.mark.parametrize("size", SIZES)
def test_bytes_come_back_as_they_were_put(blobs: Blobs, size: int) -> None:
    body = os.urandom(size)
    assert not blobs.has(digest(body))
    assert blobs.put(digest(body), io.BytesIO(body), size) == size
    assert blobs.has(digest(body))
    with blobs.open(digest(body)) as kept:
        assert kept.read() == body
    with blobs.open(digest(body)) as kept:
        kept.seek(size // 2)
        assert kept.read(10) == body[size // 2 : size // 2 + 10]


def test_what_was_put_is_there_for_the_next_process(blobs: Blobs, url: str) -> None:
    blobs.put(digest(b"kept"), io.BytesIO(b"kept"), ROOM)
    with open_blobs(url).open(digest(b"kept")) as kept:
        assert kept.read() == b"kept"


@pytest.mark.parametrize("size", [1, 9 << 20])
def test_bytes_that_do_not_hash_to_their_name_are_not_kept(blobs: Blobs, size: int) -> None:
    body = os.urandom(size)
    name = digest(body)
    with pytest.raises(
        BlobError, match=f"the bytes sent as `{name}` hash to `sha256:.*send them again"
    ) as caught:
        blobs.put(name, io.BytesIO(body[:-1] + b"x" + body[-1:]), ROOM)
    assert not caught.value.full
    assert not blobs.has(name)


@pytest.mark.parametrize("size", [2, 9 << 20])
def test_bytes_beyond_the_limit_are_not_kept(blobs: Blobs, size: int) -> None:
    body = os.urandom(size)
    with pytest.raises(BlobError, match=f"larger than the {size - 1} bytes that are allowed"):
        blobs.put(digest(body), io.BytesIO(body), size - 1)
    assert not blobs.has(digest(body))


def test_putting_again_changes_nothing_and_is_answered_alike(blobs: Blobs) -> None:
    assert [blobs.put(digest(b"twice"), io.BytesIO(b"twice"), ROOM) for _ in range(2)] == [5, 5]
    with pytest.raises(BlobError, match="hash to"):
        blobs.put(digest(b"twice"), io.BytesIO(b"other"), ROOM)
    with blobs.open(digest(b"twice")) as kept:
        assert kept.read() == b"twice"


def test_many_may_put_the_same_bytes_at_once(blobs: Blobs) -> None:
    body, sizes = os.urandom(3 << 20), list[int]()
    threads = [
        threading.Thread(target=lambda: sizes.append(blobs.put(digest(body), io.BytesIO(body), ROOM)))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sizes == [len(body)] * 6
    with blobs.open(digest(body)) as kept:
        assert kept.read() == body


def test_what_is_missing_is_told_in_the_order_asked(blobs: Blobs) -> None:
    names = [digest(bytes([n])) for n in range(6)]
    for n in (1, 4):
        blobs.put(names[n], io.BytesIO(bytes([n])), ROOM)
    assert blobs.missing(reversed(names)) == [names[n] for n in (5, 3, 2, 0)]


def test_dropped_bytes_are_gone_and_dropping_again_is_fine(blobs: Blobs) -> None:
    blobs.put(digest(b"x"), io.BytesIO(b"x"), ROOM)
    blobs.drop(digest(b"x"))
    blobs.drop(digest(b"x"))
    assert not blobs.has(digest(b"x"))
    with pytest.raises(BlobError, match="is not kept here; upload it first"):
        blobs.open(digest(b"x"))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "sha256:",
        "sha256:../../../etc/passwd",
        f"sha256:{'A' * 64}",
        f"sha256:{'a' * 63}",
        f"sha256:{'a' * 64}\n",
        f"sha256:{'a' * 62}/.",
        f"md5:{'a' * 64}",
        "a" * 64,
        f"sha256:{'٣' * 64}",
    ],
)
def test_a_name_that_is_no_digest_leads_nowhere(blobs: Blobs, name: str) -> None:
    for call in (
        lambda: blobs.has(name),
        lambda: blobs.open(name),
        lambda: blobs.drop(name),
        lambda: blobs.put(name, io.BytesIO(b""), 1),
        lambda: blobs.missing([name]),
    ):
        with pytest.raises(BlobError, match="is no digest; write `sha256:` and 64 lower-case"):
            call()


class _Breaks(io.RawIOBase):
    """A source whose other end goes away after so many bytes."""

    def __init__(self, size: int) -> None:
        self._left = size

    def read(self, size: int = -1) -> bytes:
        if not self._left:
            raise ConnectionResetError("the client went away")
        count = min(size, self._left)
        self._left -= count
        return b"x" * count


@pytest.mark.parametrize("size", [10, 10 << 20])
def test_an_upload_that_breaks_off_leaves_nothing(blobs: Blobs, size: int) -> None:
    name = digest(b"x" * size)
    with pytest.raises((BlobError, ConnectionResetError)):
        blobs.put(name, _Breaks(size), ROOM)  # pyright: ignore[reportArgumentType] - as much of a file as is needed
    assert not blobs.has(name)


def test_nothing_of_failed_uploads_stays_in_the_bucket(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sesame")
    blobs = open_blobs(f"s3://bytes/leftovers?endpoint={bucket.endpoint}")
    body = os.urandom(20 << 20)
    with pytest.raises(BlobError, match="hash to"):
        blobs.put(digest(body), io.BytesIO(body + b"!"), ROOM)
    assert "<Key>" not in bucket.ask("GET", "/bytes?list-type=2&prefix=leftovers")
    assert "<UploadId>" not in bucket.ask("GET", "/bytes?uploads")
    blobs.put(digest(body), io.BytesIO(body), ROOM)
    assert bucket.ask("GET", "/bytes?list-type=2&prefix=leftovers").count("<Key>") == 1
