"""Random short histories of small factories, for Hypothesis and for fixed seeds."""

from __future__ import annotations

import random

from tawtin.core.charges import gathered
from tawtin.core.meter import month_of
from tawtin.core.outcome import of_spec
from tawtin.model.events import CancelAsked, RunStarted, TokensCharged
from tawtin.model.gateway import Settlement
from tawtin.model.reasons import Cause
from tawtin.model.resources import Demand, Node, NodeHealth, Shape
from tawtin.model.site import Site
from tawtin.model.tenant import Quota, Tenant
from tawtin.model.workload import Outcome, Residency, Serving, Usage, WorkloadSpec
from tests.core.building import Factory

from tawtin.model.events import NodePut, NodeRemoved, TenantPut  # isort: skip

MINUTE_MS = 60_000
SITE = Site(name="casablanca", country="MA", minor_per_gpu_hour={"H100": 6_000}, minor_per_cpu_hour=60)


class History(Factory):
    """A factory to which random things happen, all drawn from one seed."""

    def __init__(self, seed: int) -> None:
        super().__init__(SITE)
        self.draw = random.Random(seed)
        self.asks = random.Random(f"models {seed}")
        """Of its own, so that a history is what it would be without requests for models."""
        self.settled = 0
        self.engines = 1 + seed % 2
        """Whether every other node belongs to a cluster beside this machine."""
        self.now_ms = 1_760_000_000_000
        self.count = 0
        for number in range(self.draw.randint(1, 3)):
            self.put_tenant(number)
        for number in range(self.draw.randint(1, 5)):
            self.put_node(number)

    def put_tenant(self, number: int) -> None:
        draw = self.draw
        quota = Quota(
            gpus=draw.choice((None, None, 2, 5)),
            cpus_milli=draw.choice((None, None, 6_000)),
            runs=draw.choice((None, None, 2)),
            weight=draw.choice((50, 100, 100, 300)),
            budget_minor_per_month=draw.choice((None, None, None, 0, 500)),
        )
        residency = Residency(deny=draw.choice(((), (), (), (), ("MA",), ("FR",))))
        self.tell(TenantPut(tenant=Tenant(id=f"t{number}", quota=quota, residency=residency)))

    def put_node(self, number: int) -> None:
        draw = self.draw
        gpus = draw.choice((0, 1, 2, 4, 4))
        self.tell(
            NodePut(
                node=Node(
                    name=f"n{number}",
                    engine="hpc" if self.engines > 1 and number % 2 else "local",
                    gpu_model=draw.choice(("H100", "A100")) if gpus else "",
                    gpus=gpus,
                    gpus_sick=draw.choice(((), (), (), (0,))) if gpus else (),
                    cpus_milli=draw.choice((2_000, 4_000, 8_000)),
                    memory_mib=draw.choice((2_048, 8_192)),
                    health=draw.choice((NodeHealth.READY,) * 6 + (NodeHealth.DRAINING, NodeHealth.SICK)),
                )
            )
        )

    def random_spec(self) -> WorkloadSpec:
        draw = self.draw
        shapes = tuple(
            Shape(
                gpus=gpus,
                gpu_model=draw.choice(("H100", "A100", "")) if gpus else "",
                cpus_milli=draw.choice((500, 1_000, 2_000)),
                memory_mib=draw.choice((512, 1_024, 4_096)),
            )
            for gpus in [draw.choice((0, 1, 1, 2, 4)) for _ in range(draw.choice((1, 1, 1, 2)))]
        )
        service = Serving() if draw.random() < 0.2 else None
        return WorkloadSpec(
            name="job",
            run="true",
            service=service,
            demand=Demand(nodes=draw.choice((1, 1, 1, 2, 3)), options=shapes),
            priority=draw.choice((0, 0, 0, 5, 10)),
            preemptible=draw.random() < 0.7,
            max_duration_ms=draw.choice((None, MINUTE_MS, 10 * MINUTE_MS, 300 * MINUTE_MS)),
            residency=Residency(allow=draw.choice(((), (), (), ("MA",), ("EG",), ("x",)))),
            budget_minor=draw.choice((None, None, None, 0, 50)),
        )

    def step(self) -> None:
        """One random thing happens."""
        draw = self.draw
        if self.asks.random() < 0.1:
            self.charge()
        self.now_ms += draw.choice((0, 1, 1_000, MINUTE_MS, 30 * MINUTE_MS))
        what = draw.random()
        if what < 0.45 or not self.state.runs:
            tenant = draw.choice(sorted(self.state.tenants))
            for _ in range(draw.randint(1, 4)):
                self.count += 1
                self.submit(f"w{draw.randrange(1000):03d}-{self.count}", self.random_spec(), tenant)
        elif what < 0.75:
            self.end_some_run()
        elif what < 0.80:
            self.put_tenant(draw.randrange(len(self.state.tenants)))
        elif what < 0.87:
            self.put_node(draw.randrange(5))
        elif what < 0.90 and self.state.nodes:
            self.tell(NodeRemoved(name=draw.choice(sorted(self.state.nodes))))
        elif what < 0.95:
            run = draw.choice(sorted(self.state.runs))
            self.tell(RunStarted(run=run, started_ms=self.now_ms))
        else:
            self.tell(CancelAsked(workload=draw.choice(sorted(self.state.workloads))))

    def charge(self) -> None:
        """The gateway's ledger tells of a request."""
        self.settled += 1
        asked = Settlement(
            ledger="ledger",
            seq=self.settled,
            receipt=f"rc-{self.settled}",
            tenant=self.asks.choice(sorted(self.state.tenants)),
            month=month_of(self.now_ms),
            model="atlas",
            country="MA",
            provider="",
            tokens_in=1,
            tokens_out=1,
            estimated=False,
            cost_micro=self.asks.randrange(400_000_000),
        )
        charge = gathered("ledger", self.settled - 1, [asked])
        assert charge is not None
        self.tell(TokensCharged(charge=charge))

    def end_some_run(self) -> None:
        draw = self.draw
        run = self.state.runs[draw.choice(sorted(self.state.runs))]
        usage = Usage(wall_ms=self.now_ms - run.placed_ms, gpu_model="H100", gpu_ms=draw.randrange(10**6))
        outcome, cause, code = draw.choice(
            (
                (Outcome.FINISHED, Cause.COMPLETED, 0),
                (Outcome.FINISHED, Cause.COMPLETED, 3),
                (Outcome.INTERRUPTED, Cause.SUPERVISOR_LOST, None),
                (Outcome.INTERRUPTED, Cause.PREEMPTED, None),
            )
        )
        outcome = of_spec(outcome, self.state.workloads[run.workload].spec)
        self.end(run.workload, outcome=outcome, cause=cause, exit_code=code, usage=usage)
