"""Demand classes: workloads that decide alike, so that one look answers for all of them.

Two workloads of one class ask for the same nodes, shapes and options, and are expected to last for the same number of
doublings of a minute. Durations are rounded up to such a step for backfilling; rounding up can only make a
reservation safer.
"""

from __future__ import annotations

from typing import Final

from tawtin.core import meter
from tawtin.model.resources import Demand, Node, Shape
from tawtin.model.site import Site
from tawtin.model.workload import WorkloadSpec

_STEP_MS: Final = 60_000
SERVICE_MS: Final = 30 * 86_400_000
"""How long a replica of a service, which has no end, is taken to stay: longer than what is planned around it."""
ANY_MODEL: Final = "*"
NO_GPU: Final = ""


class Option:
    """One shape that a demand accepts, with what deciding needs of it at hand."""

    __slots__ = ("burn", "cpus", "disk", "gpus", "memory", "model", "nodes", "shape")

    def __init__(self, shape: Shape, nodes: int, site: Site) -> None:
        self.shape = shape
        self.nodes = nodes
        self.model = shape.gpu_model
        self.gpus = shape.gpus
        self.cpus = shape.cpus_milli
        self.memory = shape.memory_mib
        self.disk = shape.disk_mib
        self.burn = meter.burn(site.rate(_dearest(shape, site)), shape, nodes)
        """Cost for each millisecond on all nodes, times `meter.SCALE`; any model costs as the dearest one."""


class DemandClass:
    """A demand with its expected duration. One object for each distinct pair in a State; compared by identity."""

    __slots__ = ("demand", "lasts_ms", "members", "nodes", "options", "pool", "step", "work")

    def __init__(self, demand: Demand, step: int, options: tuple[Option, ...]) -> None:
        self.demand = demand
        self.step = step
        self.lasts_ms = _STEP_MS << step
        self.nodes = demand.nodes
        self.options = options
        """The same objects for all classes of one demand."""
        self.pool = pool_of(demand.options[0])
        self.work = demand.nodes * (demand.options[0].gpus or demand.options[0].cpus_milli) * self.lasts_ms
        """What one member takes of its pool: GPUs, or milli-processors where it takes none, times milliseconds."""
        self.members = 0


def _dearest(shape: Shape, site: Site) -> str:
    """The GPU model that `shape` is priced by before it has a place; empty for none."""
    if shape.gpus == 0 or shape.gpu_model:
        return shape.gpu_model if shape.gpus else ""
    prices = site.minor_per_gpu_hour
    return max(sorted(prices), key=lambda model: prices[model], default=ANY_MODEL)


def options_of(demand: Demand, site: Site) -> tuple[Option, ...]:
    """What deciding needs of a demand's options."""
    return tuple(Option(shape, demand.nodes, site) for shape in demand.options)


def pool_of(shape: Shape) -> str:
    """The pool a shape competes in: its GPU model, `*` for any model, empty for processors alone."""
    if shape.gpus == 0:
        return NO_GPU
    return shape.gpu_model or ANY_MODEL


def duration_ms(spec: WorkloadSpec, site: Site) -> int:
    """How long a run of `spec` is expected to last at most."""
    if spec.service is not None:
        return SERVICE_MS
    return spec.max_duration_ms if spec.max_duration_ms is not None else site.run_guess_ms


def duration_step(expected_ms: int) -> int:
    """The number of doublings of a minute that covers `expected_ms`."""
    return ((expected_ms - 1) // _STEP_MS).bit_length() if expected_ms > _STEP_MS else 0


def usable(node: Node) -> int:
    """GPUs of a node that are handed out."""
    return node.gpus - sum(1 for index in node.gpus_sick if index < node.gpus)


def fits_empty(option: Option, node: Node) -> bool:
    """Whether one rank of `option` fits on `node` when nothing else runs there. Health is not looked at."""
    if option.gpus and option.model not in ("", node.gpu_model):
        return False
    return (
        option.gpus <= usable(node)
        and option.cpus <= node.cpus_milli
        and option.memory <= node.memory_mib
        and option.disk <= node.disk_mib
    )
