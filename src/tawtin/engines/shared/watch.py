"""What becomes of runs: what their scripts wrote into their folders, and what the cluster says of their jobs.

A run's own word goes first: its script writes down that it began and how it ended. The cluster's word is for everything
that a script cannot write: that a node failed, that memory ran out, that somebody cancelled or requeued the job.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from tawtin.engines.shared import book, durable, ending, scripts, states
from tawtin.engines.shared.book import Known, Never
from tawtin.engines.shared.cluster import Cluster, ClusterRefusedError, Job, Phase
from tawtin.engines.shared.states import End
from tawtin.model.reasons import Cause

if TYPE_CHECKING:
    from tawtin.engines.shared.desk import Desk
    from tawtin.engines.shared.settings import ClusterSettings

SETTLE_S: Final = 5.0
"""A network file system may show a file late: so long the word of an ended job's script is waited for."""
CLOCKS_MS: Final = 120_000
"""A node's clock that is further from the cluster's than this is not believed."""
Work = Callable[[Known], None]


class Watch:
    """One look after the other, in one thread; what takes long is given to workers."""

    def __init__(
        self,
        cluster: Cluster,
        at: Desk,
        settings: ClusterSettings,
        *,
        began: Callable[[Known], None],
        ended: Callable[[Known, End], None],
        work: Callable[[Known, Work], None],
    ) -> None:
        """`began` and `ended` are told what was found; `work` has a worker do something with a run."""
        self._cluster = cluster
        self._desk = at
        self._settings = settings
        self._began = began
        self._ended = ended
        self._work = work

    # --- folders -----------------------------------------------------------------------------------------------------

    def look(self, runs: Iterable[Known]) -> None:
        """What the folders of these say."""
        for known in runs:
            self._examine(known)

    def _examine(self, known: Known) -> None:
        if known.began_ms is None:
            never = book.read(known.folder, book.NEVER, Never)
            if isinstance(never, Never):
                self._ended(known, End(never.cause, None, never.ended_ms, never.message))
                return
            self._see_begin(known, 0)
        if known.began_ms is None:
            return
        end = states.written_end(known.folder, known.cause)
        if end is not None and known.stop is None and not end.doubtful:
            self._ended(known, end)  # what has to be gone for certain, or why it was ended, the cluster says
        elif known.stop is not None and end is None and known.job:
            stage = ending.next_stage(known, time.monotonic())
            if stage is not None:
                self._work(known, lambda known: ending.take(known, stage, self._cluster))

    def _see_begin(self, known: Known, told_ms: int) -> None:
        """Whether it has begun; `told_ms` is when the cluster says so, which settles it if the node's clock is off."""
        began = states.began(known.folder)
        if began is None:
            return
        began_ms, job = began
        known.job = job or known.job  # the one that took the token, if there is a twin
        now_ms = time.time_ns() // 1_000_000
        told_ms = told_ms or now_ms
        known.began_ms = began_ms
        known.started_ms = min(now_ms, began_ms if abs(began_ms - told_ms) < CLOCKS_MS else told_ms)
        self._began(known)

    # --- the cluster ------------------------------------------------------------------------------------------------

    def ask(self, runs: Callable[[], list[Known]], knows: Callable[[str], Known | None]) -> None:
        """Ask the cluster for all jobs, and act on it. Raises ClusterError."""
        asked_at = time.monotonic()
        by_run: dict[str, list[Job]] = {}
        for job in self._cluster.jobs():
            by_run.setdefault(job.run, []).append(job)
        self._cancel_strays(by_run, knows)
        for known in runs():
            if known.tried_at < asked_at:
                self._settle(known, by_run.get(known.run, []), asked_at)

    def _cancel_strays(self, by_run: dict[str, list[Job]], knows: Callable[[str], Known | None]) -> None:
        """Cancel jobs that nobody counts on: twins that wait, and those of runs that are over or were never meant.

        A twin that runs has the token, or ends by itself.
        """
        strays: list[str] = []
        for run, jobs in by_run.items():
            known = knows(run)
            if known is not None and (known.busy or (not known.job and not known.over)):
                continue  # one of them is about to be taken on
            mine = known.job if known is not None and not known.over else ""
            left = {Phase.OVER, Phase.RUNS} if mine else {Phase.OVER}
            strays += [job.id for job in jobs if job.id != mine and job.phase not in left]
        if strays:
            with suppress(ClusterRefusedError):
                self._cluster.cancel(strays)

    def _settle(self, known: Known, jobs: list[Job], now: float) -> None:
        if not known.job:
            self._see_begin(known, 0)
        if not known.job:
            self._find_job(known, jobs)
            return
        had_begun = known.began_ms is not None  # before this was asked, which is older than what is read now
        asked = known.job
        job = next((each for each in jobs if each.id == asked), None)
        if not had_begun:
            self._see_begin(known, job.started_ms if job else 0)
            twin = next((each.id for each in jobs if each.phase is Phase.RUNS), "")
            if twin and (job is None or job.phase is Phase.OVER):
                self._desk.take_on(known, twin)  # it has the token, or is about to end
        if known.job != asked:
            return  # what the cluster says of the other one is heard at the next look
        if job is None:
            self._gone(known, now)
            return
        known.phase = job.phase
        if job.phase is Phase.OVER:
            self._over(known, job, now)
        elif had_begun and job.phase is Phase.WAITS and self._cluster.requeues:
            self._requeued(known, job)
        else:
            known.gone_at = 0.0

    def _find_job(self, known: Known, jobs: list[Job]) -> None:
        """It was laid out, and nobody wrote down its job: take on the one that there is, or submit it now."""
        live = [job.id for job in jobs if job.phase is not Phase.OVER]

        def find(known: Known) -> None:
            if known.stop is not None:
                never = self._desk.never(known.run, known.stop.cause)
                if never is not None:
                    self._ended(known, End(never.cause, None, never.ended_ms))
            elif live:
                self._desk.take_on(known, min(live, key=lambda job: (len(job), job)))
            else:
                self._desk.submit(known)

        self._work(known, find)

    def _over(self, known: Known, job: Job, now: float) -> None:
        """Its job is over; its script's word goes first, if that comes soon."""
        end = states.written_end(known.folder, known.cause)
        if end is None and known.began_ms is None:
            said = states.end_of_job(job, known.cause)
            never = self._desk.never(known.run, said.cause, said.message)
            if never is not None:
                self._ended(known, End(never.cause, None, never.ended_ms, never.message))
                return
        if end is not None:
            self._ended(known, states.end_of_job(job, known.cause, end) if end.doubtful else end)
        elif not known.gone_at:
            self._forbid(known, now)
        elif now - known.gone_at > SETTLE_S:
            self._ended(known, states.end_of_job(job, known.cause))

    def _requeued(self, known: Known, job: Job) -> None:
        """It had begun, and waits again: the cluster, or a person, requeued it. It never runs a second time."""
        self._cluster.cancel([job.id])
        cause = Cause.NODE_FAILED if "node" in job.reason.lower() else Cause.ENGINE_ENDED
        now_ms = time.time_ns() // 1_000_000
        self._ended(
            known,
            End(known.cause or cause, None, now_ms, f"{self._cluster.title} requeued its job ({job.reason})"),
        )

    def _gone(self, known: Known, now: float) -> None:
        """The cluster does not know its job: its script's word counts; without that, it is given up in time."""
        known.phase = None  # and its id may be another job's now
        end = states.written_end(known.folder, known.cause)
        if end is not None:
            lost = known.cause or Cause.ENGINE_ENDED
            self._ended(known, end._replace(cause=lost, exit_code=None) if end.doubtful else end)
            return
        if known.began_ms is None:
            cause = known.cause or Cause.ENGINE_ENDED
            message = "" if known.stop else f"{self._cluster.title} does not know its job any more"
            never = self._desk.never(known.run, cause, message)
            if never is not None:
                self._ended(known, End(never.cause, None, never.ended_ms, never.message))
                return
        if not known.gone_at:
            self._forbid(known, now)
        elif now - known.gone_at > self._settings.vanished_ms / 1000:
            message = (
                f"{self._cluster.title} does not know its job any more, and its script wrote nothing down"
            )
            now_ms = time.time_ns() // 1_000_000
            self._ended(known, End(known.cause or Cause.SUPERVISOR_LOST, None, now_ms, message))

    def _forbid(self, known: Known, now: float) -> None:
        """Nobody waits for it any more; should its script live all the same, it ends what it runs, and says so."""
        known.gone_at = now
        durable.write_file(os.path.join(known.folder, scripts.FORBIDDEN), b"", sync=False)
