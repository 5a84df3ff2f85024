"""What a factory remembers of its store having been put back from a backup."""

from __future__ import annotations

from tawtin.model.base import Record

ID = "restored"
"""Its name among the records; there is one."""


class Restored(Record, frozen=True, kw_only=True):
    """The last time that the store was found to be older than what others know of it."""

    incarnation: str
    """Of the store since then: 16 hexadecimal digits, drawn, so that none is ever the same as another."""
    count: int = 1
    """How often that happened, as far as this store knows."""
    at_ms: int
    """When it was noticed. What was submitted and placed up to then may be known to others in a later state."""
    by: str = ""
    """Who noticed: `mark`, `engine`, `operator`, or the name of a peer."""
    why: str = ""
    waived: tuple[str, ...] = ()
    """Peers that a person said will never answer."""
    over: bool = False
    """Epochs are above all that peers and the engine know, and what is older than `at_ms` is placed again."""
