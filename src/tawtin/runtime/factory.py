"""One factory's state machine, without threads and without waiting.

Commands, engine reports and ticks become entries, which are folded into the state at once and staged. `take` hands out
what was staged as one transaction, with what the engine is to be told once that transaction is durable. Live
(`service`) and simulated (`simulate`) factories drive this same object; only what waits and what fails differs.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from typing import TYPE_CHECKING

from tawtin.core import charges, health
from tawtin.core.datasets import made_again
from tawtin.core.decide import decide
from tawtin.core.fold import fold
from tawtin.core.outcome import of_spec
from tawtin.model.artifact import Artifact
from tawtin.model.base import Record
from tawtin.model.events import (
    ArtifactKept,
    CancelAsked,
    Entry,
    Event,
    FilesCrossed,
    RunEnded,
    RunMetered,
    RunPlaced,
    RunStarted,
    StopOrdered,
    TokensCharged,
    VerdictsLapsed,
    WorkloadsSubmitted,
)
from tawtin.model.health import BurnIn
from tawtin.model.ids import run_id, workload_of
from tawtin.model.reasons import Cause
from tawtin.model.roaming import Message
from tawtin.model.workload import Outcome, Run, RunState, Usage
from tawtin.ports import Batch, RunOrder
from tawtin.runtime.nodes import Nodes
from tawtin.runtime.rows import rows_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tawtin.core.decide import Decision
    from tawtin.core.state import State
    from tawtin.model.gateway import Charge
    from tawtin.model.money import Rate
    from tawtin.model.resources import Node, Placement, Shape, Slot
    from tawtin.model.site import Site
    from tawtin.model.workload import Kept, Workload
    from tawtin.ports import Clock, Report
    from tawtin.runtime.roaming import Roaming

log = logging.getLogger("tawtin.factory")


class StopRequest(Record, frozen=True, kw_only=True):
    """A run that the engine is to end."""

    run: str
    cause: Cause
    grace_ms: int


class Effects(Record, frozen=True, kw_only=True):
    """What the engine is told after a transaction is durable, in this order. All of it is idempotent."""

    ensure: tuple[RunOrder, ...] = ()
    stop: tuple[StopRequest, ...] = ()
    forget: tuple[str, ...] = ()
    extend: tuple[tuple[str, int], ...] = ()
    """Runs whose lease goes on, and until when."""
    send: tuple[tuple[str, Message], ...] = ()
    """Messages to peers. Each may be lost: what has to arrive is sent again."""


class Step(Record, frozen=True, kw_only=True):
    """One transaction, and what follows from it."""

    batch: Batch
    effects: Effects
    subjects: tuple[str, ...] = ()
    """Workloads that something happened to."""


class Factory:
    """State, what is staged, and the rules of what follows from what."""

    def __init__(
        self, site: Site, state: State, clock: Clock, *, meter_ms: int = 60_000, burn_in: BurnIn | None = None
    ) -> None:
        """Drive `state` by `clock`; running usage is recorded every `meter_ms`."""
        self.site = site
        self.state = state
        self.clock = clock
        self.meter_ms = meter_ms
        self.decision: Decision | None = None
        self.moved = True
        """Something happened that the next pass of `decide` may answer to."""
        self.roaming: Roaming | None = None
        """What speaks with peers, if this factory has any."""
        self.nodes = Nodes(self, burn_in or BurnIn())
        self._metered_ms: dict[str, int] = {}
        self._anchor = (state.time_ms, clock.monotonic_ms())
        """A recorded time and what the monotonic clock showed then; where a clock that stepped back is made up for."""
        self._clear()

    def _clear(self) -> None:
        self._entries: list[Entry] = []
        self._secrets_put: list[tuple[str, str, str]] = []
        self._secrets_drop: list[str] = []
        self._ensure: list[RunOrder] = []
        self._stop: list[StopRequest] = []
        self._forget: list[str] = []
        self._subjects: dict[str, None] = {}

    # --- time and staging ---------------------------------------------------------------------------------------

    def now_ms(self) -> int:
        """The time of the next entry: the clock's, but never before what is recorded already.

        While the clock is behind what is recorded (it was set back), time goes on at half speed until the clock has
        caught up, so that pauses and limits still come to their end.
        """
        now, tick = self.clock.now_ms(), self.clock.monotonic_ms()
        anchor_ms, anchor_tick = self._anchor
        slowed = anchor_ms + (tick - anchor_tick) // 2
        if now >= slowed:
            self._anchor = (now, tick)
        return max(now, slowed, self.state.time_ms)

    @property
    def staged(self) -> bool:
        """Whether `take` has something to hand out."""
        talks = self.roaming is not None and self.roaming.talks
        return bool(self._entries or self._forget or self._stop or self._ensure or talks)

    def stage(self, *events: Event) -> None:
        """Fold these events and stage them for the next transaction."""
        for event in events:
            self._stage_one(event)

    def _stage_one(self, event: Event) -> None:
        state = self.state
        workload_id = subject_of(event)
        before = state.workloads.get(workload_id) if workload_id else None
        entry = Entry(seq=state.seq, at_ms=self.now_ms(), event=event)
        fold(state, entry)
        self._entries.append(entry)
        if workload_id:
            self._subjects[workload_id] = None
        if before is not None and before.spec.secrets and workload_id not in state.workloads:
            self._secrets_drop.append(workload_id)
        if isinstance(event, WorkloadsSubmitted):
            self._subjects.update((workload.id, None) for workload in event.workloads)
        elif isinstance(event, RunPlaced) and not event.run.factory:
            self._ensure.append(self.order(event.run))
        elif isinstance(event, StopOrdered):
            self._order_stop(state.runs[event.run])
        elif isinstance(event, RunEnded) and event.close is None:
            self._forget.append(event.run)
            self._metered_ms.pop(event.run, None)
        if not isinstance(event, RunStarted | RunMetered | ArtifactKept | FilesCrossed | TokensCharged):
            self.moved = True

    def _order_stop(self, run: Run) -> None:
        if not run.factory:
            self._stop.append(self.stop_request(run))
        elif self.roaming is not None:
            self.roaming.stop(run)

    def keep_secrets(self, workload: str, values: Iterable[tuple[str, str]]) -> None:
        """Stage secret values beside the workload that was just submitted."""
        self._secrets_put.extend((workload, name, value) for name, value in values)

    def take(self) -> Step | None:
        """Hand out what was staged since the last call, or None."""
        if not self.staged:
            return None
        stopping = {stop.run for stop in self._stop}
        send, extend = self.roaming.take() if self.roaming is not None else ((), ())
        step = Step(
            batch=Batch(
                entries=tuple(self._entries),
                rows=rows_of(self.state.take_changed()),
                secrets_put=tuple(self._secrets_put),
                secrets_drop=tuple(self._secrets_drop),
            ),
            effects=Effects(
                ensure=tuple(each for each in self._ensure if each.adopt or each.run not in stopping),
                stop=tuple(self._stop),
                forget=tuple(self._forget),
                extend=extend,
                send=send,
            ),
            subjects=tuple(self._subjects),
        )
        self._clear()
        return step

    # --- after a start --------------------------------------------------------------------------------------------

    def resume(self) -> None:
        """Tell the engine again everything that should be so: after a start, nobody knows what it was told."""
        for run in list(self.state.runs.values()):
            self.tell_again(run)
        if self.roaming is not None:
            self.roaming.resume()

    def again(self, before_ms: int) -> None:
        """Tell the engine again of runs that were placed, or ordered to stop, before this time and did not obey yet."""
        for run in self.state.runs.values():
            asked_ms = run.placed_ms if run.stop is None else (run.stop_asked_ms or 0)
            unsure = run.stop is not None or run.state is RunState.PLACED or self._is_adopted(run)
            if asked_ms < before_ms and unsure:
                self.tell_again(run)

    def tell_again(self, run: Run) -> None:
        """A run that is to stop is not started for that; an engine that never heard of it says so and ends it.

        One that was placed before the store was put back may have ended since: the engine says how, and starts nothing.
        """
        if run.factory:
            return
        if run.stop is None or self._is_adopted(run):
            self._ensure.append(self.order(run))
        if run.stop is not None:
            self._stop.append(self.stop_request(run))

    def _is_adopted(self, run: Run) -> bool:
        restored = self.state.restored
        return restored is not None and run.placed_ms <= restored.at_ms

    def order(self, run: Run) -> RunOrder:
        """What the engine needs to start this run; secret values are added by whoever may read them."""
        workload = self.state.workloads[run.workload]
        array = workload.array
        return RunOrder(
            run=run.id,
            workload=run.workload,
            tenant=run.tenant,
            tenant_number=self.state.tenants[run.tenant].number,
            epoch=run.epoch,
            spec=workload.spec,
            shape=run.shape,
            slots=run.slots,
            gpus_declared=run.usage.gpus_declared,
            array_index=array.index if array else None,
            array_size=array.size if array else None,
            array_id=array.id if array else "",
            replica=workload.service.replica if workload.service else None,
            fuse_ms=self.roaming.fuse_ms(run.id) if self.roaming is not None else None,
            adopt=self._is_adopted(run),
        )

    def stop_request(self, run: Run) -> StopRequest:
        """What the engine is told about a run that was ordered to stop."""
        grace_ms = self.state.workloads[run.workload].spec.stop_grace_ms
        return StopRequest(run=run.id, cause=run.stop or Cause.CANCELLED, grace_ms=grace_ms)

    # --- the pass -------------------------------------------------------------------------------------------------

    def tick(self) -> Decision:
        """Decide once on the present state, and stage what was decided."""
        self.moved = False
        if self.state.lapsed(self.now_ms()):
            self.stage(VerdictsLapsed())
        promised = self.roaming.promised() if self.roaming is not None else ()
        decision = decide(self.state, self.now_ms(), promised=promised)
        for stop in decision.stops:
            self.stage(StopOrdered(run=stop.run, cause=stop.cause, for_workload=stop.for_workload))
        for placement in decision.placements:
            self.stage(RunPlaced(run=self._run(placement)))
        if self.roaming is not None:
            self.roaming.ask(decision)
        self.moved = False
        self.decision = decision
        return decision

    def _run(self, placement: Placement) -> Run:
        workload = self.state.workloads[placement.workload]
        node = self.state.nodes[placement.slots[0].node]
        rate = self.site.rate(node.gpu_model if placement.shape.gpus else "")
        return self.run_on(workload, placement.shape, placement.slots, node, rate)

    def run_on(
        self, workload: Workload, shape: Shape, slots: tuple[Slot, ...], node: Node, rate: Rate
    ) -> Run:
        """The next run of a workload, here; `node` is that of its first slot."""
        epoch = workload.epoch_last + 1
        held = shape.gpus > 0
        usage = Usage(gpu_model=node.gpu_model if held else "", gpus_declared=node.gpus_declared and held)
        return Run(
            id=run_id(workload.id, epoch),
            workload=workload.id,
            tenant=workload.tenant,
            epoch=epoch,
            shape=shape,
            slots=slots,
            rate=rate,
            placed_ms=self.now_ms(),
            usage=usage,
        )

    def next_due_ms(self) -> int | None:
        """The earliest time by the monotonic clock at which time alone gives a pass, or peers, something to do."""
        state, roaming = self.state, self.roaming
        # a pause that was over at the last pass has had its chance; what else has to happen will be an entry
        seen_ms = self.decision.now_ms if self.decision is not None else 0
        over = bisect_left(state.queues.delayed, (seen_ms + 1, ""))
        times = [at_ms for at_ms, _ in (*state.queues.delayed[over : over + 1], *state.lapses[:1])]
        lag_ms = self.clock.monotonic_ms() - self.now_ms()
        times = [at_ms + lag_ms for at_ms in times]
        peers_ms = roaming.next_due_ms() if roaming is not None else None
        return min((*times, *(() if peers_ms is None else (peers_ms,))), default=None)

    # --- commands -------------------------------------------------------------------------------------------------

    def cancel(self, workload: Workload, by: str) -> None:
        """Ask for a workload's end: at once if it waits, through the engine if it runs."""
        if not workload.cancel:
            self.stage(CancelAsked(workload=workload.id, by=by))
        run = self.state.run_of.get(workload.id)
        if run is not None and self.state.runs[run].stop is None:
            self.stage(StopOrdered(run=run, cause=Cause.CANCELLED))

    def charge(self, charge: Charge, instead_of: str = "") -> bool:
        """Charge what a ledger settled, if it continues what is charged; whether it did."""
        if not charges.continues(self.state, charge):
            return False
        self.stage(TokensCharged(charge=charge, instead_of=instead_of))
        return True

    # --- what engines say -----------------------------------------------------------------------------------------

    def report(self, report: Report) -> None:
        """Take in what an engine says of a run; the same report twice changes nothing."""
        run = self.state.runs.get(report.run)
        for node in report.nodes:
            self.nodes.hear(node)
        if run is None:
            self._report_unknown(report)
            return
        if report.started_ms is not None and run.state is RunState.PLACED:
            self.stage(RunStarted(run=run.id, started_ms=report.started_ms, address=report.address))
        if report.ended_ms is None:
            self._meter(run, report)
            return
        spec = self.state.workloads[run.workload].spec
        outcome = of_spec(report.outcome or Outcome.INTERRUPTED, spec)
        cause = report.cause or Cause.SUPERVISOR_LOST
        sick_ms = health.fault_ms(self.state, run) if outcome is not Outcome.FINISHED else None
        usage = report.usage
        if sick_ms is not None:
            usage = health.charged(usage, run, report.ended_ms, sick_ms)
        ended = RunEnded(
            run=run.id,
            outcome=outcome,
            cause=cause,
            exit_code=report.exit_code,
            message=report.message,
            started_ms=report.started_ms,
            ended_ms=report.ended_ms,
            usage=usage,
            outputs=report.outputs,
        )
        kept = self.kept(run, report.outputs)
        guest = self.roaming.ended(run, ended) if self.roaming is not None else ()
        self.stage(ended, *kept, *guest, *self.nodes.after(run, ended))

    def kept(self, run: Run, outputs: Iterable[Kept]) -> list[ArtifactKept]:
        """A run's outputs as artifacts of its tenant; those of a peer are here too, unless they may not be."""
        workload = self.state.workloads[run.workload]
        law, *more = workload.spec.data.restricted
        here = not run.factory or self.state.verdict(workload, self.site, self.now_ms()).allowed
        made = (
            Artifact(
                id=output.artifact,
                tenant=run.tenant,
                name=output.name,
                data_class=law.data_class,
                origin=law.origin,
                more=tuple(more),
                size_bytes=output.size_bytes,
                run=run.id,
                created_ms=self.now_ms(),
                places=(run.factory,) if run.factory else (),
                here=here,
            )
            for output in outputs
        )
        held = self.state.artifacts
        return [ArtifactKept(artifact=made_again(held.get((each.tenant, each.id)), each)) for each in made]

    def _report_unknown(self, report: Report) -> None:
        if report.ended_ms is not None:
            self._forget.append(report.run)
            return
        log.error("run %s is alive but not recorded: it is stopped", report.run)
        self._stop.append(StopRequest(run=report.run, cause=Cause.CANCELLED, grace_ms=0))

    def _meter(self, run: Run, report: Report) -> None:
        now = self.clock.monotonic_ms()
        last = self._metered_ms.setdefault(run.id, now)
        if now - last >= self.meter_ms and report.usage != run.usage:
            self._metered_ms[run.id] = now
            self.stage(RunMetered(run=run.id, usage=report.usage))

    def see_nodes(self, nodes: Iterable[Node]) -> None:
        """Take in which nodes there are now, of all engines."""
        self.nodes.see(nodes)


def subject_of(event: Event) -> str:
    """The workload that an event is about, if it is about one."""
    if isinstance(event, CancelAsked):
        return event.workload
    if isinstance(event, RunPlaced):
        return event.run.workload
    if isinstance(event, RunStarted | RunMetered | StopOrdered | RunEnded):
        return workload_of(event.run)
    return ""
