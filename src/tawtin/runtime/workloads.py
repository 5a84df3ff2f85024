"""What callers do with workloads: submit, plan, look, cancel, retry, follow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from tawtin.core.admit import Submission, admit
from tawtin.core.datasets import resolved
from tawtin.core.explain import explain, preview
from tawtin.core.roam import considered
from tawtin.model.events import SubmissionRefused
from tawtin.model.ids import RANDOM_BITS, make_id, run_id
from tawtin.model.reasons import Refusal, Waiting
from tawtin.model.roaming import FileAsk, Guest, LogAsk, Piece, Side, guest_key
from tawtin.model.tenant import Scope
from tawtin.model.views import (
    Considered,
    Explanation,
    LogChunk,
    Page,
    PlanView,
    Submitted,
    UsageSample,
    WaitingView,
    WorkloadView,
)
from tawtin.model.workload import OnPartition, Phase, Run, RunState, Workload, WorkloadSpec
from tawtin.ports import Query, TransportError
from tawtin.runtime.datasets import no_such_datasets
from tawtin.runtime.errors import Conflict, NotFound, Refused, Unavailable, VersionMismatch
from tawtin.runtime.listing import list_with_runs
from tawtin.runtime.live import Live
from tawtin.runtime.rows import decode, fetch
from tawtin.spec.parse import digest as digest_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tawtin.model.events import WorkloadsSubmitted
    from tawtin.model.idempotency import Remembered
    from tawtin.model.roaming import Message, Offer
    from tawtin.runtime.actor import Actor

PAGE_MAX: Final = 1_000
LOG_BYTES_MAX: Final = 1 << 20


class Workloads(Live):
    """Commands and reads about workloads. Every answer is durable."""

    async def submit(  # noqa: PLR0913 - what a submission consists of
        self,
        actor: Actor,
        spec: WorkloadSpec,
        digest: str,
        array: tuple[int, ...] | None = None,
        secrets: dict[str, str] | None = None,
        *,
        tenant: str | None = None,
        idempotency_key: str = "",
        request_sha256: str = "",
        retry_of: str = "",
        house: bool = False,
    ) -> Submitted:
        """Accept a workload, or all of an array; the same idempotency key gives the same answer again.

        `house` says that the program is the factory's own, whoever it works for.

        Raises Refused, Conflict, NotFound, Full, Unavailable.
        """
        actor.need(Scope.SUBMIT)
        about = self.known_tenant(actor, tenant)
        self.check()
        if idempotency_key:
            known = await self._remembered(about, idempotency_key)
            if known is not None:
                return await self._answer_again(known, request_sha256)
        try:
            spec, digest = self._resolved(about, spec, digest)
        except Refused as error:
            refusal = Refusal(error.token)
            self.factory.stage(
                SubmissionRefused(tenant=about, digest=digest, refusal=refusal, sentence=str(error))
            )
            self.stats.refused += 1
            await self.durable()
            raise
        now = self.factory.now_ms()
        count = spec.service.replicas if spec.service is not None else len(array or (0,))
        submission = Submission(
            tenant=about,
            key_id=actor.key,
            spec=spec,
            digest=digest,
            array=array,
            ids=tuple(make_id("wl", now, self.entropy.bits(RANDOM_BITS)) for _ in range(count)),
            array_id=make_id("ar", now, self.entropy.bits(RANDOM_BITS)) if array is not None else "",
            idempotency_key=idempotency_key,
            request_sha256=request_sha256,
            retry_of=retry_of,
            house=house,
        )
        event = admit(self.state, self.site, submission, now)
        self.factory.stage(event)
        if isinstance(event, SubmissionRefused):
            self.stats.refused += 1
            await self.durable()
            raise Refused(event.sentence, event.refusal)
        return await self._accepted(event, secrets)

    def _resolved(self, tenant: str, spec: WorkloadSpec, digest: str) -> tuple[WorkloadSpec, str]:
        """The spec with the artifacts that its datasets mean now, and its digest. Raises Refused with the places."""
        found = resolved(self.state, self.state.tenants[tenant], spec)
        if isinstance(found, WorkloadSpec):
            return found, digest if found is spec else digest_of(found)
        raise no_such_datasets(tenant, spec.data.datasets, found, self.state.datasets.get(tenant, ()))

    async def _accepted(self, event: WorkloadsSubmitted, secrets: dict[str, str] | None) -> Submitted:
        if secrets:
            for workload in event.workloads:
                self.factory.keep_secrets(workload.id, secrets.items())
        self.stats.submitted += len(event.workloads)
        await self.durable()
        return Submitted(workloads=event.workloads)

    async def _remembered(self, tenant: str, key: str) -> Remembered | None:
        known = self.state.remembered.get((tenant, key))
        if known is not None or self.recent.is_new(f"{tenant}/{key}"):
            return known
        body = await self.in_thread(self.journal.get, "idempotency", f"{tenant}/{key}")
        return decode("idempotency", body) if body is not None else self.state.remembered.get((tenant, key))

    async def _answer_again(self, known: Remembered, request_sha256: str) -> Submitted:
        if known.request_sha256 != request_sha256:
            msg = f"the idempotency key `{known.key}` was used for another request: take a new key"
            raise Conflict(msg)
        await self.settle()
        kept = self.state.remembered.get((known.tenant, known.key))
        if kept is None:
            body = await self.in_thread(self.journal.get, "idempotency", f"{known.tenant}/{known.key}")
            kept = decode("idempotency", body) if body is not None else None
        if kept is None:
            self.check()
            msg = f"the first request with the idempotency key `{known.key}` was not kept: send it again"
            raise Unavailable(msg)
        if kept != known:
            return await self._answer_again(kept, request_sha256)
        return Submitted(workloads=tuple([await self._workload(each) for each in known.workloads]))

    async def plan(
        self,
        actor: Actor,
        spec: WorkloadSpec,
        digest: str,
        array: tuple[int, ...] | None = None,
        *,
        tenant: str | None = None,
    ) -> PlanView:
        """Say what would happen to this spec now, by the same decision that places work. Nothing is stored.

        Raises Refused if it reads a dataset that is not here.
        """
        actor.need(Scope.READ)
        about = self.known_tenant(actor, tenant)
        await self.settle()
        spec, digest = self._resolved(about, spec, digest)
        submission = Submission(
            tenant=about,
            key_id=actor.key,
            spec=spec,
            digest=digest,
            array=array,
            ids=("wl-plan",),
        )
        now = self.factory.now_ms()
        view = replace(preview(self.state, self.site, submission, now), inputs=spec.data.inputs)
        if not self.state.peers:
            return view
        supposed = Workload(
            id="wl-plan", tenant=submission.tenant, spec=spec, digest=digest, submitted_ms=now, queued_ms=now
        )
        return replace(view, places=considered(self.state, self._offers(), supposed, now, self._latencies()))

    def _offers(self) -> dict[str, Offer]:
        return self.factory.roaming.asking.offers if self.factory.roaming is not None else {}

    def _latencies(self) -> dict[str, int]:
        return self.neighbours.latencies_ms() if self.neighbours is not None else {}

    def known_tenant(self, actor: Actor, tenant: str | None) -> str:
        """The tenant that a command is about. Raises NotFound if it is none of the caller's business, or absent."""
        about = actor.about(tenant)
        if about not in self.state.tenants:
            msg = f"no tenant `{about}`"
            raise NotFound(msg)
        return about

    # --- reads --------------------------------------------------------------------------------------------------

    async def _workload(self, workload_id: str) -> Workload:
        live = self.state.workloads.get(workload_id)
        if live is not None:
            return live
        body = await self.in_thread(self.journal.get, "workload", workload_id)
        if body is None:
            msg = f"no workload `{workload_id}`"
            raise NotFound(msg)
        return decode("workload", body)

    async def own(self, actor: Actor, workload_id: str) -> Workload:
        """The workload, if this caller may see it. Raises NotFound otherwise: foreign ids look like absent ones."""
        await self.settle()
        workload = await self._workload(workload_id)
        if workload.tenant != actor.tenant and not actor.overlooks:
            msg = f"no workload `{workload_id}`"
            raise NotFound(msg)
        return workload

    async def view(self, actor: Actor, workload_id: str) -> WorkloadView:
        """A workload with its status, its last run, and why it waits."""
        return await self._view(await self.own(actor, workload_id))

    async def _view(self, workload: Workload, run: Run | None = None) -> WorkloadView:
        if run is None and workload.epoch and workload.id not in self.state.run_of:
            body = await self.in_thread(self.journal.get, "run", f"{workload.id}.{workload.epoch}")
            run = decode("run", body) if body is not None else None
            workload = self.state.workloads.get(workload.id, workload)  # it may have been placed meanwhile
        live = self.state.run_of.get(workload.id)
        if live is not None:
            run = self.state.runs[live]
        return WorkloadView(
            workload=workload, status=status_of(workload, run), waiting=self._waiting(workload), run=run
        )

    def _silent(self, workload: Workload) -> WaitingView | None:
        """That the peer which has its run has not been heard of late, and since when."""
        run = self.state.runs.get(self.state.run_of.get(workload.id, ""))
        silent_ms = None
        if run is not None and run.factory and self.neighbours is not None:
            silent_ms = self.neighbours.silent_ms(run.factory)
        if run is None or silent_ms is None:
            return None
        waits = run.roam is not None and run.roam.mode is OnPartition.WAIT
        then = (
            "a run goes on there, and only `tawtin lost` starts it elsewhere"
            if waits
            else "it starts elsewhere once its lease is over there too"
        )
        since = f"{silent_ms // 60_000} min {silent_ms // 1000 % 60} s"
        return WaitingView(
            reason=Waiting.PEER_UNREACHABLE,
            sentence=f"`{run.factory}` has it and was last heard {since} ago: {then}",
            values={"peer": run.factory, "silent_ms": silent_ms},
        )

    def why(self, workload: Workload) -> WaitingView | None:
        """Why a workload of the present state waits; None if it does not."""
        return self._waiting(workload)

    def _waiting(self, workload: Workload) -> WaitingView | None:
        """Why it waits; `workload` is as the state has it now, if that has it."""
        if workload.phase is Phase.PLACED and workload.id in self.state.workloads:
            return self._silent(workload)
        if workload.phase is not Phase.QUEUED or workload.id not in self.state.workloads:
            return None
        return explain(self.state, self.factory.decision, workload.id, self.factory.now_ms())

    async def workloads(
        self,
        actor: Actor,
        *,
        tenant: str | None = None,
        phases: tuple[str, ...] = (),
        array: str = "",
        before: str = "",
        limit: int = 100,
    ) -> Page[WorkloadView]:
        """A page of workloads, newest first. Admins and auditors who name no tenant see all of them."""
        about = "" if actor.overlooks and tenant is None else actor.about(tenant)
        await self.settle()
        limit = min(limit, PAGE_MAX)
        query = Query(
            kind="workload", tenant=about, phases=phases, parent=array, before=before, limit=limit + 1
        )
        found = await self.in_thread(list_with_runs, self.journal, query)
        now = self.state.workloads
        items = tuple([await self._view(now.get(each.id, each), run) for each, run in found[:limit]])
        return Page(items=items, next=items[-1].workload.id if len(found) > limit else "")

    async def explain(self, actor: Actor, workload_id: str) -> Explanation:
        """Why a workload waits, if it does, and which factories were considered for it."""
        workload = await self.own(actor, workload_id)
        places: tuple[Considered, ...] = ()
        if workload.id in self.state.workloads:
            places = considered(
                self.state, self._offers(), workload, self.factory.now_ms(), self._latencies()
            )
        return Explanation(workload=workload.id, waiting=self._waiting(workload), places=places)

    async def runs(self, actor: Actor, workload_id: str) -> tuple[Run, ...]:
        """All runs of a workload, newest first."""
        workload = await self.own(actor, workload_id)
        query = Query(kind="run", parent=workload.id, limit=PAGE_MAX)
        runs: list[Run] = [decode("run", body) for body in await self.in_thread(self.journal.list, query)]
        return tuple(sorted(runs, key=lambda run: -run.epoch))

    async def hear(self, sender: str, messages: Iterable[Message], offer: Offer | None) -> None:
        """Take in what a peer signed. Raises Unavailable; what it comes to is said in messages of our own."""
        self.check()
        if self.neighbours is not None:
            self.neighbours.heard(sender)
        for message in messages:
            roaming = self.factory.roaming
            if roaming is None:
                return
            rows: dict[tuple[str, str], Any] = {}
            needs = roaming.needs(sender, message)
            if needs:
                await self.settle()
                rows = await self.in_thread(fetch, self.journal, needs)
            if self.factory.roaming is not None:
                self.factory.roaming.hear(sender, message, rows)
        if offer is not None and self.neighbours is not None:
            self.neighbours.hear_offer(sender, offer)
        self._dirty.set()

    async def log(
        self,
        actor: Actor,
        workload_id: str,
        *,
        epoch: int | None = None,
        offset: int = 0,
        limit: int = 65_536,
    ) -> LogChunk:
        """A piece of a run's output, of the last run unless `epoch` names one."""
        actor.need(Scope.READ)
        workload = await self.own(actor, workload_id)
        which = workload.epoch if epoch is None else epoch
        if which == 0 and epoch is None:
            return LogChunk(offset=0, data=b"", end=workload.phase.final)
        if not 1 <= which <= workload.epoch:
            msg = f"workload `{workload_id}` has no run `{which}`: it has had {workload.epoch}"
            raise NotFound(msg)
        run_over = which < workload.epoch or workload.phase is not Phase.PLACED
        run = await self._run(f"{workload.id}.{which}")
        if run is None:
            return LogChunk(
                offset=0, data=b"", end=run_over
            )  # an epoch that a restored store has no record of
        if run.factory:
            return await self._log_of(run, offset, min(limit, LOG_BYTES_MAX), over=run_over)
        chunk = await self.in_thread(
            self.engine.log, f"{workload.id}.{which}", offset, min(limit, LOG_BYTES_MAX)
        )
        last = run_over and (which < workload.epoch or workload.phase.final)
        return LogChunk(offset=chunk.offset, data=chunk.data, dropped=chunk.dropped, end=chunk.end and last)

    async def samples(self, actor: Actor, workload_id: str) -> tuple[UsageSample, ...]:
        """How much the last run used over its time, oldest first; empty where a peer has it. Raises NotFound."""
        workload = await self.own(actor, workload_id)
        run = await self._run(f"{workload.id}.{workload.epoch}")
        return () if run is None or run.factory else await self.in_thread(self.engine.samples, run.id)

    async def _run(self, name: str) -> Run | None:
        """The run of this name, live or not."""
        run = self.state.runs.get(name)
        if run is None:
            body = await self.in_thread(self.journal.get, "run", name)
            run = decode("run", body) if body is not None else None
        return run

    async def _log_of(self, run: Run, offset: int, limit: int, *, over: bool) -> LogChunk:
        """A piece of the log of a run that a peer has or had; nothing new while it runs and is not reached.

        Raises Conflict where the rules say that what the run says may not be here.
        """
        workload: Workload | None = self.state.workloads.get(run.workload)
        if workload is None:
            body = await self.in_thread(self.journal.get, "workload", run.workload)
            workload = decode("workload", body) if body is not None else None
        if workload is None or workload.tenant not in self.state.tenants:
            return LogChunk(offset=max(0, offset), data=b"", end=over)
        said = self.state.verdict(workload, self.site, self.factory.now_ms())
        if not said.allowed:
            msg = f"the log stays at `{run.factory}`: it may not be here ({said.sentence})"
            raise Conflict(msg)
        peer = self.state.peers.get(run.factory)
        if peer is None or self.neighbours is None:
            return LogChunk(offset=max(0, offset), data=b"", end=over)
        ask = LogAsk(workload=run.workload, epoch=run.epoch, offset=offset, limit=min(limit, 1 << 19))
        try:
            chunk = await self.neighbours.transport.log(peer, ask)
        except TransportError as error:
            if over:
                msg = f"the log is at `{run.factory}`, which is not reached: {error}"
                raise Unavailable(msg) from None
            return LogChunk(offset=max(0, offset), data=b"")
        return LogChunk(offset=chunk.offset, data=chunk.data, dropped=chunk.dropped, end=chunk.end and over)

    async def peer_log(self, sender: str, ask: LogAsk) -> LogChunk:
        """What a peer may see of the log of a run that it has here. Raises NotFound for those of others."""
        guest = await self._guest(sender, ask.workload, ask.epoch)
        if guest is None:
            msg = f"no run of epoch {ask.epoch} of `{ask.workload}` of yours is here"
            raise NotFound(msg)
        chunk = await self.in_thread(self.engine.log, run_id(guest.local, 1), ask.offset, ask.limit)
        return LogChunk(
            offset=chunk.offset,
            data=chunk.data,
            dropped=chunk.dropped,
            end=chunk.end and guest.receipt is not None,
        )

    async def peer_file(self, sender: str, ask: FileAsk) -> Piece:
        """A piece of a file that a peer may have. Raises NotFound, without saying whether it is here."""
        self.check()
        freight = self.neighbours.freight if self.neighbours is not None else None
        if freight is None:
            msg = "no files are given to peers here"
            raise NotFound(msg)
        guest = await self._guest(sender, ask.workload, ask.epoch) if ask.side is Side.OUTPUT else None
        return await freight.give(sender, ask, guest, self.durable)

    async def _guest(self, home: str, workload: str, epoch: int) -> Guest | None:
        key = guest_key(home, workload, epoch)
        guest = self.state.guests.get(key)
        if guest is None:
            body = await self.in_thread(self.journal.get, "guest", key)
            guest = decode("guest", body) if body is not None else None
        return guest

    # --- changes ------------------------------------------------------------------------------------------------

    async def cancel(self, actor: Actor, workload_id: str, *, if_match: int | None = None) -> WorkloadView:
        """Ask for a workload's end. Idempotent; a final workload stays as it is."""
        actor.need(Scope.SUBMIT)
        workload = await self.own(actor, workload_id)
        if if_match is not None and if_match != workload.version:
            msg = f"workload `{workload_id}` is at version {workload.version}, not {if_match}: read it again"
            raise VersionMismatch(msg)
        live = self.state.workloads.get(workload_id)
        if live is not None and not live.cancel:
            self.check()
            self.factory.cancel(live, actor.key)
            await self.durable()
        return await self.view(actor, workload_id)

    async def declare_lost(self, actor: Actor, workload_id: str, why: str) -> WorkloadView:
        """Say that the peer which has the workload's run is gone for good, so that it is tried elsewhere.

        Raises Conflict if no peer has it. Should that peer live, its run is ended, and its result kept aside.
        """
        actor.need(Scope.ADMIN)
        workload = await self.own(actor, workload_id)
        self.check()
        run = self.state.runs.get(self.state.run_of.get(workload.id, ""))
        if run is None or run.roam is None or self.factory.roaming is None:
            msg = f"no peer has a run of workload `{workload_id}`: only those can be declared lost"
            raise Conflict(msg)
        self.factory.roaming.asking.declare_lost(run, actor.key, why)
        await self.durable()
        return await self.view(actor, workload_id)

    async def retry(self, actor: Actor, workload_id: str, *, idempotency_key: str = "") -> Submitted:
        """Submit the spec of a final workload again, as a new workload."""
        actor.need(Scope.SUBMIT)
        workload = await self.own(actor, workload_id)
        if not workload.phase.final:
            msg = f"workload `{workload_id}` is not over yet: cancel it first, or wait"
            raise Conflict(msg)
        if workload.service is not None:
            msg = f"workload `{workload_id}` was a replica of a service: `tawtin serve scale` adds one"
            raise Conflict(msg)
        if workload.spec.secrets:
            msg = f"workload `{workload_id}` had secrets, which are not kept after its end: submit it again"
            raise Conflict(msg)
        return await self.submit(
            actor,
            workload.spec,
            workload.digest,
            (workload.array.index,) if workload.array else None,
            tenant=workload.tenant,
            idempotency_key=idempotency_key,
            request_sha256=f"retry {workload_id}",
            retry_of=workload_id,
        )


def status_of(workload: Workload, run: Run | None) -> str:
    """One word for where a workload is: queued, starting, running, stopping, succeeded, failed or cancelled."""
    if workload.phase is not Phase.PLACED:
        return workload.phase.value
    if workload.cancel or (run is not None and run.stop is not None):
        return "stopping"
    if run is not None and run.state is RunState.STARTED:
        return "running"
    return "starting"
