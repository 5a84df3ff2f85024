"""Between folders and artifacts: every file is a blob, and so is the manifest that lists them.

An artifact's id is the digest of its manifest's canonical JSON: equal folders have equal ids, wherever they
are.
"""

from __future__ import annotations

import errno
import io
import os
from hashlib import sha256
from typing import IO, Final

import msgspec

from tawtin.model.artifact import FileEntry, Manifest
from tawtin.ports import ArtifactError, BlobError, Blobs, Collected
from tawtin.store.digests import CHUNK_BYTES, Checked, digest_of
from tawtin.store.folders import Found, make_file, opened_folder, parts_of, walk

MANIFEST_BYTES_MAX: Final = 64 << 20
SKIPPED_NAMED_MAX: Final = 100
_encoder: Final = msgspec.json.Encoder(order="deterministic")
_decoder: Final = msgspec.json.Decoder(Manifest)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How large an artifact may be."""

    entries_max: int = 100_000
    """Files, folders, and what is skipped."""
    size_bytes_max: int = 1 << 40
    """All files together."""


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the canonical bytes of a manifest."""
    return _encoder.encode(manifest)


def manifest_id(manifest: Manifest) -> str:
    """Return the artifact's id: the digest of the manifest's canonical bytes."""
    return digest_of(encode_manifest(manifest))


def check_manifest(manifest: Manifest) -> None:
    """Raise ArtifactError unless paths are plain, sorted, unique, and none is a folder of another."""
    before: list[str] = []
    for file in manifest.files:
        parts = parts_of(file.path)
        if before and "/".join(before) >= file.path:
            raise ArtifactError(f"the manifest is not sorted, or has a path twice, at `{file.path}`")
        before = parts
    names = {file.path for file in manifest.files}
    for file in manifest.files:
        parts = file.path.split("/")
        for depth in range(1, len(parts)):
            if "/".join(parts[:depth]) in names:
                raise ArtifactError(f"the manifest has `{'/'.join(parts[:depth])}` as a file and as a folder")


def decode_manifest(body: bytes) -> Manifest:
    """Return the manifest in `body`, checked. Raises ArtifactError, also if the bytes are not canonical."""
    try:
        manifest = _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise ArtifactError(f"this is no manifest: {error}") from error
    except msgspec.DecodeError as error:
        raise ArtifactError(f"this is no manifest, nor JSON: {error}") from error
    check_manifest(manifest)
    if encode_manifest(manifest) != body:
        raise ArtifactError(
            "the manifest is not in canonical form: fields in their order, no spaces, no defaults"
        )
    return manifest


def load_manifest(artifact: str, blobs: Blobs) -> Manifest:
    """Return the manifest of `artifact`. Raises BlobError if it is not here, ArtifactError if it is unsound."""
    with blobs.open(artifact) as source:
        checked = Checked(artifact, source, MANIFEST_BYTES_MAX)
        body = b"".join(iter(checked.read, b""))
        checked.verify()
    return decode_manifest(body)


class BlobArtifacts:
    """Artifacts kept in `blobs`, each within `limits`."""

    def __init__(self, blobs: Blobs, limits: Limits | None = None) -> None:
        self._blobs = blobs
        self._limits = limits or Limits()

    def collect(self, root: str, relative: str) -> Collected:
        """Keep the file or folder `relative` below the folder `root`, both of which may be hostile and change.

        Files are kept before the manifest, so that a manifest never names what is not there. Raises
        ArtifactError and BlobError; files that were kept by then stay as blobs that nothing names.
        """
        files: list[FileEntry] = []
        skipped: list[str] = []
        size_bytes = 0
        with opened_folder(root) as folder:
            for found in walk(folder, relative, self._limits.entries_max):
                if found.file is None:
                    skipped.append(found.path)
                    continue
                entry = self._keep(found, found.file, relative, self._limits.size_bytes_max - size_bytes)
                size_bytes += entry.size_bytes
                files.append(entry)
        manifest = Manifest(files=tuple(sorted(files, key=lambda file: file.path)))
        check_manifest(manifest)
        body = encode_manifest(manifest)
        artifact = digest_of(body)
        self._blobs.put(artifact, io.BytesIO(body), MANIFEST_BYTES_MAX)
        return Collected(
            artifact=artifact,
            size_bytes=size_bytes,
            files=len(files),
            skipped=tuple(sorted(skipped)[:SKIPPED_NAMED_MAX]),
        )

    def _keep(self, found: Found, file: int, relative: str, room: int) -> FileEntry:
        """Hash a file, then store it under that hash; look again, twice at most, if it changed in between."""
        for _ in range(3):
            os.lseek(file, 0, os.SEEK_SET)
            digest, size_bytes = _hash(file, found.path, relative, room)
            if self._blobs.has(digest):
                break
            os.lseek(file, 0, os.SEEK_SET)
            with os.fdopen(os.dup(file), "rb", buffering=0) as source:
                try:
                    self._blobs.put(digest, source, room)
                    break
                except BlobError as error:
                    if error.full or _hash_again(file, found.path, relative, room) == digest:
                        raise
        else:
            raise ArtifactError(
                f"`{found.path}` in `{relative}` changes while it is being kept; stop its writer"
            )
        return FileEntry(path=found.path, digest=digest, size_bytes=size_bytes, executable=found.executable)

    def materialise(self, artifact: str, target: str, *, owner: tuple[int, int] | None = None) -> int:
        """Lay the files of `artifact` out in the existing folder `target`; return their bytes.

        `owner` (uid, gid) becomes the owner of what is made. Files that exist already are replaced. A
        manifest or a file that is not what its name says is refused; files laid out by then stay. Raises
        ArtifactError, BlobError.
        """
        manifest = load_manifest(artifact, self._blobs)
        with opened_folder(target) as root:
            for entry in manifest.files:
                try:
                    with (
                        self._blobs.open(entry.digest) as source,
                        make_file(root, entry.path, executable=entry.executable, owner=owner) as out,
                    ):
                        _copy(Checked(entry.digest, source, entry.size_bytes), out, entry)
                except OSError as error:
                    full = error.errno in {errno.ENOSPC, errno.EDQUOT}
                    raise ArtifactError(
                        f"`{entry.path}` cannot be written in `{target}` ({error.strerror})", full=full
                    ) from error
        return sum(entry.size_bytes for entry in manifest.files)


def _copy(checked: Checked, out: IO[bytes], entry: FileEntry) -> None:
    while chunk := checked.read():
        view = memoryview(chunk)
        while view:
            view = view[out.write(view) :]
    checked.verify()
    if checked.size_bytes != entry.size_bytes:
        raise ArtifactError(
            f"the manifest says that `{entry.path}` has {entry.size_bytes} bytes, but it has {checked.size_bytes}"
        )


def _hash(file: int, path: str, relative: str, room: int) -> tuple[str, int]:
    """Digest and size of an open file. Raises ArtifactError if there is no room for it."""
    hashed, size_bytes = sha256(), 0
    if os.fstat(file).st_size > room:
        raise ArtifactError(f"`{relative}` is too large: `{path}` goes beyond the bytes that are allowed")
    while chunk := _read(file, path):
        size_bytes += len(chunk)
        if size_bytes > room:
            raise ArtifactError(f"`{relative}` is too large: `{path}` goes beyond the bytes that are allowed")
        hashed.update(chunk)
    return f"sha256:{hashed.hexdigest()}", size_bytes


def _hash_again(file: int, path: str, relative: str, room: int) -> str:
    os.lseek(file, 0, os.SEEK_SET)
    return _hash(file, path, relative, room)[0]


def _read(file: int, path: str) -> bytes:
    try:
        return os.read(file, CHUNK_BYTES)
    except OSError as error:
        raise ArtifactError(f"`{path}` cannot be read ({error.strerror})") from error
