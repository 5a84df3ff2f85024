"""The page of models in a real browser, before a real model server: llama.cpp with a small model, one factory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import pytest
from playwright.sync_api import Locator, Page, expect

from tawtin.web.console.words import words_of
from tests.cli.conftest import Home, made
from tests.console.browser import WAIT_MS, Watched, violations
from tests.console.stage import until
from tests.gateway.llama import Server, serving

pytestmark = [pytest.mark.browser, pytest.mark.llama, pytest.mark.timeout(300)]
Reader = Callable[..., Watched]
expect.set_options(timeout=WAIT_MS)
FRENCH: Final = words_of("fr", "MA")
TOKENS: Final = 400
MODELS: Final = """
[gateway]
port = 0
snapshot_ms = 100

[models.tiny]
licence = "Apache-2.0"
origin = "MA"
languages = ["ar", "fr"]
context_tokens_max = 512
input_minor_per_million = 1000000
output_minor_per_million = 2000000
[[models.tiny.replicas]]
url = "{url}"
"""
TRIES: Final = 20
"""The model is small and quick: it is not always held before the end of its answer."""


@dataclass
class Bed:
    """One factory that serves one model."""

    home: Home
    model: Server


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    folder = tmp_path_factory.mktemp("models")
    with serving(folder / "tiny.gguf") as model:
        home = made(folder / "home")
        try:
            settings = home.folder / "factory.toml"
            settings.write_text(settings.read_text() + MODELS.format(url=model.url))
            home.up()
            yield Bed(home, model)
        finally:
            home.end()


def models_page(reader: Reader, bed: Bed, **how: object) -> Page:
    """The page, signed in, in French."""
    who = reader(_address(bed.home), language="fr", **how)
    page = who.page("/console/sign-in?next=/console/models")
    page.locator("#key").fill((bed.home.folder / "data" / "owner.key").read_text().strip())
    page.locator("#key").press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(FRENCH.plain("nav-models"))
    return page


def _address(home: Home) -> str:
    return str(json.loads((home.folder / "data" / "address.json").read_text())["url"])


def ask(page: Page, text: str, tokens: int) -> None:
    page.locator("#ask-prompt").fill(text)
    page.locator("#ask-tokens").fill(str(tokens))
    page.get_by_role("button", name=FRENCH.plain("models-ask"), exact=True).click()


def fact(page: Page, key: str) -> Locator:
    return page.locator(f"[data-answer-facts] dt:has-text('{FRENCH.plain(key)}') + dd").first


def used(page: Page, column: str) -> int:
    """A figure of the only model's row, as the page says it now."""
    cell = page.locator("tbody tr", has_text="tiny").first.locator(f"td[data-h='{FRENCH.plain(column)}']")
    digits = "".join(each for each in cell.inner_text() if each.isdigit())
    return int(digits or 0)


def begun(page: Page, bed: Bed) -> None:
    """Ask until an answer is on the page in part, and the model held."""
    stop = page.locator("[data-ask-stop]")
    for _ in range(TRIES):
        ask(page, "Quelle est la capitale ? <b>السلام عليكم</b>", TOKENS)
        until(lambda: page.locator("[data-answer-text]").text_content(), "the answer begins")
        bed.model.hold()
        page.wait_for_timeout(300)  # what was on its way arrives, the end of the answer maybe
        if stop.is_visible():
            return
        bed.model.go_on()
    raise AssertionError("no answer was ever there in part: it does not stream")


def test_an_answer_is_there_piece_by_piece_and_its_use_is_counted(reader: Reader, bed: Bed) -> None:
    page = models_page(reader, bed)
    assert (used(page, "models-requests"), used(page, "models-tokens")) == (0, 0)
    begun(page, bed)
    answer = page.locator("[data-answer-text]")
    part = answer.inner_text()
    assert page.locator("[data-answer-facts] dt").count() == 0
    assert violations(page) == []
    bed.model.go_on()
    expect(fact(page, "usage-tokens-out")).to_have_text(str(TOKENS))
    expect(fact(page, "models-answered-in")).to_have_text("Maroc")
    expect(fact(page, "models-answered-by")).to_have_text("Casablanca")
    whole = answer.inner_text()
    assert whole.startswith(part)
    assert len(whole) > len(part)
    assert answer.locator("*").count() == 0
    expect(page.locator("[data-ask-stop]")).to_be_hidden()
    assert violations(page) == []
    sent = int(fact(page, "usage-tokens-in").inner_text())

    def counted() -> bool:
        page.reload()
        return used(page, "models-tokens") > 0

    until(counted, "what was asked is counted")
    requests = used(page, "models-requests")
    assert used(page, "models-tokens") == requests * (sent + TOKENS)


def test_an_answer_that_is_stopped_says_that_it_broke_off(reader: Reader, bed: Bed) -> None:
    page = models_page(reader, bed)
    begun(page, bed)
    page.get_by_role("button", name=FRENCH.plain("models-stop"), exact=True).click()
    expect(page.locator("[data-answer-cut]")).to_be_visible()
    assert page.locator("[data-answer-facts] dt").count() == 0
    expect(page.get_by_role("button", name=FRENCH.plain("models-ask"), exact=True)).to_be_enabled()
    bed.model.go_on()


def test_without_scripts_the_whole_answer_is_on_the_next_page(reader: Reader, bed: Bed) -> None:
    page = models_page(reader, bed, scripts=False)
    ask(page, "sans scripts", 24)
    expect(fact(page, "usage-tokens-out")).to_have_text("24")
    expect(page.locator("#ask-prompt")).to_have_value("sans scripts")
    assert page.locator("[data-answer-text]").inner_text() != ""
