"""Mistakes of the handshake that matter only in one order of events: each is played, with the worst clocks allowed.

The numbers are those of test_handshake_mutants.
"""

# what is planted takes whatever the plain part takes, so that its arguments have no types here
# pyright: reportUnknownLambdaType=none, reportUnknownArgumentType=none, reportUnknownMemberType=none
# pyright: reportUnknownVariableType=none, reportUnknownParameterType=none
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from tawtin.core.handshake import visited
from tawtin.core.handshake.move import Move
from tawtin.model.roaming import RenewOk
from tawtin.model.workload import OnPartition
from tawtin.runtime.roaming.asking import Asking
from tawtin.runtime.roaming.lending import Lending
from tawtin.runtime.simulate.network import Broken, Predicate
from tawtin.runtime.simulate.network.history import Driver
from tawtin.runtime.simulate.network.site import ERROR_PPM

Patch = pytest.MonkeyPatch
RERUN = OnPartition.RERUN.value


def m2(patch: Patch) -> None:
    plain = visited._renewed

    def renewed(side: visited.Visited, message: RenewOk) -> Move:
        if message.req in side.held.asked:
            side.held.asked[message.req] = side.boot_ms
        return plain(side, message)

    patch.setattr(visited, "_renewed", renewed)


def m3(patch: Patch) -> None:
    patch.setattr(Lending, "resume", lambda self: None)


def m17(patch: Patch) -> None:
    plain = visited._renewed

    def renewed(side: visited.Visited, message: RenewOk) -> Move:
        if side.held.asked:
            side.held.asked[message.req] = max(side.held.asked.values())
        return plain(side, message)

    patch.setattr(visited, "_renewed", renewed)


class Stage(Driver):
    """A home without GPUs, a visited factory with them, and the worst clocks that the terms allow."""

    def __init__(self) -> None:
        seed = next(each for each in range(100) if len(Driver(each, {}, RERUN).sites) == 2)
        super().__init__(seed, {}, RERUN)
        self.home, self.there = self.sites
        self.home.clock.ppm, self.there.clock.ppm = ERROR_PPM, -ERROR_PPM
        self.home.host.nodes = {}
        self.there.host.nodes = {name: replace(node, gpus=4) for name, node in self.there.host.nodes.items()}
        self.crash_permille = self.cut_percent = self.host_permille = self.supervisor_permille = 0
        self.lost_permille, self.work_ms = 0, 300_000
        for site in self.sites:
            site.start()
            site.found([other for other in self.sites if other is not site])
            self._settle(site)

    def roam(self) -> None:
        """Let the home submit a job that it cannot run."""
        self.sites, both = [self.home], self.sites
        self._submit()
        self.sites = both

    def play(self, ms: int, until: Callable[[], bool] = lambda: False) -> None:
        """Let this much time pass, in small steps."""
        end = self.time.ms + ms
        while self.time.ms < end and not until():
            self._pass_time(50)
            for site in self.sites:
                site.due()
                self._settle(site)
            self.auditor.look()

    def runs(self) -> bool:
        """Whether the job runs there."""
        return bool(self.there.host.active) and all(each.alive for each in self.there.host.active.values())


def late_grant(stage: Stage) -> None:
    """A grant arrives late, and nothing reaches home any more."""
    granted: list[int] = []

    def fate(sender: str, _recipient: str, message: object) -> int | None:
        if isinstance(message, RenewOk):
            granted.append(stage.time.ms)
            return 3_000
        return None if granted and sender == stage.there.name else 1

    stage.network.fate = fate
    stage.roam()
    stage.play(10_000, stage.runs)
    stage.play(60_000)
    assert granted


def old_grant(stage: Stage) -> None:
    """The answer to an old request arrives after a newer one was sent, and lost."""
    granted: list[int] = []

    def fate(sender: str, _recipient: str, message: object) -> int | None:
        if isinstance(message, RenewOk):
            granted.append(stage.time.ms)
            return 9_000
        return None if granted and sender == stage.there.name else 1

    stage.network.fate = fate
    stage.roam()
    stage.play(10_000, stage.runs)
    stage.play(60_000)
    assert granted


def dies_before_the_start(stage: Stage) -> None:
    """The visited control plane dies after it recorded the commit, before it told its engine; then the cable is cut."""
    cut: list[bool] = []
    stage.network.fate = lambda *_: None if cut else 1
    plain = stage._settle

    def settle(site: Any) -> None:
        plane = site.plane
        if site is stage.there and plane is not None and not cut:
            plane.hear()
            plane.decide()
            plane.take()
            plane.commit()
            if plane.factory.state.guests:
                cut.append(True)
                site.crash(0)
                site.start()
        plain(site)

    stage._settle = settle
    stage.roam()
    stage.play(60_000)
    assert cut


@pytest.mark.parametrize(
    ("plant", "script"),
    [(m2, late_grant), (m17, old_grant), (m3, dies_before_the_start)],
    ids=["M2", "M17", "M3"],
)
def test_a_mistake_in_a_played_order_is_found_and_without_it_all_holds(
    plant: Callable[[Patch], None], script: Callable[[Stage], None], monkeypatch: Patch
):
    stage = Stage()
    script(stage)
    stage.network.fate = None
    stage.heal()
    stage.work_ms = 0
    plant(monkeypatch)
    with pytest.raises(Broken) as broken:
        script(Stage())
    assert broken.value.predicate in {Predicate.P1, Predicate.P2, Predicate.P9}


def test_a_spec_that_was_not_reserved_for_never_runs_and_the_one_that_was_does(monkeypatch: Patch):
    stage, lies = Stage(), [True]
    plain = Asking._commit

    def commit(self: Asking, workload: Any, run: Any) -> Any:
        message = plain(self, workload, run)
        return replace(message, spec=replace(message.spec, name="another")) if lies else message

    monkeypatch.setattr(Asking, "_commit", commit)
    stage.roam()
    stage.play(30_000)
    assert not stage.there.host.processes
    assert stage.there.plane is not None
    assert stage.there.plane.factory.roaming is not None
    assert "another spec" in stage.there.plane.factory.roaming.post.alarms[0]
    lies.clear()
    home = stage.home.plane
    assert home is not None
    home.again()
    stage.play(30_000, stage.runs)
    assert stage.runs()
