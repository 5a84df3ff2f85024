"""The state machine by itself: time that is never recorded backwards, and who is told what."""

from __future__ import annotations

import msgspec

from tawtin.core.state import State
from tawtin.model.events import NodePut, TenantPut, WorkloadsSubmitted
from tawtin.model.reasons import Cause
from tawtin.model.resources import Demand, Node, NodeHealth, Shape
from tawtin.model.tenant import Tenant
from tawtin.model.workload import Outcome, Workload, WorkloadSpec
from tawtin.ports import Report
from tawtin.runtime.factory import Factory
from tawtin.runtime.simulate.words import START_MS, SimClock
from tests.runtime.shell import NODE, SITE

WORKLOAD = Workload(
    id="wl-1",
    tenant="casa",
    spec=WorkloadSpec(name="job", run="true", demand=Demand(options=(Shape(),)), stop_grace_ms=77),
    digest="d",
    submitted_ms=START_MS,
    queued_ms=START_MS,
)


def _factory(clock: SimClock) -> Factory:
    factory = Factory(SITE, State(SITE), clock)
    factory.stage(TenantPut(tenant=Tenant(id="casa", number=1, owner=True)), NodePut(node=NODE))
    return factory


def _placed(clock: SimClock) -> Factory:
    factory = _factory(clock)
    factory.stage(WorkloadsSubmitted(workloads=(WORKLOAD,)))
    factory.tick()
    return factory


def _times(factory: Factory) -> list[int]:
    step = factory.take()
    assert step is not None
    return [entry.at_ms for entry in step.batch.entries]


def test_time_is_never_recorded_backwards():
    clock = SimClock()
    factory = _factory(clock)
    for error_ms in (0, 5_000, -3_600_000, 60_000, -86_400_000):
        clock.error_ms = error_ms
        clock.true_ms += 10
        factory.stage(NodePut(node=NODE))
    times = _times(factory)
    assert times == sorted(times)


def test_time_goes_on_at_half_speed_after_the_clock_was_set_back_until_it_has_caught_up():
    clock = SimClock()
    factory = _factory(clock)
    set_back = factory.now_ms()
    clock.error_ms = -1_000_000
    clock.true_ms += 600_000
    assert factory.now_ms() == set_back + 300_000
    clock.true_ms += 1_400_000
    assert factory.now_ms() == set_back + 1_000_000 == clock.now_ms()
    clock.true_ms += 50
    assert factory.now_ms() == clock.now_ms()


def test_time_goes_on_after_a_restart_under_a_clock_that_was_set_back():
    clock = SimClock()
    state = _factory(clock).state
    clock.error_ms = -86_400_000
    factory = Factory(SITE, state, clock)
    clock.true_ms += 10_000
    assert factory.now_ms() == state.time_ms + 5_000


def test_a_pause_after_an_interruption_ends_although_the_clock_was_set_back():
    clock = SimClock()
    factory = _placed(clock)
    factory.report(
        Report(
            run="wl-1.1", ended_ms=clock.now_ms(), outcome=Outcome.INTERRUPTED, cause=Cause.SUPERVISOR_LOST
        )
    )
    clock.error_ms = -86_400_000
    factory.tick()
    assert not factory.state.runs
    clock.true_ms += 10 * SITE.backoff_ms
    factory.tick()
    assert list(factory.state.runs) == ["wl-1.2"]


def test_a_run_that_is_to_stop_is_not_started_for_that():
    factory = _placed(SimClock())
    factory.cancel(factory.state.workloads["wl-1"], "key")
    step = factory.take()
    assert step is not None
    assert not step.effects.ensure
    assert [(stop.run, stop.cause, stop.grace_ms) for stop in step.effects.stop] == [
        ("wl-1.1", Cause.CANCELLED, 77)
    ]
    factory.resume()
    step = factory.take()
    assert step is not None
    assert not step.effects.ensure
    assert [stop.run for stop in step.effects.stop] == ["wl-1.1"]
    assert not step.batch.entries


def test_the_same_report_twice_changes_nothing():
    factory = _placed(SimClock())
    report = Report(
        run="wl-1.1", started_ms=1, ended_ms=2, outcome=Outcome.FINISHED, cause=Cause.COMPLETED, exit_code=0
    )
    factory.report(report)
    factory.take()
    digest = factory.state.digest()
    factory.report(report)
    step = factory.take()
    assert step is not None
    assert not step.batch.entries
    assert step.effects.forget == ("wl-1.1",)
    assert factory.state.digest() == digest


def test_the_engine_is_told_again_only_of_what_did_not_obey():
    clock = SimClock()
    factory = _placed(clock)
    factory.take()
    factory.again(factory.now_ms())
    assert factory.take() is None
    clock.true_ms += 1_000
    factory.again(factory.now_ms())
    step = factory.take()
    assert step is not None
    assert [order.run for order in step.effects.ensure] == ["wl-1.1"]
    factory.report(Report(run="wl-1.1", started_ms=5))
    factory.take()
    factory.again(factory.now_ms() + 1_000)
    assert factory.take() is None


def test_usage_of_a_running_run_is_recorded_every_so_often():
    clock = SimClock()
    factory = _placed(clock)
    wall_ms = 0
    recorded: list[int] = []
    factory.report(Report(run="wl-1.1", started_ms=5))
    for _ in range(200):
        clock.true_ms += 1_000
        wall_ms += 1_000
        report = Report(run="wl-1.1", started_ms=5)
        factory.report(
            msgspec.structs.replace(report, usage=msgspec.structs.replace(report.usage, wall_ms=wall_ms))
        )
        usage = factory.state.runs["wl-1.1"].usage.wall_ms
        if not recorded or recorded[-1] != usage:
            recorded.append(usage)
    assert recorded == [0, 60_000, 120_000, 180_000]


def test_a_node_that_an_operator_drains_stays_drained_until_the_operator_brings_it_back():
    factory = _factory(SimClock())
    drained = msgspec.structs.replace(NODE, health=NodeHealth.DRAINING)
    factory.stage(NodePut(node=drained))
    for reported in (NODE, msgspec.structs.replace(NODE, health=NodeHealth.SICK), NODE):
        factory.see_nodes([reported])
        assert factory.state.nodes["node-1"].health is NodeHealth.DRAINING
    factory.stage(NodePut(node=NODE))
    factory.see_nodes([NODE])
    assert factory.state.nodes["node-1"].health is NodeHealth.READY


def test_a_node_that_no_engine_has_any_more_leaves_and_those_of_all_engines_stay():
    factory = _factory(SimClock())
    far = Node(name="far", engine="hpc", cpus_milli=1, memory_mib=1)
    factory.see_nodes([NODE, far])
    assert list(factory.state.nodes) == ["node-1", "far"]
    factory.see_nodes([far])
    assert list(factory.state.nodes) == ["far"]
