"""Blobs that can be given up while others use the store: what was asked for lately stays, what goes is not offered.

Whoever looks whether bytes are here may rely on the answer for `hold_ms`: all that was looked for, read or put is held
for that long. What is retired counts as not here from that moment, so that nobody begins to rely on it, and comes back
if somebody puts it, or if its deletion was not recorded.
"""

from __future__ import annotations

import threading
from collections import Counter
from typing import IO, TYPE_CHECKING, Final

from tawtin.ports import BlobError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tawtin.ports import Blobs

PRUNE_AT: Final = 100_000
"""Past so many names, those that are held no more are forgotten."""


class GuardedBlobs:
    """`inner`, of which one process alone deletes. May be used by several threads."""

    def __init__(self, inner: Blobs, *, hold_ms: int, monotonic_ms: Callable[[], int]) -> None:
        self.inner = inner
        self.hold_ms = hold_ms
        self._monotonic_ms = monotonic_ms
        self._lock = threading.Lock()
        self._held_until_ms: dict[str, int] = {}
        self._prune_at = PRUNE_AT
        self._going: set[str] = set()
        self._putting: Counter[str] = Counter()

    def has(self, digest: str) -> bool:
        """Whether these bytes are kept."""
        return self._is_offered(digest) and self.inner.has(digest)

    def missing(self, digests: Iterable[str]) -> list[str]:
        """Which of these are not kept, in the order given."""
        wanted = list(digests)
        offered = [each for each in wanted if self._is_offered(each)]
        here = set(offered).difference(self.inner.missing(offered))
        return [each for each in wanted if each not in here]

    def put(self, digest: str, source: IO[bytes], size_bytes_max: int) -> int:
        """Keep what `source` yields, if it hashes to `digest`; return its size."""
        with self._lock:
            self._hold(digest)
            self._going.discard(digest)
            self._putting[digest] += 1
        try:
            return self.inner.put(digest, source, size_bytes_max)
        finally:
            with self._lock:
                self._hold(digest)
                self._putting[digest] -= 1
                if not self._putting[digest]:
                    del self._putting[digest]

    def open(self, digest: str) -> IO[bytes]:
        """Read the bytes. Raises BlobError if they are not here."""
        if not self._is_offered(digest):
            msg = f"`{digest}` is not kept here; upload it first"
            raise BlobError(msg)
        return self.inner.open(digest)

    def peek(self, digest: str) -> IO[bytes]:
        """Read the bytes without relying on them, also of what is retired. Raises BlobError."""
        return self.inner.open(digest)

    def drop(self, digest: str) -> None:
        """Delete the bytes if they are retired; those that came back stay."""
        with self._lock:
            if digest in self._going:
                self.inner.drop(digest)
                self._going.discard(digest)

    def retire(self, digests: Iterable[str]) -> bool:
        """Offer none of these from now on; False, and nothing is changed, if anybody may rely on one of them."""
        wanted = set(digests)
        with self._lock:
            self._prune()
            if any(each in self._held_until_ms or each in self._putting for each in wanted):
                return False
            self._going |= wanted
            return True

    def restore(self, digests: Iterable[str]) -> None:
        """Offer them again."""
        with self._lock:
            self._going.difference_update(digests)

    def _is_offered(self, digest: str) -> bool:
        with self._lock:
            if digest in self._going:
                return False
            self._hold(digest)
            return True

    def _hold(self, digest: str) -> None:
        self._held_until_ms[digest] = self._monotonic_ms() + self.hold_ms
        if len(self._held_until_ms) > self._prune_at:
            self._prune()
            self._prune_at = max(PRUNE_AT, 2 * len(self._held_until_ms))

    def _prune(self) -> None:
        now = self._monotonic_ms()
        self._held_until_ms = {
            each: until_ms for each, until_ms in self._held_until_ms.items() if until_ms > now
        }
