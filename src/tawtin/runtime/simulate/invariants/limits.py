"""Quotas and exclusive GPUs: no GPU has two owners, no node takes more than it has, no tenant more than its quota."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tawtin.model.events import RunPlaced, StopOrdered, WorkloadsSubmitted
from tawtin.model.reasons import Cause
from tawtin.model.resources import NodeHealth
from tawtin.runtime.simulate.invariants.base import Check
from tawtin.runtime.simulate.words import Invariant

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tawtin.model.events import Entry
    from tawtin.model.resources import Node, Slot
    from tawtin.model.workload import Run
    from tawtin.runtime.simulate.host import Process


class LimitsCheck(Check):
    """What is handed out, counted again from the log at every placement, and on the machines at every start."""

    invariant = Invariant.LIMITS

    def started(self, process: Process) -> None:
        """No two processes share a GPU."""
        mine = set(_gpus(process))
        for other in self.world.host.active.values():
            shared = mine.intersection(_gpus(other)) if other is not process and other.alive else None
            if shared:
                self.fail(f"{process.run} and {other.run} both have {sorted(shared)}")

    def entry(self, entry: Entry) -> None:
        """Everything that hands something out, or takes it from somebody."""
        event = entry.event
        if isinstance(event, RunPlaced):
            self._shape(event.run)
            for slot in event.run.slots:
                self._slot(event.run, slot)
            self._capacity(event.run)
            self._quota(event.run)
        elif isinstance(event, WorkloadsSubmitted):
            self._admitted(event)
        elif isinstance(event, StopOrdered):
            self._stopped(event)

    def _shape(self, run: Run) -> None:
        demand = self.book.works[run.workload].workload.spec.demand
        if run.shape not in demand.options or len(run.slots) != demand.nodes:
            self.fail(f"{run.id} has {len(run.slots)} x {run.shape} and asked for {demand}")
        if len({slot.node for slot in run.slots}) != len(run.slots):
            self.fail(f"{run.id} has two ranks on one node")

    def _node(self, run: Run, name: str) -> Node:
        node = self.book.nodes.get(name)
        if node is None or node.health is not NodeHealth.READY:
            self.fail(f"{run.id} was placed on {name}, which is {node.health if node else 'not there'}")
        return node

    def _slot(self, run: Run, slot: Slot) -> None:
        node = self._node(run, slot.node)
        if len(slot.gpus) != run.shape.gpus or len(set(slot.gpus)) != len(slot.gpus):
            self.fail(f"{run.id} has GPUs {slot.gpus} on {slot.node} and asked for {run.shape.gpus}")
        if slot.gpus and run.shape.gpu_model not in {"", node.gpu_model}:
            self.fail(f"{run.id} asked for {run.shape.gpu_model} and was placed on {node.gpu_model}")
        for index in slot.gpus:
            if index >= node.gpus or index in node.gpus_sick:
                self.fail(f"{run.id} was given GPU {index} of {slot.node}, which is sick or not there")
            if self.book.out(slot.node, (index,)):
                self.fail(f"{run.id} was given GPU {index} of {slot.node}, which is in quarantine")
            for other in self.book.open.values():
                if any(held.node == slot.node and index in held.gpus for held in other.run.slots):
                    self.fail(f"{run.id} was given GPU {index} of {slot.node}, which {other.run.id} holds")

    def _capacity(self, run: Run) -> None:
        for slot in run.slots:
            node = self.book.nodes[slot.node]
            here = [each.run.shape for each in self.book.open.values() if _on(each.run, slot.node)]
            here.append(run.shape)
            used = [
                sum(getattr(shape, name) for shape in here)
                for name in ("cpus_milli", "memory_mib", "disk_mib")
            ]
            has = [node.cpus_milli, node.memory_mib, node.disk_mib]
            if any(taken > there for taken, there in zip(used, has, strict=True)):
                self.fail(f"{run.id} takes {slot.node} to {used} of {has} (processors, memory, disk)")

    def _quota(self, run: Run) -> None:
        quota = self.book.tenants[run.tenant].quota
        held: Counter[str] = Counter()
        for each in (
            run,
            *(other.run for other in self.book.open.values() if other.run.tenant == run.tenant),
        ):
            nodes = len(each.slots)
            held.update(
                gpus=each.shape.gpus * nodes,
                cpus_milli=each.shape.cpus_milli * nodes,
                memory_mib=each.shape.memory_mib * nodes,
                runs=1,
            )
        for name, count in sorted(held.items()):
            limit = getattr(quota, name)
            if limit is not None and count > limit:
                self.fail(f"{run.id} takes {run.tenant} to {count} {name} of {limit}")

    def _admitted(self, event: WorkloadsSubmitted) -> None:
        tenant = event.workloads[0].tenant
        quota = self.book.tenants[tenant].quota
        count = self.book.unfinished(tenant) + len(event.workloads)
        if quota.workloads is not None and count > quota.workloads:
            self.fail(f"{tenant} has {count} unfinished workloads of {quota.workloads}")
        if any(workload.spec.priority > quota.priority_max for workload in event.workloads):
            self.fail(f"{tenant} may not ask for more than priority {quota.priority_max}")

    def _stopped(self, event: StopOrdered) -> None:
        if event.cause is not Cause.PREEMPTED:
            return
        victim = self.book.works[self.book.attempts[event.run].run.workload].workload
        winner = self.book.works[event.for_workload].workload
        if not victim.spec.preemptible or victim.spec.priority >= winner.spec.priority:
            self.fail(f"{event.run} is preempted for {winner.id}, which has no better claim")


def _gpus(process: Process) -> Iterator[tuple[str, int]]:
    for slot in process.order.slots if process.order else ():
        for index in slot.gpus:
            yield slot.node, index


def _on(run: Run, node: str) -> bool:
    return any(slot.node == node for slot in run.slots)
