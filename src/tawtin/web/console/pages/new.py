"""A new workload: a form and the spec as YAML side by side, checked as one types, with the plan and the price.

The YAML is what is submitted. A field that differs from what it was when its page was made is written into the text, by
the page's script at once, else when the form is sent; what the text says of it is what the field shows next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from tawtin.model.base import Record
from tawtin.runtime.errors import Invalid, Refused, ServiceError
from tawtin.spec.edit import FIELDS, EditError, read_fields, write_fields
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


class Entry(Record, frozen=True, kw_only=True):
    """One field of the form."""

    name: str
    value: str
    """What the text says of it."""
    free: bool
    """Whether the form can change it: the text can be read, and says it in a form that has a field."""
    hint: str
    """Of the JSON Schema, in English."""
    choices: tuple[str, ...]
    kind: str
    error: str


async def show_new(visit: Visit) -> Answer:
    """An example to begin with."""
    visit.actor  # noqa: B018 - asks for a sign-in
    return _page(visit, _EXAMPLE, None, None)


async def submit(visit: Visit) -> Answer:
    """Show the plan of a spec, or submit it."""
    fields = await visit.form()
    spec, wrong = _filled(fields)
    if wrong:
        return _page(visit, spec, None, None, wrong)
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
    return visit.render(
        "plan.html", plan=plan, problem=problem, marks=_marks(problem), said=read_fields(spec), says=says
    )


async def fill(visit: Visit) -> Answer:
    """The text with the fields of the form in it: JSON with `spec`, and `error` where it could not be done."""
    spec, wrong = _filled(await visit.form())
    body = {"spec": spec, "error": wrong}
    return Answer(msgspec.json.encode(body), headers=list(GUARDS))


def _filled(fields: dict[str, str]) -> tuple[str, str]:
    """The text of a form with those fields in it that were changed, and what is wrong with that."""
    spec = fields.get("spec", "").replace("\r\n", "\n")
    changes = {
        field.name: fields[f"f-{field.name}"]
        for field in FIELDS
        if _plain(fields.get(f"f-{field.name}", "")) != _plain(fields.get(f"was-{field.name}", ""))
        and f"f-{field.name}" in fields
    }
    try:
        return write_fields(spec, changes), ""
    except EditError as error:
        return spec, str(error)


def _plain(value: str) -> str:
    return value.replace("\r\n", "\n").strip()


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
            "field": _field_of(each.field),
            "text": each.message,
        }
        for each in problem.errors
    ]


def _field_of(path: str) -> str:
    """The field of the form that a mistake at `path` belongs to; empty for none."""
    parts = tuple(path.split("."))
    return next((each.name for each in FIELDS if parts[: len(each.path)] == each.path), "")


def _entries(visit: Visit, spec: str, problem: Problem | None) -> list[Entry]:
    said = read_fields(spec)
    errors = {mark["field"]: mark["text"] for mark in reversed(_marks(problem))}
    schema = json_schema()
    gpus = sorted({each.gpu_model for each in visit.service.state.nodes.values() if each.gpus})
    entries: list[Entry] = []
    for field in FIELDS:
        here: dict[str, Any] = schema
        for name in field.path:
            here = _inner(here)["properties"][name]
        value = said[field.name] if said is not None else ""
        choices = tuple(_inner(here).get("enum", ()))
        if field.name == "accelerators":
            choices = tuple(f"{model}:1" for model in gpus)
        entries.append(
            Entry(
                name=field.name,
                value=value or "",
                free=said is not None and value is not None,
                hint=here.get("description", ""),
                choices=choices,
                kind="choice" if field.name == "class" else field.kind,
                error=errors.get(field.name, ""),
            )
        )
    return entries


def _inner(schema: dict[str, Any]) -> dict[str, Any]:
    """What a field that may also be null holds."""
    return next((each for each in schema.get("anyOf", ()) if each.get("type") != "null"), schema)


def _page(visit: Visit, spec: str, plan: PlanView | None, problem: Problem | None, wrong: str = "") -> Answer:
    return visit.render(
        "new.html",
        current="",
        spec=spec,
        plan=plan,
        problem=problem,
        marks=_marks(problem),
        said=read_fields(spec),
        entries=_entries(visit, spec, problem),
        wrong=wrong,
        says=says_of(visit.service.state.judge, visit.words),
        status=200 if problem is None and not wrong else 422,
    )
