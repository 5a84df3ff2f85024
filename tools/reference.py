"""Lists what users meet, from the code, for the reference pages and the tests that nothing is undocumented.

Each kind (reason tokens, events, ...) has one function that returns its entries. Descriptions are the
docstrings that stand beside the thing itself, so that there is one place to write them.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tawtin.cli import exits, main, table
from tawtin.spec import json_schema
from tawtin.web.route import Route
from tawtin.web.routes import ROUTES

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "tawtin"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One thing that a user can meet."""

    group: str
    name: str
    description: str


def _docstrings(body: list[ast.stmt]) -> Iterator[tuple[ast.stmt, str]]:
    """Each statement with the string that follows it, or nothing."""
    for statement, following in zip(body, [*body[1:], None], strict=True):
        match following:
            case ast.Expr(value=ast.Constant(value=str(text))):
                yield statement, " ".join(text.split())
            case _:
                yield statement, ""


def _classes(module: str) -> Iterator[ast.ClassDef]:
    tree = ast.parse((PACKAGE / module).read_text())
    return (node for node in tree.body if isinstance(node, ast.ClassDef))


def reasons() -> list[Entry]:
    """Tokens that say why something waits, was refused, or ended."""
    return [
        Entry(group=f"{cls.name}: {_summary(cls)}", name=str(value), description=text)
        for cls in _classes("model/reasons.py")
        for statement, text in _docstrings(cls.body)
        if isinstance(statement, ast.Assign)
        for value in [ast.literal_eval(statement.value)]
        if isinstance(value, str)
    ]


def events() -> list[Entry]:
    """What enters the log."""
    return [
        Entry(group="", name=cls.name, description=_summary(cls))
        for cls in _classes("model/events.py")
        if any(isinstance(base, ast.Name) and base.id == "_Event" for base in cls.bases)
    ]


def errors() -> list[Entry]:
    """Tokens of problem documents: what an answer of the API says instead of doing its work."""
    return [
        Entry(group="", name=ast.literal_eval(statement.value), description=_summary(cls))
        for cls in _classes("runtime/errors.py")
        for statement in cls.body
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "token"
    ]


def settings() -> list[Entry]:
    """Every field of `factory.toml`, by section: the fields of `Settings`, and of the classes that they name."""
    classes = {cls.name: cls for _, tree in _trees() for cls in tree.body if isinstance(cls, ast.ClassDef)}
    found: list[Entry] = []
    for field, text in _fields(classes["Settings"]):
        section = classes.get(ast.unparse(field.annotation))
        name = ast.unparse(field.target)
        if section is None:
            found.append(Entry(group="", name=name, description=_with_default(field, text)))
            continue
        found += [
            Entry(
                group=f"{name}: {_summary(section).partition(': ')[2]}",
                name=f"{name}.{ast.unparse(inner.target)}",
                description=_with_default(inner, words),
            )
            for inner, words in _fields(section)
        ]
        for inner, _ in _fields(section):
            place, below = f"{name}.{ast.unparse(inner.target)}", classes.get(ast.unparse(inner.annotation))
            if below is not None and _summary(below).startswith(f"`{place}`: "):
                found += [
                    Entry(
                        group=f"{place}: {_summary(below).partition(': ')[2]}",
                        name=f"{place}.{ast.unparse(deep.target)}",
                        description=_with_default(deep, words),
                    )
                    for deep, words in _fields(below)
                ]
    for place, name in (("models.NAME", "ModelSettings"), ("models.NAME.replicas", "ReplicaSettings")):
        found += [
            Entry(
                group=f"{place}: {_summary(classes[name]).removeprefix('`[models.NAME]`: ')}",
                name=f"{place}.{ast.unparse(field.target)}",
                description=_with_default(field, text),
            )
            for field, text in _fields(classes[name])
        ]
    for engine in sorted(each.parent.name for each in (PACKAGE / "engines").glob("*/engine.toml")):
        cls = classes.get(f"{engine.capitalize()}Settings")
        if cls is not None and engine != "local":
            group = f'engines.NAME, with `use = "{engine}"`'
            found += [
                Entry(
                    group=group,
                    name=f"engines.NAME.{ast.unparse(field.target)}",
                    description=_with_default(field, text),
                )
                for base in (
                    *(classes[ast.unparse(base)] for base in cls.bases if ast.unparse(base) != "Record"),
                    cls,
                )
                for field, text in _fields(base)
            ]
    return found


def _fields(cls: ast.ClassDef) -> list[tuple[ast.AnnAssign, str]]:
    return [(field, text) for field, text in _docstrings(cls.body) if isinstance(field, ast.AnnAssign)]


def metrics() -> list[Entry]:
    """Prometheus metrics: every call that names one, with the help text beside the name."""
    return [
        Entry(group="", name=f"{name}_total" if kind.startswith("Counter") else name, description=text)
        for call, kind in _calls()
        if kind.removesuffix("MetricFamily") in {"Counter", "Gauge", "Histogram", "Summary", "Info"}
        for name, text in [_two_strings(call)]
        if name
    ]


def verbs() -> list[Entry]:
    """Verbs of the command line."""
    return [
        Entry(group="", name=f"tawtin {verb}", description=summary)
        for verb, (_, summary) in table.VERBS.items()
    ]


def helps() -> str:
    """The help of every verb, as it prints it."""
    there = [verb for verb, (module, _) in table.VERBS.items() if (PACKAGE / "cli" / f"{module}.py").exists()]
    return "\n".join(
        f"## tawtin {verb}\n\n```text\n{main.parser_of(verb).format_help().rstrip()}\n```\n" for verb in there
    )


def exit_codes() -> list[Entry]:
    """What a script can tell from the command's exit code."""
    return [Entry(group="", name=str(code), description=text) for code, text in exits.MEANINGS.items()]


def routes() -> list[Entry]:
    """Routes of the API, with what their handlers say and the scope that a key needs."""
    return [
        Entry(
            group="",
            name=f"{route.method} {route.path}",
            description=_sentence(route.handler.__doc__)
            and f"{_sentence(route.handler.__doc__)} {_needs(route)}",
        )
        for route in ROUTES
    ]


def spec() -> list[Entry]:
    """Every field of a spec, those inside others by their path; other spellings of a field are left out."""
    return list(_properties(json_schema(), ""))


def _properties(schema: dict[str, Any], parent: str) -> Iterator[Entry]:
    for name, field in cast("dict[str, dict[str, Any]]", schema.get("properties", {})).items():
        if field.get("deprecated"):
            continue
        yield Entry(group="", name=f"{parent}{name}", description=str(field.get("description", "")))
        for form in cast("list[dict[str, Any]]", field.get("anyOf", [field])):
            yield from _properties(form, f"{parent}{name}.")


def _sentence(docstring: str | None) -> str:
    return " ".join((docstring or "").split())


def _needs(route: Route) -> str:
    return f"Scope: {route.scope.value}." if route.scope else "No key."


def _trees(folder: str = "") -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((PACKAGE / folder).rglob("*.py")):
        yield path, ast.parse(path.read_text())


def _calls(folder: str = "") -> Iterator[tuple[ast.Call, str]]:
    for _, tree in _trees(folder):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                yield node, ast.unparse(node.func).rpartition(".")[2]


def _two_strings(call: ast.Call, keyword: str = "documentation") -> tuple[str, str]:
    """The first argument and the second, or the one named `keyword`, where they are plain strings."""
    values = [*call.args[:2], *(word.value for word in call.keywords if word.arg == keyword)]
    texts = [
        value.value for value in values if isinstance(value, ast.Constant) and isinstance(value.value, str)
    ]
    return (texts[0], " ".join(texts[1].split()) if len(texts) > 1 else "") if texts else ("", "")


def _with_default(field: ast.AnnAssign, text: str) -> str:
    if not text or field.value is None:
        return text
    return f"{text} Default: `{ast.unparse(field.value)}`."


def _summary(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    return " ".join((ast.get_docstring(node) or "").split())


KINDS: dict[str, Callable[[], list[Entry]]] = {
    "reasons": reasons,
    "events": events,
    "errors": errors,
    "settings": settings,
    "metrics": metrics,
    "spec": spec,
    "cli": verbs,
    "exit-codes": exit_codes,
    "api": routes,
}
"""Page in docs/reference -> what it must contain."""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def markdown(entries: list[Entry]) -> str:
    """Tables, one for each group, in the order of the code."""
    parts: list[str] = []
    for group in dict.fromkeys(entry.group for entry in entries):
        title, _, text = group.partition(": ")
        if title:
            parts += [f"## {title}", "", *([text, ""] if text else [])]
        parts += ["| name | meaning |", "|---|---|"]
        parts += [
            f"| `{entry.name}` | {_cell(entry.description)} |" for entry in entries if entry.group == group
        ]
        parts.append("")
    return "\n".join(parts)


def write_all(folder: Path) -> None:
    """Write one file a kind, which the page of the same name includes."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, listed in KINDS.items():
        (folder / f"{kind}.md").write_text(markdown(listed()) or "(none yet)\n")
    (folder / "helps.md").write_text(helps())


if __name__ == "__main__":
    print(markdown(KINDS[sys.argv[1]]()))
