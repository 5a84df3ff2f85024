"""A process on a disk that is nearly full: `python -m tests.store.filler FOLDER LIMIT`, its findings printed as JSON.

LIMIT is `tmpfs` (a small file system mounted over FOLDER, in a mount namespace of this process) or `fsize` (files
may not grow beyond a limit, which the system tells as another error than a full disk).
"""

from __future__ import annotations

import io
import json
import os
import resource
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

from tawtin.ports import Batch, BlobError, JournalError, Query, Row
from tawtin.store.blobs import LocalBlobs
from tawtin.store.sqlite import SqliteJournal
from tests.store.journals import entries, recomputed

ROOM = 1 << 20


def batch(at: int) -> Batch:
    row = Row(kind="workload", id=f"w-{at:06d}", tenant="t", phase="queued", body=os.urandom(9000))
    return Batch(entries=entries(at, 1), rows=(row,))


def limit(folder: Path, how: str) -> Path | None:
    """Leave little room in `folder`; the file whose removal gives more, if there is one."""
    if how == "fsize":
        resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM, resource.RLIM_INFINITY))
        return None
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={4 * ROOM}", "none", str(folder)], check=True)
    ballast = folder / "ballast"
    ballast.write_bytes(b"\0" * (2 * ROOM))
    return ballast


def give_room(ballast: Path | None) -> None:
    if ballast is None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    else:
        ballast.unlink()


def main(folder: Path, how: str) -> dict[str, object]:
    ballast = limit(folder, how)
    found: dict[str, object] = {}
    journal = SqliteJournal(folder / "journal.db")
    blobs = LocalBlobs(folder / "blobs")
    for at in range(2000):
        try:
            journal.commit(batch(at))
        except JournalError as error:
            found["journal"], found["journal_full"] = str(error), error.full
            break
    size = journal.head().size
    found["refused_again"] = _refuses(journal, size)
    found["whole"] = (
        recomputed(journal) == journal.head()
        and len(journal.list(Query(kind="workload", limit=9999))) == size
    )
    found["size"] = size
    body = os.urandom(3 * ROOM)
    digest = f"sha256:{sha256(body).hexdigest()}"
    try:
        blobs.put(digest, io.BytesIO(body), 1 << 40)
    except BlobError as error:
        found["blob"], found["blob_full"] = str(error), error.full
    found["drafts"] = len(list((folder / "blobs" / "tmp").iterdir()))
    found["blob_kept"] = blobs.has(digest)

    give_room(ballast)
    journal.commit(batch(size))
    journal.close()
    with SqliteJournal(folder / "journal.db") as again:
        found["goes_on"] = again.head().size == size + 1 and recomputed(again) == again.head()
    return found


def _refuses(journal: SqliteJournal, at: int) -> bool:
    try:
        journal.commit(batch(at))
    except JournalError as error:
        return error.full
    return False


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2])))
