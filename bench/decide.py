"""One pass over 100,000 waiting workloads of 200 tenants on 1,500 nodes x 8 GPUs of four models, and what feeds it.

The factory is full and in balance; before each pass 1 % of the queue changes (half new workloads, half ended runs).
A pass includes quotas, budgets, shares, reservations, backfilling, preemption, and the reasons and estimated starts of
the 100 workloads that a page shows. Times are processor time of this process.
"""

from __future__ import annotations

import gc
import os
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bench import common
from bench.common import Figure, figure, say
from bench.factories import SITE, Big
from tawtin.core.decide import decide
from tawtin.core.explain import explain
from tawtin.core.fold import restore
from tawtin.core.state import State
from tawtin.model.workload import Phase

if TYPE_CHECKING:
    from collections.abc import Callable

    from tawtin.core.decide import Decision

WAITING = 100_000
PAGE = 100


def cpu_ms(work: Callable[[], object]) -> float:
    """Processor time of one call, in milliseconds."""
    began = time.process_time()
    work()
    return (time.process_time() - began) * 1000


def resident_mib() -> float:
    """What this process has resident now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def page_of(big: Big) -> list[str]:
    """Waiting workloads as a list would show them, spread over the whole queue."""
    waiting = [each.id for each in big.state.workloads.values() if each.phase is Phase.QUEUED]
    return list(islice(waiting, 0, None, max(1, len(waiting) // PAGE)))[:PAGE]


def passes(big: Big, times: int) -> tuple[list[float], list[float], list[float]]:
    """Processor milliseconds of so many passes, of a page of reasons after each, and of folding each 1,000 changes."""
    decided: list[float] = []
    explained: list[float] = []
    folded: list[float] = []
    for _ in range(times):
        changes = big.churn(WAITING // 100)
        folded.append(cpu_ms(lambda changes=changes: big.tell(*changes)) * 1000 / len(changes))
        found: list[Decision] = []
        decided.append(cpu_ms(lambda found=found: found.append(decide(big.state, big.now_ms))))
        page = page_of(big)
        explained.append(
            cpu_ms(
                lambda page=page, found=found: [
                    explain(big.state, found[0], each, big.now_ms) for each in page
                ]
            )
        )
        big.follow(found[0])
    return decided, explained, folded


def start(big: Big, times: int) -> tuple[list[float], list[float]]:
    """Seconds of decoding and restoring the whole state from its rows, and MiB that it then takes."""
    encode = msgspec.json.Encoder().encode
    tables = (big.state.tenants, big.state.nodes, big.state.accounts, big.state.workloads, big.state.runs)
    rows = [
        (msgspec.json.Decoder(type(record)), encode(record)) for table in tables for record in table.values()
    ]
    seconds: list[float] = []
    sizes: list[float] = []
    for _ in range(times):
        gc.collect()
        before = resident_mib()
        state = State(SITE)

        def work(state: State = state) -> None:
            gc.disable()
            for decoder, body in rows:
                restore(state, decoder.decode(body))
            gc.enable()

        seconds.append(cpu_ms(work) / 1000)
        sizes.append(resident_mib() - before)
        if state.digest() != big.state.digest():
            msg = "the restored state is not the state that was kept"
            raise AssertionError(msg)
        if len(state.workloads) < WAITING:
            msg = "the state is smaller than it should be"
            raise AssertionError(msg)
    return seconds, sizes


def measure(*, quick: bool) -> list[Figure]:
    """Figures for both counts of shapes."""
    times = 5 if quick else 11
    figures: list[Figure] = []
    base = resident_mib()
    for shapes, goal in ((120, 120), (2_000, 250)):
        say(f"decide: filling a factory with {WAITING:,} waiting workloads of {shapes:,} shapes")
        big = Big(shapes)
        big.settle(WAITING)
        gc.collect()
        gc.freeze()
        passes(big, 2)
        decided, explained, folded = passes(big, times)
        whole = [one + other for one, other in zip(decided, explained, strict=True)]
        waiting = len(big.state.workloads) - len(big.state.runs)
        note = f"{waiting:,} waiting, {len(big.state.runs):,} running, {PAGE} reasons a pass; processor time"
        figures += [
            figure(f"a pass and its reasons, {shapes:,} shapes", "ms", whole, at_most=goal, note=note),
            figure(f"the pass alone, {shapes:,} shapes", "ms", decided),
            figure(f"a page of reasons, {shapes:,} shapes", "ms", explained),
            figure(f"folding 1,000 changes, {shapes:,} shapes", "ms", folded),
        ]
        if shapes > 1000:
            seconds, sizes = start(big, 3 if quick else 5)
            figures += [
                figure("start: decode and restore all of it", "s", seconds, at_most=2, note="processor time"),
                figure("resident after the start", "MiB", [base + sizes[0]], at_most=400),
            ]
        gc.unfreeze()
    return figures


if __name__ == "__main__":
    raise SystemExit(common.main(measure))
