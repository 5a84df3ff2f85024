"""One workload: how far it is, why, where it may be and by which rule, its log, cost and evidence."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from markupsafe import Markup

from tawtin.model.base import Record
from tawtin.model.requests import LogRange
from tawtin.model.tenant import Scope
from tawtin.model.workload import Usage
from tawtin.web.console.pages.metrics import metrics_of
from tawtin.web.console.spent import spent_so_far
from tawtin.web.console.verdicts import says_of
from tawtin.web.console.visit import ROOT
from tawtin.web.console.words import TIMES
from tawtin.web.exchange import Answer
from tawtin.web.handlers.streams import read_logs
from tawtin.web.query import query_of

if TYPE_CHECKING:
    from tawtin.model.views import WorkloadView
    from tawtin.model.workload import Run, Workload
    from tawtin.web.console.visit import Visit
    from tawtin.web.console.words import Words

_LOG_BYTES: Final = 64 << 10
"""So much of the end of a log is on the page itself."""


_ORDERS: Final = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[ -/]*[0-~]?)|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)
"""Control sequences as ECMA-48 has them, titles of windows, and control characters but for tab and new line."""


class Step(Record, frozen=True, kw_only=True):
    """One point of the line of states."""

    name: str
    kind: str
    """done, now or next."""
    when: object = ""
    note: object = ""


async def show_workload(visit: Visit) -> Answer:
    """The page."""
    service, actor = visit.service, visit.actor
    view = await service.view(actor, visit.exchange.params["id"])
    told = await service.explain(actor, view.workload.id)
    runs = await service.runs(actor, view.workload.id)
    may_read = actor.may(Scope.READ)
    log_text, cut = await _log(visit, view.workload) if may_read else ("", False)
    samples = await service.samples(actor, view.workload.id)
    work, run = view.workload, view.run
    shape = run.shape if run is not None else work.spec.demand.options[0]
    receipt = run.roam.receipt.signature if run is not None and run.roam and run.roam.receipt else ""
    return visit.render(
        "workload.html",
        current="workloads",
        work=work,
        view=view,
        places=told.places,
        chosen=(run.factory or service.site.name) if run is not None else "",
        runs=runs,
        steps=_steps(visit, view),
        shape=_shape(work, run),
        says=says_of(service.state.judge, visit.words),
        data_class=_class(visit.words, work.spec.data.data_class),
        gpus=shape.gpus,
        origin=visit.words.country(work.spec.data.origin or service.site.country),
        spent=spent_so_far(view, visit.console.now_ms()),
        estimated=run is not None and run.started_ms is not None and run.ended_ms is None,
        used=run.usage if run is not None else Usage(),
        rate=run.rate if run is not None else None,
        metrics=metrics_of(visit.words, samples, shape, work.spec.demand.nodes),
        elsewhere=run.factory if run is not None else "",
        log_text=log_text,
        log_cut=cut,
        log_shown=len(log_text.encode()),
        log_size=service.state.seq,
        receipt=receipt,
        may_read=may_read,
        may_change=actor.may(Scope.SUBMIT),
    )


async def _log(visit: Visit, work: Workload) -> tuple[str, bool]:
    """The end of the log as text, and whether more came before it."""
    if not work.epoch:
        return "", False
    chunk = await visit.service.log(
        visit.actor, work.id, epoch=work.epoch, offset=-_LOG_BYTES, limit=_LOG_BYTES
    )
    return plain_log(chunk.data.decode("utf-8", "replace")), chunk.offset > 0


def plain_log(text: str) -> str:
    """A log without what terminals take for orders."""
    return _ORDERS.sub("", text)


def _class(words: Words, name: str) -> str:
    key = f"rules-class-{name}"
    return words.plain(key) if words.has(key) else name


def _shape(work: Workload, run: Run | None) -> str:
    shape = run.shape if run is not None else work.spec.demand.options[0]
    nodes = work.spec.demand.nodes
    text = f"{shape.gpu_model or 'GPU'}:{shape.gpus}" if shape.gpus else f"{shape.cpus_milli / 1000:g} CPU"
    return f"{text} {TIMES} {nodes}" if nodes > 1 else text


def _steps(visit: Visit, view: WorkloadView) -> list[Step]:
    words, work, run = visit.words, view.workload, view.run
    now_ms = visit.console.now_ms()
    queued = Step(
        name="queued", kind="now" if run is None and not work.phase.final else "done",
        when=words.clock(work.submitted_ms),
        note=words.span((run.placed_ms if run is not None else work.finished_ms or now_ms) - work.submitted_ms),
    )  # fmt: skip
    steps = [queued]
    waits = view.status == "queued"
    if run is not None and not waits:
        where: object = run.factory or visit.service.site.name
        steps.append(
            Step(
                name="placed",
                kind="now" if run.started_ms is None and run.ended_ms is None else "done",
                when=words.clock(run.placed_ms),
                note=Markup("<bdi>{}</bdi>").format(where),
            )
        )
        if run.started_ms is not None:
            end_ms = run.ended_ms or now_ms
            steps.append(
                Step(
                    name="running",
                    kind="done" if run.ended_ms is not None else "now",
                    when=words.clock(run.started_ms),
                    note=words.span(end_ms - run.started_ms),
                )
            )
    elif not work.phase.final:
        steps += [Step(name="placed", kind="next"), Step(name="running", kind="next")]
    if work.phase.final:
        steps.append(Step(name=work.phase.value, kind="done", when=words.clock(work.finished_ms)))
    else:
        steps.append(Step(name="end", kind="next", note=_until(words, work, run)))
    return steps


def _until(words: Words, work: Workload, run: Run | None) -> object:
    limit = work.spec.max_duration_ms
    if limit is None or run is None or run.started_ms is None or run.ended_ms is not None:
        return ""
    return words("at-latest", when=words.clock(run.started_ms + limit))


async def log_of(visit: Visit) -> Answer:
    """The log: followed as events by an open page, or as a file."""
    exchange = visit.exchange
    exchange.actor = visit.actor
    download = visit.query.get("download") == "1"
    exchange.query = query_of(LogRange, b"" if download else b"follow=true&tail=5000")
    after = visit.query.get("after", "")
    if after and not download:  # a page that began a stream anew says where the last one ended
        exchange.headers.setdefault(b"last-event-id", after.encode("latin-1", "replace"))
    found = await read_logs(exchange)
    if download:
        name = f"{exchange.params['id']}.log".encode("ascii", "replace")
        found.headers = [
            *(found.headers or []),
            (b"content-disposition", b'attachment; filename="' + name.replace(b'"', b"") + b'"'),
        ]
    return found


async def cancel(visit: Visit) -> Answer:
    """Ask for its end."""
    await visit.form()
    return _back(visit, (await visit.service.cancel(visit.actor, visit.exchange.params["id"])).workload.id)


async def retry(visit: Visit) -> Answer:
    """Submit its spec again."""
    await visit.form()
    made = await visit.service.retry(visit.actor, visit.exchange.params["id"])
    return _back(visit, made.workloads[0].id)


def _back(visit: Visit, workload: str) -> Answer:
    return visit.go(f"{ROOT}/workloads/{workload}")
