"""A factory in real time: one event loop that decides, one thread that commits, one thread that talks to the engine.

Whatever is staged while a transaction is on its way to disk goes into the next one, so that many callers share a
commit. A pass of `decide` runs just before a transaction is taken: what was submitted and where it goes become durable
together. Nobody is answered, and no engine is told anything, before that.
"""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from tawtin.model.base import Record
from tawtin.ports import DOOR_TOKEN, JournalError, Query
from tawtin.runtime.doors import Doors
from tawtin.runtime.errors import Full, ServiceError, Unavailable
from tawtin.runtime.factory import Factory
from tawtin.runtime.neighbours import incarnation_of
from tawtin.runtime.rows import decode, idempotency_time, load

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tawtin.core.residency import Judge
    from tawtin.core.state import State
    from tawtin.model.health import BurnIn
    from tawtin.model.idempotency import Remembered
    from tawtin.model.site import Site
    from tawtin.ports import Batch, Clock, Engine, Entropy, Journal, Report
    from tawtin.runtime.factory import Effects, Step
    from tawtin.runtime.hindsight import Hindsight
    from tawtin.runtime.neighbours import Neighbours

log = logging.getLogger("tawtin.live")
T = TypeVar("T")
PURGE_EVERY_MS: Final = 3_600_000
PEER_TICK_S: Final = 0.1
"""How often it is looked for what is due between peers. To sleep until something is said to be due was tried: an idle
factory with a peer used 0.7 % of a processor instead of 0.8 %, and work was there no sooner."""


class LiveSettings(Record, frozen=True, kw_only=True):
    """How a live factory paces itself."""

    pass_share: int = 10
    """Of the time of the event loop, at most one part in so many goes to passes of `decide`."""
    pass_gap_ms_max: int = 1_000
    """A waiting workload is looked at again at least this often."""
    nodes_every_ms: int = 5_000
    """How often engines are asked for their nodes."""
    ensure_again_ms: int = 10_000
    """A run that has not started is ensured again after this time."""
    meter_ms: int = 60_000
    """How often the usage of a running run is recorded."""
    retry_ms: int = 1_000
    """Pause before the journal is tried again after it failed."""
    idempotency_ms: int = 86_400_000
    """How long an idempotency key is remembered."""


class Stats(msgspec.Struct, kw_only=True):
    """Counters since the start; read by metrics."""

    commits: int = 0
    commit_failures: int = 0
    entries: int = 0
    commit_us_last: int = 0
    batch_last: int = 0
    passes: int = 0
    pass_us_last: int = 0
    pass_us_total: int = 0
    submitted: int = 0
    refused: int = 0
    started: int = 0
    ended: dict[str, int] = {}
    """Ended runs by cause."""


class Live:
    """Drives a Factory; commands are in `service`."""

    def __init__(  # noqa: PLR0913 - what a factory consists of
        self,
        *,
        site: Site,
        journal: Journal,
        engine: Engine,
        clock: Clock,
        entropy: Entropy,
        settings: LiveSettings | None = None,
        judge: Judge | None = None,
        neighbours: Neighbours | None = None,
        hindsight: Hindsight | None = None,
        burn_in: BurnIn | None = None,
        door_secret: bytes = b"",
    ) -> None:
        """Wire the parts; nothing happens before `start`."""
        self.burn_in = burn_in
        self.doors = Doors(door_secret)
        self.hindsight = hindsight
        self.site = site
        self.judge = judge
        self.neighbours = neighbours
        self.journal = journal
        self.engine = engine
        self.clock = clock
        self.entropy = entropy
        self.settings = settings or LiveSettings()
        self.stats = Stats()
        self.factory: Factory
        self._dirty = asyncio.Event()
        self._pending: asyncio.Future[None] | None = None
        self._inflight: asyncio.Future[None] | None = None
        self._failed: ServiceError | None = None
        self._unconfirmed: list[Report] = []
        self._next_pass_us = 0
        self._watchers: dict[str, list[asyncio.Future[None]]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._commit_thread = ThreadPoolExecutor(1, "tawtin-commit")
        self._engine_thread = ThreadPoolExecutor(1, "tawtin-engine")
        self._closing = False
        self.recent = Recent()

    @property
    def state(self) -> State:
        """The present state, of which the newest part may not be durable yet."""
        return self.factory.state

    # --- start and stop -----------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the engine, which knows whether runs are kept apart; read the journal; adopt what runs; then decide."""
        loop = asyncio.get_running_loop()

        def wake() -> None:
            if not self._closing:
                loop.call_soon_threadsafe(self._dirty.set)

        await loop.run_in_executor(self._engine_thread, self.engine.open, wake)
        try:
            self.site = msgspec.structs.replace(self.site, isolated=self.engine.isolated())
            await self._load()
            await self._look_back()
            await self._see_nodes()
        except BaseException:
            self._closing = True
            await loop.run_in_executor(self._engine_thread, self.engine.close)
            raise
        self.factory.resume()
        self._dirty.set()
        self._tasks = [
            asyncio.create_task(self._commit_forever()),
            asyncio.create_task(self._watch_forever()),
        ]
        if self.neighbours is not None:
            self._tasks.append(asyncio.create_task(self.neighbours.run()))
            self._tasks.append(asyncio.create_task(self._time_forever()))
            tidying = self.neighbours.tidying
            if tidying is not None:
                self._tasks.append(asyncio.create_task(tidying.run(lambda: self.factory, self.durable)))
        self.spawn(self._fill_recent())

    async def _fill_recent(self) -> None:
        query = Query(kind="idempotency", limit=Recent.MOST)
        bodies = await self.in_thread(self.journal.list, query)
        remembered: list[Remembered] = [decode("idempotency", body) for body in bodies]
        self.recent.fill([f"{each.tenant}/{each.key}" for each in remembered])

    async def _load(self) -> None:
        loop = asyncio.get_running_loop()
        state = await loop.run_in_executor(self._commit_thread, load, self.journal, self.site, self.judge)
        self.factory = Factory(
            self.site, state, self.clock, meter_ms=self.settings.meter_ms, burn_in=self.burn_in
        )
        if self.neighbours is not None:
            first = await loop.run_in_executor(self._commit_thread, self.journal.events, 0, 1)
            self.neighbours.attach(self.factory, incarnation_of(first))

    async def _look_back(self) -> None:
        """See whether the journal was put back from a backup, before anything follows from what it says."""
        roaming = self.factory.roaming
        if roaming is None or self.hindsight is None:
            return
        loop = asyncio.get_running_loop()
        why = await loop.run_in_executor(self._commit_thread, self.hindsight.look, self.journal, self.engine)
        if why is not None:
            roaming.recalling.begin(*why)

    def _store(self, batch: Batch) -> None:
        """Make a batch durable, then move the mark. Runs in the commit thread."""
        head = self.journal.commit(batch)
        if self.hindsight is not None:
            self.hindsight.mark.write(head)

    def _sync_mark(self) -> None:
        if self.hindsight is not None:
            self.hindsight.mark.sync()

    async def stop(self) -> None:
        """Make durable what is staged, then let go of engine and journal. Runs go on."""
        await self.settle()
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self.neighbours is not None:
            await self.neighbours.close()
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.cancel()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._engine_thread, self.engine.close)
        await loop.run_in_executor(self._commit_thread, self.journal.close)
        await loop.run_in_executor(self._commit_thread, self._sync_mark)
        self._engine_thread.shutdown()
        self._commit_thread.shutdown()

    # --- durability ---------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise if nothing new can be accepted at the moment."""
        if self._failed is not None:
            raise self._failed

    async def durable(self) -> None:
        """Return when everything staged so far is on disk. Raises ServiceError if it did not get there."""
        self._dirty.set()
        await asyncio.shield(self._pending_cycle())

    async def settle(self) -> None:
        """Return when what a reader could see now is on disk, or was taken back."""
        cycle = self._pending_cycle() if self.factory.staged else self._inflight
        if cycle is not None:
            self._dirty.set()
            await asyncio.wait([asyncio.ensure_future(_quiet(cycle))])

    def _pending_cycle(self) -> asyncio.Future[None]:
        if self._pending is None:
            self._pending = asyncio.get_running_loop().create_future()
            self._pending.add_done_callback(_seen)
        return self._pending

    async def in_thread(self, call: Callable[..., T], *args: object) -> T:
        """Run a blocking read off the event loop."""
        return await asyncio.get_running_loop().run_in_executor(None, call, *args)

    # --- the loop -----------------------------------------------------------------------------------------------

    async def _commit_forever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            try:
                self._hear()
                self._pass(loop)
                step = self.factory.take()
            except Exception:
                log.exception("a pass failed; what was staged is taken back and read again from the journal")
                await self._take_back(Unavailable("the factory failed to decide and started over; try again"))
                await asyncio.sleep(self.settings.retry_ms / 1000)
                self._dirty.set()
                continue
            if step is None:
                self._unconfirmed.clear()
            else:
                await self._commit(loop, step)

    def _hear(self) -> None:
        news = self.engine.reports()
        self._unconfirmed.extend(news)
        for report in news:
            self.factory.report(report)

    def _pass(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self.factory.moved:
            return
        now_us = int(loop.time() * 1_000_000)
        wait_us = self._next_pass_us - now_us
        if wait_us > 0:
            loop.call_later(wait_us / 1_000_000, self._dirty.set)
            return
        self.factory.tick()
        done_us = int(loop.time() * 1_000_000)
        self.stats.passes += 1
        self.stats.pass_us_last = done_us - now_us
        self.stats.pass_us_total += done_us - now_us
        self._next_pass_us = done_us + (done_us - now_us) * (self.settings.pass_share - 1)

    async def _commit(self, loop: asyncio.AbstractEventLoop, step: Step) -> None:
        cycle, self._pending = self._pending_cycle(), None
        self._inflight = cycle
        heard = len(self._unconfirmed)
        begun = loop.time()
        try:
            if step.batch.entries or step.batch.rows:
                await loop.run_in_executor(self._commit_thread, self._store, step.batch)
        except Exception as error:  # noqa: BLE001 - whatever it was, nobody knows what of the transaction is stored
            await self._journal_failed(error)
            return
        self._inflight = None
        self._failed = None
        del self._unconfirmed[:heard]
        self.stats.commits += 1
        self.stats.entries += len(step.batch.entries)
        self.stats.batch_last = len(step.batch.entries)
        self.stats.commit_us_last = int((loop.time() - begun) * 1_000_000)
        if not cycle.done():
            cycle.set_result(None)
        effects = step.effects
        if self.neighbours is not None and self.neighbours.freight is not None:
            effects = msgspec.structs.replace(effects, ensure=self.neighbours.freight.hold(effects.ensure))
        loop.run_in_executor(self._engine_thread, self._tell, effects)
        if self.neighbours is not None:
            self.neighbours.post(effects.send)
        self._publish(step.subjects)

    async def _journal_failed(self, error: Exception) -> None:
        self.stats.commit_failures += 1
        log.error("the journal did not take a transaction: %s", error)
        kind: ServiceError = (
            Full(f"the factory's storage is full ({error}): nothing new is accepted until there is space")
            if isinstance(error, JournalError) and error.full
            else Unavailable(f"the factory's journal failed ({error}): try again")
        )
        await self._take_back(kind)
        self._failed = kind
        await asyncio.sleep(self.settings.retry_ms / 1000)
        self._failed = None
        self._dirty.set()

    async def _take_back(self, error: ServiceError) -> None:
        """Forget what is not durable: read the state again, and hear again what the engine said since.

        Nobody who waits is woken before the state is read again, so that nobody looks at what was taken back.
        """
        self._failed = error
        while True:
            try:
                await self._load()
                break
            except Exception:
                log.exception("the journal cannot be read; it is tried again")
                await asyncio.sleep(self.settings.retry_ms / 1000)
        cycles = (self._inflight, self._pending)
        self._inflight = self._pending = None
        for cycle in cycles:
            if cycle is not None and not cycle.done():
                cycle.set_exception(error)
        self._failed = None
        self.factory.resume()
        heard, self._unconfirmed = self._unconfirmed, []
        for report in heard:
            try:
                self.factory.report(report)
            except Exception:
                log.exception("what the engine said of run %s cannot be taken in; it is left out", report.run)
            else:
                self._unconfirmed.append(report)

    def _tell(self, effects: Effects) -> None:
        """Runs in the engine thread: carry out what is durable now."""
        for order in effects.ensure:
            try:
                secrets = self.journal.secrets(order.workload) if order.spec.secrets else {}
                if order.spec.workspace is not None:
                    secrets = {**secrets, DOOR_TOKEN: self.doors.token(order.workload)}
                self.engine.ensure(msgspec.structs.replace(order, secrets=secrets) if secrets else order)
            except Exception:
                log.exception("run %s could not be handed to the engine; it is tried again", order.run)
        for stop in effects.stop:
            try:
                self.engine.stop(stop.run, stop.cause, stop.grace_ms)
            except Exception:
                log.exception("run %s could not be stopped; it is tried again", stop.run)
        for run, until_ms in effects.extend:
            self.engine.extend(run, until_ms)
        for run in effects.forget:
            try:
                self.engine.forget(run)
            except Exception:
                log.exception("run %s could not be forgotten; it is reported again after the next start", run)

    async def _watch_forever(self) -> None:
        """Every so often: look at the nodes, at workloads whose pause is over, and at runs that never started."""
        nodes_due_ms = purge_due_ms = 0
        while True:
            await asyncio.sleep(self.settings.pass_gap_ms_max / 1000)
            now = self.clock.monotonic_ms()
            if now >= nodes_due_ms:
                nodes_due_ms = now + self.settings.nodes_every_ms
                await self._see_nodes()
                await asyncio.get_running_loop().run_in_executor(self._commit_thread, self._sync_mark)
            if now >= purge_due_ms:
                purge_due_ms = now + PURGE_EVERY_MS
                await self._purge()
            self.factory.again(self.factory.now_ms() - self.settings.ensure_again_ms)
            if len(self.state.workloads) > len(self.state.runs):
                self.factory.moved = True
            self._dirty.set()

    async def _time_forever(self) -> None:
        """Let what is due between peers happen."""
        while True:
            await asyncio.sleep(PEER_TICK_S)
            if self.factory.roaming is not None:
                self.factory.roaming.due()
                if self.factory.staged or self.factory.roaming.talks:
                    self._dirty.set()

    async def _purge(self) -> None:
        before = idempotency_time(self.factory.now_ms() - self.settings.idempotency_ms)
        loop = asyncio.get_running_loop()
        try:
            gone = await loop.run_in_executor(self._commit_thread, self.journal.purge_idempotency, before)
        except JournalError as error:
            log.warning("old idempotency keys stay for now: %s", error)
        else:
            log.debug("%d old idempotency keys were purged", gone)

    async def _see_nodes(self) -> None:
        loop = asyncio.get_running_loop()
        nodes = await loop.run_in_executor(self._engine_thread, self.engine.nodes)
        self.factory.see_nodes(nodes)

    # --- watching -----------------------------------------------------------------------------------------------

    def _publish(self, subjects: tuple[str, ...]) -> None:
        for subject in (*subjects, "*") if subjects else ():
            for watcher in self._watchers.pop(subject, ()):
                if not watcher.done():
                    watcher.set_result(None)

    async def changed(self, subject: str, timeout_ms: int) -> bool:
        """Wait until something durable happened to this workload (`*`: to any); False at the time-out."""
        watcher: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watchers.setdefault(subject, []).append(watcher)
        try:
            async with asyncio.timeout(timeout_ms / 1000):  # `wait_for` can lose a cancel that meets the news
                await watcher
        except TimeoutError:
            watchers = self._watchers.get(subject, [])
            if watcher in watchers:
                watchers.remove(watcher)
            if not watchers:
                self._watchers.pop(subject, None)
            return False
        return True

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Keep a background task until `stop`."""
        self._tasks.append(asyncio.create_task(work))


class Recent:
    """Which idempotency keys were certainly not seen: spares a look into the journal for each new one."""

    MOST = 1_000_000
    """Past so many keys, every key is looked up."""

    def __init__(self) -> None:
        """Start without certainty."""
        self._seen: set[int] = set()
        self._whole = False

    def fill(self, keys: list[str]) -> None:
        """Say which keys the journal holds; before that, nothing is certain."""
        self._seen.update(hash(key) for key in keys)
        self._whole = len(self._seen) < self.MOST

    def is_new(self, key: str) -> bool:
        """Whether this key was never seen before; from now on it was."""
        known = hash(key) in self._seen
        if len(self._seen) >= self.MOST:
            self._whole = False
        else:
            self._seen.add(hash(key))
        return self._whole and not known


async def _quiet(cycle: asyncio.Future[None]) -> None:
    try:
        await asyncio.shield(cycle)
    except ServiceError:
        return


def _seen(cycle: asyncio.Future[None]) -> None:
    """Mark the outcome as looked at: there may be nobody who waits for it."""
    if not cycle.cancelled():
        cycle.exception()
