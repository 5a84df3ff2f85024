"""tawtin under a schedule: the state machines that run in production, in virtual time.

Machines, journals and the lives of control planes are those of `tawtin.runtime.simulate`. What is here is a driver that
goes from one moment at which something is due to the next, and hooks that write down what machines and journals did.
"""

from __future__ import annotations

import hashlib
import logging
import random
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import replace

from bench.partitions.ledger import WAITING, Ledger, Run
from bench.partitions.schedule import GPUS, HOUR, LOST_AFTER_MS, NODES, SITES, Fault, Job, Schedule, rtt_ms
from tawtin.model.events import RunEnded, RunPlaced
from tawtin.model.ids import workload_of
from tawtin.model.resources import Demand, Node, Shape
from tawtin.model.roaming import Peer, Terms
from tawtin.model.workload import OnPartition, Outcome, Workload, WorkloadSpec
from tawtin.ports import Query
from tawtin.runtime.live import LiveSettings
from tawtin.runtime.rows import decode
from tawtin.runtime.simulate.clients import Request
from tawtin.runtime.simulate.host import Program
from tawtin.runtime.simulate.network.auditor import MARK
from tawtin.runtime.simulate.network.clock import DriftingClock, Time
from tawtin.runtime.simulate.network.post import Network
from tawtin.runtime.simulate.network.site import TENANT, SimSite

if TYPE_CHECKING:
    from tawtin.model.workload import Run as HomeRun
    from tawtin.ports import Batch
    from tawtin.runtime.factory import Factory
    from tawtin.runtime.simulate.host import Process
    from tawtin.runtime.simulate.network.post import Letter

TICK_MS: Final = 20_000
"""A site where something waits is looked at this often; live factories do it every second."""
DRIFT_PPM: Final = 200
"""Clocks go wrong by at most this; leases allow for fifty times as much."""
NEVER: Final = 1 << 60
REST_MS_MAX: Final = 72 * HOUR


class Site(SimSite):
    """A factory of the benchmark: machines of one kind, clocks as real ones are, terms as they are shipped."""

    def __init__(self, name: str, time: Time, network: Network, seed: int, terms: Terms) -> None:
        """`terms` of leases; the same for all."""
        self.terms = terms
        super().__init__(name, SITES[name], time, network, seed, {})
        clock = self.clock
        assert isinstance(clock, DriftingClock)
        clock.ppm = self.random.randrange(-DRIFT_PPM, DRIFT_PPM + 1)
        self.site = replace(
            self.site, run_guess_ms=HOUR, roam_after_ms=30_000, backoff_ms=1_000, backoff_ms_max=300_000
        )

    def _nodes(self) -> list[Node]:
        return [
            Node(
                name=f"{self.name}-{number}",
                gpu_model="H100",
                gpus=GPUS,
                cpus_milli=64_000,
                memory_mib=1 << 20,
                disk_mib=1 << 20,
            )
            for number in range(NODES)
        ]

    def _make(self, *given: Any, **more: Any) -> Factory:  # noqa: ANN401 - the parts of a Factory
        return super()._make(*given, **{**more, "meter_ms": LiveSettings().meter_ms})

    def peer(self) -> Peer:
        """How others know it."""
        return replace(super().peer(), terms=self.terms)

    def next_ms(self) -> int:
        """When a timer of this life is due next, in true time."""
        plane = self.plane
        if plane is None:
            return self.back_ms
        state, due_ms = plane.factory.state, plane.factory.next_due_ms()
        soonest = self.clock.true_at(due_ms) if due_ms is not None else NEVER
        waits = len(state.workloads) > len(state.runs)
        return min(soonest, self.clock.true_ms + TICK_MS) if waits else soonest


class Driver:
    """Puts the network through a schedule."""

    def __init__(self, schedule: Schedule, mode: OnPartition, terms: Terms, seed: int) -> None:
        self.schedule = schedule
        self.mode = mode
        self.time = Time()
        self.random = random.Random(seed)
        self.network = Network(self.time, self.random)
        self.network.fate = self._fate
        self.sites = {
            name: Site(name, self.time, self.network, seed * 10 + number, terms)
            for number, name in enumerate(SITES)
        }
        self.ledger = Ledger()
        self.jobs: dict[str, Job] = {job.name: job for job in schedule.jobs}
        self.loss: dict[tuple[str, str], int] = {}
        self.cut: dict[tuple[str, str], int] = {}
        """Direction -> how many cuts of it are open."""
        self.gone: set[str] = set()
        self.running: dict[tuple[str, str], Run] = {}
        self.mark_of: dict[str, tuple[str, str]] = {}
        """Workload of a home -> home and mark."""
        self.messages = 0
        self._agenda: list[tuple[int, int, Any]] = []
        self._number = count()
        self._wake: dict[str, int] = dict.fromkeys(SITES, 0)
        for site in self.sites.values():
            site.host.on_start.append(lambda process, site=site: self._started(site, process))
            site.host.on_exit.append(lambda process, site=site: self._exited(site, process))
            site.on_batch.append(self._batch)

    def run(self) -> Ledger:
        """From the first job until all is at rest."""
        for site in self.sites.values():
            site.start()
            site.found([other for other in self.sites.values() if other is not site])
            self._settle(site)
        for job in self.schedule.jobs:
            self._at(job.at_ms, lambda job=job: self._submit(job))
        for fault in self.schedule.faults:
            self._at(fault.at_ms, lambda fault=fault: self._break(fault))
            if fault.kind != "destroyed":
                self._at(fault.until_ms, lambda fault=fault: self._mend(fault))
        while self.time.ms < self.schedule.end_ms + REST_MS_MAX:
            self._step()
            if not self._agenda and self._at_rest():
                break
        self._books()
        return self.ledger

    # --- time -------------------------------------------------------------------------------------------------------

    def _at(self, at_ms: int, act: Any) -> None:  # noqa: ANN401 - a callable without arguments
        heappush(self._agenda, (at_ms, next(self._number), act))

    def _step(self) -> None:
        """Go to the next moment at which something is due, and do it."""
        letter_ms = self.network.next_ms()
        times = [*self._wake.values(), NEVER if letter_ms is None else letter_ms]
        if self._agenda:
            times.append(self._agenda[0][0])
        end_ms = self.schedule.end_ms
        times.append(end_ms if self.time.ms < end_ms else end_ms + REST_MS_MAX)
        self.time.ms = max(self.time.ms, min(times))
        now = self.time.ms
        touched = {name for name, at_ms in self._wake.items() if at_ms <= now}
        for name in touched:
            self.sites[name].host.advance()
        while self._agenda and self._agenda[0][0] <= now:
            touched |= heappop(self._agenda)[2]() or set()
        for letter in self.network.arrived():
            touched.add(letter.recipient)
            self._deliver(letter)
        for name in sorted(touched):
            site = self.sites[name]
            at_ms, host_ms = self._turn(site), site.host.next_ms()
            self._wake[name] = min(at_ms, NEVER if host_ms is None else max(host_ms, now + 1))

    def _deliver(self, letter: Letter) -> None:
        site = self.sites[letter.recipient]
        if not site.hear(letter.sender, letter.message):
            self._settle(site)
            site.hear(letter.sender, letter.message)

    def _turn(self, site: Site) -> int:
        """Everything that one factory does at this moment; and when it has to do something again."""
        if site.name in self.gone:
            return NEVER
        if site.plane is None:
            if self.time.ms < site.back_ms:
                return site.back_ms
            site.start()
        assert site.plane is not None
        site.due()
        site.plane.again()
        self._settle(site)
        return max(site.next_ms(), self.time.ms + 1)

    def _settle(self, site: Site) -> None:
        self._gossip(site)
        while site.plane is not None and not site.plane.settle():
            pass

    def _gossip(self, site: Site) -> None:
        """Offers, which come every two seconds in reality and count for a minute; here they are as of now."""
        plane = site.plane
        if plane is None or plane.factory.roaming is None:
            return
        state = plane.factory.state
        if len(state.workloads) == len(state.runs):
            return  # nothing waits, so that nobody looks at them
        offers = plane.factory.roaming.asking.offers
        for other in self.sites.values():
            offer = other.offer() if other is not site and self._reaches(other.name, site.name) else None
            if offer is not None:
                offers[other.name] = offer
            else:
                offers.pop(other.name, None)

    # --- what goes wrong ----------------------------------------------------------------------------------------------

    def _reaches(self, sender: str, recipient: str) -> bool:
        return not self.cut.get((sender, recipient))

    def _fate(self, sender: str, recipient: str, _message: object) -> int | None:
        self.messages += 1
        lost = self.random.randrange(100) < self.loss.get((sender, recipient), 0)
        if lost or not self._reaches(sender, recipient):
            return None
        return rtt_ms(sender, recipient) // 2

    def _break(self, fault: Fault) -> set[str]:
        for way in fault.ways:
            if fault.kind == "loss":
                self.loss[way] = fault.percent
            else:
                self.cut[way] = self.cut.get(way, 0) + 1
        self.network.cut = {way for way, open_cuts in self.cut.items() if open_cuts}
        if fault.kind in {"crash", "destroyed"}:
            site = self.sites[fault.site]
            site.crash(fault.until_ms - self.time.ms)
            if fault.kind == "destroyed":
                self.gone.add(fault.site)
                site.host.restart()
                self._at(self.time.ms + LOST_AFTER_MS, lambda: self._declare_lost(fault.site))
            return {fault.site}
        return set()

    def _mend(self, fault: Fault) -> set[str]:
        for way in fault.ways:
            if fault.kind == "loss":
                self.loss.pop(way, None)
            else:
                self.cut[way] -= 1
        self.network.cut = {way for way, open_cuts in self.cut.items() if open_cuts}
        return {fault.site} if fault.kind == "crash" else set()

    def _declare_lost(self, gone: str) -> set[str]:
        """A person at each home says that the site which burned down will not come back."""
        for site in self.sites.values():
            roaming = site.plane.factory.roaming if site.plane is not None else None
            if site.plane is None or roaming is None:
                continue
            for run in list(site.plane.factory.state.runs.values()):
                if run.factory == gone:
                    roaming.asking.declare_lost(run, "an operator", "it burned down")
        return set(self.sites)

    def _submit(self, job: Job) -> set[str]:
        """Ask for a job; a client whose factory is down asks again."""
        site = self.sites[job.home]
        if site.plane is None:
            if job.home not in self.gone:
                self._at(self.time.ms + 5_000, lambda: self._submit(job))
            return set()
        shape = Shape(gpu_model="H100", gpus=job.gpus, cpus_milli=1_000 * job.gpus, memory_mib=1024)
        request = Request("submit", tenant=TENANT)
        request.key = job.name
        request.spec = WorkloadSpec(
            name=job.name.lower(),
            run=msgspec.json.encode(Program(work_ms=job.work_ms)).decode(),
            envs={MARK: job.name},
            demand=Demand(nodes=1, options=(shape,)),
            on_partition=self.mode,
        )
        request.digest = hashlib.sha256(msgspec.json.encode(request.spec)).hexdigest()
        site.plane.submit(request)
        for name in request.workloads:
            self.mark_of[name] = (job.home, job.name)
        return {job.home}

    # --- what is written down -----------------------------------------------------------------------------------------

    def _started(self, site: Site, process: Process) -> None:
        assert process.order is not None
        mark = process.order.spec.envs[MARK]
        began_ms = process.begun_ms if process.begun_ms is not None else self.time.ms
        self.running[site.name, process.run] = self.ledger.begin(
            mark, site.name, self.jobs[mark].gpus, began_ms
        )

    def _exited(self, site: Site, process: Process) -> None:
        run = self.running.pop((site.name, process.run), None)
        if run is not None and process.exit is not None:
            run.ended_ms = run.began_ms + process.exit.usage.wall_ms
            run.finished = process.exit.outcome is Outcome.FINISHED

    def _batch(self, site: SimSite, batch: Batch) -> None:
        for entry in batch.entries:
            event = entry.event
            if isinstance(event, RunPlaced) and event.run.workload in self.mark_of:
                mark = self.mark_of[event.run.workload][1]
                self.ledger.view(mark, event.run.factory or site.name, self.time.ms)
            elif isinstance(event, RunEnded) and workload_of(event.run) in self.mark_of:
                self._ended(site, event)

    def _ended(self, site: SimSite, event: RunEnded) -> None:
        mark = self.mark_of[workload_of(event.run)][1]
        if event.outcome is not Outcome.FINISHED:
            self.ledger.view(mark, WAITING, self.time.ms)
            return
        run: HomeRun = decode("run", site.journal.get("run", event.run) or b"")
        self.ledger.accept(mark, run.factory or site.name, self.time.ms)

    def _books(self) -> None:
        """What the journals say in the end: the receipts of visited sites, and what homes have billed and refused."""
        for site in self.sites.values():
            guests = [] if site.name in self.gone else site.journal.list(Query(kind="guest", limit=1_000_000))
            for body in guests:
                guest = decode("guest", body)
                found: Workload = decode("workload", site.journal.get("workload", guest.local) or b"")
                if guest.receipt is not None and guest.countersignature:
                    self.ledger.claimed[found.spec.envs[MARK]] += guest.receipt.receipt.usage.gpu_ms
            for body in site.journal.list(Query(kind="run", limit=1_000_000)):
                run: HomeRun = decode("run", body)
                roam = run.roam
                if roam is None or roam.receipt is None or run.factory in self.gone:
                    continue
                mark = self.mark_of[run.workload][1]
                usage_ms = roam.receipt.receipt.usage.gpu_ms
                if roam.billed:
                    self.ledger.owed[mark] += usage_ms
                elif roam.disputed:
                    self.ledger.disputed[mark] += usage_ms

    def _at_rest(self) -> bool:
        if self.time.ms < self.schedule.end_ms:
            return False
        for site in self.sites.values():
            if site.name not in self.gone and (site.host.active or self._is_busy(site)):
                return False
        return True

    def _is_busy(self, site: Site) -> bool:
        """Whether it still has work, other than claims against a home that burned down."""
        if site.plane is None:
            return True
        state = site.plane.factory.state
        guests = [
            each for each in state.guests.values() if each.home not in self.gone or each.receipt is None
        ]
        return bool(guests) or any(each.guest not in self.gone for each in state.workloads.values())


def run(schedule: Schedule, mode: str, seed: int, terms: Terms | None = None) -> Ledger:
    """Put the network through a schedule, with all jobs of one `on_partition`."""
    logs = [logging.getLogger(name) for name in ("tawtin.factory", "tawtin.roaming")]
    levels = [each.level for each in logs]
    for each in logs:
        each.setLevel(logging.CRITICAL)
    try:
        return Driver(schedule, OnPartition(mode), terms or Terms(), seed).run()
    finally:
        for each, level in zip(logs, levels, strict=True):
            each.setLevel(level)
