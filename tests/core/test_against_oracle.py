"""A pass decides exactly what the slow and obvious rules decide, on histories of small factories."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tawtin.core.decide import decide
from tawtin.core.explain import explain
from tawtin.model.workload import Phase
from tests.core.histories import History
from tests.core.oracle import Oracle


@settings(max_examples=150)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 25))
def test_a_pass_decides_what_the_obvious_rules_decide(seed: int, steps: int):
    history = History(seed)
    for _ in range(steps):
        history.step()
        before = history.state.digest()
        want = Oracle(history.state, history.now_ms).decide()
        got = decide(history.state, history.now_ms)
        assert got == want
        assert history.state.digest() == before
        history.tick()


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 20))
def test_whatever_waits_has_a_reason_and_looking_changes_nothing(seed: int, steps: int):
    history = History(seed)
    for _ in range(steps):
        history.step()
        decision = history.tick()
        before = history.state.digest()
        for workload in list(history.state.workloads.values()):
            if workload.phase is Phase.QUEUED:
                view = explain(history.state, decision, workload.id, history.now_ms)
                assert view.sentence
                assert view.start_ms is None or view.start_ms >= history.now_ms
        assert history.state.digest() == before
        assert decide(history.state, history.now_ms).placements == ()


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), steps=st.integers(1, 25))
def test_nothing_is_oversubscribed_and_quotas_hold(seed: int, steps: int):
    history = History(seed)
    for _ in range(steps):
        history.step()
        state = history.state
        before = {tenant: state.holding(tenant).figures()[:4] for tenant in state.tenants}
        placed = set(state.runs)
        history.tick()
        for node in state.nodes.values():
            there = [run for run in state.runs.values() for slot in run.slots if slot.node == node.name]
            handed = [
                index for run in there for slot in run.slots if slot.node == node.name for index in slot.gpus
            ]
            assert len(handed) == len(set(handed))
            if any(run.id not in placed for run in there):  # else it may have shrunk below what runs there
                assert sum(run.shape.cpus_milli for run in there) <= node.cpus_milli
                assert sum(run.shape.memory_mib for run in there) <= node.memory_mib
        for tenant in state.tenants.values():
            held = state.holding(tenant.id).figures()[:4]
            limits = (tenant.quota.gpus, tenant.quota.cpus_milli, tenant.quota.memory_mib, tenant.quota.runs)
            for has, had, limit in zip(held, before[tenant.id], limits, strict=True):
                assert limit is None or has <= limit or has == had
