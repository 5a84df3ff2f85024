"""What the tests of pages rest on can fail: complaints of pages are found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.console.browser import Watched, picture, violations
from tests.console.stage import Answer, Stage


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.cut()


def complaints(browser: Browser, stage: Stage, body: str) -> list[str]:
    stage.put("/", f'<!doctype html><html lang="en"><title>t</title>{body}</html>')
    who = Watched(browser, stage.origin)
    page = who.page("/")
    page.wait_for_load_state("load")
    return who.close()


@pytest.mark.browser
def test_a_page_that_complains_fails_its_test(browser: Browser, stage: Stage) -> None:
    stage.answers["/favicon.ico"] = Answer(body=b"", kind="image/x-icon")
    assert complaints(browser, stage, "<main>plain</main>") == []
    (inline,) = complaints(browser, stage, "<script>1</script>")
    assert "Content Security Policy" in inline
    (style,) = complaints(browser, stage, '<p style="color: red">')
    assert "Content Security Policy" in style
    outside = complaints(browser, stage, '<img src="http://outside.example/a.png" alt="">')
    assert any("outside.example" in each for each in outside)


@pytest.mark.browser
def test_axe_finds_what_is_wrong_and_pictures_are_kept(
    browser: Browser, stage: Stage, tmp_path: Path
) -> None:
    stage.put(
        "/", '<!doctype html><html lang="en"><title>t</title><main><h1>t</h1><img src="/a.png"></main></html>'
    )
    who = Watched(browser, stage.origin)
    page = who.page("/")
    (found,) = violations(page)
    assert found.startswith("image-alt (critical): ['img']")
    assert picture(page, "broken", tmp_path).read_bytes().startswith(b"\x89PNG")
    who.close()
