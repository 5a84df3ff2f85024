"""Lets the number of a service's replicas follow its load, where its spec says so.

Every so often the gateway is asked for the load of each service, `core.scale` says how many replicas that needs, and
what follows is staged as a person's wish would be. Those that are to go get no more requests at first, and are stopped
when they have none left. The last one of a service that may have none is not cancelled but rests, so that name, spec
and secrets stay. What was observed is kept in memory alone: after a start nothing gets fewer before a whole delay.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tawtin.core.admit import replicas_of
from tawtin.core.scale import KEPT_MS, Observation, Pending, advise
from tawtin.core.services import awake, current
from tawtin.model.events import StopOrdered
from tawtin.model.reasons import Cause
from tawtin.model.services import Readiness
from tawtin.model.workload import RunState
from tawtin.runtime.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tawtin.model.services import Load
    from tawtin.model.workload import Scaling, Workload
    from tawtin.runtime.readiness import ServingSettings
    from tawtin.runtime.services import Services

log = logging.getLogger("tawtin.services")
REFUSED_MS: Final = 60_000
"""After a refusal, so long nothing further is asked for."""


@dataclass(kw_only=True)
class _Known:
    """What was seen of one service."""

    policy: Scaling
    history: deque[Observation] = field(default_factory=deque[Observation])
    pending: Pending = field(default_factory=Pending)
    why: str = ""
    starts: dict[str, int] = field(default_factory=dict[str, int])
    """Run that was seen before it was ready -> when it was placed."""
    start_ms: int = 0
    refused: str = ""
    not_before_ms: int = 0
    """By the monotonic clock, when more may be asked for again after a refusal."""


class Autoscale:
    """Looks at services that follow their load."""

    def __init__(self, live: Services, settings: ServingSettings) -> None:
        """Know of nothing yet."""
        self._live = live
        self._settings = settings
        self._known: dict[tuple[str, str], _Known] = {}
        self._leaving: dict[str, int] = {}
        """Run that is to end once it has no requests -> since when, by the monotonic clock."""
        self._loads: dict[str, Load] = {}

    def why(self, tenant: str, name: str) -> str:
        """What was said last of a service; empty for one that nothing was said of."""
        known = self._known.get((tenant, name))
        return known.why if known is not None else ""

    async def run(self, loads: Callable[[], Awaitable[dict[str, Load] | None]]) -> None:
        """Look around until cancelled. `loads` gives those that are known, by `tenant/name`, or None for now."""
        while True:
            await asyncio.sleep(self._settings.scale_ms / 1000)
            try:
                if self._live.state.services:
                    await self.look(await loads())
            except Exception:
                log.exception("services could not be scaled; it is tried again")

    async def look(self, loads: dict[str, Load] | None) -> None:
        """Observe each service, and let follow what follows."""
        self._loads = loads or {}
        services = self._live.state.services
        for gone in [each for each in self._known if each not in services]:
            del self._known[gone]
        for service in sorted(services):
            members = replicas_of(self._live.state, *service)
            there = current(members)
            policy = there[0].spec.service.scaling if there and there[0].spec.service is not None else None
            if policy is None:
                self._known.pop(service, None)
                continue
            load = self._loads.get("/".join(service))
            known = self._known.get(service)
            if known is None or known.policy != policy:
                known = self._known[service] = _Known(policy=policy)
            if load is None:
                known.why = "its load is not known: no model of this factory names it, or the gateway is away"
                known.history.clear()
                known.pending = Pending()
                continue
            await self._follow(service, known, members, load)
        self._let_go()

    async def _follow(
        self, service: tuple[str, str], known: _Known, members: list[Workload], load: Load
    ) -> None:
        now = self._live.clock.monotonic_ms()
        have = len(awake(members))
        self._observe(known, members, load, now)
        if (
            len({each.service.revision for each in members if each.service is not None and not each.cancel})
            > 1
        ):
            known.why, known.pending = "an update is under way", Pending()
            return
        said = advise(known.policy, known.history, have, known.pending)
        known.pending = said.pending
        known.why = (
            f"{said.replicas} of {known.policy.replicas_min} to {known.policy.replicas_max}: {said.why}"
        )
        if said.replicas == have:
            return
        if said.replicas > have and now < known.not_before_ms:
            known.why = f"{known.why}; refused: {known.refused}"
            return
        tenant, name = service
        log.info("service `%s` of `%s`: %d to %d replicas: %s", name, tenant, have, said.replicas, said.why)
        try:
            await self._live.rescale(tenant, name, said.replicas, said.why)
        except ServiceError as error:
            known.not_before_ms = now + REFUSED_MS
            known.refused = str(error)
            known.why = f"{known.why}; refused: {error}"

    def _observe(self, known: _Known, members: list[Workload], load: Load, now: int) -> None:
        state, ready = self._live.state, self._live.watch.ready()
        for each in members:
            run = state.runs.get(state.run_of.get(each.id, ""))
            if run is None:
                continue
            if each.id not in ready:
                known.starts.setdefault(run.id, run.placed_ms)
            elif (placed_ms := known.starts.pop(run.id, None)) is not None:
                seen = self._live.watch.of(run.id)
                if seen is not None and seen.readiness is Readiness.READY and seen.young:
                    known.start_ms = max(1, seen.since_ms - placed_ms)
        known.starts = {run: since for run, since in known.starts.items() if run in state.runs}
        known.history.append(
            Observation(
                at_ms=now,
                in_flight=load.in_flight,
                arrived=load.arrived,
                tokens=load.tokens,
                waited_ms=load.waited_ms,
                began=load.began,
                ready=sum(each.id in ready for each in current(members)),
                start_ms=known.start_ms,
            )
        )
        while len(known.history) > 2 and known.history[1].at_ms <= now - KEPT_MS:
            known.history.popleft()

    def _let_go(self) -> None:
        """Stop what is to end, once it has no requests left or has had its time."""
        state, now = self._live.state, self._live.clock.monotonic_ms()
        leaving: dict[str, int] = {}
        for service in sorted(state.services):
            load = self._loads.get("/".join(service))
            for each in replicas_of(state, *service):
                run = state.runs.get(state.run_of.get(each.id, ""))
                if run is None or run.stop is not None or not (each.rests or each.cancel):
                    continue
                since = leaving[run.id] = self._leaving.get(run.id, now)
                busy = load is None or load.open.get(run.id, 0) > 0
                most = self._settings.leave_ms_max if busy else self._settings.leave_ms
                if now - since >= most or run.state is not RunState.STARTED:
                    cause = Cause.CANCELLED if each.cancel else Cause.RESTED
                    self._live.order(StopOrdered(run=run.id, cause=cause))
        self._leaving = leaving
