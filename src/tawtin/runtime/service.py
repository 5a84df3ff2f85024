"""Everything that the factory's face can ask of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tawtin.core.handshake.timing import unsound
from tawtin.core.health import gpu_name
from tawtin.model.events import (
    ArtifactDropped,
    ArtifactKept,
    KeyPut,
    NodePut,
    PeerPut,
    SubmissionRefused,
    TenantPut,
    WorkloadsSubmitted,
    decode_entry,
)
from tawtin.model.localisation import By
from tawtin.model.tenant import Account, ApiKey, Scope, Tenant
from tawtin.model.views import CapacityView, NewKey, NodeView, StoreView
from tawtin.runtime.actor import Actor, authenticate, new_key
from tawtin.runtime.errors import Conflict, Invalid, NotFound, ServiceError, Unavailable, VersionMismatch
from tawtin.runtime.factory import subject_of
from tawtin.runtime.introductions import Introductions
from tawtin.runtime.localising import rates_by
from tawtin.runtime.passes import Passes
from tawtin.runtime.roaming.lending import guest_tenant
from tawtin.runtime.shelves import Shelves
from tawtin.runtime.workloads import PAGE_MAX

if TYPE_CHECKING:
    from tawtin.gateway.supervise import Gateway
    from tawtin.model.events import Entry, Event
    from tawtin.model.gateway import EndpointsView, TokensUsed
    from tawtin.model.health import Quarantine
    from tawtin.model.resources import Node, NodeHealth
    from tawtin.model.roaming import Peer
    from tawtin.model.services import Load
    from tawtin.model.views import Rates
    from tawtin.runtime.batches import Batches

_LEDGER_AWAY: Final = "the gateway's ledger does not answer: try again, and look into the factory's log"


class Service(Shelves):
    """Commands and reads; every answer is durable."""

    def __init__(self, **parts: Any) -> None:  # noqa: ANN401 - the parts of Shelves
        """Wire the parts of Live, and where artifacts are kept."""
        super().__init__(**parts)
        self.introductions: Introductions | None = None
        """How others become peers; None where this factory speaks with nobody."""
        self.gateway: Gateway | None = None
        """What serves models; None where this factory serves none."""
        self.batches: Batches | None = None
        """Files and batches of requests for models; None as above."""
        self.passes = Passes(self)
        """With which pages ask models in the name of who is signed in."""
        if self.neighbours is not None:
            self.introductions = Introductions(self, self.neighbours.signer, self.neighbours.transport)

    def authenticate(self, token: str, now_ms: int | None = None) -> Actor | None:
        """Who holds this token; None if nobody does any more."""
        return authenticate(self.state, token, self.clock.now_ms() if now_ms is None else now_ms)

    def ready(self) -> tuple[bool, str]:
        """Whether new work is accepted, and if not, why."""
        try:
            self.check()
        except ServiceError as error:
            return False, str(error)
        return True, "ready"

    async def events(self, actor: Actor, start: int, limit: int) -> tuple[Entry, ...]:
        """Log entries from number `start`: all for admins and auditors, else those about the caller's own tenant."""
        await self.settle()
        bodies = await self.in_thread(self.journal.events, start, min(limit, PAGE_MAX))
        entries = [decode_entry(body) for body in bodies]
        if actor.overlooks:
            return tuple(entries)
        return tuple([entry for entry in entries if await self._concerns(entry.event, actor.tenant)])

    async def _concerns(self, event: Event, tenant: str) -> bool:
        subject = subject_of(event)
        if subject:
            return (await self._workload(subject)).tenant == tenant
        return _tenant_of(event) == tenant

    # --- tenants and keys ---------------------------------------------------------------------------------------

    async def tenants(self, actor: Actor) -> tuple[Tenant, ...]:
        """All tenants for admins and auditors, else the caller's own."""
        await self.settle()
        tenants = self.state.tenants
        return tuple(tenants[name] for name in sorted(tenants) if actor.overlooks or name == actor.tenant)

    async def tenant(self, actor: Actor, tenant_id: str) -> Tenant:
        """One tenant. Raises NotFound."""
        await self.settle()
        tenant = self.state.tenants.get(actor.about(tenant_id))
        if tenant is None:
            msg = f"no tenant `{tenant_id}`"
            raise NotFound(msg)
        return tenant

    async def put_tenant(
        self, actor: Actor, tenant: Tenant, *, if_match: int | None = None, create: bool = False
    ) -> Tenant:
        """Create or change a tenant. `number`, `owner`, `created_ms` and `version` are the factory's to give."""
        actor.need(Scope.ADMIN)
        self.check()
        known = self.state.tenants.get(tenant.id)
        if known is None and not create:
            msg = f"no tenant `{tenant.id}`: create it first"
            raise NotFound(msg)
        if known is not None and create:
            msg = f"tenant `{tenant.id}` exists already"
            raise Conflict(msg)
        if tenant.school and (tenant.school == tenant.id or tenant.school not in self.state.tenants):
            msg = f"`school`: there is no other tenant `{tenant.school}`: create it first"
            raise Invalid(msg)
        if known is None:
            number = max((each.number for each in self.state.tenants.values()), default=0) + 1
            put = msgspec.structs.replace(
                tenant, number=number, owner=False, created_ms=self.factory.now_ms(), version=1
            )
        else:
            if if_match is not None and if_match != known.version:
                msg = f"tenant `{tenant.id}` is at version {known.version}, not {if_match}: read it again"
                raise VersionMismatch(msg)
            put = msgspec.structs.replace(
                tenant,
                number=known.number,
                owner=known.owner,
                created_ms=known.created_ms,
                version=known.version + 1,
            )
        self.factory.stage(TenantPut(tenant=put, by=actor.key))
        await self.durable()
        return put

    async def peers(self, actor: Actor) -> tuple[Peer, ...]:
        """The factories that this one knows."""
        actor.need(Scope.ADMIN)
        await self.settle()
        return tuple(self.state.peers[name] for name in sorted(self.state.peers))

    async def put_peer(self, actor: Actor, peer: Peer) -> Peer:
        """Add or change a peer, and the tenant under which its work runs here."""
        actor.need(Scope.ADMIN)
        self.check()
        if peer.name == self.site.name:
            msg = f"`{peer.name}` is this factory: peers need other names"
            raise Invalid(msg)
        wrong = unsound(peer.terms)
        if wrong:
            msg = f"`terms`: {wrong}"
            raise Invalid(msg)
        known = self.state.peers.get(peer.name)
        put = msgspec.structs.replace(
            peer,
            added_ms=known.added_ms if known is not None else self.factory.now_ms(),
            version=known.version + 1 if known is not None else 1,
        )
        tenant = guest_tenant(put)
        held = self.state.tenants.get(tenant.id)
        if held is not None and held.name != peer.name:
            msg = f"tenant `{tenant.id}` exists already and is not that of `{peer.name}`: choose another name"
            raise Conflict(msg)
        number = max((each.number for each in self.state.tenants.values()), default=0) + 1
        tenant = msgspec.structs.replace(
            tenant,
            number=held.number if held is not None else number,
            created_ms=held.created_ms if held is not None else self.factory.now_ms(),
            version=held.version + 1 if held is not None else 1,
        )
        self.factory.stage(TenantPut(tenant=tenant, by=actor.key), PeerPut(peer=put, by=actor.key))
        await self.durable()
        return put

    async def store(self, actor: Actor) -> StoreView:
        """Whether the store was put back from a backup, and who is still asked what it knows."""
        actor.need(Scope.ADMIN)
        await self.settle()
        roaming, restored = self.factory.roaming, self.state.restored
        if roaming is None:
            return StoreView(incarnation=restored.incarnation if restored else "", restored=restored)
        return StoreView(
            incarnation=roaming.lending.incarnation,
            restored=restored,
            silent=roaming.recalling.silent() if roaming.post.recalls else (),
            alarms=tuple(roaming.post.alarms),
        )

    async def waive(self, actor: Actor, peer: str, why: str) -> StoreView:
        """Say that a peer will never tell what it knows of us. Raises NotFound, and Conflict if nobody is asked."""
        actor.need(Scope.ADMIN)
        self.check()
        roaming = self.factory.roaming
        if peer not in self.state.peers:
            msg = f"no peer `{peer}`"
            raise NotFound(msg)
        if roaming is None or not roaming.post.recalls:
            msg = f"`{peer}` is not asked for anything: the store was not put back, or all have answered"
            raise Conflict(msg)
        roaming.recalling.waive(peer, actor.key, why)
        await self.durable()
        return await self.store(actor)

    async def found(self, tenant: Tenant) -> NewKey | None:
        """At the very first start: make the owner's tenant and its admin key. None if there are tenants already."""
        if self.state.tenants:
            return None
        now = self.factory.now_ms()
        owner = msgspec.structs.replace(tenant, owner=True, number=1, created_ms=now, version=1)
        kept, shown = new_key(
            tenant=tenant.id,
            name="first",
            scope=Scope.ADMIN,
            now_ms=now,
            expires_ms=None,
            entropy=self.entropy,
        )
        self.factory.stage(TenantPut(tenant=owner), KeyPut(key=kept))
        return shown

    async def keys(self, actor: Actor, tenant: str | None = None) -> tuple[ApiKey, ...]:
        """The keys of a tenant, oldest first."""
        about = actor.about(tenant)
        if about not in self.state.tenants:
            msg = f"no tenant `{about}`"
            raise NotFound(msg)
        await self.settle()
        return tuple(key for _, key in sorted(self.state.keys.items()) if key.tenant == about)

    async def issue_key(
        self, actor: Actor, tenant: str | None, name: str, scope: Scope, expires_ms: int | None
    ) -> NewKey:
        """Make a key. Nobody gives out more than they have."""
        actor.need(Scope.TENANT)
        actor.need(Scope.ADMIN if scope is Scope.AUDIT else scope)
        about = actor.about(tenant)
        if about not in self.state.tenants:
            msg = f"no tenant `{about}`"
            raise NotFound(msg)
        self.check()
        now = self.factory.now_ms()
        if expires_ms is not None and expires_ms <= now:
            msg = "the key would have expired already: give a later time"
            raise Invalid(msg)
        kept, shown = new_key(
            tenant=about, name=name, scope=scope, now_ms=now, expires_ms=expires_ms, entropy=self.entropy
        )
        self.factory.stage(KeyPut(key=kept, by=actor.key))
        await self.durable()
        return shown

    async def revoke_key(self, actor: Actor, key_id: str) -> ApiKey:
        """End a key at once. Idempotent."""
        key = self.state.keys.get(key_id)
        if key is None or (key.tenant != actor.tenant and not actor.admin):
            msg = f"no key `{key_id}`"
            raise NotFound(msg)
        if key_id != actor.key:
            actor.need(Scope.TENANT)
        if key.revoked_ms is None:
            self.check()
            key = msgspec.structs.replace(key, revoked_ms=self.factory.now_ms(), version=key.version + 1)
            self.factory.stage(KeyPut(key=key, by=actor.key))
            await self.durable()
        return key

    # --- capacity and usage -------------------------------------------------------------------------------------

    async def capacity(self, actor: Actor) -> CapacityView:
        """The nodes, and what is free on each."""
        actor.need(Scope.AUDIT)
        await self.settle()
        held: dict[str, int] = {}
        for run in self.state.runs.values():
            for slot in run.slots:
                held[slot.node] = held.get(slot.node, 0) + 1
        nodes: list[NodeView] = []
        for name in sorted(self.state.nodes):
            gpus, cpus_milli, memory_mib = self.state.node_free(name)
            nodes.append(
                NodeView(
                    node=self.state.nodes[name],
                    gpus_free=gpus,
                    cpus_milli_free=cpus_milli,
                    memory_mib_free=memory_mib,
                    runs=held.get(name, 0),
                    quarantines=tuple(self._out_of(name)),
                )
            )
        return CapacityView(nodes=tuple(nodes), isolated=self.site.isolated, notes=self.engine.notes())

    async def set_node_health(self, actor: Actor, name: str, health: NodeHealth) -> Node:
        """Drain a node, or bring it back."""
        actor.need(Scope.ADMIN)
        node = self.state.nodes.get(name)
        if node is None:
            msg = f"no node `{name}`"
            raise NotFound(msg)
        if node.health is not health:
            self.check()
            node = msgspec.structs.replace(node, health=health)
            self.factory.stage(NodePut(node=node))
            await self.durable()
        return node

    def _out_of(self, name: str) -> list[Quarantine]:
        found = self.state.quarantines
        return [found[key] for key in sorted(found) if found[key].node == name and found[key].out]

    async def quarantines(self, actor: Actor) -> tuple[Quarantine, ...]:
        """Every GPU and node that is out of service, or was: those that are out first."""
        actor.need(Scope.AUDIT)
        await self.settle()
        found = self.state.quarantines.values()
        return tuple(sorted(found, key=lambda each: (not each.out, each.node, each.gpu)))

    async def quarantine(
        self, actor: Actor, name: str, gpus: tuple[int, ...], why: str
    ) -> tuple[Quarantine, ...]:
        """Take GPUs of a node, or the whole of it, out of service; what runs there is drained. Idempotent."""
        actor.need(Scope.ADMIN)
        node = self.state.nodes.get(name)
        if node is None:
            msg = f"no node `{name}`"
            raise NotFound(msg)
        absent = [index for index in gpus if index >= node.gpus]
        if absent:
            msg = f"node `{name}` has {node.gpus} GPUs, counted from 0, and no GPU {absent[0]}"
            raise Invalid(msg)
        self.check()
        made = self.factory.nodes.take_out(node, tuple(sorted(set(gpus))), why, actor.key)
        await (self.durable() if self.factory.staged else self.settle())
        return tuple(made)

    async def bring_back(
        self, actor: Actor, name: str, gpus: tuple[int, ...], *, untested: bool
    ) -> tuple[Quarantine, ...]:
        """Bring back what is out of service: `untested` at once, else if its burn-in job passes, which starts now."""
        actor.need(Scope.ADMIN)
        node, out = self.state.nodes.get(name), self._out_of(name)
        if node is None and not out:
            msg = f"no node `{name}`"
            raise NotFound(msg)
        if gpus:
            named = {gpu_name(node, index) for index in gpus} if node is not None else set[str]()
            out = [each for each in out if each.gpu in named]
        if not out:
            which = (
                f"GPU {', '.join(map(str, gpus))} of `{name}` is not" if gpus else f"nothing of `{name}` is"
            )
            msg = f"{which} in quarantine: `tawtin node list` shows what is"
            raise Conflict(msg)
        tried = [each for each in out if each.trial]
        if tried:
            msg = f"`{tried[0].gpu or name}` is being tried by {tried[0].trial}: wait for it, or cancel it first"
            raise Conflict(msg)
        nodes = self.factory.nodes
        if not untested and not nodes.tries:
            msg = "there is no burn-in job: set `burn_in.script` in factory.toml, or bring it back untested"
            raise Conflict(msg)
        self.check()
        if untested:
            said = [nodes.bring_back(each, actor.key) for each in out]
        else:
            problems = [why for each in out if (why := nodes.try_out(each, actor.key))]
            if len(problems) == len(out):
                msg = f"its burn-in job cannot start: {problems[0]}"
                raise Conflict(msg)
            said = [self.state.quarantines[each.key] for each in out]
        await self.durable()
        return tuple(said)

    async def usage(
        self, actor: Actor, *, tenant: str | None = None, month: str | None = None
    ) -> tuple[Account, ...]:
        """What ended runs and charged requests for models used, by tenant and calendar month."""
        _check_month(month)
        about = "" if actor.overlooks and tenant is None else actor.about(tenant)
        await self.settle()
        return tuple(
            account
            for _, account in sorted(self.state.accounts.items())
            if (not about or account.tenant == about) and (month is None or account.month == month)
        )

    async def endpoints(self, actor: Actor) -> EndpointsView:
        """Where models are served, which, and for an admin by what. Raises NotFound, Unavailable."""
        actor.need(Scope.AUDIT)
        try:
            return await self._serving().endpoints(replicas=actor.admin)
        except OSError as error:
            raise Unavailable(_LEDGER_AWAY) from error

    async def tokens(
        self, actor: Actor, *, tenant: str | None = None, month: str | None = None
    ) -> tuple[TokensUsed, ...]:
        """What settled requests for models used: of all tenants for admins and auditors, else of the caller's own.

        Raises Invalid, NotFound, Unavailable.
        """
        _check_month(month)
        about = "" if actor.overlooks and tenant is None else actor.about(tenant)
        try:
            return await self._serving().used(about, month or "")
        except OSError as error:
            raise Unavailable(_LEDGER_AWAY) from error

    async def loads(self) -> dict[str, Load] | None:
        """What the gateway knows of the load of services."""
        if self.gateway is None:
            return None
        try:
            return await self.gateway.loads()
        except OSError:
            return None

    def _serving(self) -> Gateway:
        if self.gateway is None:
            msg = "this factory serves no models: name some in factory.toml, as `[models.NAME]`"
            raise NotFound(msg)
        return self.gateway

    async def localisation(
        self,
        actor: Actor,
        *,
        by: By = By.TENANT,
        tenant: str | None = None,
        month: str | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> Rates:
        """Which share of that was used at home, by calendar month; `since` and `until` are months, both included.

        By tenant, admins and auditors see the sum over all too. Raises Denied, Invalid.
        """
        if by is not By.TENANT:
            if not actor.overlooks:
                actor.need(Scope.ADMIN)
            if tenant is not None:
                msg = f"`tenant` goes with `by=tenant`, not with `by={by}`: leave one of them out"
                raise Invalid(msg)
        if month is not None and (since is not None or until is not None):
            msg = "`month` is one month, and `since` and `until` are a stretch of them: give the one or the other"
            raise Invalid(msg)
        first, last = since or month or "", until or month or "9999-12"
        if first > last:
            msg = f"`since` is {first}, after `until`, which is {last}: exchange them"
            raise Invalid(msg)
        accounts = await self.usage(actor, tenant=tenant, month=month)
        hearsay = self.neighbours.hearsay if self.neighbours is not None else None
        found = rates_by(self.state, hearsay, by, accounts, self.factory.now_ms())
        items = (each for each in found.items if first <= each.month <= last)
        if by is By.TENANT:
            items = (each for each in items if each.tenant or (actor.overlooks and tenant is None))
        return msgspec.structs.replace(found, items=tuple(items))


def _check_month(month: str | None) -> None:
    if month is not None and not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", month):
        msg = f"`{month}` is not a month: write it as 2026-11"
        raise Invalid(msg)


def _tenant_of(event: Event) -> str:
    """The tenant that an event names itself; empty where it names none."""
    match event:
        case TenantPut():
            name = event.tenant.id
        case KeyPut():
            name = event.key.tenant
        case SubmissionRefused() | ArtifactDropped():
            name = event.tenant
        case WorkloadsSubmitted():
            name = event.workloads[0].tenant
        case ArtifactKept():
            name = event.artifact.tenant
        case _:
            name = ""
    return name
