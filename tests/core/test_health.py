"""When a GPU is sick, for how long, and what follows from it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tawtin.core import health
from tawtin.core.explain import explain
from tawtin.core.health import Sample, Watched, judge
from tawtin.model.events import NodePut, QuarantinePut
from tawtin.model.health import FaultKind, GpuFault, HealthLimits, Quarantine
from tawtin.model.reasons import Cause, Waiting
from tawtin.model.resources import Node, NodeHealth
from tawtin.model.workload import Usage
from tests.core.building import Factory, spec

LIMITS = HealthLimits()


def after(*samples: Sample, step_ms: int = 10_000) -> Watched:
    """What is known after these looks, the first at 1,000 ms."""
    known = Watched()
    for place, sample in enumerate(samples):
        known = judge(known, sample, LIMITS, 1_000 + place * step_ms)
    return known


def wrong(known: Watched) -> list[tuple[FaultKind, int, bool, int]]:
    return [(each.kind, each.code, each.fatal, each.at_ms) for each in known.faults]


def test_what_a_program_does_wrong_says_nothing_of_its_gpu():
    assert wrong(after(Sample(xids=tuple((code, 900) for code in (13, 31, 43, 45, 68))))) == []


@pytest.mark.parametrize("code", LIMITS.xids_fatal)
def test_an_error_of_the_hardware_is_fatal_and_has_a_meaning(code: int):
    (fault,) = after(Sample(xids=((code, 900),))).faults
    assert (fault.kind, fault.code, fault.fatal, fault.at_ms) == (FaultKind.XID, code, True, 900)
    assert fault.why == f"Xid {code}: {health.XIDS[code]}"


def test_a_gpu_that_has_to_be_reset_still_works():
    known = after(Sample(xids=((63, 900),), remap_pending=True))
    assert wrong(known) == [(FaultKind.ROW_REMAP, 1, False, 1_000), (FaultKind.XID, 63, False, 900)]


def test_memory_errors_count_once_and_anew_after_a_reset():
    three = Sample(ecc_uncorrected=3)
    assert wrong(after(three, three)) == [(FaultKind.ECC, 3, True, 1_000)]
    assert wrong(after(three, Sample(ecc_uncorrected=4))) == [(FaultKind.ECC, 4, True, 11_000)]
    assert wrong(after(three, Sample(ecc_uncorrected=0))) == []
    assert wrong(after(three, Sample(ecc_uncorrected=0), Sample(ecc_uncorrected=1))) == [
        (FaultKind.ECC, 1, True, 21_000)
    ]


def test_heat_counts_once_it_has_lasted():
    hot, cool = Sample(temperature_c=87, slowdown_c=87), Sample(temperature_c=86, slowdown_c=87)
    assert wrong(after(*[hot] * 6)) == []
    assert wrong(after(*[hot] * 7)) == [(FaultKind.TEMPERATURE, 0, False, 61_000)]
    assert wrong(after(*[hot] * 9)) == [(FaultKind.TEMPERATURE, 0, False, 61_000)]
    assert wrong(after(*[hot] * 4, cool, *[hot] * 4)) == []
    assert wrong(after(*[hot] * 7, cool)) == []


def test_low_clocks_count_if_the_hardware_is_behind_them():
    assert wrong(after(*[Sample(slowdowns=0x04 | 0x20)] * 40)) == []
    assert [each[0] for each in wrong(after(*[Sample(slowdowns=0x40)] * 31))] == [FaultKind.THROTTLED]


def test_links_count_that_were_up():
    assert wrong(after(Sample(nvlinks=18), Sample(nvlinks=18))) == []
    assert wrong(after(Sample(nvlinks=18), Sample(nvlinks=17))) == [(FaultKind.NVLINK, 0, False, 11_000)]
    assert wrong(after(Sample(nvlinks=0), Sample(nvlinks=18))) == []


def test_a_lost_gpu_keeps_why_it_was_lost():
    known = after(Sample(), Sample(lost=True, xids=((79, 10_500),)), Sample(lost=True))
    assert wrong(known) == [(FaultKind.LOST, 0, True, 11_000), (FaultKind.XID, 79, True, 10_500)]


def test_a_limit_of_none_is_never_reached():
    off = HealthLimits(
        xids_fatal=(), xids_worn=(), ecc_uncorrected=0, hot_ms=0, throttled_ms=0, nvlinks_down=0
    )
    sample = Sample(
        xids=((79, 1),), ecc_uncorrected=9, temperature_c=99, slowdown_c=87, slowdowns=8, nvlinks=0
    )
    known = Watched(nvlinks=18)
    for now in range(0, 1_000_000, 10_000):
        known = judge(known, sample, off, now)
    assert known.faults == ()


# --- in a factory -----------------------------------------------------------------------------------------------------

NODE = Node(
    name="n", gpu_model="H100", gpus=4, gpu_ids=("GPU-a", "GPU-b", "GPU-c", "GPU-d"), cpus_milli=64_000,
    memory_mib=512_000,
)  # fmt: skip


def fault(index: int, at_ms: int, *, fatal: bool = True) -> GpuFault:
    return GpuFault(index=index, kind=FaultKind.XID, at_ms=at_ms, fatal=fatal, code=79, why="Xid 79")


def sick(node: Node, *faults: GpuFault) -> Node:
    return replace(node, gpu_faults=faults)


def test_a_fault_becomes_a_quarantine_once():
    (made,) = health.called_for(sick(NODE, fault(1, 50)), {})
    assert (made.key, made.since_ms, made.fatal, made.out) == ("n|GPU-b", 50, True, True)
    assert health.called_for(sick(NODE, fault(1, 50), fault(1, 60)), {made.key: made}) == []


def test_a_graver_fault_replaces_a_lighter_one():
    (light,) = health.called_for(sick(NODE, fault(1, 50, fatal=False)), {})
    (grave,) = health.called_for(sick(NODE, fault(1, 70)), {light.key: light})
    assert (grave.since_ms, grave.fatal, grave.version) == (70, True, 2)


def test_after_a_return_only_news_count():
    (made,) = health.called_for(sick(NODE, fault(1, 50)), {})
    back = {made.key: replace(made, returned_ms=100)}
    assert health.called_for(sick(NODE, fault(1, 50)), back) == []
    (again,) = health.called_for(sick(NODE, fault(1, 101)), back)
    assert again.out


def test_what_is_in_quarantine_is_not_offered():
    (made,) = health.called_for(sick(NODE, fault(1, 50)), {})
    assert health.offered(NODE, [made]).gpus_sick == (1,)
    assert health.offered(replace(NODE, gpus_sick=(3,)), [made]).gpus_sick == (1, 3)
    assert health.offered(NODE, [replace(made, returned_ms=60)]) == NODE
    assert health.offered(NODE, [replace(made, node="other")]) == NODE
    whole = health.offered(NODE, [replace(made, gpu="")])
    assert (whole.gpus_sick, whole.health) == ((0, 1, 2, 3), NodeHealth.SICK)


def test_a_gpu_keeps_its_quarantine_under_another_index():
    (made,) = health.called_for(sick(NODE, fault(1, 50)), {})
    moved = replace(NODE, gpu_ids=("GPU-b", "GPU-a", "GPU-c", "GPU-d"))
    assert health.offered(moved, [made]).gpus_sick == (0,)


def running(*, preemptible: bool = True) -> Factory:
    """Two runs on two GPUs each."""
    made = Factory()
    made.tenant()
    made.tell(NodePut(node=NODE))
    made.now_ms = 1_000
    for name in ("one", "two"):
        made.submit(name, spec(gpus=2, preemptible=preemptible))
    made.tick()
    return made


def strike(made: Factory, gpu: str, *, fatal: bool = True) -> Quarantine:
    quarantine = Quarantine(node="n", gpu=gpu, kind=FaultKind.XID, code=79, fatal=fatal, since_ms=made.now_ms)
    node = health.offered(NODE, [quarantine])
    made.tell(QuarantinePut(quarantine=quarantine), NodePut(node=node))
    return quarantine


def test_a_run_on_a_sick_gpu_is_ended_whether_it_may_be_preempted_or_not():
    made = running(preemptible=False)
    made.now_ms = 5_000
    strike(made, "GPU-b")
    assert [(stop.run, stop.cause) for stop in made.tick().stops] == [("one.1", Cause.GPU_FAILED)]
    assert made.tick().stops == ()


def test_a_run_on_a_gpu_that_wears_out_is_drained_if_it_may_be():
    made = running()
    strike(made, "GPU-c", fatal=False)
    assert [(stop.run, stop.cause) for stop in made.tick().stops] == [("two.1", Cause.DRAINED)]
    made = running(preemptible=False)
    strike(made, "GPU-c", fatal=False)
    assert made.tick().stops == ()


def test_time_after_the_fault_is_not_charged():
    made = running()
    made.now_ms = 5_000
    strike(made, "GPU-b")
    run = made.state.runs["one.1"]
    since = health.fault_ms(made.state, run)
    assert since == 5_000
    assert health.fault_ms(made.state, made.state.runs["two.1"]) is None
    used = Usage(wall_ms=8_000, gpu_ms=16_000, cpu_ms=77, energy_mj=5)
    assert health.charged(used, run, 9_000, since) == replace(used, wall_ms=4_000, gpu_ms=8_000)
    assert health.charged(used, run, 100_000, since) == replace(used, wall_ms=0, gpu_ms=0)
    assert health.charged(used, run, 4_000, since) == used


def test_a_fault_from_before_the_run_takes_nothing_off():
    made = running()
    run = made.state.runs["one.1"]
    quarantine = Quarantine(node="n", gpu="GPU-a", kind=FaultKind.XID, fatal=True, since_ms=run.placed_ms - 1)
    made.tell(QuarantinePut(quarantine=quarantine))
    assert health.fault_ms(made.state, run) is None


def test_who_waits_for_a_gpu_in_quarantine_is_told_so():
    made = Factory()
    made.tenant()
    made.tell(NodePut(node=NODE))
    strike(made, "GPU-b")
    made.submit("big", spec(gpus=4))
    made.now_ms += 5_000
    said = explain(made.state, made.tick(), "big", made.now_ms)
    assert said.reason is Waiting.GPUS_QUARANTINED
    assert said.values == {"asked": 4, "quarantined": 1}
    assert said.sentence == "it asks for 4 H100 on one node, and 1 of them here is in quarantine"


def test_who_waits_for_a_node_in_quarantine_is_told_so():
    made = Factory()
    made.tenant()
    made.node("cpu", gpus=0)
    out = Quarantine(node="cpu", kind=FaultKind.OPERATOR, since_ms=1)
    made.tell(QuarantinePut(quarantine=out))
    made.node("cpu", gpus=0, health=NodeHealth.SICK)
    made.submit("any", spec(gpus=0))
    made.now_ms += 5_000
    assert explain(made.state, made.tick(), "any", made.now_ms).reason is Waiting.GPUS_QUARANTINED
