"""From what a run's folder and its job say to what the factory is told: what has begun, how it ended, what it used."""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from typing import Final, NamedTuple

import msgspec

from tawtin.engines.shared import scripts
from tawtin.engines.shared.book import Note
from tawtin.engines.shared.cluster import Job
from tawtin.model.reasons import Cause
from tawtin.model.workload import Usage

_OURS: Final = frozenset({None, Cause.ENGINE_ENDED, Cause.TIME_LIMIT})
"""How a job ends that we ended."""
_NOTHING: Final = "its job ended and wrote nothing down: the node, or its file system, failed"
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


def began(folder: str) -> tuple[int, str] | None:
    """When the job's script began, milliseconds, and the id of its job if it knows that; None if it has not begun."""
    fields = _line(os.path.join(folder, scripts.BEGAN))
    return (int(fields[0]), "".join(fields[1:])) if fields and fields[0].isdecimal() else None


def written_end(folder: str, stop: Cause | None) -> End | None:
    """How the job's script says that it ended; `stop` is why it was asked to, if it was. None if it has not."""
    fields = _line(os.path.join(folder, scripts.EXIT))
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


def end_of_job(job: Job, stop: Cause | None, written: End | None = None) -> End:
    """How a job ended whose script wrote nothing down, or nothing that settles it; `stop` as in `written_end`."""
    now_ms = written.ended_ms if written else time.time_ns() // 1_000_000
    by_node = written is not None
    if stop is not None and job.cause in _OURS:
        return End(stop, None, now_ms, by_node=by_node)
    if job.cause is not None:
        return End(job.cause, job.exit_code, now_ms, job.message, by_node)
    return written or End(Cause.NODE_FAILED, None, now_ms, f"{_NOTHING} {job.reason}".rstrip())


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


def _line(path: str) -> list[str]:
    """The words of a file of one line; none before it is all there."""
    text = _read(path)
    return text.split() if text.endswith("\n") else []


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read(4096)
    except OSError:
        return ""
