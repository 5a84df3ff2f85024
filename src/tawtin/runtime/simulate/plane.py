"""One life of the control plane, step by step: what the live loop does, with a fault possible between any two steps.

The steps are those of `runtime.live`: hear, decide, take, commit, answer, tell. Here each of them is a method
of its own, so that a world can let others act, or let the process die, between them.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec

from tawtin.core.admit import Submission, admit
from tawtin.model.events import NodePut, ReplicaRested, StopOrdered, SubmissionRefused, TenantPut
from tawtin.model.ids import RANDOM_BITS, make_id
from tawtin.model.reasons import Cause
from tawtin.ports import JournalError
from tawtin.runtime.rows import decode, load
from tawtin.runtime.simulate.engine import EngineDown

if TYPE_CHECKING:
    from collections.abc import Callable

    from tawtin.model.idempotency import Remembered
    from tawtin.model.resources import NodeHealth
    from tawtin.model.site import Site
    from tawtin.model.tenant import Tenant
    from tawtin.ports import Engine, Journal, Report, RunOrder
    from tawtin.runtime.factory import Effects, Factory, Step
    from tawtin.runtime.simulate.clients import Request
    from tawtin.runtime.simulate.words import SimClock, SimEntropy

METER_MS: Final = 5_000
TURNS_MAX: Final = 20
"""A loop that is not done by then does not settle."""


class Plane:
    """State, staged work, and everything that dies with the process."""

    def __init__(
        self,
        *,
        make: Callable[..., Factory],
        site: Site,
        journal: Journal,
        engine: Engine,
        clock: SimClock,
        entropy: SimEntropy,
        resumes: bool = True,
    ) -> None:
        """Start: read the journal, adopt what runs."""
        self.make = make
        self.site = site
        self.journal = journal
        self.engine = engine
        self.clock = clock
        self.entropy = entropy
        self.resumes = resumes
        self.inflight: Step | None = None
        self.waiting: list[Request] = []
        """Requests that are answered with the next transaction."""
        self.answering: list[Request] = []
        """Those that are answered with the one in flight."""
        self.effects: deque[Callable[[], None]] = deque()
        self.unconfirmed: list[Report] = []
        self.heard = 0
        self.passes = 0
        self._load()
        engine.open(lambda: None)
        self.see_nodes()
        if resumes:
            self.factory.resume()

    def _load(self) -> None:
        state = load(self.journal, self.site)
        self.factory = self.make(self.site, state, self.clock, meter_ms=METER_MS)

    @property
    def quiet(self) -> bool:
        """Whether the state in memory is what is durable."""
        return not self.factory.staged and self.inflight is None

    # --- the steps of the loop ----------------------------------------------------------------------------------

    def hear(self) -> None:
        """Take in what the engine says."""
        news = self.engine.reports()
        self.unconfirmed.extend(news)
        for report in news:
            self.factory.report(report)

    def decide(self) -> None:
        """Decide, if anything moved."""
        if self.factory.moved:
            self.passes += 1
            self.factory.tick()

    def take(self) -> None:
        """Take the next transaction."""
        if self.inflight is None:
            self.inflight = self.factory.take()
            if self.inflight is not None:
                self.answering, self.waiting = self.waiting, []
                self.heard = len(self.unconfirmed)

    def commit(self) -> JournalError | None:
        """Make it durable and answer who waits; or take everything back. What is told later is queued."""
        step = self.inflight
        if step is None:
            return None
        try:
            if step.batch.entries or step.batch.rows:
                self.journal.commit(step.batch)
        except JournalError as error:
            self._take_back(error)
            return error
        self.inflight = None
        del self.unconfirmed[: self.heard]
        answered, self.answering = self.answering, []
        for request in answered:
            request.answer()
        self.queue(step.effects)
        return None

    def queue(self, effects: Effects) -> None:
        """Line up what the engine is told."""
        for order in effects.ensure:
            self.effects.append(lambda order=order: self._ensure(order))
        for stop in effects.stop:
            self.effects.append(lambda stop=stop: self.engine.stop(stop.run, stop.cause, stop.grace_ms))
        for run in effects.forget:
            self.effects.append(lambda run=run: self.engine.forget(run))

    def _ensure(self, order: RunOrder) -> None:
        self.engine.ensure(msgspec.structs.replace(order, secrets=self.journal.secrets(order.workload)))

    def tell(self) -> None:
        """Tell the engine the next thing; if it does not answer, `again` will."""
        if self.effects:
            try:
                self.effects.popleft()()
            except EngineDown:
                return

    def settle(self) -> bool:
        """Turn the loop until nothing is staged; False if it does not come to an end."""
        for _ in range(TURNS_MAX):
            self.hear()
            self.decide()
            self.take()
            self.commit()
            while self.effects:
                self.tell()
            if self.quiet and not self.factory.moved:
                return True
        return False

    def _take_back(self, error: JournalError) -> None:
        self._load()
        self.inflight = None
        failed, self.answering, self.waiting = [*self.answering, *self.waiting], [], []
        for request in failed:
            request.fail(str(error))
        if self.resumes:
            self.factory.resume()
        for report in self.unconfirmed:
            self.factory.report(report)

    # --- what happens every so often ----------------------------------------------------------------------------

    def see_nodes(self) -> None:
        """Ask the engine for its nodes."""
        self.factory.see_nodes(self.engine.nodes())

    def again(self) -> None:
        """Look once more at whatever waits, and tell the engine again what it did not obey."""
        self.factory.again(self.factory.now_ms() - 10_000)
        if len(self.factory.state.workloads) > len(self.factory.state.runs):
            self.factory.moved = True

    # --- commands -----------------------------------------------------------------------------------------------

    def submit(self, request: Request) -> None:
        """Accept a submission, or refuse it; repeat the answer if it was given before."""
        state = self.factory.state
        known = self._remembered(request.tenant, request.key) if request.key else None
        if known is not None:
            request.workloads = known.workloads
            self._answer_when_durable(request)
            return
        now = self.factory.now_ms()
        service = request.spec.service
        count = service.replicas if service is not None else len(request.array or (0,))
        submission = Submission(
            tenant=request.tenant,
            key_id="key-sim",
            spec=request.spec,
            digest=request.digest,
            array=request.array,
            ids=tuple(make_id("wl", now, self.entropy.bits(RANDOM_BITS)) for _ in range(count)),
            array_id=make_id("ar", now, self.entropy.bits(RANDOM_BITS)) if request.array is not None else "",
            idempotency_key=request.key,
            request_sha256=request.digest,
        )
        event = admit(state, self.site, submission, now)
        self.factory.stage(event)
        if isinstance(event, SubmissionRefused):
            request.refusal = event.refusal
        else:
            request.workloads = tuple(workload.id for workload in event.workloads)
            for workload in event.workloads:
                self.factory.keep_secrets(workload.id, sorted(request.secrets.items()))
        self._answer_when_durable(request)

    def _remembered(self, tenant: str, key: str) -> Remembered | None:
        known = self.factory.state.remembered.get((tenant, key))
        if known is not None:
            return known
        body = self.journal.get("idempotency", f"{tenant}/{key}")
        return decode("idempotency", body) if body is not None else None

    def cancel(self, request: Request) -> None:
        """Ask for a workload's end."""
        live = self.factory.state.workloads.get(request.target)
        if live is not None and not live.cancel:
            self.factory.cancel(live, "key-sim")
        self._answer_when_durable(request)

    def rest(self, request: Request) -> None:
        """Let a replica of a service rest, or wake it."""
        live = self.factory.state.workloads.get(request.target)
        if live is not None and not live.cancel:
            self.factory.stage(ReplicaRested(workload=live.id, rests=not live.rests))
            run = self.factory.state.runs.get(self.factory.state.run_of.get(live.id, ""))
            if run is not None and run.stop is None and not live.rests:
                self.factory.stage(StopOrdered(run=run.id, cause=Cause.RESTED))
        self._answer_when_durable(request)

    def put_tenant(self, request: Request, tenant: Tenant) -> None:
        """Create or change a tenant."""
        known = self.factory.state.tenants.get(tenant.id)
        version = known.version + 1 if known is not None else 1
        self.factory.stage(TenantPut(tenant=msgspec.structs.replace(tenant, version=version)))
        self._answer_when_durable(request)

    def set_health(self, request: Request, health: NodeHealth) -> None:
        """Let an operator drain a node, or bring it back."""
        node = self.factory.state.nodes.get(request.target)
        if node is not None and node.health is not health:
            self.factory.stage(NodePut(node=msgspec.structs.replace(node, health=health)))
        self._answer_when_durable(request)

    def bring_back(self, request: Request) -> None:
        """Let an operator bring back what is in quarantine on a node."""
        for quarantine in list(self.factory.state.quarantines.values()):
            if quarantine.node == request.target and quarantine.out:
                self.factory.nodes.bring_back(quarantine, "key-sim")
        self._answer_when_durable(request)

    def _answer_when_durable(self, request: Request) -> None:
        if self.factory.staged:
            self.waiting.append(request)
        elif self.inflight is not None:
            self.answering.append(request)
        else:
            request.answer()
