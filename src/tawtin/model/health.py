"""What can be wrong with a GPU or a node, and that it is out of service until it is brought back."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from tawtin.model.base import Record


class FaultKind(StrEnum):
    """What is wrong, for programs."""

    XID = "xid"
    """The driver reported an error of the hardware; `code` is its number."""
    ECC = "ecc"
    """Its memory had errors that could not be corrected; `code` is how many."""
    ROW_REMAP = "row_remap"
    """Its memory has to be repaired by a reset, or cannot be."""
    TEMPERATURE = "temperature"
    """It was too hot for too long; `code` is the temperature in degrees Celsius."""
    THROTTLED = "throttled"
    """Its hardware slowed it down for too long; `code` has the driver's reasons as bits."""
    NVLINK = "nvlink"
    """Links to its neighbours are down that were up; `code` is how many."""
    LOST = "lost"
    """The driver does not find it any more."""
    BURN_IN = "burn_in"
    """Its burn-in job did not pass."""
    OPERATOR = "operator"
    """An operator took it out."""


class GpuFault(Record, order=True, frozen=True, kw_only=True):
    """A fault that an engine found on one GPU of a node."""

    index: Annotated[int, msgspec.Meta(ge=0)]
    kind: FaultKind
    at_ms: int
    """When it was first seen, by the clock that the engine's reports have."""
    fatal: bool
    """What runs on it is lost, and what it computes is worth nothing from then on; else it still works, and is
    drained."""
    code: int = 0
    why: str = ""


class Quarantine(Record, frozen=True, kw_only=True):
    """A GPU, or a whole node, that is out of service; kept after its return as well, so that old faults stay old."""

    node: str
    gpu: str = ""
    """What its node calls it (`Node.gpu_ids`), or `#` and its index; empty for the whole node."""
    kind: FaultKind
    code: int = 0
    why: str = ""
    fatal: bool = False
    """Runs that hold it were ended for it, and their time on it since `since_ms` is not charged."""
    since_ms: int
    """When the fault began."""
    by: str = ""
    """The key of the operator who took it out; empty if the factory did."""
    trial: str = ""
    """The burn-in job that tries it now."""
    tried: int = 0
    """Burn-in jobs that did not pass."""
    returned_ms: int | None = None
    """When it came back into service; None while it is out."""
    returned_by: str = ""
    """The key of the operator who brought it back; empty if the factory did, after its burn-in job passed."""
    version: int = 1

    @property
    def key(self) -> str:
        """Its id: one GPU or node has one record, which the next quarantine replaces."""
        return f"{self.node}|{self.gpu}"

    @property
    def out(self) -> bool:
        """Whether it is out of service."""
        return self.returned_ms is None


class HealthLimits(Record, frozen=True, kw_only=True):
    """`local.health`: from when on a GPU counts as sick."""

    xids_fatal: tuple[int, ...] = (46, 48, 62, 64, 74, 79, 94, 95, 110, 119, 120, 140, 143)
    """Errors of the driver (Xid) after which what runs on the GPU is lost."""
    xids_worn: tuple[int, ...] = (63, 92)
    """Errors of the driver after which the GPU still works, but has to be drained and reset."""
    ecc_uncorrected: Annotated[int, msgspec.Meta(ge=0)] = 1
    """Uncorrected memory errors since it was last well that make it sick; 0 for never."""
    hot_ms: Annotated[int, msgspec.Meta(ge=0)] = 60_000
    """How long it may be as hot as where its driver slows it down; 0 for as long as it likes."""
    throttled_ms: Annotated[int, msgspec.Meta(ge=0)] = 300_000
    """How long its hardware may slow it down, for heat or for lack of power; 0 for as long as it likes."""
    nvlinks_down: Annotated[int, msgspec.Meta(ge=0)] = 1
    """Links down of those that were up; 0 for never."""
    look_ms: Annotated[int, msgspec.Meta(ge=100)] = 5_000
    """How often GPUs are looked at; Xids are heard at once."""


class BurnIn(Record, frozen=True, kw_only=True):
    """`[burn_in]`: the job that a GPU, or a node, passes before it comes back into service."""

    script: str = ""
    """A shell script, run as a job of the owner that holds what is tried; exit code 0 passes. Empty for none."""
    max_ms: Annotated[int, msgspec.Meta(ge=1)] = 1_800_000
    """How long it may take; longer is not passed."""
    automatic: bool = False
    """Whether it is run once by itself, when what the factory took out is idle and its state is well again; else an
    operator asks for it by `tawtin node return`."""
