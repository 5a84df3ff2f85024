"""How soon a page is painted in Chromium over a slow line, with an empty cache, and what it loads.

3G is what Chromium's own throttle makes of loopback: 1.6 Mbit/s down, 0.75 up, 150 ms to the first byte of each answer.
No page reaches another host: names are not resolved. Pages that are compared take turns, so that whatever else the
machine does meets all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM: Final = "/usr/bin/chromium"
MEGABIT_BYTES: Final = 1_000_000 / 8
LOADING_S_MAX: Final = 90.0
SIZE: Final = (390, 844)
"""A telephone's."""
ARGUMENTS: Final = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
_THROTTLE: Final = {
    "offline": False,
    "latency": 150,
    "downloadThroughput": 1.6 * MEGABIT_BYTES,
    "uploadThroughput": 0.75 * MEGABIT_BYTES,
}
_TIMES: Final = """() => new Promise(done => new PerformanceObserver(list => done({
  paint: performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null,
  scripts: performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd,
  largest: list.getEntries().at(-1).startTime,
})).observe({type: 'largest-contentful-paint', buffered: true}))"""


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page to look at."""

    name: str
    origin: str
    path: str
    cookies: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What was seen of one page; one entry a round."""

    paint: list[float] = field(default_factory=list[float])
    """First contentful paint, ms after the address was entered."""
    interactive: list[float] = field(default_factory=list[float])
    """When something is painted and the scripts of the document have run, ms."""
    largest: list[float] = field(default_factory=list[float])
    """Largest contentful paint, ms: a page that first shows a spinner has shown its content by then."""
    bytes: list[float] = field(default_factory=list[float])
    """All that it loads, with headers, as it goes over the wire."""


def there() -> bool:
    """Whether Debian's Chromium is installed."""
    return Path(CHROMIUM).exists()


def seen(pages: Sequence[Page], rounds: int, *, quiet_s: float = 2.0) -> list[Seen]:
    """Look at each page `rounds` times, in turn. Raises what Playwright raises where a page cannot be opened.

    A page has loaded what it loads once nothing more came for `quiet_s`.
    """
    from playwright.sync_api import sync_playwright

    taken = [Seen() for _ in pages]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for _ in range(rounds):
            for page, into in zip(pages, taken, strict=True):
                _look(browser, page, into, quiet_s)
        browser.close()
    return taken


def _look(browser: Browser, page: Page, into: Seen, quiet_s: float) -> None:
    context = browser.new_context(viewport={"width": SIZE[0], "height": SIZE[1]})
    context.add_cookies(
        [{"name": name, "value": value, "url": page.origin} for name, value in page.cookies.items()]
    )
    tab = context.new_page()
    tab.goto("about:blank")
    session: Any = context.new_cdp_session(tab)  # its events are dicts of any shape
    sizes: list[float] = []
    arrived = [time.monotonic()]
    session.send("Network.enable")
    session.on("Network.loadingFinished", _adding(sizes, arrived))
    session.send("Network.emulateNetworkConditions", _THROTTLE)
    tab.goto(f"{page.origin}{page.path}", wait_until="load", timeout=LOADING_S_MAX * 1000)
    until = time.monotonic() + LOADING_S_MAX
    arrived[0] = time.monotonic()
    while time.monotonic() < min(until, arrived[0] + quiet_s):
        tab.wait_for_timeout(200)
    times: dict[str, float] = tab.evaluate(_TIMES)
    into.paint.append(times["paint"])
    into.interactive.append(max(times["paint"], times["scripts"]))
    into.largest.append(times["largest"])
    into.bytes.append(sum(sizes))
    context.close()


def _adding(sizes: list[float], arrived: list[float]) -> Callable[[dict[str, Any]], None]:
    def add(event: dict[str, Any]) -> None:
        sizes.append(event["encodedDataLength"])
        arrived[0] = time.monotonic()

    return add
