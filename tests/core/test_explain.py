from __future__ import annotations

import pytest

from tawtin.core.admit import Submission
from tawtin.core.explain import explain, preview
from tawtin.model.reasons import Waiting
from tawtin.model.tenant import Quota
from tawtin.model.views import PlanView
from tawtin.model.workload import Residency, WorkloadSpec
from tests.core.building import HOUR_MS, SITE, Factory, spec


@pytest.fixture
def factory() -> Factory:
    made = Factory()
    made.tenant()
    made.node("a")
    return made


def plan(factory: Factory, wanted: WorkloadSpec) -> PlanView:
    submission = Submission(tenant="lab", spec=wanted, digest="d", ids=("wl-plan",))
    before = (factory.state.digest(), factory.state.seq, dict(factory.state.changed))
    view = preview(factory.state, SITE, submission, factory.now_ms)
    assert (factory.state.digest(), factory.state.seq, dict(factory.state.changed)) == before
    assert len(factory.state.classes) == len({each.demand for each in factory.state.queues.class_of.values()})
    return view


def test_a_plan_says_where_it_would_start_and_what_it_costs_at_most(factory: Factory):
    view = plan(factory, spec(gpus=2, lasts_ms=HOUR_MS))
    assert (view.starts_now, view.cost_minor_max, view.lawful) == (True, 2 * 3600 + 36, True)
    assert [(slot.node, slot.gpus) for slot in view.slots] == [("a", (0, 1))]
    assert view.waiting is None


def test_a_plan_is_what_then_happens(factory: Factory):
    for number, gpus in enumerate((3, 3, 8)):
        factory.submit(f"w{number}", spec(gpus=gpus, lasts_ms=HOUR_MS))
    factory.tick()
    factory.now_ms = 1
    wanted = spec(gpus=2)
    view = plan(factory, wanted)
    factory.submit("real", wanted)
    decision = factory.tick()
    assert [each.slots for each in decision.placements] == ([view.slots] if view.starts_now else [])
    assert view.waiting is not None
    assert view.waiting.reason is Waiting.RESERVED_FOR_OTHERS
    assert explain(factory.state, decision, "real", 1).reason is Waiting.RESERVED_FOR_OTHERS


def test_a_plan_that_would_be_refused_says_by_which_token(factory: Factory):
    view = plan(factory, spec(residency=Residency(deny=("MA",))))
    assert (view.lawful, view.starts_now) == (False, False)
    assert view.warnings[0].startswith("NoLawfulFactory: ")


def test_before_the_first_pass_nothing_is_decided(factory: Factory):
    factory.submit("w1", spec())
    assert explain(factory.state, None, "w1", 0).reason is Waiting.NOT_YET_DECIDED


def test_what_does_not_wait_is_not_explained(factory: Factory):
    factory.submit("w1", spec())
    decision = factory.tick()
    with pytest.raises(ValueError, match="`w1` is placed and does not wait"):
        explain(factory.state, decision, "w1", 0)
    with pytest.raises(KeyError):
        explain(factory.state, decision, "w2", 0)


def test_waiting_for_gpus_names_figures_and_the_end_of_what_is_in_the_way(factory: Factory):
    factory.submit("w1", spec(gpus=6, lasts_ms=HOUR_MS))
    factory.tick()
    factory.submit("w2", spec(gpus=4))
    view = explain(factory.state, factory.tick(), "w2", 0)
    assert view.reason is Waiting.WAITING_FOR_GPUS
    assert view.sentence == (
        "it needs 4 H100, 1 processors, 1024 MiB of memory on one node; "
        "2 of 8 such GPUs are free, and no node has room"
    )
    assert view.start_ms == HOUR_MS


def test_waiting_for_processors(factory: Factory):
    factory.submit("w1", spec(gpus=0, cpus=60_000, lasts_ms=HOUR_MS))
    factory.tick()
    factory.submit("w2", spec(gpus=0, cpus=8_000))
    view = explain(factory.state, factory.tick(), "w2", 0)
    assert (view.reason, view.start_ms) == (Waiting.WAITING_FOR_CPUS, HOUR_MS)


def test_a_gang_waits_for_nodes(factory: Factory):
    factory.node("b")
    factory.submit("w1", spec(gpus=6, lasts_ms=HOUR_MS))
    factory.tick()
    factory.submit("gang", spec(gpus=8, nodes=2))
    view = explain(factory.state, factory.tick(), "gang", 0)
    assert (view.reason, view.start_ms) == (Waiting.WAITING_FOR_NODES, HOUR_MS)
    assert view.values == {"asked": 2, "free": 1}


def test_position_counts_higher_priority_own_earlier_ones_and_turns_of_others(factory: Factory):
    factory.tenant("other")
    factory.submit("now", spec(gpus=8, preemptible=False))
    factory.tick()
    for number in range(3):
        factory.submit(f"mine{number}", spec())
    for number in range(9):
        factory.submit(f"theirs{number}", spec(), "other")
    factory.submit("urgent", spec(priority=5), "other")
    decision = factory.tick()
    # one of higher priority, two of its own, and as many of the other tenant's
    assert explain(factory.state, decision, "mine2", 0).position == 1 + 2 + 2
    assert explain(factory.state, decision, "urgent", 0).position == 0


def test_the_longer_the_queue_the_later_the_start(factory: Factory):
    factory.submit("now", spec(gpus=8, lasts_ms=HOUR_MS, preemptible=False))
    factory.tick()
    for number in range(20):
        factory.submit(f"w{number:02d}", spec(gpus=8, lasts_ms=HOUR_MS))
    decision = factory.tick()
    starts = [explain(factory.state, decision, f"w{number:02d}", 0).start_ms or 0 for number in range(20)]
    assert starts == sorted(starts)
    assert starts[19] >= 19 * HOUR_MS


def test_the_only_option_within_quota_is_what_counts(factory: Factory):
    from tawtin.model.resources import Shape

    factory.tenant("small", quota=Quota(gpus=2))
    options = (Shape(gpu_model="H100", gpus=4), Shape(gpu_model="H100", gpus=2))
    factory.submit("w1", spec(options=options), "small")
    factory.tick()
    assert factory.state.runs["w1.1"].shape.gpus == 2
