"""Makes a running factory out of settings."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sqlite3
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tawtin.bootstrap.engines import make_engine, portless
from tawtin.core.residency import Judge
from tawtin.gateway.secret import open_secret
from tawtin.model.site import Site
from tawtin.model.tenant import Tenant
from tawtin.model.workload import WorkloadType
from tawtin.peering.identity import Identity, open_identity
from tawtin.peering.inbox import Inbox
from tawtin.peering.transport import HttpTransport
from tawtin.rules.load import load_packs
from tawtin.runtime.carriage import Carriage
from tawtin.runtime.freight import Freight
from tawtin.runtime.hindsight import Hindsight
from tawtin.runtime.neighbours import Neighbours
from tawtin.runtime.roaming import LIVING
from tawtin.runtime.service import Service
from tawtin.runtime.system import SystemClock, SystemEntropy
from tawtin.runtime.tidying import Tidying
from tawtin.store.artifacts import BlobArtifacts
from tawtin.store.guarded import GuardedBlobs
from tawtin.store.incoming import LocalIncoming
from tawtin.store.mark import FILE, MarkFile
from tawtin.store.open import open_blobs, open_journal
from tawtin.web.app import create_app
from tawtin.web.door import Door
from tawtin.web.serve import listen_unix, serve, serving

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from tawtin.bootstrap.settings import Settings
    from tawtin.gateway.supervise import Gateway
    from tawtin.model.gateway import Charge
    from tawtin.ports import Journal
    from tawtin.web.route import Route

log = logging.getLogger("tawtin.bootstrap")
OWNER_KEY = "owner.key"
ADDRESS = "address.json"
_DOORS = "doors.secret"


def journal_url(settings: Settings) -> str:
    """Where the journal is."""
    return settings.store.journal or f"sqlite:///{Path(settings.data, 'journal.db')}"


def artifacts_url(settings: Settings) -> str:
    """Where artifacts are."""
    return settings.store.artifacts or f"file:///{Path(settings.data, 'artifacts')}"


def site_of(settings: Settings) -> Site:
    """The facts that decisions depend on. Whether runs are kept apart is known once the engine is open."""
    return Site(
        name=settings.factory.name,
        country=settings.factory.country,
        operator=settings.factory.operator,
        facts=settings.factory.facts,
        types=(WorkloadType.JOB, WorkloadType.SERVICE, WorkloadType.WORKSPACE),
        currency=settings.factory.currency,
        carbon_g_per_kwh=settings.factory.carbon_g_per_kwh,
        minor_per_gpu_hour=settings.prices.gpu_hour,
        minor_per_cpu_hour=settings.prices.cpu_hour,
        preemption=settings.policy.preemption,
        backoff_ms=settings.policy.backoff_ms,
        backoff_ms_max=settings.policy.backoff_ms_max,
        roam_after_ms=settings.policy.roam_after_ms,
        run_guess_ms=settings.policy.run_guess_ms,
    )


def judge_of(settings: Settings) -> Judge:
    """Who says where a workload may be: the packs that ship, and the operator's own."""
    found = load_packs(Path(settings.rules.folder) if settings.rules.folder else None)
    for each in found.broken:
        log.error(
            "rule pack of %s: %s; what it touches is refused", each.country or "no known country", each.why
        )
    return Judge(found.packs, found.broken)


def prepare_data(settings: Settings) -> Path:
    """Make the data folder, for its owner's eyes only."""
    data = Path(settings.data)
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    return data


def open_service(settings: Settings, journal: Journal, restored: str = "") -> Service:
    """Wire a factory; nothing happens before its `start`. `restored` is why an operator says that the journal was."""
    data = prepare_data(settings)
    clock = SystemClock()
    keeps_ms = settings.peering.guest_files_ms
    blobs = GuardedBlobs(
        open_blobs(artifacts_url(settings)), hold_ms=keeps_ms, monotonic_ms=clock.monotonic_ms
    )
    entropy = SystemEntropy()
    identity = open_identity(data)
    engine = make_engine(settings, BlobArtifacts(blobs), identity.key)
    name = settings.factory.name
    transport = HttpTransport(name, identity, entropy, ca_file=settings.peering.ca_file)
    carriage = Carriage(
        blobs=blobs,
        incoming=LocalIncoming(data / "incoming", blobs),
        transport=transport,
        bytes_max=settings.peering.artifact_bytes_max,
    )
    neighbours = Neighbours(
        signer=identity,
        entropy=entropy,
        transport=transport,
        fuse_stop_ms=engine.fuse_stop_ms,
        started=engine.started,
        freight=Freight(carriage),
        tidying=Tidying(blobs, keeps_ms),
    )
    return Service(
        site=msgspec.structs.replace(site_of(settings), portless=portless(settings)),
        judge=judge_of(settings),
        journal=journal,
        engine=engine,
        blobs=blobs,
        clock=clock,
        entropy=entropy,
        settings=settings.pace,
        serving=settings.services,
        workspacing=settings.workspaces,
        door_secret=open_secret(data / _DOORS),
        neighbours=neighbours,
        hindsight=Hindsight(MarkFile(data / FILE), restored),
        burn_in=settings.burn_in,
    )


async def start_service(settings: Settings, restored: str = "") -> Service:
    """Start a factory: open the journal, adopt what runs, and at the very first start make the owner's key."""
    prepare_data(settings)
    journal = await asyncio.to_thread(open_journal, journal_url(settings))
    try:
        service = open_service(settings, journal, restored)
        await service.start()
    except BaseException:
        journal.close()
        raise
    owner = settings.owner
    key = await service.found(Tenant(id=owner.tenant, name=owner.name, network=owner.network))
    if key is not None:
        # the file comes first: a key that is recorded but was never shown would lock everybody out
        _write_private(Path(settings.data, OWNER_KEY), key.secret + "\n")
        await service.durable()
    return service


def make_gateway(settings: Settings, service: Service) -> Gateway | None:
    """The gateway, where there are models to serve. Its judge is its own, so that neither forgets for the other."""
    if not settings.models or not settings.gateway.enabled:
        return None
    # only here, as most of it is for factories that serve models
    from tawtin.gateway.snapshot import models_of  # noqa: PLC0415
    from tawtin.gateway.supervise import Gateway  # noqa: PLC0415
    from tawtin.runtime.batches import Batches  # noqa: PLC0415

    async def charge(what: Charge, instead_of: str) -> bool:
        service.check()
        if not service.factory.charge(what, instead_of):
            return False
        await service.durable()
        return True

    folder = Path(settings.gateway.folder or Path(settings.data, "gateway"))
    batches = Batches(
        service, settings.gateway, folder / "batches", lambda: gateway.url, settings.models.keys
    )
    gateway = Gateway(
        folder,
        settings.gateway,
        lambda: models_of(
            settings.models,
            service.site,
            service.answering,
            settings.gateway.batch_percent,
            service.may_start,
        ),
        judge_of(settings),
        lambda: service.state,
        lambda: {**batches.passes(), **service.passes.held()},
        charge,
    )
    service.batches = batches
    return gateway


@asynccontextmanager
async def _behind(settings: Settings, service: Service, gateway: Gateway | None) -> AsyncGenerator[None]:
    """Answer for files and batches, where there is a gateway, for the time of the block."""
    batches = service.batches
    if gateway is None or batches is None:
        yield
        return
    from tawtin.gateway.worker.relay import SOCKET  # noqa: PLC0415
    from tawtin.web.openai.app import App  # noqa: PLC0415

    try:
        await batches.start()
    except (sqlite3.Error, OSError) as error:
        # the factory, and requests for models, are worth more than batches
        log.error("files and batches are not served: `%s` cannot be opened: %s", batches.folder, error)  # noqa: TRY400
        yield
        return
    try:
        app = App(batches, settings.gateway.class_default)
        async with serving(app, listen_unix(gateway.folder / SOCKET), settings.api):
            yield
    finally:
        await batches.stop()


def make_pages(settings: Settings, service: Service) -> list[Route]:
    """The console, where it is wanted and its extra is installed."""
    if not settings.console.enabled:
        return []
    try:
        # only here, as they need the extra
        from tawtin.web.console.app import Console  # noqa: PLC0415
        from tawtin.web.console.table import PAGES  # noqa: PLC0415
    except ModuleNotFoundError as error:
        log.warning("there are no pages, as `%s` is missing: install tawtin[console]", error.name)
        return []
    return Console(service, settings.console, Path(settings.data), PAGES).routes()


@asynccontextmanager
async def _to_workspaces(settings: Settings, service: Service) -> AsyncGenerator[None]:
    """Let browsers into workspaces, where that is wanted, for the time of the block."""
    wanted = settings.workspaces
    if not wanted.enabled:
        yield
        return
    # only here, as most of it is for factories that have workspaces
    from tawtin.web.workspaces.entrance import Entrance  # noqa: PLC0415
    from tawtin.web.workspaces.proxy import Proxy  # noqa: PLC0415

    proxy = Proxy(wanted.proxy, Entrance(service))
    try:
        await proxy.start()
    except OSError as error:
        where = f"{wanted.proxy.host}:{wanted.proxy.port}"
        log.warning("workspaces are at another port, as `%s` cannot be used: %s", where, error.strerror)
        proxy = Proxy(msgspec.structs.replace(wanted.proxy, port=0), Entrance(service))
        await proxy.start()
    port = proxy.address.rpartition(":")[2]
    service.workspace_url = wanted.url or f"http://{{label}}.{wanted.proxy.domain}:{port}"
    try:
        yield
    finally:
        service.workspace_url = ""
        await proxy.close()


def _door(service: Service) -> Door | None:
    """Where peers come in."""
    introductions = service.introductions
    if introductions is None or not isinstance(introductions.signer, Identity):
        return None

    def key_of(name: str) -> str:
        peer = service.state.peers.get(name)
        return peer.key if peer is not None and peer.state in LIVING else ""

    inbox = Inbox(service.site.name, introductions.signer, key_of, int(time.time()))
    return Door(service, inbox, introductions)


async def run_factory(
    settings: Settings,
    stop: asyncio.Event,
    announce: Callable[[str, Service], None] | None = None,
    *,
    restored: str = "",
) -> None:
    """Run a factory until `stop` is set; then let go of it, and its runs go on.

    `restored` is why an operator says that its journal was put back from a backup; empty if it was not.

    `announce` is called once with the address that it listens on. That address is also in `address.json` of the data
    folder while it runs.
    """
    service = await start_service(settings, restored)
    address_file = Path(settings.data, ADDRESS)
    gateway = make_gateway(settings, service)

    def up(url: str) -> None:
        said: dict[str, object] = {"url": url, "pid": os.getpid()}
        if gateway is not None:
            said["gateway"] = gateway.url
        _write_private(address_file, json.dumps(said) + "\n")
        if announce is not None:
            announce(url, service)

    try:
        if gateway is not None:
            await gateway.start()
            service.gateway = gateway
        app = create_app(
            service,
            settings.api,
            otlp_endpoint=settings.telemetry.otlp_endpoint,
            door=_door(service),
            pages=make_pages(settings, service),
        )
        async with _behind(settings, service, gateway), _to_workspaces(settings, service):
            await serve(app, settings.api, stop, up)
    finally:
        await asyncio.to_thread(address_file.unlink, missing_ok=True)
        if gateway is not None:
            await gateway.stop()
        await service.stop()


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
