"""The fuse: a leased run is over at its deadline, whoever else is there to end it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tawtin.engines.local.fuse import STOP_MS
from tawtin.engines.local.meter import boot_ms
from tawtin.engines.shared import durable
from tawtin.model.reasons import Cause
from tawtin.model.workload import Outcome
from tests.engines.rig import Rig

pytestmark = pytest.mark.sandbox
BEATS = "while true; do date +%s%N >> beats; sleep 0.05; done"
SOON_MS = 1_500


def begin(engine: Rig, script: str, in_ms: int, **spec: Any) -> int:  # noqa: ANN401 - fields of a spec
    """Start a run whose lease is over in so many milliseconds; return when that is."""
    fuse_ms = boot_ms() + in_ms
    engine.engine.ensure(replace(engine.order("w-1.1", script, **spec), fuse_ms=fuse_ms))
    return fuse_ms


def beats(engine: Rig) -> Path:
    return Path(engine.settings.root, "runs", "w-1.1", "files", "work", "beats")


def test_a_run_is_ended_at_its_deadline_and_not_before(engine: Rig):
    fuse_ms = begin(engine, BEATS, SOON_MS)
    report = engine.end("w-1.1")
    assert boot_ms() >= fuse_ms
    assert (report.outcome, report.cause) == (Outcome.INTERRUPTED, Cause.LEASE_EXPIRED)


def test_a_run_that_ignores_sigterm_is_dead_in_time_though_nobody_else_is_there(engine: Rig):
    """Control plane and launcher are gone; a spec that asks for a long grace does not get it."""
    fuse_ms = begin(engine, f"trap '' TERM; {BEATS}", SOON_MS, stop_grace_ms=600_000)
    engine.until(lambda: beats(engine).exists())
    pid, ticks = engine.state("w-1.1")["inner"]
    launcher = engine.engine._link.pid
    engine.engine.close()
    os.kill(launcher, signal.SIGKILL)
    while durable.still_there(pid, ticks):
        assert boot_ms() < fuse_ms + STOP_MS, "it still runs"
        time.sleep(0.02)
    assert boot_ms() >= fuse_ms
    engine.said.clear()
    engine.open()
    assert engine.end("w-1.1").cause is Cause.LEASE_EXPIRED


def test_a_run_whose_lease_goes_on_goes_on(engine: Rig):
    fuse_ms = begin(engine, "sleep 4; echo done", SOON_MS)
    engine.until(lambda: engine.last("w-1.1"))
    engine.engine.extend("w-1.1", fuse_ms + 2_000)
    time.sleep(2)
    engine.engine.extend("w-1.1", fuse_ms + 60_000)
    engine.engine.extend("w-1.1", fuse_ms + 1)
    report = engine.end("w-1.1")
    assert (report.outcome, report.exit_code) == (Outcome.FINISHED, 0)


def test_a_deadline_that_has_passed_starts_nothing(engine: Rig):
    begin(engine, "echo started", -1)
    report = engine.end("w-1.1")
    assert (report.outcome, report.cause, report.started_ms) == (
        Outcome.INTERRUPTED,
        Cause.LEASE_EXPIRED,
        None,
    )
    assert engine.text("w-1.1") == ""


def test_a_grant_of_another_boot_counts_nothing(engine: Rig):
    fuse_ms = begin(engine, BEATS, SOON_MS)
    engine.until(lambda: beats(engine).exists())
    folder = Path(engine.settings.root, "runs", "w-1.1")
    (folder / "fuse.json").write_text(f'{{"until_ms": {fuse_ms + 10**9}, "boot": "another"}}')
    assert engine.end("w-1.1").cause is Cause.LEASE_EXPIRED


def test_a_dead_lease_is_not_revived_and_strangers_are_left_alone(engine: Rig):
    begin(engine, BEATS, SOON_MS)
    engine.end("w-1.1")
    engine.engine.extend("w-1.1", boot_ms() + 60_000)
    engine.engine.extend("w-9.9", boot_ms() + 60_000)
    time.sleep(0.5)
    last = engine.last("w-1.1")
    assert last is not None
    assert last.cause is Cause.LEASE_EXPIRED


def test_a_program_that_ended_first_has_finished(engine: Rig):
    begin(engine, "exit 3", 60_000)
    report = engine.end("w-1.1")
    assert (report.outcome, report.exit_code) == (Outcome.FINISHED, 3)


def test_a_set_up_that_outlasts_the_lease_is_ended_too(engine: Rig):
    begin(engine, "echo never", SOON_MS, setup="sleep 600")
    assert engine.end("w-1.1").cause is Cause.LEASE_EXPIRED


def test_a_killed_supervisor_takes_its_run_along(engine: Rig):
    """That is why the promise needs the sandbox."""
    begin(engine, BEATS, 600_000)
    engine.until(lambda: beats(engine).exists())
    os.kill(engine.supervisor("w-1.1"), signal.SIGKILL)
    report = engine.end("w-1.1")
    assert (report.outcome, report.cause) == (Outcome.INTERRUPTED, Cause.SUPERVISOR_LOST)
    assert engine.engine.fuse_stop_ms() == STOP_MS
