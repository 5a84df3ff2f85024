"""Why a workload waits, in a token, a sentence and an estimated start; and what would happen to one not yet sent.

Nothing here is computed in a pass: `explain` looks at the state when somebody asks, in time that does not grow with
what waits. Estimates take the earliest time at which nodes have room, and the work with a better claim to the same pool
divided by the size of that pool, whichever is later.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

from tawtin.core import feasible, health, meter
from tawtin.core.admit import Submission, admit
from tawtin.core.decide import Decision, Purse, Reservation, decide, is_broke
from tawtin.core.feasible import DemandClass, Option
from tawtin.core.pack import Reserved
from tawtin.core.queues import Parked
from tawtin.core.state import State
from tawtin.core.survey import Survey
from tawtin.model.events import SubmissionRefused
from tawtin.model.reasons import Waiting
from tawtin.model.resources import NodeHealth, Placement
from tawtin.model.site import Site
from tawtin.model.tenant import Quota
from tawtin.model.views import PlanView, WaitingView
from tawtin.model.workload import Phase, Workload

_FRESH_MS: Final = 1_000


def explain(state: State, decision: Decision | None, workload_id: str, now_ms: int) -> WaitingView:
    """Say why a queued workload does not run, with the latest `decision` (None before the first pass).

    Raises KeyError for a workload that is not live, and ValueError for one that does not wait.
    """
    workload = state.workloads[workload_id]
    if workload.phase is not Phase.QUEUED:
        msg = f"workload `{workload_id}` is {workload.phase.value} and does not wait"
        raise ValueError(msg)
    return _Why(state, decision, workload, now_ms).view()


def preview(state: State, site: Site, submission: Submission, now_ms: int) -> PlanView:
    """What would happen to `submission` now, by the same rules and the same pass as for real. Changes nothing.

    For an array it is the plan of its first workload. Raises KeyError for an unknown tenant.
    """
    tenant = state.tenants[submission.tenant]
    said = state.judge.verdict(submission.spec, tenant, site, now_ms)
    event = admit(state, site, _first_of(submission), now_ms)
    first = submission.spec.demand.options[0]
    rate = site.rate(first.gpu_model if first.gpus else "")
    if isinstance(event, SubmissionRefused):
        return PlanView(
            lawful=said.allowed,
            verdict=said.sentence,
            starts_now=False,
            rate=rate,
            isolated=site.isolated,
            warnings=(f"{event.refusal.value}: {event.sentence}",),
        )
    workload = event.workloads[0]
    decision = decide(state, now_ms, also=(workload,))
    placement = next((each for each in decision.placements if each.workload == workload.id), None)
    return _plan(state, decision, workload, placement, now_ms)


def _first_of(submission: Submission) -> Submission:
    return Submission(
        tenant=submission.tenant,
        key_id=submission.key_id,
        spec=submission.spec,
        digest=submission.digest,
        ids=submission.ids[:1],
    )


def _plan(
    state: State, decision: Decision, workload: Workload, placement: Placement | None, now_ms: int
) -> PlanView:
    site, spec = state.site, workload.spec
    shape = placement.shape if placement is not None else spec.demand.options[0]
    nodes = [state.nodes[slot.node] for slot in placement.slots] if placement is not None else []
    model = (nodes[0].gpu_model if nodes else shape.gpu_model) if shape.gpus else ""
    rate = site.rate(model)
    cost = None
    if spec.max_duration_ms is not None:
        cost = meter.round_half_up(meter.burn(rate, shape, spec.demand.nodes) * spec.max_duration_ms)
    named = nodes or [
        node for node in state.nodes.values() if node.gpus and shape.gpu_model in ("", node.gpu_model)
    ]
    declared = shape.gpus > 0 and any(node.gpus_declared for node in named)
    warnings: list[str] = []
    if declared:
        warnings.append("the GPUs here are declared by the operator, not real")
    if not site.isolated:
        warnings.append("this factory has no sandbox")
    said = state.judge.verdict(spec, state.tenants[workload.tenant], site, now_ms)
    waiting = None if placement is not None else _Why(state, decision, workload, now_ms, supposed=True).view()
    return PlanView(
        lawful=said.allowed,
        verdict=said.sentence,
        starts_now=placement is not None,
        waiting=waiting,
        shape=placement.shape if placement is not None else None,
        slots=placement.slots if placement is not None else (),
        rate=rate,
        cost_minor_max=cost,
        declared=declared,
        isolated=site.isolated,
        warnings=tuple(warnings),
    )


class _Why:
    """The reasons one workload may wait for, in the order in which they are looked at."""

    def __init__(
        self,
        state: State,
        decision: Decision | None,
        workload: Workload,
        now_ms: int,
        *,
        supposed: bool = False,
    ) -> None:
        self.state = state
        self.decision = decision
        self.workload = workload
        self.now_ms = now_ms
        self.supposed = supposed
        self.tenant = state.tenants[workload.tenant]
        known = state.queues.class_of.get(workload.id)
        self.demand_class: DemandClass = known or state.class_like(workload)
        self.survey = _survey(state, decision, now_ms)
        self.position, self.work_ahead = _ahead(self.survey, workload, self.demand_class)

    def view(self) -> WaitingView:
        """The first reason that holds."""
        return (
            self._recalled()
            or self._unlawful()
            or self._resting()
            or self._never()
            or self._later()
            or self._held()
            or self._for_room()
        )

    def _say(
        self, reason: Waiting, sentence: str, *, start_ms: int | None = None, **values: str | int
    ) -> WaitingView:
        return WaitingView(
            reason=reason, sentence=sentence, start_ms=start_ms, position=self.position, values=values
        )

    def _recalled(self) -> WaitingView | None:
        if not self.state.is_recalled(self.workload):
            return None
        return self._say(
            Waiting.STORE_RESTORED,
            "the factory's store was put back from a backup, and peers may run it: all of them are asked first",
        )

    def _unlawful(self) -> WaitingView | None:
        said = self.state.judge.verdict(self.workload.spec, self.tenant, self.state.site, self.now_ms)
        if said.allowed:
            return None
        return self._say(Waiting.NO_LAWFUL_FACTORY, said.sentence, rule=said.rule)

    def _resting(self) -> WaitingView | None:
        if not self.workload.rests:
            return None
        return self._say(Waiting.RESTING, "nobody asks its service, and it starts when somebody does")

    def _never(self) -> WaitingView | None:
        """Reasons that time alone does not mend."""
        options = self.demand_class.options
        quota = self.tenant.quota
        beyond = [_beyond(quota, option) for option in options]
        if all(beyond):
            what, asked, limit = beyond[0] or ("", 0, 0)
            return self._say(
                Waiting.EXCEEDS_MAX_QUOTA,
                f"it asks for {asked} {what} and the quota of tenant `{self.tenant.id}` is {limit}",
                resource=what,
                asked=asked,
                limit=limit,
            )
        allowed = [option for option, excess in zip(options, beyond, strict=True) if not excess]
        ready, present = self._nodes_for(allowed)
        wanted = options[0].nodes
        held_up = self._quarantined(allowed) if ready < wanted else None
        if held_up is not None:
            return held_up
        if present < wanted:
            return self._say(
                Waiting.EXCEEDS_CAPACITY,
                f"it asks for {_nodes(wanted)} with {_amounts(allowed[0])}, and {present} here could ever hold that",
                asked=wanted,
                limit=present,
            )
        if ready < wanted:
            return self._say(
                Waiting.DRAINING,
                f"{present} nodes could hold it, but {present - ready} of them are draining or not well",
                asked=wanted,
                limit=ready,
            )
        return self._budget()

    def _quarantined(self, options: list[Option]) -> WaitingView | None:
        """That there would be nodes enough for one of these if nothing were in quarantine."""
        state = self.state
        out = [each for each in state.quarantines.values() if each.out and each.node in state.nodes]
        for option in options if out else ():
            mended = [health.mended(node, out) for node in state.nodes.values()]
            ready = [node for node in mended if node.health is NodeHealth.READY]
            if sum(1 for node in ready if feasible.fits_empty(option, node)) < option.nodes:
                continue
            mine = [each for each in out if option.model in {"", state.nodes[each.node].gpu_model}]
            count = sum(
                len(health.indices(state.nodes[each.node], each)) if option.gpus else 1 for each in mine
            )
            what = f"{option.gpus} {option.model or 'GPUs'}" if option.gpus else "room"
            some = "of them here is" if option.gpus else "node is"
            many = "of them here are" if option.gpus else "nodes are"
            return self._say(
                Waiting.GPUS_QUARANTINED,
                f"it asks for {what} on {'one node' if option.nodes == 1 else f'each of {option.nodes} nodes'}, "
                f"and {count} {some if count == 1 else many} in quarantine",
                asked=option.gpus * option.nodes,
                quarantined=count,
            )
        return None

    def _nodes_for(self, options: list[Option]) -> tuple[int, int]:
        """How many nodes could hold a rank if they were empty: ready ones, and all that are here."""
        return max(self.survey.nodes_for(option) for option in options)

    def _budget(self) -> WaitingView | None:
        spec, tenant = self.workload.spec, self.tenant
        if self.state.queues.parked.get(self.workload.id) is Parked.BUDGET:
            return self._say(
                Waiting.BUDGET_EXHAUSTED,
                f"it has spent {self.workload.spent_minor} of its budget of {spec.budget_minor} minor units",
                spent=self.workload.spent_minor,
                limit=spec.budget_minor or 0,
            )
        priced = all(option.burn for option in self.demand_class.options)
        if priced and is_broke(self.state, tenant, self.now_ms):
            spent = meter.round_half_up(self.state.spent(tenant.id, self.now_ms))
            limit = tenant.quota.budget_minor_per_month or 0
            return self._say(
                Waiting.BUDGET_EXHAUSTED,
                f"tenant `{tenant.id}` has spent {spent} of its {limit} minor units for {meter.month_of(self.now_ms)}",
                spent=spent,
                limit=limit,
            )
        return None

    def _later(self) -> WaitingView | None:
        """Reasons that are about this moment only."""
        workload = self.workload
        if workload.not_before_ms > self.now_ms:
            seconds = (workload.not_before_ms - self.now_ms + 999) // 1000
            return self._say(
                Waiting.BACKING_OFF,
                f"its last run {'ended' if workload.service else 'was interrupted'}; it is tried again in {seconds} s",
                start_ms=workload.not_before_ms,
                seconds=seconds,
            )
        reservation = self._reservation()
        if reservation is not None and reservation.ousting:
            return self._say(
                Waiting.PREEMPTING,
                f"runs of lower priority are being stopped on {', '.join(reservation.nodes)} to make place for it",
                start_ms=max(reservation.start_ms, self.now_ms),
            )
        if not self.supposed and (self.decision is None or workload.queued_ms > self.decision.now_ms):
            return self._say(
                Waiting.NOT_YET_DECIDED,
                "it was accepted a moment ago and the next pass will decide",
                start_ms=self._estimate(),
            )
        return None

    def _held(self) -> WaitingView | None:
        """The tenant's quota is in use."""
        purse = Purse(self.tenant, self.state.holding(self.tenant.id), broke=False)
        if any(purse.allows(option) for option in self.demand_class.options):
            return None
        option, quota = self.demand_class.options[0], self.tenant.quota
        ends = self.state.holding(self.tenant.id).ends
        what, held, asked, limit = _short(purse, quota, option)
        return self._say(
            Waiting.WAITING_FOR_QUOTA,
            f"tenant `{self.tenant.id}` holds {held} of its {limit} {what} and it asks for {asked}",
            start_ms=max(ends[0][0], self.now_ms) if ends else None,
            resource=what,
            held=held,
            asked=asked,
            limit=limit,
        )

    def _for_room(self) -> WaitingView:
        """The nodes are in use, or kept for somebody else."""
        option = self.demand_class.options[0]
        start_ms = self._estimate()
        options = self.demand_class.options
        free = max(len(self.survey.room.free(each, each.nodes)) for each in options)
        if free >= option.nodes:
            kept = sorted({name for each in self._others() for name in each.nodes})
            unkept = max(len(self.survey.open_room.free(each, each.nodes)) for each in options)
            if unkept < option.nodes:
                return self._say(
                    Waiting.RESERVED_FOR_OTHERS,
                    f"it would fit now, but {_nodes(len(kept))} are kept for others with a better claim",
                    start_ms=start_ms,
                    reserved=len(kept),
                )
            return self._say(
                Waiting.BEHIND_OTHERS,
                f"it would fit, but {self.position} others come before it",
                start_ms=start_ms,
                ahead=self.position,
            )
        if option.nodes > 1:
            return self._say(
                Waiting.WAITING_FOR_NODES,
                f"it needs {option.nodes} nodes with {_amounts(option)} at the same time and {free} are free",
                start_ms=start_ms,
                asked=option.nodes,
                free=free,
            )
        if option.gpus:
            free_gpus, all_gpus = self.survey.gpus.get(option.model, (0, 0))
            return self._say(
                Waiting.WAITING_FOR_GPUS,
                (
                    f"it needs {_amounts(option)} on one node; {free_gpus} of {all_gpus} such GPUs are free, "
                    "and no node has room"
                ),
                start_ms=start_ms,
                asked=option.gpus,
                free=free_gpus,
                total=all_gpus,
            )
        return self._say(
            Waiting.WAITING_FOR_CPUS,
            f"it needs {_amounts(option)} on one node, and no node has that free",
            start_ms=start_ms,
            asked=option.cpus,
        )

    # --- figures --------------------------------------------------------------------------------------------------

    def _reservation(self) -> Reservation | None:
        found = self.decision.reservations if self.decision is not None else ()
        return next((each for each in found if each.workload == self.workload.id), None)

    def _others(self) -> list[Reservation]:
        found = self.decision.reservations if self.decision is not None else ()
        return [each for each in found if each.workload != self.workload.id]

    def _estimate(self) -> int | None:
        """When it is expected to start, or None if no end of any run makes room."""
        reservation = self._reservation()
        if reservation is not None:
            return max(reservation.start_ms, self.now_ms)
        size = _pool_size(self.survey, self.demand_class)
        turn_ms = self.now_ms + self.work_ahead // size if size else self.now_ms
        starts: list[int] = []
        for option in self.demand_class.options:
            clear_ms = self.survey.clear_ms(option)
            # an empty factory would come before its turn does: how early room appears makes no difference
            early = clear_ms is not None and clear_ms <= turn_ms
            start_ms = clear_ms if early else self.survey.earliest_ms(option)
            if start_ms is not None:
                starts.append(start_ms)
        return max(min(starts), turn_ms) if starts else None


def _survey(state: State, decision: Decision | None, now_ms: int) -> Survey:
    """The survey of this moment: the decision's, while nothing was folded and a second has not passed since."""
    if decision is None:
        return Survey(state, (), now_ms)
    known = decision.surveys
    if not known or known[0].seq != state.seq or not 0 <= now_ms - known[0].now_ms < _FRESH_MS:
        reserved = tuple(name for each in decision.reservations for name in each.nodes)
        known[:] = [Survey(state, reserved, now_ms)]
    return known[0]


def _ahead(survey: Survey, workload: Workload, demand_class: DemandClass) -> tuple[int, int]:
    """How many workloads have a better claim to the same pool, and how much work they are.

    All of higher priority; those of its tenant that are before it; and of each other tenant as many as that.
    """
    pool, mine = demand_class.pool, workload.tenant
    line = survey.line(pool, workload.spec.priority)
    before = work = 0
    own = survey.state.queues.tallies.get(workload.spec.priority, {}).get((pool, mine))
    if own is not None:
        before = bisect_left(own.keys, (workload.submitted_ms, workload.id))
        work = own.work * before // len(own.keys)
    turns = line.turns(mine, before)
    return line.above + before + turns, line.above_work + work + turns * line.mean_work


def _pool_size(survey: Survey, demand_class: DemandClass) -> int:
    """GPUs of a class's pool, or milli-processors where it takes no GPUs."""
    pool = demand_class.pool
    if pool == feasible.NO_GPU:
        return survey.state.totals.cpus
    return survey.gpus.get("" if pool == feasible.ANY_MODEL else pool, (0, 0))[1]


def _beyond(quota: Quota, option: Option) -> tuple[str, int, int] | None:
    """Which resource of one run alone is larger than the quota: its name, what is asked, the limit."""
    empty = Reserved(0, gpus=0, cpus=0, memory=0, disk=0)
    for what, _, asked, limit in _rows(quota, option, empty, 0):
        if limit is not None and asked > limit:
            return what, asked, limit
    return None


def _short(purse: Purse, quota: Quota, option: Option) -> tuple[str, int, int, int]:
    """Which resource of the quota is in use: its name, what is held, what is asked, the limit."""
    held = Reserved(0, gpus=purse.gpus, cpus=purse.cpus, memory=purse.memory, disk=0)
    for what, has, asked, limit in _rows(quota, option, held, purse.runs):
        if limit is not None and has + asked > limit:
            return what, has, asked, limit
    return "runs", purse.runs, 1, purse.runs


def _rows(
    quota: Quota, option: Option, held: Reserved, runs: int
) -> tuple[tuple[str, int, int, int | None], ...]:
    return (
        ("GPUs", held.gpus, option.nodes * option.gpus, quota.gpus),
        ("milli-processors", held.cpus, option.nodes * option.cpus, quota.cpus_milli),
        ("MiB of memory", held.memory, option.nodes * option.memory, quota.memory_mib),
        ("runs", runs, 1, quota.runs),
    )


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"


def _amounts(option: Option) -> str:
    """One rank of an option in words."""
    parts = (
        [f"{option.gpus} {option.model or 'GPU'}{'' if option.model or option.gpus == 1 else 's'}"]
        if option.gpus
        else []
    )
    parts.append(f"{option.cpus // 1000}.{option.cpus % 1000:03d}".rstrip("0").rstrip(".") + " processors")
    parts.append(f"{option.memory} MiB of memory")
    if option.disk:
        parts.append(f"{option.disk} MiB of disk")
    return ", ".join(parts)
