"""An engine of your own: each run is a process of this machine. Nothing keeps tenants apart."""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from tawtin.engines.shared.cluster import Given, Job, Phase
from tawtin.engines.shared.engine import ClusterEngine
from tawtin.engines.shared.folders import PlanError
from tawtin.engines.shared.scripts import Ways, scripts, write_signal
from tawtin.engines.shared.settings import ClusterSettings
from tawtin.model.resources import Node


class Settings(ClusterSettings, frozen=True, kw_only=True):
    cpus: int = 2
    memory_mib: int = 2048


def make(settings, parts):
    return ClusterEngine(Processes(settings, parts), settings, parts)


class Processes:
    """Implements tawtin.engines.shared.cluster.Cluster, which says what each method has to do."""

    title = "this machine"
    isolated = False
    requeues = False

    def __init__(self, settings, parts):
        self.settings, self.parts = settings, parts

    def open(self, root, nudge):
        pass  # nothing to connect to

    def close(self):
        pass

    def notes(self):
        return (f"on `{self.parts.name}`, all runs are processes of one user",)

    def machines(self):
        pass  # there is one, and it is here

    def nodes(self, ours, *, disk_mib, answering):
        size = {"cpus_milli": 1000 * self.settings.cpus, "memory_mib": self.settings.memory_mib}
        return (Node(name=self.parts.name, engine=self.parts.name, disk_mib=disk_mib, **size),)

    def give(self, order, folder):
        if len(order.slots) > 1:
            raise PlanError("a run has one node here; set `num_nodes: 1`")
        rank = '/bin/bash "$here/scripts/rank.sh"'
        ways = Ways(addresses="NODE_IPS=127.0.0.1", ranks=rank, rank="0", listens=True)
        return Given(scripts=scripts(order, ways, folder, self.settings.log_bytes_max))

    def submit(self, run, folder, note):
        environment = {"PATH": os.environ["PATH"], "TAWTIN_JOB": f"{self.parts.mark}:{run}"}
        with open(f"{folder}/output", "ab") as output:
            subprocess.run(
                ["setsid", "--fork", "/bin/bash", f"{folder}/scripts/job.sh"],
                cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=True,
            )  # fmt: skip
        return run  # an id is any text by which the job is found again

    def jobs(self):
        # looked at twice, as a process has no environment for the moment in which it becomes another program
        runs = {*self._ours().values(), *self._ours().values()}
        return [Job(id=run, run=run, phase=Phase.RUNS) for run in sorted(runs)]

    def _ours(self):
        mark = f"TAWTIN_JOB={self.parts.mark}:".encode()
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                for variable in (process / "environ").read_bytes().split(b"\0"):
                    if variable.startswith(mark):
                        found[int(process.name)] = variable.removeprefix(mark).decode()
        return found

    def signal(self, known, name):
        write_signal(known.folder, name)

    def cancel(self, ids):
        for pid, run in self._ours().items():
            if run in ids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
