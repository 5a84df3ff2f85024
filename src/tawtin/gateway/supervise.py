"""The gateway as the control plane has it: starts its processes, starts them again, and tells them what is allowed.

They are children of the factory's process, and end with it: when it is told to stop, workers first let their requests
end, and the ledger ends last; when it is killed, the kernel tells them to do the same. What was recorded stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Final

import msgspec

from tawtin.core.meter import month_of
from tawtin.gateway.__main__ import SETTINGS
from tawtin.gateway.charging import Charging
from tawtin.gateway.ledger import messages
from tawtin.gateway.ledger.messages import (
    AskEndpoints,
    AskLoads,
    AskUsage,
    Endpoints,
    Frames,
    Loads,
    Used,
    frame,
)
from tawtin.gateway.loads import Sums
from tawtin.gateway.snapshot import FILE, make_snapshot, say_fresh, write_snapshot
from tawtin.gateway.worker.run import shared_socket
from tawtin.model.gateway import EndpointsView, ModelView, ReplicaView

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from pathlib import Path

    from tawtin.core.residency import Judge
    from tawtin.core.state import State
    from tawtin.gateway.charging import Charger
    from tawtin.gateway.ledger.messages import Question
    from tawtin.gateway.settings import GatewaySettings
    from tawtin.gateway.snapshot import Key, Model, Snapshot
    from tawtin.model.gateway import TokensUsed
    from tawtin.model.services import Load

log = logging.getLogger("tawtin.gateway")
_ANYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - is compared, not listened on
_AGAIN_S: Final = 0.2
_AGAIN_S_MAX: Final = 5.0
_WELL_S: Final = 10.0
"""A process that ran for so long is started again at once."""


class Gateway:
    """The processes, and what they are told."""

    def __init__(
        self,
        folder: Path,
        settings: GatewaySettings,
        models: Callable[[], dict[str, Model]],
        judge: Judge,
        state: Callable[[], State],
        passes: Callable[[], dict[str, Key]] = dict,
        charge: Charger | None = None,
    ) -> None:
        """Wire it; nothing happens before `start`.

        `models` gives the catalogue as it is now, `state` the present state, which is durable or soon will be, `passes`
        the keys of the jobs of batches that run. Without `charge`, what requests cost stays in the ledger.
        """
        self.charging = Charging(self._ask, state, charge) if charge is not None else None
        self.folder = folder
        self.settings = settings
        self.models = models
        self.judge = judge
        self.state = state
        self.passes = passes
        self.url = ""
        self._held: socket.socket | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._workers: list[asyncio.Task[None]] = []
        self._ledger: asyncio.Task[None] | None = None
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._stopping = False
        self._told: tuple[object, ...] = ()
        """What the last snapshot was made of."""
        self._seen: State | None = None
        self._counted: tuple[object, ...] = ()
        self._costs: tuple[int, ...] = ()
        self._sums = Sums()

    async def start(self) -> None:
        """Take the port, write the first snapshot, start the processes. Raises OSError if the port is taken."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Bound and not listening: it takes no connections, and keeps the port for the workers between two of them.
        self._held = shared_socket(self.settings.host, self.settings.port)
        named: tuple[str, int] = self._held.getsockname()[:2]
        host, port = named
        host = _ANYWHERE.get(host, host)
        self.url = f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"
        settings = msgspec.structs.replace(self.settings, port=port)
        (self.folder / SETTINGS).write_bytes(msgspec.json.encode(settings))
        (self.folder / FILE).unlink(missing_ok=True)
        until_ms = self._refresh(0)
        self._tasks = [asyncio.create_task(self._refresh_forever(until_ms))]
        if self.charging is not None:
            self._tasks.append(asyncio.create_task(self.charging.run(self.settings.charge_ms)))
        self._ledger = asyncio.create_task(self._keep("ledger", "ledger"))
        self._workers = [
            asyncio.create_task(self._keep(f"worker-{number}", "worker"))
            for number in range(self.settings.workers)
        ]

    async def stop(self) -> None:
        """End the workers, then the ledger."""
        self._stopping, end_s = True, self.settings.ledger_stop_seconds_max
        for task in self._tasks:
            task.cancel()
        for name, process in self._running.items():
            if name != "ledger":
                _signal(process, signal.SIGTERM)
        await self._ended(self._workers, self.settings.stop_seconds_max + end_s)
        if "ledger" in self._running:
            if self.charging is not None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(end_s):
                        await self.charging.try_once()
            _signal(self._running["ledger"], signal.SIGTERM)
        await self._ended([self._ledger] if self._ledger else [], end_s)
        if self._held is not None:
            self._held.close()

    async def _ended(self, tasks: list[asyncio.Task[None]], seconds: float) -> None:
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=seconds)
        if late:
            for process in self._running.values():
                _signal(process, signal.SIGKILL)
            await asyncio.wait(late)

    async def _keep(self, name: str, role: str) -> None:
        """Run a process, and again whenever it ended, until the gateway stops."""
        pause_s = _AGAIN_S
        words = [sys.executable, "-m", "tawtin.gateway", role, str(self.folder), str(os.getpid())]
        while not self._stopping:
            began = time.monotonic()
            process = await asyncio.create_subprocess_exec(*words, stdin=asyncio.subprocess.DEVNULL)
            self._running[name] = process
            if self._stopping:
                _signal(process, signal.SIGTERM)
            code = await process.wait()
            self._running.pop(name, None)
            if self._stopping:
                return
            pause_s = _AGAIN_S if time.monotonic() - began > _WELL_S else min(2 * pause_s, _AGAIN_S_MAX)
            log.error("the gateway's %s ended with %d; it is started again", name, code)
            await asyncio.sleep(pause_s)

    # --- what they are told ---------------------------------------------------------------------------------------

    async def _refresh_forever(self, until_ms: int) -> None:
        while True:
            await asyncio.sleep(self.settings.snapshot_ms / 1000)
            try:
                until_ms = self._refresh(until_ms)
            except Exception:
                # after `stale_ms` of this, workers refuse
                log.exception("the gateway's snapshot could not be made; it is tried again")

    def _refresh(self, until_ms: int) -> int:
        """Write a snapshot if another one is due, and say that it is fresh; return when the next one is due."""
        state, now_ms = self.state(), time.time_ns() // 1_000_000
        models, passes = self.models(), self.passes()
        budgets = self._budgets(state, month_of(now_ms))
        told = (models, passes, state.kept["tenant"], state.kept["key"], budgets)
        if now_ms >= until_ms or told != self._told or state is not self._seen:
            made: Snapshot = make_snapshot(state, self.judge, models, self.settings, now_ms, passes)
            write_snapshot(self.folder, made)
            self._told, self._seen = told, state
            until_ms = min(made.until_ms, now_ms + self.settings.judge_again_ms)
        say_fresh(self.folder)
        return until_ms

    def _budgets(self, state: State, month: str) -> tuple[int, ...]:
        """What runs cost this month, of each tenant with a budget; counted anew when an account has changed."""
        now = (state.kept["tenant"], state.kept["account"], month)
        if now != self._counted or state is not self._seen:
            budgeted = (
                id for id, each in state.tenants.items() if each.quota.budget_minor_per_month is not None
            )
            found = (state.accounts.get((id, month)) for id in budgeted)
            self._costs = tuple(each.cost_minor if each is not None else 0 for each in found)
            self._counted = now
        return self._costs

    # --- what they tell -------------------------------------------------------------------------------------------

    async def endpoints(self, *, replicas: bool) -> EndpointsView:
        """What is served; with `replicas`, also by what, and how that does."""
        workers: tuple[tuple[messages.ReplicaState, ...], ...] = ()
        if replicas:
            said = await self._ask(AskEndpoints())
            workers = said.workers if isinstance(said, Endpoints) else ()
        currency, models = self.state().site.currency, self.models()
        return EndpointsView(
            url=self.url,
            workers=sum(name != "ledger" for name in self._running),
            models=tuple(_model_view(each, currency) for each in models.values()),
            replicas=tuple(_replica_views(models, workers)) if replicas else (),
        )

    async def used(self, tenant: str, month: str) -> tuple[TokensUsed, ...]:
        """What was used: of a tenant or (empty) of all, in a month or (empty) ever. Raises OSError."""
        said = await self._ask(AskUsage(tenant=tenant, month=month))
        return said.rows if isinstance(said, Used) else ()

    async def loads(self) -> dict[str, Load]:
        """What is asked of each service, as `tenant/name`, since the control plane started. Raises OSError."""
        said = await self._ask(AskLoads())
        return self._sums.add(said.workers if isinstance(said, Loads) else {}, self.models())

    async def _ask(self, message: Question) -> messages.FromLedger:
        """Ask the ledger. Raises OSError."""
        async with asyncio.timeout(self.settings.ask_seconds_max):
            reader, writer = await asyncio.open_unix_connection(str(self.folder / messages.SOCKET))
            try:
                writer.write(frame(message))
                frames = Frames()
                while data := await reader.read(1 << 16):
                    for body in frames.feed(data):
                        return messages.from_ledger.decode(body)
            finally:
                writer.close()
        msg = "the ledger hung up"
        raise ConnectionResetError(msg)


def _signal(process: asyncio.subprocess.Process, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)


def _model_view(model: Model, currency: str) -> ModelView:
    return ModelView(
        name=model.name,
        licence=model.licence,
        origin=model.origin,
        languages=model.languages,
        context_tokens_max=model.context_tokens_max,
        currency=currency,
        input_minor_per_million=model.input_minor_per_million,
        output_minor_per_million=model.output_minor_per_million,
        countries=tuple(sorted({each.country for each in (*model.replicas, *model.asleep)})),
        providers=tuple(sorted({each.provider for each in model.replicas if each.provider})),
    )


def _replica_views(
    models: dict[str, Model], workers: tuple[tuple[messages.ReplicaState, ...], ...]
) -> list[ReplicaView]:
    found: list[ReplicaView] = []
    for model in models.values():
        for replica in model.replicas:
            told = [each for states in workers for each in states if each.id == replica.id]
            found.append(
                ReplicaView(
                    id=replica.id,
                    model=model.name,
                    url=replica.url,
                    country=replica.country,
                    provider=replica.provider,
                    priority=replica.priority,
                    open=sum(each.open for each in told),
                    requests=sum(each.requests for each in told),
                    failures=sum(each.failures for each in told),
                    hedges=sum(each.hedges for each in told),
                    shut=sum(each.shut for each in told),
                    workers=len(told),
                )
            )
    return found
