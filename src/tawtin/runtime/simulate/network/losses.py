"""What stores that were put back have forgotten, by the auditor's own reckoning: this much is excused, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tawtin.model.ids import run_id

if TYPE_CHECKING:
    from tawtin.model.roaming import Guest
    from tawtin.model.workload import Run


class Losses:
    """Facts that were durable at a factory once, and then were not."""

    def __init__(self) -> None:
        self.epochs: set[tuple[str, str]] = set()
        """Home and run: epochs that home gave out and has forgotten."""
        self.ends: set[tuple[str, str]] = set()
        """Home and run: ends of epochs that home has forgotten."""
        self.outcomes: set[tuple[str, str]] = set()
        """Factory and key of a guest: outcomes that the factory has forgotten."""
        self._epoch_of: dict[tuple[str, str], tuple[str, str]] = {}
        """Factory and its own run -> home and run, for guests."""

    def name(self, factory: str, guest: Guest) -> None:
        """Note which epoch of which home a run of a guest is."""
        epoch = (guest.home, run_id(guest.workload, guest.epoch))
        self._epoch_of[factory, run_id(guest.local, 1)] = epoch

    def placed(self, factory: str, run: Run) -> None:
        """Home has forgotten that it gave out this epoch. What a guest is, only its home says."""
        if (factory, run.id) not in self._epoch_of:
            self.epochs.add((factory, run.id))

    def is_of_lost_epoch(self, factory: str, run: str) -> bool:
        """Whether the home of what runs there has forgotten that it gave out the epoch."""
        return self._epoch_of.get((factory, run), (factory, run)) in self.epochs

    def is_unsure(self, home: str, run: str) -> bool:
        """Whether home has forgotten the epoch, or how it ended."""
        return (home, run) in self.epochs or (home, run) in self.ends
