"""The last replica of a service may rest: it keeps its place in the state, has no run, and says so."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tawtin.core.decide import decide
from tawtin.core.explain import explain
from tawtin.core.fold import FoldError
from tawtin.model.events import CancelAsked, ReplicaRested, RunPlaced, StopOrdered
from tawtin.model.reasons import Cause, Waiting
from tawtin.model.tenant import Quota
from tawtin.model.workload import Phase
from tests.core.building import Factory
from tests.core.test_services import end, up


@pytest.fixture
def factory() -> Factory:
    made = Factory()
    made.tenant(quota=Quota(workloads=5))
    made.node("n1")
    up(made, "w1")
    return made


def test_what_rests_is_not_placed_until_it_is_woken_and_then_without_a_pause(factory: Factory):
    factory.tick()
    factory.tell(ReplicaRested(workload="w1", rests=True), StopOrdered(run="w1.1", cause=Cause.RESTED))
    assert end(factory, "w1", Cause.RESTED).phase is Phase.QUEUED
    factory.tick()
    assert factory.state.run_of == {}
    assert decide(factory.state, factory.now_ms + 86_400_000).placements == ()
    assert explain(factory.state, None, "w1", factory.now_ms).reason is Waiting.RESTING
    assert ("lab", "chat") in factory.state.services
    factory.tell(ReplicaRested(workload="w1", rests=False))
    factory.tick()
    assert factory.state.run_of == {"w1": "w1.2"}


def test_it_may_be_woken_before_its_run_has_ended_and_ended_while_it_rests(factory: Factory):
    factory.tick()
    factory.tell(ReplicaRested(workload="w1", rests=True), StopOrdered(run="w1.1", cause=Cause.RESTED))
    factory.tell(ReplicaRested(workload="w1", rests=False))
    end(factory, "w1", Cause.RESTED)
    factory.tick()
    assert factory.state.run_of == {"w1": "w1.2"}
    factory.tell(ReplicaRested(workload="w1", rests=True))
    end(factory, "w1", Cause.RESTED)
    factory.tell(CancelAsked(workload="w1"))
    assert ("lab", "chat") not in factory.state.services


def test_a_run_of_what_rests_or_rest_of_what_is_no_service_contradicts_the_state(factory: Factory):
    factory.tick()
    second = replace(factory.state.runs["w1.1"], id="w1.2", epoch=2)
    end(factory, "w1", Cause.DRAINED)
    factory.tell(ReplicaRested(workload="w1", rests=True))
    with pytest.raises(FoldError, match="does not wait"):
        factory.tell(RunPlaced(run=second))
    with pytest.raises(FoldError, match="no live replica"):
        factory.tell(ReplicaRested(workload="w9", rests=True))
