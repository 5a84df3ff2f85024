"""Blobs in a local folder: `<root>/<2 hex>/<62 hex>`, written beside, synced, then renamed into place.

A name is a checked digest, so no name leads out of the folder. What is not whole is never seen: a crash
leaves at most a file in `<root>/tmp`, which a later start removes.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from tawtin.ports import BlobError
from tawtin.store.digests import Checked, hex_of

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_TMP: Final = "tmp"
_DRAFT_AGE_S: Final = 60
"""Younger drafts may belong to a writer that has not locked them yet."""


class LocalBlobs:
    """Blobs in the folder `root`, which is made if it is absent, readable by its owner alone.

    Several processes may use one folder at a time. Raises BlobError if the folder cannot be made.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._root = Path(root).absolute()
        self._tmp = self._root / _TMP
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._tmp.mkdir(mode=0o700, exist_ok=True)
            self._sweep()
        except OSError as error:
            raise _explain(error, self._root) from error

    def has(self, digest: str) -> bool:
        """Whether these bytes are kept."""
        return self._path(digest).exists()

    def missing(self, digests: Iterable[str]) -> list[str]:
        """Which of these are not kept, in the order given."""
        return [digest for digest in digests if not self.has(digest)]

    def put(self, digest: str, source: IO[bytes], size_bytes_max: int) -> int:
        """Keep what `source` yields, if it hashes to `digest`; return its size. Atomic and idempotent.

        Bytes that are kept already are read and checked all the same, so that a repeated upload is answered
        alike.
        """
        path = self._path(digest)
        checked = Checked(digest, source, size_bytes_max)
        try:
            if path.exists():
                while checked.read():
                    pass
                checked.verify()
                return checked.size_bytes
            self._write(checked, path)
        except OSError as error:
            raise _explain(error, self._root) from error
        return checked.size_bytes

    def open(self, digest: str) -> IO[bytes]:
        """Read the bytes. Raises BlobError if they are not here."""
        try:
            return self._path(digest).open("rb")
        except FileNotFoundError as error:
            raise BlobError(f"`{digest}` is not kept here; upload it first") from error
        except OSError as error:
            raise _explain(error, self._root) from error

    def drop(self, digest: str) -> None:
        """Forget the bytes, if they are here."""
        try:
            self._path(digest).unlink(missing_ok=True)
        except OSError as error:
            raise _explain(error, self._root) from error

    def _path(self, digest: str) -> Path:
        name = hex_of(digest)
        return self._root / name[:2] / name[2:]

    def _write(self, checked: Checked, path: Path) -> None:
        """Write to a file of this call alone, sync it, rename it, sync the folder that names it."""
        draft = self._tmp / secrets.token_hex(16)
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            with os.fdopen(file, "wb", buffering=0) as out:
                fcntl.flock(out, fcntl.LOCK_SH)
                while chunk := checked.read():
                    _write_all(out, chunk)
                checked.verify()
                os.fsync(out.fileno())
            new_folder = not path.parent.exists()
            path.parent.mkdir(mode=0o700, exist_ok=True)
            draft.rename(path)
            _sync_folder(path.parent)
            if new_folder:
                _sync_folder(self._root)
        finally:
            with suppress(FileNotFoundError):
                draft.unlink()

    def _sweep(self) -> None:
        """Remove what processes that are gone left half written; a living writer holds its draft locked."""
        for draft in self._tmp.iterdir():
            with suppress(FileNotFoundError, BlockingIOError), draft.open("rb") as file:
                if time.time() - os.fstat(file.fileno()).st_mtime > _DRAFT_AGE_S:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    draft.unlink(missing_ok=True)


def _write_all(out: IO[bytes], chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        view = view[out.write(view) :]


def _sync_folder(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _explain(error: OSError, root: Path) -> BlobError:
    if error.errno in _FULL:
        return BlobError(
            f"no space is left in `{root}`; nothing was kept: free some and try again", full=True
        )
    where = error.filename or root
    return BlobError(f"`{where}` cannot be used ({error.strerror}); check its owner and rights")
