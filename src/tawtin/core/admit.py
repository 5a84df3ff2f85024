"""Whether a submission is accepted: the checks that do not depend on what is free."""

from __future__ import annotations

from msgspec.structs import replace

from tawtin.core.state import State
from tawtin.model.base import Record
from tawtin.model.events import SubmissionRefused, WorkloadsSubmitted
from tawtin.model.reasons import Refusal
from tawtin.model.roaming import PeerState
from tawtin.model.rules import Verdict
from tawtin.model.site import Site
from tawtin.model.tenant import Tenant
from tawtin.model.workload import ArrayRef, ServiceRef, Workload, WorkloadSpec


class Submission(Record, frozen=True, kw_only=True):
    """A parsed request to run something: one workload, or all of an array."""

    tenant: str
    key_id: str = ""
    spec: WorkloadSpec
    digest: str
    """SHA-256 of the canonical spec, hexadecimal."""
    array: tuple[int, ...] | None = None
    """The indices of the array's workloads; None for a single workload."""
    ids: tuple[str, ...]
    """An id for each workload that is made; they are given out in ascending order, which is the order of the queue.

    A service has as many as replicas.
    """
    array_id: str = ""
    revision: int = 0
    """Of a service that is there: which revision the new replicas are of. 0 for a service that begins."""
    idempotency_key: str = ""
    request_sha256: str = ""
    retry_of: str = ""
    house: bool = False
    """Whether the program is the factory's own, which has to be here, and needs no leave to use the network."""


def admit(
    state: State, site: Site, submission: Submission, now_ms: int
) -> WorkloadsSubmitted | SubmissionRefused:
    """Return the event that accepts or refuses `submission`. Reads the state and does not change it.

    Raises KeyError for an unknown tenant, and ValueError if there is not one id for each workload.
    """
    tenant = state.tenants[submission.tenant]
    spec = submission.spec
    said = _somewhere(state, submission, tenant, site, now_ms)
    refused = _refusal(state, site, tenant, submission, said)
    if refused is not None:
        token, sentence = refused
        return SubmissionRefused(tenant=tenant.id, digest=submission.digest, refusal=token, sentence=sentence)
    indices = submission.array if submission.array is not None else (0,)
    if spec.service is not None:
        first_free = _replica_free(state, tenant.id, spec.name)
        indices = range(first_free, first_free + len(submission.ids))
    if len(indices) != len(submission.ids):
        msg = f"{len(indices)} workloads need as many ids, got {len(submission.ids)}"
        raise ValueError(msg)
    first = Workload(
        id=submission.ids[0],
        tenant=tenant.id,
        spec=spec,
        digest=submission.digest,
        retry_of=submission.retry_of,
        submitted_by=submission.key_id,
        submitted_ms=now_ms,
        queued_ms=now_ms,
    )
    if spec.service is not None:
        revision = submission.revision or 1
        workloads = tuple(
            replace(first, id=id, service=ServiceRef(name=spec.name, revision=revision, replica=number))
            for id, number in zip(sorted(submission.ids), indices, strict=True)
        )
    elif submission.array is None:
        workloads = (first,)
    else:
        workloads = tuple(
            replace(first, id=id, array=ArrayRef(id=submission.array_id, index=index, size=len(indices)))
            for id, index in zip(sorted(submission.ids), indices, strict=True)
        )
    return WorkloadsSubmitted(
        workloads=workloads,
        idempotency_key=submission.idempotency_key,
        request_sha256=submission.request_sha256,
        verdict=f"{said.rule}: {said.sentence}",
    )


def replicas_of(state: State, tenant: str, name: str) -> list[Workload]:
    """The workloads of a service that are not final, the first submitted first."""
    found = [state.workloads[each] for each in state.services.get((tenant, name), ())]
    return sorted(found, key=lambda each: (each.submitted_ms, each.id))


def _replica_free(state: State, tenant: str, name: str) -> int:
    """The number from which on no live replica of a service has one."""
    numbers = (each.service.replica for each in replicas_of(state, tenant, name) if each.service is not None)
    return max(numbers, default=0) + 1


def _somewhere(state: State, submission: Submission, tenant: Tenant, site: Site, now_ms: int) -> Verdict:
    """The verdict on this factory; if a job may not be here, the first of a peer that may have it."""
    spec = submission.spec
    here = state.judge.verdict(spec, tenant, site, now_ms)
    if here.allowed or spec.service is not None or submission.house:
        return here
    for name in sorted(state.peers):
        if state.peers[name].state is PeerState.ACTIVE:
            there = state.judge.verdict(spec, tenant, state.sites[name], now_ms, home=site.country)
            if there.allowed:
                return there
    return here


def _refusal(
    state: State, site: Site, tenant: Tenant, submission: Submission, said: Verdict
) -> tuple[Refusal, str] | None:
    """The first check that fails, and what to do about it."""
    spec = submission.spec
    count = len(submission.array) if submission.array is not None else len(submission.ids)
    if tenant.closed:
        return Refusal.TENANT_CLOSED, f"tenant `{tenant.id}` is closed; ask the factory's operator to open it"
    if not said.allowed:
        return Refusal.NO_LAWFUL_FACTORY, said.sentence
    unrun = _not_run_here(site, spec)
    if unrun:
        return Refusal.TYPE_NOT_RUN_HERE, unrun
    if not site.isolated and not tenant.owner:
        return (
            Refusal.SANDBOX_MISSING,
            "this factory has no sandbox and runs the work of its owner only; its operator can install bubblewrap",
        )
    if spec.network and not (tenant.network or submission.house):
        if spec.service is not None:
            what = f"a service needs the network, which tenant `{tenant.id}` may not use: "
        else:
            what = f"`network: true` is not allowed for tenant `{tenant.id}`; remove it, or "
        return Refusal.NETWORK_NOT_ALLOWED, f"{what}ask the factory's operator"
    if spec.priority > tenant.quota.priority_max:
        return (
            Refusal.PRIORITY_TOO_HIGH,
            f"`priority` {spec.priority} is above {tenant.quota.priority_max}, the most for tenant `{tenant.id}`",
        )
    return _refusal_by_state(state, tenant, submission, count)


def _not_run_here(site: Site, spec: WorkloadSpec) -> str:
    """Why work of this type is not run by what is here; empty if it is."""
    if spec.service is not None and site.portless:
        those = ", ".join(f"`{each}`" for each in site.portless)
        return f"services are not run here, as the engine {those} cannot give a run a port that the factory reaches"
    if spec.type in site.types:
        return ""
    known = ", ".join(f"`{each.value}`" for each in site.types)
    return f"no engine here runs the type `{spec.type.value}`; it runs {known}"


def _refusal_by_state(
    state: State, tenant: Tenant, submission: Submission, count: int
) -> tuple[Refusal, str] | None:
    """The checks that look at what the tenant has here."""
    spec = submission.spec
    missing = _missing_artifact(state, tenant, spec)
    if missing:
        return (
            Refusal.UNKNOWN_ARTIFACT,
            f"tenant `{tenant.id}` has no artifact `{missing}` here; upload it first",
        )
    if spec.service is not None and not submission.revision and (tenant.id, spec.name) in state.services:
        there = replicas_of(state, tenant.id, spec.name)[0].spec
        kind, change = (
            ("workspace", "delete it first")
            if there.workspace
            else ("service", "change it with `tawtin serve update`")
        )
        sentence = f"tenant `{tenant.id}` has a {kind} `{spec.name}`; {change}, or choose another name"
        return Refusal.SERVICE_EXISTS, sentence
    limit, unfinished = tenant.quota.workloads, state.holding(tenant.id).unfinished
    if limit is not None and unfinished + count > limit:
        sentence = (
            f"tenant `{tenant.id}` has {unfinished} unfinished workloads and may have {limit}; "
            f"{count} more do not fit: wait, or cancel some"
        )
        return Refusal.TOO_MANY_WORKLOADS, sentence
    return None


def _missing_artifact(state: State, tenant: Tenant, spec: WorkloadSpec) -> str:
    """The first artifact that the spec names and the tenant does not have; empty if there is none."""
    named = [spec.workdir, *(mount.artifact for mount in spec.mounts)]
    for artifact in named:
        if artifact and (tenant.id, artifact) not in state.artifacts:
            return artifact
    return ""
