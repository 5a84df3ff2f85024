"""A factory behind a real socket, in a thread of its own: real service, real server, an engine that only pretends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tawtin.client import Client
from tawtin.core.residency import Judge
from tawtin.model.reasons import Cause
from tawtin.model.resources import Node
from tawtin.model.site import Site
from tawtin.model.tenant import Scope, Tenant
from tawtin.model.views import LogChunk, UsageSample
from tawtin.model.workload import Outcome, Usage
from tawtin.ports import Clock, Journal, Report, RunOrder
from tawtin.runtime.actor import Actor
from tawtin.runtime.live import LiveSettings
from tawtin.runtime.service import Service
from tawtin.runtime.system import SystemClock, SystemEntropy
from tawtin.store.blobs import LocalBlobs
from tawtin.store.memory import MemoryJournal
from tawtin.web.app import create_app
from tawtin.web.console.app import Console
from tawtin.web.console.settings import ConsoleSettings
from tawtin.web.console.table import PAGES
from tawtin.web.serve import serve
from tawtin.web.settings import WebSettings

T = TypeVar("T")
SITE = Site(name="casa", country="MA", currency="MAD")
NODE = Node(name="node-1", gpu_model="H100", gpus=8, cpus_milli=64_000, memory_mib=262_144)
PACE = LiveSettings(pass_gap_ms_max=50, nodes_every_ms=500)
WEB = WebSettings(port=0, poll_seconds=0.05, heartbeat_seconds=0.3, stop_seconds_max=2)
CONSOLE = ConsoleSettings(live_seconds=0.05)
JOB: dict[str, Any] = {"name": "digits", "run": "true", "resources": {"cpus": 1}}


class FakeEngine:
    """Starts nothing: a test says what each run writes and how it ends."""

    name = "local"

    def __init__(self) -> None:
        self.orders: dict[str, RunOrder] = {}
        self.output: dict[str, bytes] = {}
        self.dropped: dict[str, int] = {}
        self.used: dict[str, tuple[UsageSample, ...]] = {}
        self.over: set[str] = set()
        self.prompt = False
        """Whether each run ends as soon as it is ordered."""
        self._news: list[Report] = []
        self._wake: Callable[[], None] = lambda: None

    def open(self, wake: Callable[[], None]) -> None:
        self._wake = wake

    def isolated(self) -> bool:
        return True

    def notes(self) -> tuple[str, ...]:
        return ("this engine only pretends",)

    def nodes(self) -> tuple[Node, ...]:
        return (NODE,)

    def knows(self, run: str) -> bool:
        return run in self.orders

    def ensure(self, order: RunOrder) -> None:
        if order.run not in self.orders:
            self.orders[order.run] = order
            self._say(Report(run=order.run, started_ms=1_000))
            if self.prompt:
                self.end(order.run)

    def stop(self, run: str, cause: Cause, grace_ms: int) -> None:
        if run not in self.over:
            self.end(run, outcome=Outcome.CANCELLED, cause=cause)

    def write(self, run: str, text: bytes) -> None:
        self.output[run] = self.output.get(run, b"") + text

    def end(
        self,
        run: str,
        exit_code: int = 0,
        outcome: Outcome = Outcome.FINISHED,
        cause: Cause = Cause.COMPLETED,
    ) -> None:
        self.over.add(run)
        code = exit_code if outcome is Outcome.FINISHED else None
        usage = Usage(wall_ms=1_000, cpu_ms=500)
        self._say(
            Report(
                run=run,
                started_ms=1_000,
                ended_ms=2_000,
                outcome=outcome,
                cause=cause,
                exit_code=code,
                usage=usage,
            )
        )

    def _say(self, report: Report) -> None:
        self._news.append(report)
        self._wake()

    def started(self) -> dict[str, bool]:
        return {}

    def reports(self) -> list[Report]:
        news, self._news = self._news, []
        return news

    def forget(self, run: str) -> None:
        pass

    def log(self, run: str, offset: int, limit: int) -> LogChunk:
        output = self.output.get(run, b"")
        gone = self.dropped.get(run, 0)
        begin = max(0, len(output) + offset) if offset < 0 else min(offset, len(output))
        dropped = max(0, gone - begin) if offset >= 0 else 0
        begin = max(begin, gone)
        data = output[begin : begin + limit]
        end = run in self.over and begin + len(data) == len(output)
        return LogChunk(offset=begin, data=data, dropped=dropped, end=end)

    def samples(self, run: str) -> tuple[UsageSample, ...]:
        return self.used.get(run, ())

    def close(self) -> None:
        pass


class Factory:
    """A running factory as tests see it."""

    def __init__(
        self, service: Service, engine: FakeEngine, loop: asyncio.AbstractEventLoop, url: str
    ) -> None:
        self.service = service
        self.engine = engine
        self.url = url
        self._loop = loop
        self.admin = Actor(key="key-none", tenant="casa", scope=Scope.ADMIN, owner=True)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the factory's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def key(self, tenant: str, scope: Scope = Scope.TENANT, *, expires_ms: int | None = None) -> str:
        """Issue a key, and make its tenant if there is none."""
        if tenant not in self.service.state.tenants:
            self.do(self.service.put_tenant(self.admin, Tenant(id=tenant), create=True))
        return self.do(self.service.issue_key(self.admin, tenant, "", scope, expires_ms)).secret

    def client(self, tenant: str = "casa", scope: Scope = Scope.ADMIN) -> Client:
        """A client with a new key."""
        return Client(self.url, self.key(tenant, scope))

    def until(self, holds: Callable[[], bool], what: str = "it") -> None:
        """Wait until something holds, at most forty seconds."""
        ended = threading.Event()
        for _ in range(4_000):
            if holds():
                return
            ended.wait(0.01)
        raise AssertionError(f"{what} did not come to be")

    def started(self, workload: str, epoch: int = 1) -> str:
        """Wait until the engine has the run; return its name."""
        run = f"{workload}.{epoch}"
        self.until(lambda: run in self.engine.orders, f"the start of {run}")
        return run


async def _run(  # noqa: PLR0917 - called in one place
    journal: Journal,
    folder: Path,
    settings: WebSettings,
    stop: asyncio.Event,
    up: Callable[[Service, FakeEngine, str], None],
    engine: FakeEngine,
    judge: Judge | None,
    console: ConsoleSettings,
    clock: Clock,
) -> None:
    service = Service(
        site=SITE, journal=journal, engine=engine, clock=clock, entropy=SystemEntropy(), settings=PACE,
        blobs=LocalBlobs(folder / "blobs"), judge=judge,
    )  # fmt: skip
    await service.start()
    try:
        await service.found(Tenant(id="casa", name="the owner", network=True))
        await service.settle()
        pages = Console(service, console, folder, PAGES).routes()
        app = create_app(service, settings, pages=pages)
        await serve(app, settings, stop, lambda url: up(service, engine, url))
    finally:
        await service.stop()


@contextmanager
def running(
    folder: Path,
    *,
    settings: WebSettings = WEB,
    journal: Journal | None = None,
    engine: FakeEngine | None = None,
    judge: Judge | None = None,
    console: ConsoleSettings = CONSOLE,
    clock: Clock | None = None,
) -> Generator[Factory]:
    """A factory for the time of the block."""
    ready = threading.Event()
    found: list[Factory] = []
    failed: list[BaseException] = []
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    def up(service: Service, engine: FakeEngine, url: str) -> None:
        found.append(Factory(service, engine, loop, url))
        ready.set()

    def thread() -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(
                _run(
                    journal or MemoryJournal(),
                    folder,
                    settings,
                    stop,
                    up,
                    engine or FakeEngine(),
                    judge,
                    console,
                    clock or SystemClock(),
                )
            )
        except BaseException as error:  # noqa: BLE001 - is raised in the test's own thread
            failed.append(error)
        finally:
            ready.set()
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()

    runner = threading.Thread(target=thread, name="factory")
    runner.start()
    try:
        ready.wait(20)
        if failed:
            raise failed[0]
        yield found[0]
    finally:
        if not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)
        runner.join(20)
        if failed and found:
            raise failed[0]
