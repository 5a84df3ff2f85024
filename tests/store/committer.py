"""A process that commits until it is killed: `python -m tests.store.committer URL`. Prints the log's size after each.

Each batch has BATCH entries and changes as many rows and one secret; whoever finds part of one has found a tear.
"""

from __future__ import annotations

import sys

from tawtin.ports import Batch, JournalError, Row
from tawtin.store.open import open_journal
from tests.store.journals import entries

BATCH = 7


def batch(at: int) -> Batch:
    number = at // BATCH
    rows = tuple(
        Row(kind="workload", id=f"w-{number:06d}-{n}", tenant="t", phase="queued", body=b"x" * 3000)
        for n in range(BATCH)
    )
    counter = Row(kind="meta", id="batches", body=str(number + 1).encode())
    return Batch(
        entries=entries(at, BATCH),
        rows=(*rows, counter),
        secrets_put=((f"w-{number:06d}", "TOKEN", str(number)),),
    )


def main(url: str) -> None:
    journal = open_journal(url)
    while True:
        try:
            size = journal.commit(batch(journal.head().size)).size
        except JournalError as error:
            print("full" if error.full else f"failed {error}", flush=True)
            return
        print(size, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
