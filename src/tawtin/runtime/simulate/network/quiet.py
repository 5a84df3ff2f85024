"""A quiet history: a workload or two, a few faults, long waits, and nothing else that anything could ride on.

In a busy factory the next event comes soon, and whatever was forgotten happens with it. Here none comes. So all has to
end in its time after the last fault, each workload has a factory that is large enough for it, and nobody cancels what
only waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from tawtin.runtime.roaming.asking import ANSWER_MS, REST_MS
from tawtin.runtime.roaming.post import AGAIN_MS_MAX
from tawtin.runtime.simulate.host import program_of
from tawtin.runtime.simulate.network.auditor import Predicate
from tawtin.runtime.simulate.network.history import Driver
from tawtin.runtime.simulate.network.site import AGAIN_MS, LEASE_MS

if TYPE_CHECKING:
    from tawtin.model.workload import WorkloadSpec
    from tawtin.runtime.simulate.network.history import NetworkHistory
    from tawtin.runtime.simulate.network.site import SimSite

WAITS_MS: Final = (100, 1_500, 5_000, 20_000, 90_000, 600_000)
"""Between what happens."""
WORKS_MS: Final = (3_000, 12_000, 40_000, 150_000)
HANDSHAKE_MS: Final = AGAIN_MS_MAX + 2 * LEASE_MS + REST_MS + ANSWER_MS + AGAIN_MS
"""Until a workload runs again after all faults, if room is free: the longest pause between repetitions, a lease and the
error of two clocks, a round of asking in vain, and the pause after which a factory looks around."""


class Quiet(Driver):
    """Little happens, and nothing is forgotten for it."""

    def flags(self) -> str:
        """How the command is told of it."""
        return f"{super().flags()} --quiet"

    def run(self, steps: int) -> NetworkHistory:
        """A few things happen, far apart; then all has to end in its time. `steps` is the most that break."""
        draw = self.random
        self.crash_permille = 0
        self.network.clear()
        self.found()
        for _ in range(draw.choice((1, 1, 2))):
            self._submit()
            self._wait()
        for _ in range(min(steps, draw.choice((0, 1, 1, 2, 3)))):
            self._break()
            self._wait()
            self.network.cut.clear()
            self._wait()
        self.heal()
        self.rest()
        return self.told()

    def rest(self) -> None:
        """All ends in its time: each workload once more from its beginning, one after the other, and what repeats."""
        works_ms = 0
        for home, name in self.auditor.home_of.values():
            plane = home.plane
            workload = plane.factory.state.workloads.get(name) if plane is not None else None
            works_ms += program_of(workload.spec).work_ms + HANDSHAKE_MS if workload is not None else 0
        began_ms = self.time.ms
        end_ms = began_ms + works_ms + 2 * AGAIN_MS_MAX
        while not self._at_rest() and self.time.ms < end_ms:
            self._go_on(end_ms)
            self.auditor.look()
        self.auditor.rest()
        if not self._at_rest():
            self.auditor.fail(Predicate.L2, f"not at rest {self.time.ms - began_ms} ms after the last fault")

    def _wait(self) -> None:
        self._live(self.pace * self.random.choice(WAITS_MS))
        self.auditor.look()

    def _spec(self) -> WorkloadSpec:
        """One that the largest factory has room for."""
        spec, draw = super()._spec(), self.random
        most = max(node.gpus for site in self.sites for node in site.host.nodes.values())
        gpus = draw.choice((1, most, most))
        (option,) = spec.demand.options
        program = replace(program_of(spec), work_ms=self.pace * draw.choice(WORKS_MS))
        demand = replace(spec.demand, options=(replace(option, gpus=gpus),))
        return replace(spec, run=msgspec.json.encode(program).decode(), demand=demand, priority=0)

    def _break(self) -> None:
        """One thing breaks, where something runs if anything does."""
        draw = self.random
        busy = [site for site in self.sites if site.host.active]
        site = draw.choice(busy or self.sites)
        what = draw.randrange(4)
        if what == 0 and site.host.active:
            run = draw.choice(list(site.host.active))
            self.trace.note(site.clock, f"the supervisor of {run} at {site.name} is killed")
            site.host.kill_supervisor(run)
        elif what == 1:
            self.trace.note(site.clock, f"all machines of {site.name} restart")
            site.host.restart()
            self._die(site)
        elif what == 2:
            other = draw.choice([each for each in self.sites if each is not site])
            self.trace.note(site.clock, f"cut between {site.name} and {other.name}")
            self.network.cut.update(((site.name, other.name), (other.name, site.name)))
            self.cuts += 1
        else:
            self._die(draw.choice(self.sites))

    def _die(self, site: SimSite) -> None:
        down_ms = self.random.choice((0, 3_000, 30_000))
        self.trace.note(site.clock, f"{site.name} dies for {down_ms} ms")
        self.crashes += 1
        site.crash(down_ms)
