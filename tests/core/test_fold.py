from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tawtin.core.fold import FoldError, fold, restore
from tawtin.core.state import REMEMBERED_MAX, State
from tawtin.model.events import (
    CancelAsked,
    Entry,
    Event,
    RunMetered,
    RunPlaced,
    RunStarted,
    StopOrdered,
    WorkloadsSubmitted,
    decode_entry,
    encode_entry,
)
from tawtin.model.idempotency import Remembered
from tawtin.model.reasons import Cause
from tawtin.model.resources import Slot
from tawtin.model.workload import Outcome, Phase, Run, RunState, Usage, Workload
from tests.core.building import HOUR_MS, Factory, spec
from tests.core.histories import SITE, History


def indices(state: State) -> object:
    """Everything that deciding reads besides records, in a form that can be compared."""
    queues = state.queues
    lined = {
        (priority, tenant, demand_class.demand, demand_class.step, key)
        for priority, tenants in queues.by_priority.items()
        for tenant, groups in tenants.items()
        for demand_class, line in groups.items()
        for key in line
    }
    seats = {
        name: (
            (seat.model, seat.ready, seat.mask, seat.gpus, seat.cpus, seat.memory, seat.disk),
            [(end, run, held.level, held.mask) for end, run, held in seat.ends],
            {
                level: (total.runs, total.gpus, total.cpus, total.memory)
                for level, total in seat.yields.items()
            },
        )
        for name, seat in state.seats.items()
    }
    return (
        lined,
        queues.delayed,
        queues.parked,
        {
            (level, place): (tally.keys, tally.work)
            for level, tallies in queues.tallies.items()
            for place, tally in tallies.items()
        },
        seats,
        {tenant: holding.figures() for tenant, holding in state.holdings.items() if any(holding.figures())},
        (state.totals.gpus, state.totals.cpus, state.totals.memory),
        {key: {step: found.members for step, found in kin.items()} for key, kin in state.classes.items()},
        state.unlawful_runs,
        state.stopping,
        state.levels,
        state.node_names,
        {service: sorted(replicas) for service, replicas in state.services.items()},
    )


def restored(state: State) -> State:
    """The same state, from the rows that a journal would have kept."""
    copy = State(state.site)
    copy.seq, copy.time_ms = state.seq, state.time_ms
    tables = (
        state.tenants, state.nodes, state.accounts, state.charged, state.artifacts, state.workloads, state.runs,
    )  # fmt: skip
    for table in tables:
        for record in table.values():
            restore(copy, msgspec.json.decode(msgspec.json.encode(record), type=type(record)))
    copy.release_due(state.time_ms)
    return copy


@settings(max_examples=80)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 30))
def test_events_alone_and_rows_alone_give_the_same_state(seed: int, steps: int):
    history = History(seed)
    for _ in range(steps):
        history.step()
        history.tick()
    replayed = State(SITE)
    for entry in history.log:
        fold(replayed, decode_entry(encode_entry(entry)))
    for other in (replayed, restored(history.state)):
        assert other.digest() == history.state.digest()
        assert indices(other) == indices(history.state)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 30))
def test_rows_that_changed_are_all_that_a_journal_needs(seed: int, steps: int):
    history = History(seed)
    rows = dict(history.state.take_changed())
    for _ in range(steps):
        history.step()
        history.tick()
        rows.update(history.state.take_changed())
    workloads = {id for (kind, id), row in rows.items() if kind == "workload" and isinstance(row, Workload)}
    assert workloads >= set(history.state.workloads)
    for (kind, id), row in rows.items():
        if isinstance(row, Workload):
            assert row.phase.final == (id not in history.state.workloads)
        if isinstance(row, Run):
            assert (row.state is RunState.DONE) == (id not in history.state.runs)
        if kind == "node":
            assert (row is None) == (id not in history.state.nodes)


@pytest.fixture
def factory() -> Factory:
    made = Factory()
    made.tenant()
    made.node("a")
    return made


def refused(factory: Factory, *events: Event) -> list[str]:
    """The messages with which these events are refused; the state stays as it was."""
    said: list[str] = []
    for event in events:
        before = (factory.state.digest(), factory.state.seq)
        with pytest.raises(FoldError) as error:
            factory.tell(event)
        assert (factory.state.digest(), factory.state.seq) == before
        said.append(str(error.value))
    return said


def test_a_run_gets_exactly_the_next_epoch(factory: Factory):
    workload = factory.submit("w1", spec())
    run = Run(
        id="w1.1",
        workload="w1",
        tenant="lab",
        epoch=1,
        shape=workload.spec.demand.options[0],
        slots=(Slot(node="a", gpus=(0,)),),
        rate=factory.state.site.rate("H100"),
        placed_ms=0,
    )
    early, wrong_name = replace(run, epoch=2, id="w1.2"), replace(run, id="w1.3")
    elsewhere = replace(run, slots=(Slot(node="b", gpus=(0,)),))
    assert refused(factory, *(RunPlaced(run=each) for each in (early, wrong_name, elsewhere))) == [
        "run `w1.2` has epoch 2; the next one is 1",
        "run `w1.3` has epoch 1; the next one is 1",
        "run `w1.1` cannot be on `b`: there is no such node",
    ]
    factory.tell(RunPlaced(run=run))
    assert refused(factory, RunPlaced(run=run)) == ["run `w1.1` is of a workload that does not wait"]
    assert factory.state.workloads["w1"].epoch == 1


def test_a_gpu_is_never_given_to_two(factory: Factory):
    factory.submit("w1", spec())
    factory.tick()
    workload = factory.submit("w2", spec())
    run = Run(
        id="w2.1",
        workload="w2",
        tenant="lab",
        epoch=1,
        shape=workload.spec.demand.options[0],
        slots=(Slot(node="a", gpus=(0,)),),
        rate=factory.state.site.rate("H100"),
        placed_ms=0,
    )
    assert refused(factory, RunPlaced(run=run)) == [
        "run `w2.1` cannot be on `a`: a GPU of the slot is not free"
    ]


def test_entries_have_no_gap_and_time_does_not_step_back(factory: Factory):
    factory.now_ms = 5
    factory.submit("w1", spec())
    ask = CancelAsked(workload="w1")
    for entry in (
        Entry(seq=factory.state.seq + 1, at_ms=5, event=ask),
        Entry(seq=factory.state.seq, at_ms=4, event=ask),
    ):
        with pytest.raises(FoldError):
            fold(factory.state, entry)
    assert factory.state.workloads["w1"].phase is Phase.QUEUED


def test_a_queued_workload_is_cancelled_at_once_and_a_placed_one_when_it_ends(factory: Factory):
    factory.submit("w1", spec())
    factory.tell(CancelAsked(workload="w1"))
    final = factory.state.changed["workload", "w1"]
    assert isinstance(final, Workload)
    assert (final.phase, final.cancel, final.version) == (Phase.CANCELLED, True, 2)
    assert "w1" not in factory.state.workloads
    factory.submit("w2", spec())
    factory.tick()
    factory.tell(CancelAsked(workload="w2"))
    assert factory.state.workloads["w2"].phase is Phase.PLACED
    factory.end("w2", outcome=Outcome.INTERRUPTED, cause=Cause.CANCELLED)
    final = factory.state.changed["workload", "w2"]
    assert isinstance(final, Workload)
    assert final.phase is Phase.CANCELLED


@pytest.mark.parametrize(
    ("exit_code", "cause", "want"),
    [
        (0, Cause.COMPLETED, Phase.SUCCEEDED),
        (3, Cause.COMPLETED, Phase.FAILED),
        (0, Cause.TIME_LIMIT, Phase.FAILED),
    ],
)
def test_a_finished_run_decides_how_its_workload_ended(
    factory: Factory, exit_code: int, cause: Cause, want: Phase
):
    factory.submit("w1", spec())
    factory.tick()
    factory.end("w1", exit_code=exit_code, cause=cause)
    final = factory.state.changed["workload", "w1"]
    assert isinstance(final, Workload)
    assert final.phase is want


def test_pauses_double_up_to_a_limit_and_preemption_costs_none(factory: Factory):
    factory.submit("w1", spec())
    pauses: list[int] = []
    for cause in (
        Cause.SUPERVISOR_LOST,
        Cause.PREEMPTED,
        Cause.SUPERVISOR_LOST,
        *[Cause.SUPERVISOR_LOST] * 7,
    ):
        factory.now_ms += HOUR_MS
        factory.tick()
        factory.end("w1", outcome=Outcome.INTERRUPTED, cause=cause)
        pauses.append(max(0, factory.state.workloads["w1"].not_before_ms - factory.now_ms))
    assert pauses == [1000, 0, 4000, 8000, 16000, 32000, 64000, 128000, 256000, 300000]
    assert factory.state.workloads["w1"].interruptions == 10


def test_a_run_is_charged_once_to_workload_and_month(factory: Factory):
    factory.submit("w1", spec(gpus=2))
    factory.tick()
    factory.now_ms = HOUR_MS
    usage = Usage(wall_ms=HOUR_MS, gpu_ms=2 * HOUR_MS, gpu_model="H100", cpu_ms=7)
    factory.tell(RunMetered(run="w1.1", usage=usage), RunMetered(run="w1.1", usage=usage))
    assert factory.state.runs["w1.1"].version == 2
    factory.end("w1", usage=usage)
    account = factory.state.accounts["lab", "1970-01"]
    assert (account.cost_minor, account.runs, account.gpu_ms, account.cpu_ms) == (
        2 * 3600 + 36,
        1,
        {"H100": 2 * HOUR_MS},
        7,
    )
    final = factory.state.changed["workload", "w1"]
    assert isinstance(final, Workload)
    assert final.spent_minor == account.cost_minor


def test_a_stop_is_kept_as_first_ordered_but_a_cancel_wins(factory: Factory):
    factory.submit("w1", spec())
    factory.tick()
    factory.now_ms = 10
    factory.tell(StopOrdered(run="w1.1", cause=Cause.PREEMPTED, for_workload="w2"))
    factory.now_ms = 20
    factory.tell(StopOrdered(run="w1.1", cause=Cause.DRAINED))
    assert factory.state.runs["w1.1"].stop is Cause.PREEMPTED
    factory.tell(StopOrdered(run="w1.1", cause=Cause.CANCELLED))
    run = factory.state.runs["w1.1"]
    assert (run.stop, run.stop_asked_ms) == (Cause.CANCELLED, 10)


def test_a_start_is_reported_once(factory: Factory):
    factory.submit("w1", spec())
    factory.tick()
    factory.tell(RunStarted(run="w1.1", started_ms=3), RunStarted(run="w1.1", started_ms=9))
    run = factory.state.runs["w1.1"]
    assert (run.state, run.started_ms, run.version) == (RunState.STARTED, 3, 2)


def test_an_answer_is_remembered_and_the_oldest_forgotten(factory: Factory):
    for number in range(REMEMBERED_MAX + 2):
        workload = Workload(
            id=f"w{number}", tenant="lab", spec=spec(), digest="d", submitted_ms=0, queued_ms=0
        )
        factory.tell(
            WorkloadsSubmitted(workloads=(workload,), idempotency_key=f"k{number}", request_sha256="r")
        )
    assert len(factory.state.remembered) == REMEMBERED_MAX
    want = Remembered(tenant="lab", key="k2", request_sha256="r", workloads=("w2",), at_ms=0)
    assert next(iter(factory.state.remembered.values())) == want
    assert factory.state.changed["idempotency", "lab/k2"] == want


def test_a_node_that_leaves_and_returns_knows_what_runs_there(factory: Factory):
    from tawtin.model.events import NodeRemoved

    factory.submit("w1", spec(gpus=3))
    factory.tick()
    factory.tell(NodeRemoved(name="a"))
    with pytest.raises(KeyError):
        factory.state.node_free("a")
    assert factory.state.take_changed()["node", "a"] is None
    factory.node("a")
    assert factory.state.node_free("a")[0] == 5
    factory.end("w1")
    assert factory.state.node_free("a") == (8, 64_000, 512_000)
