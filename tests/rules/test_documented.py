"""The page on rules names every field of a pack and every class of data."""

from __future__ import annotations

from pathlib import Path

import pytest

from tawtin.model.rules import DATA_CLASSES, SECTORS, Case, Facts, Pack, Rule, Standing

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "rules.md").read_text()
NAMES = {"from_ms": "from", "until_ms": "until", "at_ms": "at", "data_class": "class"}
FIELDS = sorted(
    {NAMES.get(name, name) for kind in (Rule, Case, Facts, Pack) for name in kind.__struct_fields__}
    - {"sha256", "rules", "cases"}
)


@pytest.mark.parametrize("word", [*FIELDS, *DATA_CLASSES, *SECTORS, *(each.value for each in Standing)])
def test_the_page_names_it(word: str):
    assert f"`{word}`" in PAGE or f"`{word}." in PAGE


@pytest.mark.parametrize("name", DATA_CLASSES)
def test_a_class_means_there_what_it_means_in_the_code(name: str):
    assert f"| `{name}` | {DATA_CLASSES[name]} |" in PAGE
