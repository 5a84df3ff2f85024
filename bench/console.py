"""The console: how soon its first page is read over 3G, a list of ten thousand workloads, and hundreds who watch.

The page over 3G stands beside the dashboards of SkyPilot and GPUStack, and beside other ways of handing it out.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import httpx

from bench import common, dashboards, deliveries, idle, live, paint, viewers

WORKLOADS = 10_000
VIEWERS = 500
BYTES_MAX = 150_000
SETTLE_S: Final = 3
SPEC: Final = {"name": "waits", "run": "true", "resources": {"accelerators": "H100:64", "cpus": 1}}


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What a crowd of viewers saw, and what that took."""

    delays: list[float]
    """From each change to each viewer's page that shows it, ms."""
    never: int
    """How many of these never came."""
    percent: float
    """Of a core, the factory's."""
    load: float
    """Of the machine over the minute before."""
    client_percent: float
    """The same of the process that has the viewers."""
    refused: int
    """Answers that were not 200, and connections that ended."""


def signed_in(factory: live.Live) -> dict[str, str]:
    """The cookies of a session."""
    with httpx.Client(base_url=factory.url) as http:
        answer = http.post("/console/sign-in", data={"key": factory.key})
        if answer.status_code != 303:
            raise RuntimeError(f"no sign-in: {answer.status_code}")
        return dict(http.cookies)


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


def watched(factory: live.Live, count: int, changes: int, pause_s: float) -> Watched:
    """Let `count` viewers watch the Network page while a workload is submitted each `pause_s` seconds."""
    with viewers.watching(factory.url, count, signed_in(factory)) as crowd, factory.client() as client:
        time.sleep(SETTLE_S)
        at: list[float] = []
        load = os.getloadavg()[0]
        before, began = idle.cpu_s(factory.pid), time.monotonic()
        for number in range(changes):
            at.append(time.monotonic())
            client.submit(SPEC)
            time.sleep(max(0.0, began + (number + 1) * pause_s - time.monotonic()))
        spent_s, took_s = idle.cpu_s(factory.pid) - before, time.monotonic() - began
        time.sleep(SETTLE_S)
        report = crowd.report()
    delays, never = viewers.delays(report, at)
    return Watched(
        delays=delays,
        never=never,
        percent=100 * spent_s / took_s,
        load=load,
        client_percent=100 * report.cpu_s / (took_s + SETTLE_S),
        refused=report.failed + report.lost,
    )


def painted(factory: live.Live, rounds: int) -> list[common.Figure]:
    """The Network page over 3G, to a browser that has nothing of it, beside other dashboards' pages."""
    if not paint.there():
        return [common.skipped("network page over 3G", "ms", "Debian's chromium is not installed")]
    own = paint.Page(name="network", origin=factory.url, path="/console/", cookies=signed_in(factory))
    with ExitStack() as running:
        others: list[paint.Page] = []
        missing: list[str] = []
        for serve in (dashboards.skypilot, dashboards.gpustack):
            try:
                others += running.enter_context(serve())
            except dashboards.Missing as why:
                missing.append(f"{serve.__name__}: {why}")
        load = os.getloadavg()[0]
        ours, theirs = _in_turn(own, others, rounds)
    found = [
        common.figure("network page over 3G, first contentful paint", "ms", ours.paint, at_most=600,
                      note="; ".join([f"empty cache; load of the machine before {load:.1f}", *missing])),
        common.figure("network page over 3G, interactive", "ms", ours.interactive, at_most=1000,
                      note="something is painted and the scripts of the document have run"),
        common.figure("network page over 3G, largest contentful paint", "ms", ours.largest),
        common.figure("network page, all it loads", "bytes", ours.bytes, at_most=BYTES_MAX,
                      note="of that the sheet once more, for the pages to come"),
    ]  # fmt: skip
    for page, other in zip(others, theirs, strict=True):
        for name, unit, mine, its in (
            ("first contentful paint", "ms", ours.paint, other.paint),
            ("interactive", "ms", ours.interactive, other.interactive),
            ("largest contentful paint", "ms", ours.largest, other.largest),
            ("all it loads", "bytes", ours.bytes, other.bytes),
        ):
            found.append(
                common.figure(
                    f"network page over 3G, {name}, beside {page.name}",
                    unit,
                    mine,
                    peer=page.name,
                    peer_value=statistics.median(its),
                    note=f"{page.name}: {min(its):,.0f} to {max(its):,.0f} {unit}",
                )
            )
    return found


def _in_turn(
    own: paint.Page, others: Sequence[paint.Page], rounds: int
) -> tuple[paint.Seen, list[paint.Seen]]:
    """Look at our own page before each of the others; alone, three times as often."""
    if not others:
        return paint.seen([own], 3 * rounds)[0], []
    taken = paint.seen([each for other in others for each in (own, other)], rounds)
    ours = paint.Seen()
    for one in taken[::2]:
        for name in ("paint", "interactive", "largest", "bytes"):
            getattr(ours, name).extend(getattr(one, name))
    return ours, taken[1::2]


def delivered(factory: live.Live, rounds: int) -> list[common.Figure]:
    """The same page in other ways of handing it out, from a server that does nothing else."""
    if not paint.there():
        return []
    try:
        with deliveries.served(factory, signed_in(factory)) as pages:
            taken = paint.seen(pages, rounds, quiet_s=0.5)
    except ValueError as why:
        return [common.skipped("ways to deliver the network page", "ms", str(why))]
    first = statistics.median(taken[0].paint)
    return [
        common.figure(f"first contentful paint over 3G, way of delivery: {page.name}", "ms", one.paint,
                      peer=pages[0].name if one is not taken[0] else "",
                      peer_value=first if one is not taken[0] else None,
                      note=f"interactive {statistics.median(one.interactive):.0f} ms, "
                           f"{statistics.median(one.bytes):,.0f} bytes")
        for page, one in zip(pages, taken, strict=True)
    ]  # fmt: skip


def measure(*, quick: bool) -> list[common.Figure]:
    """All figures."""
    rounds = 3 if quick else 7
    count, crowd = (1000, 50) if quick else (WORKLOADS, VIEWERS)
    found: list[common.Figure] = []
    with live.factory() as factory:
        found += painted(factory, 1 if quick else 3)
        found += delivered(factory, rounds)
        for name, times in listed(factory, count, rounds).items():
            found.append(common.figure(f"{count:,} workloads, list: {name}", "ms", times, at_most=100))
    paces = (("a change each 5 s", 2 if quick else 8, 5.0), ("a change each second", 4 if quick else 20, 1.0))
    for words, changes, pause_s in paces:
        with live.factory() as factory:
            found += told(watched(factory, crowd, changes, pause_s), f"{crowd} who watch, {words}")
    return found


def told(seen: Watched, name: str) -> list[common.Figure]:
    """The figures of one crowd."""
    delay = common.percentile(seen.delays, 95) if seen.delays and not seen.never else None
    note = (
        f"median {statistics.median(seen.delays or [0]):.0f} ms; {seen.never} changes were not seen, "
        f"{seen.refused} answers refused or connections lost; the viewers, a process of their own, took "
        f"{seen.client_percent:.1f} % of a core; load of the machine before {seen.load:.1f}"
    )
    return [
        common.figure(f"{name}: from it to the page that shows it, p95", "ms", seen.delays, value=delay,
                      at_most=1000, note=note),
        common.figure(f"{name}: processor of the factory", "% of a core", [seen.percent], at_most=30),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(common.main(measure))
