"""What every benchmark shares: the record of one figure, a timer, and the printing of a table or of JSON.

A benchmark is a module `bench/<name>.py` with `measure(*, quick: bool) -> list[Figure]` and
`raise SystemExit(common.main(measure))` under `__main__`. Run alone it prints a table, or with `--json` a
JSON list of figures; `--quick` asks for the shortest run that still says something. `python -m bench` runs
each in a process of its own and writes docs/benchmarks.md from their JSON. What cannot be measured here is a
figure with `skipped`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One measured figure, and what it is held against."""

    name: str
    value: float | None
    """What the goal is judged by; usually the median. None where it was skipped."""
    unit: str
    median: float | None = None
    min: float | None = None
    max: float | None = None
    n: int = 1
    """Measurements behind it."""
    peer: str = ""
    """What it is compared with, measured in the same run on the same machine."""
    peer_value: float | None = None
    ratio: float | None = None
    """value / peer_value."""
    goal: str = ""
    """In words and figures, such as `<= 4 x` or `>= 100 /s`."""
    ok: bool | None = None
    """Whether the goal is met; None where there is none or it was skipped."""
    skipped: str = ""
    """Why there is no value."""
    note: str = ""


def data(name: str) -> Path:
    """Where a published trace is, which is not part of this repository: below $TAWTIN_DATA, or beside the checkout."""
    return Path(os.environ.get("TAWTIN_DATA") or Path(__file__).parents[2] / "shared" / "data", name)


def figure(  # noqa: PLR0913 - the fields of a record, all by name
    name: str,
    unit: str,
    samples: Iterable[float],
    *,
    value: float | None = None,
    peer: str = "",
    peer_value: float | None = None,
    at_most: float | None = None,
    at_least: float | None = None,
    judge: Literal["value", "ratio"] = "value",
    note: str = "",
) -> Figure:
    """Return the figure for `samples`, in `unit`: the median, unless `value` names another statistic of them.

    `at_most` and `at_least` are the goal, for the value or for its ratio to `peer_value`.
    """
    taken = sorted(samples)
    middle = statistics.median(taken) if taken else value
    shown = middle if value is None else value
    ratio = shown / peer_value if shown is not None and peer_value else None
    judged = ratio if judge == "ratio" else shown
    limits = [("<=", at_most), (">=", at_least)]
    suffix = " x" if judge == "ratio" else f" {unit}"
    goal = " and ".join(f"{sign} {limit:g}{suffix}" for sign, limit in limits if limit is not None)
    ok: bool | None = None
    if goal and judged is not None:
        ok = (at_most is None or judged <= at_most) and (at_least is None or judged >= at_least)
    return Figure(
        name=name,
        value=shown,
        unit=unit,
        median=middle,
        min=taken[0] if taken else None,
        max=taken[-1] if taken else None,
        n=len(taken) or 1,
        peer=peer,
        peer_value=peer_value,
        ratio=ratio,
        goal=goal,
        ok=ok,
        note=note,
    )


def skipped(name: str, unit: str, reason: str, *, goal: str = "") -> Figure:
    """Return a figure that was not measured, and why."""
    return Figure(name=name, value=None, unit=unit, n=0, goal=goal, skipped=reason)


def percentile(samples: Sequence[float], percent: float) -> float:
    """Return the smallest sample that at least `percent` per cent of all samples do not exceed."""
    taken = sorted(samples)
    rank = -(-len(taken) * percent // 100)
    return taken[max(0, int(rank) - 1)]


def timed(work: Callable[[], object], times: int) -> list[float]:
    """Return how long each of `times` calls took, in milliseconds of wall time."""
    taken: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append((time.perf_counter() - began) * 1000)
    return taken


def say(message: str) -> None:
    """Tell a person how far it is, without disturbing the JSON."""
    print(message, file=sys.stderr, flush=True)


def number(value: float | None) -> str:
    """Return `value` with three significant digits or all its whole ones, for tables."""
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(figures: Sequence[Figure]) -> list[list[str]]:
    """Return rows for a table: a header, then one row a figure."""
    rows = [["what", "value", "spread", "n", "beside", "ratio", "goal", "met"]]
    for one in figures:
        spread = "" if one.min is None or one.n < 2 else f"{number(one.min)} to {number(one.max)}"
        beside = f"{one.peer}: {number(one.peer_value)} {one.unit}" if one.peer else ""
        rows.append(
            [
                one.name,
                f"{number(one.value)} {one.unit}" if one.value is not None else f"skipped: {one.skipped}",
                spread,
                str(one.n) if one.n else "",
                beside,
                f"{number(one.ratio)} x" if one.ratio is not None else "",
                one.goal,
                {True: "yes", False: "NO", None: ""}[one.ok],
            ]
        )
    return rows


def show(figures: Sequence[Figure]) -> None:
    """Print a table for people."""
    rows = table(figures)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for one in figures:
        if one.note:
            print(f"note: {one.name}: {one.note}")


def main(measure: Callable[..., list[Figure]], argv: Sequence[str] | None = None) -> int:
    """Run one benchmark from the command line. Exit code 1 if a goal is missed."""
    about = sys.modules[measure.__module__].__doc__ or ""
    parser = argparse.ArgumentParser(description=about.split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print figures as a JSON list")
    parser.add_argument("--quick", action="store_true", help="the shortest run that still says something")
    arguments = parser.parse_args(argv)
    figures = measure(quick=arguments.quick)
    if arguments.json:
        print(json.dumps([asdict(one) for one in figures]))
    else:
        show(figures)
    return 1 if any(one.ok is False for one in figures) else 0
