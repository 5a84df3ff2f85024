"""A quiet history of one factory: a workload or two, a few faults, long waits, and nothing else that happens.

In a busy factory the next event comes soon, and whatever was forgotten happens with it. Here none comes, and all has to
end in its time after the last fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from tawtin.model.resources import NodeHealth
from tawtin.model.tenant import Tenant
from tawtin.model.workload import Residency
from tawtin.runtime.simulate.history import Driver
from tawtin.runtime.simulate.host import program_of

if TYPE_CHECKING:
    from tawtin.runtime.simulate.clients import Request

TURN_MS: Final = 1_000
"""A live factory looks around this often."""
WAITS_TURNS: Final = (0, 1, 4, 15, 100)
"""Between what happens."""
AGAIN_MS: Final = 30_000
"""Until a workload runs again, if room is free: the longest pause, and twice that after which an engine hears again."""


class Quiet(Driver):
    """Little happens, and nothing is forgotten for it."""

    flags = " --quiet"

    def begin(self) -> None:
        """Start the factory with tenants who may do anything, and let a workload or two come."""
        world, draw = self.world, self.random
        world.weather.clear()
        world.generator.service_percent = 0  # a service has no end
        world.start_plane()
        for number, name in enumerate(world.generator.tenants, 1):
            world.send(world.generator.put_tenant(name, Tenant(id=name, number=number, owner=number == 1)))
        self._settle()
        self.left = draw.choice((0, 1, 1, 2, 3))
        """Faults that are still to come."""
        for _ in range(draw.choice((1, 1, 2))):
            world.send(self._submission())
            self._settle()
            self._cancel_hopeless()
            self._settle()
            self._wait()

    def step(self) -> None:
        """One thing breaks and is mended; then time passes."""
        if not self.left:
            return
        self.left -= 1
        world, draw = self.world, self.random
        node = draw.choice(list(world.host.nodes))
        runs = [run for run, process in world.host.active.items() if process.order is not None]
        what = draw.randrange(4)
        if what == 0 and runs:
            world.host.kill_supervisor(draw.choice(runs))
        elif what == 1:
            world.host.restart(draw.choice((None, node)))
        elif what == 2:
            world.host.nodes[node] = msgspec.structs.replace(world.host.nodes[node], health=NodeHealth.SICK)
            self._wait()
            world.host.nodes[node] = msgspec.structs.replace(world.host.nodes[node], health=NodeHealth.READY)
        else:
            world.crash(draw.choice((0, 50, 3_000)))
            self._pass_time(world.back_ms - world.clock.true_ms)
            world.start_plane()
        world.trace.note(world.clock, f"fault {what}, {node}")
        self._wait()

    def heal(self) -> None:
        """All is mended already."""

    def rest(self) -> None:
        """All ends in its time: each workload once more from its beginning, one after the other."""
        world = self.world
        end_ms = world.clock.true_ms + AGAIN_MS
        for work in world.book.works.values():
            end_ms += 0 if work.over else program_of(work.workload.spec).work_ms + AGAIN_MS
        while not self._at_rest() and world.clock.true_ms < end_ms:
            self._turn()
        world.look()
        for check in world.checks:
            check.end()

    def _wait(self) -> None:
        for _ in range(self.random.choice(WAITS_TURNS)):
            self._turn()
        self.world.look()

    def _turn(self) -> None:
        """A second in which the factory does all that there is to do."""
        world, plane = self.world, self.world.alive()
        self._settle()
        next_ms = world.host.next_ms()
        soonest_ms = world.clock.true_ms + TURN_MS
        soonest_ms = soonest_ms if next_ms is None else min(soonest_ms, next_ms)
        self._pass_time(max(0, soonest_ms - world.clock.true_ms))
        plane.see_nodes()
        plane.again()
        self._settle()

    def _submission(self) -> Request:
        """One workload that nothing forbids."""
        request = self.world.generator.submission()
        request.array = None
        request.spec = msgspec.structs.replace(
            request.spec, residency=Residency(), budget_minor=None, priority=0
        )
        return request
