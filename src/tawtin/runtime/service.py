"""Everything that the factory's face can ask of it."""

from __future__ import annotations

import io
import re
from typing import IO, TYPE_CHECKING, Any, Final

import msgspec

from tawtin.core.handshake.timing import unsound
from tawtin.core.localisation import rates
from tawtin.model.artifact import Artifact, FileEntry, Manifest, encode_manifest, manifest_id
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
from tawtin.model.tenant import Account, ApiKey, Scope, Tenant
from tawtin.model.views import CapacityView, NewKey, NodeView, Page, StoreView
from tawtin.ports import BlobError, Blobs
from tawtin.runtime.actor import Actor, authenticate, new_key
from tawtin.runtime.errors import Conflict, Full, Invalid, NotFound, ServiceError, VersionMismatch
from tawtin.runtime.factory import subject_of
from tawtin.runtime.introductions import Introductions
from tawtin.runtime.roaming.lending import guest_tenant
from tawtin.runtime.workloads import PAGE_MAX, Workloads

if TYPE_CHECKING:
    from collections.abc import Callable

    from tawtin.model.events import Entry, Event
    from tawtin.model.resources import Node, NodeHealth
    from tawtin.model.roaming import Peer
    from tawtin.model.views import Localised

MANIFEST_BYTES_MAX: Final = 64 << 20


class Service(Workloads):
    """Commands and reads; every answer is durable."""

    def __init__(self, *, blobs: Blobs, **parts: Any) -> None:  # noqa: ANN401 - the parts of Live
        """Wire the parts of Live, and where artifacts are kept."""
        super().__init__(**parts)
        self.blobs = blobs
        self.introductions: Introductions | None = None
        """How others become peers; None where this factory speaks with nobody."""
        if self.neighbours is not None:
            self.introductions = Introductions(self, self.neighbours.signer, self.neighbours.transport)
        self._uploaded: dict[str, set[str]] = {}

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
        """Log entries from number `start`: all for an admin, else those about the caller's own tenant."""
        await self.settle()
        bodies = await self.in_thread(self.journal.events, start, min(limit, PAGE_MAX))
        entries = [decode_entry(body) for body in bodies]
        if actor.admin:
            return tuple(entries)
        return tuple([entry for entry in entries if await self._concerns(entry.event, actor.tenant)])

    async def _concerns(self, event: Event, tenant: str) -> bool:
        subject = subject_of(event)
        if subject:
            return (await self._workload(subject)).tenant == tenant
        return _tenant_of(event) == tenant

    # --- tenants and keys ---------------------------------------------------------------------------------------

    async def tenants(self, actor: Actor) -> tuple[Tenant, ...]:
        """All tenants for an admin, else the caller's own."""
        await self.settle()
        tenants = self.state.tenants
        return tuple(tenants[name] for name in sorted(tenants) if actor.admin or name == actor.tenant)

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
        actor.need(scope)
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
        actor.need(Scope.READ)
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

    async def usage(
        self, actor: Actor, *, tenant: str | None = None, month: str | None = None
    ) -> tuple[Account, ...]:
        """What ended runs used, by tenant and calendar month."""
        if month is not None and not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", month):
            msg = f"`{month}` is not a month: write it as 2026-11"
            raise Invalid(msg)
        about = "" if actor.admin and tenant is None else actor.about(tenant)
        await self.settle()
        return tuple(
            account
            for _, account in sorted(self.state.accounts.items())
            if (not about or account.tenant == about) and (month is None or account.month == month)
        )

    async def localisation(
        self, actor: Actor, *, tenant: str | None = None, month: str | None = None
    ) -> tuple[Localised, ...]:
        """Which share of that was used at home, by tenant and calendar month; an admin sees the sum over all too."""
        accounts = await self.usage(actor, tenant=tenant, month=month)
        found = rates(accounts, {}, self.site.country)
        return tuple(each for each in found if each.tenant or (actor.admin and tenant is None))

    # --- artifacts ----------------------------------------------------------------------------------------------

    async def missing_blobs(self, actor: Actor, digests: tuple[str, ...]) -> tuple[str, ...]:
        """Which of these the factory asks for.

        It asks for all that the tenant's own artifacts do not hold: whether another tenant has the same bytes is
        nobody's business.
        """
        actor.need(Scope.SUBMIT)
        own = await self._own_digests(actor.tenant)
        missing = set(await self._blobs(self.blobs.missing, [each for each in digests if each in own]))
        return tuple(each for each in digests if each not in own or each in missing)

    async def _own_digests(self, tenant: str) -> set[str]:
        """What this tenant has shown to have: files of its artifacts, and what it uploaded since the start."""
        held = set(self._uploaded.get(tenant, ()))
        for holder, artifact_id in list(self.state.artifacts):
            if holder == tenant:
                held.update(entry.digest for entry in (await self._manifest(artifact_id)).files)
        return held

    async def put_blob(self, actor: Actor, digest: str, source: IO[bytes], size_max: int) -> int:
        """Keep these bytes if they hash to `digest`; return their number."""
        actor.need(Scope.SUBMIT)
        self.check()
        size: int = await self._blobs(self.blobs.put, digest, source, size_max)
        self._uploaded.setdefault(actor.tenant, set()).add(digest)
        return size

    async def put_artifact(
        self,
        actor: Actor,
        manifest: Manifest,
        *,
        name: str = "",
        data_class: str = "public",
        origin: str = "",
        tenant: str | None = None,
    ) -> Artifact:
        """Record an artifact whose files this tenant has uploaded. Idempotent.

        Naming the digest of somebody else's file is not enough to get at it: raises Invalid then.
        """
        actor.need(Scope.SUBMIT)
        about = self.known_tenant(actor, tenant)
        self.check()
        own = await self._own_digests(actor.tenant)
        for entry in manifest.files:
            if entry.digest not in own:
                msg = f"file `{entry.path}` (`{entry.digest}`) was not uploaded: upload it first"
                raise Invalid(msg)
        body = encode_manifest(manifest)
        artifact_id = manifest_id(manifest)
        await self._blobs(self.blobs.put, artifact_id, io.BytesIO(body), len(body))
        artifact = Artifact(
            id=artifact_id,
            tenant=about,
            name=name,
            data_class=data_class,
            origin=origin,
            size_bytes=sum(entry.size_bytes for entry in manifest.files),
            files=len(manifest.files),
            created_ms=self.factory.now_ms(),
        )
        known = self.state.artifacts.get((about, artifact_id))
        if known is None:
            self.factory.stage(ArtifactKept(artifact=artifact))
            await self.durable()
        return known or artifact

    async def artifacts(
        self, actor: Actor, *, tenant: str | None = None, before: str = "", limit: int = 100
    ) -> Page[Artifact]:
        """A page of a tenant's artifacts, newest first; the cursor is `<created_ms>/<id>`."""
        about = actor.about(tenant)
        await self.settle()
        found = sorted(
            (
                (f"{each.created_ms:015d}/{each.id}", each)
                for each in self.state.artifacts.values()
                if each.tenant == about
            ),
            key=lambda pair: pair[0],
            reverse=True,
        )
        page = [pair for pair in found if not before or pair[0] < before]
        limit = min(limit, PAGE_MAX)
        return Page(
            items=tuple(each for _, each in page[:limit]),
            next=page[limit - 1][0] if len(page) > limit else "",
        )

    async def artifact(self, actor: Actor, artifact_id: str) -> tuple[Artifact, Manifest]:
        """An artifact of the caller's tenant and its files. Raises NotFound."""
        await self.settle()
        artifact = self.state.artifacts.get((actor.tenant, artifact_id))
        if artifact is None and actor.admin:
            held = (each for each in self.state.artifacts.values() if each.id == artifact_id)
            artifact = next(held, None)
        if artifact is None:
            msg = f"no artifact `{artifact_id}`"
            raise NotFound(msg)
        return artifact, await self._manifest(artifact_id)

    async def _manifest(self, artifact_id: str) -> Manifest:
        source: IO[bytes] = await self._blobs(self.blobs.open, artifact_id)
        with source:
            body = await self.in_thread(source.read, MANIFEST_BYTES_MAX)
        return msgspec.json.decode(body, type=Manifest)

    async def open_blob(self, actor: Actor, artifact_id: str, path: str) -> tuple[FileEntry, IO[bytes]]:
        """One file of an artifact. Raises NotFound."""
        _, manifest = await self.artifact(actor, artifact_id)
        for entry in manifest.files:
            if entry.path == path:
                return entry, await self._blobs(self.blobs.open, entry.digest)
        msg = f"no file `{path}` in artifact `{artifact_id}`"
        raise NotFound(msg)

    async def drop_artifact(self, actor: Actor, artifact_id: str) -> None:
        """Give up an artifact: the tenant no longer has it. Its bytes are not reclaimed yet."""
        actor.need(Scope.SUBMIT)
        artifact, _ = await self.artifact(actor, artifact_id)
        self.check()
        self.factory.stage(ArtifactDropped(tenant=artifact.tenant, id=artifact_id, by=actor.key))
        await self.durable()

    async def _blobs(self, call: Callable[..., Any], *args: object) -> Any:  # noqa: ANN401 - what `call` gives
        try:
            return await self.in_thread(call, *args)
        except BlobError as error:
            raise (Full(str(error)) if error.full else Invalid(str(error))) from error


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
