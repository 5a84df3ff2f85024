"""Whether the journal is an older one than this factory had, because it was put back from a backup.

Two witnesses outlive the journal on the same machine: the mark, which has how long the log was and its root, and the
engine, which is told to start a run only after that is durable, so that it knows no run that the journal does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tawtin.core.chain import Chain, leaf_hash

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tawtin.ports import Engine, Head, Journal, Mark

PAGE: Final = 1000


class Hindsight:
    """What outlives the journal, and what an operator says of it."""

    def __init__(self, mark: Mark, said: str = "") -> None:
        """`said` is why an operator says that the journal was put back; empty if nobody says so."""
        self.mark = mark
        self.said = said

    def look(self, journal: Journal, engine: Engine) -> tuple[str, str] | None:
        """Who says that the journal was put back, and why; None if nobody does. Blocks."""
        if self.said:
            return "operator", self.said
        behind = behind_mark(journal, self.mark.read())
        if behind:
            return "mark", behind
        behind = behind_engine(journal, engine.started())
        return ("engine", behind) if behind else None


def behind_mark(journal: Journal, mark: Head | None) -> str:
    """Why the journal cannot be the one that `mark` is of; empty if it can. Blocks.

    A mark that is behind is compared with the beginning of the log, whose root is then reckoned again.
    """
    if mark is None:
        return ""
    head = journal.head()
    if head.size < mark.size:
        return f"the log has {head.size} entries, and had {mark.size}"
    if (head.root if head.size == mark.size else _root(journal, mark.size)) != mark.root:
        return f"the first {mark.size} entries of the log are not those that it had"
    return ""


def _root(journal: Journal, size: int) -> bytes:
    chain = Chain()
    for start in range(0, size, PAGE):
        chain = chain.extended(map(leaf_hash, journal.events(start, min(PAGE, size - start))))
    return chain.root()


def behind_engine(journal: Journal, runs: Iterable[str]) -> str:
    """Why the journal cannot be the one that ordered these runs of the engine; empty if it can. Blocks."""
    if not journal.head().size:
        return ""  # a store that was made anew says so by its first entry
    unknown = [run for run in runs if journal.get("run", run) is None]
    if not unknown:
        return ""
    more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
    return f"the engine was told to start {min(unknown)}{more}, of which the journal knows nothing"
