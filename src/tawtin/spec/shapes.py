"""Resources as written become a demand: ranges and alternatives laid out as shapes, the first preferred."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from tawtin.model.resources import Demand, Shape
from tawtin.spec.errors import Problems, shown
from tawtin.spec.job import Alternative, Amount, Job, Resources
from tawtin.spec.units import cpus_milli, size_mib

OPTIONS_MAX: Final = 64
NODES_MAX: Final = 4096
GPUS_MAX: Final = 65_536
CPUS_MILLI: Final = 1000
MEMORY_MIB: Final = 1024
CPUS_MILLI_PER_GPU: Final = 2000
MEMORY_MIB_PER_GPU: Final = 8192

_GPU = re.compile(
    r"([A-Za-z][A-Za-z0-9._-]{0,62})(?:\s*:\s*(\d{1,6}(?:\.\d+)?)(?:\.\.(\d{1,6}))?)?", re.ASCII
)
_NO_GPUS: Final = ("TPU", "INFERENTIA", "TRAINIUM")
_Turn = Callable[[str], int]


@lru_cache(maxsize=1024)
def gpus(text: str) -> tuple[tuple[str, int], ...]:
    """Return (model, number) of `H100:8` or `H100`; all of a range, the most first. Raises ValueError."""
    match = _GPU.fullmatch(text.strip())
    if not match:
        if text[:1].isdigit():
            raise ValueError(
                f"{shown(text)} names no GPU model; write one, such as `H100:1`, or `any:1` for any"
            )
        raise ValueError(
            f"{shown(text)} is no GPU; write a model and a number, such as `H100:8` or `H100:1..4`"
        )
    model = match[1].upper()
    if model.startswith(_NO_GPUS):
        raise ValueError(f"{shown(match[1])} is no GPU, and a factory has GPUs; name a model such as `H100`")
    low, high = match[2] or "1", match[3] or match[2] or "1"
    if "." in low:
        whole, _, part = low.partition(".")
        if part.strip("0"):
            raise ValueError(
                f"{shown(text)} is a part of a GPU; GPUs are given whole, so write `{match[1]}:1`"
            )
        low = high = whole
    least, most = int(low), int(high)
    if not 1 <= least <= most <= GPUS_MAX:
        raise ValueError(f"{shown(text)} is no range of 1 to {GPUS_MAX} GPUs, the lower first")
    if most - least >= OPTIONS_MAX:
        raise ValueError(f"{shown(text)} is a range of more than {OPTIONS_MAX} numbers; narrow it")
    name = "" if model == "ANY" else model
    return tuple((name, number) for number in range(most, least - 1, -1))


def demand(job: Job, problems: Problems) -> Demand:
    """Return what `job` asks for; what is wrong goes to `problems`, and then the demand means nothing."""
    resources = job.resources
    if not resources.any_of and not resources.ordered:
        accelerators = resources.accelerators
        if (accelerators is None or isinstance(accelerators, str)) and 1 <= job.num_nodes <= NODES_MAX:
            try:
                return _simple(
                    accelerators, resources.cpus, resources.memory, resources.disk_size, job.num_nodes
                )
            except ValueError:
                pass  # found again below, where it is said of which field
        options = _options(resources, resources, "resources", problems)
    else:
        if resources.any_of and resources.ordered:
            problems.add("resources.ordered", "`any_of` is given as well, and means the same; remove one")
        field = "any_of" if resources.any_of else "ordered"
        options = [
            shape
            for number, each in enumerate(resources.any_of or resources.ordered)
            for shape in _options(resources, each, f"resources.{field}[{number}]", problems)
        ]
    options = list(dict.fromkeys(options))
    if len(options) > OPTIONS_MAX:
        problems.add(
            "resources", f"this comes to {len(options)} alternatives; at most {OPTIONS_MAX} are tried"
        )
    if not 1 <= job.num_nodes <= NODES_MAX:
        problems.add("num_nodes", f"`{job.num_nodes}` is outside of 1 to {NODES_MAX}")
        return Demand(options=(Shape(),))
    return Demand(nodes=job.num_nodes, options=tuple(options) or (Shape(),))


def spot(job: Job) -> bool | None:
    """Whether any alternative says that it may be preempted; None if none says anything."""
    resources = job.resources
    said = [
        each.use_spot
        for each in (resources, *resources.any_of, *resources.ordered)
        if each.use_spot is not None
    ]
    return any(said) if said else None


@lru_cache(maxsize=1024)
def _simple(accelerators: str | None, cpus: Amount, memory: Amount, disk: Amount, nodes: int) -> Demand:
    """Most specs ask for one of few things; raises ValueError."""
    sizes = [
        None if value is None else turn(str(value))
        for turn, value in ((cpus_milli, cpus), (size_mib, memory), (size_mib, disk))
    ]
    options = [
        _shape(model, number, sizes[0], sizes[1], sizes[2] or 0) for model, number in _gpus(accelerators)
    ]
    return Demand(nodes=nodes, options=tuple(options))


def _options(base: Resources, own: Resources | Alternative, path: str, problems: Problems) -> list[Shape]:
    def of(field: str) -> tuple[Amount, str]:
        """Return the alternative's own value, or else that of the resources around it; and where it was written."""
        value = getattr(own, field)
        return (getattr(base, field), f"resources.{field}") if value is None else (value, f"{path}.{field}")

    wanted = own.accelerators, f"{path}.accelerators"
    if own.accelerators is None:
        wanted = base.accelerators, "resources.accelerators"
    try:
        models = _gpus(wanted[0])
    except ValueError as error:
        problems.add(wanted[1], str(error))
        models = [("", 0)]
    cpus = _amount(cpus_milli, *of("cpus"), problems)
    memory = _amount(size_mib, *of("memory"), problems)
    disk = _amount(size_mib, *of("disk_size"), problems) or 0
    return [_shape(model, number, cpus, memory, disk) for model, number in models]


def _shape(model: str, number: int, cpus: int | None, memory: int | None, disk: int) -> Shape:
    if cpus is None:
        cpus = CPUS_MILLI_PER_GPU * number or CPUS_MILLI
    if memory is None:
        memory = MEMORY_MIB_PER_GPU * number or MEMORY_MIB
    return Shape(gpu_model=model, gpus=number, cpus_milli=cpus, memory_mib=memory, disk_mib=disk)


def _gpus(wanted: str | dict[str, int | None] | list[str] | None) -> list[tuple[str, int]]:
    if wanted is None:
        return [("", 0)]
    if isinstance(wanted, str):
        return list(gpus(wanted))
    if not wanted:
        raise ValueError("this names no GPU; name one, such as `H100:1`, or remove it")
    if isinstance(wanted, list):
        return [each for text in wanted for each in gpus(text)]
    # `{H100:1, A100:2}` without spaces is, to YAML, a mapping of whole keys to nothing
    texts = [model if number is None else f"{model}:{number}" for model, number in wanted.items()]
    return [each for text in texts for each in gpus(text)]


def _amount(turn: _Turn, value: Amount, path: str, problems: Problems) -> int | None:
    if value is None:
        return None
    try:
        return turn(str(value))
    except ValueError as error:
        problems.add(path, str(error))
        return None
