"""From Ray's states of a job to those of any cluster."""

from __future__ import annotations

from typing import Final

from tawtin.engines.ray.client import RayJob
from tawtin.engines.shared.cluster import Job, Phase
from tawtin.model.reasons import Cause

LOST_CODE: Final = 113
"""`ranks.py` ends with it if a rank was lost with its node."""
KILLED_CODE: Final = 114
"""`ranks.py` ends with it if the batch script was killed."""
_PHASES: Final = {"PENDING": Phase.WAITS, "RUNNING": Phase.RUNS}
_FAILED: Final = {
    "RUNTIME_ENV_SETUP_FAILURE": (Cause.START_FAILED, "Ray could not make its runtime environment"),
    "JOB_SUPERVISOR_ACTOR_START_TIMEOUT": (Cause.NODE_FAILED, "its node had no place for it in time"),
    "JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE": (Cause.NODE_FAILED, "its node is gone"),
    "JOB_SUPERVISOR_ACTOR_START_FAILURE": (Cause.NODE_FAILED, "its node could not start it"),
    "JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE": (Cause.NODE_FAILED, "Ray lost what watched over it"),
    "JOB_SUPERVISOR_ACTOR_DIED": (Cause.NODE_FAILED, "Ray lost its node, or what watched over it there"),
}
"""Why a job failed that did not end by itself."""


def job_of(job: RayJob, run: str) -> Job:
    """Ray's word of the job of a run."""
    phase = _PHASES.get(job.state, Phase.OVER)
    cause, message = _end(job) if phase is Phase.OVER else (None, "")
    why = f", {job.reason}" if job.reason else ""
    said = f": {job.message}" if cause is Cause.START_FAILED and job.message else ""
    return Job(
        id=job.name,
        run=run,
        phase=phase,
        reason=f"({job.state}{why})",
        cause=cause,
        message=f"{message} ({job.state}{why}){said}" if message else "",
    )


def _end(job: RayJob) -> tuple[Cause | None, str]:
    if job.state == "STOPPED":
        return Cause.ENGINE_ENDED, "somebody stopped its job in Ray"
    if job.reason in _FAILED:
        return _FAILED[job.reason]
    if job.exit_code == LOST_CODE:
        return Cause.NODE_FAILED, "Ray lost a node that a rank of it ran on"
    if job.exit_code == KILLED_CODE or (job.exit_code is not None and job.exit_code < 0):
        return Cause.ENGINE_ENDED, "somebody killed its script"
    return None, ""
