"""The engine for a Slurm cluster.

Starting a run: 1. lay its folder out where all nodes see it, 2. submit its batch script under a comment that names the
run, 3. write down the job's id. After a crash between 2 and 3 the job is found by its comment before anything is
submitted again. What was submitted twice all the same is cancelled if it waits, and does nothing if it starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from tawtin.engines.shared import probe as shared
from tawtin.engines.shared.book import Known, Note
from tawtin.engines.shared.cluster import Given, Holding, Job
from tawtin.engines.shared.engine import ClusterEngine
from tawtin.engines.shared.scripts import scripts
from tawtin.engines.slurm import inventory, states, words
from tawtin.engines.slurm.client import PROGRAMS, Machine, Partition, Slurm
from tawtin.engines.slurm.probe import look
from tawtin.engines.slurm.settings import SlurmSettings
from tawtin.engines.slurm.ways import ways
from tawtin.model.findings import Finding
from tawtin.model.resources import Node
from tawtin.ports import Engine, EngineError, EngineParts, RunOrder

Settings = SlurmSettings
SCRIPT: Final = "scripts/job.sh"


def make(settings: SlurmSettings, parts: EngineParts) -> Engine:
    """An engine with these settings. Raises EngineError."""
    return ClusterEngine(SlurmCluster(settings, parts), settings, parts)


def probe(settings: SlurmSettings, parts: EngineParts, *, deep: bool) -> Iterator[Finding]:
    """Look at the set-up, see manifest.probe."""
    return shared.probe(
        look(settings, Slurm(settings)), SlurmCluster(settings, parts), settings, parts, deep=deep
    )


class SlurmCluster:
    """Implements shared.cluster.Cluster."""

    title = "Slurm"
    isolated = False
    requeues = True

    def __init__(self, settings: SlurmSettings, parts: EngineParts) -> None:
        """Nothing is asked yet."""
        self._settings = settings
        self._parts = parts
        self._slurm = Slurm(settings)
        self._machines: dict[str, Machine] = {}
        self._partitions: tuple[Partition, ...] = ()

    def open(self, root: str, nudge: Callable[[], None]) -> None:  # noqa: ARG002 - Slurm tells nobody anything
        """See that its programs are there. Raises EngineError; that Slurm does not answer is no reason."""
        missing = [name for name in PROGRAMS if not self._slurm.program(name)]
        if missing:
            raise EngineError(f"`{'`, `'.join(missing)}` not found: install slurm-client, or set `programs`")

    def close(self) -> None:
        """Nothing is held."""

    def notes(self) -> tuple[str, ...]:
        """What an operator should know."""
        return (f"on `{self._parts.name}`, all jobs run as one user of the cluster",)

    # --- nodes -------------------------------------------------------------------------------------------------------

    def machines(self) -> None:
        """Find out anew which nodes and partitions there are. Raises ClusterError."""
        machines, partitions = self._slurm.machines(), self._slurm.partitions()
        self._machines = {machine.name: machine for machine in machines}
        self._partitions = partitions

    def nodes(self, ours: Mapping[str, Holding], *, disk_mib: int, answering: bool) -> tuple[Node, ...]:
        """The nodes of usable partitions, less what other users of the cluster have there."""
        return inventory.nodes(
            self._machines.values(),
            ours,
            engine=self._parts.name,
            disk_mib=disk_mib,
            declared=self._settings.gpus_declared,
            partitions=[each.name for each in words.usable(self._settings, self._partitions)],
            answering=answering,
        )

    # --- jobs --------------------------------------------------------------------------------------------------------

    def give(self, order: RunOrder, folder: str) -> Given:
        """Scripts, and the words of `sbatch` but for the script. Raises PlanError."""
        machines = self._machines
        submit = words.words(
            order,
            self._settings,
            folder=folder,
            comment=words.comment_of(self._parts.mark, order.run),
            machines=machines,
            partitions=words.usable(self._settings, self._partitions),
        )
        first = machines.get(order.slots[0].node)
        texts = scripts(order, ways(order, self._settings), folder, self._settings.log_bytes_max)
        return Given(submit=submit, gpu_model=first.gpu_model.upper() if first else "", scripts=texts)

    def submit(self, run: str, folder: str, note: Note) -> str:  # noqa: ARG002 - the comment names it
        """Submit its script. Raises ClusterError."""
        return str(self._slurm.submit(note.submit, f"{folder}/{SCRIPT}"))

    def jobs(self) -> list[Job]:
        """Our jobs, found by their comments. Raises ClusterError."""
        found: list[Job] = []
        for job in self._slurm.jobs():
            run = words.run_of(self._parts.mark, job.comment)
            if run:
                found.append(states.job_of(job, run))
        return found

    def signal(self, known: Known, name: str) -> None:
        """Signal the script and everything below it; of a gang its steps alone, as `srun` would end them all at once.

        Raises ClusterError.
        """
        self._slurm.signal(int(known.job), name, everyone=len(known.note.nodes) <= 1)

    def cancel(self, ids: Iterable[str]) -> None:
        """End jobs, whether they have started or not. Raises ClusterError."""
        self._slurm.cancel(map(int, ids))
