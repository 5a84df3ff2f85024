"""Stores that are put back from a backup, in a share of the histories; and the person who ends what that leaves open.

What is drawn here comes from a source of its own, so that histories without it are what they always were.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from tawtin.core.handshake.visited import is_ours
from tawtin.model.roaming import guest_key

if TYPE_CHECKING:
    from tawtin.model.workload import Run
    from tawtin.runtime.simulate.network.history import Driver
    from tawtin.runtime.simulate.network.site import SimSite
    from tawtin.store.memory import MemoryJournal

SHARE: Final = 4
"""One history in so many has the fault."""
BACKUP_PERCENT: Final = 6
PUT_BACK_PERCENT: Final = 2
MOST: Final = 3
"""So often at most in a history."""


class Backups:
    """What was backed up, and what becomes of it."""

    def __init__(self, driver: Driver, seed: int) -> None:
        self.driver = driver
        self.random = random.Random(f"backups of {seed}")  # noqa: S311 - anyone can repeat it
        self.happen = self.random.randrange(SHARE) == 0
        self.kept: dict[str, MemoryJournal] = {}
        """The last backup of each factory; it may be put back more than once."""

    def step(self) -> None:
        """Let somebody make a backup, or put one back."""
        if not self.happen:
            return
        site = self.random.choice(self.driver.sites)
        if self.random.randrange(100) < BACKUP_PERCENT:
            self.kept[site.name] = site.journal.backup()
        older = self.kept.get(site.name)
        put_backs = sum(each.put_backs for each in self.driver.sites)
        if older is not None and put_backs < MOST and self.random.randrange(100) < PUT_BACK_PERCENT:
            self._put_back(site, older)

    def _put_back(self, site: SimSite, older: MemoryJournal) -> None:
        gone = site.journal.head().size - older.head().size
        self.driver.trace.note(site.clock, f"the store of {site.name} is put back by {gone} entries")
        self.driver.auditor.put_back(site, older.head().size)
        site.put_back(older, self.random.choice((0, 1_000, 20_000)))

    def mend(self) -> None:
        """A person declares lost what a factory whose store was put back cannot say anything of."""
        if not self.happen:
            return
        for site in self.driver.sites:
            plane = site.plane
            if plane is None or plane.factory.roaming is None or not plane.quiet:
                continue
            for run in list(plane.factory.state.runs.values()):
                if run.roam is not None and self._is_unknown(site, run, run.roam.resv):
                    plane.factory.roaming.asking.declare_lost(run, "somebody", "its store was put back")
                    site.wakes_ms = 0

    def _is_unknown(self, home: SimSite, run: Run, resv: str) -> bool:
        """Whether the peer will never say what became of a run, and nothing of it runs there."""
        there = self.driver.auditor.sites[run.factory]
        plane = there.plane
        if not there.put_backs or plane is None or plane.factory.roaming is None or there.host.active:
            return False
        key = guest_key(home.name, run.workload, run.epoch)
        ours = is_ours(resv, plane.factory.roaming.lending.incarnation)
        return not ours and there.journal.get("guest", key) is None
