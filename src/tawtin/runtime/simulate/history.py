"""One history: a seed's world, driven through its safety phase and its liveness phase."""

from __future__ import annotations

import logging
from random import Random
from typing import TYPE_CHECKING, Final

import msgspec

from tawtin.model.base import Record
from tawtin.model.health import FaultKind, GpuFault
from tawtin.model.reasons import Cause
from tawtin.model.resources import Node, NodeHealth
from tawtin.model.tenant import Quota
from tawtin.model.workload import Residency
from tawtin.runtime.simulate.clients import Request
from tawtin.runtime.simulate.invariants.plan import PlanCheck
from tawtin.runtime.simulate.invariants.usage import price
from tawtin.runtime.simulate.words import Crash, Invariant, Violation
from tawtin.runtime.simulate.world import Parts, World

if TYPE_CHECKING:
    from collections.abc import Callable

    from tawtin.runtime.simulate.plane import Plane

STEPS: Final = 200
REST_TURNS_MAX: Final = 6_000


class History(Record, frozen=True, kw_only=True):
    """What came of a seed whose invariants all held."""

    seed: int
    root: str
    """Of the log's Merkle tree, hexadecimal: equal histories have equal roots."""
    entries: int
    workloads: int
    runs: int
    passes: int
    requests: int
    """For models, that were charged."""
    gpus_sick: int
    """Quarantines, and changes of them."""
    ends_for_gpus: int
    """Runs that ended for one."""
    plans_compared: int
    """By the check, where the plan was not empty."""
    crashes: int
    true_ms: int


class Failed(Exception):
    """An invariant was violated; the message tells the seed, how to see it again, and what happened last."""

    def __init__(self, world: World, violation: Violation, more: str = "") -> None:
        """Keep which invariant, and say how to see it again; `more` is added to the command."""
        self.invariant = violation.invariant
        self.seed = world.seed
        again = f"python -m tawtin.runtime.simulate --seed {world.seed}{more}"
        super().__init__(f"seed {world.seed}: {violation}\nsee it again: {again}\n{world.trace.text()}")


def simulate(
    seed: int, *, steps: int = STEPS, parts: Parts | None = None, driver: type[Driver] | None = None
) -> History:
    """Go through one history. Raises Failed if an invariant does not hold.

    `driver` is another kind of history, such as `Quiet`.
    """
    quiet = logging.getLogger("tawtin.factory")
    level = quiet.level
    quiet.setLevel(logging.CRITICAL)
    world = World(seed, parts)
    drives = (driver or Driver)(world)
    try:
        return _simulate(drives, steps)
    except Violation as violation:
        raise Failed(world, violation, drives.flags) from violation
    except Exception as error:
        violation = Violation(Invariant.SOUND, f"{type(error).__name__}: {error}")
        raise Failed(world, violation, drives.flags) from error
    finally:
        quiet.setLevel(level)


def _simulate(driver: Driver, steps: int) -> History:
    world = driver.world
    driver.begin()
    for _ in range(steps):
        driver.step()
    driver.heal()
    driver.rest()
    head = world.journal.head()
    return History(
        seed=world.seed,
        root=head.root.hex(),
        entries=head.size,
        workloads=len(world.book.works),
        runs=len(world.book.attempts),
        passes=world.passes + driver.world.alive().passes,
        requests=sum(map(len, world.ledger.lives.values())),
        gpus_sick=sum(each.version for each in world.book.quarantines.values()),
        ends_for_gpus=sum(
            each.end is not None and each.end.cause is Cause.GPU_FAILED
            for each in world.book.attempts.values()
        ),
        plans_compared=sum(check.compared for check in world.checks if isinstance(check, PlanCheck)),
        crashes=world.crashes,
        true_ms=world.clock.true_ms,
    )


class Driver:
    """Chooses what happens next."""

    flags = ""
    """How the command that shows this kind of history again is told of it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.random = world.random
        self.hurry = self.random.choice((1, 4))
        """How many requests come for each step of the rest."""
        self.illness = Random(f"GPUs of {world.seed}")  # noqa: S311 - a simulation has to be repeatable
        """Of its own, so that a history without sick GPUs is what it would be if there were none."""
        self.gpu_permille = self.illness.choice((0, 0, 10, 40))

    def begin(self) -> None:
        """Start the factory and let its operator make the tenants."""
        world = self.world
        world.start_plane()
        for name in world.generator.tenants:
            world.send(world.generator.put_tenant(name))
        self._settle()
        world.weather.begun = True

    # --- the safety phase ---------------------------------------------------------------------------------------

    def step(self) -> None:
        """Let some time pass, then let somebody act."""
        world, draw = self.world, self.random
        self._pass_time(draw.choice((0, 0, 0, 1, 5, 20, 100, 400, 1_500)))
        self._fault()
        for _ in range(self.hurry):
            if draw.randrange(4) == 0:
                self._client()
        world.send_due()
        world.ledger.step(world.plane.factory if world.plane is not None else None)
        if world.plane is None:
            if world.clock.true_ms >= world.back_ms:
                self._guard(world.start_plane)
            return
        turn = draw.randrange(100)
        if turn < 15:
            self._guard(self._look)
        elif turn < 60:
            self._guard(self._cycle)
        else:
            self._guard(lambda: self._some_step(world.alive()))

    def _pass_time(self, ms: int) -> None:
        self.world.clock.true_ms += ms
        self.world.host.advance()

    def _guard(self, act: Callable[[], None]) -> None:
        """Act, and die if the process is to die in the middle of it."""
        try:
            act()
        except Crash:
            self.world.crash(self.random.choice((0, 50, 3_000)))

    def _may_die(self) -> None:
        if self.world.weather.permille(self.world.weather.crash_permille):
            raise Crash

    def _cycle(self) -> None:
        """One turn of the loop, as the live one does it."""
        plane = self.world.alive()
        for act in (plane.hear, plane.decide, plane.take, plane.commit):
            self._may_die()
            act()
        self._may_die()
        if self.random.randrange(3):
            self._tell(plane)

    def _look(self) -> None:
        """Let checks look before a pass, when there is something to decide, and after it."""
        plane = self.world.plane
        if plane is None:
            return
        for act in (plane.hear, plane.take, plane.commit):
            act()
        self.world.look()
        for act in (plane.decide, plane.take, plane.commit):
            act()
        self.world.look()

    def _tell(self, plane: Plane) -> None:
        while plane.effects:
            plane.tell()
            self._may_die()

    def _some_step(self, plane: Plane) -> None:
        acts: tuple[Callable[[], object], ...] = (
            plane.hear,
            plane.decide,
            plane.take,
            plane.take,
            plane.commit,
            plane.commit,
            plane.tell,
            plane.tell,
            plane.see_nodes,
            plane.again,
        )
        self.random.choice(acts)()
        self._may_die()

    # --- clients ------------------------------------------------------------------------------------------------

    def _client(self) -> None:
        world, draw = self.world, self.random
        kind = draw.randrange(100)
        if kind < 74:
            request = world.generator.submission()
        elif kind < 86 and world.book.works:
            target = draw.choice(list(world.book.works))
            serves = world.book.works[target].workload.spec.service is not None
            rests = serves and world.generator.services.randrange(100) < 60
            request = Request("rest" if rests else "cancel", target=target)
        elif kind < 93:
            request = world.generator.put_tenant(draw.choice(world.generator.tenants))
        else:
            request = Request("health", target=draw.choice(list(world.host.nodes)))
            request.health = draw.choice((NodeHealth.DRAINING, NodeHealth.READY))
        world.trace.note(
            world.clock, f"asked: {request.kind} {request.key or request.target or request.tenant}"
        )
        self._guard(lambda: world.send(request))

    # --- faults -------------------------------------------------------------------------------------------------

    def _fault(self) -> None:
        world, draw, weather = self.world, self.random, self.world.weather
        if weather.permille(weather.supervisor_permille):
            alive = [run for run, process in world.host.active.items() if process.order is not None]
            if alive:
                run = draw.choice(alive)
                world.trace.note(world.clock, f"the supervisor of {run} is killed")
                world.host.kill_supervisor(run)
        if weather.permille(weather.host_permille):
            node = draw.choice((None, *world.host.nodes))
            world.trace.note(world.clock, f"{node or 'everything'} restarts")
            world.host.restart(node)
            if node is None:
                world.crash(draw.randrange(1_000, 20_000))
        if weather.permille(weather.node_permille):
            self._node_changes(draw.choice(list(world.host.nodes)))
        if self.illness.randrange(1000) < self.gpu_permille:
            self._gpu_changes()
        if weather.permille(weather.clock_permille):
            world.clock.error_ms += draw.choice((-3_600_000, -1_000, -40, 40, 5_000, 86_400_000))
            world.trace.note(world.clock, f"the clock is off by {world.clock.error_ms} ms")

    def _node_changes(self, name: str) -> None:
        world, draw = self.world, self.random
        node = world.host.nodes[name]
        what = draw.randrange(3)
        if what == 0:
            node = msgspec.structs.replace(node, health=draw.choice((NodeHealth.SICK, NodeHealth.READY)))
        elif what == 1:
            sick = tuple(index for index in range(node.gpus) if draw.randrange(4) == 0)
            node = msgspec.structs.replace(node, gpus_sick=sick)
        else:
            node = msgspec.structs.replace(node, health=NodeHealth.READY, gpus_sick=())
        world.host.nodes[name] = node
        world.trace.note(world.clock, f"node {name} is {node.health}, sick GPUs {node.gpus_sick}")

    def _gpu_changes(self) -> None:
        """A GPU gets a fault, or an operator brings back what is in quarantine on its node, mended or not."""
        world, draw = self.world, self.illness
        name = draw.choice(list(world.host.nodes))
        node = world.host.nodes[name]
        if draw.randrange(3) == 0:
            if draw.randrange(2):
                world.host.nodes[name] = msgspec.structs.replace(node, gpu_faults=())
            world.trace.note(world.clock, f"what is in quarantine on {name} is brought back")
            self._guard(lambda: world.send(Request("return", target=name)))
        elif node.gpus:
            fatal, now_ms = draw.randrange(3) > 0, world.clock.now_ms()
            index, code = draw.randrange(node.gpus), 79 if fatal else 63
            fault = GpuFault(index=index, kind=FaultKind.XID, at_ms=now_ms, fatal=fatal, code=code)
            others = [each for each in node.gpu_faults if (each.index, each.code) != (index, code)]
            faults = tuple(sorted((*others, fault)))
            world.host.nodes[name] = msgspec.structs.replace(node, gpu_faults=faults)
            world.trace.note(world.clock, f"GPU {index} of {name} has Xid {code}")

    # --- the liveness phase -------------------------------------------------------------------------------------

    def heal(self) -> None:
        """End all faults, and mend what only a person can: drained nodes, spent budgets, wishes of tenants."""
        world, draw = self.world, self.random
        world.trace.note(world.clock, "faults stop")
        world.weather.clear()
        for name, node in world.host.nodes.items():
            world.host.nodes[name] = msgspec.structs.replace(
                node, health=NodeHealth.READY, gpus_sick=(), gpu_faults=()
            )
        again = world.plane is None or draw.randrange(2) == 0
        if again:
            world.crash(0)
            world.start_plane()
        self._settle()
        if again:
            for check in world.checks:
                check.adopted()
        # an operator's earlier wish that is still on its way must not undo what is mended below
        world.outbox = [pair for pair in world.outbox if pair[1].kind not in {"tenant", "health"}]
        world.alive().see_nodes()  # no fault of before is told after the return of its GPU
        for name in world.host.nodes:
            world.send(Request("return", target=name))
            world.send(Request("health", target=name))
        for name, tenant in sorted(world.book.tenants.items()):
            keeps = tenant.quota if draw.randrange(2) else Quota()
            quota = msgspec.structs.replace(keeps, budget_minor_per_month=None)
            put = msgspec.structs.replace(tenant, quota=quota, residency=Residency())
            world.send(world.generator.put_tenant(name, put))
        world.ledger.charge_all(world.alive().factory)
        self._settle()
        world.look()

    def rest(self) -> None:
        """Let the factory come to rest. What can never run is cancelled by its owner."""
        world = self.world
        for turn in range(REST_TURNS_MAX):
            if self._at_rest():
                break
            if turn % 50 == 49:
                world.look()
            if turn % 10 == 0:
                self._cancel_hopeless()
            due = [due_ms for due_ms, _ in world.outbox]
            due += [next_ms for next_ms in (world.host.next_ms(),) if next_ms is not None]
            due.append(world.clock.true_ms + 1_000)
            self._pass_time(max(0, min(due) - world.clock.true_ms))
            world.send_due()
            plane = world.alive()
            if turn % 4 == 0:
                plane.see_nodes()
                plane.again()
            self._settle()
        world.look()
        for check in world.checks:
            check.end()

    def _at_rest(self) -> bool:
        world = self.world
        over = all(work.over for work in world.book.works.values())
        return over and not world.outbox and not world.host.active

    def _settle(self) -> None:
        """Turns of the loop until nothing is staged."""
        if not self.world.alive().settle():
            raise Violation(Invariant.LOSS, "the loop does not settle")

    def _cancel_hopeless(self) -> None:
        """A person cancels what has no end of its own, and what the site can never run by a second reckoning."""
        world = self.world
        for name, work in world.book.works.items():
            endless = work.workload.spec.service is not None
            if not work.over and not work.cancel and (endless or not possible(world, name)):
                world.send(Request("cancel", target=name))


def possible(world: World, name: str) -> bool:
    """Whether an empty, healthy factory could run this workload, by a second and plainer reckoning."""
    work = world.book.works[name]
    spec = work.workload.spec
    quota = world.book.tenants[work.workload.tenant].quota
    spent = sum(price(each.run, each.end.usage) for each in work.attempts if each.end is not None)
    if spec.budget_minor is not None and spent >= spec.budget_minor:
        return False
    for shape in spec.demand.options:
        fitting = [node for node in world.host.nodes.values() if _fits(shape, node)]
        count = spec.demand.nodes
        wants = {"gpus": shape.gpus, "cpus_milli": shape.cpus_milli, "memory_mib": shape.memory_mib}
        within = all(
            getattr(quota, limit) is None or amount * count <= getattr(quota, limit)
            for limit, amount in wants.items()
        )
        if len(fitting) >= count and within and quota.runs != 0:
            return True
    return False


def _fits(shape: object, node: Node) -> bool:
    has = (node.gpus, node.cpus_milli, node.memory_mib, node.disk_mib)
    asked = [getattr(shape, name) for name in ("gpus", "cpus_milli", "memory_mib", "disk_mib")]
    model = getattr(shape, "gpu_model", "")
    return all(want <= there for want, there in zip(asked, has, strict=True)) and (
        not asked[0] or model in {"", node.gpu_model}
    )
