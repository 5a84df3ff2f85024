"""The rules of a pass, written the slow and obvious way: every workload in its turn, every node for each of them.

It reads records only, none of the indices that the state keeps, and remembers nothing between two workloads but what
was decided.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from tawtin.core import meter
from tawtin.core.decide import Decision, Reservation, Stop
from tawtin.core.feasible import duration_ms, duration_step, pool_of
from tawtin.core.state import State, expected_end_ms, stop_grace_ms
from tawtin.model.reasons import Cause
from tawtin.model.resources import NodeHealth, Placement, Shape, Slot
from tawtin.model.workload import Phase, Run, Workload

SOON_MS = 10_000
UNIT = 10**12
T = TypeVar("T")
Amounts = tuple[int, int, int, int]
"""GPUs, milli-processors, MiB of memory, MiB of disk."""


def needs(shape: Shape) -> Amounts:
    return (shape.gpus, shape.cpus_milli, shape.memory_mib, shape.disk_mib)


def plus(one: Amounts, other: Amounts, sign: int = 1) -> Amounts:
    a, b, c, d = (x + sign * y for x, y in zip(one, other, strict=True))
    return (a, b, c, d)


def covers(has: Amounts, asked: Amounts) -> bool:
    return all(x >= y for x, y in zip(has, asked, strict=True))


def at_one_engine(found: list[tuple[str, T]], count: int) -> list[T]:
    """The first `count` of one engine: of that whose last one of them comes first. Empty if no engine has so many."""
    whole: list[tuple[int, list[T]]] = []
    for engine in {engine for engine, _ in found}:
        mine = [(place, each) for place, (one, each) in enumerate(found) if one == engine]
        if len(mine) >= count:
            whole.append((mine[count - 1][0], [each for _, each in mine[:count]]))
    return min(whole, key=lambda each: each[0])[1] if whole else []


@dataclass
class Part:
    """What one run holds on one node."""

    run: str
    amounts: Amounts
    end_ms: int
    old: Run | None


@dataclass
class Box:
    """One ready node."""

    name: str
    engine: str
    model: str
    indices: list[int]
    free: Amounts
    parts: list[Part] = field(default_factory=list[Part])
    kept: tuple[int, Amounts] | None = None
    """When the reservation starts, and what is spare from then on."""
    freed: bool = False
    """Whether runs are being stopped for it."""

    def right_model(self, shape: Shape) -> bool:
        return shape.gpus == 0 or shape.gpu_model in ("", self.model)


class Oracle:
    def __init__(self, state: State, now_ms: int) -> None:
        self.state = state
        self.now = now_ms
        self.boxes = [
            self.box(name) for name in sorted(state.nodes) if state.nodes[name].health is NodeHealth.READY
        ]
        self.leaving = {
            run.id: expected_end_ms(run, state.workloads[run.workload], state.site)
            for run in state.runs.values()
            if run.stop is not None
        }
        self.placements: list[Placement] = []
        self.stops: list[Stop] = []
        self.reservations: list[Reservation] = []
        self.held = {tenant: self.holding(tenant) for tenant in state.tenants}
        self.pools_kept: list[str] = []

    def box(self, name: str) -> Box:
        node = self.state.nodes[name]
        free = [index for index in range(node.gpus) if index not in node.gpus_sick]
        parts: list[Part] = []
        amounts = (0, node.cpus_milli, node.memory_mib, node.disk_mib)
        for run in self.state.runs.values():
            for slot in run.slots:
                if slot.node == name:
                    free = [index for index in free if index not in slot.gpus]
                    part = plus(needs(run.shape), (0, 0, 0, 0))
                    end = expected_end_ms(run, self.state.workloads[run.workload], self.state.site)
                    parts.append(Part(run.id, part, end, run))
                    amounts = plus(amounts, (0, *part[1:]), -1)
        return Box(
            name,
            node.engine,
            node.gpu_model if node.gpus else "",
            free,
            plus(amounts, (len(free), 0, 0, 0)),
            parts,
        )

    def holding(self, tenant: str) -> list[int]:
        """GPUs, processors, memory, runs."""
        mine = [run for run in self.state.runs.values() if run.tenant == tenant]
        return [
            sum(len(run.slots) * run.shape.gpus for run in mine),
            sum(len(run.slots) * run.shape.cpus_milli for run in mine),
            sum(len(run.slots) * run.shape.memory_mib for run in mine),
            len(mine),
        ]

    def share(self, tenant: str) -> int:
        present = [node for node in self.state.nodes.values() if node.health is not NodeHealth.GONE]
        totals = [
            sum(sum(1 for index in range(node.gpus) if index not in node.gpus_sick) for node in present),
            sum(node.cpus_milli for node in present),
            sum(node.memory_mib for node in present),
        ]
        parts = [
            has * UNIT // total for has, total in zip(self.held[tenant][:3], totals, strict=True) if total > 0
        ]
        return max(parts, default=0) // self.state.tenants[tenant].quota.weight

    def broke(self, tenant: str) -> bool:
        budget = self.state.tenants[tenant].quota.budget_minor_per_month
        if budget is None:
            return False
        account = self.state.accounts.get((tenant, meter.month_of(self.now)))
        spent = account.cost_minor * meter.SCALE if account else 0
        spent += account.tokens_micro * meter.SCALE // 1_000_000 if account else 0
        for run in self.state.runs.values():
            if run.tenant == tenant:
                spent += meter.burn(run.rate, run.shape, len(run.slots)) * (self.now - run.placed_ms)
        return spent >= budget * meter.SCALE

    def priced(self, shape: Shape) -> bool:
        site = self.state.site
        if shape.gpus and shape.gpu_model:
            return bool(
                site.rate(shape.gpu_model).minor_per_gpu_hour or site.minor_per_cpu_hour * shape.cpus_milli
            )
        any_gpu = shape.gpus and any(site.minor_per_gpu_hour.values())
        return bool(any_gpu or site.minor_per_cpu_hour * shape.cpus_milli)

    # --- the pass ---

    def decide(self) -> Decision:
        self.stop_outright()
        waiting = [each for each in self.state.workloads.values() if self.eligible(each)]
        for priority in sorted({each.spec.priority for each in waiting}, reverse=True):
            left = [each for each in waiting if each.spec.priority == priority]
            while left:
                first = min(
                    left, key=lambda each: (self.share(each.tenant), each.tenant, each.submitted_ms, each.id)
                )
                left.remove(first)
                self.serve(first)
        return Decision(
            now_ms=self.now,
            placements=tuple(self.placements),
            stops=tuple(self.stops),
            reservations=tuple(self.reservations),
        )

    def stop_outright(self) -> None:
        state = self.state
        for run in sorted(state.runs.values(), key=lambda each: each.id):
            workload = state.workloads[run.workload]
            said = state.judge.verdict(workload.spec, state.tenants[run.tenant], state.site, self.now)
            if not said.allowed and run.stop is None:
                self.stop(run, Cause.RESIDENCY)
        for name in sorted(state.nodes):
            if state.nodes[name].health is NodeHealth.DRAINING:
                for run in sorted(state.runs.values(), key=lambda each: each.id):
                    there = any(slot.node == name for slot in run.slots)
                    preemptible = state.workloads[run.workload].spec.preemptible
                    if there and preemptible and run.id not in self.leaving:
                        self.stop(run, Cause.DRAINED)

    def stop(self, run: Run, cause: Cause, for_workload: str = "") -> None:
        self.leaving[run.id] = self.now + stop_grace_ms(self.state.workloads[run.workload], cause)
        self.stops.append(Stop(run=run.id, cause=cause, for_workload=for_workload))

    def eligible(self, workload: Workload) -> bool:
        spec = workload.spec
        if workload.phase is not Phase.QUEUED or workload.not_before_ms > self.now:
            return False
        tenant = self.state.tenants[workload.tenant]
        if not self.state.judge.verdict(spec, tenant, self.state.site, self.now).allowed:
            return False
        spent = spec.budget_minor is not None and workload.spent_minor >= spec.budget_minor
        return not (spent and any(self.priced(shape) for shape in spec.demand.options))

    def allowed(self, workload: Workload, shape: Shape) -> bool:
        nodes, quota = workload.spec.demand.nodes, self.state.tenants[workload.tenant].quota
        asked = [nodes * shape.gpus, nodes * shape.cpus_milli, nodes * shape.memory_mib, 1]
        limits = [quota.gpus, quota.cpus_milli, quota.memory_mib, quota.runs]
        held = self.held[workload.tenant]
        within = all(limit is None or a + h <= limit for a, h, limit in zip(asked, held, limits, strict=True))
        return within and not (self.broke(workload.tenant) and self.priced(shape))

    def count(self, workload: Workload, shape: Shape) -> None:
        nodes, held = workload.spec.demand.nodes, self.held[workload.tenant]
        for at, amount in enumerate(
            (nodes * shape.gpus, nodes * shape.cpus_milli, nodes * shape.memory_mib, 1)
        ):
            held[at] += amount

    def serve(self, workload: Workload) -> None:
        shapes = [shape for shape in workload.spec.demand.options if self.allowed(workload, shape)]
        if not shapes:
            return
        lasts = 60_000 << duration_step(duration_ms(workload.spec, self.state.site))
        for shape in shapes:
            if self.place(workload, shape, self.now + lasts):
                self.count(workload, shape)
                return
        if self.state.site.preemption:
            for shape in shapes:
                if self.oust(workload, shape):
                    self.count(workload, shape)
                    return
        self.keep(workload, shapes)

    # --- placing ---

    def place(self, workload: Workload, shape: Shape, ends: int) -> bool:
        def rank(box: Box) -> tuple[int | str, ...]:
            gpus, *rest = box.free
            if box.kept is not None:
                return (1, 0, gpus, *rest, box.name)
            return (0, int(shape.gpus == 0 and box.model != ""), gpus, *rest, box.name)

        good = [
            box
            for box in self.boxes
            if box.right_model(shape)
            and covers(box.free, needs(shape))
            and (box.kept is None or ends <= box.kept[0] or covers(box.kept[1], needs(shape)))
        ]
        ranked = sorted(good, key=rank)
        chosen = at_one_engine([(box.engine, box) for box in ranked], workload.spec.demand.nodes)
        if len(chosen) < workload.spec.demand.nodes:
            return False
        slots: list[Slot] = []
        for box in chosen:
            taken, box.indices = box.indices[: shape.gpus], box.indices[shape.gpus :]
            slots.append(Slot(node=box.name, gpus=tuple(taken)))
            box.free = plus(box.free, needs(shape), -1)
            box.parts.append(Part(workload.id, needs(shape), ends, None))
            if box.kept is not None and ends > box.kept[0]:
                box.kept = (box.kept[0], plus(box.kept[1], needs(shape), -1))
        self.placements.append(Placement(workload=workload.id, shape=shape, slots=tuple(slots)))
        return True

    # --- reserving ---

    def opening(self, box: Box, shape: Shape) -> tuple[int, Amounts] | None:
        """When one rank has room here, and what is spare then."""
        if not box.right_model(shape):
            return None
        if box.kept is not None:
            return (
                (box.kept[0], plus(box.kept[1], needs(shape), -1))
                if covers(box.kept[1], needs(shape))
                else None
            )
        has, at = box.free, self.now
        for part in sorted(box.parts, key=lambda each: (each.end_ms, each.run)):
            if covers(has, needs(shape)):
                break
            has, at = plus(has, part.amounts), max(part.end_ms, self.now + SOON_MS)
        return (at, plus(has, needs(shape), -1)) if covers(has, needs(shape)) else None

    def keep(self, workload: Workload, shapes: list[Shape]) -> None:
        demand = workload.spec.demand
        pool = pool_of(demand.options[0])
        if pool in self.pools_kept:
            return
        best: list[tuple[int, str, Box, Amounts]] = []
        for shape in shapes:
            openings = [(box, self.opening(box, shape)) for box in self.boxes]
            ordered = sorted(
                ((each[0], box.name, box, each[1]) for box, each in openings if each is not None),
                key=lambda each: each[:2],
            )
            found = at_one_engine([(each[2].engine, each) for each in ordered], demand.nodes)
            if len(found) == demand.nodes and (not best or found[-1][0] < best[-1][0]):
                best = found
        if best:
            self.pools_kept.append(pool)
            self.reserve(workload, best[-1][0], [(box, spare) for _, _, box, spare in best], ousting=False)

    def reserve(
        self, workload: Workload, start: int, found: list[tuple[Box, Amounts]], *, ousting: bool
    ) -> None:
        for box, spare in found:
            box.freed = box.freed if box.kept is not None else ousting
            box.kept = (box.kept[0] if box.kept is not None else start, spare)
        nodes = tuple(box.name for box, _ in found)
        self.reservations.append(
            Reservation(workload=workload.id, start_ms=start, nodes=nodes, ousting=ousting)
        )

    # --- ousting ---

    def oust(self, workload: Workload, shape: Shape) -> bool:
        found: list[tuple[tuple[int, int, str], Box, list[Part], Amounts, int]] = []
        for box in self.boxes:
            each = self.ousting(box, shape, workload.spec.priority)
            if each is not None:
                victims, spare, start = each
                lost = sum(max(0, self.now - part.old.placed_ms) for part in victims if part.old)
                found.append(((len(victims), lost, box.name), box, victims, spare, start))
        found.sort(key=lambda each: each[0])
        chosen = at_one_engine([(each[1].engine, each) for each in found], workload.spec.demand.nodes)
        lower = any(self.level(run) < workload.spec.priority for run in self.state.runs.values())
        if len(chosen) < workload.spec.demand.nodes or not (self.leaving or lower):
            return False
        start = self.now
        for _, _, victims, _, ready in chosen:
            for part in victims:
                if part.run not in self.leaving and part.old is not None:
                    self.stop(part.old, Cause.PREEMPTED, workload.id)
                start = max(start, self.leaving[part.run])
            start = max(start, ready)
        self.reserve(workload, start, [(box, spare) for _, box, _, spare, _ in chosen], ousting=True)
        return True

    def level(self, run: Run) -> int:
        spec = self.state.workloads[run.workload].spec
        if run.stop is not None:
            return -(10**6)
        return spec.priority if spec.preemptible else 10**6

    def ousting(self, box: Box, shape: Shape, priority: int) -> tuple[list[Part], Amounts, int] | None:
        """The cheapest victims on one node, what is spare without them, when room that is leaving is there."""
        asked = needs(shape)
        if not box.right_model(shape):
            return None
        if box.kept is not None:
            fits = box.freed and covers(box.kept[1], asked)
            return ([], plus(box.kept[1], asked, -1), box.kept[0]) if fits else None
        has, ready = box.free, self.now
        for part in box.parts:
            if part.run in self.leaving:
                has, ready = plus(has, part.amounts), max(ready, self.leaving[part.run])
        victims = self.victims(box, has, asked, priority)
        if victims is None:
            return None
        for part in victims:
            has = plus(has, part.amounts)
        return victims, plus(has, asked, -1), ready

    def youth(self, part: Part) -> tuple[int, int, str]:
        assert part.old is not None
        return (self.level(part.old), -part.old.placed_ms, part.run)

    def victims(self, box: Box, has: Amounts, asked: Amounts, priority: int) -> list[Part] | None:
        """Whom to stop so that `asked` is there beside `has`; None if that cannot be."""
        if covers(has, asked):
            return []
        can = [
            part
            for part in box.parts
            if part.old is not None and part.run not in self.leaving and self.level(part.old) < priority
        ]
        alone = [part for part in can if covers(plus(has, part.amounts), asked)]
        if alone:
            return [min(alone, key=self.youth)]
        victims: list[Part] = []
        for part in sorted(can, key=lambda each: (*(-x for x in each.amounts[:3]), self.youth(each))):
            if not covers(has, asked):
                victims.append(part)
                has = plus(has, part.amounts)
        if not covers(has, asked):
            return None
        for part in sorted(victims, key=self.youth, reverse=True):
            if covers(plus(has, part.amounts, -1), asked):
                has = plus(has, part.amounts, -1)
                victims.remove(part)
        return victims
