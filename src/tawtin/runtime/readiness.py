"""Which replicas are ready: each is asked every so often, and what follows from the answers is staged.

What was found out is of the moment, kept in memory alone: after a start every replica is asked again, at once. Two
things follow and are recorded, as a person's wish would be: a replica that is not ready for long is stopped, and those
that an update replaced are cancelled.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from tawtin.core.admit import replicas_of
from tawtin.core.services import replaced
from tawtin.model.base import Record
from tawtin.model.events import StopOrdered
from tawtin.model.reasons import Cause
from tawtin.model.services import Readiness
from tawtin.model.workload import RunState
from tawtin.runtime.doors import knock
from tawtin.runtime.probing import probe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tawtin.model.workload import Probe, Run, Workload
    from tawtin.runtime.services import Services

log = logging.getLogger("tawtin.services")
Positive = Annotated[int, msgspec.Meta(ge=1)]
LOOK_S: Final = 0.1
FIRST_LOOK_S: Final = 1.0
"""How long a start waits for the answers of what runs already."""


class ServingSettings(Record, frozen=True, kw_only=True):
    """`[services]`: how replicas of services are watched."""

    probe_ms: Positive = 5_000
    """How often a replica that is ready is asked whether it still is."""
    probe_unready_ms: Positive = 1_000
    """How often one that is not is asked."""
    unready_ms_max: Positive = 180_000
    """A replica that was ready and is not for so long is started again."""
    probes_max: Positive = 64
    """How many are asked at the same time."""
    scale_ms: Annotated[int, msgspec.Meta(ge=100)] = 1_000
    """How often the load of services that follow theirs is looked at."""
    leave_ms: Annotated[int, msgspec.Meta(ge=0)] = 5_000
    """A replica that the load needs no more gets no more requests, and is stopped after so long if it has none left."""
    leave_ms_max: Positive = 60_000
    """After so long it is stopped in any case."""


@dataclass(kw_only=True)
class Seen:
    """What is known of one run of a replica."""

    since_ms: int
    readiness: Readiness = Readiness.STARTING
    why: str = ""
    young: bool
    """Whether it was first seen while it was allowed to be not ready yet."""
    unready: int
    """By the monotonic clock, since when it is not ready."""
    due: int = 0
    """By the monotonic clock, when it is asked next."""
    asked: bool = False


class Watch:
    """Asks replicas, and says which are ready."""

    def __init__(
        self, live: Services, settings: ServingSettings, ask: Callable[[str, Probe], Awaitable[str]] = probe
    ) -> None:
        """Watch the replicas of `live`; `ask` probes one address."""
        self._live = live
        self._settings = settings
        self._ask = ask
        self._seen: dict[str, Seen] = {}
        self._asking: set[asyncio.Task[None]] = set()

    def of(self, run: str) -> Seen | None:
        """What is known of a run."""
        return self._seen.get(run)

    def ready(self) -> set[str]:
        """Workloads whose run is ready."""
        state = self._live.state
        return {
            workload
            for workload, run in state.run_of.items()
            if (seen := self._seen.get(run)) is not None and seen.readiness is Readiness.READY
        }

    async def first_look(self) -> None:
        """Ask all that runs already, and wait a moment for the answers."""
        self.look()
        if self._asking:
            await asyncio.wait(self._asking, timeout=FIRST_LOOK_S)

    async def run(self) -> None:
        """Look around until cancelled."""
        try:
            while True:
                await asyncio.sleep(LOOK_S)
                try:
                    self.look()
                except Exception:
                    log.exception("services could not be looked at; they are looked at again")
        finally:
            for task in self._asking:
                task.cancel()

    def look(self) -> None:
        """Ask whom it is time to ask, and let follow what follows."""
        running = {run.id: (run, workload) for run, workload in self._running()}
        for gone in [run for run in self._seen if run not in running]:
            del self._seen[gone]
        now = self._live.clock.monotonic_ms()
        for run, workload in running.values():
            seen = self._seen.get(run.id) or self._meet(run, workload, now)
            if seen.due <= now and not seen.asked and len(self._asking) < self._settings.probes_max:
                seen.asked = True
                task = asyncio.create_task(self._probe(run, workload, seen))
                self._asking.add(task)
                task.add_done_callback(self._asking.discard)
            self._restart_if_hopeless(run, workload, seen, now)
        self._roll()

    def _running(self) -> Iterator[tuple[Run, Workload]]:
        """Runs of replicas that have begun, have an address, and are not being stopped."""
        state = self._live.state
        for service in sorted(state.services):
            for workload in replicas_of(state, *service):
                run = state.runs.get(state.run_of.get(workload.id, ""))
                if run is not None and run.address and run.state is RunState.STARTED and run.stop is None:
                    yield run, workload

    def _meet(self, run: Run, workload: Workload, now: int) -> Seen:
        begun_ms = run.started_ms or run.placed_ms
        age_ms = self._live.factory.now_ms() - begun_ms
        young = age_ms < _delay_ms(workload)
        seen = self._seen[run.id] = Seen(
            since_ms=begun_ms, young=young, unready=now - max(0, age_ms) if young else now
        )
        return seen

    async def _probe(self, run: Run, workload: Workload, seen: Seen) -> None:
        service = workload.spec.service
        if service is None:
            return
        try:
            if workload.spec.workspace is not None:
                token = self._live.doors.token(workload.id)
                why = await knock(run.address, token, service.probe.timeout_ms)
            else:
                why = await self._ask(run.address, service.probe)
        finally:
            seen.asked = False
        now = self._live.clock.monotonic_ms()
        if why and seen.readiness is Readiness.READY:
            seen.unready = now
        found = Readiness.READY if not why else seen.readiness
        if why and found is Readiness.READY:
            found = Readiness.NOT_READY
        if found is not seen.readiness:
            log.info("replica %s of `%s` is %s %s", run.id, workload.spec.name, found.value, why)
            seen.readiness, seen.since_ms = found, self._live.factory.now_ms()
        seen.why = why
        settings = self._settings
        seen.due = now + (settings.probe_unready_ms if why else settings.probe_ms)

    def _restart_if_hopeless(self, run: Run, workload: Workload, seen: Seen, now: int) -> None:
        """Stop a run that was not ready for too long. It is tried again, as its service goes on."""
        if seen.readiness is Readiness.READY:
            return
        first = seen.readiness is Readiness.STARTING and seen.young
        limit_ms = _delay_ms(workload) if first else self._settings.unready_ms_max
        if now - seen.unready < limit_ms or not seen.why:
            return
        log.warning("replica %s of `%s` is started again: %s", run.id, workload.spec.name, seen.why)
        self._live.order(StopOrdered(run=run.id, cause=Cause.NOT_READY))

    def _roll(self) -> None:
        """Go on with updates: what is ready replaces what was before."""
        state, ready = self._live.state, None
        for service in sorted(state.services):
            replicas = replicas_of(state, *service)
            if len({each.service.revision for each in replicas if each.service is not None}) < 2:
                continue
            ready = self.ready() if ready is None else ready
            for each in replaced(replicas, ready):
                log.info("replica %s of `%s` is replaced and ends", each.id, each.spec.name)
                self._live.end(each)


def _delay_ms(workload: Workload) -> int:
    service = workload.spec.service
    return service.probe.initial_delay_ms if service is not None else 0
