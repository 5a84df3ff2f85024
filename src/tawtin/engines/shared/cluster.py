"""What an engine on a shared folder asks of its cluster: nodes, and jobs in their barest form.

`ClusterDownError` means that nobody knows whether it happened; `ClusterRefusedError`, that it did not.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from tawtin.model.base import Record
from tawtin.model.reasons import Cause
from tawtin.model.resources import Node
from tawtin.ports import RunOrder

if TYPE_CHECKING:
    from tawtin.engines.shared.book import Known, Note


class ClusterError(Exception):
    """The cluster did not do what it was asked; the message is its own."""


class ClusterDownError(ClusterError):
    """The cluster could not be asked, or did not answer: it may have been done all the same."""


class ClusterRefusedError(ClusterError):
    """The cluster answered that it does not do this."""


class Phase(enum.StrEnum):
    """Where a job is."""

    WAITS = "waits"
    """It has not begun, or not again."""
    RUNS = "runs"
    OVER = "over"


class Job(Record, frozen=True, kw_only=True):
    """A job of ours as the cluster has it now."""

    id: str
    run: str
    """Whose it is."""
    phase: Phase
    reason: str = ""
    """Why it waits, or how it ended, in the cluster's words."""
    started_ms: int = 0
    """0 if it has not, or if that is not known."""
    cause: Cause | None = None
    """Why it is over; None if it just ended, which its script may explain."""
    exit_code: int | None = None
    message: str = ""


class Holding(Record, frozen=True, kw_only=True):
    """What our own running jobs have of one node."""

    cpus: int = 0
    memory_mib: int = 0
    gpus: int = 0
    indices: tuple[int, ...] = ()
    """GPUs by the numbers that the factory gives them."""


class Given(Record, frozen=True, kw_only=True):
    """How an order is given to the cluster."""

    submit: tuple[str, ...] = ()
    """All that `submit` needs beside the folder, kept so that whoever comes after a crash can submit it again."""
    gpu_model: str = ""
    environment: dict[str, str] = {}
    """Variables beside those that every run has."""
    leaves: tuple[str, ...] = ()
    """Variables that are left as the cluster has them."""
    scripts: dict[str, str] = {}
    """What the job runs: files in the folder `scripts`; one of them is `job.sh`."""


class Cluster(Protocol):
    """One cluster. Methods block; `jobs`, `machines` and `nodes` are called by one thread, the others by several."""

    title: str
    """What operators call it, such as `Slurm`."""
    isolated: bool
    """Runs of different tenants are kept apart."""
    requeues: bool
    """A job may wait again after it began."""

    def open(self, root: str, nudge: Callable[[], None]) -> None:
        """Start; `root` has the runs. Calling `nudge` has jobs asked for at once. Raises EngineError."""
        ...

    def close(self) -> None:
        """Let go."""
        ...

    def notes(self) -> tuple[str, ...]:
        """What an operator should know."""
        ...

    def machines(self) -> None:
        """Find out anew which nodes there are. Raises ClusterError."""
        ...

    def nodes(self, ours: Mapping[str, Holding], *, disk_mib: int, answering: bool) -> tuple[Node, ...]:
        """Nodes as found last, less what others have; `answering` is whether that is recent."""
        ...

    def give(self, order: RunOrder, folder: str) -> Given:
        """How to run this in that folder, which every node sees. Raises PlanError."""
        ...

    def submit(self, run: str, folder: str, note: Note) -> str:
        """Submit what is laid out; return the job's id. Raises ClusterError."""
        ...

    def jobs(self) -> Iterable[Job]:
        """Our jobs, those that ended a moment ago included. Raises ClusterError."""
        ...

    def signal(self, known: Known, name: str) -> None:
        """Send a signal (`TERM`) to what the run started. Raises ClusterError, OSError."""
        ...

    def cancel(self, ids: Iterable[str]) -> None:
        """End jobs, whether they have started or not. Raises ClusterError."""
        ...


def holdings(notes: Iterable[Note]) -> dict[str, Holding]:
    """What these running jobs have, node by node."""
    found: dict[str, Holding] = {}
    for note in notes:
        for place, name in enumerate(note.nodes):
            had = found.get(name, Holding())
            indices = note.indices[place] if place < len(note.indices) else ()
            found[name] = Holding(
                cpus=had.cpus + note.cpus,
                memory_mib=had.memory_mib + note.memory_mib,
                gpus=had.gpus + note.gpus,
                indices=(*had.indices, *indices),
            )
    return found
