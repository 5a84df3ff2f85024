"""Files that arrive piece by piece: drafts that survive a restart, and become blobs once they hash to their name."""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from tawtin.ports import BlobError
from tawtin.store.digests import hex_of

if TYPE_CHECKING:
    from tawtin.ports import Blobs

DRAFT_AGE_S_MAX: Final = 7 * 86_400
"""A draft that nothing was added to for so long is thrown away at the next start."""


class LocalIncoming:
    """Drafts in the folder `root`, one a digest; what is whole goes to `blobs`. Methods block."""

    def __init__(self, root: str | os.PathLike[str], blobs: Blobs) -> None:
        """Make `root`, for its owner's eyes only, and throw away what was left there long ago."""
        self._root = Path(root)
        self._blobs = blobs
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for draft in self._root.iterdir():
            with suppress(FileNotFoundError):
                if time.time() - draft.stat().st_mtime > DRAFT_AGE_S_MAX:
                    draft.unlink()

    def size(self, digest: str) -> int:
        """How many bytes of it are here already."""
        try:
            return self._draft(digest).stat().st_size
        except FileNotFoundError:
            return 0

    def add(self, digest: str, offset: int, data: bytes) -> None:
        """Write the bytes from `offset` on. Raises BlobError if the draft is not that long, or cannot be written."""
        try:
            file = os.open(
                self._draft(digest), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
            )
            with os.fdopen(file, "wb", buffering=0) as out:
                if os.fstat(file).st_size < offset:
                    self._fail(digest, f"has fewer than {offset} bytes in its draft")
                done = 0
                while done < len(data):
                    done += os.pwrite(out.fileno(), data[done:], offset + done)
        except OSError as error:
            full = error.errno in {errno.ENOSPC, errno.EDQUOT}
            msg = f"`{digest}` cannot be written ({error.strerror}): nothing is lost, it is tried again"
            raise BlobError(msg, full=full) from error

    def keep(self, digest: str, size_bytes: int) -> None:
        """Make the draft a blob. Raises BlobError, and throws the draft away, if it is not what its name says."""
        path = self._draft(digest)
        try:
            with path.open("a+b") as draft:  # an empty file has no draft yet
                if draft.seek(0, os.SEEK_END) != size_bytes:
                    self._fail(digest, f"has not the {size_bytes} bytes that were announced")
                draft.seek(0)
                self._blobs.put(digest, draft, size_bytes)
        except OSError as error:
            self._fail(digest, f"cannot be read again ({error.strerror})")
        except BlobError as error:
            if not error.full:
                self.drop(digest)
            raise
        self.drop(digest)

    def drop(self, digest: str) -> None:
        """Throw the draft away, if there is one."""
        self._draft(digest).unlink(missing_ok=True)

    def _fail(self, digest: str, what: str) -> NoReturn:
        msg = f"`{digest}` {what}"
        raise BlobError(msg)

    def _draft(self, digest: str) -> Path:
        return self._root / hex_of(digest)
