"""Artifacts over HTTP, and whole folders by the client."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import IO

import msgspec
import pytest

from tawtin.client import ApiError, ClientError
from tawtin.client.folder import Incoming, check_paths, scan
from tawtin.model.artifact import FileEntry, Manifest
from tawtin.runtime.actor import Actor
from tests.web.harness import WEB, Factory, running
from tests.web.raw import request


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def entry(path: str, data: bytes) -> dict[str, object]:
    return {"path": path, "digest": digest(data), "size_bytes": len(data)}


def kept(factory: Factory, key: str, data: bytes = b"hello", path: str = "a/b.txt") -> str:
    put = request(factory.url, "PUT", f"/api/v1/blobs/{digest(data)}", key=key, body=data)
    assert put.status == 201
    body = {"manifest": {"files": [entry(path, data)]}, "name": "it"}
    return str(request(factory.url, "POST", "/api/v1/artifacts", key=key, body=body).json["id"])


def test_an_artifact_is_kept_listed_read_and_dropped(factory: Factory) -> None:
    key = factory.key("art")
    missing = request(
        factory.url, "POST", "/api/v1/blobs/missing", key=key, body={"digests": [digest(b"hello")]}
    )
    assert missing.json["digests"] == [digest(b"hello")]
    artifact = kept(factory, key)
    listed = request(factory.url, "GET", "/api/v1/artifacts", key=key).json["items"]
    assert [each["id"] for each in listed] == [artifact]
    got = request(factory.url, "GET", f"/api/v1/artifacts/{artifact}/files/a/b.txt", key=key)
    assert (got.body, got.headers["content-length"]) == (b"hello", "5")
    assert request(factory.url, "HEAD", f"/api/v1/artifacts/{artifact}/files/a/b.txt", key=key).status == 200
    assert request(factory.url, "DELETE", f"/api/v1/artifacts/{artifact}", key=key).status == 204
    assert request(factory.url, "GET", f"/api/v1/artifacts/{artifact}", key=key).problem == (404, "NotFound")


def test_artifacts_of_others_look_absent_and_their_bytes_too(factory: Factory) -> None:
    owner, other = factory.key("art-a"), factory.key("art-b")
    data = b"the owner's own bytes"
    artifact = kept(factory, owner, data)
    for path in (artifact, f"{artifact}/files/a/b.txt"):
        assert request(factory.url, "GET", f"/api/v1/artifacts/{path}", key=other).problem == (
            404,
            "NotFound",
        )
    missing = request(
        factory.url, "POST", "/api/v1/blobs/missing", key=other, body={"digests": [digest(data)]}
    )
    assert missing.json["digests"] == [digest(data)], (
        "whether another tenant has these bytes is nobody's business"
    )
    body = {"manifest": {"files": [entry("stolen", data)]}}
    claimed = request(factory.url, "POST", "/api/v1/artifacts", key=other, body=body)
    assert claimed.status in {400, 404, 409}, "naming a digest is no proof of having the bytes"


def test_bytes_that_do_not_hash_to_their_name_are_refused(factory: Factory) -> None:
    path = f"/api/v1/blobs/{digest(b'right')}"
    assert request(factory.url, "PUT", path, key=factory.key("art"), body=b"wrong").problem == (
        400,
        "Invalid",
    )
    odd = "/api/v1/blobs/sha256:..%2F..%2Fetc"
    assert request(factory.url, "PUT", odd, key=factory.key("art"), body=b"x").status in {400, 404}


@pytest.mark.parametrize("path", ["../up", "/top", "a//b", "a/./b", "a/../b", "", "nul\0"])
def test_paths_that_lead_elsewhere_are_refused(factory: Factory, path: str) -> None:
    key = factory.key("art-paths")
    request(factory.url, "PUT", f"/api/v1/blobs/{digest(b'x')}", key=key, body=b"x")
    body = {"manifest": {"files": [entry(path, b"x")]}}
    assert request(factory.url, "POST", "/api/v1/artifacts", key=key, body=body).status == 400


@pytest.mark.parametrize("paths", [["b", "a"], ["a", "a"], ["a", "a/b"], ["a", "a-b", "a/b"]])
def test_paths_that_contradict_each_other_are_refused(factory: Factory, paths: list[str]) -> None:
    key = factory.key("art-paths")
    request(factory.url, "PUT", f"/api/v1/blobs/{digest(b'x')}", key=key, body=b"x")
    body = {"manifest": {"files": [entry(path, b"x") for path in paths]}}
    assert request(factory.url, "POST", "/api/v1/artifacts", key=key, body=body).problem == (400, "Invalid")


def test_a_blob_that_is_too_large_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    spool.mkdir()
    small = msgspec.structs.replace(WEB, blob_bytes_max=1 << 20, spool_dir=str(spool))
    with running(tmp_path, settings=small) as factory:
        data = os.urandom((1 << 20) + 1)
        got = request(factory.url, "PUT", f"/api/v1/blobs/{digest(data)}", key=factory.key("big"), body=data)
        assert got.problem == (413, "TooLarge")
    assert list(spool.iterdir()) == []


def make(folder: Path) -> dict[str, bytes]:
    files = {"run.py": b"print(1)\n", "data/big.bin": os.urandom(3_000_000), "data/same.py": b"print(1)\n"}
    left_out = {"notes.log": b"", "sub/old.log": b"", "build/x": b"", ".git/config": b"", "data/raw/y": b""}
    for name, data in {**files, **left_out}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "run.py").chmod(0o755)
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "away").symlink_to("/etc")
    (folder / ".tawtinignore").write_text("# not needed\n*.log\n/build\ndata/raw/\n")
    return {**files, ".tawtinignore": (folder / ".tawtinignore").read_bytes()}


def test_a_folder_goes_up_and_comes_down_the_same(factory: Factory, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    want = make(source)
    with factory.client("folders") as client:
        artifact = client.upload(source, name="code")
        assert client.upload(source).id == artifact.id
        view = client.download(artifact.id, target)
    found = {str(path.relative_to(target)): path.read_bytes() for path in target.rglob("*") if path.is_file()}
    assert found == want
    assert [each.path for each in view.manifest.files] == sorted(want)
    assert os.access(target / "run.py", os.X_OK)
    assert not os.access(target / "data/same.py", os.X_OK)


def test_only_what_is_missing_is_sent_again(
    factory: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"first")
    with factory.client("again") as client:
        client.upload(tmp_path)
        (tmp_path / "b").write_bytes(b"second")
        sent: list[str] = []
        put = factory.service.put_blob

        async def noted(actor: Actor, name: str, source: IO[bytes], size_max: int) -> int:
            sent.append(name)
            return await put(actor, name, source, size_max)

        monkeypatch.setattr(factory.service, "put_blob", noted)
        client.upload(tmp_path)
    assert sent == [digest(b"second")]


def test_nothing_is_laid_out_outside_of_the_folder(tmp_path: Path) -> None:
    bad = Manifest(files=(FileEntry(path="a/../../b", digest=digest(b""), size_bytes=0),))
    with pytest.raises(ClientError, match=r"`a/\.\./\.\./b`, which leads elsewhere"):
        check_paths(bad)
    (tmp_path / "a").symlink_to("/tmp")
    with pytest.raises(ClientError, match="is a link"):
        Incoming(tmp_path, FileEntry(path="a/b", digest=digest(b""), size_bytes=0))


def test_what_arrives_damaged_gets_no_name(tmp_path: Path) -> None:
    incoming = Incoming(tmp_path, FileEntry(path="x", digest=digest(b"right"), size_bytes=5))
    incoming.begin()
    incoming.write(b"wrong")
    with pytest.raises(ClientError, match="arrived as"):
        incoming.keep()
    incoming.discard()
    assert list(tmp_path.iterdir()) == []


def test_an_exception_in_the_ignore_file_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / ".tawtinignore").write_text("*.log\n!keep.log\n")
    with pytest.raises(ClientError, match=r"\.tawtinignore:2: `!keep\.log`"):
        scan(tmp_path)


def test_uploading_nothing_says_what_was_named(factory: Factory, tmp_path: Path) -> None:
    with (
        factory.client() as client,
        pytest.raises(ClientError, match=r"`.*absent` is neither a file nor a folder"),
    ):
        client.upload(tmp_path / "absent")
    with factory.client() as client, pytest.raises(ApiError) as caught:
        client.download(digest(b"no such artifact"), tmp_path)
    assert (caught.value.status, caught.value.token) == (404, "NotFound")
