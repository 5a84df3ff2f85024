"""A notebook in two clicks: made on a page, opened at an origin of its own, with a cell that computes."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from demo.network import Network
from tests.console.browser import WAIT_MS, violations
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
RESTS = {"en": "Rests", "fr": "Au repos", "ar": "في راحة"}


def computed(lab: Page, cell: str) -> str:
    """What a new notebook's first cell gives."""
    lab.locator(".jp-LauncherCard[data-category=Notebook]").first.click(timeout=STARTS_MS)
    expect(lab.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]:visible").first).to_be_visible(
        timeout=STARTS_MS
    )
    editor = lab.locator(".jp-Notebook:visible .jp-CodeCell .cm-content").first
    editor.click()
    lab.keyboard.insert_text(cell)
    lab.keyboard.press("Shift+Enter")
    output = lab.locator(".jp-Notebook:visible .jp-OutputArea-output").first
    expect(output).to_be_visible(timeout=STARTS_MS)
    return output.inner_text().strip()


@pytest.fixture(scope="module")
def lab_name(network: Network) -> str:
    """A workspace of the module's own."""
    return "lab"


def test_a_notebook_is_two_clicks_away_and_computes(network: Network, reader: Reader, lab_name: str) -> None:
    _, page = signed_in(reader, network.home, "ar")
    page.goto("/console/workspaces")
    assert violations(page) == []
    page.locator("#ws-name").fill(lab_name)
    page.get_by_role("button", name=CREATE["ar"]).click()
    page.wait_for_url(re.compile(r"^http://wl-[a-z0-9]+\.localhost:"), timeout=STARTS_MS)
    assert computed(page, "print(6 * 7)") == "42"
    assert (
        computed(page, "import os; print(os.getcwd(), os.environ.get('TAWTIN_DOOR_TOKEN'))")
        == "/home/run/work None"
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_is_opened_again_in_each_language(
    network: Network, reader: Reader, lab_name: str, language: str
) -> None:
    who, page = signed_in(reader, network.home, language)
    page.goto("/console/workspaces")
    row = page.locator("tr", has_text=lab_name)
    with who.context.expect_page() as opened:
        row.get_by_role("link", name=OPEN[language]).click()
    lab = opened.value
    lab.wait_for_url(re.compile(r"^http://wl-[a-z0-9]+\.localhost:"))
    assert computed(lab, "print(6 * 7)") == "42"
    assert urlsplit(lab.url).netloc != urlsplit(who.origin).netloc
