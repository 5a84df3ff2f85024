"""A store that was lost and made anew says of old reservations that it does not know, not that it never had them."""

from __future__ import annotations

import re
from pathlib import Path

from tawtin.runtime.neighbours import incarnation_of
from tawtin.store.sqlite import SqliteJournal
from tests.cli.conftest import Home


def test_a_store_keeps_its_incarnation_and_a_new_one_has_another(tmp_path: Path):
    found: list[str] = []
    for life in ("first", "first", "second"):
        home = Home(tmp_path / life)
        if not (tmp_path / life / "factory.toml").exists():
            assert home.tawtin("init", "--name", "Nairobi", "--country", "KE", "--port", "0").code == 0
        home.up()
        home.end()
        journal = SqliteJournal(tmp_path / life / "data" / "journal.db")
        found.append(incarnation_of(journal.events(0, 1)))
        journal.close()
    first, again, second = found
    assert first == again != second
    assert re.fullmatch("[0-9a-f]{16}", first)


def test_an_empty_store_has_one_too():
    assert incarnation_of([]) == "0"
