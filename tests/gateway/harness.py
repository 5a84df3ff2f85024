"""A gateway with its real processes, for tenants and replicas as a test wants them, without a factory around it."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Coroutine, Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from msgspec.structs import replace

from tawtin.core.fold import fold
from tawtin.core.keep import keep
from tawtin.core.residency import Judge
from tawtin.core.state import State
from tawtin.gateway.settings import GatewaySettings, Limits, ModelSettings, ReplicaSettings, TenantSettings
from tawtin.gateway.snapshot import MayStart, Model, Ready, models_of
from tawtin.gateway.supervise import Gateway
from tawtin.model.events import Entry, TokensCharged
from tawtin.model.gateway import Charge
from tawtin.model.rules import Facts
from tawtin.model.site import Site
from tawtin.model.tenant import Scope, Tenant
from tawtin.rules.load import load_packs
from tawtin.runtime.actor import new_key
from tawtin.runtime.system import SystemEntropy
from tests.web.raw import Got, request

T = TypeVar("T")
SITE = Site(name="casa", country="MA", facts=Facts(law="MA", control_plane="MA", keys="MA"))
SETTINGS = GatewaySettings(
    port=0, workers=1, snapshot_ms=100, stale_ms=60_000, class_default="public", stop_seconds_max=2
)
CHAT = {"messages": [{"role": "user", "content": "salam"}]}


def judge() -> Judge:
    found = load_packs(None)
    return Judge(found.packs, found.broken)


class Running:
    """A gateway that runs, as tests see it."""

    def __init__(self, gateway: Gateway, state: State, loop: asyncio.AbstractEventLoop) -> None:
        self.gateway = gateway
        self.state = state
        self.loop = loop
        self.url = gateway.url.removesuffix("/v1")

    def key(self, tenant: str = "lab", scope: Scope = Scope.SUBMIT, **more: Any) -> str:  # noqa: ANN401 - fields
        """A new key, known to workers when this returns; its tenant is made if there is none."""
        if tenant not in self.state.tenants:
            keep(self.state, Tenant(id=tenant, **more))
        kept, shown = new_key(
            tenant=tenant,
            name="",
            scope=scope,
            now_ms=time.time_ns() // 1_000_000,
            expires_ms=None,
            entropy=SystemEntropy(),
        )
        keep(self.state, kept)
        if scope not in {Scope.READ, Scope.AUDIT}:
            self.until(lambda: self._all_know(shown.secret), "the key")
        return shown.secret

    def _all_know(self, secret: str) -> bool:
        """Whether every worker takes a key: each connection is given to any of them, so that many have to be tried."""
        workers = self.gateway.settings.workers
        tries = 1 if workers == 1 else 8 * workers
        return all(request(self.url, "GET", "/v1/models", key=secret).status == 200 for _ in range(tries))

    def put(self, tenant: Tenant) -> None:
        """Change a tenant."""
        old = self.state.tenants.get(tenant.id)
        keep(self.state, replace(tenant, version=old.version + 1 if old else 1))

    def ask(self, key: str, model: str, path: str = "/v1/chat/completions", **more: Any) -> Got:  # noqa: ANN401
        headers = more.pop("headers", None)
        body = {"model": model, **CHAT, **more}
        return request(self.url, "POST", path, key=key, body=body, headers=headers)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def rows(self) -> list[dict[str, Any]]:
        """The ledger's rows, oldest first."""
        path = self.gateway.folder / "ledger.db"
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute("SELECT * FROM requests ORDER BY reserved_ms, receipt")]

    def row(self, receipt: str) -> dict[str, Any]:
        """The row of a request, once it is settled."""

        def found() -> dict[str, Any]:
            return next((each for each in self.rows() if each["receipt"] == receipt), dict[str, Any]())

        self.until(lambda: found().get("settled_ms") is not None, f"the settlement of {receipt}")
        return found()

    def settled(self) -> list[dict[str, Any]]:
        """All rows, once all are settled."""
        self.until(lambda: all(each["settled_ms"] is not None for each in self.rows()), "settlements")
        return self.rows()

    def pids(self, role: str) -> list[int]:
        running = self.gateway._running  # pyright: ignore[reportPrivateUsage]
        return [process.pid for name, process in sorted(running.items()) if name.startswith(role)]

    @staticmethod
    def until(holds: Callable[[], bool], what: str = "it") -> None:
        """Wait until something holds, at most a minute."""
        ended = threading.Event()
        for _ in range(3_000):
            try:
                if holds():
                    return
            except (OSError, sqlite3.Error):
                pass
            ended.wait(0.02)
        raise AssertionError(f"{what} did not come to be")


def error_of(got: Got) -> tuple[int, str]:
    """Status and code of an error, after a look at its shape."""
    error = json.loads(got.body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    return got.status, error["code"]


def served(*replicas: ReplicaSettings, **more: Any) -> ModelSettings:  # noqa: ANN401 - fields
    fields: dict[str, Any] = {
        "context_tokens_max": 1_000,
        "input_minor_per_million": 1_000_000,
        "output_minor_per_million": 2_000_000,
        **more,
    }
    return ModelSettings(replicas=replicas, **fields)


@contextmanager
def running(
    folder: Path,
    models: dict[str, ModelSettings],
    *,
    limits: Limits | None = None,
    site: Site = SITE,
    tenants: tuple[Tenant, ...] = (),
    for_tenants: dict[str, TenantSettings] | None = None,
    ready: Ready = lambda _tenant, _name: (),
    may_start: MayStart = lambda _tenant, _name: False,
    known: State | None = None,
    **settings: Any,  # noqa: ANN401 - fields
) -> Generator[Running]:
    """A gateway for the time of the block; what it charges is folded into the state, `known` or a new one."""
    state = known or State(site)
    state.tenants.update({each.id: each for each in tenants})
    wanted = replace(
        SETTINGS, limits=limits or SETTINGS.limits, tenants=for_tenants or SETTINGS.tenants, **settings
    )
    loop = asyncio.new_event_loop()

    def catalogue() -> dict[str, Model]:
        return models_of(models, site, ready, may_start=may_start)

    async def charge(what: Charge, instead_of: str) -> bool:
        fold(state, Entry(seq=state.seq, at_ms=0, event=TokensCharged(charge=what, instead_of=instead_of)))
        return True

    gateway = Gateway(folder / "gateway", wanted, catalogue, judge(), lambda: state, charge=charge)
    thread = threading.Thread(target=loop.run_forever, name="gateway")
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(gateway.start(), loop).result(30)
        one = Running(gateway, state, loop)
        one.until(lambda: request(one.url, "GET", "/healthz").status == 200, "the gateway")
        yield one
    finally:
        asyncio.run_coroutine_threadsafe(gateway.stop(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()
