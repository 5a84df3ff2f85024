"""What a user can meet is documented: names come from the code, and each needs a page and a description."""

from __future__ import annotations

import pytest

from tests.docs.pages import ROOT
from tools.reference import KINDS, Entry, markdown

REFERENCE = ROOT / "docs" / "reference"
WORDS_MIN = 2


def described(entry: Entry) -> bool:
    """Whether there are words, be it one for an exit code."""
    return len(entry.description.split()) >= (1 if entry.name.isdigit() else WORDS_MIN)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_everything_a_user_can_meet_has_a_description(kind: str) -> None:
    entries = KINDS[kind]()
    assert entries, f"nothing was listed for {kind}, so nothing was checked"
    silent = [
        entry.name
        for entry in entries
        if len(entry.description.split()) < WORDS_MIN and not entry.name.isdigit()
    ]
    assert silent == []


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_each_kind_has_a_page_that_shows_the_list(kind: str) -> None:
    assert f"generated/{kind}.md" in (REFERENCE / f"{kind}.md").read_text()
    table = markdown(KINDS[kind]())
    assert [entry.name for entry in KINDS[kind]() if f"`{entry.name}`" not in table] == []


def test_a_thing_without_a_description_would_be_noticed() -> None:
    assert not described(Entry(group="", name="Silent", description=""))
    assert not described(Entry(group="", name="0", description=""))
