"""A factory on a Slurm cluster beside Slurm driven by hand: the same jobs on the same daemons, in turns.

What is paid for beside Slurm's own work: a journal, a folder for each run that survives a crash, a script that bounds
the log, looks whether it is to end, and writes down how it began and ended. By hand, `sbatch --wrap true` has none of
that.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec

from bench import common, jobs, live, slurm
from tawtin.engines import manifest
from tawtin.engines.conformance import Bench
from tawtin.ports import EngineParts, RunOrder
from tawtin.store.artifacts import BlobArtifacts
from tawtin.store.blobs import LocalBlobs
from tools.slurm_cluster import Cluster, ClusterError, cluster, missing

SUBMITTERS: Final = 4
CPUS: Final = 64
RANKS: Final = 64
LOOK_MS: Final = 500
LIVE_RUNS: Final = 10_000
LIVE_S: Final = 20.0
PARTS: Final = "each part's share, and what was tried: [decision 0011](decisions/0013-a-token-and-no-hold.md)"
CLAIMS: Final = {
    "jobs": "finished `true` jobs through a factory on Slurm",
    "delay": "end of a job to its report, p95",
}


# --- throughput and latency ------------------------------------------------------------------------------------------


def by_hand_rate(made: Cluster, count: int) -> float:
    """Finished jobs a second where each is an `sbatch` of its own, by a few at the same time."""
    before = slurm.finished(made)
    began = time.monotonic()

    def submit(_number: int) -> None:
        slurm.submit(made, "--cpus-per-task=1")

    with ThreadPoolExecutor(SUBMITTERS) as pool:
        list(pool.map(submit, range(count)))
    return count / (slurm.wait_finished(made, before + count, 60 + count / 5) - began)


def settings(made: Cluster) -> tuple[str, ...]:
    """A factory that has this cluster and nothing else."""
    table = {"use": '"slurm"', "conf": f'"{made.conf}"', "submitters": SUBMITTERS, "look_ms": LOOK_MS}
    return ("local.enabled=false", *(f"engines.hpc.{name}={value}" for name, value in table.items()))


def through_rates(
    made: Cluster, count: int, rounds: int
) -> tuple[list[float], list[float], list[float], list[float]]:
    """(through a factory, by hand) finished jobs a second, and (through, by hand) milliseconds of one job alone."""
    ours: list[float] = []
    theirs: list[float] = []
    with live.factory(*settings(made)) as factory, factory.client() as client:
        jobs.single_rate(factory, 8)
        for number in range(rounds):
            common.say(f"engines: round {number + 1} of {rounds}")
            theirs.append(by_hand_rate(made, count))
            ours.append(jobs.single_rate(factory, count))
        alone = [slurm.latency_ms(made) for _ in range(10)]
        through: list[float] = []
        for _ in range(10):
            began = time.monotonic()
            client.submit(jobs.TRUE)
            jobs.wait_idle(client, 60)
            through.append((time.monotonic() - began) * 1000)
    return ours, theirs, through, alone


# --- observation, gangs ----------------------------------------------------------------------------------------------


def bench_on(made: Cluster, folder: Path, **table: int) -> Bench:
    """An engine on this cluster, without a factory."""
    found = manifest.found()["slurm"]
    artifacts = BlobArtifacts(LocalBlobs(folder / "blobs"))
    parts = EngineParts(name="hpc", root=str(folder / "engine"), mark=folder.name, artifacts=artifacts)
    (folder / "shared").mkdir()
    return Bench(
        make=lambda: manifest.make(found, manifest.settings_of(found, {"conf": made.conf, **table}), parts),
        artifacts=artifacts,
        folder=folder,
        shared=folder / "shared",
        name="bench",
    )


def delays_ms(made: Cluster, folder: Path, count: int) -> list[float]:
    """From what a run's script wrote down as its end to the report of it, milliseconds."""
    bench = bench_on(made, folder, look_ms=LOOK_MS)
    bench.open()
    found: list[float] = []
    try:
        for _ in range(count):
            run = bench.start("sleep 0.3")
            report = bench.end(run)
            found.append(time.time() * 1000 - (report.ended_ms or 0))
            bench.engine.forget(run)
    finally:
        bench.engine.close()
    return found


def skew_ms(folder: Path, rounds: int) -> list[float]:
    """Between the first and the last rank that runs its first command, milliseconds."""
    found: list[float] = []
    with cluster(nodes=RANKS, cpus=2) as made:
        bench = bench_on(made, folder)
        bench.open()
        try:
            for _ in range(rounds):
                run, report = bench.finish("date +%s%N", nodes=RANKS)
                begun = [int(line) for line in bench.text(run).split()]
                if report.exit_code != 0 or len(begun) != RANKS:
                    raise ClusterError(f"the gang ended as {report}")
                found.append((max(begun) - min(begun)) / 1e6)
        finally:
            bench.engine.close()
    return found


# --- many live runs --------------------------------------------------------------------------------------------------


def live_runs(made: Cluster, folder: Path, count: int) -> tuple[float, float]:
    """(share of a core, MiB more than before) of an engine that watches so many runs, all of which wait in Slurm."""
    bench = bench_on(made, folder, submitters=8)
    bench.open()
    try:
        slurm_blocker(made)
        before = resident_mib()
        order = bench.order(bench.run_id(), "true")
        for _ in range(count):
            run = bench.run_id()
            bench.engine.ensure(_renamed(order, run))
        part = folder / "engine" / "runs"
        made.wait(
            lambda: sum((each / "job").exists() for each in part.iterdir()) >= count,
            "not all submitted",
            1200,
        )
        time.sleep(5)
        cpu_ms = time.process_time()
        time.sleep(LIVE_S)
        share = (time.process_time() - cpu_ms) / LIVE_S
        grown = resident_mib() - before
    finally:
        bench.engine.close()
    return share, grown


def _renamed(order: RunOrder, run: str) -> RunOrder:
    return msgspec.structs.replace(order, run=run, workload=run.rpartition(".")[0])


def slurm_blocker(made: Cluster) -> None:
    """Somebody else's job has the whole cluster, until that ends."""
    made.client("sbatch", "--exclusive", "--output=/dev/null", "--wrap", "sleep 3600")


def resident_mib() -> float:
    """Memory of this process."""
    return (
        int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
    )


def measure(*, quick: bool) -> list[common.Figure]:
    """All figures."""
    lost = missing()
    if lost:
        return [common.skipped(each, "", lost) for each in CLAIMS.values()]
    count, rounds, seen, runs = (40, 1, 10, 200) if quick else (1_000, 3, 40, LIVE_RUNS)
    with tempfile.TemporaryDirectory(prefix="tawtin-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        for each in ("delays", "skew", "live"):
            (folder / each).mkdir()
        with cluster(cpus=CPUS) as made:
            ours, theirs, through, alone = through_rates(made, count, rounds)
            common.say("engines: delays")
            delays = delays_ms(made, folder / "delays", seen)
            common.say(f"engines: {runs} live runs")
            share, grown = live_runs(made, folder / "live", runs)
        common.say(f"engines: a gang of {RANKS}")
        skews = skew_ms(folder / "skew", 1 if quick else 5)
    rate, hand = common.percentile(theirs, 50), common.percentile(alone, 50)
    alone_note = f"through: {common.percentile(through, 50):.0f} ms; by hand: {hand:.0f} ms"
    peer = "`sbatch` by hand, one a job, on the same cluster"
    return [
        common.figure(CLAIMS["jobs"], "/s", ours, peer=peer, peer_value=rate, at_least=0.95, judge="ratio",
                      note=f"{count} jobs a round, {SUBMITTERS} submitters each; {PARTS}"),
        common.figure("submit to finished on an idle cluster, added to `sbatch` by hand", "ms",
                      [each - hand for each in through], at_most=20, note=alone_note),
        common.figure(CLAIMS["delay"], "ms", delays, value=common.percentile(delays, 95), at_most=LOOK_MS + 200,
                      note=f"folders are looked at every {LOOK_MS} ms"),
        common.figure(f"{runs} live runs: share of a core", "%", [100 * share], at_most=10),
        common.figure(f"{runs} live runs: memory", "MiB", [grown], at_most=300),
        common.figure(f"gang of {RANKS} ranks, a node each: first to last start", "ms", skews, at_most=2_000),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(common.main(measure))
