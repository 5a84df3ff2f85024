"""Folders to artifacts and back, when folders and manifests are hostile."""

from __future__ import annotations

import io
import json
import os
import socket
import stat
import threading
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tawtin.model.artifact import FileEntry, Manifest
from tawtin.ports import ArtifactError, BlobError
from tawtin.store.artifacts import (
    BlobArtifacts,
    Limits,
    check_manifest,
    decode_manifest,
    encode_manifest,
    load_manifest,
    manifest_id,
)
from tawtin.store.blobs import LocalBlobs

SECRET = b"the factory's own key"


@pytest.fixture
def blobs(tmp_path: Path) -> LocalBlobs:
    return LocalBlobs(tmp_path / "blobs")


@pytest.fixture
def artifacts(blobs: LocalBlobs) -> BlobArtifacts:
    return BlobArtifacts(blobs)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    (folder / "out" / "deep" / "er").mkdir(parents=True)
    (folder / "out" / "model.bin").write_bytes(b"weights" * 1000)
    (folder / "out" / "run.sh").write_bytes(b"#!/bin/sh\n")
    (folder / "out" / "run.sh").chmod(0o750)
    (folder / "out" / "deep" / "er" / "توطين.txt").write_bytes(b"")
    (tmp_path / "secret").write_bytes(SECRET)
    return folder


def digest(body: bytes) -> str:
    return f"sha256:{sha256(body).hexdigest()}"


def tree(folder: Path) -> dict[str, tuple[bytes, bool]]:
    return {
        str(path.relative_to(folder)): (path.read_bytes(), bool(path.stat().st_mode & stat.S_IXUSR))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_folder_comes_back_as_it_was(artifacts: BlobArtifacts, work: Path, tmp_path: Path) -> None:
    kept = artifacts.collect(str(work), "out")
    assert (kept.files, kept.size_bytes, kept.skipped) == (3, 7010, ())
    target = tmp_path / "target"
    target.mkdir()
    assert artifacts.materialise(kept.artifact, str(target)) == 7010
    assert tree(target) == tree(work / "out")
    assert artifacts.collect(str(target), ".").artifact == kept.artifact


def test_the_id_is_the_digest_of_the_canonical_manifest(
    artifacts: BlobArtifacts, blobs: LocalBlobs, work: Path
) -> None:
    kept = artifacts.collect(str(work), "out/deep/")
    want = {"files": [{"path": "er/توطين.txt", "digest": digest(b""), "size_bytes": 0}]}
    body = json.dumps(want, ensure_ascii=False, separators=(",", ":")).encode()
    with blobs.open(kept.artifact) as manifest:
        assert manifest.read() == body
    assert kept.artifact == digest(body) == manifest_id(load_manifest(kept.artifact, blobs))


def test_a_lone_file_is_kept_under_its_own_name(artifacts: BlobArtifacts, work: Path, tmp_path: Path) -> None:
    kept = artifacts.collect(str(work), "out/run.sh")
    (tmp_path / "target").mkdir()
    artifacts.materialise(kept.artifact, str(tmp_path / "target"))
    assert tree(tmp_path / "target") == {"run.sh": (b"#!/bin/sh\n", True)}


# --- hostile folders -------------------------------------------------------------------------------------------------


def test_links_and_special_files_are_skipped_by_name_and_never_read(
    artifacts: BlobArtifacts, blobs: LocalBlobs, work: Path, tmp_path: Path
) -> None:
    out = work / "out"
    (out / "link").symlink_to(tmp_path / "secret")
    (out / "folder-link").symlink_to(tmp_path)
    (out / "dangling").symlink_to("nowhere")
    os.mkfifo(out / "pipe")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(Path(os.path.relpath(out / "socket"))))
    with listener:
        kept = artifacts.collect(str(work), "out")
    assert kept.skipped == ("dangling", "folder-link", "link", "pipe", "socket")
    assert kept.files == 3
    assert not blobs.has(digest(SECRET))


@pytest.mark.parametrize(
    "relative", ["../secret", "out/../../secret", "/etc/passwd", "out//model.bin", "./out", "a\0b"]
)
def test_a_path_that_leads_out_of_the_folder_is_refused(
    artifacts: BlobArtifacts, work: Path, relative: str
) -> None:
    with pytest.raises(ArtifactError, match="is no relative path of plain names"):
        artifacts.collect(str(work), relative)


@pytest.mark.parametrize("relative", ["link", "folder-link", "folder-link/secret", "pipe"])
def test_what_is_asked_for_is_not_reached_through_a_link(
    artifacts: BlobArtifacts, work: Path, tmp_path: Path, relative: str
) -> None:
    (work / "link").symlink_to(tmp_path / "secret")
    (work / "folder-link").symlink_to(tmp_path)
    os.mkfifo(work / "pipe")
    with pytest.raises(ArtifactError, match="links are not followed"):
        artifacts.collect(str(work), relative)


def test_what_is_absent_is_named(artifacts: BlobArtifacts, work: Path) -> None:
    with pytest.raises(ArtifactError, match="`out/nothing` does not exist"):
        artifacts.collect(str(work), "out/nothing")


def test_a_folder_swapped_for_a_link_again_and_again_never_leaks(
    artifacts: BlobArtifacts, blobs: LocalBlobs, work: Path, tmp_path: Path
) -> None:
    """A program that changes its outputs while they are kept: a file and a folder turn into links to a secret."""
    out, stop = work / "out", threading.Event()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "inner").write_bytes(SECRET)
    (out / "real").mkdir()
    (out / "real" / "inner").write_bytes(b"harmless")
    (out / "file").write_bytes(b"harmless")

    def swap() -> None:
        while not stop.is_set():
            (out / "file.new").symlink_to(tmp_path / "secret")
            (out / "file.new").rename(out / "file")
            (out / "real").rename(out / "aside")
            (out / "real").symlink_to(tmp_path / "elsewhere")
            (out / "real").unlink()
            (out / "aside").rename(out / "real")
            (out / "file.new").write_bytes(b"harmless")
            (out / "file.new").rename(out / "file")

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for _ in range(150):
            artifacts.collect(str(work), "out")
    finally:
        stop.set()
        swapper.join(10)
    assert not blobs.has(digest(SECRET))


@pytest.mark.parametrize("becomes", ["link", "pipe", "nothing"])
def test_a_file_swapped_between_the_look_and_the_opening_is_skipped(
    artifacts: BlobArtifacts,
    blobs: LocalBlobs,
    work: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    becomes: str,
) -> None:
    look = os.stat

    def swapping_look(path: str, **options: int | bool) -> os.stat_result:
        seen = look(path, **options)  # pyright: ignore[reportArgumentType] - handed on as it came
        if path == "model.bin":
            (work / "out" / "model.bin").unlink()
            if becomes == "link":
                (work / "out" / "model.bin").symlink_to(tmp_path / "secret")
            elif becomes == "pipe":
                os.mkfifo(work / "out" / "model.bin")
        return seen

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", swapping_look)
        kept = artifacts.collect(str(work), "out")
    assert (kept.files, kept.skipped) == (2, ("model.bin",))
    assert not blobs.has(digest(SECRET))


def test_a_file_that_keeps_changing_is_refused_or_kept_as_it_was_at_one_moment(
    artifacts: BlobArtifacts, blobs: LocalBlobs, work: Path
) -> None:
    stop = threading.Event()
    file = work / "out" / "model.bin"

    def write() -> None:
        with file.open("r+b", buffering=0) as out:
            while not stop.is_set():
                out.seek(0)
                out.write(os.urandom(4096))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(20):
            try:
                kept = artifacts.collect(str(work), "out/model.bin")
            except ArtifactError as error:
                assert "changes while it is being kept; stop its writer" in str(error)  # noqa: PT017 - either is right
                continue
            (entry,) = load_manifest(kept.artifact, blobs).files
            with blobs.open(entry.digest) as source:
                assert digest(source.read()) == entry.digest
    finally:
        stop.set()
        writer.join(10)


def test_too_many_files_are_refused_before_they_fill_the_memory(blobs: LocalBlobs, work: Path) -> None:
    for n in range(20):
        (work / "out" / f"d{n}").mkdir()
    with pytest.raises(ArtifactError, match="more than 10 files and folders; pack some into one"):
        BlobArtifacts(blobs, Limits(entries_max=10)).collect(str(work), "out")


def test_too_many_bytes_are_refused_also_if_they_are_holes(blobs: LocalBlobs, work: Path) -> None:
    with (work / "out" / "sparse").open("wb") as sparse:
        sparse.truncate(1 << 42)
    with pytest.raises(
        ArtifactError, match="`out` is too large: `sparse` goes beyond the bytes that are allowed"
    ):
        BlobArtifacts(blobs, Limits(size_bytes_max=1 << 30)).collect(str(work), "out")


def test_the_limit_counts_all_files_together(blobs: LocalBlobs, work: Path) -> None:
    assert BlobArtifacts(blobs, Limits(size_bytes_max=7010)).collect(str(work), "out").size_bytes == 7010
    with pytest.raises(ArtifactError, match="too large"):
        BlobArtifacts(blobs, Limits(size_bytes_max=7009)).collect(str(work), "out")


def test_folders_nested_without_end_are_refused(artifacts: BlobArtifacts, work: Path) -> None:
    deep = work / "out"
    for _ in range(80):
        deep = deep / "d"
        deep.mkdir()
    with pytest.raises(ArtifactError, match="nested more than 64 folders deep"):
        artifacts.collect(str(work), "out")


def test_a_name_that_is_no_text_is_refused(artifacts: BlobArtifacts, work: Path) -> None:
    (work / "out" / os.fsdecode(b"caf\xe9")).write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"`caf\\xe9` is not UTF-8; rename it"):
        artifacts.collect(str(work), "out")


def test_no_descriptor_is_left_open(artifacts: BlobArtifacts, work: Path, tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    (work / "out" / "zz-link").symlink_to("x")
    for _ in range(5):
        kept = artifacts.collect(str(work), "out")
        artifacts.collect(str(work), "out/run.sh")
        with pytest.raises(ArtifactError):
            artifacts.collect(str(work), "out/zz-link/deeper")
        (tmp_path / "target").mkdir(exist_ok=True)
        artifacts.materialise(kept.artifact, str(tmp_path / "target"))
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# --- hostile manifests -----------------------------------------------------------------------------------------------


def keep(blobs: LocalBlobs, body: bytes) -> str:
    blobs.put(digest(body), io.BytesIO(body), 1 << 30)
    return digest(body)


def entry(path: str, body: bytes = b"") -> FileEntry:
    return FileEntry(path=path, digest=digest(body), size_bytes=len(body))


@pytest.mark.parametrize(
    ("paths", "want"),
    [
        (["../escaped"], "is no relative path"),
        (["/etc/cron.d/x"], "is no relative path"),
        (["a/../../x"], "is no relative path"),
        (["a//b"], "is no relative path"),
        (["."], "is no relative path"),
        (["a\0b"], "is no relative path"),
        (["x" * 4097], "at most 4096|longer than|length <= 4096"),
        (["/".join("a" * 70)], "more than 64 folders deep"),
        (["b", "a"], "is not sorted, or has a path twice, at `a`"),
        (["a", "a"], "is not sorted, or has a path twice, at `a`"),
        (["a", "a-b", "a/b"], "has `a` as a file and as a folder"),
    ],
)
def test_an_unsound_manifest_is_refused_and_nothing_is_laid_out(
    blobs: LocalBlobs, tmp_path: Path, paths: list[str], want: str
) -> None:
    keep(blobs, b"")
    manifest = Manifest(files=tuple(entry(path) for path in paths))
    artifact = keep(blobs, encode_manifest(manifest))
    (tmp_path / "target").mkdir()
    with pytest.raises(ArtifactError, match=want):
        BlobArtifacts(blobs).materialise(artifact, str(tmp_path / "target"))
    assert list((tmp_path / "target").iterdir()) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b'{"files":[{}]}',
        b'{"files":[],"more":1}',
        b'{ "files":[]}',
        b'{"files":[]}',
        b"\xff",
    ],
)
def test_what_is_no_canonical_manifest_is_refused(body: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"manifest"):
        decode_manifest(body)


def test_a_manifest_that_is_not_kept_is_named(artifacts: BlobArtifacts, tmp_path: Path) -> None:
    with pytest.raises(BlobError, match="is not kept here"):
        artifacts.materialise(digest(b"nobody has this"), str(tmp_path))


def test_a_link_in_the_target_is_not_followed(artifacts: BlobArtifacts, work: Path, tmp_path: Path) -> None:
    kept = artifacts.collect(str(work), "out")
    target, outside = tmp_path / "target", tmp_path / "outside"
    target.mkdir()
    outside.mkdir()
    (target / "deep").symlink_to(outside)
    with pytest.raises(ArtifactError, match="leads through something that is no folder"):
        artifacts.materialise(kept.artifact, str(target))
    assert list(outside.iterdir()) == []
    (target / "deep").unlink()
    (target / "model.bin").unlink(missing_ok=True)
    (target / "model.bin").symlink_to(tmp_path / "secret")
    artifacts.materialise(kept.artifact, str(target))
    assert (tmp_path / "secret").read_bytes() == SECRET
    assert tree(target) == tree(work / "out")


def test_bytes_that_were_changed_on_disk_are_found_out(
    artifacts: BlobArtifacts, blobs: LocalBlobs, work: Path, tmp_path: Path
) -> None:
    kept = artifacts.collect(str(work), "out")
    blob = blobs._path(digest(b"#!/bin/sh\n"))
    blob.chmod(0o600)
    blob.write_bytes(b"#!/bin/zh\n")
    (tmp_path / "target").mkdir()
    with pytest.raises(BlobError, match="hash to"):
        artifacts.materialise(kept.artifact, str(tmp_path / "target"))


def test_a_manifest_that_lies_about_sizes_is_refused(blobs: LocalBlobs, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    for claimed in (3, 5):
        keep(blobs, b"four")
        file = FileEntry(path="a", digest=digest(b"four"), size_bytes=claimed)
        artifact = keep(blobs, encode_manifest(Manifest(files=(file,))))
        with pytest.raises(
            BlobError, match=r"larger than the 3 bytes|says that `a` has 5 bytes, but it has 4"
        ):
            BlobArtifacts(blobs).materialise(artifact, str(tmp_path / "target"))


@pytest.mark.root
def test_what_is_laid_out_belongs_to_the_owner_that_was_asked_for(
    artifacts: BlobArtifacts, work: Path, tmp_path: Path
) -> None:
    kept = artifacts.collect(str(work), "out")
    (tmp_path / "target").mkdir()
    artifacts.materialise(kept.artifact, str(tmp_path / "target"), owner=(65534, 65533))
    made = list((tmp_path / "target").rglob("*"))
    assert {(path.stat().st_uid, path.stat().st_gid) for path in made} == {(65534, 65533)}
    assert len(made) == 5


names = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=8
).filter(lambda name: name not in {".", ".."})


@given(paths=st.lists(st.lists(names, min_size=1, max_size=3).map("/".join), unique=True, max_size=8))
def test_manifests_are_read_back_as_written_or_refused(paths: list[str]) -> None:
    manifest = Manifest(files=tuple(entry(path, path.encode()) for path in sorted(paths)))
    folders = {"/".join(path.split("/")[:n]) for path in paths for n in range(1, path.count("/") + 1)}
    if folders & set(paths):
        with pytest.raises(ArtifactError, match="as a file and as a folder"):
            check_manifest(manifest)
    else:
        assert decode_manifest(encode_manifest(manifest)) == manifest
