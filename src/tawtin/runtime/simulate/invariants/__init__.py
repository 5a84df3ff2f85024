"""The invariants that every simulated history is held against: one module each, see docs/reference/invariants.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tawtin.runtime.simulate.invariants.evidence import EvidenceCheck
from tawtin.runtime.simulate.invariants.execution import ExecutionCheck
from tawtin.runtime.simulate.invariants.limits import LimitsCheck
from tawtin.runtime.simulate.invariants.loss import LossCheck
from tawtin.runtime.simulate.invariants.plan import PlanCheck
from tawtin.runtime.simulate.invariants.residency import ResidencyCheck
from tawtin.runtime.simulate.invariants.usage import UsageCheck

if TYPE_CHECKING:
    from tawtin.runtime.simulate.invariants.base import Check

CHECKS: Final[tuple[type[Check], ...]] = (
    ResidencyCheck,
    ExecutionCheck,
    LossCheck,
    UsageCheck,
    LimitsCheck,
    EvidenceCheck,
    PlanCheck,
)
"""In the order in which they look."""
