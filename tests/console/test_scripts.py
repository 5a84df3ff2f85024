"""What pages load does what it says, in a real browser, under the strict content security policy."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tawtin.spec.schema import json_schema
from tests.console.browser import BUILT, WAIT_MS, Watched, violations
from tests.console.stage import Answer, Stage, until

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("browser")]
expect.set_options(timeout=WAIT_MS)
Reader = Callable[..., Watched]
STYLES = """
:root { --ink: #12201e; --ink-2: #475652; --blue: #1c4c94; --surface: #fff; --line: #ccd5d1 }
[data-theme=dark] { --blue: #8fb8f5 }
.log { height: 200px; overflow: auto }
"""


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    kinds = {".js": "text/javascript", ".css": "text/css"}
    for file in BUILT.glob("*.*s"):
        made.answers[f"/static/{file.name}"] = Answer(body=file.read_bytes(), kind=kinds[file.suffix])
    made.answers["/static/test.css"] = Answer(body=STYLES.encode(), kind="text/css")
    made.answers["/favicon.ico"] = Answer(body=b"", kind="image/x-icon")
    yield made
    made.cut()


def html(main: str, *, live: str = "", before: str = "", scripts: tuple[str, ...] = ("app",)) -> str:
    loads = "".join(f'<script src="/static/{name}.js" defer></script>' for name in scripts)
    attribute = f' data-live="{live}"' if live else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>t</title><meta name="csrf" content="c5f">'
        f'<link rel="stylesheet" href="/static/test.css"><link rel="stylesheet" href="/static/plot.css">{loads}'
        f'</head><body{attribute}>{before}<main id="main">{main}</main></body></html>'
    )


CUT = "ERR_CONNECTION_|ERR_INCOMPLETE_CHUNKED|ERR_EMPTY_RESPONSE|ERR_SOCKET_NOT_CONNECTED"
AWAY = '<div id="away" hidden>not live since <time data-age></time></div>'
FORM = (
    '<form><label>Find <input id="find" name="q" value=""></label><label><input id="tick" type="checkbox"> all</label>'
    '<select id="kind" aria-label="kind"><option>job</option><option>service</option></select></form>'
    '<details id="more"><summary>more</summary>text</details><div data-keep id="mine">kept</div>'
)


def live_page(stage: Stage, reader: Reader, count: int = 1) -> tuple[Page, Watched]:
    def say(number: int) -> None:
        stage.put("/", html(f"<h1>{number} runs</h1>{FORM}", live="/live", before=AWAY))

    say(count)
    stream = stage.stream("/live")
    who = reader(stage.origin)
    page = who.page("/")
    until(lambda: stream.readers, "the page reads its stream")
    say(count + 1)
    return page, who


def test_a_live_page_changes_and_keeps_what_its_reader_did(stage: Stage, reader: Reader) -> None:
    page, _ = live_page(stage, reader)
    page.check("#tick")
    page.select_option("#kind", "service")
    page.click("#more summary")
    page.evaluate("document.getElementById('mine').textContent = 'written by a script'")
    page.locator("#find").press_sequentially("wheat")
    page.evaluate("document.getElementById('find').setSelectionRange(1, 3)")

    stage.stream("/live").say("changed")
    expect(page.locator("h1")).to_have_text("2 runs")
    assert page.input_value("#find") == "wheat"
    assert page.is_checked("#tick")
    assert page.input_value("#kind") == "service"
    assert page.evaluate("document.getElementById('more').open")
    assert page.inner_text("#mine") == "written by a script"
    assert page.evaluate("document.activeElement.id") == "find"
    assert page.evaluate("document.activeElement.selectionStart") == 1
    (fetched,) = [each for each in stage.asked if each.headers.get("X-Tawtin-Part") == "main"]
    assert fetched.path == "/"


def test_a_storm_of_changes_is_one_fetch_at_a_time(stage: Stage, reader: Reader) -> None:
    page, _ = live_page(stage, reader)
    for _ in range(200):
        stage.stream("/live").say("changed")
    expect(page.locator("h1")).to_have_text("2 runs")
    stage.put("/", html(f"<h1>the last</h1>{FORM}", live="/live", before=AWAY))
    stage.stream("/live").say("changed")
    expect(page.locator("h1")).to_have_text("the last")
    fetches = [each for each in stage.asked if each.headers.get("X-Tawtin-Part") == "main"]
    assert len(fetches) < 100


def test_a_page_says_that_its_factory_went_away_and_comes_back_by_itself(
    stage: Stage, reader: Reader
) -> None:
    page, who = live_page(stage, reader)
    who.forgive(CUT)
    expect(page.locator("#away")).to_be_hidden()
    stage.cut()
    expect(page.locator("#away")).to_be_visible()
    expect(page.locator("#away time")).to_have_text(re.compile(r"now|second"))
    expect(page.locator("h1")).to_have_text("1 runs")
    stage.mend()
    expect(page.locator("#away")).to_be_hidden()
    expect(page.locator("h1")).to_have_text("2 runs")


def test_a_stream_that_was_refused_is_asked_for_again(stage: Stage, reader: Reader) -> None:
    stage.put("/", html("<h1>one</h1>", live="/live", before=AWAY))
    stage.answers["/live"] = Answer(body=b"", status=503)
    who = reader(stage.origin)
    who.forgive("503")
    page = who.page("/")
    expect(page.locator("#away")).to_be_visible()
    stage.put("/", html("<h1>two</h1>", live="/live", before=AWAY))
    stage.stream("/live")
    expect(page.locator("#away")).to_be_hidden()
    expect(page.locator("h1")).to_have_text("two")


def test_an_answer_that_is_an_error_changes_nothing_and_is_said(stage: Stage, reader: Reader) -> None:
    page, who = live_page(stage, reader)
    who.forgive("500")
    good = stage.answers["/"]
    stage.answers["/"] = Answer(body=html("<h1>broken</h1>").encode(), status=500)
    stage.stream("/live").say("changed")
    expect(page.locator("#away")).to_be_visible()
    expect(page.locator("h1")).to_have_text("1 runs")
    stage.answers["/"] = good
    expect(page.locator("#away")).to_be_hidden()
    expect(page.locator("h1")).to_have_text("2 runs")


def log_page(stage: Stage, reader: Reader) -> Page:
    box = (
        "<div data-log-box><label>Search <input data-log-search></label><output data-log-found></output>"
        '<label><input type="checkbox" data-follow checked> follow</label>'
        '<pre class="log" aria-label="log" data-log="/log" data-log-older="older lines: download the log"></pre></div>'
    )
    stage.put("/", html(f"<h1>log</h1>{box}"))
    stream = stage.stream("/log")
    who = reader(stage.origin)
    who.forgive(CUT)
    page = who.page("/")
    until(lambda: stream.readers, "the page reads the log")
    return page


def lines(page: Page) -> list[str]:
    return page.locator("pre").evaluate(
        "pre => [...pre.children].filter(e => !e.hidden).map(e => e.textContent)"
    )


def test_whatever_a_run_writes_is_shown_as_text(stage: Stage, reader: Reader) -> None:
    page = log_page(stage, reader)
    log = stage.stream("/log")
    log.log(b"<img src=x onerror=alert(1)><script>alert(2)</script>\n")
    log.log(b"\x1b[31m<img src=x onerror=alert(3)>\x1b[0m\n")
    log.log(b"\x1b[31mred\x1b[0m \x1b[1;33myellow\x1b[m \x1b[2mdim\x1b[22m plain\x1b[38;5;9mbright\x1b[0m\n")
    log.log(
        b"\x1b]0;a title\x07\x1b]8;;http://evil.example/\x1b\\link\x1b]8;;\x1b\\ \x1b[2J\x1b[10;10Hhere\x00\x08\n"
    )
    log.log("نونبر\n".encode()[:3])
    log.log("نونبر\n".encode()[3:])
    log.log(b"broken \xff\xfe utf-8\n\x1b[3")
    log.log(b"1mcut\x1b[0m escape\n")
    log.log(b" 10%\r 50%\r")
    log.log(b"\n100%\r\nno end")
    log.say("end")
    expect(page.locator("pre")).to_have_attribute("data-js-state", "ended")
    expect(page.locator("pre")).to_contain_text("no end")
    assert lines(page) == [
        "<img src=x onerror=alert(1)><script>alert(2)</script>\n",
        "<img src=x onerror=alert(3)>\n",
        "red yellow dim plainbright\n",
        "link here\n",
        "نونبر\n",
        "broken \ufffd\ufffd utf-8\n",
        "cut escape\n",
        " 50%\n",
        "100%\n",
        "no end",
    ]
    painted = page.locator("pre span").evaluate_all("all => all.map(e => [e.className, e.textContent])")
    assert painted == [
        ["e", "<img src=x onerror=alert(3)>"],
        ["e", "red"],
        ["w", "yellow"],
        ["m", "dim"],
        ["e", "bright"],
        ["e", "cut"],
    ]
    assert page.locator("pre > :not(div), pre div > :not(span)").count() == 0
    assert violations(page) == []


def test_a_long_log_keeps_its_newest_lines_and_is_searched(stage: Stage, reader: Reader) -> None:
    page = log_page(stage, reader)
    log = stage.stream("/log")
    for start in range(0, 6_000, 1_000):
        log.log(b"".join(b"line %d\n" % number for number in range(start, start + 1_000)))
        expect(page.locator("pre > div").last).to_have_text(f"line {start + 999}\n")
    shown = lines(page)
    assert shown[0] == "older lines: download the log\n"
    assert shown[1] == "line 1000\n"
    assert len(shown) == 5_001
    page.fill("[data-log-search]", "LINE 599")
    expect(page.locator("[data-log-found]")).to_have_text("10")
    assert lines(page)[1:] == [f"line {number}\n" for number in range(5_990, 6_000)]
    log.log(b"not sought\nline 599 again\n")
    expect(page.locator("[data-log-found]")).to_have_text("11")


def test_a_log_is_followed_until_its_reader_scrolls_up(stage: Stage, reader: Reader) -> None:
    page = log_page(stage, reader)
    log = stage.stream("/log")
    at_end = "pre => pre.scrollTop + pre.clientHeight >= pre.scrollHeight - 4"
    log.log(b"".join(b"%d\n" % number for number in range(100)))
    expect(page.locator("pre")).to_contain_text("99")
    assert page.locator("pre").evaluate(at_end)
    page.locator("pre").evaluate("pre => new Promise(done => { pre.onscroll = done; pre.scrollTop = 10; })")
    log.log(b"one more\n")
    expect(page.locator("pre")).to_contain_text("one more")
    assert page.locator("pre").evaluate("pre => pre.scrollTop") == 10
    page.uncheck("[data-follow]")
    page.check("[data-follow]")
    assert page.locator("pre").evaluate(at_end)


def test_a_log_goes_on_where_it_was_cut(stage: Stage, reader: Reader) -> None:
    page = log_page(stage, reader)
    log = stage.stream("/log")
    log.log("before ن".encode()[:-1], "8")
    expect(page.locator("pre")).to_contain_text("before")
    stage.cut()
    expect(page.locator("pre")).to_have_attribute("data-js-state", "waiting")
    stage.asked.clear()
    stage.mend()
    until(lambda: log.readers, "the page reads the log again")
    asked = stage.asked[0]
    assert asked.headers.get("Last-Event-ID") == "8" or asked.path == "/log?after=8"
    log.log("ن".encode()[-1:] + b" after\n", "16")
    expect(page.locator("pre")).to_have_text("before ن after\n")


def test_a_page_that_nobody_sees_has_no_stream(stage: Stage, reader: Reader) -> None:
    page, _ = live_page(stage, reader)
    stream = stage.stream("/live")
    hide = """hidden => {
      Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
      document.dispatchEvent(new Event('visibilitychange'));
    }"""
    page.evaluate(hide, True)

    def gone() -> bool:
        stream.say("changed")
        return not stream.readers

    until(gone, "the stream is closed")
    expect(page.locator("h1")).to_have_text("1 runs")
    page.evaluate(hide, False)
    expect(page.locator("h1")).to_have_text("2 runs")
    expect(page.locator("#away")).to_be_hidden()


def test_what_is_long_is_copied_by_a_button(stage: Stage, reader: Reader) -> None:
    stage.put("/", html('<h1>id</h1><button data-copy="sha256:1&lt;2">Copy</button>'))
    who = reader(stage.origin)
    who.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = who.page("/")
    page.click("button")
    expect(page.locator("button")).to_have_attribute("data-js-copied", "")
    assert page.evaluate("navigator.clipboard.readText()") == "sha256:1<2"


def test_what_cannot_be_undone_is_asked_in_place(stage: Stage, reader: Reader) -> None:
    form = (
        '<form id="f" method="post" action="/cancel" data-confirm><button id="first">Cancel it</button>'
        '<p data-confirm-ask hidden>Sure? <button id="sure">Yes</button>'
        '<button id="no" type="button" data-confirm-no>No</button></p></form>'
    )
    stage.put("/", html(f"<h1>w</h1>{form}"))
    stage.put("/cancel", html("<h1>cancelled</h1>"))
    page = reader(stage.origin).page("/")
    page.click("#first")
    expect(page.locator("#sure")).to_be_focused()
    page.click("#no")
    expect(page.locator("#sure")).to_be_hidden()
    expect(page.locator("#first")).to_be_focused()
    assert [each.method for each in stage.asked if each.method == "POST"] == []
    page.click("#first")
    page.click("#sure")
    expect(page.locator("h1")).to_have_text("cancelled")


def plotted(stage: Stage, *values: float | None) -> None:
    data = {
        "x": [1_764_500_000_000 + 60_000 * i for i in range(len(values))],
        "series": [
            {"label": "GPU", "unit": "%", "values": list(values)},
            {"label": "memory", "unit": "GiB", "values": [value and value / 2 for value in values]},
        ],
        "zero": True,
    }
    table = (
        "<table><caption>GPU</caption><tr><th>at</th><th>value</th></tr><tr><td>0</td><td>1</td></tr></table>"
    )
    figure = (
        f'<figure data-plot><script type="application/json">{json.dumps(data)}</script>{table}</figure>'
        "<button data-theme-toggle>Theme</button>"
    )
    stage.put("/", html(f"<h1>plot</h1>{figure}", live="/live", scripts=("app", "plot")))


PIXELS = """canvas => {
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  const found = new Set();
  for (let i = 0; i < data.length; i += 4) if (data[i + 3] === 255) found.add(`${data[i]},${data[i+1]},${data[i+2]}`);
  return [...found];
}"""


def test_a_plot_is_drawn_in_the_colours_of_the_theme_and_follows_its_data(
    stage: Stage, reader: Reader
) -> None:
    plotted(stage, 10, 40, None, 80)
    stream = stage.stream("/live")
    who = reader(stage.origin)
    page = who.page("/")
    canvas = page.locator("figure canvas")
    expect(canvas).to_be_visible()
    until(lambda: "28,76,148" in canvas.evaluate(PIXELS), "the line in the light theme's blue")
    expect(page.locator(".plot-name").first).to_have_text(re.compile(r"^GPU .*80\s*%"))
    assert violations(page) == []
    page.click("[data-theme-toggle]")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    until(lambda: "143,184,245" in canvas.evaluate(PIXELS), "the line in the dark theme's blue")
    (cookie,) = [each for each in who.context.cookies() if each.get("name") == "tawtin_theme"]
    assert (cookie.get("value"), cookie.get("sameSite"), cookie.get("path")) == ("dark", "Lax", "/")
    until(lambda: stream.readers, "the page reads its stream")
    plotted(stage, 10, 40, None, 95)
    stream.say("changed")
    expect(page.locator(".plot-name").first).to_have_text(re.compile(r"^GPU .*95\s*%"))
    expect(canvas).to_have_count(1)


SCHEMA = Answer(body=json.dumps(json_schema()).encode(), kind="application/schema+json")


def editor_page(stage: Stage, who: Watched, text: str, errors: list[dict[str, Any]]) -> Page:
    stage.answers.setdefault("/schema", SCHEMA)
    plan = f'<p>a plan</p><script type="application/json" id="plan-errors">{json.dumps(errors)}</script>'
    stage.put("/check", plan)
    area = (
        '<form method="post" action="/new"><label for="spec">Spec</label><textarea id="spec" name="spec" '
        f'data-editor="yaml" data-schema="/schema" data-check="/check">{text}</textarea><button>Submit</button></form>'
        '<div id="plan"></div>'
    )
    stage.put("/", html(f"<h1>new</h1>{area}", scripts=("app", "editor")))
    stage.put("/new", html("<h1>taken</h1>"))
    page = who.page("/")
    page.locator(".cm-content").click()
    page.keyboard.press("Control+End")
    return page


def complete(page: Page, typed: str, choose: str) -> str:
    """Type, take the completion, and return the text that the form would send."""
    page.keyboard.type(typed)
    page.keyboard.press("Control+Space")
    return take(page, choose)


def take(page: Page, choose: str) -> str:
    option = page.locator(".cm-tooltip-autocomplete li", has_text=re.compile(f"^{re.escape(choose)}$"))
    option.click()
    return page.input_value("#spec")


def test_the_editor_completes_by_the_schema_and_marks_what_the_server_refuses(
    stage: Stage, reader: Reader
) -> None:
    text = "name: wheat\nresources:\n  any_of:\n    - cpus: 2\n"
    errors = [{"line": 1, "column": 7, "message": "`wheat` is taken <b>already</b>"}]
    page = editor_page(stage, reader(stage.origin), text, errors)
    assert complete(page, "      accel", "accelerators").endswith("      accelerators: ")
    page.keyboard.type("H100:1\n")
    page.keyboard.press("Home")
    page.keyboard.press("Shift+End")
    assert complete(page, "data:\n  cl", "class").endswith("  class: ")
    assert complete(page, "sens", "sensitive").endswith("data:\n  class: sensitive")
    until(lambda: stage.asked[-1].body.endswith("class: sensitive"), "the text is checked once typing stops")
    expect(page.locator("#plan[data-js-state=known]")).to_have_text(re.compile("a plan"))
    expect(page.locator(".cm-lintRange-error")).to_have_text("wheat")
    page.locator(".cm-lintRange-error").hover()
    expect(page.locator(".cm-diagnosticText")).to_have_text("`wheat` is taken <b>already</b>")
    checked = stage.asked[-1]
    assert (checked.method, checked.path) == ("POST", "/check")
    assert checked.headers["X-Tawtin-Csrf"] == "c5f"
    assert checked.headers["Content-Type"] == "application/yaml"
    assert violations(page) == []
    page.click("text=Submit")
    expect(page.locator("h1")).to_have_text("taken")
    (submitted,) = [each for each in stage.asked if each.path == "/new"]
    assert submitted.body.endswith("class%3A+sensitive")


def test_the_editor_completes_after_a_schema_that_failed_and_one_that_was_slow(
    stage: Stage, reader: Reader
) -> None:
    def asked(times: int) -> None:
        until(
            lambda: [each.path for each in stage.asked].count("/schema") == times, "the schema is asked for"
        )

    stage.answers["/schema"] = Answer(body=b"", status=503)
    who = reader(stage.origin)
    who.forgive("503")
    page = editor_page(stage, who, "resources:\n", [])
    page.keyboard.type("x: ")
    asked(1)
    arrived = threading.Event()
    stage.answers["/schema"] = replace(SCHEMA, after=arrived)
    page.keyboard.press("Backspace")
    page.keyboard.type(" ")
    asked(2)
    for _ in "x: ":
        page.keyboard.press("Backspace")
    page.keyboard.type("  accel")
    page.keyboard.press("Control+Space")
    arrived.set()
    assert take(page, "accelerators").endswith("  accelerators: ")


def test_coasts_are_one_symbol_of_the_size_of_the_map() -> None:
    drawn = (BUILT / "coast.svg").read_text()
    assert drawn.count("<symbol") == drawn.count("<path") == 1
    assert '<symbol id="coast" viewBox="0 0 1062 886">' in drawn
    assert 12_000 < len(drawn) < 20_000
