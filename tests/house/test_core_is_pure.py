"""Invariant 7 begins here: `core/` and `model/` depend on their arguments alone."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.house.purity import impurities, set_attributes

PACKAGE = Path(__file__).parents[2] / "src" / "tawtin"
PURE = sorted(path for folder in ("core", "model") for path in (PACKAGE / folder).rglob("*.py"))
SET_FIELDS = frozenset(name for path in PURE for name in set_attributes(ast.parse(path.read_text())))


@pytest.mark.parametrize("path", PURE, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_core_and_model_read_no_clock_draw_no_chance_and_do_no_io(path: Path) -> None:
    found = [
        f"{path.name}:{line}: {what}" for line, what in impurities(path.read_text(), set_fields=SET_FIELDS)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "import os.path",
        "from asyncio import sleep",
        "import random as r",
        "def f():\n    import socket",
        "from datetime import datetime\nx = datetime.now()",
        "import datetime\nx = datetime.datetime.utcnow()",
        "open('x')",
        "hash('a')",
        "x = 0.5",
        "def f(a: float) -> None: ...",
        "x = 1 / 2",
        "x = 1\nx /= 2",
        "def f():\n    global x",
        "for x in {1, 2}: ...",
        "for x in set(y): ...",
        "y = {1}\nfor x in y: ...",
        "y = {1} | z\nx = [a for a in y]",
        "def f(y: frozenset[str]):\n    return {a: 1 for a in y}",
        "def f(y: set[str] | None):\n    return list(y)",
        "def f(y: set[str]):\n    return next(iter(y))",
        "y = {1}\nx = y.pop()",
        "y = {1}\nx = [*y]",
        "for x in record.allowed: ...",
    ],
)
def test_each_planted_impurity_is_found(source: str) -> None:
    assert list(impurities(source, set_fields=frozenset({"allowed"})))


@pytest.mark.parametrize(
    "source",
    [
        "from tawtin.model.ids import TenantId",
        "for x in sorted({1, 2}): ...",
        "y = {1}\nx = sum(a for a in y)",
        "y = {1}\nx = {a + 1 for a in y}",
        "y = {1}\ny = [1]\nfor x in y: ...",
        "x = 7 // 2",
        "x = sorted(a for a in record.allowed)",
    ],
)
def test_what_is_pure_passes(source: str) -> None:
    assert not list(impurities(source, set_fields=frozenset({"allowed"})))


def test_the_pure_part_is_not_empty() -> None:
    assert {"core", "model"} <= {path.relative_to(PACKAGE).parts[0] for path in PURE}
