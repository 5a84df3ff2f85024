"""Requests that wait until a replica is ready of a service that rests, or starts.

They are reserved at the ledger like all others, count as load of the service, and hold their place no longer than
`hold_seconds_max`. Whether they may go, and where, is looked up anew with every snapshot.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from tawtin.gateway.worker.http import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from tawtin.gateway.settings import GatewaySettings


class NotInTime(Problem):
    """No replica was ready in time."""


class Holds:
    """The requests that wait, of one worker."""

    def __init__(self, settings: GatewaySettings) -> None:
        """Hold none."""
        self.settings = settings
        self.held: Counter[str] = Counter()
        """By model."""
        self._changed = asyncio.Event()

    def look(self) -> None:
        """There is a new snapshot."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def until(self, model: str, may_go: Callable[[], bool]) -> None:
        """Wait until it may go. Raises NotInTime if that takes too long, or too many wait, and what `may_go` raises."""
        most = self.settings.holds_max
        if self.held.total() >= most:
            raise NotInTime(
                503,
                f"`{model}` has no replica that is ready, and {most} requests wait for one already: try again",
                code="no_replica_ready",
                retry_ms=1_000,
            )
        self.held[model] += 1
        try:
            async with asyncio.timeout(self.settings.hold_seconds_max):
                while not may_go():
                    await self._changed.wait()
        except TimeoutError:
            raise NotInTime(
                503,
                f"`{model}` had no replica that is ready within {self.settings.hold_seconds_max} s: try again",
                code="no_replica_ready",
                retry_ms=1_000,
            ) from None
        finally:
            self.held[model] -= 1
            if not self.held[model]:
                del self.held[model]
