"""One pass: who starts now and where, who is stopped, and for whom room is kept. Reads the state, changes nothing.

1. Take stock: what is free on ready nodes, what each tenant holds.
2. Order stops that do not wait for anybody: unlawful runs, runs on sick GPUs, preemptible runs on draining nodes.
3. Go through priorities from the highest. Inside one, the tenant with the least weighted dominant share is next, with
   the longest waiting of its workloads that is not known to be blocked.
4. A workload within quota and budget is placed on the best nodes that have room: the first of its options that fits.
5. One blocked by capacity may oust runs of lower priority; room that is being freed already counts first.
6. Otherwise the first one blocked in each pool gets a reservation at its earliest start. What comes later is placed on
   reserved nodes only if it ends before, or fits beside (EASY backfilling: Lifka, "The ANL/IBM SP Scheduling System",
   JSSPP 1995).

Within a pass room and quotas only shrink, so what is blocked once stays blocked: each class of equal demands is tried
in vain once, however many workloads wait in it. That is what keeps a pass short beside a long queue.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field
from functools import cached_property
from heapq import heapify, heappop, heappush
from typing import Final

from tawtin.core import health, meter, reserve
from tawtin.core.feasible import DemandClass, Option
from tawtin.core.pack import ALWAYS, Place, Reserved, Room
from tawtin.core.preempt import Ousters
from tawtin.core.queues import Groups, Key
from tawtin.core.seats import Held
from tawtin.core.share import Holding, share
from tawtin.core.state import State, stop_grace_ms
from tawtin.core.survey import Survey
from tawtin.model.reasons import Cause
from tawtin.model.resources import NodeHealth, Placement, Shape
from tawtin.model.tenant import Quota, Tenant
from tawtin.model.workload import Workload

OUSTINGS_MAX: Final = 16
"""Workloads that others are ousted for in one pass; the next pass goes on."""

Head = tuple[Key, int, DemandClass, list[Key]]
"""The next workload of a group: its key, its place in the line, the class, the line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """A run to be ended: why, and for which workload if it is ousted."""

    run: str
    cause: Cause
    for_workload: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Nodes kept for a blocked workload: from when, and whether runs are being stopped for it."""

    workload: str
    start_ms: int
    nodes: tuple[str, ...]
    ousting: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What one pass decided. Placements and stops are in the order in which they were decided."""

    now_ms: int
    placements: tuple[Placement, ...]
    stops: tuple[Stop, ...]
    reservations: tuple[Reservation, ...]
    surveys: list[Survey] = field(default_factory=list[Survey], compare=False, repr=False)
    """What explanations found out already about the state after this pass; kept here so that they share it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """Room that a peer was promised for a moment: one rank of `shape` on each of these nodes."""

    shape: Shape
    nodes: tuple[str, ...]


def decide(
    state: State, now_ms: int, *, also: tuple[Workload, ...] = (), promised: tuple[Promise, ...] = ()
) -> Decision:
    """Decide once. `also` are workloads that are not in the state and are taken to wait too (a dry run).

    Nothing is placed on what is `promised`, except for those whom it was promised to, who are placed by their commit.
    """
    return _Pass(state, now_ms, also, promised).run()


class Purse:
    """What a tenant holds during a pass, and what it may hold."""

    __slots__ = ("broke", "cpus", "gpus", "memory", "quota", "runs")

    def __init__(self, tenant: Tenant, holding: Holding, *, broke: bool) -> None:
        self.quota: Quota = tenant.quota
        self.gpus = holding.gpus
        self.cpus = holding.cpus
        self.memory = holding.memory
        self.runs = holding.runs
        self.broke = broke
        """Its budget of the month is spent."""

    def full(self) -> bool:
        """Whether no run of any kind is allowed."""
        return self.quota.runs is not None and self.runs >= self.quota.runs

    def allows(self, option: Option) -> bool:
        """Whether quota and budget have room for one run of `option`."""
        quota, nodes = self.quota, option.nodes
        return (
            not (self.broke and option.burn)
            and (quota.runs is None or self.runs < quota.runs)
            and (quota.gpus is None or self.gpus + nodes * option.gpus <= quota.gpus)
            and (quota.cpus_milli is None or self.cpus + nodes * option.cpus <= quota.cpus_milli)
            and (quota.memory_mib is None or self.memory + nodes * option.memory <= quota.memory_mib)
        )

    def take(self, option: Option) -> None:
        """Count one run of `option` in."""
        self.gpus += option.nodes * option.gpus
        self.cpus += option.nodes * option.cpus
        self.memory += option.nodes * option.memory
        self.runs += 1


def is_broke(state: State, tenant: Tenant, now_ms: int) -> bool:
    """Whether the tenant's budget of the month is spent, live runs counted up to now."""
    budget = tenant.quota.budget_minor_per_month
    return budget is not None and state.spent(tenant.id, now_ms) >= budget * meter.SCALE


class _Pass:
    """The working memory of one pass."""

    def __init__(
        self, state: State, now_ms: int, also: tuple[Workload, ...], promised: tuple[Promise, ...]
    ) -> None:
        self.state = state
        self.now_ms = now_ms
        self.promised = promised
        self.purses: dict[str, Purse] = {}
        self.placements: list[Placement] = []
        self.stops: list[Stop] = []
        self.reservations: list[Reservation] = []
        self.latest: dict[Option, int] = {}
        """Ends later than this find no room: an upper limit, as room only shrinks."""
        self.no_opening: dict[Option, None] = {}
        """Options that will not find nodes that a reservation could be made on."""
        self.no_victims: dict[Option, None] = {}
        """Options that nobody can be ousted for, at this priority or a lower one."""
        self.blocked: dict[DemandClass, None] = {}
        """Classes without room for any option."""
        self.unoustable: dict[DemandClass, None] = {}
        """Classes that nobody can be ousted for, at this priority or a lower one."""
        self.dead: dict[DemandClass, None] = {}
        """Classes for which nothing more can be done in this pass."""
        self.pools_kept: dict[str, None] = {}
        """Pools whose first blocked workload has its reservation."""
        self.leaving = dict(state.stopping)
        self.ordered: dict[str, list[Held]] = {}
        """What runs hold that this pass stops, by node."""
        self.ousted_for = 0
        self.extra = self._line_up(also)
        self.ousters: Ousters | None = None
        """For the present priority, once anybody was looked for."""

    def run(self) -> Decision:
        """Go through the steps of the module's docstring."""
        self._stop_unlawful()
        for run, cause in health.struck(self.state):
            if run not in self.leaving:
                self._stop(run, cause)
        self._stop_drained()
        queues = self.state.queues.by_priority
        for priority in sorted({*queues, *self.extra}, reverse=True):
            self._serve(priority)
        return Decision(
            now_ms=self.now_ms,
            placements=tuple(self.placements),
            stops=tuple(self.stops),
            reservations=tuple(self.reservations),
        )

    # --- stock ----------------------------------------------------------------------------------------------------

    @cached_property
    def room(self) -> Room:
        """What is free; made when somebody who waits asks for it, as most passes of a factory at rest have nobody."""
        room = Room([self.state.seats[name] for name in self.state.node_names])
        for promise in self.promised:
            option = Option(promise.shape, len(promise.nodes), self.state.site)
            for name in promise.nodes:
                place = room.places.get(name)
                if place is not None and place.has_room(option):
                    room.take(place, option, "", ALWAYS)
        return room

    def _line_up(self, also: tuple[Workload, ...]) -> dict[int, dict[str, Groups]]:
        """Workloads that wait outside of the lines: their pause is over, or they are only supposed."""
        state = self.state
        extra: dict[int, dict[str, Groups]] = {}
        due = [state.workloads[workload_id] for workload_id in state.queues.due(self.now_ms)]
        for workload in (*due, *also):
            demand_class = state.queues.class_of.get(workload.id) or state.class_like(workload)
            groups = extra.setdefault(workload.spec.priority, {}).setdefault(workload.tenant, {})
            insort(groups.setdefault(demand_class, []), (workload.submitted_ms, workload.id))
        return extra

    def _stop_unlawful(self) -> None:
        for run in sorted(self.state.unlawful_runs):
            if self.state.runs[run].stop is None:
                self._stop(run, Cause.RESIDENCY)

    def _stop_drained(self) -> None:
        state = self.state
        for name in state.node_names:
            if state.nodes[name].health is NodeHealth.DRAINING:
                for run in sorted(state.seats[name].held):
                    preemptible = state.workloads[state.runs[run].workload].spec.preemptible
                    if preemptible and run not in self.leaving:
                        self._stop(run, Cause.DRAINED)

    def _stop(self, run: str, cause: Cause, for_workload: str = "") -> None:
        record = self.state.runs[run]
        workload = self.state.workloads[record.workload]
        for slot in record.slots:
            self.ordered.setdefault(slot.node, []).append(self.state.seats[slot.node].held[run])
        self.leaving[run] = self.now_ms + stop_grace_ms(workload, cause)
        self.stops.append(Stop(run=run, cause=cause, for_workload=for_workload))

    # --- one priority ---------------------------------------------------------------------------------------------

    def _serve(self, priority: int) -> None:
        lines = self.state.queues.by_priority.get(priority, {})
        extra = self.extra.get(priority, {})
        waiting = (*lines, *(each for each in extra if each not in lines))
        tenants = [(self._share(tenant), tenant) for tenant in waiting]
        heapify(tenants)
        ousting = self._may_oust(priority)
        heads: dict[str, list[Head]] = {}
        while tenants:
            tenant = tenants[0][1]
            mine = heads.get(tenant)
            if mine is None and self._purse(tenant).full():
                mine = heads[tenant] = []
            if mine is None:
                mine = heads[tenant] = self._heads(
                    lines.get(tenant, {}), extra.get(tenant, {}), ousting=ousting
                )
            if self._serve_tenant(tenant, mine, priority, ousting=ousting):
                heappop(tenants)
                heappush(tenants, (self._share(tenant), tenant))
            else:
                heappop(tenants)

    def _heads(self, lines: Groups, extra: Groups, *, ousting: bool) -> list[Head]:
        """The first of each group of a tenant that is not known to be blocked, as a heap."""
        dead = self.dead
        heads: list[Head] = []
        alive = [group for group in lines.items() if group[0] not in dead]
        for demand_class, line in alive:
            if demand_class in dead or not self._hopeful(demand_class, ousting=ousting):
                continue
            if extra and demand_class in extra:
                line = sorted((*line, *extra[demand_class]))  # noqa: PLW2901 - the same line, with those who are due
            heads.append((line[0], 0, demand_class, line))
        heads.extend(
            (line[0], 0, demand_class, line)
            for demand_class, line in extra.items()
            if demand_class not in lines
        )
        heapify(heads)
        return heads

    def _serve_tenant(self, tenant: str, heads: list[Head], priority: int, *, ousting: bool) -> bool:
        """Give the tenant's next workload its due. False if nothing more can be done for this tenant."""
        purse = self._purse(tenant)
        while heads:
            key, at, demand_class, line = heads[0]
            if (
                demand_class not in self.dead
                and self._hopeful(demand_class, ousting=ousting)
                and self._serve_one(key[1], demand_class, purse, priority, ousting=ousting)
            ):
                heappop(heads)
                if at + 1 < len(line):
                    heappush(heads, (line[at + 1], at + 1, demand_class, line))
                return True
            heappop(heads)
        return False

    def _hopeful(self, demand_class: DemandClass, *, ousting: bool) -> bool:
        """Whether anything can still be done for this class in this pass; remembers if not."""
        if demand_class not in self.blocked and not self._could(demand_class):
            self.blocked[demand_class] = None
        if (
            demand_class not in self.blocked
            or demand_class.pool not in self.pools_kept
            or (ousting and demand_class not in self.unoustable and self.ousted_for < OUSTINGS_MAX)
        ):
            return True
        self.dead[demand_class] = None
        return False

    def _could(self, demand_class: DemandClass) -> bool:
        """Whether some option might find room."""
        ends_ms = self.now_ms + demand_class.lasts_ms
        return any(ends_ms <= self._latest(option) for option in demand_class.options)

    def _latest(self, option: Option) -> int:
        limit = self.latest.get(option)
        if limit is None:
            limit = self.latest[option] = self.room.latest(option)
        return limit

    # --- one workload ---------------------------------------------------------------------------------------------

    def _serve_one(
        self, workload: str, demand_class: DemandClass, purse: Purse, priority: int, *, ousting: bool
    ) -> bool:
        """Place it, or oust others for it; else perhaps keep nodes for it, and say False."""
        options = [option for option in demand_class.options if purse.allows(option)]
        if not options:
            return False
        whole = len(options) == len(demand_class.options)
        if demand_class not in self.blocked:
            ends_ms = self.now_ms + demand_class.lasts_ms
            for option in options:
                if ends_ms > self._latest(option):
                    continue
                places = self.room.find(option, ends_ms)
                if places is not None:
                    self._place(workload, option, places, ends_ms)
                    purse.take(option)
                    return True
                self.latest[option] = self.room.latest(option)
            if whole:
                self.blocked[demand_class] = None
        if ousting and demand_class not in self.unoustable and self.ousted_for < OUSTINGS_MAX:
            taken = self._oust_for(workload, options, priority)
            if taken is not None:
                purse.take(taken)
                return True
            if whole:
                self.unoustable[demand_class] = None
        if demand_class.pool not in self.pools_kept:
            self._keep(workload, demand_class, options, whole=whole)
        return False

    def _place(self, workload: str, option: Option, places: list[Place], ends_ms: int) -> None:
        slots = tuple(self.room.take(place, option, workload, ends_ms) for place in places)
        self.placements.append(Placement(workload=workload, shape=option.shape, slots=slots))

    def _keep(self, workload: str, demand_class: DemandClass, options: list[Option], *, whole: bool) -> None:
        """Reserve the nodes on which one of the options can start soonest."""
        best: list[reserve.Opening] | None = None
        for option in options:
            if option in self.no_opening:
                continue
            found = reserve.earliest(self.room, option, self.now_ms)
            if found is None:
                self.no_opening[option] = None
            elif best is None or found[-1][0] < best[-1][0]:
                best = found
        if best is None:
            if whole:
                self.dead[demand_class] = None
            return
        start_ms = best[-1][0]
        for _, _, place, spare in best:
            self._reserve(place, spare, start_ms, freed=False)
        self.pools_kept[demand_class.pool] = None
        self._note(workload, start_ms, [name for _, name, _, _ in best], ousting=False)

    def _reserve(self, place: Place, spare: Reserved, start_ms: int, *, freed: bool) -> None:
        kept = place.reserved
        spare.start_ms = kept.start_ms if kept is not None else start_ms
        spare.freed = kept.freed if kept is not None else freed
        self.room.reserve(place, spare)

    def _note(self, workload: str, start_ms: int, nodes: list[str], *, ousting: bool) -> None:
        self.reservations.append(
            Reservation(workload=workload, start_ms=start_ms, nodes=tuple(nodes), ousting=ousting)
        )

    # --- ousting --------------------------------------------------------------------------------------------------

    def _may_oust(self, priority: int) -> bool:
        """Whether runs of lower priority could be stopped, or some stop already whose room could be promised."""
        if not self.state.site.preemption:
            return False
        return bool(self.leaving) or any(each < priority for each in self.state.levels)

    def _oust_for(self, workload: str, options: list[Option], priority: int) -> Option | None:
        """The first of `options` that others were stopped for, or None."""
        for option in options:
            if option not in self.no_victims:
                if self._oust(workload, option, priority):
                    return option
                self.no_victims[option] = None
        return None

    def _oust(self, workload: str, option: Option, priority: int) -> bool:
        """Stop others so that `option` can start, and keep the nodes for it."""
        if self.ousters is None or self.ousters.priority != priority:
            self.ousters = Ousters(
                self.room, priority, leaving=self.leaving, ordered=self.ordered, now_ms=self.now_ms
            )
        found = self.ousters.oust(option)
        if found is None:
            return False
        start_ms = self.now_ms
        for _, _, _, _, victims, spare in found:
            for held in victims:
                if held.run not in self.leaving:
                    self._stop(held.run, Cause.PREEMPTED, workload)
                start_ms = max(start_ms, self.leaving[held.run])
            start_ms = max(start_ms, spare.start_ms)
        for _, _, _, place, _, spare in found:
            self._reserve(place, spare, start_ms, freed=True)
            self.ousters.refresh(place)
        self.ousted_for += 1
        self._note(workload, start_ms, [place.name for _, _, _, place, _, _ in found], ousting=True)
        return True

    # --- tenants --------------------------------------------------------------------------------------------------

    def _purse(self, tenant: str) -> Purse:
        purse = self.purses.get(tenant)
        if purse is None:
            record = self.state.tenants[tenant]
            purse = self.purses[tenant] = Purse(
                record, self.state.holding(tenant), broke=is_broke(self.state, record, self.now_ms)
            )
        return purse

    def _share(self, tenant: str) -> int:
        purse = self._purse(tenant)
        return share(
            gpus=purse.gpus,
            cpus=purse.cpus,
            memory=purse.memory,
            totals=self.state.totals,
            weight=purse.quota.weight,
        )
