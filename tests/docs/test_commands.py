"""Command lines in pages are ones that the command understands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tawtin.cli import exits, main, table
from tests.docs.pages import ROOT, pages

SHELL = re.compile(r"^```sh\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
REDIRECTION = re.compile(r"\s*[<>]\s*\S+")


def commands(text: str) -> list[str]:
    """Every call of `tawtin` in shell blocks."""
    parts = [
        part.strip()
        for block in SHELL.finditer(text)
        for line in block["code"].splitlines()
        for part in re.split(r"&&|\|\||[|;&]", line.partition(" #")[0])
    ]
    return [REDIRECTION.sub("", part) for part in parts if part.startswith("tawtin ")]


PAGES = [page for page in pages() if commands(page.read_text())]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_in_a_page_is_understood(page: Path) -> None:
    wrong: list[str] = []
    for command in commands(page.read_text()):
        _, verb, *rest = shlex.split(command)
        try:
            main.parser_of(verb).parse_args(rest)
        except (exits.Fault, KeyError) as error:
            wrong.append(f"{command}: {error}")
    assert wrong == []


def test_every_verb_of_a_page_would_be_noticed_if_it_went() -> None:
    assert commands("```sh\ntawtin up --detach && tawtin gone x > y  # why\n```\n") == [
        "tawtin up --detach",
        "tawtin gone x",
    ]
    assert "gone" not in table.VERBS
