"""A model of MultiKueue's documented semantics, one manager and one worker cluster at each site.

Read in Kueue at ff69552 (2026-08-22):

* Copies of a workload are made in all connected worker clusters; once one admits it, the others are deleted, and only
  then the Job is created there (KEP 693 "MultiKueue Workload Controller", concept page "Job Flow").
  https://github.com/kubernetes-sigs/kueue/tree/main/keps/693-multikueue
  https://kueue.sigs.k8s.io/docs/concepts/multikueue/
* If the connection to the admitting worker is lost, the workload is kept admitted for `workerLostTimeout`, 15 minutes
  unless configured, and then requeued. `gcInterval` is 1 minute, for copies whose original was deleted.
  https://kueue.sigs.k8s.io/docs/reference/kueue-config.v1beta2/
* After the connection is back (`reconcileGroup`, steps 2 to 6): a copy that finished finishes the workload; copies of
  a finished workload are deleted; of several admitted copies the first that was admitted stays, others are deleted.
  https://github.com/kubernetes-sigs/kueue/blob/main/pkg/controller/admissionchecks/multikueue/workload.go
* A lost connection is tried again after 5 s, doubled up to 320 s (`retryAfter` in multikueuecluster.go, same folder).

Left open, and how it is read here: a broken connection is noticed after 45 s, the default of Kubernetes clients (an
HTTP/2 ping after 30 s of silence, 15 s for its answer). The documentation calls the end "total loss of all
running/admitted workloads", and says nothing about the Jobs that go on in the worker, so they go on. Manager quota
never limits. A manager may not be its own worker, so the worker at its own site is taken as a cluster of its own. A
site that burned down takes its manager along; copies that workers hold for it without a Job are deleted by a person.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from bench.partitions.ledger import WAITING
from bench.partitions.peers import Seat, World
from bench.partitions.schedule import MINUTE, SITES, Job, Schedule, rtt_ms

NOTICED_MS: Final = 45_000
WORKER_LOST_MS: Final = 15 * MINUTE
RETRY_MS: Final = 5_000
RETRY_MS_MAX: Final = 320_000


@dataclass(eq=False, kw_only=True)
class Copy:
    """A workload in a worker cluster, on behalf of a manager."""

    work: Work
    site: str
    since_ms: int
    seat: Seat | None = None
    """Its quota, once it is admitted there."""
    admitted_ms: int = 0
    finished: bool = False


@dataclass(eq=False, kw_only=True)
class Work:
    """A workload in its manager."""

    job: Job
    chosen: str = ""
    """`status.clusterName`: the worker that admitted it."""
    done: bool = False
    copies: dict[str, Copy] = field(default_factory=dict[str, Copy])
    """What is in the worker clusters; the manager sees those of clusters that it is connected to."""


class MultiKueue(World):
    """Five managers, each of which has all five worker clusters."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__(schedule)
        self.works: dict[str, Work] = {}
        self.queues: dict[str, list[Copy]] = {name: [] for name in SITES}
        """Copies that wait in each worker cluster."""
        self.lost_ms: dict[tuple[str, str], int | None] = {}
        """Manager, worker -> since when it knows that it is not connected; None if it is."""
        self._broke: dict[tuple[str, str], int] = {}

    def connected(self, manager: str, worker: str) -> bool:
        """What the manager believes."""
        return manager not in self.down | self.gone and self.lost_ms.get((manager, worker)) is None

    # --- dispatch -----------------------------------------------------------------------------------------------------

    def submitted(self, job: Job) -> None:
        """A job is queued in its manager, and copied to all workers."""
        work = self.works[job.name] = Work(job=job)
        self.ledger.view(job.name, WAITING, self.now)
        self._dispatch(work)

    def _dispatch(self, work: Work) -> None:
        if work.done or work.chosen:
            return
        for site in SITES:
            if site not in work.copies and self.connected(work.job.home, site):
                copy = Copy(work=work, site=site, since_ms=self.now)
                self.tell(work.job.home, site, lambda copy=copy: self._arrive(copy))

    def _arrive(self, copy: Copy) -> None:
        work = copy.work
        if work.done or work.chosen or copy.site in work.copies:
            return
        work.copies[copy.site] = copy
        self.queues[copy.site].append(copy)
        self.room(copy.site)

    def room(self, site: str) -> None:
        """A worker cluster admits what fits, in the order of arrival."""
        if site in self.down | self.gone:
            return
        for copy in list(self.queues[site]):
            seat = self.seat(copy.work.job, site)
            if seat is not None:
                self.queues[site].remove(copy)
                copy.seat, copy.admitted_ms = seat, self.now
                self.tell(site, copy.work.job.home, lambda copy=copy: self.reconcile(copy.work))

    # --- the manager's reconciliation ---------------------------------------------------------------------------------

    def reconcile(self, work: Work) -> None:
        """`reconcileGroup`: what the manager does about a workload, by the copies that it sees."""
        home = work.job.home
        if home in self.down | self.gone:
            return
        seen = [
            copy
            for copy in work.copies.values()
            if self.connected(home, copy.site) and self.reaches(home, copy.site)
        ]
        finished = [copy for copy in seen if copy.finished]
        if finished and not work.done:  # step 3
            work.done = True
            self.ledger.accept(work.job.name, finished[0].site, self.now)
        if work.done:  # step 2
            for copy in seen:
                self._delete(copy)
            return
        admitted = [copy for copy in seen if copy.seat is not None and not copy.seat.over]
        if admitted:  # step 6b
            first = min(admitted, key=lambda each: (each.admitted_ms, each.site))
            for copy in seen:
                if copy is not first:
                    self._delete(copy)
            self._create(first)
        elif work.chosen:  # step 6a
            self._may_be_lost(work)
        else:
            self._dispatch(work)

    def _delete(self, copy: Copy) -> None:
        def there() -> None:
            if copy in self.queues[copy.site]:
                self.queues[copy.site].remove(copy)
            if copy.seat is not None:
                self.kill(copy.seat)
            if copy.work.copies.get(copy.site) is copy:
                del copy.work.copies[copy.site]

        self.tell(copy.work.job.home, copy.site, there)

    def _create(self, copy: Copy) -> None:
        """Create the Job in the chosen cluster, once the other copies are deleted."""
        work, home = copy.work, copy.work.job.home
        if work.chosen != copy.site:
            work.chosen = copy.site
            self.ledger.view(work.job.name, copy.site, self.now)

        def there() -> None:
            seat = copy.seat
            if seat is not None and not seat.over and seat.run is None and work.copies.get(copy.site) is copy:
                self.start(seat)

        def after_the_others() -> None:
            self.tell(home, copy.site, there)

        self.after(rtt_ms(home, copy.site), after_the_others)

    def _may_be_lost(self, work: Work) -> None:
        """The admitting worker is not seen: wait for `workerLostTimeout` from the loss, then queue it again."""
        lost_ms = self.lost_ms.get((work.job.home, work.chosen))
        if lost_ms is not None and self.now - lost_ms < WORKER_LOST_MS:
            return
        if lost_ms is None and work.chosen in work.copies:
            return
        work.chosen = ""
        self.ledger.view(work.job.name, WAITING, self.now)
        self._dispatch(work)

    def ended(self, seat: Seat) -> None:
        """A Job finished in a worker cluster; the manager sees it if it is connected."""
        work = self.works[seat.job.name]
        copy = work.copies.get(seat.site)
        if copy is not None and copy.seat is seat:
            copy.finished = True
            self.tell(seat.site, work.job.home, lambda: self.reconcile(work))

    # --- connections --------------------------------------------------------------------------------------------------

    def changed(self, one: str, other: str) -> None:
        """A link broke or was mended: it is noticed later."""
        for manager, worker in ((one, other), (other, one)):
            key = (manager, worker)
            if not self.reaches(manager, worker) and self.lost_ms.get(key) is None and key not in self._broke:
                self._broke[key] = self.now
                self.after(NOTICED_MS, lambda key=key: self._notice(key))

    def _notice(self, key: tuple[str, str]) -> None:
        self._broke.pop(key, None)
        if self.reaches(*key):
            self._again(key[0])  # it was shorter than anybody noticed: TCP goes on
            return
        self.lost_ms[key] = self.now
        self.after(RETRY_MS, lambda: self._retry(key, RETRY_MS))
        self.after(WORKER_LOST_MS, lambda: self._again(key[0]))

    def _retry(self, key: tuple[str, str], pause_ms: int) -> None:
        if set(key) & self.gone:
            return
        if self.reaches(*key):
            self.lost_ms[key] = None
            self._again(key[0])
            return
        later_ms = min(2 * pause_ms, RETRY_MS_MAX)
        self.after(later_ms, lambda: self._retry(key, later_ms))

    def _again(self, manager: str) -> None:
        for work in self.works.values():
            if work.job.home == manager and (work.copies or not work.done):
                self.reconcile(work)

    def back(self, site: str) -> None:
        """A control plane is up again: its worker admits, its manager looks at everything."""
        self.room(site)
        self._again(site)

    def declared_lost(self, site: str) -> None:
        """A person deletes what is left of the manager that burned down, but for Jobs that run."""
        for work in self.works.values():
            if work.job.home == site:
                for copy in list(work.copies.values()):
                    if copy.seat is None or copy.seat.run is None:
                        if copy in self.queues[copy.site]:
                            self.queues[copy.site].remove(copy)
                        if copy.seat is not None:
                            self.kill(copy.seat)
