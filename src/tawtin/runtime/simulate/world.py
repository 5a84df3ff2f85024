"""A factory, its machines, its clients and its bad luck, in virtual time.

First a safety phase: clients ask, faults happen, the control plane dies between any two steps, and checks look on.
Then a liveness phase: faults stop, people mend what only people can, and the factory has to come to rest.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from tawtin.core.explain import explain
from tawtin.model.base import Record
from tawtin.model.site import Site
from tawtin.model.workload import WorkloadType
from tawtin.ports import JournalError, Query
from tawtin.runtime.factory import Factory
from tawtin.runtime.rows import decode, load
from tawtin.runtime.simulate.asking import SimLedger
from tawtin.runtime.simulate.book import Book
from tawtin.runtime.simulate.clients import HERE, Generator
from tawtin.runtime.simulate.engine import SimEngine
from tawtin.runtime.simulate.faults import Weather, sites_nodes
from tawtin.runtime.simulate.host import Host
from tawtin.runtime.simulate.invariants import CHECKS
from tawtin.runtime.simulate.invariants.evidence import EvidenceCheck
from tawtin.runtime.simulate.plane import Plane
from tawtin.runtime.simulate.words import Crash, Invariant, SimClock, SimEntropy, Trace, Violation
from tawtin.store.memory import MemoryJournal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tawtin.core.state import State
    from tawtin.model.workload import Workload
    from tawtin.ports import Batch, RunOrder
    from tawtin.runtime.simulate.clients import Request
    from tawtin.runtime.simulate.invariants.base import Check


class Parts(Record, frozen=True, kw_only=True):
    """What a world is made of; tests put broken parts in."""

    factory: Any = Factory
    engine: Any = SimEngine
    plane: Any = Plane
    resumes: bool = True


class World:
    """Everything there is."""

    def __init__(self, seed: int, parts: Parts | None = None) -> None:
        """Draw a site, its machines and its weather from the seed."""
        self.seed = seed
        self.parts = parts or Parts()
        self.random = random.Random(seed)  # noqa: S311 - anyone can repeat it
        self.clock = SimClock()
        self.entropy = SimEntropy(random.Random(seed + 1))  # noqa: S311 - the same
        self.trace = Trace()
        self.site = Site(
            name="simulated",
            country=HERE,
            minor_per_gpu_hour={"H100": 36_000, "*": 7_001},
            minor_per_cpu_hour=self.random.choice((0, 100, 3_599)),
            types=(WorkloadType.JOB, WorkloadType.SERVICE),
            preemption=self.random.randrange(4) > 0,
            backoff_ms=self.random.choice((200, 1_000)),
            backoff_ms_max=4_000,
            run_guess_ms=60_000,
        )
        self.weather = Weather(self.random)
        self.host = Host(self.clock, sites_nodes(self.random))
        self.book = Book()
        self.journal = MemoryJournal(before=self._before, after=self._after)
        self.generator = Generator(self.random, random.Random(seed + 2))  # noqa: S311 - the same
        self.ledger = SimLedger(seed, self.clock, list(self.generator.tenants))
        self.checks: list[Check] = [check(self) for check in CHECKS]
        self.restored: State
        """The state that the rows give, of the moment of looking."""
        self.evidence = next(check for check in self.checks if isinstance(check, EvidenceCheck))
        self.host.on_start.append(lambda process: self._each("started", process))
        self.host.on_exit.append(lambda process: self._each("exited", process))
        self.host.on_token.append(self._token)
        self.outbox: list[tuple[int, Request]] = []
        """Requests that are sent, or sent again, at their time."""
        self.plane: Plane | None = None
        self.back_ms = 0
        """When the control plane is started again."""
        self.crashes = 0
        self.passes = 0
        self.fate = ""
        """What happens to the commit that is under way."""

    # --- what checks ask for ------------------------------------------------------------------------------------

    def stored(self) -> Iterator[bytes]:
        """Every byte that the journal keeps."""
        yield from self.journal.events(0, self.journal.head().size)
        for kind in ("workload", "idempotency", "artifact"):
            yield from self.journal.list(Query(kind=kind, limit=1_000_000))

    def workload(self, name: str) -> Workload:
        """A workload as its row has it."""
        body = self.journal.get("workload", name)
        if body is None:
            raise Violation(Invariant.LOSS, f"{name} is in the log and has no row")
        return decode("workload", body)

    def remembered(self, tenant: str, key: str) -> tuple[str, ...]:
        """What the row of an idempotency key says."""
        body = self.journal.get("idempotency", f"{tenant}/{key}")
        return decode("idempotency", body).workloads if body is not None else ()

    def alive(self) -> Plane:
        """The control plane, which is there."""
        if self.plane is None:
            msg = "the control plane is down"
            raise LookupError(msg)
        return self.plane

    @property
    def second(self) -> State:
        """The state that the committed events alone give."""
        return self.evidence.second

    def live_state(self) -> State | None:
        """The state in memory, if it is what is durable."""
        return self.plane.factory.state if self.plane is not None and self.plane.quiet else None

    def state(self) -> State:
        """The state in memory if that is durable, else the one from the rows."""
        return self.live_state() or load(self.journal, self.site)

    def undecided(self) -> bool:
        """Whether a pass has still to answer to what is durable."""
        return self.plane is None or not self.plane.quiet or self.plane.factory.moved

    def why(self, name: str) -> str:
        """Why a workload waits, by the factory's own account."""
        plane = self.plane
        workload = plane.factory.state.workloads.get(name) if plane is not None else None
        if plane is None or workload is None:
            return "nobody knows"
        factory = plane.factory
        run = factory.state.runs.get(factory.state.run_of.get(name, ""))
        if run is not None:
            return f"{run.id} is {run.state}, stop {run.stop}"
        view = explain(factory.state, factory.decision, name, factory.now_ms())
        return f"{view.reason}: {view.sentence}"

    # --- what happens to the journal ----------------------------------------------------------------------------

    def _before(self, batch: Batch) -> None:
        fate = self.weather.commit(self.clock.true_ms)
        self.fate = fate
        if fate == "full":
            raise JournalError("no space is left", full=True)
        if fate == "fails":
            raise JournalError("the disk does not answer")
        if fate == "dies":
            raise Crash

    def _after(self, batch: Batch) -> None:
        for entry in batch.entries:
            self._each("entry", entry)
            self.book.read(entry)
        self._each("batch", batch)
        if self.fate == "fails after":
            raise JournalError("the answer to the commit was lost")
        if self.fate == "dies after":
            raise Crash

    def _token(self, order: RunOrder) -> None:
        self._each("token", order)

    def _each(self, method: str, subject: object) -> None:
        for check in self.checks:
            getattr(check, method)(subject)

    def look(self) -> None:
        """Let every check look at everything, if nothing is on its way."""
        if self.plane is not None and self.plane.quiet:
            self.restored = load(self.journal, self.site)
            for check in self.checks:
                check.checkpoint()

    # --- the control plane's lives ------------------------------------------------------------------------------

    def start_plane(self) -> None:
        """Begin a life."""
        engine = self.parts.engine(self.host, self.random, self.weather.engine)
        self.plane = self.parts.plane(
            make=self.parts.factory,
            site=self.site,
            journal=self.journal,
            engine=engine,
            clock=self.clock,
            entropy=self.entropy,
            resumes=self.parts.resumes,
        )
        self.trace.note(self.clock, f"the control plane starts with {self.journal.head().size} entries")

    def crash(self, down_ms: int) -> None:
        """End a life at once. Who waits hears nothing, and asks again."""
        plane, self.plane = self.plane, None
        self.passes += plane.passes if plane is not None else 0
        self.crashes += 1
        self.back_ms = self.clock.true_ms + down_ms
        self.trace.note(self.clock, f"the control plane dies for {down_ms} ms")
        self.journal = self.journal.survivor()
        self.journal.before, self.journal.after = self._before, self._after
        for request in [*plane.answering, *plane.waiting] if plane is not None else ():
            request.fail("the connection broke")

    # --- clients ------------------------------------------------------------------------------------------------

    def send(self, request: Request) -> None:
        """Hand a request to the control plane, if it is there."""
        request.answer = lambda: self._answered(request)
        request.fail = lambda why: self._failed(request, why)
        request.tries += 1
        plane = self.plane
        if plane is None:
            request.fail("nobody answers")
        elif request.kind == "submit":
            plane.submit(request)
        elif request.kind == "cancel":
            plane.cancel(request)
        elif request.kind == "rest":
            plane.rest(request)
        elif request.kind == "tenant" and request.put is not None:
            plane.put_tenant(request, request.put)
        elif request.kind == "return":
            plane.bring_back(request)
        else:
            plane.set_health(request, request.health)

    def _answered(self, request: Request) -> None:
        if self.weather.answer_lost():
            self.trace.note(
                self.clock, f"the answer to {request.kind} {request.key or request.target} is lost"
            )
            self._repeat(request)
            return
        result = request.refusal or ", ".join(request.workloads) or request.target or request.tenant
        self.trace.note(self.clock, f"answered: {request.kind} {request.key} {result}")
        self._each("answered", request)

    def _failed(self, request: Request, why: str) -> None:
        self.trace.note(self.clock, f"failed: {request.kind} {request.key or request.target}: {why}")
        self._repeat(request)

    def _repeat(self, request: Request) -> None:
        """Ask again later; a submission without a key is given up, as it might be made twice."""
        request.refusal, request.workloads = None, ()
        if request.kind != "submit" or request.key:
            self.outbox.append((self.clock.true_ms + self.random.randrange(50, 3_000), request))

    def send_due(self) -> None:
        """Send what is due."""
        due = [request for due_ms, request in self.outbox if due_ms <= self.clock.true_ms]
        self.outbox = [pair for pair in self.outbox if pair[0] > self.clock.true_ms]
        for request in due:
            self.send(request)
