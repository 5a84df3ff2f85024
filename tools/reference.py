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


def _summary(cls: ast.ClassDef) -> str:
    return " ".join((ast.get_docstring(cls) or "").split())


KINDS: dict[str, Callable[[], list[Entry]]] = {"reasons": reasons, "events": events}
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
        (folder / f"{kind}.md").write_text(markdown(listed()))


if __name__ == "__main__":
    print(markdown(KINDS[sys.argv[1]]()))
