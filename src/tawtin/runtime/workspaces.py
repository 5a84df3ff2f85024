"""What callers do with workspaces: look, open, let rest, extend, share. Each is a service of one replica.

A workspace that nobody uses rests: its run is stopped, its home stays, and it starts again when somebody opens it. What
counts as use is what comes in through its door, and what its processors do; both are of the moment and kept in memory,
so that after a start of the factory a whole idle time goes by before anything rests.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec

from tawtin.core.admit import replicas_of
from tawtin.core.meter import SCALE, burn
from tawtin.model.base import Record
from tawtin.model.events import ReplicaRested, StopOrdered, WorkspaceShared
from tawtin.model.reasons import Cause
from tawtin.model.services import Readiness
from tawtin.model.tenant import Scope
from tawtin.model.workload import RunState
from tawtin.model.workspaces import Opened, WorkspaceView
from tawtin.runtime.actor import holder
from tawtin.runtime.doors import TICKET_MS
from tawtin.runtime.errors import Denied, Invalid, NotFound
from tawtin.runtime.people import People
from tawtin.runtime.services import Services

if TYPE_CHECKING:
    from tawtin.model.services import Replica
    from tawtin.model.workload import Run, Workload
    from tawtin.runtime.actor import Actor

log = logging.getLogger("tawtin.workspaces")
HOUR_MS: Final = 3_600_000
EXTEND_MS_MAX: Final = 30 * 24 * HOUR_MS
Positive = Annotated[int, msgspec.Meta(ge=1)]


class WorkspaceSettings(Record, frozen=True, kw_only=True):
    """`[workspaces]`: the way into them, and when they rest."""

    enabled: bool = True
    """Whether the factory opens a way into workspaces."""
    url: str = ""
    """Where browsers find them behind a proxy in front, with `{label}`: `https://{label}.ws.example`."""
    session_hours: Annotated[int, msgspec.Meta(ge=1, le=8760)] = 12
    """How long a browser that was let in stays so; it ends earlier with its key."""
    look_ms: Annotated[int, msgspec.Meta(ge=50)] = 1_000
    """How often it is looked for workspaces that nobody uses."""
    busy_percent: Annotated[int, msgspec.Meta(ge=1, le=100)] = 5
    """A workspace that keeps one processor so busy is in use, whoever looks."""


class _Use:
    """When one run was last used, by the monotonic clock, and what its processors had done by then."""

    __slots__ = ("at", "cpu_ms", "metered", "since")

    def __init__(self, now: int, cpu_ms: int) -> None:
        self.at = self.metered = self.since = now
        self.cpu_ms = cpu_ms


class Workspaces(Services):
    """Commands and reads about workspaces; every answer is durable, but for what is ready and used."""

    def __init__(self, *, workspacing: WorkspaceSettings | None = None, **parts: Any) -> None:  # noqa: ANN401 - as Live
        """Wire the parts of Live."""
        super().__init__(**parts)
        self.workspacing = workspacing or WorkspaceSettings()
        self.workspace_url = ""
        """Where browsers find workspaces, with `{label}`; empty where there is no way to them."""
        self.people = People()
        """Who is signed in without a key."""
        self._uses: dict[str, _Use] = {}
        self._used_ms: dict[str, int] = {}
        """Workload -> when something came in through its door, milliseconds UTC."""

    async def start(self) -> None:
        """Start the factory, and look for what nobody uses."""
        await super().start()
        self.spawn(self._rest_idle())

    def holder(self, key: str) -> Actor | None:
        """Who holds the key with this id, or is signed in under this name; None if nobody does any more."""
        now_ms = self.clock.now_ms()
        return holder(self.state, key, now_ms) or self.people.find(key, now_ms)

    # --- who may ------------------------------------------------------------------------------------------------

    def may(self, actor: Actor, workload: Workload) -> str:
        """What somebody may do with a workspace: `use`, `look`, or nothing."""
        if actor.tenant == workload.tenant:
            if actor.key == workload.submitted_by or actor.may(Scope.TENANT):
                return "use"
            return "look" if workload.shared else ""
        teaches = self.state.tenants[workload.tenant].school == actor.tenant
        return "look" if teaches and actor.may(Scope.SUBMIT) else ""

    def _found(self, actor: Actor, name: str, tenant: str | None) -> Workload:
        """A workspace that somebody may know of. Raises NotFound."""
        about = actor.tenant if tenant is None else tenant
        members = replicas_of(self.state, about, name)
        if members and members[0].spec.workspace is not None:
            knows = actor.tenant == about or actor.admin or self.may(actor, members[0])
            if knows:
                return members[0]
        msg = f"no workspace `{name}`"
        raise NotFound(msg)

    def _own(self, actor: Actor, name: str, tenant: str | None) -> Workload:
        """A workspace that somebody may use. Raises NotFound, Denied."""
        actor.need(Scope.SUBMIT)
        workload = self._found(actor, name, tenant)
        if self.may(actor, workload) != "use" and not actor.admin:
            msg = f"workspace `{name}` is of the key `{workload.submitted_by}`: ask its owner"
            raise Denied(msg)
        return workload

    # --- reads --------------------------------------------------------------------------------------------------

    async def workspaces(self, actor: Actor, *, tenant: str | None = None) -> tuple[WorkspaceView, ...]:
        """Workspaces by tenant and name: all for an admin who names none, else of the tenant and those it teaches."""
        actor.need(Scope.READ)
        await self.settle()
        found: list[WorkspaceView] = []
        for about, name in sorted(self.state.services):
            if tenant is not None and about != tenant:
                continue
            members = replicas_of(self.state, about, name)
            if members[0].spec.workspace is None:
                continue
            if actor.admin or about == actor.tenant or self.may(actor, members[0]):
                found.append(self.workspace_view(actor, members[0]))
        return tuple(found)

    async def workspace(self, actor: Actor, name: str, *, tenant: str | None = None) -> WorkspaceView:
        """One workspace. Raises NotFound."""
        actor.need(Scope.READ)
        await self.settle()
        return self.workspace_view(actor, self._found(actor, name, tenant))

    def workspace_view(self, actor: Actor, workload: Workload) -> WorkspaceView:
        """A workspace as somebody sees it now."""
        spec = workload.spec
        replica: Replica = self._replica(workload)
        run = self.state.runs.get(self.state.run_of.get(workload.id, ""))
        shape = run.shape if run is not None else spec.demand.options[0]
        key = self.state.keys.get(workload.submitted_by)
        why = replica.why
        if replica.readiness is Readiness.STARTING and run is not None and not why:
            seen = self.watch.of(run.id)
            why = seen.why if seen is not None else ""
        return WorkspaceView(
            tenant=workload.tenant,
            name=spec.name,
            workload=workload.id,
            app=spec.workspace.app if spec.workspace is not None else "",
            state=replica.readiness,
            since_ms=replica.since_ms,
            why=why,
            owner=workload.submitted_by,
            owner_name=key.name if key is not None else "",
            shape=shape,
            cost_minor_per_hour=burn(self.site.rate(shape.gpu_model), shape, 1) * HOUR_MS // SCALE,
            spent_minor=workload.spent_minor,
            idle_ms=spec.workspace.idle_ms if spec.workspace is not None else 0,
            awake_until_ms=workload.awake_until_ms,
            used_ms=self._used_ms.get(workload.id, 0),
            shared=workload.shared,
            may=self.may(actor, workload),
            address=self.workspace_url.replace("{label}", workload.id),
            submitted_ms=workload.submitted_ms,
            version=workload.version,
        )

    # --- changes ------------------------------------------------------------------------------------------------

    async def open_workspace(self, actor: Actor, name: str, *, tenant: str | None = None) -> Opened:
        """A way in for one browser; a workspace that rests is woken. Raises NotFound, Denied, Invalid."""
        self.check()
        await self.settle()
        workload = self._found(actor, name, tenant)
        may = self.may(actor, workload)
        if not may:
            msg = f"workspace `{name}` is not shared: ask its owner to share it"
            raise Denied(msg)
        if not self.workspace_url:
            msg = "this factory has no way into workspaces: its operator can set `workspaces.enabled`"
            raise Invalid(msg)
        if workload.cancel:
            msg = f"workspace `{name}` is being deleted"
            raise Invalid(msg)
        if may == "use" and workload.rests:
            await self._wake(workload, workload.awake_until_ms)
        until = self.clock.now_ms() + TICKET_MS
        ticket = self.doors.give("ticket", workload.id, actor.key, until)
        address = self.workspace_url.replace("{label}", workload.id)
        self.used(workload.id)
        return Opened(url=f"{address}/_tawtin/enter?ticket={ticket}", until_ms=until, read_only=may != "use")

    async def start_workspace(
        self, actor: Actor, name: str, *, for_ms: int = 0, tenant: str | None = None
    ) -> WorkspaceView:
        """Wake a workspace, and keep it from resting by itself for `for_ms` from now.

        Raises NotFound, Denied, Invalid.
        """
        self.check()
        if not 0 <= for_ms <= EXTEND_MS_MAX:
            msg = f"it can be kept awake for 30 days at most, not {for_ms} ms"
            raise Invalid(msg)
        workload = self._own(actor, name, tenant)
        now = self.factory.now_ms()
        await self._wake(
            workload, max(workload.awake_until_ms, now + for_ms) if for_ms else workload.awake_until_ms
        )
        return self.workspace_view(actor, self.state.workloads[workload.id])

    async def stop_workspace(self, actor: Actor, name: str, *, tenant: str | None = None) -> WorkspaceView:
        """Let a workspace rest: its run ends, its home stays. Raises NotFound, Denied. Idempotent."""
        self.check()
        workload = self._own(actor, name, tenant)
        self._rest(workload)
        await (self.durable() if self.factory.staged else self.settle())
        return self.workspace_view(actor, self.state.workloads[workload.id])

    async def share_workspace(
        self, actor: Actor, name: str, *, shared: bool, tenant: str | None = None
    ) -> WorkspaceView:
        """Let everybody of its tenant look at a workspace, or no longer. Raises NotFound, Denied. Idempotent."""
        self.check()
        workload = self._own(actor, name, tenant)
        if workload.shared != shared:
            self.factory.stage(WorkspaceShared(workload=workload.id, shared=shared))
        await (self.durable() if self.factory.staged else self.settle())
        return self.workspace_view(actor, self.state.workloads[workload.id])

    async def delete_workspace(self, actor: Actor, name: str, *, tenant: str | None = None) -> WorkspaceView:
        """End a workspace for good, with its home. Raises NotFound, Denied. Idempotent until it is gone."""
        self.check()
        workload = self._own(actor, name, tenant)
        self.factory.cancel(workload, actor.key)
        view = self.workspace_view(actor, self.state.workloads.get(workload.id, workload))
        await (self.durable() if self.factory.staged else self.settle())
        return msgspec.structs.replace(view, state=Readiness.ENDING)

    async def _wake(self, workload: Workload, until_ms: int) -> None:
        if workload.cancel:
            msg = f"workspace `{workload.spec.name}` is being deleted"
            raise Invalid(msg)
        if workload.rests or workload.awake_until_ms != until_ms:
            self.factory.stage(ReplicaRested(workload=workload.id, rests=False, until_ms=until_ms))
        self.used(workload.id)
        await (self.durable() if self.factory.staged else self.settle())

    def _rest(self, workload: Workload) -> None:
        run = self.state.runs.get(self.state.run_of.get(workload.id, ""))
        if not workload.rests and not workload.cancel:
            self.factory.stage(ReplicaRested(workload=workload.id, rests=True))
        if run is not None and run.stop is None:
            self.factory.stage(StopOrdered(run=run.id, cause=Cause.RESTED))
        self._dirty.set()

    # --- what nobody uses ---------------------------------------------------------------------------------------

    def used(self, workload: str) -> None:
        """Somebody uses a workspace now."""
        self._used_ms[workload] = self.clock.now_ms()
        use = self._uses.get(self.state.run_of.get(workload, ""))
        if use is not None:
            use.at = self.clock.monotonic_ms()

    def entered(self, workload: str, key: str) -> tuple[Run, bool] | str:
        """The run of a workspace that a key may go into now, and whether it may only look; else why not."""
        found = self.state.workloads.get(workload)
        actor = self.holder(key)
        may = self.may(actor, found) if actor is not None and found is not None else ""
        if found is None or found.spec.workspace is None or not may:
            return "closed"
        if found.rests:
            return "rests"
        run = self.state.runs.get(self.state.run_of.get(workload, ""))
        if run is None or run.stop is not None or not run.address or run.state is not RunState.STARTED:
            return "starts"
        return run, may != "use"

    async def _rest_idle(self) -> None:
        while True:
            await asyncio.sleep(self.workspacing.look_ms / 1000)
            try:
                self.look_for_idle()
            except Exception:
                log.exception("workspaces could not be looked at; they are looked at again")

    def look_for_idle(self) -> None:
        """Let rest what nobody used for its idle time, and what nobody may use any more."""
        now, now_ms = self.clock.monotonic_ms(), self.factory.now_ms()
        uses: dict[str, _Use] = {}
        for service in self.state.services:
            for each in replicas_of(self.state, *service):
                run = self.state.runs.get(self.state.run_of.get(each.id, ""))
                if each.spec.workspace is None or run is None or run.state is not RunState.STARTED:
                    continue
                use = uses[run.id] = self._uses.get(run.id) or _Use(now, run.usage.cpu_ms)
                self._meter(use, run, now)
                idle_ms = each.spec.workspace.idle_ms
                rests = idle_ms and now - use.at >= idle_ms and now_ms >= each.awake_until_ms
                if run.stop is None and (rests or not self._usable(each, now_ms)):
                    why = "nobody used it" if rests else "no key counts any more that may use it"
                    log.info("workspace `%s` of `%s` rests: %s", each.spec.name, each.tenant, why)
                    self._rest(each)
        self._uses = uses
        self._used_ms = {name: at for name, at in self._used_ms.items() if name in self.state.workloads}

    def _usable(self, workload: Workload, now_ms: int) -> bool:
        """Whether a key counts that may use a workspace: its owner's, an admin's who made it, or one of its tenant."""
        owner = self.state.keys.get(workload.submitted_by)
        if owner is None or holder(self.state, owner.id, now_ms) is not None:
            return True
        held = (holder(self.state, key, now_ms) for key in sorted(self.state.keys))
        return any(actor is not None and self.may(actor, workload) == "use" for actor in held)

    def _meter(self, use: _Use, run: Run, now: int) -> None:
        """Count what its processors did since the last report of that."""
        done = run.usage.cpu_ms - use.cpu_ms
        if done <= 0:
            return
        if done * 100 >= self.workspacing.busy_percent * max(1, now - use.metered):
            use.at = now
        use.cpu_ms, use.metered = run.usage.cpu_ms, now
