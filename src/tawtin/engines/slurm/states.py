"""From Slurm's states of a job to those of any cluster."""

from __future__ import annotations

from typing import Final

from tawtin.engines.shared.cluster import Job, Phase
from tawtin.engines.slurm.client import SlurmJob
from tawtin.model.reasons import Cause

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
}
"""Why a job is over that is in this state; FAILED and COMPLETED say no more than that it is."""
_OUT_OF_MEMORY_CODE: Final = 137


def job_of(job: SlurmJob, run: str) -> Job:
    """Slurm's word of the job of a run."""
    state = job.state
    if state in WAITS:
        phase = Phase.WAITS
    elif state in RUNS or not state:
        phase = Phase.RUNS
    else:
        phase = Phase.OVER
    cause, message = (
        (None, "")
        if state in {"FAILED", "COMPLETED"} or phase is not Phase.OVER
        else ENDED.get(state, (Cause.NODE_FAILED, f"its job ended as {state}"))
    )
    why = "" if job.reason in {"", "None"} else f", {job.reason}"
    return Job(
        id=str(job.id),
        run=run,
        phase=phase,
        reason=job.reason if phase is Phase.WAITS else f"({state}{why})",
        started_ms=1000 * job.started_s,
        cause=cause,
        exit_code=_OUT_OF_MEMORY_CODE if state == "OUT_OF_MEMORY" else None,
        message=f"{message} ({state}{why})" if message and state != "OUT_OF_MEMORY" else message,
    )
