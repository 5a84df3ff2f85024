"""Workspaces: from the click to a notebook that computes, and a class of thirty who open theirs at once.

JupyterLab is on disk and was started once before, so that nothing is fetched or compiled for the first time.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx

from bench import common, live
from bench.console import signed_in

STUDENTS = 30
JUPYTER: Final = Path(__file__).parents[1] / ".make" / "jupyter"
GIVE_UP_S: Final = 600


def spec(name: str) -> dict[str, Any]:
    """A small notebook."""
    return {
        "name": name,
        "type": "workspace",
        "workspace": {"app": "jupyterlab", "idle": 0},
        "resources": {"cpus": 0.05, "memory": "384MB", "disk_size": "1GB"},
    }


def clicked(factory: live.Live, rounds: int) -> dict[str, list[float]]:
    """From "Start and open" to JupyterLab on the screen, and to the first output of a cell, in milliseconds."""
    from playwright.sync_api import sync_playwright

    taken: dict[str, list[float]] = {"shown": [], "computed": []}
    cookies = signed_in(factory)
    with sync_playwright() as driver, factory.client() as client:
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for number in range(rounds + 1):
            context = browser.new_context(viewport={"width": 1440, "height": 900})
            context.set_default_timeout(GIVE_UP_S * 1000)
            context.add_cookies(
                [{"name": name, "value": value, "url": factory.url} for name, value in cookies.items()]
            )
            page = context.new_page()
            page.goto(f"{factory.url}/console/workspaces")
            page.locator("#ws-name").fill(f"lab-{number}")
            began = time.perf_counter()
            page.locator("form.form button.primary").click()
            card = page.locator(".jp-LauncherCard[data-category=Notebook]").first
            card.wait_for()
            shown = time.perf_counter()
            card.click()
            page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]:visible").first.wait_for()
            page.locator(".jp-Notebook:visible .jp-CodeCell .cm-content").first.click()
            page.keyboard.insert_text("6 * 7")
            page.keyboard.press("Shift+Enter")
            page.locator(".jp-Notebook:visible .jp-OutputArea-output").first.wait_for()
            if number:  # the first one warms up
                taken["shown"].append((shown - began) * 1000)
                taken["computed"].append((time.perf_counter() - began) * 1000)
            context.close()
            client.delete_workspace(f"lab-{number}")
        browser.close()
    return taken


async def _ready(http: httpx.AsyncClient, opened: str, began: float) -> float:
    """Milliseconds from the beginning until JupyterLab answers whoever was let in."""
    parts = urlsplit(opened)
    here = f"http://127.0.0.1:{parts.port}"
    host = {"Host": parts.netloc}
    entered = await http.get(f"{here}{parts.path}?{parts.query}", headers=host)
    if entered.status_code not in {302, 303}:
        raise RuntimeError(f"not let in: {entered.status_code} {entered.text[:200]}")
    cookie = entered.headers["set-cookie"].partition(";")[0]
    status = 0
    while time.perf_counter() - began < GIVE_UP_S:
        answer = await http.get(f"{here}/api/status", headers={**host, "Cookie": cookie})
        status = answer.status_code
        if status == 200:
            return (time.perf_counter() - began) * 1000
        await asyncio.sleep(0.25)
    raise RuntimeError(f"not ready within {GIVE_UP_S} s: {status}")


async def _opened_at_once(factory: live.Live, students: int) -> list[float]:
    headers = {"Authorization": f"Bearer {factory.key}"}
    began = time.perf_counter()
    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None)) as http:

        async def one(number: int) -> float:
            name = f"student-{number}"
            made = await http.post(f"{factory.url}/api/v1/workloads", json=spec(name), headers=headers)
            made.raise_for_status()
            opened = await http.post(f"{factory.url}/api/v1/workspaces/{name}/open", headers=headers)
            opened.raise_for_status()
            return await _ready(http, opened.json()["url"], began)

        return await asyncio.gather(*(one(number) for number in range(students)))


def measure(*, quick: bool) -> list[common.Figure]:
    """All figures."""
    if not (JUPYTER / "ready").exists():
        why = "JupyterLab is not installed (sh tools/bootstrap.sh jupyter)"
        return [common.skipped("click to a notebook that computes", "ms", why)]
    words = ("--name", "bench", "--expose", str(JUPYTER))
    rounds, students = (2, 3) if quick else (7, STUDENTS)
    found: list[common.Figure] = []
    with live.factory(words=words) as factory:
        taken = clicked(factory, rounds)
        found += [
            common.figure("click to JupyterLab on the screen", "ms", taken["shown"]),
            common.figure("click to a notebook that computes", "ms", taken["computed"], at_most=5000,
                          note="with the time of typing"),
        ]  # fmt: skip
    with live.factory("local.cpus_milli=16000", words=words) as factory:
        waits = asyncio.run(_opened_at_once(factory, students))
        found += [
            common.figure(f"{students} open at once, JupyterLab answers: median", "ms", waits,
                          value=statistics.median(waits)),
            common.figure(f"{students} open at once, JupyterLab answers: the last", "ms", waits, value=max(waits)),
        ]  # fmt: skip
    return found


if __name__ == "__main__":
    sys.exit(common.main(measure))
