"""The console: how soon its first page is read over 3G, a list of ten thousand workloads, and hundreds who watch.

3G is what Chromium's own throttle makes of loopback: 1.6 Mbit/s, 150 ms to the first byte of each answer.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import httpx

from bench import common, idle, live

WORKLOADS = 10_000
VIEWERS = 500
BYTES_MAX = 150_000
MEGABIT_BYTES: Final = 1_000_000 / 8
SPEC: Final = {"name": "waits", "run": "true", "resources": {"accelerators": "H100:64", "cpus": 1}}
INTERACTIVE: Final = "performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd"
PAINTED: Final = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


def signed_in(factory: live.Live) -> dict[str, str]:
    """The cookies of a session."""
    with httpx.Client(base_url=factory.url) as http:
        answer = http.post("/console/sign-in", data={"key": factory.key})
        if answer.status_code != 303:
            raise RuntimeError(f"no sign-in: {answer.status_code}")
        return dict(http.cookies)


def _adding(sizes: list[float]) -> Callable[[dict[str, Any]], None]:
    def add(event: dict[str, Any]) -> None:
        sizes.append(event["encodedDataLength"])

    return add


def over_3g(factory: live.Live, rounds: int) -> dict[str, list[float]]:
    """First contentful paint and the end of the page's scripts (ms), and bytes on the wire, with an empty cache."""
    from playwright.sync_api import sync_playwright

    taken: dict[str, list[float]] = {"paint": [], "interactive": [], "bytes": []}
    cookies = signed_in(factory)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for _ in range(rounds):
            context = browser.new_context(viewport={"width": 390, "height": 844})
            context.add_cookies(
                [{"name": name, "value": value, "url": factory.url} for name, value in cookies.items()]
            )
            page = context.new_page()
            session: Any = context.new_cdp_session(page)  # its events are dicts of any shape
            sizes: list[float] = []
            session.send("Network.enable")
            session.on("Network.loadingFinished", _adding(sizes))
            session.send(
                "Network.emulateNetworkConditions",
                {
                    "offline": False,
                    "latency": 150,
                    "downloadThroughput": 1.6 * MEGABIT_BYTES,
                    "uploadThroughput": 0.75 * MEGABIT_BYTES,
                },
            )
            page.goto(f"{factory.url}/console/", wait_until="load")
            page.wait_for_timeout(500)
            taken["paint"].append(page.evaluate(PAINTED))
            taken["interactive"].append(page.evaluate(INTERACTIVE))
            taken["bytes"].append(sum(sizes))
            context.close()
        browser.close()
    return taken


def listed(factory: live.Live, count: int, rounds: int) -> dict[str, list[float]]:
    """How long the factory takes over lists of `count` workloads, ms, over loopback, uncompressed."""
    with factory.client() as client:
        for first in range(0, count, 1000):
            client.submit({**SPEC, "name": f"waits-{first}", "array": min(1000, count - first)})
        client.submit({**SPEC, "name": "needle"})
    paths = {
        "newest": "/console/workloads",
        "by state": "/console/workloads?status=queued",
        "by word, one of all": "/console/workloads?q=needle",
        "by word, all": "/console/workloads?q=waits",
    }
    taken: dict[str, list[float]] = {name: [] for name in paths}
    with httpx.Client(base_url=factory.url, cookies=signed_in(factory), timeout=60) as http:
        http.headers["accept-encoding"] = "identity"
        for _ in range(rounds):
            for name, path in paths.items():
                began = time.perf_counter()
                http.get(path).raise_for_status()
                taken[name].append((time.perf_counter() - began) * 1000)
    return taken


async def _view(
    http: httpx.AsyncClient, changed: list[float], told: list[float], stop: asyncio.Event
) -> None:
    """One open page: it listens, and asks for its main part after each word. `told` is when it had what changed."""
    async with http.stream("GET", "/console/live") as stream:
        async for line in stream.aiter_lines():
            if stop.is_set():
                return
            if line == "event: changed":
                since = changed[-1] if changed else 0.0
                answer = await http.get("/console/", headers={"x-tawtin-part": "main"})
                if answer.status_code == 200 and since:
                    told.append((time.perf_counter() - since) * 1000)


async def _watched(factory: live.Live, viewers: int, seconds: int) -> tuple[list[float], float]:
    cookies = signed_in(factory)
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    changed: list[float] = []
    told: list[float] = []
    stop = asyncio.Event()
    async with (
        httpx.AsyncClient(base_url=factory.url, cookies=cookies, timeout=120, limits=limits) as http,
        httpx.AsyncClient(
            base_url=factory.url, headers={"authorization": f"Bearer {factory.key}"}, timeout=60
        ) as api,
    ):
        watching = [asyncio.create_task(_view(http, changed, told, stop)) for _ in range(viewers)]
        await asyncio.sleep(5)
        before, began = idle.cpu_s(factory.pid), time.perf_counter()
        while time.perf_counter() - began < seconds:
            changed.append(time.perf_counter())
            await api.post("/api/v1/workloads", json=SPEC)
            await asyncio.sleep(5)
        spent = (idle.cpu_s(factory.pid) - before) / (time.perf_counter() - began)
        stop.set()
        for each in watching:
            each.cancel()
        await asyncio.gather(*watching, return_exceptions=True)
    return told, 100 * spent


def measure(*, quick: bool) -> list[common.Figure]:
    """All figures."""
    rounds = 3 if quick else 7
    count, viewers = (1000, 50) if quick else (WORKLOADS, VIEWERS)
    found: list[common.Figure] = []
    peers = "SkyPilot's dashboard and GPUStack's were not installed in this run"
    with live.factory() as factory:
        if Path("/usr/bin/chromium").exists():
            taken = over_3g(factory, rounds)
            found += [
                common.figure("network page over 3G, first contentful paint", "ms", taken["paint"], at_most=600,
                              note=f"cold cache; {peers}"),
                common.figure("network page over 3G, interactive", "ms", taken["interactive"], at_most=1000,
                              note="the page's scripts have run"),
                common.figure("network page, all it loads", "bytes", taken["bytes"], at_most=BYTES_MAX),
            ]  # fmt: skip
        else:
            found.append(common.skipped("network page over 3G", "ms", "Debian's chromium is not installed"))
        for name, times in listed(factory, count, rounds).items():
            found.append(common.figure(f"{count:,} workloads, list: {name}", "ms", times, at_most=100))
    with live.factory() as factory:
        told, percent = asyncio.run(_watched(factory, viewers, 10 if quick else 40))
        delay = common.percentile(told, 95) if told else None
        found += [
            common.figure(f"{viewers} who watch the network page, change to its new content, p95", "ms", told,
                          value=delay, at_most=1000,
                          note=f"median {statistics.median(told) if told else 0:.0f} ms; a change each 5 s; the client "
                               "runs on the same two cores"),
            common.figure(f"{viewers} who watch, processor of the factory", "% of a core", [percent], at_most=30),
        ]  # fmt: skip
    return found


if __name__ == "__main__":
    sys.exit(common.main(measure))
