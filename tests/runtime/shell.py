"""A live factory for tests: a journal in memory that can be held up or break, and an engine that does as it is told."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from tawtin.model.reasons import Cause
from tawtin.model.resources import Demand, Node, Shape
from tawtin.model.site import Site
from tawtin.model.tenant import Scope, Tenant
from tawtin.model.views import LogChunk, UsageSample
from tawtin.model.workload import Outcome, Usage, WorkloadSpec
from tawtin.ports import Batch, Report, RunOrder
from tawtin.runtime.actor import Actor
from tawtin.runtime.live import LiveSettings
from tawtin.runtime.neighbours import Neighbours
from tawtin.runtime.readiness import ServingSettings
from tawtin.runtime.service import Service
from tawtin.runtime.system import SystemClock, SystemEntropy
from tawtin.store.memory import MemoryJournal

SITE = Site(name="casa", country="MA")
NODE = Node(name="node-1", gpu_model="H100", gpus=8, cpus_milli=64_000, memory_mib=262_144)
FAST = LiveSettings(pass_gap_ms_max=20, nodes_every_ms=40, ensure_again_ms=60, retry_ms=30, meter_ms=50)


class Gate:
    """Between the factory and its disk."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.reached = threading.Event()
        """Set when a commit has come to the gate."""
        self.errors: list[BaseException] = []
        """Raised by the next commits, before they take effect."""
        self.errors_after: list[BaseException] = []
        """Raised by the next commits, after they took effect."""
        self.commits = 0

    def before(self, batch: Batch) -> None:
        self.reached.set()
        assert self.open.wait(10), "the test never opened the gate"
        if self.errors:
            raise self.errors.pop(0)

    def after(self, batch: Batch) -> None:
        self.commits += 1
        if self.errors_after:
            raise self.errors_after.pop(0)

    def shut(self) -> None:
        self.reached.clear()
        self.open.clear()


class FakeEngine:
    """Starts nothing; the test says what becomes of each run."""

    name = "local"

    def __init__(self) -> None:
        self.ensured: list[RunOrder] = []
        self.stopped: list[tuple[str, Cause]] = []
        self.forgotten: list[str] = []
        self.raising: list[Exception] = []
        self.closed = False
        self.nodes_now: tuple[Node, ...] = (NODE,)
        self._news: list[Report] = []
        self._wake: Callable[[], None] = lambda: None

    def open(self, wake: Callable[[], None]) -> None:
        self._wake = wake

    def isolated(self) -> bool:
        return True

    def notes(self) -> tuple[str, ...]:
        return ()

    def nodes(self) -> tuple[Node, ...]:
        return self.nodes_now

    def knows(self, run: str) -> bool:
        return any(order.run == run for order in self.ensured)

    def ensure(self, order: RunOrder) -> None:
        if self.raising:
            raise self.raising.pop(0)
        self.ensured.append(order)

    def stop(self, run: str, cause: Cause, grace_ms: int) -> None:
        self.stopped.append((run, cause))

    def fuse_stop_ms(self) -> int | None:
        return None

    def extend(self, run: str, fuse_ms: int) -> None:
        pass

    def started(self) -> dict[str, bool]:
        return {}

    def reports(self) -> list[Report]:
        news, self._news = self._news, []
        return news

    def forget(self, run: str) -> None:
        self.forgotten.append(run)

    def log(self, run: str, offset: int, limit: int) -> LogChunk:
        return LogChunk(offset=offset, data=f"output of {run}".encode()[offset : offset + limit], end=True)

    def samples(self, run: str) -> tuple[UsageSample, ...]:
        return ()

    def close(self) -> None:
        self.closed = True

    def say(self, report: Report) -> None:
        self._news.append(report)
        self._wake()

    def finish(self, run: str, exit_code: int = 0) -> None:
        usage = Usage(wall_ms=1_000, cpu_ms=500)
        self.say(
            Report(
                run=run,
                started_ms=1_000,
                ended_ms=2_000,
                outcome=Outcome.FINISHED,
                cause=Cause.COMPLETED,
                exit_code=exit_code,
                usage=usage,
            )
        )


class Shell:
    """A running factory and what a test needs of it."""

    def __init__(self, service: Service, engine: FakeEngine, gate: Gate, journal: MemoryJournal) -> None:
        self.service = service
        self.engine = engine
        self.gate = gate
        self.journal = journal
        self.admin = Actor(key="key-none", tenant="casa", scope=Scope.ADMIN, owner=True)

    async def tenant(self, name: str, **fields: Any) -> Actor:  # noqa: ANN401 - fields of a Tenant
        """Make a tenant and a key of it that may submit."""
        await self.service.put_tenant(self.admin, Tenant(id=name, **fields), create=True)
        return await self.key(name)

    async def key(self, tenant: str, scope: Scope = Scope.SUBMIT) -> Actor:
        """Make a key, and return who holds it."""
        shown = await self.service.issue_key(self.admin, tenant, "", scope, None)
        actor = self.service.authenticate(shown.secret)
        assert actor is not None
        return actor

    async def submit(self, actor: Actor | None = None, **fields: Any) -> str:  # noqa: ANN401 - of `submit`
        """Submit a small job; return its id."""
        given: dict[str, Any] = {"spec": spec(), "digest": "d", **fields}
        submitted = await self.service.submit(actor or self.admin, **given)
        return submitted.workloads[0].id

    async def until(self, holds: Callable[[], bool], what: str = "it") -> None:
        """Wait until something holds, at most five seconds."""
        import asyncio

        for _ in range(500):
            if holds():
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"{what} did not come to be")

    async def placed(self, workload: str, epoch: int = 1) -> str:
        """Wait until the engine was told to start a run of the workload; return its name."""
        run = f"{workload}.{epoch}"
        await self.until(lambda: any(order.run == run for order in self.engine.ensured), f"start of {run}")
        return run

    async def phase(self, workload: str) -> str:
        """What a reader sees."""
        return (await self.service.view(self.admin, workload)).workload.phase.value


def spec(**fields: Any) -> WorkloadSpec:  # noqa: ANN401 - fields of a WorkloadSpec
    """A small job."""
    small = WorkloadSpec(name="job", run="true", demand=Demand(options=(Shape(),)))
    return msgspec.structs.replace(small, **fields)


@asynccontextmanager
async def running(
    *,
    journal: MemoryJournal | None = None,
    settings: LiveSettings = FAST,
    site: Site = SITE,
    neighbours: Neighbours | None = None,
    serving: ServingSettings | None = None,
) -> AsyncGenerator[Shell]:
    """A factory that runs, with its owner's tenant."""
    gate, engine = Gate(), FakeEngine()
    journal = journal or MemoryJournal()
    journal.before, journal.after = gate.before, gate.after
    service = Service(
        site=site,
        journal=journal,
        engine=engine,
        clock=SystemClock(),
        entropy=SystemEntropy(),
        settings=settings,
        neighbours=neighbours,
        serving=serving,
        blobs=None,  # pyright: ignore[reportArgumentType] - no test here keeps artifacts
    )
    await service.start()
    try:
        await service.found(Tenant(id="casa", name="the owner"))
        await service.settle()
        yield Shell(service, engine, gate, journal)
    finally:
        gate.open.set()
        await service.stop()


def in_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run an async test on a loop of its own; what is left running on it is a failure of the test."""
    import asyncio
    import functools

    @functools.wraps(test)
    def run() -> None:
        asyncio.run(asyncio.wait_for(test(), 30), debug=False)

    del run.__wrapped__  # type: ignore[attr-defined] - pytest would take it for a coroutine
    return run
