"""A service is a group of workloads that end only when somebody ends them."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tawtin.core.admit import Submission, admit, replicas_of
from tawtin.core.decide import decide
from tawtin.core.explain import explain
from tawtin.core.fold import FoldError
from tawtin.core.guests import unsound
from tawtin.core.outcome import of_spec, outcome_of
from tawtin.core.roam import may_roam
from tawtin.model.events import CancelAsked, SubmissionRefused, WorkloadsSubmitted
from tawtin.model.reasons import Cause, Refusal
from tawtin.model.site import Site
from tawtin.model.tenant import Quota
from tawtin.model.workload import (
    Outcome,
    Phase,
    ServiceRef,
    Serving,
    Usage,
    Workload,
    WorkloadSpec,
    WorkloadType,
)
from tests.core.building import SITE, Factory, spec

SERVING = replace(SITE, types=(WorkloadType.JOB, WorkloadType.SERVICE))
CHAT = replace(spec(), name="chat", type=WorkloadType.SERVICE, service=Serving(replicas=2), network=True)


@pytest.fixture
def factory() -> Factory:
    made = Factory()
    made.tenant(quota=Quota(workloads=5))
    made.node("n1")
    return made


def asked(*ids: str, wanted: WorkloadSpec = CHAT, revision: int = 0) -> Submission:
    return Submission(tenant="lab", spec=wanted, digest="d", ids=ids, revision=revision)


def up(factory: Factory, *ids: str, revision: int = 0) -> tuple[Workload, ...]:
    event = admit(factory.state, SERVING, asked(*ids, revision=revision), factory.now_ms)
    assert isinstance(event, WorkloadsSubmitted)
    factory.tell(event)
    return event.workloads


def refused(factory: Factory, wanted: Submission, site: Site = SERVING) -> Refusal:
    event = admit(factory.state, site, wanted, factory.now_ms)
    assert isinstance(event, SubmissionRefused)
    return event.refusal


def end(factory: Factory, name: str, cause: Cause = Cause.COMPLETED, *, wall_ms: int = 0) -> Workload:
    """Let its run end, and hear of it as the factory does."""
    outcome = of_spec(outcome_of(cause), factory.state.workloads[name].spec)
    factory.end(name, outcome=outcome, cause=cause, usage=Usage(wall_ms=wall_ms))
    return factory.state.workloads[name]


def again(factory: Factory, name: str) -> None:
    factory.now_ms = max(factory.now_ms, factory.state.workloads[name].not_before_ms)
    factory.tick()
    assert name in factory.state.run_of


def test_each_replica_is_a_workload_of_its_own_with_a_number(factory: Factory):
    made = up(factory, "w2", "w1")
    want = [ServiceRef(name="chat", revision=1, replica=number) for number in (1, 2)]
    assert [each.service for each in made] == want
    more = up(factory, "w3", revision=2)
    assert more[0].service == ServiceRef(name="chat", revision=2, replica=3)
    assert [each.id for each in replicas_of(factory.state, "lab", "chat")] == ["w1", "w2", "w3"]


def test_a_second_service_of_the_same_name_is_refused_until_the_first_is_gone(factory: Factory):
    up(factory, "w1", "w2")
    assert refused(factory, asked("w3")) is Refusal.SERVICE_EXISTS
    for each in ("w1", "w2"):
        factory.tell(CancelAsked(workload=each))
    assert factory.state.services == {}
    up(factory, "w3")


def test_replicas_count_against_what_a_tenant_may_have(factory: Factory):
    ids = tuple(f"w{number}" for number in range(6))
    assert refused(factory, asked(*ids)) is Refusal.TOO_MANY_WORKLOADS


def test_a_factory_with_an_engine_that_gives_no_ports_says_which(factory: Factory):
    event = admit(factory.state, replace(SERVING, portless=("hpc",)), asked("w1"), 0)
    assert isinstance(event, SubmissionRefused)
    assert event.refusal is Refusal.TYPE_NOT_RUN_HERE
    assert "`hpc`" in event.sentence


@pytest.mark.parametrize(
    "cause", [Cause.COMPLETED, Cause.OUT_OF_MEMORY, Cause.NOT_READY, Cause.SUPERVISOR_LOST]
)
def test_however_a_run_ends_it_is_tried_again_after_a_growing_pause(factory: Factory, cause: Cause):
    up(factory, "w1")
    factory.tick()
    pauses: list[int] = []
    for _ in range(4):
        workload = end(factory, "w1", cause)
        assert workload.phase is Phase.QUEUED
        pauses.append(workload.not_before_ms - factory.now_ms)
        again(factory, "w1")
    assert pauses == [1_000, 2_000, 4_000, 8_000]
    assert factory.state.workloads["w1"].epoch == 5


def test_a_run_that_lasted_makes_the_pause_short_again(factory: Factory):
    up(factory, "w1")
    factory.tick()
    for _ in range(3):
        end(factory, "w1")
        again(factory, "w1")
    workload = end(factory, "w1", wall_ms=SITE.backoff_ms_max)
    assert workload.not_before_ms - factory.now_ms == 1_000


def test_a_replica_that_made_place_for_others_does_not_pause(factory: Factory):
    up(factory, "w1")
    factory.tick()
    workload = end(factory, "w1", Cause.PREEMPTED)
    assert (workload.not_before_ms, workload.failures) == (0, 0)


def test_a_replica_ends_when_somebody_ends_it(factory: Factory):
    up(factory, "w1")
    factory.tick()
    factory.tell(CancelAsked(workload="w1"))
    outcome = of_spec(outcome_of(Cause.COMPLETED), CHAT)
    factory.end("w1", outcome=outcome)
    assert "w1" not in factory.state.workloads
    changed = factory.state.changed["workload", "w1"]
    assert isinstance(changed, Workload)
    assert changed.phase is Phase.CANCELLED


def test_an_event_that_says_a_service_finished_is_refused(factory: Factory):
    up(factory, "w1")
    factory.tick()
    with pytest.raises(FoldError, match="no answer to give"):
        factory.end("w1", outcome=Outcome.FINISHED)


def test_why_it_waits_says_that_its_run_ended(factory: Factory):
    up(factory, "w1")
    decision = factory.tick()
    end(factory, "w1")
    assert "its last run ended" in explain(factory.state, decision, "w1", factory.now_ms).sentence


def test_services_stay_at_home(factory: Factory):
    (workload,) = up(factory, "w1")
    assert not may_roam(workload)
    assert unsound(CHAT)


def test_nothing_that_takes_days_is_expected_to_fit_before_a_service_ends(factory: Factory):
    eight = Submission(tenant="lab", spec=replace(CHAT, demand=spec(gpus=8).demand), digest="d", ids=("w1",))
    event = admit(factory.state, SERVING, eight, 0)
    factory.tell(event)
    factory.tick()
    factory.submit("w2", spec(gpus=8))
    (kept,) = decide(factory.state, factory.now_ms).reservations
    assert kept.start_ms > 7 * 86_400_000
