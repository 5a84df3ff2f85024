from __future__ import annotations

import pytest

from tawtin.core.explain import explain
from tawtin.model.ids import run_id
from tawtin.model.reasons import Cause, Waiting
from tawtin.model.resources import NodeHealth, Shape
from tawtin.model.tenant import Quota
from tawtin.model.workload import Outcome, Residency
from tests.core.building import HOUR_MS, Factory, spec


@pytest.fixture
def factory() -> Factory:
    made = Factory()
    made.tenant()
    return made


def placed(factory: Factory) -> dict[str, tuple[tuple[str, tuple[int, ...]], ...]]:
    return {
        run.workload: tuple((slot.node, slot.gpus) for slot in run.slots)
        for run in factory.state.runs.values()
    }


def reason(factory: Factory, workload: str) -> Waiting:
    decision = factory.tick()
    return explain(factory.state, decision, workload, factory.now_ms).reason


def test_the_fullest_node_with_room_is_taken_and_its_lowest_free_gpus(factory: Factory):
    factory.node("a")
    factory.node("b")
    factory.submit("w1", spec(gpus=3))
    factory.tick()
    factory.submit("w2", spec(gpus=2))
    factory.tick()
    want = {"w1": (("a", (0, 1, 2)),), "w2": (("a", (3, 4)),)}
    assert placed(factory) == want


def test_sick_gpus_are_left_out(factory: Factory):
    factory.node("a", sick=(0, 2))
    factory.submit("w1", spec(gpus=2))
    factory.tick()
    assert placed(factory) == {"w1": (("a", (1, 3)),)}


def test_work_without_gpus_goes_to_a_node_without_gpus(factory: Factory):
    factory.node("a")
    factory.node("z", gpus=0)
    factory.submit("w1", spec(gpus=0))
    factory.tick()
    assert placed(factory) == {"w1": (("z", ()),)}


def test_a_gang_gets_all_of_its_nodes_or_none(factory: Factory):
    factory.node("a")
    factory.submit("w1", spec(gpus=8, nodes=2))
    assert factory.tick().placements == ()
    factory.node("b")
    factory.tick()
    assert [node for node, _ in placed(factory)["w1"]] == ["a", "b"]


def test_a_gang_is_at_one_engine_even_if_nodes_of_two_would_do(factory: Factory):
    factory.node("a", engine="hpc")
    factory.node("b")
    factory.submit("w1", spec(gpus=8, nodes=2))
    decision = factory.tick()
    assert (decision.placements, decision.reservations) == ((), ())
    assert explain(factory.state, decision, "w1", 0).reason is Waiting.EXCEEDS_CAPACITY
    factory.node("c", engine="hpc")
    factory.tick()
    assert [node for node, _ in placed(factory)["w1"]] == ["a", "c"]


def test_a_gang_waits_for_nodes_of_one_engine_and_ousts_there(factory: Factory):
    for name, engine in (("a", "hpc"), ("b", "local"), ("c", "hpc")):
        factory.node(name, engine=engine)
    factory.submit("low", spec(gpus=8, lasts_ms=HOUR_MS))
    factory.tick()
    assert placed(factory) == {"low": (("a", tuple(range(8))),)}
    factory.submit("same", spec(gpus=8, nodes=2))
    [kept] = factory.tick().reservations
    assert (kept.nodes, kept.start_ms) == (("c", "a"), HOUR_MS)
    factory.submit("high", spec(gpus=8, nodes=2, priority=5))
    decision = factory.tick()
    assert [stop.run for stop in decision.stops] == [run_id("low", 1)]
    assert set(decision.reservations[0].nodes) == {"a", "c"}


def test_the_first_option_that_fits_now_is_taken(factory: Factory):
    factory.node("a", model="A100")
    options = (Shape(gpu_model="H100", gpus=1), Shape(gpu_model="A100", gpus=2))
    factory.submit("w1", spec(options=options))
    factory.tick()
    assert placed(factory) == {"w1": (("a", (0, 1)),)}


def test_higher_priority_goes_first(factory: Factory):
    factory.node("a", gpus=1)
    factory.submit("low", spec())
    factory.submit("high", spec(priority=5))
    factory.tick()
    assert list(placed(factory)) == ["high"]


def test_the_tenant_with_the_least_share_goes_first(factory: Factory):
    factory.node("a")
    factory.tenant("other")
    for number in range(8):
        factory.submit(f"lab{number}", spec())
    for number in range(8):
        factory.submit(f"other{number}", spec(), "other")
    factory.tick()
    assert sorted(placed(factory)) == ["lab0", "lab1", "lab2", "lab3", "other0", "other1", "other2", "other3"]


def test_weights_divide_the_factory(factory: Factory):
    factory.node("a")
    factory.tenant("other", quota=Quota(weight=300))
    for number in range(8):
        factory.submit(f"lab{number}", spec())
        factory.submit(f"other{number}", spec(), "other")
    factory.tick()
    assert sum(1 for name in placed(factory) if name.startswith("other")) == 6


def test_a_quota_holds_one_tenant_back_and_nobody_else(factory: Factory):
    factory.node("a")
    factory.tenant("small", quota=Quota(gpus=1))
    factory.submit("s1", spec(), "small")
    factory.submit("s2", spec(), "small")
    factory.submit("w1", spec())
    decision = factory.tick()
    assert sorted(placed(factory)) == ["s1", "w1"]
    view = explain(factory.state, decision, "s2", 0)
    assert view.reason is Waiting.WAITING_FOR_QUOTA
    assert view.sentence == "tenant `small` holds 1 of its 1 GPUs and it asks for 1"


def test_more_than_the_quota_says_so(factory: Factory):
    factory.node("a")
    factory.tenant("small", quota=Quota(gpus=1))
    factory.submit("s1", spec(gpus=2), "small")
    assert reason(factory, "s1") is Waiting.EXCEEDS_MAX_QUOTA


def test_more_than_the_factory_says_so(factory: Factory):
    factory.node("a")
    factory.submit("w1", spec(gpus=9))
    assert reason(factory, "w1") is Waiting.EXCEEDS_CAPACITY


def test_draining_nodes_take_nothing_and_stop_what_can_be_stopped(factory: Factory):
    factory.node("a")
    factory.submit("w1", spec())
    factory.submit("fixed", spec(preemptible=False))
    factory.tick()
    factory.node("a", health=NodeHealth.DRAINING)
    factory.submit("w2", spec())
    decision = factory.tick()
    assert [(stop.run, stop.cause) for stop in decision.stops] == [("w1.1", Cause.DRAINED)]
    assert decision.placements == ()
    assert reason(factory, "w2") is Waiting.DRAINING


def test_a_blocked_gang_keeps_nodes_and_short_work_backfills(factory: Factory):
    factory.node("a")
    factory.node("b")
    factory.submit("running", spec(gpus=8, lasts_ms=HOUR_MS, preemptible=False))
    factory.tick()
    factory.now_ms = 1
    factory.submit("gang", spec(gpus=8, nodes=2))
    factory.submit("long", spec(gpus=1, lasts_ms=2 * HOUR_MS))
    factory.submit("short", spec(gpus=1, lasts_ms=HOUR_MS // 4))
    decision = factory.tick()
    assert [each.workload for each in decision.placements] == ["short"]
    [kept] = decision.reservations
    assert (kept.workload, kept.nodes, kept.start_ms) == ("gang", ("b", "a"), HOUR_MS)
    view = explain(factory.state, decision, "long", 1)
    assert view.reason is Waiting.RESERVED_FOR_OTHERS
    assert explain(factory.state, decision, "gang", 1).start_ms == HOUR_MS


def test_work_that_fits_beside_a_reservation_backfills_however_long(factory: Factory):
    factory.node("a")
    factory.submit("running", spec(gpus=8, lasts_ms=HOUR_MS, preemptible=False))
    factory.tick()
    factory.submit("next", spec(gpus=4))
    factory.submit("cpu", spec(gpus=0, cpus=8000))
    decision = factory.tick()
    assert [each.workload for each in decision.placements] == ["cpu"]


def test_higher_priority_ousts_the_youngest_of_lower_priority_and_no_more(factory: Factory):
    factory.node("a", gpus=2)
    factory.submit("old", spec())
    factory.tick()
    factory.now_ms = 1000
    factory.submit("young", spec())
    factory.tick()
    factory.now_ms = 2000
    factory.submit("urgent", spec(priority=10))
    decision = factory.tick()
    assert [(stop.run, stop.cause, stop.for_workload) for stop in decision.stops] == [
        ("young.1", Cause.PREEMPTED, "urgent")
    ]
    assert explain(factory.state, decision, "urgent", 2000).reason is Waiting.PREEMPTING
    assert factory.tick().stops == ()
    factory.end("young", outcome=Outcome.INTERRUPTED, cause=Cause.PREEMPTED)
    factory.tick()
    assert sorted(placed(factory)) == ["old", "urgent"]


def test_equal_priority_and_protected_runs_are_not_ousted(factory: Factory):
    factory.node("a", gpus=2)
    factory.submit("equal", spec(priority=10))
    factory.submit("fixed", spec(preemptible=False))
    factory.tick()
    factory.submit("urgent", spec(priority=10))
    assert factory.tick().stops == ()


def test_a_pause_after_an_interruption_is_kept(factory: Factory):
    factory.node("a")
    factory.submit("w1", spec())
    factory.tick()
    factory.end("w1", outcome=Outcome.INTERRUPTED, cause=Cause.SUPERVISOR_LOST)
    assert reason(factory, "w1") is Waiting.BACKING_OFF
    factory.now_ms = factory.state.workloads["w1"].not_before_ms
    assert [each.workload for each in factory.tick().placements] == ["w1"]


def test_a_spent_budget_holds_work_back(factory: Factory):
    factory.node("a")
    factory.tenant("poor", quota=Quota(budget_minor_per_month=3600))
    factory.submit("w1", spec(), "poor")
    factory.tick()
    factory.now_ms = HOUR_MS
    factory.submit("w2", spec(), "poor")
    assert reason(factory, "w2") is Waiting.BUDGET_EXHAUSTED


def test_residency_narrowed_after_admission_stops_the_run_and_holds_the_rest(factory: Factory):
    factory.node("a", gpus=1)
    factory.submit("w1", spec())
    factory.submit("w2", spec())
    factory.tick()
    factory.tenant(residency=Residency(deny=("MA",)))
    decision = factory.tick()
    assert [(stop.run, stop.cause) for stop in decision.stops] == [("w1.1", Cause.RESIDENCY)]
    factory.end("w1", outcome=Outcome.INTERRUPTED, cause=Cause.RESIDENCY)
    assert factory.tick().placements == ()
    factory.now_ms = HOUR_MS
    assert reason(factory, "w1") is Waiting.NO_LAWFUL_FACTORY
    assert reason(factory, "w2") is Waiting.NO_LAWFUL_FACTORY
