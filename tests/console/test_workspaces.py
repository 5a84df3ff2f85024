"""A notebook in two clicks: made on a page, opened at an origin of its own, with a cell that computes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from demo.factory import PLACES, Factory
from tests.console.browser import WAIT_MS, violations
from tests.console.stage import until
from tests.console.test_pages import LANGUAGES, Reader, signed_in

pytestmark = [
    pytest.mark.browser,
    pytest.mark.jupyter,
    pytest.mark.sandbox,
    pytest.mark.slow,
    pytest.mark.timeout(300),
]
expect.set_options(timeout=WAIT_MS)
STARTS_MS = 120_000
"""How long a notebook may take to be there on a machine that does other things as well."""
CREATE = {"en": "Start and open", "fr": "Démarrer et ouvrir", "ar": "بدء وفتح"}
OPEN = {"en": "Open", "fr": "Ouvrir", "ar": "فتح"}
NAME = "lab"


def computed(lab: Page, cell: str) -> str:
    """What a new notebook's first cell gives. A kernel that is not there yet drops what it is asked: ask it again."""
    lab.locator(".jp-LauncherCard[data-category=Notebook]").first.click(timeout=STARTS_MS)
    editor = lab.locator(".jp-Notebook:visible .jp-CodeCell .cm-content").first
    editor.click()
    lab.keyboard.insert_text(cell)
    output = lab.locator(".jp-Notebook:visible .jp-OutputArea-output").first

    def asked() -> bool:
        editor.press("Control+Enter")
        lab.wait_for_timeout(1_000)
        return output.is_visible()

    until(asked, "the cell computes", STARTS_MS / 1000)
    return output.inner_text().strip()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    """One factory of the demonstration, with JupyterLab for its workspaces."""
    made = Factory(tmp_path_factory.mktemp("one") / "ma")
    try:
        made.make(PLACES[0])
        made.up()
        yield made
    finally:
        made.end()
    assert made.processes() == []


def test_a_notebook_is_two_clicks_away_and_computes(site: Factory, reader: Reader) -> None:
    _, page = signed_in(reader, site, "ar")
    page.goto("/console/workspaces")
    assert violations(page) == []
    page.locator("#ws-name").fill(NAME)
    page.get_by_role("button", name=CREATE["ar"]).click()
    page.wait_for_url(re.compile(r"^http://wl-[a-z0-9]+\.localhost:"), timeout=STARTS_MS)
    cell = "import os; print(6 * 7, os.getcwd(), os.environ.get('TAWTIN_DOOR_TOKEN'))"
    assert computed(page, cell) == "42 /home/run/work None"


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_is_opened_again_in_each_language(site: Factory, reader: Reader, language: str) -> None:
    who, page = signed_in(reader, site, language)
    page.goto("/console/workspaces")
    row = page.locator("tr", has_text=NAME)
    with who.context.expect_page() as opened:
        row.get_by_role("link", name=OPEN[language]).click()
    lab = opened.value
    lab.wait_for_url(re.compile(r"^http://wl-[a-z0-9]+\.localhost:"))
    lab.goto(f"http://{urlsplit(lab.url).netloc}/lab?reset")  # without the notebooks that were open before
    assert computed(lab, "print(6 * 7)") == "42"
    assert urlsplit(lab.url).netloc != urlsplit(who.origin).netloc
