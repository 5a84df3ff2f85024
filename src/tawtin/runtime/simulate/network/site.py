"""One factory of a simulated network: its machines, its journal, and the lives of its control plane."""

from __future__ import annotations

import hashlib
import hmac
import random
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from tawtin.core.roam import free_nodes
from tawtin.model.events import PeerPut, TenantPut
from tawtin.model.resources import Node
from tawtin.model.roaming import Lends, Offer, Peer, PeerState, Terms
from tawtin.model.site import Site
from tawtin.model.tenant import Tenant
from tawtin.model.workload import Run, RunState
from tawtin.ports import JournalError
from tawtin.runtime.factory import Factory
from tawtin.runtime.hindsight import behind_mark
from tawtin.runtime.roaming import Roaming
from tawtin.runtime.roaming.lending import guest_tenant
from tawtin.runtime.rows import fetch
from tawtin.runtime.simulate.engine import EngineFaults, SimEngine
from tawtin.runtime.simulate.host import Host
from tawtin.runtime.simulate.network.clock import DriftingClock
from tawtin.runtime.simulate.plane import Plane
from tawtin.runtime.simulate.words import Crash, SimEntropy
from tawtin.store.memory import MemoryJournal

if TYPE_CHECKING:
    from collections.abc import Callable

    from tawtin.core.state import State
    from tawtin.model.roaming import Message
    from tawtin.ports import Batch, Head
    from tawtin.runtime.factory import Effects
    from tawtin.runtime.simulate.network.clock import Time
    from tawtin.runtime.simulate.network.post import Network

TENANT = "lab"
LEASE_MS = 20_000
ERROR_PPM = 100_000
"""Far worse than real clocks, so that a lease that forgets about them is seen."""


IDLE_MS = 60_000
"""A factory that has nothing to do looks around this often."""
AGAIN_MS = 30_000
"""One in which something waits, or does not obey, does it this often."""


class SimSigner:
    """Signatures that only their maker could have made, as long as nobody looks into its name."""

    def __init__(self, name: str) -> None:
        self.key = f"key of {name}"

    def sign(self, body: bytes) -> str:
        """The signature over `body`."""
        return hmac.new(self.key.encode(), body, hashlib.sha256).hexdigest()

    def verify(self, key: str, body: bytes, signature: str) -> bool:
        """Whether it is that of `key`."""
        return hmac.new(key.encode(), body, hashlib.sha256).hexdigest() == signature


class NetPlane(Plane):
    """A life of the control plane that also speaks with peers."""

    site_sim: SimSite
    engine: SimEngine

    def queue(self, effects: Effects) -> None:
        """Line up what the engine and the peers are told."""
        super().queue(effects)
        for run, until_ms in effects.extend:
            self.effects.append(lambda run=run, until_ms=until_ms: self.engine.extend(run, until_ms))
        for peer, message in effects.send:
            self.effects.append(lambda peer=peer, message=message: self.send(peer, message))

    def send(self, peer: str, message: Message) -> None:
        """Post a message."""
        self.site_sim.network.send(self.site.name, peer, message)


class SimSite:
    """A factory."""

    def __init__(
        self,
        name: str,
        country: str,
        time: Time,
        network: Network,
        seed: int,
        parts: dict[str, Any],
    ) -> None:
        self.name = name
        self.random = random.Random(seed)  # noqa: S311 - anyone can repeat it
        self.time = time
        self.network = network
        self.parts = parts
        self.clock = DriftingClock(
            time, self.random.randrange(-ERROR_PPM, ERROR_PPM + 1), self.random.randrange(-2_000, 2_000)
        )
        self.site = Site(
            name=name,
            country=country,
            minor_per_gpu_hour={"*": 36_000},
            minor_per_cpu_hour=3_600,
            backoff_ms=500,
            backoff_ms_max=2_000,
            roam_after_ms=1_000,
            run_guess_ms=20_000,
        )
        self.host = Host(self.clock, self._nodes())
        self.journal = MemoryJournal(before=self._before, after=self._after)
        self.entropy = SimEntropy(random.Random(seed + 1))  # noqa: S311 - the same
        self.signer = SimSigner(name)
        self.faults = EngineFaults()
        self.plane: NetPlane | None = None
        self.back_ms = 0
        self.pace = 1
        """How many times as long it takes until usage is recorded, and until the engine repeats itself."""
        self.wakes_ms = 0
        """Until then nothing is due, if nobody says anything; in true time."""
        self.looks_ms = 0
        """When it looks again at what waits and at who did not obey, in true time, whatever else wakes it."""
        self.waits = False
        """Whether something waited for room when it came to rest, so that what others have free matters to it."""
        self.lives = 0
        self.commit_percent = 0
        self.fate = ""
        self.on_batch: list[Callable[[SimSite, Batch], None]] = []
        self.marked: Head | None = None
        """The mark beside the journal, which is not put back with it."""
        self.put_backs = 0
        self._offer: Offer | None = None
        self._offered: tuple[State, int] | None = None
        """The state that the offer was made of, and its next entry then: only an entry changes what is free."""

    def _nodes(self) -> list[Node]:
        draw = self.random
        return [
            Node(
                name=f"{self.name}-{number}",
                gpu_model="H100",
                gpus=draw.choice((1, 2, 4)),
                cpus_milli=32_000,
                memory_mib=65_536,
                disk_mib=10_000,
            )
            for number in range(draw.choice((1, 1, 2)))
        ]

    # --- the control plane's lives --------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin a life."""
        self.lives += 1
        engine = self.parts.get("engine", SimEngine)(self.host, self.random, self.faults)
        engine.repeat_ms *= self.pace
        kind = type("Plane", (self.parts.get("plane", NetPlane),), {"site_sim": self})
        self.plane = kind(
            make=self._make,
            site=self.site,
            journal=self.journal,
            engine=engine,
            clock=self.clock,
            entropy=self.entropy,
        )

    def _make(self, *given: Any, **more: Any) -> Factory:  # noqa: ANN401 - the parts of a Factory
        factory = self.parts.get("factory", Factory)(*given, **more)
        factory.meter_ms *= self.pace
        engine = self.parts.get("engine", SimEngine)(self.host, random.Random(0), self.faults)  # noqa: S311 - asked only
        roaming = self.parts.get("roaming", Roaming)(
            factory, self.signer, self.entropy, fuse_stop_ms=0, started=engine.started
        )
        factory.roaming = roaming
        behind = behind_mark(self.journal, self.marked)
        if behind:
            roaming.recalling.begin("mark", behind)
        return factory

    def put_back(self, older: MemoryJournal, down_ms: int) -> None:
        """The store is put back from a backup; machines and mark stay as they are."""
        self.put_backs += 1
        self.journal = older.backup()
        self.crash(down_ms)

    def crash(self, down_ms: int) -> None:
        """End a life at once."""
        self.plane = None
        self.wakes_ms = self.looks_ms = 0
        self.back_ms = self.clock.true_ms + down_ms
        self.journal = self.journal.survivor()
        self.journal.before, self.journal.after = self._before, self._after

    def _before(self, batch: Batch) -> None:
        self.fate = ""
        if self.commit_percent and self.random.randrange(100) < self.commit_percent:
            self.fate = self.random.choice(("fails", "fails after", "dies", "dies after"))
        if self.fate == "fails":
            raise JournalError("the disk does not answer")
        if self.fate == "dies":
            raise Crash

    def _after(self, batch: Batch) -> None:
        if not self.fate.endswith("after"):
            self.marked = self.journal.head()
        for watcher in self.on_batch:
            watcher(self, batch)
        if self.fate == "fails after":
            raise JournalError("the answer to the commit was lost")
        if self.fate == "dies after":
            raise Crash

    # --- setting up ---------------------------------------------------------------------------------------------

    def peer(self) -> Peer:
        """How others know it."""
        terms = Terms(
            lease_ms=LEASE_MS,
            ttl_ms=LEASE_MS // 4,
            stop_ms=0,
            renew_ms=5_000,
            home_ppm=ERROR_PPM,
            visited_ppm=ERROR_PPM,
        )
        return Peer(
            name=self.name,
            key=self.signer.key,
            state=PeerState.ACTIVE,
            country=self.site.country,
            currency=self.site.currency,
            terms=terms,
            lends=Lends(gpus={"*": 1_000}, cpus_milli=1_000_000),
        )

    def found(self, others: list[SimSite]) -> None:
        """Make the tenant, and add the peers."""
        factory = self._alive().factory
        factory.stage(TenantPut(tenant=Tenant(id=TENANT, number=1)))
        for number, other in enumerate(others, 2):
            peer = other.peer()
            tenant = guest_tenant(peer)
            factory.stage(PeerPut(peer=peer), TenantPut(tenant=replace(tenant, number=number)))

    def offer(self) -> Offer | None:
        """What it says that it has, if it is up."""
        plane = self.plane
        if plane is None:
            return None
        state = plane.factory.state
        if self._offer is None or self._offered != (state, state.seq):
            self._offered = (state, state.seq)
            self._offer = Offer(
                factory=self.name,
                country=self.site.country,
                seq=0,
                made_ms=0,
                free=free_nodes(state),
                currency=self.site.currency,
                minor_per_gpu_hour=self.site.minor_per_gpu_hour,
                minor_per_cpu_hour=self.site.minor_per_cpu_hour,
            )
        return self._offer

    def _alive(self) -> NetPlane:
        if self.plane is None:
            msg = f"{self.name} is down"
            raise LookupError(msg)
        return self.plane

    # --- when it has something to do ------------------------------------------------------------------------------

    def rest(self) -> None:
        """Note when something is due, now that all that there was to do is done."""
        plane = self.plane
        self.wakes_ms = 0
        if plane is None or not plane.quiet or plane.factory.moved or plane.effects:
            return
        factory = plane.factory
        due_ms, news_ms = factory.next_due_ms(), plane.engine.next_ms()
        self.waits = len(factory.state.workloads) > len(factory.state.runs)
        if self.looks_ms <= self.time.ms:
            idle = not self.waits and not any(map(_is_late, factory.state.runs.values()))
            self.looks_ms = self.time.ms + (IDLE_MS if idle else AGAIN_MS)
        elif self.waits:
            self.looks_ms = min(self.looks_ms, self.time.ms + AGAIN_MS)
        if due_ms is not None and self.waits:
            self.looks_ms = min(self.looks_ms, self.clock.true_at(due_ms))
        times = [self.looks_ms, None if due_ms is None else self.clock.true_at(due_ms), news_ms]
        self.wakes_ms = min(each for each in times if each is not None)

    def is_awake(self) -> bool:
        """Whether something may be due."""
        return self.wakes_ms <= self.time.ms or bool(self.host.changed)

    # --- messages -----------------------------------------------------------------------------------------------

    def hear(self, sender: str, message: Message) -> bool:
        """Take in a message; False if it has to come again, as what it needs is not durable yet."""
        plane = self.plane
        self.wakes_ms = 0
        if plane is None or plane.factory.roaming is None:
            return True
        roaming = plane.factory.roaming
        needs = roaming.needs(sender, message)
        if needs and not plane.quiet:
            return False
        roaming.hear(sender, message, fetch(self.journal, needs))
        return True

    def due(self) -> None:
        """Let timers fire."""
        if self.plane is not None and self.plane.factory.roaming is not None:
            self.plane.factory.roaming.due()


def _is_late(run: Run) -> bool:
    """Whether it has not done yet what it was told, so that it may have to be told again."""
    return run.stop is not None or run.state is RunState.PLACED
