"""What became of a run, read from its folder; and making sure that nothing of a lost one still runs."""

from __future__ import annotations

import contextlib
import os
import time
from typing import cast

import msgspec

from tawtin.core.outcome import outcome_of
from tawtin.engines.local import orders, spawn
from tawtin.engines.local.cgroups import Group
from tawtin.engines.local.meter import boot_ms, descendants
from tawtin.engines.local.orders import Exit, UsageNow
from tawtin.engines.shared import durable, places
from tawtin.engines.shared.folders import Result
from tawtin.model.reasons import Cause
from tawtin.model.workload import Usage
from tawtin.ports import Report

_NOTHING: UsageNow = {
    "wall_ms": 0, "cpu_ms": 0, "memory_peak_mib": 0, "disk_peak_mib": 0, "gpu_model": "", "gpu_ms": 0,
    "gpus_declared": False, "bytes_in": 0, "bytes_out": 0, "energy_mj": None,
}  # fmt: skip


def _usage(said: object) -> Usage:
    return msgspec.convert(said, Usage)


def read_exit(folder: str) -> Exit | None:
    """The exit record, if there is one."""
    return cast("Exit | None", durable.read_json(os.path.join(folder, orders.EXIT)))


def report_end(run: str, record: Exit, result: Result) -> Report:
    """The last report of a run."""
    cause = Cause(record["cause"])
    usage = msgspec.structs.replace(_usage(record["usage"]), bytes_out=result.bytes_out)
    message = "; ".join(part for part in (record["message"], result.message) if part)
    return Report(
        run=run,
        started_ms=record["started_ms"],
        ended_ms=record["ended_ms"],
        outcome=outcome_of(cause),
        cause=cause,
        exit_code=record["exit_code"],
        message=message,
        usage=usage,
        outputs=result.outputs,
    )


def report_progress(run: str, folder: str) -> Report:
    """What is known of a run that goes on."""
    now = durable.read_json(os.path.join(folder, orders.STATE))
    if now is None or now.get("started_ms") is None:
        return Report(run=run)
    return Report(run=run, started_ms=now["started_ms"], usage=_usage(now["usage"]))


def record_loss(folder: str) -> bool:
    """Record that a run's supervisor is gone, once nothing of the run is left; return whether that is so.

    False: the supervisor lives, or a process could not be killed yet. Raises OSError.
    """
    lock = durable.lock_file(os.path.join(folder, places.ORDER))
    if lock is None:
        return False
    try:
        if read_exit(folder) is not None:
            return True
        process = durable.read_json(os.path.join(folder, orders.STATE)) or {}
        restarted = _host_restarted(folder, process.get("boot"))
        if not restarted and not _end_all(folder, process):
            return False
        asked = durable.read_json(os.path.join(folder, orders.STOP)) or {}
        cause = Cause.HOST_RESTARTED if restarted else Cause.SUPERVISOR_LOST
        message = (
            "the machine restarted under it"
            if restarted
            else "its supervisor disappeared without an exit record"
        )
        ended_ms = time.time_ns() // 1_000_000
        if (
            restarted
        ):  # it was over when the machine went down, of which the last sign of life is the closest we know
            with contextlib.suppress(OSError):
                ended_ms = os.stat(os.path.join(folder, orders.STATE)).st_mtime_ns // 1_000_000
        record: Exit = {
            "started_ms": process.get("started_ms"),
            "ended_ms": ended_ms,
            "cause": str(asked.get("cause", cause.value)),
            "exit_code": None,
            "message": message,
            "usage": process.get("usage", _NOTHING),
        }
        durable.write_json(os.path.join(folder, orders.EXIT), record)
        return True
    finally:
        os.close(lock)


def _host_restarted(folder: str, boot: object) -> bool:
    if isinstance(boot, str):
        return boot != durable.boot_id()
    started = time.time() - boot_ms() / 1000
    return os.stat(folder).st_mtime < started


def _end_all(folder: str, process: dict[str, object]) -> bool:
    """Kill every process that a supervisor may have left; return whether none is there any more."""
    gone = True
    for name in ("inner", "outer"):
        known = process.get(name)
        if isinstance(known, list):
            pid, ticks = cast("list[int]", known)
            below = [] if process.get("sandboxed") else descendants(pid)
            gone = durable.kill_confirmed(pid, ticks, 5.0) and gone
            for child in below:
                ticks_below = durable.start_ticks(child)
                if ticks_below is not None:
                    gone = durable.kill_confirmed(child, ticks_below, 5.0) and gone
    group = Group(cast("dict[str, str]", process.get("cgroup") or {}), str(process.get("group")))
    if group:
        gone = group.kill(5.0) and gone
        group.remove()
    else:
        gone = _kill_marked(folder) and gone
    return gone


def _kill_marked(folder: str) -> bool:
    """Without a control group: kill whoever carries the run's mark in its environment."""
    mark = f"{spawn.mark(folder)}\0".encode()
    gone = True
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
            if mark in file.read():
                ticks = durable.start_ticks(int(name))
                if ticks is not None:
                    gone = durable.kill_confirmed(int(name), ticks, 5.0) and gone
    return gone
