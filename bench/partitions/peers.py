"""What the models of both peers share: machines, links, and a clock. Rules of the peers are in their own modules.

Kinder than reality on purpose: lossy links lose nothing, as TCP repeats; machines are never misjudged; queues are first
come, first served with backfill; and every message takes half a round trip unless a rule says otherwise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Final

from bench.partitions.ledger import Ledger, Run
from bench.partitions.schedule import GPUS, HOUR, LOST_AFTER_MS, NODES, SITES, Fault, Job, Schedule, rtt_ms

REST_MS_MAX: Final = 72 * HOUR


@dataclass(eq=False, kw_only=True)
class Seat:
    """GPUs of a site that are held for a job, from before its program runs."""

    job: Job
    site: str
    node: int
    run: Run | None = None
    over: bool = False


@dataclass(kw_only=True)
class Machines:
    """Free GPUs of a site, by node."""

    free: list[int] = field(default_factory=lambda: [GPUS] * NODES)
    seats: dict[str, Seat] = field(default_factory=dict[str, Seat])
    """By job."""


class World(ABC):
    """Five sites under a schedule; a peer's model derives from it."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.ledger = Ledger()
        self.now = 0
        self.machines = {name: Machines() for name in SITES}
        self.down: set[str] = set()
        """Sites whose control plane does not answer. What runs there goes on."""
        self.gone: set[str] = set()
        self.cut: dict[tuple[str, str], int] = {}
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        self._number = count()

    # --- what a model says --------------------------------------------------------------------------------------------

    @abstractmethod
    def submitted(self, job: Job) -> None:
        """Somebody submits a job at its home, which is up."""

    @abstractmethod
    def changed(self, one: str, other: str) -> None:
        """Whether two sites reach each other has changed."""

    @abstractmethod
    def back(self, site: str) -> None:
        """A control plane is up again."""

    @abstractmethod
    def ended(self, seat: Seat) -> None:
        """A program came to its end by itself."""

    @abstractmethod
    def room(self, site: str) -> None:
        """GPUs of a site are free."""

    @abstractmethod
    def declared_lost(self, site: str) -> None:
        """A person says that a site which burned down will not come back."""

    # --- time ---------------------------------------------------------------------------------------------------------

    def after(self, delay_ms: int, act: Callable[[], None]) -> None:
        """Do something later."""
        heappush(self._agenda, (self.now + delay_ms, next(self._number), act))

    def run(self) -> Ledger:
        """From the first job until all is at rest."""
        for job in self.schedule.jobs:
            self.after(job.at_ms, lambda job=job: self._submit(job))
        for fault in self.schedule.faults:
            self.after(fault.at_ms, lambda fault=fault: self._break(fault))
            if fault.kind != "destroyed":
                self.after(fault.until_ms, lambda fault=fault: self._mend(fault))
        while self._agenda and self._agenda[0][0] <= self.schedule.end_ms + REST_MS_MAX:
            self.now, _, act = heappop(self._agenda)
            act()
        self.books()
        return self.ledger

    def books(self) -> None:
        """Fill in what the sites' accounting says in the end."""
        home = {job.name: job.home for job in self.schedule.jobs}
        for run in self.ledger.runs:
            if run.site not in {home[run.job], *self.gone}:
                self.ledger.claimed[run.job] += run.gpu_ms()
                self.ledger.owed[run.job] += run.gpu_ms() if run.counted else 0

    def _submit(self, job: Job) -> None:
        if job.home in self.gone:
            return
        if job.home in self.down:
            self.after(5_000, lambda: self._submit(job))
            return
        self.submitted(job)

    # --- links --------------------------------------------------------------------------------------------------------

    def reaches(self, one: str, other: str) -> bool:
        """Whether a TCP connection works: both directions are whole and both ends are up."""
        if {one, other} & (self.down | self.gone):
            return False
        return not (self.cut.get((one, other)) or self.cut.get((other, one)))

    def tell(self, sender: str, recipient: str, act: Callable[[], None]) -> bool:
        """Let something happen half a round trip later, if the way is open now."""
        if not self.reaches(sender, recipient):
            return False
        self.after(rtt_ms(sender, recipient) // 2, act)
        return True

    def _break(self, fault: Fault) -> None:
        if fault.kind == "loss":
            return
        for way in fault.ways:
            self.cut[way] = self.cut.get(way, 0) + 1
        if fault.kind == "crash" and fault.site not in self.gone:
            self.down.add(fault.site)
        if fault.kind == "destroyed":
            self.gone.add(fault.site)
            for seat in list(self.machines[fault.site].seats.values()):
                self.kill(seat)
            self.after(LOST_AFTER_MS, lambda: self.declared_lost(fault.site))
        self._tell_changed(fault)

    def _mend(self, fault: Fault) -> None:
        if fault.kind == "loss":
            return
        for way in fault.ways:
            self.cut[way] -= 1
        if fault.kind == "crash" and fault.site not in self.gone:
            self.down.discard(fault.site)
            self.back(fault.site)
        self._tell_changed(fault)

    def _tell_changed(self, fault: Fault) -> None:
        ways = set(fault.ways) | {
            (fault.site, other) for other in SITES if fault.site and other != fault.site
        }
        for one, other in sorted({(min(way), max(way)) for way in ways}):
            self.changed(one, other)

    # --- machines -----------------------------------------------------------------------------------------------------

    def seat(self, job: Job, site: str) -> Seat | None:
        """Hold GPUs for a job, on the fullest node that has them."""
        there = self.machines[site]
        fits = [(free, node) for node, free in enumerate(there.free) if free >= job.gpus]
        if site in self.gone or not fits:
            return None
        _, node = min(fits)
        there.free[node] -= job.gpus
        seat = there.seats[job.name] = Seat(job=job, site=site, node=node)
        return seat

    def start(self, seat: Seat) -> None:
        """Let its program run."""
        seat.run = self.ledger.begin(seat.job.name, seat.site, seat.job.gpus, self.now)
        self.after(seat.job.work_ms, lambda: self._finish(seat))

    def kill(self, seat: Seat) -> None:
        """End it, or let go of what was held."""
        if seat.over:
            return
        if seat.run is not None:
            seat.run.ended_ms = self.now
        self._let_go(seat)

    def _finish(self, seat: Seat) -> None:
        if seat.over or seat.run is None:
            return
        seat.run.ended_ms, seat.run.finished = self.now, True
        self._let_go(seat)
        self.ended(seat)

    def _let_go(self, seat: Seat) -> None:
        seat.over = True
        there = self.machines[seat.site]
        there.free[seat.node] += seat.job.gpus
        if there.seats.get(seat.job.name) is seat:
            del there.seats[seat.job.name]
        if seat.site not in self.gone:
            self.after(0, lambda: self.room(seat.site))
