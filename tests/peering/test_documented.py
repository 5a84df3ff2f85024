"""The page on the protocol names every message, every field of it, and every reason to refuse one."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from tawtin.model.roaming import Message
from tawtin.peering.signing import AGE_S_MAX, REQUEST_COVERS, SKEW_S, Token

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
FIELDS = sorted({(kind, name) for kind in get_args(Message) for name in kind.__struct_fields__}, key=str)


@pytest.mark.parametrize(
    ("kind", "field"), FIELDS, ids=[f"{kind.__name__}.{field}" for kind, field in FIELDS]
)
def test_a_message_and_its_fields_are_there(kind: type, field: str):
    tag = kind.__struct_config__.tag  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]
    (row,) = [line for line in PAGE.splitlines() if line.startswith("|") and f"`{tag}`" in line.split("|")[1]]
    assert f"`{field}`" in row or field in {"workload", "epoch"}


@pytest.mark.parametrize("word", [*Token, *REQUEST_COVERS])
def test_a_token_and_a_covered_component_are_there(word: str):
    assert f"`{word}`" in PAGE


def test_the_limits_are_those_of_the_code():
    assert f"the last {AGE_S_MAX} s, with {SKEW_S} s for the clocks" in PAGE.replace("\n", " ")
