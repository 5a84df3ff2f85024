"""What a workload has cost so far, an estimate while a run goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from tawtin.core.meter import cost_minor

if TYPE_CHECKING:
    from tawtin.model.views import WorkloadView


def spent_so_far(view: WorkloadView, now_ms: int) -> int:
    """What its ended runs cost, and what the present one costs if it ended now, in minor units."""
    work, run = view.workload, view.run
    if run is None or run.started_ms is None or run.ended_ms is not None:
        return work.spent_minor
    wall_ms = max(0, now_ms - run.started_ms)
    nodes = len(run.slots) or run.nodes
    usage = replace(run.usage, wall_ms=wall_ms, gpu_ms=wall_ms * run.shape.gpus * nodes)
    return work.spent_minor + cost_minor(usage, run)
