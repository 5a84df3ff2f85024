"""What is remembered of each run beside its folder: a few words on disk, so that the next control plane goes on."""

from __future__ import annotations

import os
from dataclasses import dataclass

import msgspec

from tawtin.engines.shared import durable
from tawtin.engines.shared.cluster import Phase
from tawtin.model.base import Record
from tawtin.model.reasons import Cause
from tawtin.model.workload import Output
from tawtin.ports import Report

NOTE = "order.json"
"""What is needed of the order after a restart; nothing secret."""
JOB = "job"
"""The id of its job, once that is known."""
STOP = "stop.json"
NEVER = "never.json"
"""It ended before it had a job: why."""


class Note(Record, frozen=True, kw_only=True):
    """What reports and outputs need of an order."""

    run: str
    tenant: str = ""
    outputs: tuple[Output, ...] = ()
    submit: tuple[str, ...] = ()
    """See `cluster.Given`."""
    nodes: tuple[str, ...] = ()
    cpus: int = 0
    """Processors on each of its nodes."""
    memory_mib: int = 0
    """Memory on each of its nodes."""
    gpus: int = 0
    """GPUs on each of its nodes."""
    indices: tuple[tuple[int, ...], ...] = ()
    """Which, by the numbers that the factory gives them, node by node."""
    gpu_model: str = ""
    declared: bool = False
    bytes_in: int = 0
    checkpoint: str = ""
    """The signal that tells it to save itself; empty for none."""
    checkpoint_grace_ms: int = 0


class Stop(Record, frozen=True, kw_only=True):
    """That it is to end."""

    cause: Cause
    grace_ms: int


class Never(Record, frozen=True, kw_only=True):
    """How a run ended that never got a job."""

    cause: Cause
    ended_ms: int
    message: str = ""


@dataclass(kw_only=True)
class Known:
    """One run, as this process knows it. Times ending in `_at` are of the monotonic clock, 0 for never."""

    run: str
    folder: str
    note: Note
    job: str = ""
    """The id of its job; empty while none is known."""
    phase: Phase | None = None
    """Where its job is; None while that is not known, also if its id may be another job's now."""
    tried_at: float = 0.0
    """When it was last submitted: an answer of the cluster from before that says nothing about it."""
    stop: Stop | None = None
    stage: int = 0
    """How far its ending has come, see `ending`."""
    stage_at: float = 0.0
    gone_at: float = 0.0
    """Since when the cluster does not know its job, or says that it is over while its script wrote down nothing."""
    began_ms: int | None = None
    """When its script began, by the node's clock."""
    started_ms: int | None = None
    """The same by a clock that agrees with ours."""
    over: bool = False
    """Its end is known; what follows is collecting and reporting."""
    busy: bool = False
    """A worker has it."""
    report: Report | None = None
    said_at: float = 0.0

    @property
    def cause(self) -> Cause | None:
        """Why it is to end, if it is."""
        return self.stop.cause if self.stop else None


def read(folder: str, name: str, kind: type[Record]) -> Record | None:
    """A record of a run's folder, if it is there and sound."""
    try:
        with open(os.path.join(folder, name), "rb") as file:
            return msgspec.json.decode(file.read(), type=kind)
    except (OSError, msgspec.DecodeError):
        return None


def write(folder: str, name: str, record: Record) -> None:
    """Keep a record in a run's folder, durably. Raises OSError."""
    durable.write_file(os.path.join(folder, name), msgspec.json.encode(record))


def known_of(run: str, folder: str) -> Known:
    """A run from what its folder holds."""
    note, stop = read(folder, NOTE, Note), read(folder, STOP, Stop)
    return Known(
        run=run,
        folder=folder,
        note=note if isinstance(note, Note) else Note(run=run),
        stop=stop if isinstance(stop, Stop) else None,
        job=read_job(folder),
    )


def read_job(folder: str) -> str:
    """The id of a run's job; empty if none is known."""
    try:
        with open(os.path.join(folder, JOB), encoding="ascii", errors="replace") as file:
            return file.read(1024).strip()
    except OSError:
        return ""
