"""Workspaces: open one in two clicks, with what it costs before it starts; let it rest, keep it awake, share it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import msgspec

from tawtin.core.meter import HOUR_MS, SCALE, burn
from tawtin.model.base import Record
from tawtin.model.resources import Shape
from tawtin.model.rules import DATA_CLASSES
from tawtin.model.tenant import Scope
from tawtin.runtime.errors import Invalid, NotFound, ServiceError
from tawtin.spec.errors import SpecError
from tawtin.spec.job import DataUse, Job, Resources, WorkspaceUse
from tawtin.spec.workspace import APPS
from tawtin.web.console.visit import ROOT
from tawtin.web.errors import HttpError, problem_of
from tawtin.web.submission import JSON, submission_of

if TYPE_CHECKING:
    from tawtin.model.views import Problem, WaitingView
    from tawtin.runtime.service import Service
    from tawtin.web.console.visit import Visit
    from tawtin.web.exchange import Answer
    from tawtin.web.submission import Submission

PATH: Final = f"{ROOT}/workspaces"
_CALLED: Final = {"jupyterlab": "JupyterLab"}
"""How programs write their own names where that differs; the shell alone has a word in each language."""
_CPUS: Final = ((1, 2), (2, 4), (4, 8), (8, 16))
"""Processors and GiB of memory that are offered without a GPU."""
_PER_GPU: Final = (4, 16)
_GPUS: Final = (1, 2, 4, 8)
IDLE: Final = {"30m": 30 * 60_000, "1h": HOUR_MS, "4h": 4 * HOUR_MS, "0": 0}
"""What can be chosen as the time after which it rests."""
EXTEND: Final = (HOUR_MS, 4 * HOUR_MS, 24 * HOUR_MS)


class Size(Record, frozen=True, kw_only=True):
    """One choice of what a workspace gets."""

    id: str
    cpus: int
    memory_gib: int
    gpus: int = 0
    gpu_model: str = ""
    minor_per_hour: int = 0
    now: bool = False
    """Whether it would start now."""
    waiting: WaitingView | None = None


class Wanted(Record, frozen=True, kw_only=True):
    """What the form says."""

    name: str = ""
    app: str = "jupyterlab"
    size: str = ""
    idle: str = "1h"
    data_class: str = "public"


async def show_workspaces(visit: Visit) -> Answer:
    """The page."""
    return await _page(visit, Wanted(), None)


async def create(visit: Visit) -> Answer:
    """Begin a workspace, and open it."""
    fields = await visit.form()
    wanted = Wanted(
        name=fields.get("name", ""),
        app=fields.get("app", ""),
        size=fields.get("size", ""),
        idle=fields.get("idle", ""),
        data_class=fields.get("class", ""),
    )
    try:
        asked = _submission(visit.service, wanted)
        await visit.service.submit(
            visit.actor, asked.spec, asked.digest, secrets=asked.secrets, request_sha256=asked.request_sha256
        )
    except (SpecError, ServiceError, HttpError) as error:
        return await _page(visit, wanted, problem_of(error)[0])
    return _opens(visit, wanted.name)


async def enter(visit: Visit) -> Answer:
    """Send the browser into a workspace, which is woken if it rests. Raises HttpError for a link on another site."""
    visit.check_origin()
    name, tenant = visit.query.get("name", ""), visit.query.get("tenant") or None
    opened = await visit.service.open_workspace(visit.actor, name, tenant=tenant)
    return visit.go(opened.url)


async def change(visit: Visit) -> Answer:
    """Let it rest, start it, keep it awake, share it, or delete it. Raises NotFound, Denied, Invalid."""
    fields = await visit.form()
    service, actor = visit.service, visit.actor
    name, tenant = fields.get("name", ""), fields.get("tenant") or None
    wanted = fields.get("do", "delete" if fields.get("sure") == "yes" else "")
    match wanted:
        case "start":
            await service.start_workspace(actor, name, tenant=tenant)
        case "stop":
            await service.stop_workspace(actor, name, tenant=tenant)
        case "share" | "unshare":
            await service.share_workspace(actor, name, shared=wanted == "share", tenant=tenant)
        case "extend":
            text = fields.get("by", "")
            if text not in {str(each) for each in EXTEND}:
                raise HttpError(400, "choose for how long it stays awake", "Invalid")
            await service.start_workspace(actor, name, for_ms=int(text), tenant=tenant)
        case "delete":
            await service.delete_workspace(actor, name, tenant=tenant)
        case _:
            raise HttpError(400, "the form does not say what to do: open the page again", "Invalid")
    return visit.go(PATH)


def _opens(visit: Visit, name: str) -> Answer:
    """A page that goes on into the workspace by itself: a form may not lead to another origin."""
    way = f"{PATH}/enter?name={quote(name, safe='')}"
    return visit.render(
        "workspace_opens.html",
        current="workspaces",
        name=name,
        way=way,
        headers=[(b"refresh", f"0; url={way}".encode())],
    )


def _submission(service: Service, wanted: Wanted) -> Submission:
    """The spec that the form means. Raises SpecError, HttpError."""
    size = next((each for each in _sizes(service) if each.id == wanted.size), None)
    if size is None:
        raise HttpError(422, "`size` is not one of those on the page: choose one", "Invalid")
    if wanted.app not in APPS or wanted.idle not in IDLE or wanted.data_class not in DATA_CLASSES:
        raise HttpError(422, "the form has a value that is not on the page: choose again", "Invalid")
    return submission_of(JSON, _job(size, wanted).to_json(), "", service.site.currency)


def _job(size: Size, wanted: Wanted) -> Job:
    return Job(
        name=wanted.name,
        type="workspace",
        workspace=WorkspaceUse(app=wanted.app, idle=wanted.idle),
        resources=Resources(
            cpus=size.cpus,
            memory=size.memory_gib,
            accelerators=f"{size.gpu_model}:{size.gpus}" if size.gpus else None,
        ),
        data=DataUse(data_class=wanted.data_class),
    )


def _sizes(service: Service) -> list[Size]:
    """What nodes of this factory can hold, from a processor to all GPUs of a node."""
    nodes = list(service.state.nodes.values())
    most_cpus = max((node.cpus_milli for node in nodes), default=0)
    most_mib = max((node.memory_mib for node in nodes), default=0)
    found = [
        Size(id=f"cpu-{cpus}", cpus=cpus, memory_gib=gib)
        for cpus, gib in _CPUS
        if cpus * 1000 <= most_cpus and gib * 1024 <= most_mib
    ]
    for model in sorted({node.gpu_model for node in nodes if node.gpus}):
        those = [node for node in nodes if node.gpu_model == model]
        for count in _GPUS:
            for cpus, gib in ((_PER_GPU[0] * count, _PER_GPU[1] * count), (count, 2 * count), (1, 1)):
                fits = any(
                    node.gpus >= count and node.cpus_milli >= cpus * 1000 and node.memory_mib >= gib * 1024
                    for node in those
                )
                if fits:
                    found.append(
                        Size(id=f"{model}-{count}", cpus=cpus, memory_gib=gib, gpus=count, gpu_model=model)
                    )
                    break
    return found


async def _priced(visit: Visit) -> list[Size]:
    """Sizes with what an hour costs, and whether they would start now."""
    service = visit.service
    found: list[Size] = []
    for size in _sizes(service):
        wanted = Wanted(name="plan", size=size.id)
        asked = submission_of(JSON, _job(size, wanted).to_json(), "", service.site.currency)
        try:
            plan = await service.plan(visit.actor, asked.spec, asked.digest, None)
        except (ServiceError, Invalid):
            continue
        shape: Shape = plan.shape or asked.spec.demand.options[0]
        found.append(
            msgspec.structs.replace(
                size,
                minor_per_hour=burn(service.site.rate(shape.gpu_model), shape, 1) * HOUR_MS // SCALE,
                now=plan.starts_now,
                waiting=plan.waiting,
            )
        )
    return found


async def _page(visit: Visit, wanted: Wanted, problem: Problem | None) -> Answer:
    service, actor = visit.service, visit.actor
    may_create = actor.may(Scope.SUBMIT)
    try:
        views = await service.workspaces(actor)
    except NotFound:
        views = ()
    sizes = await _priced(visit) if may_create else []
    return visit.render(
        "workspaces.html",
        status=problem.status if problem is not None else 200,
        current="workspaces",
        views=views,
        sizes=sizes,
        wanted=wanted,
        problem=problem,
        apps=tuple(
            (app, visit.words.plain("workspace-app-shell") if app == "shell" else _CALLED.get(app, app))
            for app in APPS
        ),
        idles=tuple(IDLE.items()),
        extends=EXTEND,
        classes=tuple(DATA_CLASSES),
        may_create=may_create,
        others=len({view.tenant for view in views}) > 1 or any(view.tenant != actor.tenant for view in views),
        way=bool(service.workspace_url),
    )
