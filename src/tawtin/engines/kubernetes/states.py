"""From what Kubernetes has of a run's Job and pods to the job of any cluster."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from tawtin.engines.kubernetes import names
from tawtin.engines.kubernetes.things import Object, rows, table, text
from tawtin.engines.shared.cluster import Job, Phase
from tawtin.model.reasons import Cause

DISRUPTED: Final = {
    "PreemptionByScheduler": (Cause.PREEMPTED, "Kubernetes preempted its pod for other work of the cluster"),
    "DeletionByTaintManager": (Cause.NODE_FAILED, "its node was tainted, or is not ready"),
    "EvictionByEvictionAPI": (Cause.DRAINED, "its pod was evicted from its node"),
    "DeletionByPodGC": (Cause.NODE_FAILED, "its node is gone"),
    "TerminationByKubelet": (Cause.NODE_FAILED, "its node ended its pod"),
}
"""Reasons of the pod condition DisruptionTarget."""
NODE_ENDED: Final = {
    "Evicted": (Cause.NODE_FAILED, "its node was short of memory or disk, and evicted its pod"),
    "NodeLost": (Cause.NODE_FAILED, "its node is gone"),
    "NodeShutdown": (Cause.NODE_FAILED, "its node was shut down"),
    "Terminated": (Cause.NODE_FAILED, "its node was shut down"),
    "Shutdown": (Cause.NODE_FAILED, "its node was shut down"),
    "DeadlineExceeded": (Cause.TIME_LIMIT, "Kubernetes ended its pod at its deadline"),
}
"""Reasons that a pod itself has; others, such as `OutOfcpu`, say that its node refused it."""
PULL: Final = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
    }
)
BROKEN: Final = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_NEVER_BEGAN: Final = frozenset({"StartError", "ContainerCannotRun"})
_UNFIT: Final = frozenset({126, 127})
_OUT_OF_MEMORY_CODE: Final = 137


class Trouble(NamedTuple):
    """Why a pod does not come up."""

    reason: str
    message: str
    hopeless: bool
    """It is no image that may come yet, and no place that may get free."""


def group(jobs: Iterable[Object], pods: Iterable[Object]) -> dict[str, tuple[Object | None, list[Object]]]:
    """Run -> its Job, if there is one, and its pods."""
    found: dict[str, tuple[Object | None, list[Object]]] = {}
    for job in jobs:
        found[run_of(job)] = (job, [])
    for pod in pods:
        found.setdefault(run_of(pod), (None, []))[1].append(pod)
    return found


def run_of(thing: Object) -> str:
    """The run that an object is of; empty if it is of none."""
    return text(thing, "metadata", "annotations", names.RUN)


def job_of(
    run: str, key: str, job: Object | None, pods: list[Object], *, ran: bool, ready: Mapping[str, bool]
) -> Job:
    """A run's job. `ran`: a pod of it was seen running; `ready`: node -> whether it is."""
    lost = [pod for pod in pods if is_lost(pod, ready)]
    live = [pod for pod in pods if not is_over(pod) and pod not in lost]
    if lost:
        names_of = ", ".join(sorted({text(pod, "spec", "nodeName") for pod in lost}))
        return Job(
            id=key,
            run=run,
            phase=Phase.OVER,
            cause=Cause.NODE_FAILED,
            message=f"Kubernetes lost its node ({names_of})",
        )
    ended = [pod for pod in pods if is_over(pod)]
    wanted = int(text(job, "spec", "completions") or 1) if job is not None else 0
    if job is None and live:
        return Job(id=key, run=run, phase=Phase.RUNS, reason="its Job was deleted")
    finished = job is not None and condition(job, "Complete", "Failed") is not None
    if job is None or (not live and (finished or len(ended) >= wanted)):
        cause, code, message = why(job, ended)
        return Job(
            id=key, run=run, phase=Phase.OVER, cause=cause, exit_code=code, message=message, reason=message
        )
    running = [pod for pod in live if text(pod, "status", "phase") == "Running"]
    if running or ended or ran:
        return Job(id=key, run=run, phase=Phase.RUNS, started_ms=started_ms(running))
    return Job(id=key, run=run, phase=Phase.WAITS, reason=_waits(job, live))


def lasts(refusal: str) -> bool:
    """Whether what Kubernetes says of pods that it does not make will stay so.

    A quota may have room later, and an API server that has just started does not know yet what its own controllers may.
    """
    return (
        "forbidden" in refusal and "exceeded quota" not in refusal and "cannot create resource" not in refusal
    )


def why(job: Object | None, pods: list[Object]) -> tuple[Cause | None, int | None, str]:
    """Why it is over, with the exit code that goes with it; no cause if its script knows better."""
    for pod in pods:
        cause, code, said = _why_pod(pod)
        if cause is not None:
            return cause, code, said
    if job is None:
        return Cause.ENGINE_ENDED, None, "somebody deleted its Job in Kubernetes"
    failed = condition(job, "Failed")
    if failed is not None and not pods:
        return Cause.ENGINE_ENDED, None, _told("somebody deleted its pods", failed.get("message"))
    if any(text(pod, "metadata", "deletionTimestamp") for pod in pods):
        return Cause.ENGINE_ENDED, None, "somebody deleted its pods in Kubernetes"
    return None, None, ""


def _why_pod(pod: Object) -> tuple[Cause | None, int | None, str]:
    status = table(pod, "status")
    disrupted, reason = condition(pod, "DisruptionTarget"), text(status, "reason")
    if disrupted is not None:
        cause, said = DISRUPTED.get(text(disrupted, "reason"), (Cause.NODE_FAILED, "its pod was ended"))
        return cause, None, _told(said, disrupted.get("message"))
    if reason:
        cause, said = NODE_ENDED.get(reason, (Cause.ENGINE_ENDED, f"its node refused its pod ({reason})"))
        return cause, None, _told(said, status.get("message"))
    ended = terminated(pod) or {}
    if ended.get("reason") == "OOMKilled" and ended.get("exitCode"):
        return Cause.OUT_OF_MEMORY, _OUT_OF_MEMORY_CODE, "it used more memory than it asked for"
    if ended.get("reason") == "ContainerStatusUnknown":
        return Cause.NODE_FAILED, None, "its node was restarted"
    if ended.get("reason") in _NEVER_BEGAN or ended.get("exitCode") in _UNFIT:
        # how a run ended that had begun, its script says: this is for one that had not
        return Cause.START_FAILED, None, _told("its container could not start", ended.get("message"))
    return None, None, ""


def _told(said: str, more: object) -> str:
    return f"{said}: {more}" if more else said


def terminated(pod: Object) -> Object | None:
    """How its container ended, if it has."""
    for status in rows(pod, "status", "containerStatuses"):
        found = table(status, "state", "terminated")
        if found:
            return found
    return None


def trouble(pod: Object) -> Trouble | None:
    """Why a pod does not come up, if something is wrong with it."""
    for status in rows(pod, "status", "containerStatuses"):
        waiting = table(status, "state", "waiting")
        reason, message = text(waiting, "reason"), text(waiting, "message")
        if reason in PULL:
            return Trouble(
                reason, f"its image cannot be pulled ({reason}): {message}", reason == "InvalidImageName"
            )
        if reason in BROKEN:
            return Trouble(reason, f"its container cannot be made ({reason}): {message}", hopeless=False)
    scheduled = condition(pod, "PodScheduled", status="False")
    if scheduled is not None:
        return Trouble("Unschedulable", f"no node takes it: {scheduled.get('message', '')}", hopeless=False)
    return None


def _waits(job: Object | None, pods: list[Object]) -> str:
    if job is not None and table(job, "spec").get("suspend"):
        return "its Job is suspended"
    for pod in pods:
        found = trouble(pod)
        if found is not None:
            return found.message
    return ""


def is_over(pod: Object) -> bool:
    """Whether nothing of it runs any more."""
    return text(pod, "status", "phase") in {"Succeeded", "Failed"}


def is_lost(pod: Object, ready: Mapping[str, bool]) -> bool:
    """Whether it was to end at a node that does not answer, so that nobody will ever say that it has."""
    node = text(pod, "spec", "nodeName")
    if not node or is_over(pod):
        return False
    silent = not ready.get(node, False)
    return silent and text(pod, "metadata", "deletionTimestamp") != ""


def condition(thing: Object, *types: str, status: str = "True") -> Object | None:
    """The first condition of these types that is so."""
    for each in rows(thing, "status", "conditions"):
        if each.get("type") in types and each.get("status") == status:
            return each
    return None


def started_ms(pods: list[Object]) -> int:
    """When the last of these began, by the clocks of their nodes; 0 if that is not known."""
    found = [ms_of(text(pod, "status", "startTime")) for pod in pods]
    return max(found, default=0)


def ms_of(when: str) -> int:
    """Milliseconds UTC of a time as Kubernetes writes it; 0 for none."""
    return int(dt.datetime.fromisoformat(when).timestamp() * 1000) if when else 0
