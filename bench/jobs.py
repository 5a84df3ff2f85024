"""`true` jobs, submitted to finished, sandboxed and supervised; submit to first log line; beside Slurm and bubblewrap.

Ours and Slurm's go through their whole control plane, as one array on one node that claims 64 processors, so that the
machine is what limits. The bare loop starts and reaps the same sandbox, one after the other on each processor, with
nothing around it: the limit. All in one run, in turns.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from bench import common, live, slurm
from tawtin.client import Client

TRUE = {"name": "true", "run": "true", "resources": {"cpus": 1, "memory": "64MB"}}
LINE = {"name": "line", "run": "echo here", "resources": {"cpus": 1, "memory": "64MB"}}
BARE = [
    *(
        "--unshare-ipc",
        "--unshare-pid",
        "--unshare-net",
        "--unshare-uts",
        "--die-with-parent",
        "--new-session",
    ),
    *("--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib"),
    *("--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "true"),
]
CLAIMED = ("local.cpus_milli=64000",)
GOAL_PER_S = 100
GOAL_TIMES_SLURM = 3
GOAL_P50_MS = 60
GOAL_P99_MS = 250
CLIENTS = 4


def wait_idle(client: Client, seconds: float) -> None:
    """Wait until nothing is queued or placed."""
    until = time.monotonic() + seconds
    while client.workloads(phases=("queued", "placed"), limit=1).items:
        if time.monotonic() > until:
            raise TimeoutError(f"jobs were not over after {seconds:g} s")
        time.sleep(0.02)


def array_rate(client: Client, jobs: int) -> float:
    """Finished jobs a second of one array; every one has to succeed."""
    began = time.monotonic()
    made = client.submit({**TRUE, "array": jobs})
    wait_idle(client, 60 + jobs / 5)
    took = time.monotonic() - began
    array = made.workloads[0].array
    done = sum(view.status == "succeeded" for view in client.iterate(array=array.id if array else ""))
    if done != jobs:
        raise RuntimeError(f"{jobs - done} of {jobs} jobs did not succeed")
    return jobs / took


def single_rate(factory: live.Live, jobs: int) -> float:
    """Finished jobs a second where each is a submission of its own, by a few clients at the same time."""

    def submit(count: int) -> None:
        with factory.client() as client:
            for _ in range(count):
                client.submit(TRUE)

    began = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(submit, [jobs // CLIENTS] * CLIENTS))
    with factory.client() as client:
        wait_idle(client, 60 + jobs / 5)
    return jobs // CLIENTS * CLIENTS / (time.monotonic() - began)


def first_line_ms(client: Client) -> float:
    """From submitting to having the first line of the log, milliseconds."""
    began = time.monotonic()
    made = client.submit(LINE)
    for piece in client.follow(made.workloads[0].id):
        if piece.data:
            took = (time.monotonic() - began) * 1000
            break
    else:
        raise RuntimeError("the job wrote no line")
    wait_idle(client, 30)
    return took


def bare_rate(jobs: int) -> float:
    """Sandboxes a second: started and reaped, nothing else, on every processor."""
    bwrap = shutil.which("bwrap") or ""
    workers = os.cpu_count() or 1

    def work(count: int) -> None:
        for _ in range(count):
            subprocess.run([bwrap, *BARE], check=True)

    began = time.monotonic()
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, [jobs // workers] * workers))
    return jobs // workers * workers / (time.monotonic() - began)


def measure(*, quick: bool) -> list[common.Figure]:
    """All figures."""
    if shutil.which("bwrap") is None:
        lost = "needs: bubblewrap (Debian package bubblewrap)"
        return [common.skipped("finished `true` jobs", "/s", lost)]
    jobs, rounds, lines = (100, 1, 20) if quick else (400, 3, 120)
    arrays: list[float] = []
    singles: list[float] = []
    bare: list[float] = []
    with live.factory(*CLAIMED) as factory, factory.client() as client:
        array_rate(client, 20)
        common.say("jobs: first log lines")
        first = [first_line_ms(client) for _ in range(lines)]
        for number in range(rounds):
            common.say(f"jobs: round {number + 1} of {rounds}")
            bare.append(bare_rate(jobs))
            arrays.append(array_rate(client, jobs))
            singles.append(single_rate(factory, jobs))
    theirs, why = _slurm(quick=quick)
    limit = common.percentile(bare, 50)
    figures = [
        common.figure("finished `true` jobs, one array", "/s", arrays, peer="bare bubblewrap loop", peer_value=limit,
                      at_least=GOAL_PER_S, note=f"{jobs} jobs a round, each sandboxed and supervised"),
        common.figure("finished `true` jobs, each submitted by itself", "/s", singles,
                      peer="bare bubblewrap loop", peer_value=limit),
        common.figure("submit to first log line, idle factory, p50", "ms", first, at_most=GOAL_P50_MS),
        common.figure("submit to first log line, idle factory, p99", "ms", first,
                      value=common.percentile(first, 99), at_most=GOAL_P99_MS),
    ]  # fmt: skip
    name = "finished `true` jobs, one array, beside Slurm"
    if not theirs:
        return [*figures, common.skipped(name, "/s", why, goal=f">= {GOAL_TIMES_SLURM} x")]
    beside = common.figure(
        name,
        "/s",
        arrays,
        peer="Slurm, one array on the same machine",
        peer_value=common.percentile(theirs, 50),
        at_least=GOAL_TIMES_SLURM,
        judge="ratio",
    )
    return [*figures, beside]


def _slurm(*, quick: bool) -> tuple[list[float], str]:
    why = slurm.missing()
    if why:
        return [], why
    common.say("jobs: Slurm")
    try:
        return slurm.rates(quick=quick)[0], ""
    except slurm.ClusterError as error:
        return [], str(error)


if __name__ == "__main__":
    sys.exit(common.main(measure))
