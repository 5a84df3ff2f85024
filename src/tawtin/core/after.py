"""What a workload is after a run of it: done, or waiting for the next one, perhaps after a pause."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from tawtin.core.state import State
from tawtin.model.events import RunEnded
from tawtin.model.reasons import Cause
from tawtin.model.workload import Outcome, Phase, Workload

_NO_PAUSE_AFTER: Final = (Cause.PREEMPTED, Cause.DRAINED, Cause.GPU_FAILED, Cause.RESTED)


def after_run(state: State, workload: Workload, event: RunEnded, at_ms: int, spent: int) -> Workload:
    """What `workload` is after a run of it ended; `spent` is what all its runs have cost."""
    version = workload.version + 1
    if event.outcome is Outcome.FINISHED:
        good = event.exit_code == 0 and event.cause is Cause.COMPLETED
        phase = Phase.SUCCEEDED if good else Phase.FAILED
    elif event.outcome is Outcome.CANCELLED or workload.cancel:
        phase = Phase.CANCELLED
    elif workload.guest or workload.tries:
        phase = Phase.FAILED  # what comes next is for its home, or for its operator, to say
    else:
        count = in_row = workload.interruptions + 1
        failures = _failures(state, workload, event)
        if workload.spec.service is not None:
            in_row = failures
        pause = 0
        if event.cause not in _NO_PAUSE_AFTER:
            pause = min(state.site.backoff_ms << min(in_row - 1, 40), state.site.backoff_ms_max)
        return replace(
            workload,
            phase=Phase.QUEUED,
            interruptions=count,
            failures=failures,
            queued_ms=at_ms,
            not_before_ms=at_ms + pause if pause else 0,
            spent_minor=spent,
            version=version,
        )
    return replace(
        workload,
        phase=phase,
        spent_minor=spent,
        finished_ms=at_ms,
        exit_code=event.exit_code,
        cause=event.cause,
        message=event.message,
        outputs=event.outputs,
        version=version,
    )


def _failures(state: State, workload: Workload, event: RunEnded) -> int:
    """How many runs of a replica ended early in a row; one that outlasted the longest pause begins anew."""
    if workload.spec.service is None or event.cause in _NO_PAUSE_AFTER:
        return workload.failures
    return 1 if event.usage.wall_ms >= state.site.backoff_ms_max else workload.failures + 1
