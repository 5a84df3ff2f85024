"""Who asks things of a simulated factory: requests, their repeats after a lost answer, and what is asked for."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import msgspec

from tawtin.model.resources import Demand, NodeHealth, Shape
from tawtin.model.tenant import Quota, Tenant
from tawtin.model.workload import Checkpoint, Residency, Serving, WorkloadSpec, WorkloadType
from tawtin.runtime.simulate.host import Program

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from tawtin.model.reasons import Refusal

HERE: Final = "MA"
ELSEWHERE: Final = "FR"
MODELS: Final = ("H100", "L40S")


class Request:
    """Something that a client wants, until it has an answer or gives up."""

    def __init__(self, kind: str, tenant: str = "", target: str = "") -> None:
        self.kind = kind
        self.tenant = tenant
        self.target = target
        self.spec: WorkloadSpec = None  # type: ignore[assignment] - set by submissions
        self.digest = ""
        self.array: tuple[int, ...] | None = None
        self.secrets: dict[str, str] = {}
        self.key = ""
        self.marker = ""
        """Bytes that are in this submission and nowhere else."""
        self.put: Tenant | None = None
        self.health = NodeHealth.READY
        self.workloads: tuple[str, ...] = ()
        self.refusal: Refusal | None = None
        self.tries = 0
        self.answer: Callable[[], None] = _nobody
        self.fail: Callable[[str], None] = _nobody_hears


def _nobody() -> None:
    """Nobody waits for the answer."""


def _nobody_hears(why: str) -> None:
    """Nobody waits for the answer."""


class Generator:
    """Draws what clients ask for, of a taste that differs from seed to seed."""

    def __init__(self, source: random.Random, services: random.Random) -> None:
        """Draw from `source`, and what is a service from `services`."""
        self.random = source
        self.services = services
        self.tenants = [f"tenant-{number}" for number in range(1, source.randrange(2, 5))]
        self.made = 0
        self.gang_percent = source.choice((0, 10, 40))
        self.array_percent = source.choice((0, 10, 30))
        self.gpu_percent = source.choice((20, 60, 90))
        self.residency_percent = source.choice((0, 10, 25))
        self.secret_percent = source.choice((0, 20))
        self.long_percent = source.choice((0, 10, 30))
        self.too_large_percent = source.choice((0, 3))
        self.service_percent = services.choice((0, 5, 15))

    def tenant(self, name: str) -> Tenant:
        """A tenant with some limits, or none."""
        draw = self.random
        quota = Quota(
            gpus=draw.choice((None, None, 2, 4, 8)),
            cpus_milli=draw.choice((None, None, 8_000, 32_000)),
            memory_mib=draw.choice((None, None, 65_536)),
            runs=draw.choice((None, None, 1, 3)),
            workloads=draw.choice((1_000_000, 1_000_000, 12)),
            weight=draw.choice((50, 100, 300)),
            priority_max=draw.choice((100, 100, 0)),
            budget_minor_per_month=draw.choice((None, None, None, 500)),
        )
        residency = Residency()
        if draw.randrange(100) < self.residency_percent:
            residency = draw.choice(
                (Residency(allow=(HERE,)), Residency(deny=(HERE,)), Residency(allow=(ELSEWHERE,)))
            )
        number = self.tenants.index(name) + 1
        return Tenant(id=name, number=number, owner=number == 1, quota=quota, residency=residency)

    def put_tenant(self, name: str, tenant: Tenant | None = None) -> Request:
        """Ask for a tenant to be created or changed."""
        request = Request("tenant", tenant=name)
        request.put = tenant or self.tenant(name)
        return request

    def submission(self) -> Request:
        """Ask for a workload, or an array of them."""
        draw = self.random
        self.made += 1
        request = Request("submit", tenant=draw.choice(self.tenants))
        request.marker = f"marker-{self.made}-{draw.getrandbits(48):012x}"
        request.key = f"key-{self.made}" if draw.randrange(100) < 80 else ""
        if draw.randrange(100) < self.secret_percent:
            request.secrets = {"TOKEN": f"secret-of-{request.marker}"}
        if draw.randrange(100) < self.array_percent:
            request.array = tuple(range(draw.randrange(1, 6)))
        request.spec = self._spec(request)
        if self.services.randrange(100) < self.service_percent:
            request.array = None
            request.spec = self._service(request.spec)
        request.digest = hashlib.sha256(msgspec.json.encode(request.spec)).hexdigest()
        return request

    def _spec(self, request: Request) -> WorkloadSpec:
        draw = self.random
        work_ms = draw.randrange(1, 4_000)
        if draw.randrange(100) < self.long_percent:
            work_ms = draw.randrange(10_000, 90_000)
        program = Program(
            work_ms=work_ms,
            exit_code=draw.choice((0, 0, 0, 1)),
            stubborn=draw.randrange(100) < 10,
            fails_to_start=draw.randrange(100) < 3,
        )
        return WorkloadSpec(
            name=f"job-{self.made}",
            run=msgspec.json.encode(program).decode(),
            envs={"MARKER": request.marker},
            secrets=tuple(sorted(request.secrets)),
            demand=self._demand(),
            max_duration_ms=draw.choice((None, 1_000, 30_000, 120_000)),
            stop_grace_ms=draw.choice((0, 500, 5_000)),
            priority=draw.choice((-10, 0, 0, 0, 10, 100)),
            preemptible=draw.randrange(100) < 80,
            checkpoint=Checkpoint(grace_ms=1_000) if draw.randrange(100) < 20 else None,
            residency=self._residency(),
            budget_minor=draw.choice((None, None, None, 0, 50)),
        )

    def _service(self, spec: WorkloadSpec) -> WorkloadSpec:
        """The same as a service, whose program ends all the same, of a few names that are asked for again."""
        return msgspec.structs.replace(
            spec,
            name=f"service-{self.services.randrange(4)}",
            type=WorkloadType.SERVICE,
            service=Serving(replicas=self.services.randrange(1, 4)),
            demand=msgspec.structs.replace(spec.demand, nodes=1),
            max_duration_ms=None,
        )

    def _residency(self) -> Residency:
        if self.random.randrange(100) >= self.residency_percent:
            return Residency()
        return self.random.choice(
            (
                Residency(allow=(HERE, ELSEWHERE)),
                Residency(deny=(ELSEWHERE,)),
                Residency(deny=(HERE,)),
                Residency(allow=(ELSEWHERE,)),
                Residency(allow=(HERE,), deny=(HERE,)),
            )
        )

    def _demand(self) -> Demand:
        draw = self.random
        nodes = draw.choice((2, 2, 3)) if draw.randrange(100) < self.gang_percent else 1
        if draw.randrange(100) < self.too_large_percent:
            return Demand(nodes=nodes, options=(Shape(gpu_model="H100", gpus=64, cpus_milli=1_000),))
        if draw.randrange(100) >= self.gpu_percent:
            shape = Shape(cpus_milli=draw.choice((500, 1_000, 4_000)), memory_mib=draw.choice((512, 4_096)))
            return Demand(nodes=nodes, options=(shape,))
        gpus = draw.choice((1, 1, 2, 4, 8) if nodes == 1 else (1, 2, 4))
        model = draw.choice((*MODELS, ""))
        options = [
            Shape(gpu_model=model, gpus=gpus, cpus_milli=draw.choice((1_000, 2_000)), memory_mib=2_048)
        ]
        if draw.randrange(100) < 20:
            options.append(Shape(gpu_model="L40S", gpus=gpus * 2 if gpus < 4 else gpus, cpus_milli=1_000))
        return Demand(nodes=nodes, options=tuple(options))
