"""Virtual time: production code under seeded clocks, journals, engines, clients and faults, every invariant checked.

`simulate(seed)` goes through one history; `python -m tawtin.runtime.simulate --seed N` shows one again.
"""

from __future__ import annotations

from tawtin.runtime.simulate.history import Failed, History, simulate
from tawtin.runtime.simulate.quiet import Quiet
from tawtin.runtime.simulate.words import Invariant, Violation
from tawtin.runtime.simulate.world import Parts

__all__ = ["Failed", "History", "Invariant", "Parts", "Quiet", "Violation", "simulate"]
