"""Whether a run that ended gave an answer, or was only interrupted: by its cause, the same for every engine."""

from __future__ import annotations

from typing import Final

from tawtin.model.reasons import Cause
from tawtin.model.workload import Outcome

INTERRUPTIONS: Final = frozenset(
    {
        Cause.PREEMPTED,
        Cause.DRAINED,
        Cause.RESIDENCY,
        Cause.SUPERVISOR_LOST,
        Cause.HOST_RESTARTED,
        Cause.NODE_FAILED,
        Cause.GPU_FAILED,
        Cause.ENGINE_ENDED,
        Cause.LEASE_EXPIRED,
        Cause.FENCED,
    }
)
"""Runs that ended so gave no answer, and publish nothing; the workload runs again."""


def outcome_of(cause: Cause) -> Outcome:
    """How a run ended that an engine ended, or saw end, for `cause`."""
    if cause is Cause.CANCELLED:
        return Outcome.CANCELLED
    return Outcome.INTERRUPTED if cause in INTERRUPTIONS else Outcome.FINISHED
