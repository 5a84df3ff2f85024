"""`true` jobs on a real Slurm of this machine: finished jobs a second, and the time from sbatch to finished.

Debian's slurm-wlm is started by hand in a temporary folder: one munged, one slurmctld, one slurmd whose node
claims more processors than the machine has, so that its own limits and not the processors' number decide. Settings
favour speed: no delay between scheduling passes, no accounting but a file, no prologue, no container.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from bench import common

NODE_CPUS = 64
CLIENT_TIMEOUT_S = 30
CONF = """
ClusterName=bench
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobcomp.txt
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0,default_queue_depth=2000,sched_interval=1
MaxJobCount=20000
MaxArraySize=5000
ReturnToService=2
NodeName=node0 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class SlurmError(Exception):
    """Slurm could not be started, or did not do its work in time."""


def tool(name: str) -> str | None:
    """Where a Slurm program is, daemons in sbin included."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))


def missing() -> str:
    """What is not installed; empty if everything is."""
    lost = [name for name in ("munged", "slurmctld", "slurmd", "sbatch", "sinfo", "squeue") if not tool(name)]
    packages = "Debian packages slurm-wlm and munge"
    return f"needs: {packages} ({', '.join(lost)} not found)" if lost else ""


class Cluster:
    """A running Slurm of one node. Made by `cluster()`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start the three daemons in the foreground, each in a session of its own, and wait until the node is idle."""
        for name in ("state", "spool.node0", "out"):
            (self.folder / name).mkdir()
        (self.folder / "munge.key").write_bytes(os.urandom(128))
        (self.folder / "munge.key").chmod(0o600)
        ports = _free_ports(2)
        (self.folder / "slurm.conf").write_text(
            CONF.format(
                folder=self.folder,
                host=socket.gethostname().partition(".")[0],
                ports=ports,
                user=pwd.getpwuid(os.geteuid()).pw_name,
                cpus=NODE_CPUS,
            )
        )
        munge = {"socket": "munge.socket", "key-file": "munge.key", "seed-file": "munge.seed"}
        munge |= {"pid-file": "munge.pid", "log-file": "munge.log"}
        options = [f"--{name}={self.folder / file}" for name, file in munge.items()]
        self._daemon("munged", "--foreground", "--force", *options)
        self._wait((self.folder / "munge.socket").exists, "munged made no socket", 10)
        conf = str(self.folder / "slurm.conf")
        self._daemon("slurmctld", "-D", "-c", "-f", conf)
        self._daemon("slurmd", "-D", "-c", "-f", conf, "-N", "node0")
        self._wait(lambda: "idle" in self.client("sinfo", "-h", "-o", "%t"), "the node did not get idle", 40)

    def _daemon(self, name: str, *words: str) -> None:
        program = tool(name)
        if program is None:
            raise SlurmError(missing())
        with (self.folder / f"{name}.out").open("wb") as out:
            self.started.append(
                subprocess.Popen(
                    [program, *words], stdout=out, stderr=out, env=self.environment, start_new_session=True
                )
            )

    def _wait(self, is_so: Callable[[], bool], otherwise: str, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if is_so():
                return
            time.sleep(0.05)
        raise SlurmError(f"{otherwise} within {seconds:g} s; see {self.folder}")

    def client(self, name: str, *words: str) -> str:
        """Run a client program; empty when it failed."""
        done = subprocess.run(
            [tool(name) or name, *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=CLIENT_TIMEOUT_S,
            check=False,
        )
        return done.stdout if done.returncode == 0 else ""

    def finished(self) -> int:
        """How many jobs (array tasks count one each) have completed."""
        path = self.folder / "jobcomp.txt"
        return path.read_text().count("JobState=COMPLETED") if path.exists() else 0

    def submit(self, *words: str) -> None:
        """Submit `true` with these further options. Raises SlurmError."""
        out = ["-o", "/dev/null", "-e", "/dev/null", "-D", str(self.folder / "out")]
        if not self.client("sbatch", "--parsable", *out, *words, "--wrap", "true"):
            raise SlurmError("sbatch refused the job")

    def wait_finished(self, count: int, seconds: float) -> float:
        """Wait until `count` jobs have finished; return the time, monotonic."""
        self._wait(lambda: self.finished() >= count, f"{count} jobs did not finish", seconds)
        return time.monotonic()

    def stop(self) -> None:
        """End what was started, last first, with everything that slurmd left in its session."""
        for daemon in reversed(self.started):
            if daemon.poll() is None:
                daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(daemon.pid, signal.SIGKILL)
                daemon.wait()


@contextmanager
def cluster() -> Generator[Cluster]:
    """A Slurm that is ended with the block. Raises SlurmError."""
    with tempfile.TemporaryDirectory(prefix="slurm-bench-", ignore_cleanup_errors=True) as folder:
        made = Cluster(Path(folder))
        try:
            made.start()
            yield made
        finally:
            made.stop()


def _free_ports(count: int) -> list[int]:
    taken = [socket.socket() for _ in range(count)]
    for each in taken:
        each.bind(("127.0.0.1", 0))
    ports = [int(each.getsockname()[1]) for each in taken]
    for each in taken:
        each.close()
    return ports


def array_rate(slurm: Cluster, jobs: int) -> float:
    """Finished jobs a second of one array: submission costs one call, so this is Slurm at its best."""
    before = slurm.finished()
    began = time.monotonic()
    slurm.submit(f"--array=1-{jobs}")
    return jobs / (slurm.wait_finished(before + jobs, 60 + jobs / 5) - began)


def latency_ms(slurm: Cluster) -> float:
    """From sbatch to finished, one job on an idle cluster, milliseconds."""
    before = slurm.finished()
    began = time.monotonic()
    slurm.submit()
    return (slurm.wait_finished(before + 1, 30) - began) * 1000


def rates(*, quick: bool) -> tuple[list[float], list[float]]:
    """(finished array jobs a second, milliseconds from sbatch to finished), one sample a round."""
    jobs, rounds = (60, 1) if quick else (200, 3)
    with cluster() as slurm:
        slurm.submit()
        slurm.wait_finished(1, 60)
        taken = [array_rate(slurm, jobs) for _ in range(rounds)]
        return taken, [latency_ms(slurm) for _ in range(3 if quick else 10)]


def measure(*, quick: bool) -> list[common.Figure]:
    """Slurm alone; bench/jobs.py sets it beside ours in one run."""
    lost = missing()
    if lost:
        return [common.skipped("Slurm: finished `true` jobs", "/s", lost)]
    try:
        finished, latency = rates(quick=quick)
    except SlurmError as error:
        return [common.skipped("Slurm: finished `true` jobs", "/s", str(error))]
    return [
        common.figure("Slurm: finished `true` jobs, as one array", "/s", finished),
        common.figure("Slurm: sbatch to finished, idle cluster", "ms", latency),
    ]


if __name__ == "__main__":
    sys.exit(common.main(measure))
