"""Runnable code in pages works: Python is run, specs are parsed. Blocks of a page share folder and names."""

from __future__ import annotations

from pathlib import Path

import pytest

from tawtin.spec import parse_any
from tests.docs.pages import ROOT, Block, blocks, pages

PAGES = [page for page in pages() if blocks(page.read_text())]


def run_python(block: Block, names: dict[str, object], page: Path) -> None:
    code = compile("\n" * block.line + block.code, str(page), "exec")
    exec(code, names)  # noqa: S102 - running the page is the test


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_runnable_block_works(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__page__"}
    for block in blocks(page.read_text()):
        match block.kind:
            case "python":
                run_python(block, names, page)
            case "spec":
                check_spec(block, page)
            case kind:
                pytest.fail(f"{page.name}:{block.line}: a runnable block of an unknown kind `{kind}`")


def check_spec(block: Block, page: Path) -> None:
    parsed = parse_any(block.code, f"{page.name}:{block.line}")
    assert parsed.spec.run.strip()


def test_some_page_has_a_runnable_block() -> None:
    assert PAGES
