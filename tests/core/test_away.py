"""Runs that a peer has, runs that this factory has for a peer, and room that a peer was promised."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tawtin.core import meter
from tawtin.core.decide import Promise, decide
from tawtin.core.fold import FoldError, restore
from tawtin.core.state import State
from tawtin.model.events import RunEnded, RunPlaced, RunStarted, StopOrdered, WorkloadsSubmitted
from tawtin.model.ids import run_id
from tawtin.model.money import Rate
from tawtin.model.reasons import Cause
from tawtin.model.tenant import Quota
from tawtin.model.workload import Outcome, Phase, Run, Usage, Workload
from tests.core.building import HOUR_MS, Factory, spec

RATE = Rate(currency="MAD", minor_per_gpu_hour=7200, minor_per_cpu_hour=60)


def away(workload: Workload, *, nodes: int | None = None) -> Run:
    return Run(
        id=run_id(workload.id, workload.epoch + 1),
        workload=workload.id,
        tenant=workload.tenant,
        epoch=workload.epoch + 1,
        factory="nairobi",
        shape=workload.spec.demand.options[0],
        nodes=workload.spec.demand.nodes if nodes is None else nodes,
        rate=RATE,
        placed_ms=0,
    )


@pytest.fixture
def factory() -> Factory:
    made = Factory()
    made.tenant(quota=Quota(gpus=4))
    made.node("node-1", gpus=8)
    return made


def test_a_peers_run_takes_quota_and_no_node_here(factory: Factory):
    first = factory.submit("wl-1", spec(gpus=4))
    factory.submit("wl-2", spec(gpus=1))
    factory.tell(RunPlaced(run=away(first)))
    assert factory.state.node_free("node-1")[0] == 8
    assert factory.state.holding("lab").gpus == 4
    assert decide(factory.state, 0).placements == (), "the quota is in use"
    factory.tell(RunStarted(run="wl-1.1", started_ms=0), StopOrdered(run="wl-1.1", cause=Cause.CANCELLED))
    used = Usage(wall_ms=HOUR_MS, gpu_model="H100", gpu_ms=4 * HOUR_MS)
    factory.tell(
        RunEnded(run="wl-1.1", outcome=Outcome.CANCELLED, cause=Cause.CANCELLED, ended_ms=HOUR_MS, usage=used)
    )
    assert factory.state.holding("lab").gpus == 0
    assert factory.state.away == {}
    assert [each.workload for each in decide(factory.state, 0).placements] == ["wl-2"]


def test_a_peers_run_costs_by_its_own_nodes(factory: Factory):
    factory.node("node-2", gpus=8)
    workload = factory.submit("wl-1", spec(gpus=1, nodes=2))
    run = away(workload)
    used = Usage(wall_ms=HOUR_MS, gpu_model="H100", gpu_ms=2 * HOUR_MS)
    want = 2 * 7200 + 2 * run.shape.cpus_milli * 60 // 1000
    assert meter.cost_minor(used, run) == want


def test_rows_give_the_same_state_with_a_run_that_is_away(factory: Factory):
    workload = factory.submit("wl-1", spec(gpus=4))
    factory.tell(RunPlaced(run=away(workload)))
    state = factory.state
    again = State(state.site)
    for table in (state.tenants, state.nodes, state.workloads, state.runs):
        for record in table.values():
            restore(again, record)
    assert again.away == state.away
    assert again.digest() == state.digest()


@pytest.mark.parametrize("nodes", [0, 2])
def test_a_peers_run_has_as_many_nodes_as_asked_for(factory: Factory, nodes: int):
    workload = factory.submit("wl-1", spec(gpus=4))
    with pytest.raises(FoldError, match=r"takes \d nodes of `nairobi`, not 1"):
        factory.tell(RunPlaced(run=away(workload, nodes=nodes)))


def test_a_guests_run_is_tried_once(factory: Factory):
    guest = replace(factory.submit("wl-0", spec()), id="gw-1", guest="nairobi")
    factory.tell(WorkloadsSubmitted(workloads=(guest,)))
    placed = next(each for each in decide(factory.state, 0).placements if each.workload == "gw-1")
    factory.tell(RunPlaced(run=factory.run_for(placed)))
    gone = Usage()
    factory.tell(
        RunEnded(
            run="gw-1.1",
            outcome=Outcome.INTERRUPTED,
            cause=Cause.SUPERVISOR_LOST,
            ended_ms=1,
            usage=gone,
        )
    )
    assert "gw-1" not in factory.state.workloads
    ended = factory.state.changed["workload", "gw-1"]
    assert isinstance(ended, Workload)
    assert ended.phase is Phase.FAILED


def test_what_a_peer_was_promised_is_given_to_nobody_else(factory: Factory):
    factory.tenant("big")
    factory.submit("wl-1", spec(gpus=8), tenant="big")
    factory.submit("wl-2", spec(gpus=3), tenant="big")
    promise = Promise(shape=spec(gpus=4).demand.options[0], nodes=("node-1",))
    promised = decide(factory.state, 0, promised=(promise,))
    assert [each.workload for each in promised.placements] == ["wl-2"]
    assert [each.workload for each in decide(factory.state, 0).placements] == ["wl-1"]
