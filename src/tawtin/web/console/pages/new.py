"""A new workload: the spec as YAML, checked as it is typed, with the plan and the price before it is submitted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from tawtin.runtime.errors import Invalid, Refused, ServiceError
from tawtin.spec.errors import SpecError
from tawtin.spec.schema import json_schema
from tawtin.web.console.verdicts import says_of
from tawtin.web.console.visit import GUARDS, ROOT
from tawtin.web.errors import HttpError, problem_of
from tawtin.web.exchange import Answer
from tawtin.web.submission import YAML, submission_of

if TYPE_CHECKING:
    from tawtin.model.views import PlanView, Problem
    from tawtin.web.console.visit import Visit

_EXAMPLE: Final = """\
name: first
resources:
  cpus: 1
  memory: 1GB
max_duration: 10m
data:
  class: public
run: |
  echo "this ran in $TAWTIN_COUNTRY"
"""


async def show_new(visit: Visit) -> Answer:
    """An example to begin with."""
    visit.actor  # noqa: B018 - asks for a sign-in
    return _page(visit, _EXAMPLE, None, None)


async def submit(visit: Visit) -> Answer:
    """Show the plan of a spec, or submit it."""
    fields = await visit.form()
    spec = fields.get("spec", "").replace("\r\n", "\n")
    plan, problem = await _plan(visit, spec)
    if fields.get("do") != "submit" or problem is not None:
        return _page(visit, spec, plan, problem)
    try:
        wanted = submission_of(YAML, spec.encode(), "", visit.service.site.currency)
        with wanted.places():
            made = await visit.service.submit(
                visit.actor,
                wanted.spec,
                wanted.digest,
                wanted.array,
                wanted.secrets,
                request_sha256=wanted.request_sha256,
            )
    except (SpecError, ServiceError, HttpError) as error:
        return _page(visit, spec, None, problem_of(error)[0])
    return visit.go(f"{ROOT}/workloads/{made.workloads[0].id}")


async def check(visit: Visit) -> Answer:
    """The plan of what is being typed, as a part of the page."""
    visit.check_origin()
    visit.check_token(visit.exchange.header(b"x-tawtin-csrf"))
    spec = (await visit.exchange.body()).decode("utf-8", "replace")
    plan, problem = await _plan(visit, spec)
    says = says_of(visit.service.state.judge, visit.words)
    return visit.render("plan.html", plan=plan, problem=problem, marks=_marks(problem), says=says)


async def schema(visit: Visit) -> Answer:
    """The JSON Schema of a spec."""
    visit.actor  # noqa: B018 - asks for a sign-in
    return Answer(msgspec.json.encode(json_schema()), headers=list(GUARDS))


async def _plan(visit: Visit, spec: str) -> tuple[PlanView | None, Problem | None]:
    try:
        wanted = submission_of(YAML, spec.encode(), "", visit.service.site.currency)
        with wanted.places():
            return await visit.service.plan(visit.actor, wanted.spec, wanted.digest, wanted.array), None
    except (SpecError, Refused, Invalid, HttpError) as error:
        return None, problem_of(error)[0]


def _marks(problem: Problem | None) -> list[dict[str, Any]]:
    if problem is None:
        return []
    return [
        {
            "line": each.line or 1,
            "column": each.column or 1,
            "message": f"{each.field} {each.message}".strip(),
        }
        for each in problem.errors
    ]


def _page(visit: Visit, spec: str, plan: PlanView | None, problem: Problem | None) -> Answer:
    return visit.render(
        "new.html",
        current="",
        spec=spec,
        plan=plan,
        problem=problem,
        marks=_marks(problem),
        says=says_of(visit.service.state.judge, visit.words),
        status=200 if problem is None else 422,
    )
