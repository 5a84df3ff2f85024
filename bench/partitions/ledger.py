"""What really happened: every run of every job in true time, what each home believed, and what the sites' books say.

The systems write into it through hooks on machines and on what is recorded, and never read it. Every figure
is reckoned from it in the same way for all of them; no job is left out because a system knows about its fault.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

WAITING, DONE = "", "done"


@dataclass(kw_only=True)
class Run:
    """One process of a job on one site."""

    job: str
    site: str
    gpus: int
    began_ms: int
    ended_ms: int | None = None
    finished: bool = False
    """Whether the program came to its end by itself."""
    counted: bool = False
    """Whether home took its result as that of the job."""

    def gpu_ms(self) -> int:
        """GPU time."""
        return self.gpus * ((self.ended_ms or self.began_ms) - self.began_ms)


@dataclass(kw_only=True)
class Ledger:
    """A history."""

    runs: list[Run] = field(default_factory=list[Run])
    views: dict[str, list[tuple[int, str]]] = field(
        default_factory=lambda: defaultdict[str, list[tuple[int, str]]](list)
    )
    """By job: when home changed its mind about where it is; WAITING and DONE are no sites."""
    accepted: dict[str, int] = field(default_factory=dict[str, int])
    """When home took a job's result."""
    claimed: dict[str, int] = field(default_factory=lambda: defaultdict[str, int](int))
    """By job: GPU milliseconds that sites have on record as owed for it."""
    owed: dict[str, int] = field(default_factory=lambda: defaultdict[str, int](int))
    """By job: GPU milliseconds that its home has on record as owed."""
    disputed: dict[str, int] = field(default_factory=lambda: defaultdict[str, int](int))
    """By job: GPU milliseconds that both have on record as refused."""

    def begin(self, job: str, site: str, gpus: int, now_ms: int) -> Run:
        """A process begins."""
        run = Run(job=job, site=site, gpus=gpus, began_ms=now_ms)
        self.runs.append(run)
        return run

    def view(self, job: str, where: str, now_ms: int) -> None:
        """Home believes this from now on."""
        self.views[job].append((now_ms, where))

    def accept(self, job: str, site: str, now_ms: int) -> None:
        """Home takes the result of the last run that finished at `site`; a second one is worth a second line."""
        if job not in self.accepted:
            self.accepted[job] = now_ms
            mine = [run for run in self.runs if run.job == job and run.site == site and run.finished]
            for run in mine[-1:]:
                run.counted = True
        self.view(job, DONE, now_ms)

    def by_job(self) -> dict[str, list[Run]]:
        """Runs of each job, in the order of their beginnings."""
        found: dict[str, list[Run]] = defaultdict(list)
        for run in sorted(self.runs, key=lambda each: (each.began_ms, each.site)):
            found[run.job].append(run)
        return found


def overlapping(runs: Iterable[Run]) -> set[str]:
    """Jobs of which two runs were alive at the same time. This is the auditor: it knows nothing but times."""
    last: dict[str, float] = {}
    found: set[str] = set()
    for run in sorted(runs, key=lambda each: each.began_ms):
        if run.began_ms < last.get(run.job, -1):
            found.add(run.job)
        end = float("inf") if run.ended_ms is None else run.ended_ms
        last[run.job] = max(end, last.get(run.job, -1))
    return found


def finished_twice(runs: Iterable[Run]) -> set[str]:
    """Jobs whose program came to its end more than once."""
    once: set[str] = set()
    twice: set[str] = set()
    for run in runs:
        if run.finished:
            (twice if run.job in once else once).add(run.job)
    return twice
