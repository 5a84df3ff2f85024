"""Pages of workloads with their runs, read together: a page costs one turn of a thread, however many rows it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tawtin.runtime.rows import decode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tawtin.model.workload import Run, Workload
    from tawtin.ports import Journal, Query


def list_with_runs(journal: Journal, query: Query) -> list[tuple[Workload, Run | None]]:
    """The workloads of a page, each with its last run if it is over. Blocks."""
    return with_runs(journal, [decode("workload", body) for body in journal.list(query)])


def with_runs(journal: Journal, workloads: Iterable[Workload]) -> list[tuple[Workload, Run | None]]:
    """Workloads with their last runs; what is not over has its run in memory, and None here. Blocks."""
    return [(each, _last_run(journal, each)) for each in workloads]


def _last_run(journal: Journal, workload: Workload) -> Run | None:
    if not workload.epoch or not workload.phase.final:
        return None
    body = journal.get("run", f"{workload.id}.{workload.epoch}")
    return decode("run", body) if body is not None else None
