"""The list of workloads: what is shown of them is in the address, so that it can be kept and sent to somebody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlencode

from markupsafe import Markup

from tawtin.model.base import Record
from tawtin.runtime.errors import NotFound
from tawtin.runtime.search import search
from tawtin.web.console.spent import spent_so_far
from tawtin.web.console.visit import ROOT, local
from tawtin.web.console.words import ABSENT, TIMES

if TYPE_CHECKING:
    from tawtin.model.views import WorkloadView
    from tawtin.web.console.visit import Visit
    from tawtin.web.console.words import Words
    from tawtin.web.exchange import Answer

STATUSES: Final = ("queued", "starting", "running", "stopping", "succeeded", "failed", "cancelled")
_PHASES: Final = {"starting": "placed", "running": "placed", "stopping": "placed"}
COLUMNS: Final = ("why", "where", "tenant", "gpus", "submitted", "cost", "id", "type", "priority", "project")
_USUAL: Final = ("why", "where", "tenant", "gpus", "submitted", "cost")
FIGURES: Final = ("gpus", "cost", "priority")
_ROWS: Final = 100
_LOOKED_AT_MAX: Final = 2_000
"""So many workloads are looked through for a state at most; the next page goes on there."""


class Filter(Record, frozen=True, kw_only=True):
    """What of the list is wanted."""

    q: str = ""
    status: str = ""
    tenant: str = ""
    before: str = ""
    columns: tuple[str, ...] = _USUAL


class Row(Record, frozen=True, kw_only=True):
    """One line."""

    id: str
    name: str
    status: str
    over: bool
    cells: dict[str, object]


def filter_of(query: str) -> Filter:
    """What an address asks for; what is unknown in it counts nothing."""
    pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=100)
    plain = dict(pairs)
    columns = tuple(name for name in COLUMNS if ("col", name) in pairs)
    status = plain.get("status", "")
    return Filter(
        q=plain.get("q", "")[:200].strip(),
        status=status if status in STATUSES else "",
        tenant=plain.get("tenant", "")[:63],
        before=plain.get("before", "")[:64],
        columns=columns or _USUAL,
    )


async def show_list(visit: Visit) -> Answer:
    """Workloads, newest first."""
    actor, wanted = visit.actor, filter_of(visit.exchange.query_string)
    found, following = await _find(visit, wanted)
    words = visit.words
    rows = [_row(words, visit, view) for view in found]
    tenants = sorted(visit.service.state.tenants) if actor.overlooks else []
    return visit.render(
        "workloads.html",
        current="workloads",
        rows=rows,
        filter=wanted,
        statuses=STATUSES,
        tenants=tenants,
        all_columns=COLUMNS,
        figures=FIGURES,
        more=_more(wanted, following),
    )


async def _find(visit: Visit, wanted: Filter) -> tuple[list[WorkloadView], str]:
    """The workloads of a page, and where the next one begins; empty on the last."""
    phases = (_PHASES.get(wanted.status, wanted.status),) if wanted.status else ()
    tenant = wanted.tenant or None
    found: list[WorkloadView] = []
    before, looked_at = wanted.before, 0
    try:
        while looked_at < _LOOKED_AT_MAX:
            views, following = await _some(visit, wanted.q, tenant, phases, before)
            for view in views:
                before = view.workload.id
                if not wanted.status or view.status == wanted.status:
                    found.append(view)
                    if len(found) == _ROWS:
                        return found, before
            if not following or wanted.q:
                return found, following
            before = following
            looked_at += len(views)
    except NotFound:
        return [], ""
    return found, before


async def _some(
    visit: Visit, word: str, tenant: str | None, phases: tuple[str, ...], before: str
) -> tuple[list[WorkloadView], str]:
    service, actor = visit.service, visit.actor
    if word:
        return await search(service, actor, word, tenant=tenant, phases=phases, before=before, limit=_ROWS)
    page = await service.workloads(actor, tenant=tenant, phases=phases, before=before, limit=_ROWS)
    return list(page.items), page.next


def _more(wanted: Filter, before: str) -> str:
    if not before:
        return ""
    pairs = [("q", wanted.q), ("status", wanted.status), ("tenant", wanted.tenant), ("before", before)]
    if wanted.columns != _USUAL:
        pairs += [("col", name) for name in wanted.columns]
    return f"{ROOT}/workloads?{urlencode([(name, value) for name, value in pairs if value])}"


def _row(words: Words, visit: Visit, view: WorkloadView) -> Row:
    work, run, site = view.workload, view.run, visit.service.site
    name = work.spec.name if work.array is None else f"{work.spec.name}[{work.array.index}]"
    shape = run.shape if run is not None else work.spec.demand.options[0]
    gpus = shape.gpus * work.spec.demand.nodes
    bdi = Markup("<bdi>{}</bdi>")
    ltr = Markup('<bdi dir="ltr">{}</bdi>')
    where: object = ABSENT
    if run is not None:
        where = bdi.format(run.factory or site.name)
    spent = spent_so_far(view, visit.console.now_ms())
    cells: dict[str, object] = {
        "why": _why(words, view),
        "where": where,
        "tenant": bdi.format(work.tenant),
        "gpus": ltr.format(f"{shape.gpu_model} {TIMES} {gpus}" if shape.gpu_model else gpus)
        if gpus
        else ABSENT,
        "submitted": words.moment(work.submitted_ms),
        "cost": words.money(spent, site.currency),
        "id": ltr.format(work.id),
        "type": words(f"type-{work.spec.type}"),
        "priority": words.number(work.spec.priority),
        "project": bdi.format(work.spec.project) if work.spec.project else ABSENT,
    }
    return Row(id=work.id, name=name, status=view.status, over=work.phase.final or work.cancel, cells=cells)


def _why(words: Words, view: WorkloadView) -> object:
    if view.waiting is not None:
        return words(f"why-{view.waiting.reason}")
    if view.workload.cause is not None:
        return words(f"cause-{view.workload.cause}")
    return ABSENT


async def cancel_chosen(visit: Visit) -> Answer:
    """Ask for the end of all that were chosen."""
    visit.check_origin()
    body = (await visit.exchange.body()).decode("utf-8", "replace")
    pairs = parse_qsl(body, max_num_fields=_ROWS + 10)
    fields = dict(pairs)
    visit.check_token(fields.get("csrf", ""))
    for name, value in pairs:
        if name == "id":
            await visit.service.cancel(visit.actor, value)
    return visit.go(local(fields.get("next", f"{ROOT}/workloads")))
