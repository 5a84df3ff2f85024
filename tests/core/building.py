"""Short ways to make a factory's state for tests: every change goes through fold."""

from __future__ import annotations

from msgspec.structs import replace

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
from tawtin.model.ids import run_id
from tawtin.model.reasons import Cause
from tawtin.model.resources import Demand, Node, NodeHealth, Placement, Shape
from tawtin.model.site import Site
from tawtin.model.tenant import Quota, Tenant
from tawtin.model.workload import Outcome, Residency, Run, ServiceRef, Usage, Workload, WorkloadSpec

SITE = Site(
    name="casablanca", country="MA", minor_per_gpu_hour={"H100": 3600, "*": 360}, minor_per_cpu_hour=36
)
HOUR_MS = 3_600_000


class Factory:
    """A state that keeps its log."""

    def __init__(self, site: Site = SITE) -> None:
        self.state = State(site)
        self.log: list[Entry] = []
        self.now_ms = 0

    def tell(self, *events: Event) -> None:
        for event in events:
            entry = Entry(seq=self.state.seq, at_ms=self.now_ms, event=event)
            fold(self.state, entry)
            self.log.append(entry)

    def tenant(
        self, id: str = "lab", *, quota: Quota | None = None, residency: Residency | None = None
    ) -> None:
        self.tell(
            TenantPut(
                tenant=Tenant(id=id, quota=quota or Quota(), residency=residency or Residency(), network=True)
            )
        )

    def node(
        self,
        name: str,
        *,
        gpus: int = 8,
        model: str = "H100",
        cpus: int = 64_000,
        memory: int = 512_000,
        health: NodeHealth = NodeHealth.READY,
        sick: tuple[int, ...] = (),
        engine: str = "local",
    ) -> None:
        self.tell(
            NodePut(
                node=Node(
                    name=name,
                    engine=engine,
                    gpu_model=model if gpus else "",
                    gpus=gpus,
                    cpus_milli=cpus,
                    memory_mib=memory,
                    health=health,
                    gpus_sick=sick,
                )
            )
        )

    def submit(self, id: str, spec: WorkloadSpec, tenant: str = "lab") -> Workload:
        workload = Workload(
            id=id, tenant=tenant, spec=spec, digest="d", submitted_ms=self.now_ms, queued_ms=self.now_ms
        )
        if spec.service is not None:
            number = len(self.state.services.get((tenant, spec.name), ())) + 1
            workload = replace(workload, service=ServiceRef(name=spec.name, revision=1, replica=number))
        self.tell(WorkloadsSubmitted(workloads=(workload,)))
        return self.state.workloads[id]

    def tick(self) -> Decision:
        """Decide and make it true, as the runtime does."""
        decision = decide(self.state, self.now_ms)
        for stop in decision.stops:
            self.tell(StopOrdered(run=stop.run, cause=stop.cause, for_workload=stop.for_workload))
        for placement in decision.placements:
            self.tell(RunPlaced(run=self.run_for(placement)))
        return decision

    def run_for(self, placement: Placement) -> Run:
        workload = self.state.workloads[placement.workload]
        node = self.state.nodes[placement.slots[0].node]
        epoch = workload.epoch + 1
        return Run(
            id=run_id(workload.id, epoch),
            workload=workload.id,
            tenant=workload.tenant,
            epoch=epoch,
            shape=placement.shape,
            slots=placement.slots,
            rate=self.state.site.rate(node.gpu_model if placement.shape.gpus else ""),
            placed_ms=self.now_ms,
        )

    def end(
        self,
        workload: str,
        *,
        outcome: Outcome = Outcome.FINISHED,
        cause: Cause = Cause.COMPLETED,
        exit_code: int | None = 0,
        usage: Usage | None = None,
    ) -> None:
        self.tell(
            RunEnded(
                run=self.state.run_of[workload],
                outcome=outcome,
                cause=cause,
                exit_code=exit_code if outcome is Outcome.FINISHED else None,
                ended_ms=self.now_ms,
                usage=usage or Usage(),
            )
        )


def spec(
    *,
    gpus: int = 1,
    model: str = "H100",
    nodes: int = 1,
    cpus: int = 1000,
    memory: int = 1024,
    priority: int = 0,
    lasts_ms: int | None = None,
    preemptible: bool = True,
    residency: Residency | None = None,
    budget: int | None = None,
    options: tuple[Shape, ...] = (),
) -> WorkloadSpec:
    shape = Shape(gpu_model=model if gpus else "", gpus=gpus, cpus_milli=cpus, memory_mib=memory)
    return WorkloadSpec(
        name="job",
        run="true",
        demand=Demand(nodes=nodes, options=options or (shape,)),
        priority=priority,
        max_duration_ms=lasts_ms,
        preemptible=preemptible,
        residency=residency or Residency(),
        budget_minor=budget,
    )
