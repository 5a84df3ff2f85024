"""One history of a network: factories that ask each other for room, through cuts and crashes, until all is at rest."""

from __future__ import annotations

import hashlib
import logging
import random
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tawtin.model.base import Record
from tawtin.model.resources import Demand, Shape
from tawtin.model.workload import OnPartition, Phase, WorkloadSpec
from tawtin.runtime.simulate.clients import Request
from tawtin.runtime.simulate.host import Program
from tawtin.runtime.simulate.network.auditor import MARK, Auditor, Broken, Predicate
from tawtin.runtime.simulate.network.backups import Backups
from tawtin.runtime.simulate.network.clock import Time
from tawtin.runtime.simulate.network.post import Network
from tawtin.runtime.simulate.network.site import TENANT, SimSite
from tawtin.runtime.simulate.words import Crash, Trace

if TYPE_CHECKING:
    from collections.abc import Callable

    from tawtin.runtime.simulate.network.post import Letter

COUNTRIES: Final = ("MA", "ZA", "KE", "NG", "EG")
STEPS: Final = 260
REST_MS_MAX: Final = 7_200_000
REST_TURN_MS: Final = 200
HOPELESS_MS: Final = 1_100_000
"""What still waits after this time of rest is cancelled."""


class NetworkHistory(Record, frozen=True, kw_only=True):
    """What came of a seed in which everything held."""

    seed: int
    workloads: int
    roamed: int
    expired: int
    messages: int
    entries: int
    """Of all logs."""
    crashes: int
    cuts: int
    put_backs: int
    """Stores that were put back from a backup."""
    factory_ms: int
    """Simulated time, summed over the factories."""
    root: str
    """Of the first factory's log: equal histories have equal roots."""


class NetworkFailed(Exception):
    """A predicate does not hold; the message tells the seed, how to see it again, and what happened last."""

    def __init__(self, seed: int, broken: Broken, trace: str, more: str = "") -> None:
        again = f"python -m tawtin.runtime.simulate.network --seed {seed}{more}"
        super().__init__(f"seed {seed}: {broken}\nsee it again: {again}\n{trace}")
        self.predicate = broken.predicate
        self.seed = seed


def simulate_network(
    seed: int,
    *,
    steps: int = STEPS,
    parts: dict[str, Any] | None = None,
    bias: str = "",
    weather: dict[str, int] | None = None,
    pace: int = 1,
    driver: type[Driver] | None = None,
) -> NetworkHistory:
    """Go through one history. Raises NetworkFailed.

    `bias` is `wait` or `rerun` for workloads of one kind only. `weather` replaces chances that the seed would draw:
    those of `Network`, of `Driver` and of `EngineFaults`. `pace` makes programs last, and lets time pass between what
    people do and what breaks, that many times as long; leases, letters and control planes stay as quick as they are.
    `driver` is another kind of history, such as `Quiet`.
    """
    quiet = [logging.getLogger(name) for name in ("tawtin.factory", "tawtin.roaming")]
    levels = [logger.level for logger in quiet]
    for logger in quiet:
        logger.setLevel(logging.CRITICAL)
    world = (driver or Driver)(seed, parts or {}, bias, pace)
    world.weather = weather or {}
    for name, chance in world.weather.items():
        setattr(world.network if hasattr(world.network, name) else world, name, chance)
    try:
        return world.run(steps)
    except Broken as broken:
        raise NetworkFailed(seed, broken, world.trace.text(), world.flags()) from broken
    except Exception as error:
        broken = Broken(Predicate.SOUND, f"{type(error).__name__}: {error}")
        raise NetworkFailed(seed, broken, world.trace.text(), world.flags()) from error
    finally:
        for logger, level in zip(quiet, levels, strict=True):
            logger.setLevel(level)


class Driver:
    """Chooses what happens next."""

    def __init__(self, seed: int, parts: dict[str, Any], bias: str, pace: int = 1) -> None:
        self.seed = seed
        self.pace = pace
        self.random = random.Random(seed)  # noqa: S311 - anyone can repeat it
        self.bias = bias
        self.time = Time()
        self.trace = Trace(160)
        self.network = Network(self.time, self.random)
        count = self.random.choice((2, 3, 3, 4))
        self.sites = [
            SimSite(f"site-{COUNTRIES[at]}", COUNTRIES[at], self.time, self.network, seed * 10 + at, parts)
            for at in range(count)
        ]
        for site in self.sites:
            site.pace = pace
        self.auditor = Auditor(self.sites)
        self.network.on_send.append(self.auditor.sent)
        self.network.on_send.append(self._note_sent)
        self.crash_permille = self.random.choice((0, 5, 20, 60))
        self.cut_percent = self.random.choice((0, 2, 6))
        self.host_permille = self.random.choice((0, 2, 8))
        self.supervisor_permille = self.random.choice((0, 5))
        self.lost_permille = self.random.choice((0, 0, 3))
        self.cancel_percent = 3
        self.work_ms = 0
        """How long every program takes; 0 for all kinds of lengths."""
        self.weather: dict[str, int] = {}
        self.crashes = self.cuts = self.made = 0
        self.backups = Backups(self, seed)

    def flags(self) -> str:
        """How the command that shows this kind of history again is told of it."""
        return f" --pace {self.pace}" if self.pace != 1 else ""

    def run(self, steps: int) -> NetworkHistory:
        """Both phases."""
        self.found()
        for site in self.sites:
            site.commit_percent = self.random.choice((0, 0, 2, 6))
            for name in ("refuse", "break_after", "slow", "late", "lost"):
                setattr(site.faults, name, self.weather.get(name, self.random.choice((0, 0, 3, 10))))
        for _ in range(steps):
            self.step()
        self.heal()
        self.rest()
        return self.told()

    def found(self) -> None:
        """Every factory begins, and knows the others."""
        for site in self.sites:
            site.start()
            site.found([other for other in self.sites if other is not site])
            self._settle(site)

    def told(self) -> NetworkHistory:
        """What came of it."""
        return NetworkHistory(
            seed=self.seed,
            workloads=len(self.auditor.home_of),
            roamed=self.auditor.roamed,
            expired=self.auditor.expired,
            messages=self.network.sent,
            entries=sum(site.journal.head().size for site in self.sites),
            crashes=self.crashes,
            cuts=self.cuts,
            put_backs=sum(site.put_backs for site in self.sites),
            factory_ms=self.time.ms * len(self.sites),
            root=self.sites[0].journal.head().root.hex(),
        )

    # --- the safety phase -------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Let time pass, somebody ask, something break, and each factory do something."""
        draw = self.random
        ms = draw.choice((0, 0, 1, 20, 100, 400, 1_500, 5_000))
        if self.pace == 1:
            self._pass_time(ms)
        else:
            self._live(ms * self.pace)
        if draw.randrange(10) < 3:
            self._submit()
        if draw.randrange(100) < self.cancel_percent:
            self._cancel()
        self._break()
        for site in self.sites:
            if draw.randrange(3) == 0:
                self._gossip(site)
            self._turn(site)
        self.auditor.look()

    def _turn(self, site: SimSite) -> None:
        if site.plane is None:
            if self.time.ms >= site.back_ms:
                self.trace.note(site.clock, f"{site.name} starts")
                self._guard(site, site.start)
            return
        self._guard(site, lambda: self._loop(site))

    def _loop(self, site: SimSite) -> None:
        plane = site.plane
        if plane is None:
            return
        acts: list[Callable[[], object]] = [site.due, plane.hear, plane.decide, plane.take, plane.commit]
        if self.random.randrange(4) == 0:
            acts = [self.random.choice(acts)]
        if self.random.randrange(8) == 0:
            acts[:0] = [plane.see_nodes, plane.again]
        for act in acts:
            self._may_die()
            act()
        while plane.effects and self.random.randrange(12):
            self._may_die()
            plane.tell()

    def _may_die(self) -> None:
        if self.crash_permille and self.random.randrange(1000) < self.crash_permille:
            raise Crash

    def _guard(self, site: SimSite, act: Callable[[], object]) -> None:
        try:
            act()
        except Crash:
            down_ms = self.random.choice((0, 50, 3_000, 30_000))
            self.crashes += 1
            self.trace.note(site.clock, f"{site.name} dies for {down_ms} ms")
            site.crash(down_ms)

    def _pass_time(self, ms: int) -> None:
        """Go on in small steps, so that letters, leases and programs come in their true order."""
        end = self.time.ms + ms
        while True:
            soonest = self._next_ms()
            self.time.ms = max(self.time.ms, end if soonest is None else min(end, soonest))
            for site in self.sites:
                site.host.advance()
            if self.network.is_due():
                self._deliver()
            if self.time.ms >= end:
                return

    def _next_ms(self) -> int | None:
        """When the next letter arrives, or a machine does something by itself."""
        soonest = self.network.next_ms()
        for site in self.sites:
            each = site.host.next_ms()
            if each is not None and (soonest is None or each < soonest):
                soonest = each
        return soonest

    def _deliver(self) -> None:
        for letter in self.network.arrived():
            site = self.auditor.sites[letter.recipient]
            heard = [True]

            def hear(site: SimSite = site, heard: list[bool] = heard, letter: Any = letter) -> None:  # noqa: ANN401
                heard[0] = site.hear(letter.sender, letter.message)

            self._guard(site, hear)
            self.trace.note(site.clock, _heard(letter, "" if heard[0] else "(later) "))
            if not heard[0]:
                self.network.push(letter.sender, letter.recipient, letter.message, 5)
                self._guard(site, lambda site=site: self._loop(site))

    def _note_sent(self, sender: str, recipient: str, message: Any) -> None:  # noqa: ANN401 - a Message
        site = self.sites[0]
        self.trace.note(site.clock, lambda: f"{sender} says to {recipient}: {_words(message)}")

    # --- who asks ---------------------------------------------------------------------------------------------------

    def _submit(self) -> None:
        site = self.random.choice(self.sites)
        if site.plane is None:
            return
        self.made += 1
        request = Request("submit", tenant=TENANT)
        request.key = f"key-{self.made}"
        request.spec = self._spec()
        request.digest = hashlib.sha256(msgspec.json.encode(request.spec)).hexdigest()
        if request.spec.on_partition is OnPartition.RERUN:
            self.auditor.rerun.add(request.spec.envs[MARK])
        plane = site.plane
        self._guard(site, lambda: plane.submit(request))

    def _spec(self) -> WorkloadSpec:
        draw = self.random
        program = Program(
            work_ms=self.work_ms or self.pace * draw.choice((500, 3_000, 12_000, 40_000)),
            exit_code=draw.choice((0, 0, 1)),
            stubborn=draw.randrange(10) == 0,
        )
        modes = [OnPartition(self.bias)] if self.bias else [OnPartition.WAIT, OnPartition.RERUN]
        gpus = draw.choice((1, 1, 2, 4))
        return WorkloadSpec(
            name=f"job-{self.made}",
            run=msgspec.json.encode(program).decode(),
            envs={MARK: f"mark-{self.made}"},
            demand=Demand(
                nodes=1, options=(Shape(gpu_model="H100", gpus=gpus, cpus_milli=500, memory_mib=512),)
            ),
            stop_grace_ms=draw.choice((0, 500)),
            on_partition=draw.choice(modes),
            priority=draw.choice((0, 0, 5)),
        )

    def _cancel(self) -> None:
        live = [(site, name) for site in self.sites if site.plane for name in site.plane.factory.state.run_of]
        mine = [(site, name) for site, name in live if name.startswith("wl-")]
        if not self.auditor.home_of:
            return
        site, name = self.random.choice(
            mine if mine and self.random.randrange(2) else list(self.auditor.home_of.values())
        )
        if site.plane is not None:
            plane = site.plane
            self.trace.note(site.clock, f"somebody cancels {name} at {site.name}")
            self._guard(site, lambda: plane.cancel(Request("cancel", target=name)))

    # --- what breaks --------------------------------------------------------------------------------------------------

    def _break(self) -> None:
        draw = self.random
        if draw.randrange(100) < self.cut_percent:
            one, other = draw.sample(self.sites, 2)
            self.network.cut.add((one.name, other.name))
            if draw.randrange(3):
                self.network.cut.add((other.name, one.name))
            self.cuts += 1
            self.trace.note(one.clock, f"cut between {one.name} and {other.name}")
        elif self.network.cut and draw.randrange(100) < 4:
            self.network.cut.discard(draw.choice(sorted(self.network.cut)))
        if draw.randrange(1000) < self.host_permille:
            site = draw.choice(self.sites)
            self.trace.note(site.clock, f"all machines of {site.name} restart")
            site.host.restart()
            site.crash(draw.randrange(1_000, 20_000))
        if draw.randrange(1000) < self.supervisor_permille:
            site = draw.choice(self.sites)
            runs = [run for run, process in site.host.active.items() if process.order is not None]
            if runs:
                site.host.kill_supervisor(draw.choice(runs))
        if draw.randrange(1000) < self.lost_permille:
            self._declare_lost()
        self.backups.step()

    def _declare_lost(self) -> None:
        site = self.random.choice(self.sites)
        plane = site.plane
        if plane is None or plane.factory.roaming is None:
            return
        away = [run for run in plane.factory.state.runs.values() if run.roam is not None]
        if away:
            run = self.random.choice(away)
            self.trace.note(site.clock, f"a person declares {run.id} of {site.name} lost")
            roaming = plane.factory.roaming
            self._guard(site, lambda: roaming.asking.declare_lost(run, "somebody", "for a test"))

    # --- the liveness phase -----------------------------------------------------------------------------------------

    def heal(self) -> None:
        """Faults stop."""
        for site in self.sites:
            site.looks_ms = site.wakes_ms = 0
        self.trace.note(self.sites[0].clock, "faults stop")
        self.network.clear()
        self.crash_permille = 0
        for site in self.sites:
            site.commit_percent = 0
            for name in vars(site.faults):
                setattr(site.faults, name, 0)
            if site.plane is None:
                site.start()
            self._settle(site)

    def rest(self) -> None:
        """Let everything come to rest: time goes on to whatever is due next at any factory."""
        began_ms = self.time.ms
        while not self._at_rest() and self.time.ms - began_ms < REST_MS_MAX * self.pace:
            self._go_on(began_ms + REST_MS_MAX * self.pace)
            self.auditor.look()
            if self.time.ms - began_ms >= HOPELESS_MS:
                self._cancel_hopeless()
            self.backups.mend()
        for site in self.sites:
            self._settle(site)
        self.auditor.look()
        self.auditor.rest()

    def _live(self, ms: int) -> None:
        """Let this much time pass in which every factory does all that there is to do."""
        end = self.time.ms + ms
        for site in self.sites:
            site.wakes_ms = 0
        while self.time.ms < end:
            self._go_on(end)

    def _go_on(self, until_ms: int) -> None:
        """Go on to what is due next anywhere, and let it be done."""
        times = [
            until_ms,
            *(site.wakes_ms if site.plane is not None else site.back_ms for site in self.sites),
        ]
        soonest = self._next_ms()
        next_ms = min(times if soonest is None else [*times, soonest])
        self._pass_time(min(until_ms - self.time.ms, max(REST_TURN_MS, next_ms - self.time.ms)))
        for site in self.sites:
            if site.plane is None and self.time.ms >= site.back_ms:
                self._guard(site, site.start)
            if site.waits and self._gossip(site):
                site.looks_ms = site.wakes_ms = 0
            if site.plane is not None and site.is_awake():
                self._guard(site, lambda site=site: self._wake(site))

    def _wake(self, site: SimSite) -> None:
        """Let a factory do all that there is to do."""
        if site.plane is not None and site.looks_ms <= self.time.ms:
            site.plane.see_nodes()
            site.plane.again()
        site.due()
        self._settle(site)
        site.rest()

    def _at_rest(self) -> bool:
        for site in self.sites:
            plane = site.plane
            if (
                plane is None
                or plane.factory.state.workloads
                or plane.factory.state.guests
                or site.host.active
            ):
                return False
            if plane.factory.roaming is not None and plane.factory.roaming.promised():
                return False
        return True

    def _cancel_hopeless(self) -> None:
        """A person cancels what still waits after a long time: no factory is large enough for it."""
        for site in self.sites:
            plane = site.plane
            for workload in list(plane.factory.state.workloads.values()) if plane is not None else ():
                if plane is not None and workload.phase is Phase.QUEUED and not workload.guest:
                    plane.cancel(Request("cancel", target=workload.id))
                    site.wakes_ms = 0

    def _settle(self, site: SimSite) -> None:
        self._gossip(site)
        if site.plane is not None:
            site.plane.settle()

    def _gossip(self, site: SimSite) -> bool:
        """Tell a factory what the others have free. Whether that is news."""
        plane = site.plane
        if plane is None or plane.factory.roaming is None:
            return False
        offers, is_news = plane.factory.roaming.asking.offers, False
        for other in self.sites:
            offer = other.offer() if other is not site else None
            if offer is not None and offer is not offers.get(other.name):
                is_news = is_news or other.name not in offers or offer.free != offers[other.name].free
                offers[other.name] = offer
        return is_news


def _heard(letter: Letter, when: str) -> Callable[[], str]:
    return lambda: f"{when}{letter.recipient} hears of {letter.sender}: {_words(letter.message)}"


def _words(message: Any) -> str:  # noqa: ANN401 - a Message
    name = type(message).__name__
    said = {
        field: getattr(message, field)
        for field in ("resv", "req", "reason", "outcome", "accepted", "state", "mode")
        if hasattr(message, field)
    }
    return f"{name} {message.workload[-6:]}.{message.epoch} " + " ".join(
        f"{field}={str(value)[:12]}" for field, value in said.items()
    )
