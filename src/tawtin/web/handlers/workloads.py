"""Workloads: submit, plan, look, cancel, retry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tawtin.model.requests import Lost
from tawtin.model.views import Items
from tawtin.web.exchange import Answer, Exchange, answer, etag
from tawtin.web.submission import read_submission

if TYPE_CHECKING:
    from tawtin.model.requests import ForTenant, WorkloadFilter
    from tawtin.model.views import Submitted


async def submit(exchange: Exchange) -> Answer:
    """Submit a workload, or an array of them. Acknowledged when it is on disk."""
    wanted = await read_submission(exchange)
    query: ForTenant = exchange.query
    with wanted.places():
        submitted = await exchange.service.submit(
            exchange.actor,
            wanted.spec,
            wanted.digest,
            wanted.array,
            wanted.secrets,
            tenant=query.tenant,
            idempotency_key=exchange.idempotency_key(),
            request_sha256=wanted.request_sha256,
        )
    return _created(submitted)


def _created(submitted: Submitted) -> Answer:
    first = submitted.workloads[0].id
    location = (b"location", f"/api/v1/workloads/{first}".encode())
    return answer(submitted, status=201, headers=[location])


async def plan(exchange: Exchange) -> Answer:
    """Say what would happen to a spec now, by the same decision that places work. Nothing is stored."""
    wanted = await read_submission(exchange)
    query: ForTenant = exchange.query
    with wanted.places():
        view = await exchange.service.plan(
            exchange.actor, wanted.spec, wanted.digest, wanted.array, tenant=query.tenant
        )
    further = tuple(warning for warning in wanted.warnings if warning not in view.warnings)
    return answer(msgspec.structs.replace(view, warnings=(*view.warnings, *further)))


async def list_workloads(exchange: Exchange) -> Answer:
    """List workloads, newest first. An admin who names no tenant sees those of all."""
    query: WorkloadFilter = exchange.query
    page = await exchange.service.workloads(
        exchange.actor,
        tenant=query.tenant,
        phases=tuple(phase.value for phase in query.phase),
        array=query.array,
        before=query.before,
        limit=query.limit,
    )
    return answer(page)


async def show_workload(exchange: Exchange) -> Answer:
    """Show a workload, its last run, and why it waits. The ETag is its version."""
    view = await exchange.service.view(exchange.actor, exchange.params["id"])
    return answer(view, headers=[etag(view.workload.version)])


async def cancel(exchange: Exchange) -> Answer:
    """Ask for a workload's end. One that is over stays as it is."""
    await exchange.no_body()
    view = await exchange.service.cancel(exchange.actor, exchange.params["id"], if_match=exchange.if_match())
    return answer(view, headers=[etag(view.workload.version)])


async def declare_lost(exchange: Exchange) -> Answer:
    """Declare the peer gone for good that has this workload's run. Only then is the workload tried elsewhere."""
    exchange.no_idempotency_key()
    wanted = await exchange.read(Lost)
    view = await exchange.service.declare_lost(exchange.actor, exchange.params["id"], wanted.why)
    return answer(view, headers=[etag(view.workload.version)])


async def retry(exchange: Exchange) -> Answer:
    """Submit the spec of a workload that is over again, as a new workload."""
    await exchange.no_body()
    return _created(
        await exchange.service.retry(
            exchange.actor, exchange.params["id"], idempotency_key=exchange.idempotency_key()
        )
    )


async def explain(exchange: Exchange) -> Answer:
    """Say why a workload waits, when it is expected to start, and which factories were considered, by which rules."""
    return answer(await exchange.service.explain(exchange.actor, exchange.params["id"]))


async def list_runs(exchange: Exchange) -> Answer:
    """List all runs of a workload, newest first."""
    return answer(Items(items=await exchange.service.runs(exchange.actor, exchange.params["id"])))
