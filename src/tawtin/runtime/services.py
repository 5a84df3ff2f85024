"""What callers do with services: look, scale, update, end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from tawtin.core.admit import Submission, admit, replicas_of
from tawtin.core.services import awake, current, newest, surplus
from tawtin.model.events import CancelAsked, ReplicaRested, ServiceScaled, StopOrdered, SubmissionRefused
from tawtin.model.ids import RANDOM_BITS, make_id
from tawtin.model.services import Load, Readiness, Replica, ServiceView
from tawtin.model.tenant import Scope
from tawtin.model.workload import Phase, RunState
from tawtin.runtime.autoscale import Autoscale
from tawtin.runtime.errors import Invalid, NotFound, Refused
from tawtin.runtime.readiness import ServingSettings, Watch
from tawtin.runtime.workloads import Workloads

if TYPE_CHECKING:
    from tawtin.model.workload import Workload, WorkloadSpec
    from tawtin.runtime.actor import Actor


class Services(Workloads):
    """Commands and reads about services; every answer is durable, but for what is ready, which is of the moment."""

    def __init__(self, *, serving: ServingSettings | None = None, **parts: Any) -> None:  # noqa: ANN401 - as Live
        """Wire the parts of Live, and how replicas are watched."""
        super().__init__(**parts)
        self.watch = Watch(self, serving or ServingSettings())
        self.autoscale = Autoscale(self, serving or ServingSettings())

    async def start(self) -> None:
        """Start the factory, and ask its replicas whether they are ready."""
        await super().start()
        await self.watch.first_look()
        self.spawn(self.watch.run())
        self.spawn(self.autoscale.run(self.loads))

    async def loads(self) -> dict[str, Load] | None:
        """The load of services that is known now, by `tenant/name`; None where nobody can say."""
        return None

    # --- for the watch ------------------------------------------------------------------------------------------

    def order(self, stop: StopOrdered) -> None:
        """Stop a run; it is durable soon."""
        self.factory.stage(stop)
        self._dirty.set()

    def end(self, workload: Workload) -> None:
        """End a replica; it is durable soon."""
        self.factory.cancel(workload, "")
        self._dirty.set()

    def leave(self, workload: Workload) -> None:
        """Give a replica no more requests; it is stopped when it has none left. It is durable soon."""
        if workload.id in self.state.run_of:
            self.factory.stage(CancelAsked(workload=workload.id))
        else:
            self.factory.cancel(workload, "")
        self._dirty.set()

    async def rescale(self, tenant: str, name: str, wanted: int, why: str) -> None:
        """Let the newest revision of a service have as many replicas as its load needs; with 0, the last one rests.

        Raises Refused, NotFound.
        """
        self.check()
        members = self._members(tenant, name)
        secrets = await self._secrets(current(members)) if wanted > 1 else {}
        members = self._members(tenant, name)  # others may have changed them meanwhile
        there, before = current(members), len(awake(members))
        if not there or wanted == before:
            return
        self.factory.stage(
            ServiceScaled(tenant=tenant, service=name, before=before, replicas=wanted, why=why)
        )
        for each in there:
            if wanted and each.rests:
                self.factory.stage(ReplicaRested(workload=each.id, rests=False))
        surplus_now = surplus(members, self.watch.ready(), max(1, wanted))
        for each in surplus_now:
            self.leave(each)
        if not wanted:
            (last,) = [each for each in there if each not in surplus_now]
            self.factory.stage(ReplicaRested(workload=last.id, rests=True))
        if wanted > len(there):
            spec, digest = there[0].spec, there[0].digest
            await self._add("", tenant, spec, digest, wanted - len(there), newest(members), secrets)
        self._dirty.set()

    async def _secrets(self, replicas: list[Workload]) -> dict[str, str]:
        """The secrets of a service, as they are kept for one of its replicas."""
        if not replicas or not replicas[0].spec.secrets:
            return {}
        await self.settle()
        return await self.in_thread(self.journal.secrets, replicas[0].id)

    # --- reads --------------------------------------------------------------------------------------------------

    async def services(self, actor: Actor, *, tenant: str | None = None) -> tuple[ServiceView, ...]:
        """All services of a tenant, by name; of all tenants for admins and auditors who name none."""
        actor.need(Scope.AUDIT)
        about = "" if actor.overlooks and tenant is None else actor.about(tenant)
        await self.settle()
        return self.published(about)

    async def service(self, actor: Actor, name: str, *, tenant: str | None = None) -> ServiceView:
        """One service. Raises NotFound."""
        about = self.known_tenant(actor, tenant)
        await self.settle()
        return self._shown(about, name)

    def published(self, tenant: str = "") -> tuple[ServiceView, ...]:
        """All services as they are now, of one tenant or (empty) of all."""
        keys = [
            key
            for key in sorted(self.state.services)
            if (not tenant or key[0] == tenant) and replicas_of(self.state, *key)[0].spec.workspace is None
        ]
        return tuple(self._shown(*key) for key in keys)

    def answering(self, tenant: str, name: str) -> list[tuple[str, str]]:
        """Run and address of each replica that answers requests, those that are being stopped left out."""
        found: list[tuple[str, str]] = []
        for each in replicas_of(self.state, tenant, name):
            run = self.state.runs.get(self.state.run_of.get(each.id, ""))
            if run is None or each.cancel or each.rests or run.stop is not None or each.spec.workspace:
                continue
            seen = self.watch.of(run.id)
            if seen is not None and seen.readiness is Readiness.READY:
                found.append((run.id, run.address))
        return found

    def may_start(self, tenant: str, name: str) -> bool:
        """Whether a request that waits makes a service start, if it has no replica."""
        there = current(replicas_of(self.state, tenant, name))
        return bool(there) and there[0].spec.service is not None and there[0].spec.service.scaling is not None

    def _shown(self, tenant: str, name: str) -> ServiceView:
        members = self._members(tenant, name)
        replicas = tuple(self._replica(each) for each in members)
        last = newest(members)
        first = next(each for each in members if each.service is not None and each.service.revision == last)
        data = first.spec.data
        return ServiceView(
            tenant=tenant,
            name=name,
            revision=last,
            digest=first.digest,
            replicas_wanted=len(awake(members)),
            scaling=first.spec.service.scaling if first.spec.service is not None else None,
            why=self.autoscale.why(tenant, name),
            replicas_ready=sum(each.readiness is Readiness.READY for each in replicas),
            updating=any(
                each.service is not None and each.service.revision < last and not each.cancel
                for each in members
            ),
            data_class=data.data_class,
            origin=data.origin,
            purpose=data.purpose,
            replicas=replicas,
        )

    def _members(self, tenant: str, name: str) -> list[Workload]:
        members = replicas_of(self.state, tenant, name)
        if not members or members[0].spec.workspace is not None:
            msg = f"no service `{name}`"
            raise NotFound(msg)
        return members

    def _replica(self, workload: Workload) -> Replica:
        run = self.state.runs.get(self.state.run_of.get(workload.id, ""))
        readiness, since_ms, why = Readiness.WAITING, workload.queued_ms, ""
        if run is None and workload.rests:
            readiness = Readiness.RESTING
        elif run is None:
            waiting = self._waiting(workload) if workload.phase is Phase.QUEUED else None
            why = waiting.sentence if waiting is not None else ""
        elif workload.cancel or workload.rests or run.stop is not None:
            readiness, since_ms = Readiness.ENDING, run.stop_asked_ms or run.placed_ms
            why = run.stop.value if run.stop is not None else ""
        elif run.state is not RunState.STARTED or (seen := self.watch.of(run.id)) is None:
            readiness, since_ms = Readiness.STARTING, run.started_ms or run.placed_ms
        else:
            readiness, since_ms, why = seen.readiness, seen.since_ms, seen.why
        ref = workload.service
        return Replica(
            workload=workload.id,
            replica=ref.replica if ref is not None else 0,
            revision=ref.revision if ref is not None else 0,
            readiness=readiness,
            since_ms=since_ms,
            why=why,
            rests=workload.rests,
            run=run.id if run is not None else "",
            epoch=workload.epoch,
            address=run.address if run is not None else "",
            factory=self.site.name,
            country=self.site.country,
        )

    # --- changes ------------------------------------------------------------------------------------------------

    async def scale(
        self, actor: Actor, name: str, replicas: int, *, tenant: str | None = None
    ) -> ServiceView:
        """Let the newest revision of a service have so many replicas. Raises NotFound, Refused. Idempotent."""
        actor.need(Scope.SUBMIT)
        about = self.known_tenant(actor, tenant)
        self.check()
        pattern = current(self._members(about, name))
        secrets = await self._secrets(pattern)
        members = self._members(about, name)  # others may have changed them meanwhile
        there = current(members)
        if not there:
            msg = f"service `{name}` is ending: start it again when it is gone"
            raise Invalid(msg)
        if not pattern or there[0].digest != pattern[0].digest:
            return await self.scale(actor, name, replicas, tenant=tenant)
        for each in surplus(members, self.watch.ready(), replicas):
            self.factory.cancel(each, actor.key)
        for each in current(members):
            if each.rests:
                self.factory.stage(ReplicaRested(workload=each.id, rests=False))
        if replicas > len(there):
            revision = newest(members)
            spec, digest = there[0].spec, there[0].digest
            await self._add(actor.key, about, spec, digest, replicas - len(there), revision, secrets)
        await (self.durable() if self.factory.staged else self.settle())
        return self._shown(about, name)

    async def update(
        self,
        actor: Actor,
        name: str,
        spec: WorkloadSpec,
        digest: str,
        secrets: dict[str, str] | None = None,
        *,
        tenant: str | None = None,
    ) -> ServiceView:
        """Replace a service's replicas by those of a new spec, new ones first. The spec that it has changes nothing.

        Raises NotFound, Invalid, Refused.
        """
        actor.need(Scope.SUBMIT)
        about = self.known_tenant(actor, tenant)
        self.check()
        members = self._members(about, name)
        if spec.service is None or spec.name != name:
            what = f"of the service `{spec.name}`" if spec.service is not None else "of no service"
            msg = f"the spec is {what}, not of `{name}`: give the one that belongs to it"
            raise Invalid(msg)
        count = spec.service.replicas
        spec, digest = self._resolved(about, spec, digest)
        if current(members) and current(members)[0].digest == digest and not secrets:
            await self.settle()
            return self._shown(about, name)
        await self._add(actor.key, about, spec, digest, count, newest(members) + 1, secrets)
        for each in members:
            run = self.state.runs.get(self.state.run_of.get(each.id, ""))
            if not each.cancel and (run is None or run.state is not RunState.STARTED):
                self.factory.cancel(each, actor.key)  # it answers nobody, and would never have to
        await self.durable()
        return self._shown(about, name)

    async def down(self, actor: Actor, name: str, *, tenant: str | None = None) -> ServiceView:
        """End a service: no replica starts again, and those that run are stopped. Idempotent until the last is gone."""
        actor.need(Scope.SUBMIT)
        about = self.known_tenant(actor, tenant)
        self.check()
        before = self._shown(about, name)
        for each in self._members(about, name):
            self.factory.cancel(each, actor.key)
        await (self.durable() if self.factory.staged else self.settle())
        return self._shown(about, name) if (about, name) in self.state.services else _without_replicas(before)

    async def _add(
        self,
        by: str,
        tenant: str,
        spec: WorkloadSpec,
        digest: str,
        count: int,
        revision: int,
        secrets: dict[str, str] | None,
    ) -> None:
        """Stage further replicas. Raises Refused, once the refusal is durable."""
        now = self.factory.now_ms()
        submission = Submission(
            tenant=tenant,
            key_id=by,
            spec=spec,
            digest=digest,
            ids=tuple(make_id("wl", now, self.entropy.bits(RANDOM_BITS)) for _ in range(count)),
            revision=revision,
        )
        event = admit(self.state, self.site, submission, now)
        self.factory.stage(event)
        if isinstance(event, SubmissionRefused):
            self.stats.refused += 1
            await self.durable()
            raise Refused(event.sentence, event.refusal)
        if secrets:
            for workload in event.workloads:
                self.factory.keep_secrets(workload.id, secrets.items())
        self.stats.submitted += len(event.workloads)


def _without_replicas(view: ServiceView) -> ServiceView:
    """A service of which nothing is left."""
    return msgspec.structs.replace(view, replicas=(), replicas_wanted=0, replicas_ready=0, updating=False)
