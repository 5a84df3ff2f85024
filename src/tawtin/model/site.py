"""What a factory is: the facts about itself that decisions depend on."""

from __future__ import annotations

from typing import Annotated

import msgspec

from tawtin.model.base import Record
from tawtin.model.money import Minor, Rate
from tawtin.model.rules import Facts
from tawtin.model.workload import WorkloadType

FactoryName = Annotated[str, msgspec.Meta(min_length=1, max_length=63, pattern=r"^[!-.0-~]+( [!-.0-~]+)*$")]
"""ASCII without `/`, as it travels in headers and addresses; single spaces inside."""


class Site(Record, frozen=True, kw_only=True):
    """One factory. Made from the settings at start; the same for every decision until a restart."""

    name: str
    country: str
    """ISO 3166-1 alpha-2."""
    operator: str = ""
    facts: Facts = Facts()
    """What residency rules may ask about it and its operator."""
    currency: str = "MAD"
    minor_per_gpu_hour: dict[str, Minor] = {}
    """By GPU model; the model `*` prices every other one."""
    minor_per_cpu_hour: Minor = 0
    carbon_g_per_kwh: int = 0
    """Grams of CO2 equivalent for a kilowatt hour of its electricity; 0 where nobody has said."""
    isolated: bool = True
    """Whether runs are sandboxed. Without it only the owner's tenant may run work."""
    types: tuple[WorkloadType, ...] = (WorkloadType.JOB,)
    """The types of workload that some engine here runs."""
    portless: tuple[str, ...] = ()
    """Names of the engines here that cannot give a run a port; while there are any, services are not run."""
    preemption: bool = True
    backoff_ms: int = 1_000
    """Pause before a run that was interrupted, but not preempted, is tried again; doubles up to `backoff_ms_max`."""
    backoff_ms_max: int = 300_000
    roam_after_ms: int = 30_000
    """Peers are asked for a workload that is not expected to start here within this time."""
    run_guess_ms: int = 3_600_000
    """How long a run without a maximum duration is taken to last when starts are estimated."""

    def rate(self, gpu_model: str) -> Rate:
        """The price in force for a run on this GPU model (empty for none)."""
        per_gpu = (
            self.minor_per_gpu_hour.get(gpu_model, self.minor_per_gpu_hour.get("*", 0)) if gpu_model else 0
        )
        return Rate(
            currency=self.currency, minor_per_gpu_hour=per_gpu, minor_per_cpu_hour=self.minor_per_cpu_hour
        )
