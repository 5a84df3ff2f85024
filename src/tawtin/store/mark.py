"""How long the log was: a small file beside the identity, so that a journal that was put back from a backup is noticed.

It is overwritten in place after each commit, which costs microseconds and survives the death of the process; it is
synced every few seconds and at the end, so that after a crash of the machine it may be behind, or unreadable, and is
never ahead of what is durable.
"""

from __future__ import annotations

import binascii
import json
import logging
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from tawtin.core.chain import HASH_BYTES
from tawtin.ports import Head

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger("tawtin.mark")
FILE: Final = "log.mark"
_BYTES: Final = 256


class MarkFile:
    """The mark in a file: a `ports.Mark`."""

    def __init__(self, path: Path) -> None:
        """Nothing is made before the first `write`."""
        self._path = path
        self._file: int | None = None
        self._complained = False

    def read(self) -> Head | None:
        """What was written last; None if nothing was, or it cannot be read."""
        try:
            said = json.loads(self._path.read_bytes())
            head = Head(size=int(said["size"]), root=binascii.unhexlify(said["root"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.warning(
                "`%s` cannot be read (%s): a journal put back from a backup may go unnoticed",
                self._path,
                error,
            )
            return None
        return head if head.size >= 0 and len(head.root) == HASH_BYTES else None

    def write(self, head: Head) -> None:
        """Keep the head of what is durable."""
        body = json.dumps({"size": head.size, "root": head.root.hex()}).encode().ljust(_BYTES)
        try:
            if self._file is None:
                self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.pwrite(self._file, body, 0)
        except OSError as error:
            if not self._complained:
                self._complained = True
                log.warning("`%s` cannot be written (%s): it falls behind", self._path, error)

    def sync(self) -> None:
        """Let it survive the machine as well."""
        if self._file is not None:
            with suppress(OSError):
                os.fdatasync(self._file)

    def close(self) -> None:
        """Sync, and let go."""
        self.sync()
        if self._file is not None:
            os.close(self._file)
            self._file = None
