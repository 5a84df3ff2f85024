"""The home side: which peer is asked for room, what is placed there, and the timers of leases that are away."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from tawtin.core import roam
from tawtin.core.handshake import home as homes
from tawtin.core.handshake import timing
from tawtin.core.handshake.home import Home
from tawtin.model.base import as_canonical
from tawtin.model.events import RunPlaced
from tawtin.model.ids import run_id
from tawtin.model.reasons import Cause
from tawtin.model.roaming import (
    Commit,
    Complete,
    FromVisited,
    Offer,
    PeerState,
    Refused,
    Reserve,
    Reserved,
    receipt_bytes,
    spec_digest,
)
from tawtin.model.workload import (
    CloseKind,
    OnPartition,
    Owner,
    Phase,
    Roam,
    Run,
    RunState,
    Workload,
    WorkloadSpec,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tawtin.core.decide import Decision
    from tawtin.core.handshake.move import Move
    from tawtin.model.roaming import Peer
    from tawtin.runtime.roaming.post import Post

ANSWER_MS: Final = 5_000
"""How long a peer that was asked for room has to answer before the next one is asked."""
REST_MS: Final = 10_000
"""How long a workload waits before peers are asked for it again."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A result whose files are here, as far as they could be had."""

    missing: Mapping[str, str] = field(default_factory=dict[str, str])
    """Outputs that are not here -> why."""


@dataclass(slots=True)
class Round:
    """A workload for which peers are asked, one after the other."""

    epoch: int
    rest: list[str]
    asked: list[str] = field(default_factory=list[str])
    until_ms: int = 0


def _unheard(_peer: str, _message: FromVisited, _move: Move) -> None:
    """Nobody listens yet."""


class Asking:
    """What home has under way."""

    def __init__(self, post: Post) -> None:
        self.post = post
        self.offers: dict[str, Offer] = {}
        """The newest of each peer, whatever they are worth."""
        self.rounds: dict[str, Round] = {}
        self._rest_until_ms: dict[str, int] = {}
        self._waits: dict[str, int] = {}
        """Runs that are away with a lease: when it is over at the peer as well."""
        self._known: set[str] = set()
        """Runs that are away and of which their peer has said something."""
        self.fetch: Callable[[str, Complete], Fetched | None] | None = None
        """Brings the outputs of a result home: None while they are on their way. Without one nothing is brought."""
        self.went_back: Callable[[str, FromVisited, Move], None] = _unheard
        """Called when what a peer says shows that our own store was put back from a backup."""
        self.arrived_ms: Callable[[str], int | None] = lambda _: None
        """When something of a run's outputs arrived for the last time, by our monotonic clock."""

    def resume(self) -> None:
        """Leases that are away count from now, and what peers have to hear is said again."""
        now = self.post.tick_ms()
        for run in self.post.factory.state.runs.values():
            if run.roam is not None:
                if run.roam.mode is OnPartition.RERUN:
                    self._waits[run.id] = now + run.roam.wait_ms
                self.post.begin(run.id)

    def ask(self, decision: Decision) -> None:
        """After a pass: ask peers for workloads that do not start here soon."""
        state, now = self.post.factory.state, self.post.tick_ms()
        if self.post.recalls:
            return
        resting = {name for name, until_ms in self._rest_until_ms.items() if until_ms > now}
        busy = {*self.rounds, *resting}
        for each in roam.asks(state, decision, self.offers, busy, self.post.factory.now_ms()):
            workload = state.workloads[each.workload]
            self.rounds[each.workload] = Round(workload.epoch_last + 1, list(each.peers))
            self._ask_next(each.workload)

    def _ask_next(self, name: str) -> None:
        """Ask the next peer for a workload; give up for a while if there is none."""
        asking, workload = self.rounds[name], self.post.factory.state.workloads.get(name)
        if (
            workload is None
            or self.post.recalls
            or workload.phase is not Phase.QUEUED
            or workload.epoch_last + 1 != asking.epoch
        ):
            del self.rounds[name]
            return
        while asking.rest:
            peer = self.post.factory.state.peers.get(asking.rest.pop(0))
            if (
                peer is not None
                and peer.state is PeerState.ACTIVE
                and self.post.lawful_at(workload, peer.name)[0]
            ):
                asking.asked.append(peer.name)
                asking.until_ms = self.post.tick_ms() + ANSWER_MS
                self.post.outbox.append((peer.name, self._reserve(workload, peer)))
                return
        del self.rounds[name]
        self._rest_until_ms[name] = self.post.tick_ms() + REST_MS

    def _reserve(self, workload: Workload, peer: Peer) -> Reserve:
        spec = self._travelling(workload)
        return Reserve(
            workload=workload.id,
            epoch=workload.epoch_last + 1,
            spec_digest=spec_digest(spec),
            demand=spec.demand,
            mode=spec.on_partition,
            lease_ms=peer.terms.lease_ms if spec.on_partition is OnPartition.RERUN else 0,
            data=spec.data,
            owner=self._owner(workload),
            network=spec.network,
            lasts_ms=spec.max_duration_ms,
        )

    def reserved(self, peer: str, message: Reserved) -> None:
        """Take the room that a peer holds for us, if it is still wanted."""
        asking, state = self.rounds.get(message.workload), self.post.factory.state
        workload = state.workloads.get(message.workload)
        if asking is None or workload is None or peer not in asking.asked or self.post.recalls:
            return
        lawful, not_after_ms = self.post.lawful_at(workload, peer)
        if (
            workload.phase is not Phase.QUEUED
            or workload.cancel
            or not message.epoch == asking.epoch == workload.epoch_last + 1
            or not lawful
            or state.peers[peer].state is not PeerState.ACTIVE
            or message.rate.currency != self.post.factory.site.currency
            or message.shape not in workload.spec.demand.options
        ):
            return
        del self.rounds[message.workload]
        run = self._away(workload, state.peers[peer], message, not_after_ms)
        self.post.factory.stage(RunPlaced(run=run))
        if run.roam is not None and run.roam.mode is OnPartition.RERUN:
            self._waits[run.id] = self.post.tick_ms() + run.roam.wait_ms
        self.post.begin(run.id)
        self._say_again(run)

    def _away(self, workload: Workload, peer: Peer, message: Reserved, not_after_ms: int | None) -> Run:
        spec, terms = workload.spec, peer.terms
        leased = spec.on_partition is OnPartition.RERUN
        wait_ms = timing.wait_ms(terms.lease_ms, home_ppm=terms.home_ppm, visited_ppm=terms.visited_ppm)
        return Run(
            id=run_id(workload.id, message.epoch),
            workload=workload.id,
            tenant=workload.tenant,
            epoch=message.epoch,
            factory=peer.name,
            country=peer.country,
            shape=message.shape,
            nodes=spec.demand.nodes,
            rate=message.rate,
            placed_ms=self.post.factory.now_ms(),
            roam=Roam(
                resv=message.resv,
                mode=spec.on_partition,
                lease_ms=terms.lease_ms if leased else 0,
                wait_ms=wait_ms if leased else 0,
                verdict_not_after_ms=not_after_ms,
            ),
        )

    def stop(self, run: Run) -> None:
        """A run that is away is to end: say so until its end is heard."""
        self.post.begin(run.id)
        self._say_again(run)

    def declare_lost(self, run: Run, by: str, why: str) -> None:
        """A person says that the peer which had this run is gone. Only then is the workload tried elsewhere."""
        ended = homes.closed(
            run, CloseKind.LOST, Cause.DECLARED_LOST, self.post.factory.now_ms(), f"{by}: {why}"
        )
        self.post.factory.stage(ended)
        self._over(run.id)
        done = replace(run, state=RunState.DONE)
        said = homes.stop_of(done)
        if said is not None:
            self.post.outbox.append((run.factory, said))

    def refused(self, peer: str, message: Refused) -> None:
        """Ask the next one."""
        asking = self.rounds.get(message.workload)
        if asking is not None and asking.epoch == message.epoch and asking.asked[-1:] == [peer]:
            self._ask_next(message.workload)

    def hear(self, peer: Peer, message: FromVisited, rows: Mapping[tuple[str, str], Any]) -> None:
        """Take in a message about an epoch that a peer has, or had."""
        state, name = self.post.factory.state, run_id(message.workload, message.epoch)
        fetched = Fetched()
        if isinstance(message, Complete) and name in state.runs and self.fetch is not None:
            found = self.fetch(peer.name, message)
            if found is None:
                return  # its peer repeats it until it is acknowledged, and it is taken in when its files are here
            fetched = found
        workload = state.workloads.get(message.workload) or rows.get(("workload", message.workload))
        run = state.runs.get(name) or rows.get(("run", name))
        side = Home(
            name=self.post.factory.site.name,
            last=workload.epoch_last if workload is not None else 0,
            run=run,
            lawful=workload is not None and self.post.lawful_at(workload, peer.name)[0],
            sound=not isinstance(message, Complete) or self._is_signed(peer, message),
            sign=self.post.signer.sign,
            now_ms=self.post.factory.now_ms(),
            restored=state.restored is not None,
            missing=fetched.missing,
        )
        move = homes.hear(side, peer.name, message)
        if move.heard and run is not None:
            self._known.add(run.id)
        if move.granted and run is not None and run.roam is not None and run.roam.mode is OnPartition.RERUN:
            self._waits[run.id] = self.post.tick_ms() + run.roam.wait_ms
        for over in self.post.make(peer.name, move):
            self._over(over)
        if move.back:
            self.went_back(peer.name, message, move)

    def _is_signed(self, peer: Peer, message: Complete) -> bool:
        signed = message.receipt
        return self.post.signer.verify(peer.key, receipt_bytes(signed.receipt), signed.signature)

    def _over(self, run: str) -> None:
        self._waits.pop(run, None)
        self.post.forget(run)
        self._known.discard(run)

    def due(self) -> None:
        """Do what is due: rounds without an answer, leases that are over, and what peers have not heard."""
        now = self.post.tick_ms()
        for name in [name for name, asking in self.rounds.items() if asking.until_ms <= now]:
            self._ask_next(name)
        for name in [name for name, at_ms in self._waits.items() if at_ms <= now]:
            self._expire(name)
        for run in list(self.post.factory.state.runs.values()):
            if run.roam is not None and self.post.is_due(run.id):
                self._say_again(run)
        self._rest_until_ms = {name: at_ms for name, at_ms in self._rest_until_ms.items() if at_ms > now}

    def next_due_ms(self) -> int | None:
        """The earliest time by our monotonic clock at which `due` has something to do, as far as is known now.

        The end of a rest is such a time as well: then a pass may ask peers again.
        """
        times = [asking.until_ms for asking in self.rounds.values()]
        times += self._waits.values()
        times += self._rest_until_ms.values()
        times += [
            self.post.due_ms(run.id)
            for run in self.post.factory.state.runs.values()
            if run.roam is not None and (run.stop is not None or run.id not in self._known)
        ]
        return min(times, default=None)

    def _expire(self, name: str) -> None:
        """The lease of a run is over at its peer too, by both clocks: only now may the workload start elsewhere.

        A result whose files still arrive is waited for.
        """
        run = self.post.factory.state.runs.get(name)
        arrived_ms = self.arrived_ms(name)
        if run is not None and run.roam is not None and arrived_ms is not None:
            later_ms = arrived_ms + run.roam.wait_ms
            if later_ms > self.post.tick_ms():
                self._waits[name] = later_ms
                return
        self._over(name)
        if run is not None:
            ended = homes.closed(
                run, homes.CloseKind.EXPIRED, Cause.LEASE_EXPIRED, self.post.factory.now_ms()
            )
            self.post.factory.stage(ended)

    def _say_again(self, run: Run) -> None:
        said = homes.stop_of(run)
        if said is None and run.id in self._known:
            return
        workload = self.post.factory.state.workloads[run.workload]
        self.post.outbox.append((run.factory, said or self._commit(workload, run)))
        self.post.pause(run.id)

    def _commit(self, workload: Workload, run: Run) -> Commit:
        lease = run.roam or Roam(resv="", mode=OnPartition.WAIT)
        return Commit(
            workload=workload.id,
            epoch=run.epoch,
            resv=lease.resv,
            spec=self._travelling(workload),
            owner=self._owner(workload),
            shape=run.shape,
            mode=lease.mode,
            lease_ms=lease.lease_ms,
            rate=run.rate,
            verdict_not_after_ms=lease.verdict_not_after_ms,
        )

    def _travelling(self, workload: Workload) -> WorkloadSpec:
        """The spec as it travels: its origin said, as an empty one would mean another country there."""
        tenant = self.post.factory.state.tenants[workload.tenant]
        data = workload.spec.data
        origin = data.origin or tenant.country or self.post.factory.site.country
        return as_canonical(replace(workload.spec, data=replace(data, origin=origin)))

    def _owner(self, workload: Workload) -> Owner:
        tenant = self.post.factory.state.tenants[workload.tenant]
        return Owner(
            kind=tenant.kind.value,
            country=tenant.country or self.post.factory.site.country,
            sectors=tenant.sectors,
            authorisations=tenant.authorisations,
        )
