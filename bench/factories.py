"""A large busy factory, made the same way each time: 1,500 nodes of four GPU models, 200 tenants, a long queue."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from tawtin.core.decide import Decision, decide
from tawtin.core.fold import fold
from tawtin.core.state import State
from tawtin.model.events import (
    Entry,
    Event,
    NodePut,
    RunEnded,
    RunPlaced,
    StopOrdered,
    TenantPut,
    WorkloadsSubmitted,
)
from tawtin.model.ids import make_id, run_id
from tawtin.model.reasons import Cause
from tawtin.model.resources import Demand, Node, Shape
from tawtin.model.site import Site
from tawtin.model.tenant import Quota, Tenant
from tawtin.model.workload import Outcome, Run, Usage, Workload, WorkloadSpec

MODELS = ("A100-80GB", "B200", "H100", "H200")
SITE = Site(
    name="casablanca", country="MA", minor_per_gpu_hour={"*": 2_000, "B200": 6_000}, minor_per_cpu_hour=10
)
MINUTE_MS = 60_000
DURATIONS_MS = tuple(MINUTE_MS * minutes for minutes in (10, 30, 60, 120, 240, 480, 720, 1440, 2880))
PRIORITIES = (0, 0, 0, 0, 0, 0, 10, 10, 20, 50)


@dataclass
class Big:
    """The factory, its clock, and the seeded source of everything random about it."""

    shapes: int
    tenants: int = 200
    nodes: int = 1_500
    rng: random.Random = field(default_factory=lambda: random.Random(7))
    now_ms: int = 1_760_000_000_000
    state: State = field(default_factory=lambda: State(SITE))

    def __post_init__(self) -> None:
        self.demands = self._demands()
        for number in range(self.tenants):
            self.tell(
                TenantPut(
                    tenant=Tenant(
                        id=f"tenant-{number:03d}",
                        number=number,
                        quota=Quota(
                            gpus=self.rng.choice((64, 128, 256, None)),
                            runs=self.rng.choice((200, 1000, None)),
                            weight=self.rng.choice((50, 100, 100, 200)),
                            budget_minor_per_month=self.rng.choice((None, 10**9, 10**10)),
                        ),
                    )
                )
            )
        for number in range(self.nodes):
            self.tell(
                NodePut(
                    node=Node(
                        name=f"node-{number:04d}",
                        gpu_model=MODELS[number % 4],
                        gpus=8,
                        cpus_milli=192_000,
                        memory_mib=2_000_000,
                        disk_mib=8_000_000,
                    )
                )
            )

    def _demands(self) -> list[Demand]:
        """So many distinct demands: most of one node and few GPUs; gangs, two options, and no GPUs at all occur."""
        found: dict[Demand, None] = {}
        rng = self.rng
        while len(found) < self.shapes:
            gpus = rng.choice((0, 1, 1, 1, 2, 2, 4, 8))
            nodes = rng.choice((1, 1, 1, 1, 1, 1, 1, 2, 4, 16)) if gpus == 8 else 1
            cpus = 1000 * rng.choice(range(1, 24)) * max(1, gpus)
            memory = 4096 * rng.choice(range(1, 48)) * max(1, gpus)
            models = rng.sample(MODELS, 2 if rng.random() < 0.1 else 1)
            shapes = tuple(
                Shape(gpu_model=model if gpus else "", gpus=gpus, cpus_milli=cpus, memory_mib=memory)
                for model in models
            )
            found[Demand(nodes=nodes, options=shapes if gpus else shapes[:1])] = None
        return list(found)

    def tell(self, *events: Event) -> None:
        for event in events:
            fold(self.state, Entry(seq=self.state.seq, at_ms=self.now_ms, event=event))

    def submissions(self, count: int) -> list[WorkloadsSubmitted]:
        """New workloads, one event each, not folded yet. Early shapes are asked for more often than late ones."""
        rng = self.rng
        made: list[WorkloadsSubmitted] = []
        for _ in range(count):
            demand = self.demands[min(int(rng.paretovariate(0.6)) - 1, self.shapes - 1)]
            if rng.random() < 0.5:
                demand = rng.choice(self.demands)
            number = min(int(rng.paretovariate(0.8)) - 1, self.tenants - 1)
            if rng.random() < 0.5:
                number = rng.randrange(self.tenants)
            workload = Workload(
                id=make_id("wl", self.now_ms, rng.getrandbits(80)),
                tenant=f"tenant-{number:03d}",
                spec=WorkloadSpec(
                    name="train",
                    run="python train.py --config config.yaml --seed 7 --out /tmp/out\n",
                    workdir="sha256:" + f"{rng.getrandbits(256):064x}",
                    envs={"WANDB_MODE": "offline"},
                    demand=demand,
                    max_duration_ms=rng.choice(DURATIONS_MS) if rng.random() < 0.7 else None,
                    priority=rng.choice(PRIORITIES),
                    preemptible=rng.random() < 0.7,
                ),
                digest=f"{rng.getrandbits(256):064x}",
                submitted_ms=self.now_ms,
                queued_ms=self.now_ms,
            )
            made.append(WorkloadsSubmitted(workloads=(workload,)))
            self.now_ms += rng.randrange(40)
        return made

    def events_of(self, decision: Decision) -> list[Event]:
        """What the runtime would make of a decision."""
        events: list[Event] = [
            StopOrdered(run=stop.run, cause=stop.cause, for_workload=stop.for_workload)
            for stop in decision.stops
        ]
        for placement in decision.placements:
            workload = self.state.workloads[placement.workload]
            node = self.state.nodes[placement.slots[0].node]
            epoch = workload.epoch + 1
            run = Run(
                id=run_id(workload.id, epoch),
                workload=workload.id,
                tenant=workload.tenant,
                epoch=epoch,
                shape=placement.shape,
                slots=placement.slots,
                rate=SITE.rate(node.gpu_model if placement.shape.gpus else ""),
                placed_ms=self.now_ms,
            )
            events.append(RunPlaced(run=run))
        return events

    def follow(self, decision: Decision) -> None:
        """Make a decision true; runs that were ordered to stop are gone at once."""
        self.tell(*self.events_of(decision))
        for stop in decision.stops:
            self.end(stop.run, Outcome.INTERRUPTED, stop.cause)

    def end(self, run: str, outcome: Outcome = Outcome.FINISHED, cause: Cause = Cause.COMPLETED) -> None:
        self.tell(self.ended(run, outcome, cause))

    def ended(
        self, run: str, outcome: Outcome = Outcome.FINISHED, cause: Cause = Cause.COMPLETED
    ) -> RunEnded:
        record = self.state.runs[run]
        wall = self.now_ms - record.placed_ms
        return RunEnded(
            run=run,
            outcome=outcome,
            cause=cause,
            exit_code=0 if outcome is Outcome.FINISHED else None,
            ended_ms=self.now_ms,
            usage=Usage(wall_ms=wall, gpu_ms=wall * record.shape.gpus * len(record.slots)),
        )

    def churn(self, changes: int) -> list[Event]:
        """A mix of so many changes: as many new workloads as runs that end, while there are such."""
        ending = self.rng.sample(sorted(self.state.runs), min(changes // 2, len(self.state.runs)))
        events: list[Event] = [self.ended(run) for run in ending]
        events.extend(self.submissions(changes - len(ending)))
        return events

    def settle(self, waiting: int, passes: int = 30) -> None:
        """Fill the factory and its queue: submit, decide and follow until the queue holds `waiting`."""
        for _ in range(passes):
            queued = len(self.state.workloads) - len(self.state.runs)
            self.tell(*self.submissions(waiting - queued))
            decision = decide(self.state, self.now_ms)
            self.follow(decision)
            self.now_ms += 1000
            if not decision.placements and not decision.stops:
                break
        queued = len(self.state.workloads) - len(self.state.runs)
        self.tell(*self.submissions(max(0, waiting - queued)))
