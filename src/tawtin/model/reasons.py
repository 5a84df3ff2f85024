"""Tokens that say why: why a workload waits, why a submission was refused, why a run ended.

Tokens are stable and machine-readable; sentences are made from them in `core.explain`.
"""

from __future__ import annotations

from enum import StrEnum


class Waiting(StrEnum):
    """Why a queued workload does not run yet."""

    WAITING_FOR_GPUS = "WaitingForGpus"
    """Enough GPUs of that model exist here, but they are in use."""
    WAITING_FOR_CPUS = "WaitingForCpus"
    """Enough processors, memory or disk exist here, but they are in use."""
    WAITING_FOR_NODES = "WaitingForNodes"
    """A gang waits until enough nodes are free at the same time."""
    WAITING_FOR_QUOTA = "WaitingForQuota"
    """The tenant's quota is in use by its other workloads."""
    EXCEEDS_MAX_QUOTA = "ExceedsMaxQuota"
    """The workload alone is larger than the tenant's quota; it starts only if the quota is raised."""
    EXCEEDS_CAPACITY = "ExceedsCapacity"
    """No node, or no set of nodes, of this factory is large enough; it starts only if capacity is added."""
    BUDGET_EXHAUSTED = "BudgetExhausted"
    """The tenant's or the workload's budget is spent."""
    BEHIND_OTHERS = "BehindOthers"
    """It would fit, but others with a better claim come first in this pass."""
    RESERVED_FOR_OTHERS = "ReservedForOthers"
    """It would fit now, but would delay a reservation that is held for a workload with a better claim."""
    PREEMPTING = "Preempting"
    """Runs of lower priority are being stopped to make place for it."""
    BACKING_OFF = "BackingOff"
    """Its last run was interrupted; it is tried again after a pause."""
    DRAINING = "Draining"
    """The nodes that could run it are being drained or are unhealthy."""
    NO_LAWFUL_FACTORY = "NoLawfulFactory"
    """Residency: its owner or its tenant has narrowed since it was accepted, and this factory is now outside."""
    NOT_YET_DECIDED = "NotYetDecided"
    """It was accepted a moment ago and the next pass will decide."""


class Refusal(StrEnum):
    """Why a submission is not accepted at all."""

    NO_LAWFUL_FACTORY = "NoLawfulFactory"
    """Residency: this factory is not where the owner, or the law, lets the workload be."""
    NETWORK_NOT_ALLOWED = "NetworkNotAllowed"
    """The spec asks for the network and the tenant's policy does not allow it."""
    SANDBOX_MISSING = "SandboxMissing"
    """The factory has no sandbox and runs nobody's work but its owner's."""
    TYPE_NOT_RUN_HERE = "TypeNotRunHere"
    """No engine of this factory runs this type of workload."""
    TENANT_CLOSED = "TenantClosed"
    """The tenant is closed and may not submit."""
    UNKNOWN_ARTIFACT = "UnknownArtifact"
    """The spec names an artifact that the tenant does not have here."""
    PRIORITY_TOO_HIGH = "PriorityTooHigh"
    """The spec asks for a priority above what the tenant's quota allows."""
    TOO_MANY_WORKLOADS = "TooManyWorkloads"
    """The tenant has as many unfinished workloads as its quota lets it queue."""


class Cause(StrEnum):
    """Why a run ended, or is being stopped."""

    COMPLETED = "Completed"
    """The program ended by itself; its exit code says how."""
    TIME_LIMIT = "TimeLimit"
    """It ran past its maximum duration."""
    OUT_OF_MEMORY = "OutOfMemory"
    """It used more memory than it asked for."""
    DISK_LIMIT = "DiskLimit"
    """It wrote more than its disk limit."""
    SETUP_FAILED = "SetupFailed"
    """Its `setup` ended with a code other than 0."""
    START_FAILED = "StartFailed"
    """The engine could not start it: an input or a program is missing, or was refused."""
    CANCELLED = "Cancelled"
    """Its owner, or an operator, cancelled it."""
    PREEMPTED = "Preempted"
    """It made place for a workload of higher priority."""
    DRAINED = "Drained"
    """Its node was drained."""
    RESIDENCY = "Residency"
    """It may no longer be where it ran."""
    SUPERVISOR_LOST = "SupervisorLost"
    """The process that watched over it disappeared without an exit record."""
    HOST_RESTARTED = "HostRestarted"
    """The machine restarted under it."""
