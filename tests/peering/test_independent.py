"""The second implementation is one: short, and made from nothing of ours."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PARTS = ("independent", "independent_home")


def imported(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module or "." for node in nodes if isinstance(node, ast.ImportFrom)}


@pytest.mark.parametrize("part", PARTS)
def test_it_imports_nothing_of_ours_and_of_others_only_ed25519(part: str):
    allowed = {f"tests.peering.{each}" for each in PARTS}
    found = {name for name in imported(HERE / f"{part}.py") if name not in allowed}
    assert found
    assert {name.partition(".")[0] for name in found} - sys.stdlib_module_names <= {"cryptography"}


@pytest.mark.parametrize("part", PARTS)
def test_each_of_its_two_parts_is_at_most_150_lines(part: str):
    assert len((HERE / f"{part}.py").read_text().splitlines()) <= 150
