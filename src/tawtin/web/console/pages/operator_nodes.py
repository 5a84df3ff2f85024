"""One node: its GPUs, what holds them, what is out of service; draining it, quarantine and return."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from tawtin.core.health import gpu_name
from tawtin.model.base import Record
from tawtin.model.resources import NodeHealth
from tawtin.runtime.errors import NotFound
from tawtin.web.console.pages.operator import Running
from tawtin.web.console.visit import ROOT
from tawtin.web.errors import HttpError

if TYPE_CHECKING:
    from tawtin.model.health import Quarantine
    from tawtin.web.console.visit import Visit
    from tawtin.web.exchange import Answer

_GPU: Final = "gpu-"


class GpuRow(Record, frozen=True, kw_only=True):
    """One GPU of a node."""

    index: int
    name: str
    out: Quarantine | None
    held: Running | None
    sick: bool
    """It is not handed out."""


async def show_node(visit: Visit) -> Answer:
    """The page. Raises NotFound."""
    service, name = visit.service, visit.query.get("name", "")
    capacity = await service.capacity(visit.actor)
    view = next((each for each in capacity.nodes if each.node.name == name), None)
    if view is None:
        msg = f"no node `{name[:200]}`"
        raise NotFound(msg)
    out = {each.gpu: each for each in view.quarantines}
    runs = _runs_on(visit, name)
    holds = {index: run for run in runs for index in run.gpus}
    gpus: list[GpuRow] = []
    for index in range(view.node.gpus):
        called = gpu_name(view.node, index)
        gpus.append(
            GpuRow(
                index=index,
                name=called,
                out=out.get(called) or out.get(""),
                held=holds.get(index),
                sick=index in view.node.gpus_sick,
            )
        )
    return visit.render(
        "operator_node.html",
        current="operator",
        view=view,
        node=view.node,
        gpus=gpus,
        runs=runs,
        tries=service.factory.nodes.tries,
    )


def _runs_on(visit: Visit, node: str) -> list[Running]:
    state = visit.service.state
    found: list[Running] = []
    for run in state.runs.values():
        work = state.workloads.get(run.workload)
        for slot in run.slots:
            if slot.node == node:
                name = work.spec.name if work is not None else run.workload
                found.append(Running(workload=run.workload, name=name, tenant=run.tenant, gpus=slot.gpus))
    return found


async def drain(visit: Visit) -> Answer:
    """Let no new run start on a node, and end those that are there; they are tried again elsewhere."""
    return await _set_health(visit, NodeHealth.DRAINING)


async def ready(visit: Visit) -> Answer:
    """Let runs start on it again."""
    return await _set_health(visit, NodeHealth.READY)


async def _set_health(visit: Visit, health: NodeHealth) -> Answer:
    fields = await visit.form()
    name = fields.get("node", "")
    await visit.service.set_node_health(visit.actor, name, health)
    return _back(visit, name, fields)


async def take_out(visit: Visit) -> Answer:
    """Put GPUs that were chosen, or the whole node, into quarantine. Raises HttpError where nothing was chosen."""
    fields = await visit.form()
    name, gpus = fields.get("node", ""), _chosen(fields)
    if not gpus and fields.get("whole") != "on":
        raise HttpError(400, "no GPU was chosen: choose some, or the whole node", "Invalid")
    if fields.get("whole") == "on":
        gpus = ()
    await visit.service.quarantine(visit.actor, name, gpus, fields.get("why", "").strip()[:1000])
    return _back(visit, name, fields)


async def bring_back(visit: Visit) -> Answer:
    """Return what was chosen, all where nothing was: after its burn-in job, or untested."""
    fields = await visit.form()
    name, untested = fields.get("node", ""), fields.get("untested") == "on"
    await visit.service.bring_back(visit.actor, name, _chosen(fields), untested=untested)
    return _back(visit, name, fields)


def _chosen(fields: dict[str, str]) -> tuple[int, ...]:
    found: list[int] = []
    for name in fields:
        index = name.removeprefix(_GPU)
        if name.startswith(_GPU) and index.isascii() and index.isdecimal() and len(index) <= 3:
            found.append(int(index))
    return tuple(sorted(set(found)))


def _back(visit: Visit, node: str, fields: dict[str, str]) -> Answer:
    if fields.get("from") == "list":
        return visit.go(f"{ROOT}/operator#nodes")
    return visit.go(f"{ROOT}/operator/node?name={quote(node, safe='')}")
