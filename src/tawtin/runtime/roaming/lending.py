"""The visited side: room that is held for peers, guests that run, and their leases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from tawtin.core import hours
from tawtin.core.decide import Promise, decide
from tawtin.core.guests import unsound
from tawtin.core.handshake import timing, visited
from tawtin.core.handshake.move import Move
from tawtin.core.handshake.visited import Held, Reservation, Visited
from tawtin.core.seats import lowest
from tawtin.model.events import Event, GuestPut, RunEnded, StopOrdered
from tawtin.model.ids import run_id
from tawtin.model.money import Rate
from tawtin.model.reasons import Cause, Refusal
from tawtin.model.resources import Slot
from tawtin.model.roaming import (
    Commit,
    Countersign,
    Guest,
    PeerState,
    Recall,
    RenewOk,
    Reserve,
    Reserved,
    guest_key,
    guest_workload,
    receipt_bytes,
)
from tawtin.model.tenant import Quota, Tenant
from tawtin.model.workload import OnPartition, Run, RunState, Workload, WorkloadSpec
from tawtin.runtime.roaming.post import AGAIN_MS
from tawtin.spec.paths import foreign

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tawtin.model.roaming import Peer
    from tawtin.runtime.roaming.post import Post

EPOCHS_LOST_MAX: Final = 1_000
"""So many epochs above the last one that home knows are looked for among what the engine remembers."""


class Lending:
    """What a visited factory has under way."""

    def __init__(self, post: Post, *, incarnation: str, fuse_stop_ms: int | None) -> None:
        self.post = post
        self._first = incarnation
        self.fuse_stop_ms = fuse_stop_ms
        self.extend: list[tuple[str, int]] = []
        self.fuses: dict[str, int] = {}
        """Local runs with a lease -> when it is over, by our clock."""
        self._held: dict[tuple[str, str], Held] = {}
        """By peer and its workload."""

    @property
    def incarnation(self) -> str:
        """That of the store: of its beginning, or since it was last put back from a backup."""
        restored = self.post.factory.state.restored
        return self._first if restored is None else restored.incarnation

    def resume(self) -> None:
        """What has ended is said again; a leased guest that never started never will, as nobody knows its deadline."""
        for guest in list(self.post.factory.state.guests.values()):
            run = self._run_of(guest)
            if run is None:
                self.post.begin(guest.key)
            elif guest.mode is OnPartition.RERUN and run.state is RunState.PLACED and run.stop is None:
                self.post.factory.stage(StopOrdered(run=run.id, cause=Cause.LEASE_EXPIRED))

    def promised(self) -> tuple[Promise, ...]:
        """Room that peers were promised for a moment."""
        now = self.post.tick_ms()
        return tuple(
            Promise(shape=held.reservation.shape, nodes=held.reservation.nodes)
            for held in self._held.values()
            if held.reservation is not None and held.reservation.until_ms > now
        )

    def hear(self, peer: Peer, message: Any, rows: Mapping[tuple[str, str], Any]) -> None:  # noqa: ANN401 - FromHome
        """Take in a message about an epoch that a home asks us to run, or that we run."""
        if isinstance(message, Recall):
            self._recall(peer, message, rows)
            return
        state, key = self.post.factory.state, guest_key(peer.name, message.workload, message.epoch)
        guest: Guest | None = state.guests.get(key) or rows.get(("guest", key))
        held = self._held.setdefault((peer.name, message.workload), Held())
        side = Visited(
            name=self.post.factory.site.name,
            incarnation=self.incarnation,
            terms=peer.terms,
            guest=guest,
            run=self._run_of(guest) if guest is not None else None,
            lower=self._lower(peer.name, message.workload, message.epoch),
            held=held,
            refusal=self._refusal(peer, message) if isinstance(message, Reserve | Commit) else "",
            sound=not isinstance(message, Countersign) or self._is_countersigned(peer, guest, message),
            boot_ms=self.post.tick_ms(),
            now_ms=self.post.factory.now_ms(),
        )
        if isinstance(message, Reserve):
            move = visited.reserve(side, message) or self._look_for_room(peer, held, message)
        else:
            move = visited.hear(side, message, peer.name, lambda said, kept: self._build(peer, said, kept))
        if move.drop:
            held.reservation = None
        if move.extend_ms is not None and isinstance(message, Commit | RenewOk):
            self._extend_lease(side.run, held, message, move.extend_ms, peer)
        self.post.make(peer.name, move)
        if held.reservation is None and guest is None and not move.events:
            self._held.pop((peer.name, message.workload), None)

    def _recall(self, peer: Peer, message: Recall, rows: Mapping[tuple[str, str], Any]) -> None:
        """Give up what is held for a workload, and what runs of it that its home does not know."""
        held = self._held.get((peer.name, message.workload))
        if held is not None:
            held.reservation = None
        if self.post.factory.state.restored is not None and self.post.unrecorded():
            return  # our own store was put back as well: what runs unrecorded may be of this very workload
        guests = self.post.factory.state.guests
        live = [
            each for each in guests.values() if (each.home, each.workload) == (peer.name, message.workload)
        ]
        runs = [self._run_of(each) for each in live if each.epoch >= message.epoch]
        known = ("epochs", f"{peer.name}/{message.workload}")
        key = guest_key(peer.name, message.workload, message.epoch - 1)
        move = visited.recall(
            message,
            tuple(run for run in runs if run is not None),
            guests.get(key) or rows.get(("guest", key)),
            max([rows.get(known, 0), self._remembered(peer, message), *(each.epoch for each in live)]),
        )
        self.post.make(peer.name, move)

    def _remembered(self, peer: Peer, message: Recall) -> int:
        """The highest epoch that our engine remembers and our own store, which was put back, may have lost."""
        if self.post.factory.state.restored is None:
            return 0
        started = self.post.started()
        epochs = range(message.epoch, message.epoch + EPOCHS_LOST_MAX)
        names = ((each, guest_workload(peer.name, message.workload, each)) for each in epochs)
        return max((each for each, name in names if run_id(name, 1) in started), default=0)

    def _is_countersigned(self, peer: Peer, guest: Guest | None, message: Countersign) -> bool:
        if guest is None or guest.receipt is None:
            return False
        return self.post.signer.verify(peer.key, receipt_bytes(guest.receipt.receipt), message.signature)

    def _look_for_room(self, peer: Peer, held: Held, message: Reserve) -> Move:
        """Decide as if the workload were ours, and hold the place that this finds."""
        if message.mode is OnPartition.RERUN and (
            self.fuse_stop_ms is None or self.fuse_stop_ms > peer.terms.stop_ms
        ):
            return visited.refuse(message, "NoFuse", "the engine here cannot promise to end a run in time")
        probe = self._guest_workload(peer, message, "wl-probe", self._probe_spec(message))
        decision = decide(
            self.post.factory.state, self.post.factory.now_ms(), also=(probe,), promised=self.promised()
        )
        place = next((each for each in decision.placements if each.workload == probe.id), None)
        if place is None:
            return visited.refuse(message, "NoRoom", "nothing is free for it here now")
        now = self.post.tick_ms()
        nodes = tuple(slot.node for slot in place.slots)
        model = self.post.factory.state.nodes[nodes[0]].gpu_model if place.shape.gpus else ""
        reply = Reserved(
            workload=message.workload,
            epoch=message.epoch,
            resv=f"{self.post.entropy.bits(128):032x}.{self.incarnation}",
            ttl_ms=peer.terms.ttl_ms,
            shape=place.shape,
            rate=self._rate(peer, model),
        )
        held.reservation = Reservation(
            epoch=message.epoch,
            resv=reply.resv,
            stamp_ms=now,
            until_ms=now + peer.terms.ttl_ms,
            shape=place.shape,
            nodes=nodes,
            reply=reply,
            spec_digest=message.spec_digest,
        )
        return Move(send=(reply,))

    def _refusal(self, peer: Peer, message: Reserve | Commit) -> str:
        """Why this peer, or this data, gets nothing here."""
        if peer.state is not PeerState.ACTIVE:
            return "we are parting"
        state = self.post.factory.state
        spec = message.spec if isinstance(message, Commit) else self._probe_spec(message)
        wrong = unsound(spec) or foreign(spec)
        if wrong:
            return wrong
        if tenant_of(peer.name) not in state.tenants:
            return "nothing is lent to you"
        late = hours.refusal(peer.lends.hours, spec.max_duration_ms, self.post.factory.now_ms())
        if late:
            return late
        if spec.network and not state.tenants[tenant_of(peer.name)].network:
            return f"{Refusal.NETWORK_NOT_ALLOWED.value}: the network is not lent to you"
        models = {option.gpu_model or "*" for option in spec.demand.options if option.gpus}
        lent = peer.lends.gpus
        if models and not any(lent.get(model, lent.get("*", 0)) for model in models):
            return f"no {', '.join(sorted(models))} is lent to you"
        probe = self._guest_workload(peer, message, "wl-probe", spec)
        said = state.verdict(probe, self.post.factory.site, self.post.factory.now_ms())
        return "" if said.allowed else said.sentence

    def _guest_workload(
        self, peer: Peer, message: Reserve | Commit, name: str, spec: WorkloadSpec
    ) -> Workload:
        now = self.post.factory.now_ms()
        return Workload(
            id=name,
            tenant=tenant_of(peer.name),
            spec=replace(spec, secrets=(), priority=0),
            digest="",
            guest=peer.name,
            owner=message.owner,
            submitted_ms=now,
            queued_ms=now,
        )

    def _probe_spec(self, message: Reserve) -> WorkloadSpec:
        return WorkloadSpec(
            name="guest",
            run="true",
            demand=message.demand,
            max_duration_ms=message.lasts_ms,
            network=message.network,
            data=message.data,
        )

    def _build(self, peer: Peer, message: Commit, held: Reservation) -> tuple[Workload, Run] | None:
        """The workload and the run of a commit, on the nodes that were held for it."""
        state = self.post.factory.state
        workload = self._guest_workload(peer, message, visited.local_id(peer.name, message), message.spec)
        slots: list[Slot] = []
        for node in held.nodes:
            seat = state.seats.get(node)
            slot = (
                Slot(node=node, gpus=lowest(seat.mask, held.shape.gpus))
                if seat and seat.gpus >= held.shape.gpus
                else None
            )
            if seat is None or slot is None or seat.misfit(held.shape, slot):
                return None
            slots.append(slot)
        if (
            message.shape != held.shape
            or message.rate != held.reply.rate
            or held.shape not in workload.spec.demand.options
            or workload.spec.demand.nodes != len(slots)
            or workload.id in state.workloads
            or (state.restored is not None and run_id(workload.id, 1) in self.post.started())
        ):
            return None
        node = state.nodes[held.nodes[0]]
        order = self.post.factory.run_on(workload, held.shape, tuple(slots), node, held.reply.rate)
        return workload, order

    def _extend_lease(
        self, run: Run | None, held: Held, message: Commit | RenewOk, until_ms: int, peer: Peer
    ) -> None:
        if isinstance(message, Commit):
            held.lease_from_ms = until_ms - message.lease_ms + peer.terms.stop_ms
            self.fuses[run_id(visited.local_id(peer.name, message), 1)] = until_ms
            return
        stamp_ms = held.asked.pop(message.req, None)
        if run is None or stamp_ms is None:
            return
        held.lease_from_ms = max(stamp_ms, held.lease_from_ms or stamp_ms)
        if until_ms > self.fuses.get(run.id, -1):
            self.fuses[run.id] = until_ms
            self.extend.append((run.id, until_ms))

    def ended(self, run: Run, event: RunEnded) -> tuple[Event, ...]:
        """What is recorded with the end of a guest's run, in the same transaction: its outcome and receipt."""
        key = self.post.factory.state.guest_of.get(run.workload)
        if key is None:
            return ()
        self.fuses.pop(run.id, None)
        guest = visited.ended(
            self.post.factory.state.guests[key],
            run,
            event,
            self.post.factory.site.name,
            self.post.signer.sign,
        )
        self.post.begin(key, AGAIN_MS)
        self.post.outbox.extend((guest.home, said) for said in visited.repeat(guest))
        return (GuestPut(guest=guest),)

    def due(self) -> None:
        """Renew guests that run, say again how others ended, and let go of what was held in vain."""
        now = self.post.tick_ms()
        here: set[tuple[str, str]] = set()
        for guest in list(self.post.factory.state.guests.values()):
            here.add((guest.home, guest.workload))
            self._look_after(guest, now)
        for key, held in list(self._held.items()):
            if held.reservation is not None and held.reservation.until_ms <= now:
                held.reservation = None
            if held.reservation is None and key not in here:
                del self._held[key]

    def next_due_ms(self) -> int | None:
        """The earliest time by our monotonic clock at which `due` has something to do, as far as is known now."""
        times = [held.reservation.until_ms for held in self._held.values() if held.reservation is not None]
        times += [self._guest_due_ms(guest) for guest in self.post.factory.state.guests.values()]
        return min(times, default=None)

    def _guest_due_ms(self, guest: Guest) -> int:
        run = self._run_of(guest)
        if run is None:
            return self.post.due_ms(guest.key)
        held = self._held.get((guest.home, guest.workload))
        if held is None or (run.started_ms is not None and held.told_started != guest.epoch):
            return 0
        if guest.verdict_not_after_ms is None or run.stop is not None:
            return held.renew_at_ms
        lawful_ms = guest.verdict_not_after_ms - self.post.factory.now_ms()
        return min(held.renew_at_ms, self.post.tick_ms() + lawful_ms)

    def _look_after(self, guest: Guest, now: int) -> None:
        """Renew a guest that runs; say again how one ended."""
        run = self._run_of(guest)
        if run is None:
            if self.post.is_due(guest.key):
                self.post.outbox.extend((guest.home, said) for said in visited.repeat(guest))
                self.post.pause(guest.key)
            return
        late = guest.verdict_not_after_ms
        if late is not None and late <= self.post.factory.now_ms() and run.stop is None:
            self.post.factory.stage(StopOrdered(run=run.id, cause=Cause.RESIDENCY))
        held = self._held.setdefault((guest.home, guest.workload), Held())
        is_news = run.started_ms is not None and held.told_started != guest.epoch
        if held.renew_at_ms <= now or is_news:
            terms = self.post.factory.state.peers[guest.home].terms
            leased = guest.mode is OnPartition.RERUN
            every = timing.renew_every_ms(guest.lease_ms, terms.stop_ms) if leased else terms.renew_ms
            held.renew_at_ms = now + every
            held.told_started = guest.epoch if run.started_ms is not None else 0
            req = f"{self.post.entropy.bits(128):032x}"
            held.asked = {name: at_ms for name, at_ms in held.asked.items() if now - at_ms < guest.lease_ms}
            held.asked[req] = now
            self.post.outbox.append((guest.home, visited.renewal(guest, run, req)))

    def _run_of(self, guest: Guest) -> Run | None:
        return self.post.factory.state.runs.get(run_id(guest.local, 1))

    def _lower(self, home: str, workload: str, epoch: int) -> tuple[Run, ...]:
        found: Iterable[Run | None] = (
            self._run_of(guest)
            for guest in self.post.factory.state.guests.values()
            if guest.home == home and guest.workload == workload and guest.epoch < epoch
        )
        return tuple(run for run in found if run is not None)

    def _rate(self, peer: Peer, model: str) -> Rate:
        lends = peer.lends
        if not lends.currency:
            return self.post.factory.site.rate(model)
        prices = lends.minor_per_gpu_hour
        per_gpu = prices.get(model, prices.get("*", 0)) if model else 0
        return Rate(
            currency=lends.currency, minor_per_gpu_hour=per_gpu, minor_per_cpu_hour=lends.minor_per_cpu_hour
        )


def tenant_of(peer: str) -> str:
    """The tenant under which a peer's guests run here."""
    plain = "".join(each if each.isascii() and each.isalnum() else "-" for each in peer.lower()).strip("-")
    return f"peer-{plain or 'unnamed'}"[:63].rstrip("-")


def guest_tenant(peer: Peer) -> Tenant:
    """That tenant: it may hold what is lent to the peer."""
    lends = peer.lends
    return Tenant(
        id=tenant_of(peer.name),
        name=peer.name,
        country=peer.country,
        quota=Quota(gpus=sum(lends.gpus.values()), cpus_milli=lends.cpus_milli),
    )
