"""One writer for one journal: a lock file that the kernel releases when its holder dies, however it dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from tawtin.ports import JournalError


def lock_file(journal: Path) -> int:
    """Take `<journal>.lock` for this process and return its descriptor; closing that gives the lock back.

    Raises JournalError, naming the holder's process id, if another opening of the journal holds it.
    """
    place = journal.with_name(journal.name + ".lock")
    file = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(file, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(file)
        if not isinstance(error, BlockingIOError):
            raise JournalError(
                f"`{place}` cannot be locked ({error.strerror}); keep the journal on a local disk"
            ) from error
        raise JournalError(
            f"`{journal}` is in use by process {holder}; stop that factory first, "
            "or give this one a journal of its own"
        ) from error
    os.ftruncate(file, 0)
    os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
    return file
