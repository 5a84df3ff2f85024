"""Histories of a network in virtual time: at most one execution, money once, all at rest in the end, in every seed.

There are three for each history of one factory; `--seeds N` says how many those are.
"""

from __future__ import annotations

import pytest

from tawtin.runtime.roaming import Roaming
from tawtin.runtime.simulate.network import NetworkFailed, NetworkHistory, simulate_network

CHUNK = 50
TIMES = 3


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "chunk" in metafunc.fixturenames:
        count = TIMES * int(str(metafunc.config.getoption("--seeds")))
        chunks = [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
        metafunc.parametrize("chunk", chunks, ids=[f"{chunk.start}-{chunk.stop - 1}" for chunk in chunks])


@pytest.mark.timeout(300)
def test_every_predicate_holds_in_every_history(chunk: range, capsys: pytest.CaptureFixture[str]):
    histories = [_history(seed) for seed in chunk]
    with capsys.disabled():
        roamed, cuts = sum(each.roamed for each in histories), sum(each.cuts for each in histories)
        print(f" {roamed} roamed, {cuts} cuts ", end="", flush=True)


def _history(seed: int) -> NetworkHistory:
    try:
        return simulate_network(seed)
    except NetworkFailed as failed:
        pytest.fail(str(failed), pytrace=False)


def test_histories_are_full_of_what_they_are_to_test():
    histories = [_history(seed) for seed in range(40)]
    assert sum(each.roamed for each in histories) > 200
    assert sum(each.crashes for each in histories) > 200
    assert sum(each.cuts for each in histories) > 100
    assert sum(each.expired for each in histories) > 3


def test_a_seed_gives_the_same_history_again():
    assert simulate_network(7) == simulate_network(7)


def test_a_seed_gives_the_same_slow_history_again():
    assert simulate_network(7, pace=5) == simulate_network(7, pace=5)


@pytest.mark.timeout(300)
def test_slow_histories_hold_as_well_and_roam():
    histories = [simulate_network(seed, pace=10) for seed in range(12)]
    assert sum(each.roamed for each in histories) > 100
    assert sum(each.crashes for each in histories) > 50
    assert all(each.factory_ms > 3_600_000 for each in histories)


class Punctual(Roaming):
    """Nothing is due before the time that it says itself."""

    early = 0

    def due(self) -> None:
        next_ms, said = self.next_due_ms(), len(self.post.outbox)
        seq = self.factory.state.seq
        super().due()
        if next_ms is None or next_ms > self.post.tick_ms():
            Punctual.early += 1
            assert (self.factory.state.seq, len(self.post.outbox)) == (seq, said), next_ms


def test_nothing_is_due_before_the_time_that_a_factory_says():
    Punctual.early = 0
    for seed in range(20):
        simulate_network(seed, parts={"roaming": Punctual})
    assert Punctual.early > 1_000
