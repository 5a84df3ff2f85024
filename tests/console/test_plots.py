"""Plots write months and numbers as the page around them does: in its language, as the factory's country has it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Final

import pytest
from playwright.sync_api import expect

from tawtin.web.console.words import words_of
from tests.console.browser import BUILT, NARROW, WAIT_MS, Watched
from tests.console.stage import Answer, Stage, until

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("browser")]
expect.set_options(timeout=WAIT_MS)
Reader = Callable[..., Watched]
MONTHS: Final = tuple(f"2026-{month:02d}" for month in range(1, 12))
NOTE: Final = """
globalThis.written = [];
const write = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text, ...more) {
  globalThis.written.push(text);
  return write.call(this, text, ...more);
};
"""
"""Keeps what is written on a canvas."""


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    made.answers["/plot.js"] = Answer(body=(BUILT / "plot.js").read_bytes(), kind="text/javascript")
    made.answers["/plot.css"] = Answer(body=(BUILT / "plot.css").read_bytes(), kind="text/css")
    made.answers["/favicon.ico"] = Answer(body=b"", kind="image/x-icon")
    yield made
    made.cut()


def written(
    stage: Stage, reader: Reader, language: str, country: str, **how: object
) -> tuple[list[str], str]:
    """What is on the axes of a plot of months, and beside its line."""
    x = [int(datetime.strptime(each, "%Y-%m").replace(tzinfo=UTC).timestamp() * 1000) for each in MONTHS]
    values = [12_345.67] * (len(MONTHS) - 1) + [999.25]
    series = [{"label": "cost", "unit": "MAD", "values": values}]
    data = json.dumps({"x": x, "series": series, "zero": True, "months": True})
    stage.put(
        "/",
        f'<!doctype html><html lang="{language}" data-locale="{words_of(language, country).written}"><title>t</title>'
        '<link rel="stylesheet" href="/plot.css"><script src="/plot.js" defer></script>'
        f'<main><figure data-plot><script type="application/json">{data}</script></figure></main></html>',
    )
    who = reader(stage.origin, language=language, **how)
    who.context.add_init_script(NOTE)
    page = who.page("/")
    expect(page.locator("figure canvas")).to_be_visible()
    until(lambda: page.evaluate("globalThis.written.length > 3"), "the axes are drawn")
    said: list[str] = page.evaluate("globalThis.written")
    return said, page.locator(".plot-name").inner_text()


@pytest.mark.parametrize(
    ("language", "country", "august", "figure"),
    [("ar", "MA", "غشت", "999,25"), ("ar", "EG", "أغسطس", "999.25"), ("fr", "MA", "août", "999,25")],
)
def test_months_and_figures_of_a_plot_are_those_of_the_factorys_country(
    stage: Stage, reader: Reader, language: str, country: str, august: str, figure: str
) -> None:
    said, name = written(stage, reader, language, country)
    assert f"{august} 2026" in said
    assert figure in name


def test_a_plot_of_months_has_ticks_where_months_begin_and_nowhere_else(stage: Stage, reader: Reader) -> None:
    names = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov")
    wide, _ = written(stage, reader, "en", "ZZ")
    assert [each for each in wide if "2026" in each] == [f"{name} 2026" for name in names]
    narrow, _ = written(stage, reader, "en", "ZZ", size=NARROW)
    ticks = [each for each in narrow if "2026" in each]
    assert ticks[-1] == "Nov 2026"
    assert 1 < len(ticks) < len(names)
