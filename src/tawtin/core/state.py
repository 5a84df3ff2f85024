"""The state of one factory in memory: live records by id, and the indices that deciding needs.

Only `fold` (and `restore`, at a start) writes here; everything else reads. Records are frozen and replaced whole, while
the indices are counted up and down in place, so that one event costs microseconds however much is waiting.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Mapping
from typing import Final

import msgspec

from tawtin.core import feasible, meter, residency
from tawtin.core.feasible import DemandClass, options_of
from tawtin.core.queues import Parked, Queues
from tawtin.core.residency import Judge
from tawtin.core.seats import LEAVING, PROTECTED, Held, Seat
from tawtin.core.share import Holding, Totals
from tawtin.model.artifact import Artifact
from tawtin.model.base import Record
from tawtin.model.gateway import Charged
from tawtin.model.health import Quarantine
from tawtin.model.idempotency import Remembered
from tawtin.model.reasons import Cause
from tawtin.model.resources import Demand, Node, NodeHealth
from tawtin.model.restored import Restored
from tawtin.model.roaming import Guest, GuestState, Peer
from tawtin.model.rules import Verdict
from tawtin.model.site import Site
from tawtin.model.tenant import Account, ApiKey, Tenant
from tawtin.model.workload import Phase, Run, Workload

REMEMBERED_MAX: Final = 10_000
"""Idempotency keys kept in memory; older ones are in the journal."""


class State:
    """What is true in a factory now.

    `seq` is the number of the next entry, `time_ms` the time of the last one. `workloads` holds those that are not
    final and `runs` those that are not done; `run_of` gives a placed workload's run.
    """

    def __init__(self, site: Site, judge: Judge | None = None) -> None:
        """An empty factory. `site` gives prices, pauses and guesses, `judge` the residency rules; both stay the same
        until a restart. Without rules there is public data alone.
        """  # noqa: D205 - one sentence after the other
        self.site, self.judge, self.seq, self.time_ms = site, judge or Judge(), 0, 0
        self._placeable = residency.is_country(site.country)
        self.tenants: dict[str, Tenant] = {}
        self.keys: dict[str, ApiKey] = {}
        self.nodes: dict[str, Node] = {}
        self.quarantines: dict[str, Quarantine] = {}  # by key; those that are over as well
        self.workloads: dict[str, Workload] = {}
        self.runs: dict[str, Run] = {}
        self.run_of: dict[str, str] = {}
        self.accounts: dict[tuple[str, str], Account] = {}
        self.charged: dict[str, Charged] = {}  # by the life of a ledger
        self.artifacts: dict[tuple[str, str], Artifact] = {}
        self.datasets: dict[str, dict[str, str]] = {}
        """By tenant: name of a dataset -> the artifact that it means."""
        self.services: dict[tuple[str, str], dict[str, None]] = {}  # tenant and name -> workloads, none final
        self.remembered: dict[tuple[str, str], Remembered] = {}
        """The latest `REMEMBERED_MAX`, oldest first."""
        self.peers: dict[str, Peer] = {}
        self.guests: dict[str, Guest] = {}
        """By key; those that are not settled."""
        self.leftovers: dict[str, Guest] = {}
        """Guests that are settled and whose files are here yet."""
        self.restored: Restored | None = None
        """The last time that the store was put back from a backup."""
        self.changed: dict[tuple[str, str], Record | None] = {}
        """By kind and id; None for what no longer exists."""
        self.kept: Counter[str] = (
            Counter()
        )  # by kind: how often a record was kept, to see whether any changed
        # indices
        self.node_names: list[str] = []
        """Sorted."""
        self.seats: dict[str, Seat] = {}
        """Every node, and nodes that left while runs are recorded on them."""
        self.totals, self.queues = Totals(), Queues()
        self.holdings: dict[str, Holding] = {}
        self.classes: dict[Demand, dict[int, DemandClass]] = {}
        """By demand and duration step."""
        self.lapses: list[tuple[int, str]] = []
        """Sorted (time, workload): after that time the verdict on a workload that may be where it is has to be given
        anew, as an authorisation or a rule ends."""
        self.unlawful_runs: dict[str, None] = {}
        """Live runs that may no longer be here."""
        self.stopping: dict[str, int] = {}
        """Live runs with a stop order: when they are expected to be gone."""
        self.levels: dict[int, int] = {}
        """How many live runs there are of each `Held.level`."""
        self.sites: dict[str, Site] = {}
        """What rules ask about each peer."""
        self.guest_of: dict[str, str] = {}
        """Local workload -> key of its guest."""
        self.away: dict[str, int] = {}
        """Live runs that a peer runs: when they are expected to end."""

    # --- reading ------------------------------------------------------------------------------------------------

    def node_free(self, name: str) -> tuple[int, int, int]:
        """Free GPUs, milli-processors and MiB of memory of a node, sick GPUs left out; never below 0.

        Raises KeyError for a node that is not here.
        """
        seat = self.seats[self.nodes[name].name]
        return max(0, seat.gpus), max(0, seat.cpus), max(0, seat.memory)

    def holding(self, tenant: str) -> Holding:
        """What a tenant holds; an empty holding for one that holds nothing."""
        return self.holdings.get(tenant) or Holding()

    def spent(self, tenant: str, now_ms: int) -> int:
        """What a tenant spent this month, which is held against its budget: on runs, and on requests for models that
        are charged. Minor units times `meter.SCALE`.
        """  # noqa: D205 - one sentence
        account = self.accounts.get((tenant, meter.month_of(now_ms)))
        micro = account.tokens_micro if account is not None else 0
        return self.spent_on_runs(tenant, now_ms) + micro * (meter.SCALE // meter.MICRO)

    def spent_on_runs(self, tenant: str, now_ms: int) -> int:
        """The part of it for ended runs, and for live ones up to now."""
        account = self.accounts.get((tenant, meter.month_of(now_ms)))
        ended = account.cost_minor * meter.SCALE if account is not None else 0
        return ended + self.holding(tenant).accrued(now_ms)

    def class_like(self, workload: Workload) -> DemandClass:
        """The demand class of a workload; a new one, not kept here, if no workload of it waits."""
        spec = workload.spec
        step = feasible.duration_step(feasible.duration_ms(spec, self.site))
        kin = self.classes.get(spec.demand)
        if kin is None:
            return DemandClass(spec.demand, step, options_of(spec.demand, self.site))
        return kin.get(step) or DemandClass(spec.demand, step, next(iter(kin.values())).options)

    def take_changed(self) -> dict[tuple[str, str], Record | None]:
        """Return the records touched since the last call, by kind and id, and begin anew. None means deleted."""
        changed, self.changed = self.changed, {}
        return changed

    def digest(self) -> str:
        """SHA-256, hexadecimal, of every live record; equal states have equal digests."""
        encode = msgspec.json.Encoder(order="deterministic").encode
        sha = hashlib.sha256()
        tables: tuple[tuple[str, Mapping[str, Record] | Mapping[tuple[str, str], Record]], ...] = (
            ("tenant", self.tenants),
            ("key", self.keys),
            ("node", self.nodes),
            ("quarantine", self.quarantines),
            ("workload", self.workloads),
            ("run", self.runs),
            ("account", self.accounts),
            ("charged", self.charged),
            ("artifact", self.artifacts),
            ("peer", self.peers),
            ("guest", self.guests),
            ("guest", self.leftovers),
            ("meta", {} if self.restored is None else {"": self.restored}),
        )
        for kind, table in tables:
            for _, record in sorted(table.items(), key=lambda item: item[0]):
                sha.update(kind.encode() + b" " + encode(record) + b"\n")
        return sha.hexdigest()

    # --- writing: for fold and restore only -----------------------------------------------------------------------

    def put_artifact(self, artifact: Artifact) -> None:
        """Keep an artifact, new or changed, and its names as datasets."""
        self._unname(artifact.tenant, artifact.id)
        self.artifacts[artifact.tenant, artifact.id] = artifact
        for name in artifact.datasets:
            self.datasets.setdefault(artifact.tenant, {})[name] = artifact.id

    def drop_artifact(self, tenant: str, artifact: str) -> None:
        """Give up an artifact and its names."""
        self._unname(tenant, artifact)
        del self.artifacts[tenant, artifact]

    def _unname(self, tenant: str, artifact: str) -> None:
        held = self.artifacts.get((tenant, artifact))
        for name in held.datasets if held is not None else ():
            if self.datasets[tenant].get(name) == artifact:
                del self.datasets[tenant][name]

    def class_for(self, workload: Workload) -> DemandClass:
        """The demand class of a workload, made when it is the first of it. Not counted as a member yet."""
        found = self.class_like(workload)
        if found.members == 0:
            self.classes.setdefault(found.demand, {})[found.step] = found
        return found

    def enqueue(self, workload: Workload, now_ms: int | None = None) -> None:
        """Let a queued workload wait; `now_ms` is later than the last entry where that matters to the rules."""
        demand_class = self.class_for(workload)
        demand_class.members += 1
        self.queues.add(workload, demand_class, self._parked(workload, demand_class, now_ms))

    def dequeue(self, workload: Workload) -> None:
        """Take a queued workload out."""
        self._leave_class(self.queues.remove(workload))

    def release_due(self, now_ms: int) -> None:
        """Line up the workloads whose pause is over."""
        for workload_id in self.queues.due(now_ms):
            self.queues.release(self.workloads[workload_id])

    def hold(self, run: Run, workload: Workload) -> None:
        """Count a live run in."""
        end_ms = expected_end_ms(run, workload, self.site)
        if run.factory:
            self.away[run.id] = end_ms
        else:
            self._seat(run, workload, end_ms)
        nodes = workload.spec.demand.nodes
        holding = self.holdings.setdefault(run.tenant, Holding())
        holding.gpus += nodes * run.shape.gpus
        holding.cpus += nodes * run.shape.cpus_milli
        holding.memory += nodes * run.shape.memory_mib
        holding.runs += 1
        burn = meter.burn(run.rate, run.shape, nodes)
        holding.burn += burn
        holding.burn_start += burn * run.placed_ms
        insort(holding.ends, (end_ms, run.id))
        self._index_run(run, workload, end_ms)

    def release(self, run: Run) -> None:
        """Count a live run out."""
        end_ms = self.away.pop(run.id) if run.factory else self._unseat(run)
        nodes = self.workloads[run.workload].spec.demand.nodes
        holding = self.holdings[run.tenant]
        holding.gpus -= nodes * run.shape.gpus
        holding.cpus -= nodes * run.shape.cpus_milli
        holding.memory -= nodes * run.shape.memory_mib
        holding.runs -= 1
        burn = meter.burn(run.rate, run.shape, nodes)
        holding.burn -= burn
        holding.burn_start -= burn * run.placed_ms
        del holding.ends[bisect_left(holding.ends, (end_ms, run.id))]
        self.unlawful_runs.pop(run.id, None)
        self.stopping.pop(run.id, None)

    def refresh_run(self, run: Run, workload: Workload) -> None:
        """A live run changed its state or got a stop order: count its end anew."""
        end_ms = expected_end_ms(run, workload, self.site)
        ends = self.holdings[run.tenant].ends
        if run.factory:
            known_ms, self.away[run.id] = self.away[run.id], end_ms
        else:
            known_ms = self._reseat(run, workload, end_ms)
        del ends[bisect_left(ends, (known_ms, run.id))]
        insort(ends, (end_ms, run.id))
        self._index_run(run, workload, end_ms)

    def put_node(self, node: Node) -> None:
        """Add or replace a node."""
        old = self.nodes.get(node.name)
        if old is None:
            insort(self.node_names, node.name)
        else:
            self._total(old, -1)
        self._total(node, 1)
        self.nodes[node.name] = node
        self.seats.setdefault(node.name, Seat(node.name)).settle(node)

    def remove_node(self, name: str) -> None:
        """Forget a node. Runs recorded on it stay recorded."""
        self._total(self.nodes.pop(name), -1)
        del self.node_names[bisect_left(self.node_names, name)]
        seat = self.seats[name]
        seat.settle(None)
        if not seat.held:
            del self.seats[name]

    def judge_again(self, tenant: Tenant) -> None:
        """What rules ask about a tenant changed: look at all that it has here."""
        for workload in [each for each in self.workloads.values() if each.tenant == tenant.id]:
            self._judge_workload(workload)

    def lapsed(self, now_ms: int) -> bool:
        """Whether some verdict has to be given anew by now."""
        return bool(self.lapses) and self.lapses[0][0] <= now_ms

    def judge_lapsed(self, now_ms: int) -> None:
        """Give those verdicts anew."""
        end = bisect_left(self.lapses, (now_ms + 1, ""))
        due, self.lapses[:end] = dict.fromkeys(each for _, each in self.lapses[:end]), []
        for workload_id in due:
            workload = self.workloads.get(workload_id)
            if workload is not None:
                self._judge_workload(workload, now_ms)

    def _judge_workload(self, workload: Workload, now_ms: int | None = None) -> None:
        if workload.phase is Phase.QUEUED:
            self._leave_class(self.queues.remove(workload))
            self.enqueue(workload, now_ms)
        else:
            self._judge_run(self.run_of[workload.id], workload, now_ms)

    def unfinished(self, tenant: str, sign: int) -> None:
        """Count a workload of `tenant` in (1) or out (-1)."""
        holding = self.holdings.get(tenant)
        if holding is None:
            holding = self.holdings[tenant] = Holding()
        holding.unfinished += sign

    def join_service(self, workload: Workload) -> None:
        """Count a workload in with the other replicas of its service, if it is one."""
        if workload.service is not None:
            self.services.setdefault((workload.tenant, workload.service.name), {})[workload.id] = None

    def leave_service(self, workload: Workload) -> None:
        """Count it out; a service without replicas is none."""
        if workload.service is not None:
            replicas = self.services[workload.tenant, workload.service.name]
            del replicas[workload.id]
            if not replicas:
                del self.services[workload.tenant, workload.service.name]

    def remember(self, answer: Remembered) -> None:
        """Keep the answer to an idempotency key, and forget the oldest one beyond the limit."""
        self.remembered[answer.tenant, answer.key] = answer
        if len(self.remembered) > REMEMBERED_MAX:
            del self.remembered[next(iter(self.remembered))]

    # --- within ---------------------------------------------------------------------------------------------------

    def lawful(self, workload: Workload, now_ms: int | None = None) -> bool:
        """Whether the workload may be here now; notes when that has to be asked again."""
        tenant = self.tenants[workload.tenant]
        if self._placeable and residency.unrestricted(workload.spec, tenant):
            return True
        said = self.verdict(workload, self._site_of(workload), self.time_ms if now_ms is None else now_ms)
        if said.not_after_ms is not None:
            lapse = (said.not_after_ms, workload.id)
            at = bisect_left(self.lapses, lapse)
            if self.lapses[at : at + 1] != [lapse]:
                self.lapses.insert(at, lapse)
        return said.allowed

    def verdict(self, workload: Workload, site: Site, now_ms: int) -> Verdict:
        """What the rules say of a workload of ours, or of a guest, at a site."""
        tenant = self.tenants[workload.tenant]
        if workload.owner is not None:
            tenant = residency.stand_in(tenant, workload.owner)
        return self.judge.verdict(workload.spec, tenant, site, now_ms, home=self.site.country)

    def _site_of(self, workload: Workload) -> Site:
        """Where it is, or would be placed by us."""
        run = self.runs.get(self.run_of.get(workload.id, ""))
        return self.sites[run.factory] if run is not None and run.factory in self.sites else self.site

    def put_peer(self, peer: Peer) -> None:
        """Add or replace a peer."""
        self.peers[peer.name] = peer
        self.sites[peer.name] = Site(
            name=peer.name,
            country=peer.country,
            operator=peer.operator,
            currency=peer.currency,
            facts=peer.facts,
        )

    def put_guest(self, guest: Guest) -> None:
        """Keep a guest until it is settled."""
        if guest.state is GuestState.SETTLED:
            self.guests.pop(guest.key, None)
            self.guest_of.pop(guest.local, None)
            if guest.litters:
                self.leftovers[guest.key] = guest
            else:
                self.leftovers.pop(guest.key, None)
        else:
            self.guests[guest.key] = guest
            self.guest_of[guest.local] = guest.key

    def is_recalled(self, workload: Workload) -> bool:
        """Whether others may know of later epochs of it than this store, and have not all been heard yet."""
        restored = self.restored
        return (
            restored is not None
            and not restored.over
            and not workload.guest
            and workload.submitted_ms <= restored.at_ms
        )

    def put_restored(self, restored: Restored) -> None:
        """The store was put back, or what follows from that has changed: look at all that waits again."""
        self.restored = restored
        for workload in [each for each in self.workloads.values() if each.phase is Phase.QUEUED]:
            self._judge_workload(workload)

    def _parked(self, workload: Workload, demand_class: DemandClass, now_ms: int | None) -> Parked | None:
        if self.is_recalled(workload):
            return Parked.RECALL
        if not self.lawful(workload, now_ms):
            return Parked.UNLAWFUL
        if workload.rests:
            return Parked.RESTING
        budget = workload.spec.budget_minor
        if budget is not None and workload.spent_minor >= budget:
            priced = any(option.burn for option in demand_class.options)
            return Parked.BUDGET if priced else None
        return None

    def _leave_class(self, demand_class: DemandClass) -> None:
        demand_class.members -= 1
        if demand_class.members == 0:
            kin = self.classes[demand_class.demand]
            del kin[demand_class.step]
            if not kin:
                del self.classes[demand_class.demand]

    def _index_run(self, run: Run, workload: Workload, end_ms: int) -> None:
        self._judge_run(run.id, workload)
        if run.stop is not None:
            self.stopping[run.id] = end_ms

    def _judge_run(self, run_id: str, workload: Workload, now_ms: int | None = None) -> None:
        if self.lawful(workload, now_ms):
            self.unlawful_runs.pop(run_id, None)
        else:
            self.unlawful_runs[run_id] = None

    def _seat(self, run: Run, workload: Workload, end_ms: int) -> None:
        level = level_of(run, workload)
        self.levels[level] = self.levels.get(level, 0) + 1
        for slot in run.slots:
            seat = self.seats.get(slot.node)
            if seat is None:
                seat = self.seats[slot.node] = Seat(slot.node)
            seat.take(Held(run.id, run.shape, slot, end_ms=end_ms, level=level, placed_ms=run.placed_ms))

    def _unseat(self, run: Run) -> int:
        held = self.seats[run.slots[0].node].held[run.id]
        for slot in run.slots:
            seat = self.seats[slot.node]
            seat.drop(run.id, self.nodes.get(slot.node))
            if slot.node not in self.nodes and not seat.held:
                del self.seats[slot.node]
        self._leave_level(held.level)
        return held.end_ms

    def _reseat(self, run: Run, workload: Workload, end_ms: int) -> int:
        """Return when it was expected to end before."""
        held, level = self.seats[run.slots[0].node].held[run.id], level_of(run, workload)
        known_ms = held.end_ms
        self._leave_level(held.level)
        self.levels[level] = self.levels.get(level, 0) + 1
        for slot in run.slots:
            self.seats[slot.node].judge(run.id, end_ms=end_ms, level=level)
        return known_ms

    def _leave_level(self, level: int) -> None:
        self.levels[level] -= 1
        if self.levels[level] == 0:
            del self.levels[level]

    def _total(self, node: Node, sign: int) -> None:
        if node.health is NodeHealth.GONE:
            return
        self.totals.gpus += sign * feasible.usable(node)
        self.totals.cpus += sign * node.cpus_milli
        self.totals.memory += sign * node.memory_mib


def level_of(run: Run, workload: Workload) -> int:
    """The `Held.level` of a live run."""
    if run.stop is not None:
        return LEAVING
    return workload.spec.priority if workload.spec.preemptible else PROTECTED


def stop_grace_ms(workload: Workload, cause: Cause | None) -> int:
    """How long a run may take to end after a stop order: its checkpoint, where there is time for one, and SIGTERM."""
    checkpoint = workload.spec.checkpoint
    saves = checkpoint is not None and cause in (Cause.PREEMPTED, Cause.DRAINED)
    return workload.spec.stop_grace_ms + (checkpoint.grace_ms if saves and checkpoint is not None else 0)


def expected_end_ms(run: Run, workload: Workload, site: Site) -> int:
    """When a live run is expected to have ended: after its maximum duration, or at the end of its grace."""
    begun = run.started_ms if run.started_ms is not None else run.placed_ms
    end_ms = begun + feasible.duration_ms(workload.spec, site)
    if run.stop is not None:
        asked = run.stop_asked_ms if run.stop_asked_ms is not None else run.placed_ms
        return min(end_ms, asked + stop_grace_ms(workload, run.stop))
    return end_ms
