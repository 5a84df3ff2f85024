"""Each invariant's check finds the mistakes that it is there to find: each is planted here, in production code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec
import pytest

from tawtin.core import accounts, charges, health
from tawtin.core import decide as deciding
from tawtin.core import fold as folding
from tawtin.core.admit import Submission
from tawtin.core.decide import Decision
from tawtin.core.queues import Queues
from tawtin.core.residency import Judge
from tawtin.core.seats import Held, Seat
from tawtin.core.state import State
from tawtin.model.events import CancelAsked, Event, ReplicaRested, RunEnded, RunPlaced, SubmissionRefused
from tawtin.model.reasons import Cause
from tawtin.model.resources import Node, Placement
from tawtin.model.rules import Verdict
from tawtin.model.site import Site
from tawtin.model.tenant import Account
from tawtin.model.workload import Outcome, Phase, Run, Workload
from tawtin.ports import Report, RunOrder
from tawtin.runtime import factory as factories
from tawtin.runtime.factory import Factory, Step
from tawtin.runtime.simulate import Failed, Invariant, Parts, Quiet, simulate
from tawtin.runtime.simulate import plane as planes
from tawtin.runtime.simulate.clients import Request
from tawtin.runtime.simulate.engine import SimEngine
from tawtin.runtime.simulate.history import Driver
from tawtin.runtime.simulate.plane import Plane

SEEDS = 40
Patch = pytest.MonkeyPatch


def first_failure(parts: Parts | None = None, driver: type[Driver] = Driver) -> Failed:
    """Go through histories until one fails."""
    for seed in range(SEEDS):
        try:
            simulate(seed, parts=parts, driver=driver)
        except Failed as failed:
            print(str(failed).splitlines()[0])
            return failed
    pytest.fail(f"{SEEDS} histories went by and nobody noticed")


def caught(parts: Parts | None = None) -> Invariant:
    """Go through histories until one fails; return which invariant was named."""
    return first_failure(parts).invariant


def _always(answer: object) -> Callable[..., object]:
    def say(*_: object, **__: object) -> object:
        return answer

    return say


# --- 1 residency -----------------------------------------------------------------------------------------------------


def test_residency_notices_an_admission_that_ignores_deny(monkeypatch: Patch):
    said = Verdict(allowed=True, rule="none", sentence="everything may be anywhere")
    monkeypatch.setattr(Judge, "verdict", _always(said))
    assert caught() is Invariant.RESIDENCY


def test_residency_notices_a_queue_that_ignores_a_narrowed_wish(monkeypatch: Patch):
    monkeypatch.setattr(State, "lawful", _always(True))
    assert caught() is Invariant.RESIDENCY


def test_residency_notices_bytes_of_a_refused_submission_in_the_log(monkeypatch: Patch):
    admit = planes.admit

    def telling(state: State, site: Site, submission: Submission, now_ms: int) -> Event:
        event = admit(state, site, submission, now_ms)
        if isinstance(event, SubmissionRefused):
            return msgspec.structs.replace(event, sentence=f"{event.sentence} {submission.spec.envs}")
        return event

    monkeypatch.setattr(planes, "admit", telling)
    assert caught() is Invariant.RESIDENCY


def test_residency_notices_secrets_that_outlive_their_workload():
    class Keeping(Factory):
        def take(self) -> Step | None:
            self._secrets_drop.clear()
            return super().take()

    assert caught(Parts(factory=Keeping)) is Invariant.RESIDENCY


# --- 2 at most one execution -----------------------------------------------------------------------------------------


def test_execution_notices_an_engine_without_start_tokens():
    class Forgetful(SimEngine):
        def ensure(self, order: RunOrder) -> None:
            known = self.host.processes.get(order.run)
            if known is not None and known.alive:
                self.host.begin(known, self.host.clock.true_ms)
            super().ensure(order)

    assert caught(Parts(engine=Forgetful)) is Invariant.EXECUTION


def test_execution_notices_effects_that_are_told_before_the_commit():
    class Hasty(Plane):
        def take(self) -> None:
            before = self.inflight
            super().take()
            if self.inflight is not None and self.inflight is not before:
                self.queue(self.inflight.effects)

    assert caught(Parts(plane=Hasty)) is Invariant.EXECUTION


def test_execution_notices_a_cancelled_workload_that_is_started_again(monkeypatch: Patch):
    cancel_asked, placed = folding._FOLDS[CancelAsked], folding._FOLDS[RunPlaced]

    def forgetting(state: State, event: CancelAsked, at_ms: int) -> None:
        workload = state.workloads[event.workload]
        if workload.phase is not Phase.PLACED:
            cancel_asked(state, event, at_ms)

    monkeypatch.setitem(folding._FOLDS, CancelAsked, forgetting)
    monkeypatch.setitem(folding._FOLDS, RunPlaced, placed)
    assert caught() is Invariant.EXECUTION


def test_execution_notices_a_replica_that_is_started_while_it_rests(monkeypatch: Patch):
    monkeypatch.setitem(folding._FOLDS, ReplicaRested, _always(None))
    assert caught() is Invariant.EXECUTION


def test_execution_notices_an_interrupted_run_that_keeps_its_epoch(monkeypatch: Patch):
    placed = folding._FOLDS[RunPlaced]

    def lenient(state: State, event: RunPlaced, at_ms: int) -> None:
        workload = state.workloads[event.run.workload]
        lower = msgspec.structs.replace(workload, epoch=event.run.epoch - 1)
        state.workloads[workload.id] = lower
        placed(state, event, at_ms)

    class Keeping(Factory):
        def _run(self, placement: Placement) -> Run:
            run = super()._run(placement)
            return msgspec.structs.replace(run, id=f"{run.workload}.1", epoch=1)

    monkeypatch.setitem(folding._FOLDS, RunPlaced, lenient)
    assert caught(Parts(factory=Keeping)) is Invariant.EXECUTION


def test_execution_notices_an_end_that_its_machine_does_not_know_of():
    class Guessing(Factory):
        def report(self, report: Report) -> None:
            if report.ended_ms is not None and report.exit_code == 1:
                report = msgspec.structs.replace(report, exit_code=0)
            super().report(report)

    assert caught(Parts(factory=Guessing)) is Invariant.EXECUTION


# --- 3 nothing accepted is lost --------------------------------------------------------------------------------------


def test_loss_notices_an_answer_before_the_commit():
    class Eager(Plane):
        def _answer_when_durable(self, request: Request) -> None:
            request.answer()

    assert caught(Parts(plane=Eager)) is Invariant.LOSS


def test_loss_notices_a_restart_without_resume():
    assert caught(Parts(resumes=False)) is Invariant.LOSS


def test_loss_notices_a_repeated_request_that_is_taken_for_a_new_one():
    class Amnesiac(Plane):
        def _remembered(self, tenant: str, key: str) -> None:
            return None

    assert caught(Parts(plane=Amnesiac)) is Invariant.LOSS


def test_loss_notices_an_engine_that_is_never_told_again():
    class Once(Factory):
        def again(self, before_ms: int) -> None:
            """Trust that whatever was told was heard."""

    assert caught(Parts(factory=Once)) is Invariant.LOSS


def test_loss_notices_a_pause_that_ends_only_with_the_next_event_where_no_event_comes(monkeypatch: Patch):
    plain = deciding._Pass._line_up

    def forgetful(self: deciding._Pass, also: tuple[Workload, ...]) -> object:
        with monkeypatch.context() as patch:
            patch.setattr(Queues, "due", _always([]))
            return plain(self, also)

    monkeypatch.setattr(deciding._Pass, "_line_up", forgetful)
    failed = first_failure(driver=Quiet)
    assert failed.invariant is Invariant.LOSS
    assert f"--seed {failed.seed} --quiet" in str(failed)


def test_loss_notices_a_replica_of_a_service_whose_end_is_taken_for_its_services(monkeypatch: Patch):
    after_run = folding.after_run

    def ending(state: State, workload: Workload, event: RunEnded, at_ms: int, spent: int) -> Workload:
        after = after_run(state, workload, event, at_ms, spent)
        if workload.service is None or event.cause is not Cause.COMPLETED:
            return after
        return msgspec.structs.replace(after, phase=Phase.FAILED, finished_ms=at_ms)

    monkeypatch.setattr(folding, "after_run", ending)
    assert caught() is Invariant.LOSS


def test_execution_notices_a_service_that_is_said_to_have_finished(monkeypatch: Patch):
    monkeypatch.setattr(factories, "of_spec", _always(Outcome.CANCELLED))
    assert caught() is Invariant.EXECUTION


# --- 4 every millisecond is charged once -----------------------------------------------------------------------------


def test_usage_notices_a_fold_that_charges_twice(monkeypatch: Patch):
    charge = folding._charge

    def twice(state: State, run: Run) -> None:
        charge(state, run)
        if run.epoch > 1:
            charge(state, run)

    monkeypatch.setattr(folding, "_charge", twice)
    assert caught() is Invariant.USAGE


def test_usage_notices_a_report_that_is_charged_at_every_meter_reading(monkeypatch: Patch):
    ended = folding._FOLDS[RunEnded]

    def generous(state: State, event: RunEnded, at_ms: int) -> None:
        usage = msgspec.structs.replace(event.usage, gpu_ms=event.usage.gpu_ms + event.usage.wall_ms % 2)
        ended(state, msgspec.structs.replace(event, usage=usage), at_ms)

    monkeypatch.setitem(folding._FOLDS, RunEnded, generous)
    assert caught() is Invariant.USAGE


def test_usage_notices_what_an_interrupted_run_used_and_nobody_charged(monkeypatch: Patch):
    charge = folding._charge

    def forgiving(state: State, run: Run) -> None:
        if run.exit_code is not None:
            charge(state, run)

    monkeypatch.setattr(folding, "_charge", forgiving)
    assert caught() is Invariant.USAGE


def test_usage_notices_a_charge_of_the_gateway_that_is_taken_twice(monkeypatch: Patch):
    monkeypatch.setattr(charges, "continues", _always(True))
    assert caught() is Invariant.USAGE


def test_usage_notices_a_run_that_takes_the_place_of_what_models_cost(monkeypatch: Patch):
    charged = accounts.charged

    def forgetting(state: State, run: Run) -> Account:
        account = charged(state, run)
        places = {name: msgspec.structs.replace(each, requests=0) for name, each in account.places.items()}
        return msgspec.structs.replace(account, places=places)

    monkeypatch.setattr(accounts, "charged", forgetting)
    assert caught() is Invariant.USAGE


# --- 4 limits --------------------------------------------------------------------------------------------------------


def test_limits_notice_a_gpu_that_is_handed_out_twice(monkeypatch: Patch):
    take = Seat.take

    def forgetting(self: Seat, held: Held) -> None:
        mask = self.mask
        take(self, held)
        self.mask, self.gpus = mask, mask.bit_count()

    monkeypatch.setattr(Seat, "take", forgetting)
    assert caught() is Invariant.LIMITS


def test_limits_notice_a_sick_node_that_gets_work(monkeypatch: Patch):
    settle = Seat.settle

    def trusting(self: Seat, node: Node | None) -> None:
        settle(self, node)
        self.ready = node is not None

    monkeypatch.setattr(Seat, "settle", trusting)
    assert caught() is Invariant.LIMITS


def test_limits_notice_a_sick_gpu_that_is_handed_out(monkeypatch: Patch):
    settle = Seat.settle

    def trusting(self: Seat, node: Node | None) -> None:
        settle(self, msgspec.structs.replace(node, gpus_sick=()) if node is not None else None)

    monkeypatch.setattr(Seat, "settle", trusting)
    assert caught() is Invariant.LIMITS


def test_limits_notice_a_quota_that_is_not_counted(monkeypatch: Patch):
    hold = State.hold

    def forgetting(self: State, run: Run, workload: Workload) -> None:
        hold(self, run, workload)
        self.holdings[run.tenant].gpus = 0

    monkeypatch.setattr(State, "hold", forgetting)
    assert caught() is Invariant.LIMITS


# --- 6 evidence ------------------------------------------------------------------------------------------------------


def test_evidence_notices_a_row_without_its_event():
    class Quiet(Factory):
        def take(self) -> Step | None:
            for workload in self.state.workloads.values():
                if workload.epoch == 2:
                    self.state.changed["workload", workload.id] = msgspec.structs.replace(
                        workload, message="!"
                    )
                    break
            return super().take()

    assert caught(Parts(factory=Quiet)) is Invariant.EVIDENCE


def test_evidence_notices_a_transaction_that_drops_an_entry():
    class Dropping(Factory):
        def take(self) -> Step | None:
            step = super().take()
            if step is None or len(step.batch.entries) < 3:
                return step
            batch = msgspec.structs.replace(step.batch, entries=step.batch.entries[:-1])
            return msgspec.structs.replace(step, batch=batch)

    assert caught(Parts(factory=Dropping)) is Invariant.EVIDENCE


def test_evidence_notices_a_transaction_that_drops_a_row():
    class Dropping(Factory):
        def take(self) -> Step | None:
            step = super().take()
            if step is None:
                return None
            rows = tuple(row for row in step.batch.rows if row.kind != "account")
            return msgspec.structs.replace(step, batch=msgspec.structs.replace(step.batch, rows=rows))

    assert caught(Parts(factory=Dropping)) is Invariant.EVIDENCE


def test_evidence_notices_a_state_that_is_changed_behind_the_log():
    class Meddling(Factory):
        def report(self, report: Report) -> None:
            super().report(report)
            run = self.state.runs.get(report.run)
            if run is not None and run.started_ms is not None:
                self.state.runs[run.id] = msgspec.structs.replace(run, message="seen")

    assert caught(Parts(factory=Meddling)) is Invariant.EVIDENCE


# --- sick GPUs -------------------------------------------------------------------------------------------------------


def test_limits_notice_a_gpu_in_quarantine_that_is_offered(monkeypatch: Patch):
    def all_of_it(node: Node, quarantines: object) -> Node:
        return node

    monkeypatch.setattr(health, "offered", all_of_it)
    assert caught() is Invariant.LIMITS


def test_usage_notices_time_on_a_dead_gpu_that_is_charged(monkeypatch: Patch):
    monkeypatch.setattr(health, "fault_ms", _always(None))
    assert caught() is Invariant.USAGE


# --- 7 same inputs, same plan ----------------------------------------------------------------------------------------


@dataclass
class _Wrong:
    """A `decide` that is right but for one thing."""

    change: Callable[[State, Decision], Decision]
    plain: Callable[..., Decision]

    def __call__(self, state: State, now_ms: int, **more: object) -> Decision:
        return self.change(state, self.plain(state, now_ms, **more))


def _plant(monkeypatch: Patch, change: Callable[[State, Decision], Decision]) -> None:
    wrong = _Wrong(change=change, plain=deciding.decide)
    monkeypatch.setattr(deciding, "decide", wrong)
    monkeypatch.setattr(factories, "decide", wrong)


def test_plan_notices_that_decide_looks_at_the_order_of_insertion(monkeypatch: Patch):
    def by_insertion(state: State, plan: Decision) -> Decision:
        order = {name: at for at, name in enumerate(state.workloads)}
        placements = sorted(plan.placements, key=lambda each: order[each.workload])
        return replace(plan, placements=tuple(placements))

    _plant(monkeypatch, by_insertion)
    assert caught() is Invariant.PLAN


def test_plan_notices_that_decide_remembers_earlier_passes(monkeypatch: Patch):
    seen: dict[int, int] = {}

    def counting(state: State, plan: Decision) -> Decision:
        seen[id(state)] = seen.get(id(state), 0) + 1
        odd = seen[id(state)] % 2 == 1
        return plan if odd else replace(plan, placements=plan.placements[1:])

    _plant(monkeypatch, counting)
    assert caught() is Invariant.PLAN


def test_plan_notices_that_deciding_changes_the_state(monkeypatch: Patch):
    def touching(state: State, plan: Decision) -> Decision:
        for name, workload in state.workloads.items():
            if workload.phase is Phase.QUEUED:
                state.workloads[name] = msgspec.structs.replace(workload, version=workload.version + 1)
                break
        return plan

    _plant(monkeypatch, touching)
    assert caught() is Invariant.PLAN


# --- what is not production code is left as it was -------------------------------------------------------------------


def test_nothing_is_caught_where_nothing_is_planted():
    for seed in range(5):
        simulate(seed)


def test_a_failure_says_how_to_see_it_again(monkeypatch: Patch):
    def forgetful(self: Plane, tenant: str, key: str) -> None:
        return None

    monkeypatch.setattr(Plane, "_remembered", forgetful)
    failed = first_failure()
    assert f"python -m tawtin.runtime.simulate --seed {failed.seed}" in str(failed)
    assert " ms  asked: " in str(failed)
