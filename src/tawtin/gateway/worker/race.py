"""A request at one replica until its answer begins; or at two, of which the first that answers wins.

An answer has begun with its head, or with the first piece of a stream where two may race for it, as some servers send
the head of a stream at once. Whoever loses has its connection closed, so that it stops; nobody pays for what it did.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from tawtin.gateway.worker.upstream import UpstreamFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from tawtin.gateway.worker.course import Course, Outcome
    from tawtin.gateway.worker.upstream import AnswerHead, Pool, Upstream

log = logging.getLogger("tawtin.gateway.worker")
SSE: Final = "text/event-stream"
AGAIN: Final = frozenset((502, 503, 504))
"""Statuses of a replica after which another one is tried."""


class NotAllowed(UpstreamFailed):
    """What allowed the replica ended while it was connected to."""


class Arm:
    """One replica that is asked. It counts as busy until `end`."""

    __slots__ = (
        "_began",
        "_ended",
        "_may",
        "_timed",
        "_told",
        "course",
        "head",
        "outcome",
        "pool",
        "upstream",
    )

    head: AnswerHead
    """Once it has begun to answer."""
    upstream: Upstream

    def __init__(self, pool: Pool, course: Course, outcome: Outcome, may: Callable[[], bool]) -> None:
        """`may` says whether it may have the request now."""
        self.pool = pool
        self.course = course
        self.outcome = outcome
        self._may = may
        self._began = asyncio.get_running_loop().time()
        self._ended = self._told = self._timed = False
        pool.open += 1
        pool.given += 1

    async def begin(self, *, first_piece: bool = False) -> None:
        """Ask it, and wait until its answer begins. Raises UpstreamFailed."""
        pool, course, outcome = self.pool, self.course, self.outcome
        request = pool.request(course.ask.path, course.ask.sent(pool.replica.model), course.receipt)
        while True:
            upstream = self.upstream = await pool.take()
            reused = upstream.used
            if not reused and not self._may():
                raise NotAllowed("what allowed it is over")
            upstream.send(request)
            outcome.reached(pool.replica.id)
            try:
                self.head = await upstream.head
                break
            except UpstreamFailed:
                pool.give_back(upstream)
                if not reused:
                    raise
        if first_piece and self.head.status == 200 and self.head.media == SSE:
            await upstream.begins()
        self._count_time()

    def _count_time(self) -> None:
        if self._timed or not self.pool.settings.hedge_percentile:
            return
        self._timed = True
        took_ms = int((asyncio.get_running_loop().time() - self._began) * 1000)
        self.pool.first_bytes[self.course.ask.stream].add(took_ms)

    def well(self) -> None:
        """It answered."""
        self._tell(self.pool.went_well)

    def wrong(self, error: UpstreamFailed | None = None) -> None:
        """It did not, unless it was not asked at all."""
        if isinstance(error, NotAllowed):
            self._tell(self.pool.went_unseen)
        elif not self._told:
            self._tell(self.pool.went_wrong)
            if error is not None:
                log.warning("replica %s failed: %s", self.pool.replica.id, error)

    def unseen(self) -> None:
        """Nobody waits for it any more."""
        self._tell(self.pool.went_unseen)

    def lost(self) -> None:
        """The other one was faster. The time that it had counts as one that it took."""
        self._count_time()
        self.unseen()
        self.end(abort=True)

    def _tell(self, what: Callable[[], None]) -> None:
        if not self._told:
            self._told = True
            what()

    def end(self, *, abort: bool) -> None:
        """Let go of its connection, closed if `abort` or if nobody can use it again."""
        if self._ended:
            return
        self._ended = True
        self.pool.open -= 1
        upstream = getattr(self, "upstream", None)
        if upstream is not None:
            if abort:
                upstream.abort()
            self.pool.give_back(upstream)


async def race(first: Arm, patience_s: float, another: Callable[[], Arm | None]) -> Arm:
    """The arm that answers first, its answer begun; the other one is ended. `another` is asked for after the patience.

    One that answers with a status of `AGAIN` wins only if the other one fails. Raises UpstreamFailed, the first arm's,
    if none answers.
    """
    running = {asyncio.create_task(first.begin(first_piece=True)): first}
    failures: dict[Arm, UpstreamFailed] = {}
    refused: Arm | None = None
    try:
        done, _ = await asyncio.wait(running, timeout=patience_s)
        if not done and (second := another()) is not None:
            running[asyncio.create_task(second.begin(first_piece=True))] = second
        while running:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in [each for each in running if each in done]:
                arm = running[task]
                try:
                    task.result()
                except UpstreamFailed as error:
                    failures[arm] = error
                    arm.wrong(error)
                    arm.end(abort=True)
                else:
                    if arm.head.status not in AGAIN:
                        del running[task]
                        return arm
                    refused = arm
                del running[task]
        if refused is None:
            raise failures[first]
        winner, refused = refused, None
        return winner
    finally:
        for task, arm in running.items():
            if not task.cancel() and not task.cancelled():
                task.exception()  # it ended in the same turn; nobody else looks
            arm.lost()
        if refused is not None:
            refused.wrong()
            refused.end(abort=True)
