"""Control planes over a cluster that are killed at any time: whatever the moment, each run starts at most once."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tawtin.engines.conformance import Bench
from tawtin.model.reasons import Cause
from tawtin.model.workload import Outcome
from tests.engines.benches import bench_of


def begin(bench: Bench, first: int, last: int) -> list[str]:
    """Order these runs, those that are not known already. Return their names."""
    runs = [f"wl-crash-{number}.1" for number in range(first, last + 1)]
    for run in runs:
        if not bench.engine.knows(run):
            bench.engine.ensure(bench.order(run, f"echo started >>{bench.shared}/{run}.starts"))
    return runs


def main(use: str, table: str, folder: str, last: int) -> None:
    """One control plane: says `up`, takes its orders, and waits for its end."""
    bench = bench_of(use, json.loads(table), Path(folder))
    bench.open()
    print("up", flush=True)
    newest = begin(bench, 1, last)[-1]
    bench.engine.stop(newest, Cause.CANCELLED, 0)
    time.sleep(60)


def check(use: str, table: dict[str, Any], folder: Path, pauses_s: Iterable[float], each: int) -> None:
    """Kill a control plane after each of these pauses, and see what became of the runs that they began, `each` of them.

    Of its newest one, each asks for the end at once.
    """
    last = 0
    for pause_s in pauses_s:
        last += each
        words = [use, json.dumps(table), str(folder), str(last)]
        plane = subprocess.Popen([sys.executable, "-m", __name__, *words], stdout=subprocess.PIPE)
        with plane:
            assert plane.stdout is not None
            assert plane.stdout.readline() == b"up\n"
            time.sleep(pause_s)
            plane.kill()
    bench = bench_of(use, table, folder)
    bench.open()
    try:
        for run in begin(bench, 1, last):
            report = bench.end(run)
            path = bench.shared / f"{run}.starts"
            starts = path.read_text("ascii").splitlines() if path.exists() else []
            if report.outcome is Outcome.FINISHED:
                assert starts == ["started"]
            else:
                assert report.outcome is Outcome.CANCELLED
                assert len(starts) <= 1
    finally:
        bench.engine.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
