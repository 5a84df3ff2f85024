"""A real Slurm on this machine, started by hand in a folder and gone with it: for tests, benchmarks and the demo.

One munged, one slurmctld, and a slurmd for each node. Nodes claim processors, memory and GPUs that the machine need not
have, so that Slurm's own limits and not the machine decide. GPUs are links to /dev/null. Needs no root.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

CLIENT_TIMEOUT_S = 30
CONF = """
ClusterName={name}
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
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
{more}
"""


class ClusterError(Exception):
    """Slurm could not be started, or did not do its work in time."""


def tool(name: str) -> str | None:
    """Where a Slurm program is, daemons in sbin included."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]))


def missing() -> str:
    """What is not installed; empty if everything is."""
    lost = [name for name in ("munged", "slurmctld", "slurmd", "sbatch", "sinfo", "squeue") if not tool(name)]
    packages = "Debian packages slurm-wlm and munge"
    return f"needs: {packages} ({', '.join(lost)} not found)" if lost else ""


@dataclass(kw_only=True)
class Cluster:
    """A Slurm of some nodes in an existing folder. `start`, and `stop` in any case."""

    folder: Path
    nodes: int = 1
    cpus: int = 64
    memory_mib: int = 65_536
    gpus: int = 0
    """On each node, of the model `h100`."""
    options: str = ""
    """Further lines of slurm.conf."""
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict[str, subprocess.Popen[bytes]])

    @property
    def conf(self) -> str:
        """Path of its slurm.conf."""
        return str(self.folder / "slurm.conf")

    @property
    def environment(self) -> dict[str, str]:
        """What its clients need."""
        return {**os.environ, "SLURM_CONF": self.conf}

    def start(self) -> None:
        """Start all daemons in the foreground, each in a session of its own, and wait until all nodes are idle."""
        (self.folder / "state").mkdir()
        (self.folder / "munge.key").write_bytes(os.urandom(128))
        (self.folder / "munge.key").chmod(0o600)
        self._write_conf()
        munge = {"socket": "munge.socket", "key-file": "munge.key", "seed-file": "munge.seed"}
        munge |= {"pid-file": "munge.pid", "log-file": "munge.log"}
        options = [f"--{name}={self.folder / file}" for name, file in munge.items()]
        self._daemon("munged", "munged", "--foreground", "--force", *options)
        self.wait((self.folder / "munge.socket").exists, "munged made no socket", 10)
        self.start_controller(clean=True)
        for number in range(self.nodes):
            self.start_node(f"node{number}")
        self.wait_idle()

    def wait_idle(self) -> None:
        """Wait until all nodes could take jobs."""

        def idle() -> bool:
            said = self.client("sinfo", "--noheader", "--Node", "--format=%N %t")
            return {each.split()[1] for each in said.splitlines()} == {"idle"} and len(
                {each.split()[0] for each in said.splitlines()}
            ) == self.nodes

        self.wait(idle, "the nodes did not get idle", 60)

    def start_controller(self, *, clean: bool = False) -> None:
        """Start slurmctld; `clean` forgets all jobs."""
        self._daemon("slurmctld", "slurmctld", "-D", *(["-c"] if clean else []), "-f", self.conf)

    def start_node(self, name: str) -> None:
        """Start the slurmd of a node."""
        (self.folder / f"spool.{name}").mkdir(exist_ok=True)
        self._daemon(name, "slurmd", "-D", "-c", "-f", self.conf, "-N", name)

    def kill(self, name: str) -> None:
        """Kill one daemon: `slurmctld`, or a node's by the name of the node. What a node runs goes on."""
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def stop(self) -> None:
        """End what was started, last first, with everything that daemons left in their sessions."""
        for process in reversed(self.processes.values()):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self.processes.clear()
        self._end_steps()

    def _end_steps(self) -> None:
        """Jobs outlive slurmd: end its step daemons, and what they run."""
        ours = f"SLURM_CONF={self.conf}\0".encode()
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if ours in (entry / "environ").read_bytes():
                    os.kill(int(entry.name), signal.SIGKILL)
            except OSError:
                continue

    def client(self, name: str, *words: str) -> str:
        """What a client program prints; empty when it failed."""
        done = subprocess.run(
            [tool(name) or name, *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=CLIENT_TIMEOUT_S,
            check=False,
        )
        return done.stdout if done.returncode == 0 else ""

    def wait(self, is_so: Callable[[], bool], otherwise: str, seconds: float) -> None:
        """Wait until something is so. Raises ClusterError."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if is_so():
                return
            time.sleep(0.05)
        raise ClusterError(f"{otherwise} within {seconds:g} s; see {self.folder}")

    def _write_conf(self) -> None:
        host, ports = socket.gethostname().partition(".")[0], _free_ports(self.nodes + 1)
        lines = [self.options]
        gres = ""
        if self.gpus:
            for number in range(self.gpus):
                (self.folder / f"nvidia{number}").symlink_to("/dev/null")
            gres = f" Gres=gpu:h100:{self.gpus}"
            (self.folder / "gres.conf").write_text(
                f"Name=gpu Type=h100 File={self.folder}/nvidia[0-{self.gpus - 1}]\n", "utf-8"
            )
            lines.append("GresTypes=gpu")
        lines += [
            f"NodeName=node{number} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={self.cpus} "
            f"RealMemory={self.memory_mib} State=UNKNOWN{gres}"
            for number, port in enumerate(ports[1:])
        ]
        lines.append("PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP")
        text = CONF.format(
            name="tawtin",
            folder=self.folder,
            host=host,
            port=ports[0],
            user=pwd.getpwuid(os.geteuid()).pw_name,
            more="\n".join(lines),
        )
        Path(self.conf).write_text(text, "utf-8")

    @property
    def _tied(self) -> list[str]:
        """What makes a daemon end with this process, however that ends."""
        found = tool("setpriv")
        return [found, "--pdeathsig", "TERM"] if found else []

    def _daemon(self, key: str, name: str, *words: str) -> None:
        program = tool(name)
        if program is None:
            raise ClusterError(missing())
        with (self.folder / f"{key}.out").open("ab") as out:
            self.processes[key] = subprocess.Popen(
                [*self._tied, program, *words],
                stdout=out,
                stderr=out,
                env=self.environment,
                start_new_session=True,
            )


@contextmanager
def cluster(*, nodes: int = 1, cpus: int = 64, gpus: int = 0, options: str = "") -> Generator[Cluster]:
    """A Slurm that is ended with the block. Raises ClusterError."""
    with tempfile.TemporaryDirectory(prefix="tawtin-slurm-", ignore_cleanup_errors=True) as folder:
        made = Cluster(folder=Path(folder), nodes=nodes, cpus=cpus, gpus=gpus, options=options)
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
