"""The auditor: it watches processes, messages and what became durable, and judges by its own reckoning in true time.

It knows a workload by a mark in its environment, and believes no factory about what runs. P1 to P9 and L1 to L3 are the
predicates of docs/protocol.md.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NoReturn

from tawtin.model.events import GuestPut, RunEnded, RunPlaced, WorkloadsSubmitted, decode_entry
from tawtin.model.ids import workload_of
from tawtin.model.roaming import Complete, guest_key
from tawtin.model.tenant import Account
from tawtin.model.workload import CloseKind, Outcome, Run, RunState, Workload
from tawtin.ports import Query
from tawtin.runtime.rows import decode
from tawtin.runtime.simulate.network.losses import Losses

if TYPE_CHECKING:
    from tawtin.model.roaming import Guest, Message
    from tawtin.ports import Batch
    from tawtin.runtime.simulate.host import Process
    from tawtin.runtime.simulate.network.site import SimSite

MARK = "MARKER"
WATCHED = (WorkloadsSubmitted, RunPlaced, RunEnded, GuestPut)
"""Kinds of events that something follows from here; the others are not read."""


class Broken(Exception):
    """A predicate does not hold."""

    def __init__(self, predicate: Predicate, message: str) -> None:
        super().__init__(f"{predicate}: {message}")
        self.predicate = predicate


class Predicate(StrEnum):
    """What holds in every history."""

    P1 = "P1 two executions at once"
    P2 = "P2 a process of a closed epoch"
    P3 = "P3 two outcomes of one epoch"
    P4 = "P4 an epoch started twice"
    P5 = "P5 results that were accepted"
    P6 = "P6 released, and yet recorded there"
    P7 = "P7 run again after it had finished"
    P8 = "P8 money"
    P9 = "P9 a lease outlives the timer of home"
    L1 = "L1 not over"
    L2 = "L2 something stays for ever"
    L3 = "L3 an outcome without its money"
    SOUND = "a part raised what it should not"


class Auditor:
    """Watches a whole network."""

    def __init__(self, sites: list[SimSite]) -> None:
        self.sites = {site.name: site for site in sites}
        self.alive: dict[str, list[tuple[str, Process]]] = {}
        """By mark: where a process of that workload is alive."""
        self.home_of: dict[str, tuple[SimSite, str]] = {}
        """Mark -> home and workload."""
        self._mark_of: dict[tuple[str, str], str] = {}
        """Home and workload -> mark."""
        self._touched: dict[tuple[str, str], None] = {}
        """Factory and workload, where a row of the workload or of a run of it became durable since the last look."""
        self.lost: set[str] = set()
        """Marks of workloads of which an epoch was declared lost."""
        self.finished: set[str] = set()
        """Marks of workloads of which a program has ended by itself."""
        self.rerun: set[str] = set()
        self.accepted: Counter[str] = Counter()
        self.told: dict[tuple[str, str, int], Outcome] = {}
        self.posted: Counter[tuple[str, str]] = Counter()
        self.starts: Counter[tuple[str, str]] = Counter()
        self._known: dict[tuple[str, str, str], tuple[bytes | None, Any]] = {}
        """By factory, kind and id: bytes of a journal, and what they say."""
        self.recorded: dict[str, set[str]] = {site.name: set() for site in sites}
        """By factory: keys of all guests that it ever recorded."""
        self.losses = Losses()
        self.roamed = self.fenced = self.expired = 0
        for site in sites:
            site.host.on_start.append(lambda process, site=site: self._started(site, process))
            site.host.on_exit.append(lambda process, site=site: self._exited(site, process))
            site.on_batch.append(self._batch)

    def fail(self, predicate: Predicate, message: str) -> NoReturn:
        """Say what was seen."""
        raise Broken(predicate, message)

    # --- what happens -----------------------------------------------------------------------------------------------

    def _started(self, site: SimSite, process: Process) -> None:
        mark = _mark(process)
        self.starts[site.name, process.run] += 1
        if self.starts[site.name, process.run] > 1:
            self.fail(Predicate.P4, f"{process.run} at {site.name}")
        known = self.accepted[mark] > 0 if mark in self.rerun else mark in self.finished
        if known and mark not in self.lost:
            self.fail(Predicate.P7, f"{mark} starts at {site.name} as {process.run}")
        there = self.alive.setdefault(mark, [])
        there.append((site.name, process))
        if len(there) > 1 and mark not in self.lost:
            self.fail(Predicate.P1, f"{mark} at {', '.join(f'{name} as {each.run}' for name, each in there)}")
        self._is_open(site, process, mark)

    def _exited(self, site: SimSite, process: Process) -> None:
        mark = _mark(process)
        self.alive[mark] = [pair for pair in self.alive.get(mark, []) if pair[1] is not process]
        ended = process.exit is not None and process.exit.outcome is Outcome.FINISHED and process.starts > 0
        if ended and not self.losses.is_of_lost_epoch(site.name, process.run):
            self.finished.add(mark)

    def sent(self, sender: str, _recipient: str, message: Message) -> None:
        """A message left a factory."""
        if isinstance(message, Complete):
            key = (sender, message.workload, message.epoch)
            if self.told.setdefault(key, message.outcome) is not message.outcome:
                self.fail(
                    Predicate.P3, f"{sender} says {message.outcome} of {message.workload}.{message.epoch}"
                )

    def _batch(self, site: SimSite, batch: Batch) -> None:
        for row in batch.rows:
            if row.kind in {"workload", "run"}:
                self._touched[site.name, row.id if row.kind == "workload" else workload_of(row.id)] = None
        for each in batch.entries:
            if not isinstance(each.event, WATCHED):
                continue
            event = decode_entry(site.journal.events(each.seq, 1)[0]).event
            if isinstance(event, WorkloadsSubmitted):
                for workload in event.workloads:
                    if not workload.guest:
                        self.home_of[workload.spec.envs[MARK]] = (site, workload.id)
                        self._mark_of[site.name, workload.id] = workload.spec.envs[MARK]
            elif isinstance(event, RunPlaced) and event.run.factory:
                self.roamed += 1
            elif isinstance(event, RunEnded):
                self._ended(site, event)
            elif isinstance(event, GuestPut):
                self._guest(site, event.guest)

    def _guest(self, site: SimSite, guest: Guest) -> None:
        self.recorded[site.name].add(guest.key)
        self.losses.name(site.name, guest)
        if guest.countersignature:
            self.posted[site.name, guest.key] += 1
            if self.posted[site.name, guest.key] > 1:
                self.fail(Predicate.P8, f"{site.name} posts the money of {guest.key} again")

    def put_back(self, site: SimSite, size: int) -> None:
        """A store forgets its entries from `size` on: what follows from them is taken back, and nothing else."""
        for body in site.journal.events(size, site.journal.head().size):
            event = decode_entry(body).event
            if isinstance(event, WorkloadsSubmitted):
                for workload in event.workloads:
                    if not workload.guest:
                        mark = workload.spec.envs[MARK]
                        self.home_of.pop(mark, None)
                        self._mark_of.pop((site.name, workload.id), None)
            elif isinstance(event, RunPlaced):
                self.losses.placed(site.name, event.run)
                self.finished.discard(self._mark_of.get((site.name, event.run.workload), ""))
            elif isinstance(event, RunEnded):
                self._take_back(site, event)
            elif isinstance(event, GuestPut):
                guest = event.guest
                if guest.receipt is not None:
                    self.told.pop((site.name, guest.workload, guest.epoch), None)
                    self.losses.outcomes.add((site.name, guest.key))
                if guest.countersignature:
                    self.posted[site.name, guest.key] -= 1

    def _take_back(self, site: SimSite, event: RunEnded) -> None:
        """Home forgets that a run ended, and may go on as if it had not."""
        workload: Workload = decode("workload", site.journal.get("workload", workload_of(event.run)) or b"")
        if workload.guest:
            return
        mark = workload.spec.envs[MARK]
        self.losses.ends.add((site.name, event.run))
        if event.outcome is Outcome.FINISHED:
            self.accepted[mark] -= 1

    def _ended(self, site: SimSite, event: RunEnded) -> None:
        body = site.journal.get("workload", workload_of(event.run))
        workload: Workload = decode("workload", body or b"")
        if workload.guest:
            return
        mark = workload.spec.envs[MARK]
        if event.outcome is Outcome.FINISHED:
            self._is_reported(site, event)
            self.accepted[mark] += 1
            if self.accepted[mark] > 1:
                self.fail(Predicate.P5, f"{mark} has two accepted results at {site.name}")
        if event.close is CloseKind.LOST:
            self.lost.add(mark)
        if event.close is CloseKind.EXPIRED:
            self.expired += 1
            alive = [
                name
                for name, each in self.alive.get(mark, ())
                if not self.losses.is_of_lost_epoch(name, each.run)
            ]
            if alive:
                self.fail(Predicate.P9, f"{event.run} of {site.name} still runs at {alive[0]}")
        if event.close is CloseKind.RELEASED:
            run: Run = decode("run", site.journal.get("run", event.run) or b"")
            if guest_key(site.name, run.workload, run.epoch) in self.recorded[run.factory]:
                self.fail(Predicate.P6, f"{event.run} of {site.name} is recorded at {run.factory}")

    def _is_reported(self, site: SimSite, event: RunEnded) -> None:
        """A result that home takes was recorded by the factory that ran it, of this very epoch."""
        run: Run = decode("run", site.journal.get("run", event.run) or b"")
        if not run.factory:
            return
        key = guest_key(site.name, run.workload, run.epoch)
        if (run.factory, key) in self.losses.outcomes:
            return
        body = self.sites[run.factory].journal.get("guest", key)
        guest = decode("guest", body) if body is not None else None
        if guest is None or guest.receipt is None or guest.receipt.receipt.outcome is not Outcome.FINISHED:
            self.fail(Predicate.P5, f"{event.run} was never reported by {run.factory} as finished")

    def _read(self, site: SimSite, kind: str, name: str) -> Any:  # noqa: ANN401 - the record type of the kind
        """What is durable under this name, or None. The same bytes are read once."""
        body = site.journal.get(kind, name)
        known = self._known.get((site.name, kind, name))
        if known is None or known[0] is not body:
            known = (body, decode(kind, body) if body is not None else None)
            self._known[site.name, kind, name] = known
        return known[1]

    # --- what is looked at ------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Check processes against what their home has recorded, where it recorded anything since the last look."""
        touched, self._touched = self._touched, {}
        for site, workload in touched:
            mark = self._mark_of.get((site, workload), "")
            for name, process in self.alive.get(mark, ()):
                self._is_open(self.sites[name], process, mark)

    def _is_open(self, site: SimSite, process: Process, mark: str) -> None:
        """P2: home has recorded this very epoch as open, and as given to this factory."""
        if self.losses.is_of_lost_epoch(site.name, process.run):
            return
        known = self.home_of.get(mark)
        if known is None:
            self.fail(Predicate.P2, f"{process.run} at {site.name} belongs to nobody")
        home, name = known
        workload: Workload = self._read(home, "workload", name)
        run: Run | None = self._read(home, "run", f"{name}.{workload.epoch}")
        where = (run.factory or home.name) if run is not None else ""
        if run is not None and run.state is not RunState.DONE and where == site.name:
            return
        if mark not in self.lost:
            said = f"{run.id} {run.state} at {where}" if run is not None else "nothing"
            self.fail(Predicate.P2, f"{process.run} runs at {site.name}; its home has {said}")

    def money(self) -> None:
        """P8: what is billed, disputed and posted."""
        for site in self.sites.values():
            costs: Counter[str] = Counter()
            for body in site.journal.list(Query(kind="run", limit=1_000_000)):
                each: Run = decode("run", body)
                costs[each.tenant] += each.cost_minor
            for body in site.journal.list(Query(kind="account", limit=1_000_000)):
                account: Account = decode("account", body)
                costs[account.tenant] -= account.cost_minor
            if any(costs.values()):
                self.fail(Predicate.P8, f"accounts of {site.name} are off by {dict(costs)}")
            for body in site.journal.list(Query(kind="run", limit=1_000_000)):
                run: Run = decode("run", body)
                roam = run.roam
                if roam is None or run.state is not RunState.DONE:
                    continue
                if roam.billed and roam.disputed:
                    self.fail(Predicate.P8, f"{run.id} is billed and disputed")
                if roam.billed and roam.close not in (CloseKind.FINISHED, CloseKind.CANCELLED):
                    self.fail(Predicate.P8, f"{run.id} was closed as {roam.close} and is billed")
                if not roam.billed and run.cost_minor:
                    self.fail(Predicate.P8, f"{run.id} costs {run.cost_minor} without a countersignature")
            self._posted(site)

    def _posted(self, site: SimSite) -> None:
        for body in site.journal.list(Query(kind="guest", limit=1_000_000)):
            guest = decode("guest", body)
            run_name = f"{guest.workload}.{guest.epoch}"
            if not guest.countersignature or self.losses.is_unsure(guest.home, run_name):
                continue
            there = self.sites[guest.home].journal.get("run", f"{guest.workload}.{guest.epoch}")
            run: Run | None = decode("run", there) if there is not None else None
            if run is None or run.roam is None or run.roam.countersignature != guest.countersignature:
                self.fail(Predicate.P8, f"{guest.key} is paid for at {site.name} and not at its home")
            if run.roam.receipt != guest.receipt or run.cost_minor != guest.receipt.receipt.cost_minor:
                self.fail(Predicate.P8, f"{guest.key} costs one thing there and another at home")

    def rest(self) -> None:
        """L1 to L3, once faults have stopped and time has passed."""
        for mark, (home, name) in self.home_of.items():
            workload: Workload = self._read(home, "workload", name)
            if not workload.phase.final:
                self.fail(Predicate.L1, f"{mark}, {name} of {home.name}, is {workload.phase}")
            finished = self.accepted[mark] == 1
            if finished != (workload.phase.value in {"succeeded", "failed"}):
                self.fail(
                    Predicate.P5, f"{mark} is {workload.phase} with {self.accepted[mark]} accepted results"
                )
        for mark, alive in self.alive.items():
            if alive:
                self.fail(Predicate.L2, f"{mark} still runs at {alive[0][0]}")
        for site in self.sites.values():
            plane = site.plane
            if plane is None or plane.factory.roaming is None:
                self.fail(Predicate.L2, f"{site.name} is down")
            if plane.factory.roaming.promised():
                self.fail(Predicate.L2, f"{site.name} holds a reservation for ever")
            for guest in plane.factory.state.guests.values():
                self.fail(
                    Predicate.L3 if guest.receipt else Predicate.L2,
                    f"{guest.key} is {guest.state} at {site.name}",
                )
            self._paid(site)
        self.money()

    def _paid(self, site: SimSite) -> None:
        for body in site.journal.list(Query(kind="run", limit=1_000_000)):
            run: Run = decode("run", body)
            roam = run.roam
            if roam is not None and roam.receipt and not roam.billed and not roam.disputed:
                self.fail(Predicate.L3, f"{run.id} of {site.name} is neither billed nor disputed")
            if roam is not None and roam.billed and not self._is_settled(site, run):
                self.fail(
                    Predicate.L3, f"{run.id} of {site.name} is billed, and {run.factory} does not know it"
                )

    def _is_settled(self, home: SimSite, run: Run) -> bool:
        key = guest_key(home.name, run.workload, run.epoch)
        if (run.factory, key) in self.losses.outcomes:
            return True  # it has lost the outcome that home paid for, and may have told another one since
        body = self.sites[run.factory].journal.get("guest", key)
        return body is not None and bool(decode("guest", body).countersignature)


def _mark(process: Process) -> str:
    return process.order.spec.envs[MARK] if process.order is not None else ""
