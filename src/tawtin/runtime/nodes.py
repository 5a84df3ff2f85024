"""Nodes as engines report them, and what is out of service of them: who took it out, who tries it, how it returns."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from tawtin.core import health
from tawtin.model.events import NodePut, NodeRemoved, QuarantinePut, RunPlaced, WorkloadsSubmitted
from tawtin.model.health import BurnIn, FaultKind, Quarantine
from tawtin.model.ids import RANDOM_BITS, make_id
from tawtin.model.resources import Demand, NodeHealth, Slot
from tawtin.model.workload import Outcome, Workload, WorkloadSpec
from tawtin.spec.parse import digest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tawtin.model.events import Event, RunEnded
    from tawtin.model.resources import Node
    from tawtin.model.workload import Run
    from tawtin.runtime.factory import Factory


class Nodes:
    """What a factory knows of its nodes beyond its state."""

    def __init__(self, factory: Factory, burn_in: BurnIn) -> None:
        """`burn_in` is the job that tries what comes back."""
        self._factory = factory
        self._burn_in = burn_in
        self._reported: dict[str, Node] = {}
        """As their engines said last, without what the factory makes of it."""

    # --- what engines say ---------------------------------------------------------------------------------------

    def see(self, nodes: Iterable[Node]) -> None:
        """Take in which nodes there are now, of all engines."""
        seen = {node.name: node for node in nodes}
        for node in seen.values():
            self.hear(node)
        for name in [name for name in self._factory.state.nodes if name not in seen]:
            self._reported.pop(name, None)
            self._factory.stage(NodeRemoved(name=name))
        if self._burn_in.script and self._burn_in.automatic:
            for quarantine in [each for each in self._factory.state.quarantines.values() if each.out]:
                if not quarantine.by and not quarantine.trial and not quarantine.tried:
                    self.try_out(quarantine, "")

    def hear(self, reported: Node) -> None:
        """Take in one node as it is now, and put what is sick of it into quarantine."""
        self._reported[reported.name] = reported
        factory = self._factory
        for quarantine in health.called_for(reported, factory.state.quarantines):
            factory.stage(QuarantinePut(quarantine=quarantine))
        self._offer(reported.name)

    def _offer(self, name: str) -> None:
        """Let the state have the node as it is offered. One that an operator drains stays drained."""
        reported, state = self._reported.get(name), self._factory.state
        if reported is None:
            return
        known = state.nodes.get(name)
        node = health.offered(reported, state.quarantines.values())
        drained = known is not None and known.health is NodeHealth.DRAINING
        if drained and node.health in {NodeHealth.READY, NodeHealth.SICK}:
            node = msgspec.structs.replace(node, health=NodeHealth.DRAINING)
        if known != node:
            self._factory.stage(NodePut(node=node))

    # --- what operators say -------------------------------------------------------------------------------------

    def take_out(self, node: Node, gpus: tuple[int, ...], why: str, by: str) -> list[Quarantine]:
        """Put GPUs of a node, or the whole of it, into quarantine. What is there already stays as it is."""
        state = self._factory.state
        made: list[Quarantine] = []
        for gpu in [health.gpu_name(node, index) for index in gpus] or [""]:
            new = Quarantine(
                node=node.name,
                gpu=gpu,
                kind=FaultKind.OPERATOR,
                why=why,
                since_ms=self._factory.now_ms(),
                by=by,
            )
            known = state.quarantines.get(new.key)
            if known is None or not known.out:
                version = known.version + 1 if known is not None else 1
                known = msgspec.structs.replace(new, version=version)
                self._factory.stage(QuarantinePut(quarantine=known, by=by))
            made.append(known)
        self._offer(node.name)
        return made

    def bring_back(self, quarantine: Quarantine, by: str) -> Quarantine:
        """End a quarantine untried."""
        ended = msgspec.structs.replace(
            quarantine,
            trial="",
            returned_ms=self._factory.now_ms(),
            returned_by=by,
            version=quarantine.version + 1,
        )
        self._factory.stage(QuarantinePut(quarantine=ended, by=by))
        self._offer(quarantine.node)
        return ended

    @property
    def tries(self) -> bool:
        """Whether there is a burn-in job."""
        return bool(self._burn_in.script)

    # --- burn-in ------------------------------------------------------------------------------------------------

    def try_out(self, quarantine: Quarantine, by: str) -> str:
        """Start the burn-in job of a quarantine, as the owner's own work; why not, if it cannot start now.

        Without an operator it waits until the state that made the GPU sick is over.
        """
        factory, state = self._factory, self._factory.state
        node = state.nodes.get(quarantine.node)
        owner = next((name for name, tenant in sorted(state.tenants.items()) if tenant.owner), None)
        if node is None or owner is None:
            return f"node `{quarantine.node}` is not here"
        out = health.indices(node, quarantine)
        lasting = [
            each
            for each in node.gpu_faults
            if each.index in out
            and (each.kind is FaultKind.LOST or (not by and each.kind is not FaultKind.XID))
        ]
        if quarantine.gpu and not out:
            return f"GPU `{quarantine.gpu}` is not in `{node.name}` any more"
        if lasting:
            return f"{health.gpu_name(node, lasting[0].index)}: {lasting[0].why}"
        workload = self._job(quarantine, node, owner, by)
        slot = Slot(node=node.name, gpus=out)
        misfit = state.seats[node.name].misfit(workload.spec.demand.options[0], slot, out)
        if misfit:
            return f"{misfit}; wait until what runs on `{node.name}` has ended"
        trial = msgspec.structs.replace(quarantine, trial=workload.id, version=quarantine.version + 1)
        factory.stage(
            QuarantinePut(quarantine=trial, by=by),
            WorkloadsSubmitted(workloads=(workload,), verdict="the factory's own work, on its own GPUs"),
        )
        shape = workload.spec.demand.options[0]
        rate = factory.site.rate(node.gpu_model if shape.gpus else "")
        factory.stage(RunPlaced(run=factory.run_on(workload, shape, (slot,), node, rate)))
        return ""

    def _job(self, quarantine: Quarantine, node: Node, owner: str, by: str) -> Workload:
        now = self._factory.now_ms()
        spec = WorkloadSpec(
            name="burn-in",
            run=self._burn_in.script,
            demand=Demand(options=(health.trial_shape(node, quarantine),)),
            max_duration_ms=self._burn_in.max_ms,
            preemptible=False,
        )
        said = f"{quarantine.key} {quarantine.version} {self._factory.state.seq}".encode()
        bits = int.from_bytes(hashlib.sha256(said).digest()) >> (256 - RANDOM_BITS)
        return Workload(
            id=make_id("wl", now, bits),
            tenant=owner,
            spec=spec,
            digest=digest(spec),
            submitted_by=by,
            tries=quarantine.key,
            submitted_ms=now,
            queued_ms=now,
        )

    def after(self, run: Run, ended: RunEnded) -> tuple[Event, ...]:
        """What is recorded with the end of a burn-in job's run, in the same transaction."""
        state = self._factory.state
        quarantine = state.quarantines.get(state.workloads[run.workload].tries)
        if quarantine is None or quarantine.trial != run.workload:
            return ()
        passed = ended.outcome is Outcome.FINISHED and ended.exit_code == 0
        said = f"it ended as {ended.cause.value}, exit code {ended.exit_code}"
        after = health.after_trial(
            state, quarantine, run, passed=passed, said=said, now_ms=self._factory.now_ms()
        )
        reported = self._reported.get(quarantine.node)
        others = (each for each in state.quarantines.values() if each.key != after.key)
        node = health.offered(reported, (*others, after)) if reported is not None else None
        known = state.nodes.get(quarantine.node)
        if node is None or known is None:
            return (QuarantinePut(quarantine=after),)
        keeps = known.health if known.health is NodeHealth.DRAINING else node.health
        put = NodePut(node=msgspec.structs.replace(node, health=keeps))
        return (QuarantinePut(quarantine=after), *((put,) if put.node != known else ()))
