"""From what Slurm and a run's folder say to what the factory is told: what has begun, how it ended, what it used."""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from typing import Final, NamedTuple

import msgspec

from tawtin.engines.slurm import scripts
from tawtin.engines.slurm.book import Note
from tawtin.engines.slurm.client import Job
from tawtin.model.reasons import Cause
from tawtin.model.workload import Usage

WAITS: Final = frozenset(
    {"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT"}
)
"""A job in one of these has not begun."""
RUNS: Final = frozenset(
    {"RUNNING", "SUSPENDED", "STOPPED", "SIGNALING", "COMPLETING", "STAGE_OUT", "RESIZING"}
)
ENDED: Final = {
    "TIMEOUT": (Cause.TIME_LIMIT, "Slurm ended it at the time limit of its job"),
    "DEADLINE": (Cause.TIME_LIMIT, "Slurm ended it at its deadline"),
    "OUT_OF_MEMORY": (Cause.OUT_OF_MEMORY, "it used more memory than it asked for"),
    "NODE_FAIL": (Cause.NODE_FAILED, "Slurm lost a node that it ran on"),
    "BOOT_FAIL": (Cause.NODE_FAILED, "its node did not start"),
    "LAUNCH_FAILED": (Cause.NODE_FAILED, "its node could not start it"),
    "PREEMPTED": (Cause.PREEMPTED, "Slurm preempted it for other work of the cluster"),
    "REVOKED": (Cause.PREEMPTED, "Slurm gave it to another cluster"),
    "CANCELLED": (Cause.ENGINE_ENDED, "somebody cancelled its job in Slurm"),
    "FAILED": (
        Cause.NODE_FAILED,
        "its job ended and wrote nothing down: the node, or its file system, failed",
    ),
    "COMPLETED": (
        Cause.NODE_FAILED,
        "its job ended and wrote nothing down: the node, or its file system, failed",
    ),
}
"""What it means if a job ends in this state and its script wrote down nothing."""
SIGNALLED: Final = 128
"""A shell's exit code of a program that a signal ended is this and the signal's number."""
_TIMES: Final = re.compile(r"(\d+)m([\d.,]+)s")


class End(NamedTuple):
    """How a run ended."""

    cause: Cause
    exit_code: int | None
    ended_ms: int
    message: str = ""
    by_node: bool = False
    """`ended_ms` is by the clock of the node, as `began_ms` is."""

    @property
    def doubtful(self) -> bool:
        """Whether its script cannot know why: it was told to end, or what it ran was ended by a signal."""
        by_signal = (
            self.cause is Cause.COMPLETED and self.exit_code is not None and self.exit_code > SIGNALLED
        )
        return self.by_node and (self.cause is Cause.ENGINE_ENDED or by_signal)


def began_ms(folder: str) -> int | None:
    """When the job's script began, if it has."""
    text = _read(os.path.join(folder, scripts.BEGAN))
    return int(text) if text.strip().isdecimal() else None


def written_end(folder: str, stop: Cause | None) -> End | None:
    """How the job's script says that it ended; `stop` is why it was asked to, if it was. None if it has not."""
    fields = _read(os.path.join(folder, scripts.EXIT)).split()
    if len(fields) != 4 or not fields[0].isdecimal() or not fields[1].isdecimal():
        return None
    code, ended_ms, step, told = int(fields[0]), int(fields[1]), fields[2], fields[3]
    if any(name.startswith(scripts.LIMIT) for name in os.listdir(folder)):
        return End(Cause.TIME_LIMIT, None, ended_ms, "it ran past its maximum duration", by_node=True)
    if told == "asked" and stop is not None:
        return End(stop, None, ended_ms, by_node=True)
    if told == "term":
        return End(
            Cause.ENGINE_ENDED, None, ended_ms, "it was told to end, and not by the factory", by_node=True
        )
    if step == "setup":
        return End(Cause.SETUP_FAILED, code, ended_ms, f"its setup ended with exit code {code}", by_node=True)
    return End(Cause.COMPLETED, code, ended_ms, by_node=True)


def end_by_slurm(job: Job, stop: Cause | None, written: End | None = None) -> End:
    """How a job ended whose script wrote nothing down, or only that it was told to end."""
    now_ms = written.ended_ms if written else time.time_ns() // 1_000_000
    by_node = written is not None
    state = job.state
    cause, message = ENDED.get(state, (Cause.NODE_FAILED, f"its job ended as {state}"))
    if stop is not None and state in {"CANCELLED", "FAILED", "COMPLETED", "TIMEOUT"}:
        return End(stop, None, now_ms, by_node=by_node)
    if written is not None and state in {"FAILED", "COMPLETED"}:
        return written
    if state == "OUT_OF_MEMORY":
        return End(cause, 137, now_ms, message, by_node)
    why = "" if job.reason in {"", "None"} else f", {job.reason}"
    return End(cause, None, now_ms, f"{message} ({state}{why})", by_node)


def is_dead(state: str) -> bool:
    """Whether nothing of a job in this state runs any more; not if it is not known."""
    return bool(state) and state not in WAITS | RUNS


def usage(folder: str, note: Note, wall_ms: int) -> Usage:
    """What it used so far; processor time is known when it is over."""
    cpu_ms = 0
    with suppress(OSError):
        for name in os.listdir(folder):
            if name.startswith(scripts.CPU):
                cpu_ms += sum(
                    _milliseconds(*part) for part in _TIMES.findall(_read(os.path.join(folder, name)))
                )
    return Usage(
        wall_ms=wall_ms,
        cpu_ms=cpu_ms,
        gpu_model=note.gpu_model,
        gpu_ms=note.gpus * len(note.nodes) * wall_ms,
        gpus_declared=note.declared,
        bytes_in=note.bytes_in,
    )


def with_output(used: Usage, bytes_out: int) -> Usage:
    """The same with the bytes of its outputs."""
    return msgspec.structs.replace(used, bytes_out=bytes_out)


def _milliseconds(minutes: str, seconds: str) -> int:
    whole, _, part = seconds.replace(",", ".").partition(".")
    return int(minutes) * 60_000 + int(whole) * 1000 + int(f"{part:0<3}"[:3])


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(4096)
    except OSError:
        return ""
