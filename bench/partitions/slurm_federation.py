"""A model of Slurm's documented federation, one cluster at each site.

Read in Slurm at 284c3b9 (2026-08-20):

* A job is submitted to its origin, which submits sibling jobs to all clusters; each schedules by itself, and asks
  the origin for the lock before it starts one. The origin then revokes the other siblings.
  https://slurm.schedmd.com/federation.html "Job Scheduling"
* "If an origin cluster is down, then the remote siblings will coordinate with a job's viable siblings": a cluster
  that has no connection to the origin, but one to SlurmDBD, asks all siblings that it reaches, of which at least one
  must answer; those out of reach do not count. The origin asks nobody about its own lock.
  https://github.com/SchedMD/slurm/blob/master/src/slurmctld/fed_mgr.c fed_mgr_job_lock, _job_lock_all_sibs
* Running jobs go on whatever the links do; what they come to is sent to the origin when that is back. Then both sides
  sync (`_reconcile_fed_job`): the origin takes over a job that a sibling started, takes as done what is completed or
  gone, and revokes what runs although another cluster has the lock; a sibling kills what its origin has completed.
* A cluster is removed by a person. Jobs that run elsewhere go on; the origin's record of a job that ran there is
  cancelled (`_cleanup_removed_cluster_jobs`), as are pending siblings of jobs that were submitted there.

Left open, and how it is read here: SlurmDBD is at Cape Town, which is never the site that burns down. A broken
connection is noticed after 10 s, the default `MessageTimeout`, and is back 10 s after the link is. The person who
removes the cluster submits its cancelled jobs again in the same moment. Whether the origin is cut off or dead cannot
be seen, so that the rule for a dead one applies to both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from bench.partitions.ledger import WAITING
from bench.partitions.peers import Seat, World
from bench.partitions.schedule import SITES, Job, Schedule, rtt_ms

NOTICED_MS: Final = 10_000
RECONNECT_MS: Final = 10_000
DBD: Final = "Cape Town"
RETRY_MS: Final = 30_000
"""Backfill looks again this often (`bf_interval`) for a job whose lock was not granted."""


@dataclass(eq=False, kw_only=True)
class Sibling:
    """What one cluster knows about a job."""

    state: str = "pending"
    """`pending`, `running`, `completed`, or `revoked`: not this cluster's any more."""
    lock: str = ""
    """Which cluster has the lock, as far as this one knows."""
    seat: Seat | None = None


@dataclass(eq=False, kw_only=True)
class FedJob:
    """A federated job: the origin's tracker, and a sibling in each cluster that has heard of it."""

    job: Job
    done: bool = False
    """Whether the origin has it as completed."""
    at: dict[str, Sibling] = field(default_factory=dict[str, Sibling])


class Federation(World):
    """Five clusters in one federation."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__(schedule)
        self.jobs: dict[str, FedJob] = {}
        self.queues: dict[str, list[FedJob]] = {name: [] for name in SITES}
        self.apart: set[tuple[str, str]] = set()
        """Pairs whose connection is known to be broken, both orders."""
        self.removed: set[str] = set()
        self._asleep: set[str] = set()
        """Clusters that look again at a later time."""

    def connected(self, one: str, other: str) -> bool:
        """What both believe."""
        return (one, other) not in self.apart

    # --- submission ---------------------------------------------------------------------------------------------------

    def submitted(self, job: Job) -> None:
        """The origin takes a job, and submits siblings."""
        fed = self.jobs[job.name] = FedJob(job=job)
        self.ledger.view(job.name, WAITING, self.now)
        self._copy(fed, job.home)
        for site in SITES:
            if site != job.home:
                self.tell(job.home, site, lambda site=site: self._copy(fed, site))

    def _copy(self, fed: FedJob, site: str) -> None:
        if site not in fed.at and site not in self.removed | self.gone:
            fed.at[site] = Sibling()
            self.queues[site].append(fed)
            self.room(site)

    # --- each cluster by itself ---------------------------------------------------------------------------------------

    def room(self, site: str) -> None:
        """A cluster starts what fits and what it gets the lock for, in the order of arrival."""
        if site in self.down | self.gone:
            return
        refused = False
        for fed in list(self.queues[site]):
            mine = fed.at[site]
            if mine.state != "pending":
                self.queues[site].remove(fed)
                continue
            seat = self.seat(fed.job, site)
            if seat is None:
                continue
            if not self._lock(fed, site):
                self.machines[site].seats.pop(fed.job.name, None)
                seat.over = True
                self.machines[site].free[seat.node] += fed.job.gpus
                refused = True
                continue
            self.queues[site].remove(fed)
            mine.state, mine.lock, mine.seat = "running", site, seat
            self.after(rtt_ms(site, fed.job.home), lambda seat=seat: None if seat.over else self.start(seat))
            self._started(fed, site)
        if refused and site not in self._asleep:
            self._asleep.add(site)
            self.after(RETRY_MS, lambda: self._wake(site))

    def _wake(self, site: str) -> None:
        self._asleep.discard(site)
        self.room(site)

    def _lock(self, fed: FedJob, site: str) -> bool:
        """`fed_mgr_job_lock`: whether this cluster may start the job."""
        origin = fed.job.home
        if site == origin:
            return self._grant(fed, origin, site)
        if self.connected(site, origin) and origin not in self.removed:
            return self.reaches(site, origin) and self._grant(fed, origin, site)
        if site != DBD and not self.reaches(site, DBD):
            return False  # on an island
        asked = [each for each in SITES if each not in (origin, site) and each not in self.removed]
        asked = [each for each in asked if self.connected(site, each)]
        said = [each for each in asked if self.reaches(site, each) and self._grant(fed, each, site)]
        if said and len(said) == len(asked) and self._grant(fed, site, site):
            return True
        for each in said:
            fed.at[each].lock = ""
        return False

    def _grant(self, fed: FedJob, asked: str, site: str) -> bool:
        """`fed_mgr_job_lock_set` at one cluster; a sibling that was revoked is purged there, and says no."""
        there = fed.at.get(asked)
        if there is not None and asked != fed.job.home and there.state != "pending":
            return False
        if there is None or there.lock not in {"", site} or (asked == fed.job.home and fed.done):
            return False
        there.lock = site
        return True

    def _started(self, fed: FedJob, site: str) -> None:
        """Tell the origin, which revokes the others; or revoke them in its place."""
        origin = fed.job.home
        if site == origin:
            self._origin_knows(fed, site)
        elif self.connected(site, origin):
            self.tell(site, origin, lambda: self._origin_knows(fed, site))
        else:
            for other in SITES:
                if other not in (site, origin):
                    self.tell(site, other, lambda other=other: self._revoke(fed, other))

    def _origin_knows(self, fed: FedJob, site: str) -> None:
        origin = fed.job.home
        if fed.done or fed.at[origin].lock != site:
            return
        self.ledger.view(fed.job.name, site, self.now)
        for other in SITES:
            if other == origin != site:
                fed.at[origin].state = "revoked"
            elif other != site:
                self.tell(origin, other, lambda other=other: self._revoke(fed, other))

    def _revoke(self, fed: FedJob, site: str) -> None:
        """A sibling is not this cluster's any more: it waits no longer, or it is killed."""
        mine = fed.at.setdefault(site, Sibling())
        if mine.state in {"pending", "running"}:
            mine.state = "revoked"
            if mine.seat is not None:
                self.kill(mine.seat)

    def ended(self, seat: Seat) -> None:
        """A job completed: the origin is told, now or when it is reached again."""
        fed = self.jobs[seat.job.name]
        fed.at[seat.site].state = "completed"
        if seat.site == seat.job.home:
            self._complete(fed, seat.site)
        else:
            self.tell(seat.site, seat.job.home, lambda: self._complete(fed, seat.site))

    def _complete(self, fed: FedJob, site: str) -> None:
        origin = fed.job.home
        if fed.done or origin in self.gone:
            return
        fed.done = True
        self.ledger.accept(fed.job.name, site, self.now)
        for other in SITES:
            if other == origin:
                self._revoke(fed, origin)
            elif other != site:
                self.tell(origin, other, lambda other=other: self._revoke(fed, other))

    # --- connections --------------------------------------------------------------------------------------------------

    def changed(self, one: str, other: str) -> None:
        """A link broke or was mended: both sides notice after a while, and sync."""
        delay_ms = RECONNECT_MS if self.reaches(one, other) else NOTICED_MS
        self.after(delay_ms, lambda: self._notice(one, other))

    def _notice(self, one: str, other: str) -> None:
        if not self.reaches(one, other):
            self.apart |= {(one, other), (other, one)}
        else:
            self.apart -= {(one, other), (other, one)}
            self._sync(one, other)
        for site in (one, other):
            self.room(site)

    def back(self, site: str) -> None:
        """A control plane is up again; it schedules once it has synced."""
        for other in SITES:
            if other != site and self.reaches(site, other):
                self._sync(site, other)
        self.room(site)

    def _sync(self, one: str, other: str) -> None:
        """`_reconcile_fed_job`, for all jobs of which one of the two is the origin, and for those of others."""
        for fed in self.jobs.values():
            if fed.job.home in (one, other):
                self._sync_origin(fed, other if fed.job.home == one else one)
            elif one in fed.at and other in fed.at:
                states = {site: fed.at[site].state for site in (one, other)}
                for site, there in ((one, other), (other, one)):
                    if states[site] == "pending" and states[there] in {"running", "completed"}:
                        self._revoke(fed, site)

    def _sync_origin(self, fed: FedJob, site: str) -> None:
        mine, theirs = fed.at[fed.job.home], fed.at.get(site)
        if theirs is None:
            if not fed.done and mine.lock in {"", site}:
                mine.lock = ""
                self._copy(fed, site)  # what was submitted through the cut: its message was queued
            return
        if fed.done or mine.lock not in {"", site}:
            self._revoke(fed, site)
        elif theirs.state == "completed":
            self._complete(fed, site)
        elif theirs.state == "running":
            mine.lock = site
            self._origin_knows(fed, site)
        elif mine.lock == site:
            mine.lock = ""

    # --- a site that burned down --------------------------------------------------------------------------------------

    def declared_lost(self, site: str) -> None:
        """A person removes the cluster; what ran there is submitted again, what was submitted there is gone."""
        self.removed.add(site)
        for fed in self.jobs.values():
            if fed.job.home == site:
                for other in SITES:
                    if other in fed.at and fed.at[other].state == "pending":
                        fed.at[other].state = "revoked"
            elif not fed.done and fed.at[fed.job.home].lock == site:
                self.ledger.view(fed.job.name, WAITING, self.now)
                fed.at = {}
                self._copy(fed, fed.job.home)
                for other in SITES:
                    self.tell(fed.job.home, other, lambda fed=fed, other=other: self._copy(fed, other))
        for other in SITES:
            self.queues[other] = [fed for fed in self.queues[other] if other in fed.at]
            self.room(other)
