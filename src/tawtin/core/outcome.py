"""Whether a run that ended gave an answer, or was only interrupted: by its cause, the same for every engine."""

from __future__ import annotations

from typing import Final

from tawtin.model.reasons import Cause
from tawtin.model.workload import Outcome, WorkloadSpec

INTERRUPTIONS: Final = frozenset(
    {
        Cause.NOT_READY,
        Cause.RESTED,
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


def of_spec(outcome: Outcome, spec: WorkloadSpec) -> Outcome:
    """What the end of a run is to its workload: a service has no answer to give, so that it was only interrupted."""
    if spec.service is not None and outcome is Outcome.FINISHED:
        return Outcome.INTERRUPTED
    return outcome
