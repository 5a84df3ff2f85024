"""An idle factory: memory and processor time of its control plane and of the launcher that waits beside it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from bench import common, live

GOAL_MIB = 90
GOAL_PERCENT = 0.5
SETTLE_S = 5


def memory_mib(pid: int) -> tuple[float, float]:
    """(resident, proportional share of what is shared) of a process, MiB."""
    found = {"Rss": 0.0, "Pss": 0.0}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in found:
            found[name] = int(rest.split()[0]) / 1024
    return found["Rss"], found["Pss"]


def cpu_s(pid: int) -> float:
    """Processor time of a process so far, seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(*, quick: bool) -> list[common.Figure]:
    """All figures."""
    watch_s = 10 if quick else 60
    with live.factory() as factory:
        time.sleep(SETTLE_S)
        pids = live.processes(factory.folder)
        before = {pid: cpu_s(pid) for pid in pids}
        began = time.monotonic()
        samples: list[tuple[float, float]] = []
        for _ in range(watch_s):
            time.sleep(1)
            each = [memory_mib(pid) for pid in pids]
            samples.append((sum(rss for rss, _ in each), sum(pss for _, pss in each)))
        spent = sum(cpu_s(pid) - before[pid] for pid in pids)
        percent = 100 * spent / (time.monotonic() - began)
        control = [memory_mib(factory.pid)[0] for _ in range(5)]
    return [
        common.figure("idle factory, resident memory of the control plane", "MiB", control, at_most=GOAL_MIB),
        common.figure("idle factory, memory of all its processes, shared pages counted once", "MiB",
                      [pss for _, pss in samples], at_most=GOAL_MIB,
                      note=f"the sum of PSS of {len(pids)} processes: control plane, launcher and the supervisors that "
                           f"it holds ready, which share its pages; their RSS adds up to {samples[-1][0]:.0f} MiB"),
        common.figure("idle factory, processor", "% of a core", [percent], at_most=GOAL_PERCENT,
                      note=f"over {watch_s} s"),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(common.main(measure))
