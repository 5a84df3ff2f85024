"""A GPU falls sick under a run, by a stand-in for the driver: who ends, what is kept, what comes back."""

# ruff: noqa: ANN401 - fields of a spec are handed on
from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tawtin.core.state import State
from tawtin.engines.local.settings import LocalSettings
from tawtin.engines.local.ward import Ward, xids
from tawtin.model.events import RunEnded, TenantPut, WorkloadsSubmitted
from tawtin.model.health import BurnIn, FaultKind, HealthLimits
from tawtin.model.reasons import Cause
from tawtin.model.resources import Demand, Shape
from tawtin.model.tenant import Tenant
from tawtin.model.workload import Checkpoint, Outcome, Workload, WorkloadSpec
from tawtin.runtime.factory import Effects, Factory
from tawtin.runtime.system import SystemClock
from tests.engines.nvml import FakeNvml, card
from tests.engines.rig import Rig, rig
from tests.runtime.shell import SITE

LIMITS = HealthLimits(look_ms=200)
GPU = Shape(gpu_model="H100", gpus=1, memory_mib=256)


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    made = FakeNvml([card(f"GPU-{letter}") for letter in "abc"])
    monkeypatch.setitem(sys.modules, "pynvml", made)
    return made


@pytest.fixture
def engine(nvml: FakeNvml, tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path, gpus_real=True, health=LIMITS, node="here", cpus_milli=8000) as made:
        yield made


# --- the ward ---------------------------------------------------------------------------------------------------------


def ward(
    folder: Path, *, idle: bool = False, on_xid: Callable[[], None] = lambda: None, log: str = "/nowhere"
):
    made = Ward(str(folder / "gpus.json"), LIMITS, kernel_log=log)
    made.open(idle=idle, on_xid=on_xid)
    return made


def names(made: Ward) -> list[str]:
    return [gpu.uuid for gpu in made.gpus]


def test_a_gpu_keeps_its_index_though_the_driver_loses_another(nvml: FakeNvml, tmp_path: Path) -> None:
    first = ward(tmp_path)
    del nvml.cards[0]
    for _ in range(2):
        first.look()
    first.close()
    assert names(first) == ["GPU-a", "GPU-b", "GPU-c"]
    assert [[fault.kind for fault in gpu.faults] for gpu in first.gpus] == [[FaultKind.LOST], [], []]
    again = ward(tmp_path)
    again.close()
    assert again.gpus == first.gpus
    anew = ward(tmp_path, idle=True)
    anew.close()
    assert names(anew) == ["GPU-b", "GPU-c"]


def test_a_driver_that_does_not_answer_makes_nothing_sick(nvml: FakeNvml, tmp_path: Path) -> None:
    made = ward(tmp_path)
    nvml.down = "driver/library version mismatch"
    for _ in range(3):
        assert not made.look()
    made.close()
    assert names(made) == ["GPU-a", "GPU-b", "GPU-c"]
    assert "version mismatch" in made.note
    assert not any(gpu.faults for gpu in made.gpus)


def test_a_fault_that_lasts_is_no_news_after_a_restart(nvml: FakeNvml, tmp_path: Path) -> None:
    nvml.of("GPU-b")["ecc"] = 3
    first = ward(tmp_path)
    first.close()
    again = ward(tmp_path)
    again.close()
    assert again.gpus == first.gpus
    (fault,) = again.gpus[1].faults
    assert (fault.kind, fault.why) == (FaultKind.ECC, "3 uncorrected memory errors")


def test_errors_of_the_time_in_which_nobody_listened_are_in_the_kernels_log(
    nvml: FakeNvml, tmp_path: Path
) -> None:
    ward(tmp_path).close()
    now_us = (time.monotonic_ns() + 1_000_000_000) // 1000
    log = tmp_path / "kmsg"
    log.write_text(
        "6,1,5,-;NVRM: Xid (PCI:0000:01:00): 79, an old one of this start\n"
        "6,2,500,-;usb 1-1: new device\n"
        f"4,3,{now_us},-;NVRM: Xid (PCI:0000:02:00): 48, pid='<unknown>', name=<unknown>, DBE\n"
        f"4,4,{now_us},-;NVRM: Xid (PCI:0000:02:00): 13, pid=7, name=python3, Graphics SM Warp Exception\n"
    )
    made = ward(tmp_path, log=str(log))
    made.close()
    assert [[fault.code for fault in gpu.faults] for gpu in made.gpus] == [[], [48], []]


def test_lines_of_the_kernels_log_are_read_as_drivers_of_several_ages_write_them() -> None:
    lines = [
        "4,9,2000000,-;NVRM: Xid (PCI:0000:3b:00): 79, pid=1, name=python3, GPU has fallen off the bus.",
        "4,9,3000000,-,caller=T1;NVRM: Xid (0000:AF:00): 48, DBE",
        "4,9,x,-;NVRM: Xid (0000:AF:00): 48, DBE",
        "no line at all",
    ]
    assert xids(lines, 1_000) == [("0000:3b:00", 79, 3_000), ("0000:af:00", 48, 4_000)]


def test_a_slice_is_sick_with_its_gpu(nvml: FakeNvml, tmp_path: Path) -> None:
    nvml.cards[:] = [card("GPU-m", slices=[("NVIDIA H100 MIG 1g.10gb", f"MIG-{n}") for n in range(2)])]
    made = ward(tmp_path)
    nvml.xid("GPU-m", 95)
    end = time.monotonic() + 10
    while not any(gpu.faults for gpu in made.gpus) and time.monotonic() < end:
        time.sleep(0.02)
        made.look()
    made.close()
    assert [(gpu.model, [each.code for each in gpu.faults]) for gpu in made.gpus] == [
        ("H100-MIG-1G.10GB", [95]),
        ("H100-MIG-1G.10GB", [95]),
    ]


# --- the engine -------------------------------------------------------------------------------------------------------


def start(engine: Rig, run: str, script: str, gpu: int = 0, **spec: Any) -> None:
    order = engine.order(run, script, shape=GPU, **spec)
    slots = (msgspec.structs.replace(order.slots[0], gpus=(gpu,)),)
    engine.engine.ensure(msgspec.structs.replace(order, slots=slots, gpus_declared=False))


def test_an_error_of_the_driver_is_said_at_once_of_the_run_that_holds_the_gpu(
    engine: Rig, nvml: FakeNvml
) -> None:
    start(engine, "wl-a.1", "echo up; sleep 60")
    engine.says("wl-a.1", "up")
    nvml.xid("GPU-b", 79)
    nvml.xid("GPU-a", 48)
    engine.until(lambda: any(report.nodes for report in engine.said.get("wl-a.1", ())))
    (node,) = next(report.nodes for report in engine.said["wl-a.1"] if report.nodes)
    assert ("GPU-a", 48) in {(node.gpu_ids[each.index], each.code) for each in node.gpu_faults}
    assert node.gpus == 3


def test_a_program_that_its_gpu_ended_has_not_failed(engine: Rig, nvml: FakeNvml) -> None:
    start(engine, "wl-b.1", "until [ -e go ]; do sleep 0.05; done; exit 1")
    engine.until(lambda: engine.last("wl-b.1"))
    nvml.of("GPU-a")["ecc"] = 1
    engine.go_on("wl-b.1")
    report = engine.end("wl-b.1")
    assert (report.outcome, report.cause, report.exit_code) == (Outcome.INTERRUPTED, Cause.GPU_FAILED, None)
    assert "exit code 1 as its GPU failed: 1 uncorrected memory errors" in report.message
    assert [[each.index for each in node.gpu_faults] for node in report.nodes] == [[0]]
    engine.reopen()
    assert engine.end("wl-b.1").cause is Cause.GPU_FAILED


def test_a_program_that_fails_on_a_well_gpu_has_failed(engine: Rig, nvml: FakeNvml) -> None:
    nvml.of("GPU-b")["ecc"] = 1
    start(engine, "wl-c.1", "exit 1")
    report = engine.end("wl-c.1")
    assert (report.outcome, report.cause, report.exit_code) == (Outcome.FINISHED, Cause.COMPLETED, 1)


STEPS = """
step=$(cat "$TAWTIN_CHECKPOINT/step" 2>/dev/null || echo 0)
echo "from $step on $CUDA_VISIBLE_DEVICES"
while [ $step -lt 20 ]; do
    step=$((step + 1)); echo $step >"$TAWTIN_CHECKPOINT/step"; echo "step $step"
    if [ $step = 3 ] && [ "$TAWTIN_EPOCH" = 1 ]; then sleep 300; fi
done
"""


def test_a_run_that_was_interrupted_hands_its_checkpoint_to_the_next_one(engine: Rig) -> None:
    start(engine, "wl-d.1", STEPS, checkpoint=Checkpoint())
    engine.says("wl-d.1", "step 3")
    engine.engine.stop("wl-d.1", Cause.PREEMPTED, 0)
    assert engine.end("wl-d.1").cause is Cause.PREEMPTED
    engine.engine.ensure(  # cannot start: what it would have read is not lost for it
        engine.order("wl-d.2", STEPS, checkpoint=Checkpoint(), workdir=f"sha256:{0:064x}")
    )
    assert engine.end("wl-d.2").cause is Cause.START_FAILED
    start(engine, "wl-d.3", STEPS, checkpoint=Checkpoint())
    assert engine.end("wl-d.3").exit_code == 0
    assert engine.text("wl-d.3").splitlines()[:2] == ["from 3 on GPU-a", "step 4"]
    start(engine, "wl-d.4", STEPS, checkpoint=Checkpoint())
    assert engine.end("wl-d.4").exit_code == 0
    assert engine.text("wl-d.4").splitlines()[0] == "from 0 on GPU-a"


# --- the factory ------------------------------------------------------------------------------------------------------

TRY = 'echo "$CUDA_VISIBLE_DEVICES"; until [ -e go ] || [ -e fail ]; do sleep 0.05; done; [ -e go ]'


class Shop:
    """A factory on the engine, turned by hand, whose control plane can start anew."""

    def __init__(self, engine: Rig, burn_in: BurnIn) -> None:
        self.rig = engine
        self.burn_in = burn_in
        self.log: list[Any] = []
        self.factory = Factory(SITE, State(SITE), SystemClock(), burn_in=burn_in)
        self.factory.stage(TenantPut(tenant=Tenant(id="lab", number=1, owner=True)))
        self.turn()

    def submit(self, name: str, script: str, **more: Any) -> None:
        spec = WorkloadSpec(name=name, run=script, demand=Demand(options=(GPU,)), stop_grace_ms=100, **more)
        now = self.factory.now_ms()
        workload = Workload(
            id=f"wl-{name}", tenant="lab", spec=spec, digest="d", submitted_ms=now, queued_ms=now
        )
        self.factory.stage(WorkloadsSubmitted(workloads=(workload,)))

    def turn(self) -> None:
        self.factory.see_nodes(self.rig.engine.nodes())
        for report in self.rig.engine.reports():
            self.factory.report(report)
        self.factory.tick()
        step = self.factory.take()
        if step is not None:
            self.log += step.batch.entries
            self._tell(step.effects)

    def _tell(self, effects: Effects) -> None:
        for order in effects.ensure:
            self.rig.engine.ensure(order)
        for stop in effects.stop:
            self.rig.engine.stop(stop.run, stop.cause, stop.grace_ms)
        for run in effects.forget:
            self.rig.engine.forget(run)

    def until(self, holds: Callable[[], object]) -> None:
        end = time.monotonic() + 40
        while not holds():
            assert time.monotonic() < end, (self.log[-8:], self.rig.engine.notes())
            self.turn()
            time.sleep(0.05)

    def restart(self) -> None:
        """The control plane and its engine start anew, from the log alone."""
        from tawtin.core.fold import fold

        state = State(SITE)
        for entry in self.log:
            fold(state, entry)
        self.rig.reopen()
        self.factory = Factory(SITE, state, SystemClock(), burn_in=self.burn_in)
        self.factory.resume()

    def out(self) -> list[tuple[str, str, bool]]:
        found = self.factory.state.quarantines.values()
        return [(each.gpu, each.kind.value, bool(each.trial)) for each in found if each.out]

    def gpu_of(self, run: str) -> str:
        (slot,) = self.factory.state.runs[run].slots
        return self.factory.state.nodes[slot.node].gpu_ids[slot.gpus[0]]

    def ended(self, run: str) -> RunEnded:
        return next(
            each.event for each in self.log if isinstance(each.event, RunEnded) and each.event.run == run
        )

    def text(self, run: str) -> str:
        return self.rig.text(run)


@pytest.mark.slow
def test_a_run_goes_on_from_its_checkpoint_on_another_gpu_and_the_sick_one_comes_back_after_its_burn_in(
    engine: Rig, nvml: FakeNvml
) -> None:
    shop = Shop(engine, BurnIn(script=TRY))
    shop.submit("train", STEPS, checkpoint=Checkpoint())
    shop.until(lambda: "wl-train.1" in shop.factory.state.runs and "step 3" in shop.text("wl-train.1"))
    first = shop.gpu_of("wl-train.1")
    # 1. the GPU falls sick under it
    time.sleep(1)
    nvml.xid(first, 94)
    shop.until(lambda: any(isinstance(each.event, RunEnded) for each in shop.log))
    end = shop.ended("wl-train.1")
    (quarantine,) = shop.factory.state.quarantines.values()
    assert (end.outcome, end.cause) == (Outcome.INTERRUPTED, Cause.GPU_FAILED)
    assert (quarantine.gpu, quarantine.code, quarantine.why[:6]) == (first, 94, "Xid 94")
    # 2. what came after the fault is not charged
    assert end.started_ms is not None
    assert end.usage.wall_ms <= quarantine.since_ms - end.started_ms + 50
    assert end.usage.gpu_ms == end.usage.wall_ms > 900
    assert end.ended_ms > quarantine.since_ms
    # 3. it goes on elsewhere, from its checkpoint
    shop.until(lambda: "wl-train" not in shop.factory.state.workloads)
    assert shop.text("wl-train.2").splitlines()[1] == "step 4"
    assert first not in shop.text("wl-train.2").splitlines()[0]
    # 4. it stays out, also for the next control plane
    shop.restart()
    shop.turn()
    assert shop.out() == [(first, "xid", False)]
    index = shop.factory.state.nodes["here"].gpu_ids.index(first)
    assert shop.factory.state.nodes["here"].gpus_sick == (index,)
    # 5. a burn-in job that does not pass leaves it out
    for passes in (False, True):
        quarantine = shop.factory.state.quarantines[quarantine.key]
        assert shop.factory.nodes.try_out(quarantine, "key-1") == ""
        shop.until(lambda: any(run.started_ms for run in shop.factory.state.runs.values()))
        (run,) = shop.factory.state.runs
        assert shop.gpu_of(run) == first
        shop.until(lambda run=run: shop.text(run) == f"{first}\n")
        Path(engine.settings.root, "runs", run, "files", "work", "go" if passes else "fail").touch()
        shop.until(lambda: not shop.factory.state.runs)
        if not passes:
            assert shop.out() == [(first, "burn_in", False)]
    # 6. it is back, and taken again
    assert shop.out() == []
    for number in range(3):
        shop.submit(f"fill-{number}", "sleep 60")
    shop.until(lambda: len(shop.factory.state.runs) == 3)
    assert shop.factory.state.nodes["here"].gpus_sick == ()


def test_a_burn_in_job_under_which_the_gpu_fails_does_not_pass_though_it_ends_well(
    engine: Rig, nvml: FakeNvml
) -> None:
    shop = Shop(engine, BurnIn(script=TRY))
    nvml.of("GPU-a")["ecc"] = 1
    shop.until(shop.out)
    (quarantine,) = shop.factory.state.quarantines.values()
    assert shop.factory.nodes.try_out(quarantine, "key-1") == ""
    (run,) = shop.factory.state.runs
    workload = shop.factory.state.runs[run].workload
    shop.until(lambda: shop.text(run) == "GPU-a\n")
    nvml.xid("GPU-a", 48)
    shop.until(lambda: any(each.code == 48 for each in shop.factory.state.nodes["here"].gpu_faults))
    engine.go_on(run)
    shop.until(lambda: not shop.factory.state.runs)
    (after,) = shop.factory.state.quarantines.values()
    assert (after.out, after.trial, after.tried, after.code) == (True, "", 1, 48)
    assert "during its burn-in job: Xid 48" in after.why
    assert shop.factory.state.workloads.get(workload) is None


def test_a_burn_in_job_by_itself_waits_until_what_lasts_is_over(engine: Rig, nvml: FakeNvml) -> None:
    nvml.of("GPU-c")["pending"] = 1
    shop = Shop(engine, BurnIn(script="exit 0", automatic=True))
    shop.until(shop.out)
    for _ in range(5):
        shop.turn()
        time.sleep(0.1)
    assert shop.out() == [("GPU-c", "row_remap", False)]
    nvml.of("GPU-c")["pending"] = 0
    shop.until(lambda: not shop.out())
    (back,) = shop.factory.state.quarantines.values()
    assert (back.returned_by, back.returned_ms is not None) == ("", True)


def test_limits_are_read_from_the_settings() -> None:
    table = {"health": {"xids_fatal": [79], "hot_ms": 0}}
    made = msgspec.convert(table, LocalSettings)
    assert (made.health.xids_fatal, made.health.hot_ms, made.health.look_ms) == ((79,), 0, 5_000)
