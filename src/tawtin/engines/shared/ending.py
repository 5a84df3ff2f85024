"""Ending a run that has begun, step by step: it is told to save itself, to end, and then it is ended."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from tawtin.engines.shared import durable, scripts
from tawtin.engines.shared.cluster import Cluster, ClusterRefusedError
from tawtin.model.reasons import Cause

if TYPE_CHECKING:
    from tawtin.engines.shared.book import Known

BEGIN, SAVING, TERMINATED, FORBIDDEN, CANCELLED = range(5)
"""Stages: nothing was done yet; it saves itself; it was told to end; its script ends it; the cluster ends it."""
_SCRIPT_S: Final = 5.0
"""A script has so long to end what it started, and to write down that it did."""
_AGAIN_S: Final = 10.0
"""So often is the cluster told again to cancel a job."""


def next_stage(known: Known, now: float) -> int | None:
    """The stage that it is time for; None if it is not time yet."""
    if (
        known.stop is None or known.phase is None
    ):  # its id may be another job's, after the cluster lost its state
        return None
    waited_ms = (now - known.stage_at) * 1000
    saves = known.stop.cause in (Cause.PREEMPTED, Cause.DRAINED) and known.note.checkpoint
    match known.stage:
        case 0:
            return SAVING if saves else TERMINATED
        case 1:
            return TERMINATED if waited_ms >= known.note.checkpoint_grace_ms else None
        case 2:
            return FORBIDDEN if waited_ms >= known.stop.grace_ms else None
        case 3:
            return CANCELLED if waited_ms >= _SCRIPT_S * 1000 else None
        case _:
            return CANCELLED if waited_ms >= _AGAIN_S * 1000 else None


def take(known: Known, stage: int, cluster: Cluster) -> None:
    """Do what a stage asks for. Raises ClusterDownError, OSError; it is tried again then."""
    with suppress(ClusterRefusedError):  # it has ended meanwhile
        if stage == SAVING:
            cluster.signal(known, known.note.checkpoint)
        elif stage == TERMINATED:
            cluster.signal(known, "TERM")
        elif stage == FORBIDDEN:
            durable.write_file(os.path.join(known.folder, scripts.FORBIDDEN), b"", sync=False)
        else:
            cluster.cancel([known.job])
    known.stage, known.stage_at = stage, time.monotonic()
