"""From a run's exit record to its last report: outputs are kept, or its checkpoint, or it was its GPU that failed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from tawtin.core.outcome import INTERRUPTIONS
from tawtin.engines.local import orders, verdict
from tawtin.engines.local.folders import Folders
from tawtin.engines.local.gpus import Gpu
from tawtin.engines.local.orders import Exit
from tawtin.engines.shared import durable, folders, places
from tawtin.engines.shared.folders import OrderNote, Result
from tawtin.model.health import GpuFault
from tawtin.model.reasons import Cause
from tawtin.ports import Artifacts, Report

_SUSPECT: Final = frozenset({Cause.COMPLETED.value, Cause.SETUP_FAILED.value})
"""Ends of a program by itself, which its GPU may have been behind."""
_EARLY_MS: Final = 2_000
_LATE_MS: Final = 10_000
"""A fault that is seen so long before a run's start, or after its end, is still of that run: looks take their time."""


def suspects(record: Exit, note: OrderNote) -> bool:
    """Whether a run may have failed because of its GPU, so that one looks at that before anything is said."""
    return bool(note.gpus) and record["cause"] in _SUSPECT and record["exit_code"] != 0


def is_slow(record: Exit, note: OrderNote) -> bool:
    """Whether there is more to do at the end of a run than to report it."""
    return bool(note.outputs or note.checkpoint or note.home) or suspects(record, note)


def fault_of(record: Exit, note: OrderNote, gpus: Sequence[Gpu]) -> GpuFault | None:
    """The fault of a GPU that made a run's program fail, if one did."""
    if not suspects(record, note) or record["started_ms"] is None:
        return None
    first, last = record["started_ms"] - _EARLY_MS, record["ended_ms"] + _LATE_MS
    faults = (
        fault
        for gpu in gpus
        if gpu.uuid in note.gpus
        for fault in gpu.faults
        if fault.fatal and first <= fault.at_ms <= last
    )
    return min(faults, key=lambda each: each.at_ms, default=None)


def settle(run: str, folder: str, kept: Folders, artifacts: Artifacts, gpus: Sequence[Gpu]) -> Report | None:
    """The last report of a run, once what has to be kept of it is; None if it is not over. Raises OSError."""
    record = verdict.read_exit(folder)
    if record is None:
        return None
    note = folders.read_note(folder, run)
    fault = fault_of(record, note, gpus)
    if fault is not None:  # from here on, whatever becomes of what is known of the GPU
        why = f"its program ended with exit code {record['exit_code']} as its GPU failed: {fault.why}"
        record["cause"], record["exit_code"], record["message"] = Cause.GPU_FAILED.value, None, why
        durable.write_json(os.path.join(folder, orders.EXIT), record)
    cause = Cause(record["cause"])
    result = folders.read_result(folder) or Result()
    if cause in INTERRUPTIONS:
        kept.keep(folder, run)
    else:
        if record["started_ms"] is not None and note.outputs:
            result = folders.collect_outputs(folder, note, artifacts)
        kept.drop(run)
    durable.remove_tree(os.path.join(folder, places.FILES))
    return verdict.report_end(run, record, result)
