"""`true` jobs on a real Slurm of this machine: finished jobs a second, and the time from sbatch to finished.

Debian's slurm-wlm is started by hand in a temporary folder: one munged, one slurmctld, one slurmd whose node
claims more processors than the machine has, so that its own limits and not the processors' number decide. Settings
favour speed: no delay between scheduling passes, no accounting but a file, no prologue, no container.
"""

from __future__ import annotations

import sys
import time

from bench import common
from tools.slurm_cluster import Cluster, ClusterError, cluster, missing

NODE_CPUS = 64


def finished(slurm: Cluster) -> int:
    """How many jobs (array tasks count one each) have completed."""
    path = slurm.folder / "jobcomp.txt"
    return path.read_text().count("JobState=COMPLETED") if path.exists() else 0


def submit(slurm: Cluster, *words: str) -> None:
    """Submit `true` with these further options. Raises ClusterError."""
    out = ["-o", "/dev/null", "-e", "/dev/null", "-D", str(slurm.folder)]
    if not slurm.client("sbatch", "--parsable", *out, *words, "--wrap", "true"):
        raise ClusterError("sbatch refused the job")


def wait_finished(slurm: Cluster, count: int, seconds: float) -> float:
    """Wait until `count` jobs have finished; return the time, monotonic."""
    slurm.wait(lambda: finished(slurm) >= count, f"{count} jobs did not finish", seconds)
    return time.monotonic()


def array_rate(slurm: Cluster, jobs: int) -> float:
    """Finished jobs a second of one array: submission costs one call, so this is Slurm at its best."""
    before = finished(slurm)
    began = time.monotonic()
    submit(slurm, f"--array=1-{jobs}")
    return jobs / (wait_finished(slurm, before + jobs, 60 + jobs / 5) - began)


def latency_ms(slurm: Cluster) -> float:
    """From sbatch to finished, one job on an idle cluster, milliseconds."""
    before = finished(slurm)
    began = time.monotonic()
    submit(slurm)
    return (wait_finished(slurm, before + 1, 30) - began) * 1000


def rates(*, quick: bool) -> tuple[list[float], list[float]]:
    """(finished array jobs a second, milliseconds from sbatch to finished), one sample a round."""
    jobs, rounds = (60, 1) if quick else (200, 3)
    with cluster(cpus=NODE_CPUS) as slurm:
        submit(slurm)
        wait_finished(slurm, 1, 60)
        taken = [array_rate(slurm, jobs) for _ in range(rounds)]
        return taken, [latency_ms(slurm) for _ in range(3 if quick else 10)]


def measure(*, quick: bool) -> list[common.Figure]:
    """Slurm alone; bench/jobs.py sets it beside ours in one run."""
    lost = missing()
    if lost:
        return [common.skipped("Slurm: finished `true` jobs", "/s", lost)]
    try:
        done, latency = rates(quick=quick)
    except ClusterError as error:
        return [common.skipped("Slurm: finished `true` jobs", "/s", str(error))]
    return [
        common.figure("Slurm: finished `true` jobs, as one array", "/s", done),
        common.figure("Slurm: sbatch to finished, idle cluster", "ms", latency),
    ]


if __name__ == "__main__":
    sys.exit(common.main(measure))
