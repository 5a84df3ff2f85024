"""Debian's Chromium, driven by Playwright: pages that may ask their own origin alone and must not complain."""

from __future__ import annotations

import re
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

ROOT: Final = Path(__file__).parents[2]
BUILT: Final = ROOT / "src" / "tawtin" / "web" / "console" / "static" / "built"
AXE: Final = ROOT / ".make" / "console" / "axe.min.js"
PICTURES: Final = ROOT / ".cache" / "pictures"
WCAG: Final = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa")
WORKSPACE: Final = re.compile(r"wl-[a-z0-9]+\.localhost")
WIDE: Final = (1440, 900)
NARROW: Final = (390, 844)
WAIT_MS: Final = 20_000
"""How long a page may take to get where a test wants it, on a machine that stalls now and then."""


def missing() -> str:
    """What a page cannot be looked at without, or nothing."""
    if shutil.which("chromium") is None:
        return "a browser (Debian package chromium)"
    if not (AXE.exists() and (BUILT / "LICENSES.txt").exists()):
        return "the console's scripts (sh tools/bootstrap.sh console)"
    return ""


@contextmanager
def chromium() -> Generator[Browser]:
    """A browser without a window, which finds no host but this one."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=[
                "--no-sandbox",
                "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE *.localhost",
            ],
        )
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """Pages of one reader: one set of cookies, one language, one theme. What they complain of is kept in `problems`."""

    def __init__(
        self,
        browser: Browser,
        origin: str,
        *,
        language: str = "en",
        theme: Literal["light", "dark"] = "light",
        size: tuple[int, int] = WIDE,
        scripts: bool = True,
    ) -> None:
        self.origin = origin
        self.problems: list[str] = []
        self._forgiven: list[re.Pattern[str]] = []
        self.context = browser.new_context(
            base_url=origin,
            locale=language,
            color_scheme=theme,
            viewport={"width": size[0], "height": size[1]},
            java_script_enabled=scripts,
            reduced_motion="reduce",
        )
        self.context.set_default_timeout(WAIT_MS)
        self.context.on("request", lambda request: self._asked(request.url))
        self.context.on("weberror", lambda error: self.problems.append(f"error of a script: {error.error}"))
        self.context.on("console", self._said)

    def page(self, path: str) -> Page:
        """Open a page, in a tab of its own."""
        page = self.context.new_page()
        page.goto(path, wait_until="domcontentloaded")
        return page

    def forgive(self, pattern: str) -> None:
        """What a test provokes itself, such as requests to a server that it has ended, is no problem."""
        self._forgiven.append(re.compile(pattern))

    def close(self) -> list[str]:
        """Close everything; return what is not forgiven."""
        self.context.close()
        return [each for each in self.problems if not any(pattern.search(each) for pattern in self._forgiven)]

    def _asked(self, url: str) -> None:
        parts = urlsplit(url)
        own = urlsplit(self.origin)
        if _is_workspace(url):
            return
        if parts.scheme in {"http", "https", "ws", "wss"} and parts.netloc != own.netloc:
            self.problems.append(f"request to another origin: {url}")

    def _said(self, message: ConsoleMessage) -> None:
        """Chromium says violations of the content security policy as errors on the console."""
        if message.type == "error" and not _is_workspace(str(message.location.get("url", ""))):
            self.problems.append(f"on the console: {message.text}")


def _is_workspace(url: str) -> bool:
    """Whether this is of a workspace, whose program is not ours and says what it likes at an origin of its own."""
    return WORKSPACE.fullmatch(urlsplit(url).hostname or "") is not None


def violations(page: Page) -> list[str]:
    """What axe-core finds against WCAG 2.2 AA in the present state of a page, a line for each element."""
    page.evaluate(AXE.read_text())
    asked: dict[str, Any] = {
        "runOnly": {"type": "tag", "values": list(WCAG)},
        "resultTypes": ["violations"],
    }
    found: list[dict[str, Any]] = page.evaluate(
        "async (asked) => (await axe.run(document, asked)).violations", asked
    )
    return [f"{rule['id']} ({rule['impact']}): {_where(node)}" for rule in found for node in rule["nodes"]]


def _where(node: dict[str, Any]) -> str:
    why = " ".join(str(node.get("failureSummary", "")).split())
    return f"{node['target']} {node['html'][:120]} - {why}"


def picture(page: Page, name: str, folder: Path = PICTURES, *, whole: bool = False) -> Path:
    """Keep what a page looks like, its first screen or all of it, as `<name>.png`; return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    page.evaluate("document.fonts.ready")
    file = folder / f"{name}.png"
    page.screenshot(path=file, full_page=whole, animations="disabled", caret="hide")
    return file
