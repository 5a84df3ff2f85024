"""Runs of `true` a second through the local engine, beside a bare loop of bubblewrap on the same machine.

`python -m bench.launch [--runs N] [--rounds N]`. Prints medians and spread, the ratio to the bare loop, and the time
from an order to the first line in the run's log.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tawtin.engines.local.engine import LocalEngine
from tawtin.engines.local.settings import LocalSettings
from tawtin.model.resources import Demand, Shape, Slot
from tawtin.model.workload import WorkloadSpec
from tawtin.ports import Artifacts, Collected, Report, RunOrder

SHAPE = Shape(memory_mib=256)
BARE = (
    *(
        "--unshare-ipc",
        "--unshare-pid",
        "--unshare-net",
        "--unshare-uts",
        "--die-with-parent",
        "--new-session",
    ),
    *("--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib"),
    *("--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"),
)


class NoArtifacts(Artifacts):
    """For runs without inputs and outputs."""

    def collect(self, root: str, relative: str) -> Collected:
        raise NotImplementedError

    def materialise(self, artifact: str, target: str, *, owner: tuple[int, int] | None = None) -> int:
        raise NotImplementedError


@dataclass
class Bench:
    """An engine, and the ends of runs as they come."""

    engine: LocalEngine
    woken: threading.Event = field(default_factory=threading.Event)
    ended: dict[str, Report] = field(default_factory=dict[str, Report])
    count: int = 0

    def order(self, script: str) -> RunOrder:
        self.count += 1
        name = f"w-{self.count:06d}"
        spec = WorkloadSpec(name="bench", run=script, demand=Demand(options=(SHAPE,)))
        slots = (Slot(node=self.engine.nodes()[0].name),)
        return RunOrder(
            run=f"{name}.1",
            workload=name,
            tenant="bench",
            tenant_number=1,
            epoch=1,
            spec=spec,
            shape=SHAPE,
            slots=slots,
        )

    def take(self) -> list[Report]:
        self.woken.wait(0.5)
        self.woken.clear()
        found = [report for report in self.engine.reports() if report.outcome]
        for report in found:
            self.ended[report.run] = report
            self.engine.forget(report.run)
        return found

    def throughput(self, runs: int, width: int) -> float:
        """Runs a second with at most `width` at a time."""
        begin = time.perf_counter()
        waiting = [self.order("true") for _ in range(runs)]
        going = 0
        left = runs
        while left:
            while going < width and waiting:
                self.engine.ensure(waiting.pop())
                going += 1
            for report in self.take():
                going -= 1
                left -= 1
                if report.exit_code != 0:
                    raise SystemExit(f"run {report.run} failed: {report.cause} {report.message}")
        return runs / (time.perf_counter() - begin)

    def first_line_ms(self) -> float:
        """Milliseconds from the order to the first line in the log."""
        order = self.order("echo here")
        begin = time.perf_counter()
        self.engine.ensure(order)
        while not self.engine.log(order.run, 0, 10).data:
            time.sleep(0.0005)
        took = (time.perf_counter() - begin) * 1000
        while order.run not in self.ended:
            self.take()
        return took


def bare(bwrap: str, runs: int, width: int) -> float:
    """The same number of bare bubblewraps around `true`, supervised by nobody."""

    def one(_: int) -> None:
        subprocess.run([bwrap, *BARE, "true"], check=True)

    begin = time.perf_counter()
    with ThreadPoolExecutor(width) as pool:
        list(pool.map(one, range(runs)))
    return runs / (time.perf_counter() - begin)


def measure(runs: int, rounds: int, widths: tuple[int, ...]) -> dict[str, object]:
    """All figures, as one record."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise SystemExit("needs: bubblewrap (Debian package bubblewrap)")
    root = tempfile.mkdtemp(prefix="tawtin-bench-")
    bench = Bench(LocalEngine(LocalSettings(root=root, cgroup="tawtin-bench"), NoArtifacts()))
    bench.engine.open(bench.woken.set)
    try:
        bench.throughput(10, 2)
        rows: list[dict[str, object]] = []
        for width in widths:
            ours = [bench.throughput(runs, width) for _ in range(rounds)]
            theirs = [bare(bwrap, runs, width) for _ in range(rounds)]
            ratio = statistics.median(ours) / statistics.median(theirs)
            rows.append(
                {
                    "width": width,
                    "runs_per_s": _spread(ours),
                    "bare_per_s": _spread(theirs),
                    "ratio": round(ratio, 2),
                }
            )
        lines = sorted(bench.first_line_ms() for _ in range(50))
        return {
            "runs": runs,
            "rounds": rounds,
            "throughput": rows,
            "first_line_ms": {"p50": round(lines[25], 1), "p99": round(lines[49], 1)},
        }
    finally:
        bench.engine.retire_launcher()
        bench.engine.close()
        shutil.rmtree(Path(root), ignore_errors=True)


def _spread(values: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 1),
        "min": round(min(values), 1),
        "max": round(max(values), 1),
    }


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(json.dumps(measure(options.runs, options.rounds, (2, 4, 8)), indent=2))


if __name__ == "__main__":
    main()
