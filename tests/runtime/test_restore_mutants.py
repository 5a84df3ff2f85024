"""Stores that are put back from a backup: every predicate holds but for what was lost, and mistakes are found.

Each mistake is planted in the real code, and found by the auditor of test_network_simulation.
"""

# what is planted takes whatever the plain part takes, so that its arguments have no types here
# pyright: reportUnknownLambdaType=none, reportUnknownArgumentType=none, reportUnknownMemberType=none
# pyright: reportUnknownVariableType=none
from __future__ import annotations

from collections.abc import Callable

import pytest

from tawtin.core.handshake import visited
from tawtin.model.events import EpochsRaised
from tawtin.runtime.factory import Factory
from tawtin.runtime.roaming.lending import Lending
from tawtin.runtime.roaming.recalling import Recalling
from tawtin.runtime.simulate.network import NetworkFailed, Predicate, backups, simulate_network, site

Patch = pytest.MonkeyPatch
SEEDS_MAX = 300
P = Predicate
EXECUTION = {P.P1, P.P2, P.P4, P.P5, P.P6, P.P7, P.P9}
LIVENESS = {P.L1, P.L2, P.L3}


@pytest.fixture(autouse=True)
def often(monkeypatch: Patch):
    """Every history has the fault."""
    monkeypatch.setattr(backups, "SHARE", 1)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("first", range(0, 120, 40))
def test_stores_that_are_put_back_break_no_predicate(first: int):
    histories = [simulate_network(seed) for seed in range(first, first + 40)]
    assert sum(each.put_backs for each in histories) > 50
    assert sum(each.roamed for each in histories) > 200


def test_a_history_with_the_fault_is_the_same_again():
    assert simulate_network(3) == simulate_network(3)


def says_not_held(patch: Patch) -> None:
    patch.setattr(visited, "is_ours", lambda *_: True)


def keeps_its_incarnation(patch: Patch) -> None:
    patch.setattr(Lending, "incarnation", property(lambda self: self._first))


def raises_no_epoch(patch: Patch) -> None:
    def go_on(self: Recalling, _wanted: object) -> None:
        if not self.post.unrecorded():
            self.post.factory.stage(EpochsRaised())

    patch.setattr(Recalling, "_raise", go_on)


def waits_for_nobody(patch: Patch) -> None:
    patch.setattr(Recalling, "_missing", lambda *_: [])


def orders_old_runs_as_new_ones(patch: Patch) -> None:
    patch.setattr(Factory, "_is_adopted", lambda *_: False)


def looks_at_no_mark(patch: Patch) -> None:
    patch.setattr(site, "behind_mark", lambda *_: "")


MUTANTS: list[tuple[Callable[[Patch], None], set[Predicate]]] = [
    (says_not_held, EXECUTION),
    (keeps_its_incarnation, EXECUTION),
    (raises_no_epoch, EXECUTION),
    (waits_for_nobody, EXECUTION),
    (orders_old_runs_as_new_ones, EXECUTION | LIVENESS),
    (looks_at_no_mark, EXECUTION | LIVENESS),
]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("plant", "want"), MUTANTS, ids=[plant.__name__ for plant, _ in MUTANTS])
def test_a_planted_mistake_is_found(
    plant: Callable[[Patch], None],
    want: set[Predicate],
    monkeypatch: Patch,
    capsys: pytest.CaptureFixture[str],
):
    plant(monkeypatch)
    others: list[str] = []
    for seed in range(SEEDS_MAX):
        try:
            simulate_network(seed)
        except NetworkFailed as failed:
            if failed.predicate not in want:
                others.append(f"{seed} {failed.predicate}")
                continue
            with capsys.disabled():
                print(f" {plant.__name__}: seed {seed}, {failed.predicate} ", end="", flush=True)
            return
    pytest.fail(f"not found in {SEEDS_MAX} histories, which gave {others}")
