"""Invariant 1, as far as one factory can show it: nothing of a workload is where its owner does not let it be.

The owner's wish is read here by its definition, a second time: both spec and tenant may name countries, a
denied one is out, and an empty `allow` does not narrow.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tawtin.model.events import RunPlaced, SubmissionRefused, WorkloadsSubmitted, encode_entry
from tawtin.model.reasons import Cause
from tawtin.runtime.simulate.invariants.base import Check
from tawtin.runtime.simulate.words import Invariant

if TYPE_CHECKING:
    from tawtin.model.events import Entry
    from tawtin.model.workload import WorkloadSpec
    from tawtin.ports import Batch
    from tawtin.runtime.simulate.clients import Request
    from tawtin.runtime.simulate.world import World


MARKER: Final = re.compile(rb"marker-\d+-[0-9a-f]{12}")


class ResidencyCheck(Check):
    """No process, no secret and no stored byte of what is refused."""

    invariant = Invariant.RESIDENCY

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._refused: set[bytes] = set()
        """Markers of what was refused."""

    def lawful(self, spec: WorkloadSpec, tenant: str) -> bool:
        """Whether spec and tenant, as the log has it now, let a workload be here."""
        here = self.world.site.country
        wishes = (spec.residency, self.book.tenants[tenant].residency)
        return all(here not in wish.deny and (not wish.allow or here in wish.allow) for wish in wishes)

    def entry(self, entry: Entry) -> None:
        """What is accepted or placed is lawful at that moment; what is refused for it is not."""
        event = entry.event
        if isinstance(event, WorkloadsSubmitted):
            for workload in event.workloads:
                if not self.lawful(workload.spec, workload.tenant):
                    self.fail(f"{workload.id} was accepted although its owner keeps it out")
        elif isinstance(event, RunPlaced):
            workload = self.book.works[event.run.workload].workload
            if not self.lawful(workload.spec, workload.tenant):
                self.fail(f"{event.run.id} was placed although its owner keeps it out by now")
        elif isinstance(event, SubmissionRefused) and b"marker-" in encode_entry(entry):
            self.fail("the log holds bytes of a refused submission")

    def batch(self, batch: Batch) -> None:
        """Secrets are kept only of workloads that were accepted, and never enter the log or a row."""
        for workload, _, _ in batch.secrets_put:
            if workload not in self.book.works:
                self.fail(f"a secret is kept of {workload}, which was never accepted")
        if any(b"secret-of-" in row.body for row in batch.rows):
            self.fail("a row holds a secret's value")
        if any(b"secret-of-" in encode_entry(entry) for entry in batch.entries):
            self.fail("the log holds a secret's value")

    def answered(self, request: Request) -> None:
        """Remember which bytes may be nowhere."""
        if request.kind == "submit" and request.refusal is not None:
            self._refused.add(request.marker.encode())

    def checkpoint(self) -> None:
        """After a pass that saw everything, what became unlawful is being stopped, and what is lawful is not."""
        if self.world.undecided():
            return
        for attempt in self.book.open.values():
            workload = self.book.works[attempt.run.workload].workload
            lawful = self.lawful(workload.spec, workload.tenant)
            if not lawful and attempt.stop is None:
                self.fail(f"{attempt.run.id} goes on although its owner keeps it out by now")

    def end(self) -> None:
        """Secrets of what is over are gone, nothing unlawful is alive, and no byte of what was refused is stored."""
        kept = self._refused.intersection(MARKER.findall(b" ".join(self.world.stored())))
        if kept:
            self.fail(f"bytes of refused submissions are stored: {sorted(kept)}")
        for process in self.world.host.active.values():
            if process.alive and process.order is not None:
                order = process.order
                if not self.lawful(order.spec, order.tenant):
                    self.fail(f"a process of {order.run} is alive although its owner keeps it out")
        for name, work in self.book.works.items():
            if work.over and self.world.journal.secrets(name):
                self.fail(f"secrets of {name} are kept after its end")
        for attempt in self.book.attempts.values():
            end = attempt.end
            if end is not None and end.cause is Cause.RESIDENCY and attempt.stop is None:
                self.fail(f"{attempt.run.id} ended for residency and nobody ordered it")
