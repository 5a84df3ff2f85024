"""Histories of one factory in virtual time; every invariant is checked in every seed.

A failure prints its seed and how to see it again. `--seeds N` says how many histories there are.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from tawtin.runtime.simulate import Failed, History, Quiet, simulate
from tawtin.runtime.simulate.history import Driver
from tawtin.runtime.simulate.invariants import CHECKS
from tawtin.runtime.simulate.words import Invariant

CHUNK = 20


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "chunk" in metafunc.fixturenames:
        count = int(str(metafunc.config.getoption("--seeds")))
        chunks = [range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
        metafunc.parametrize("chunk", chunks, ids=[f"{chunk.start}-{chunk.stop - 1}" for chunk in chunks])


def test_every_invariant_holds_in_every_history(
    chunk: range, record_property: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
):
    begun = time.process_time()
    histories = [_history(seed) for seed in chunk]
    rate = len(chunk) / max(time.process_time() - begun, 1e-9)
    with capsys.disabled():
        runs, crashes = sum(each.runs for each in histories), sum(each.crashes for each in histories)
        print(f" {rate:.1f} seeds/s, {runs} runs, {crashes} crashes ", end="", flush=True)


def test_every_invariant_holds_in_every_quiet_history(chunk: range):
    histories = [_history(seed, Quiet) for seed in chunk]
    assert max(each.workloads for each in histories) <= 2
    assert sum(each.runs for each in histories) > len(histories) // 2


def _history(seed: int, driver: type[Driver] = Driver) -> History:
    try:
        return simulate(seed, driver=driver)
    except Failed as failed:
        pytest.fail(str(failed), pytrace=False)


def test_each_invariant_has_one_check():
    want = sorted(set(Invariant) - {Invariant.SOUND})
    assert sorted(check.invariant for check in CHECKS) == want


def test_histories_are_full_of_what_they_are_to_test():
    """A simulation in which nothing happens finds nothing."""
    histories = [_history(seed) for seed in range(20)]
    assert sum(each.crashes for each in histories) > 20
    assert sum(each.runs for each in histories) > 200
    assert sum(each.workloads for each in histories) > 200
    assert sum(each.passes for each in histories) > 400
    assert sum(each.plans_compared for each in histories) > 50
    assert sum(each.requests for each in histories) > 200
    assert sum(each.gpus_sick for each in histories) > 20
    assert sum(each.ends_for_gpus for each in histories) > 1


def test_the_same_seed_gives_the_same_history():
    assert simulate(3, steps=150) == simulate(3, steps=150)


def test_another_seed_gives_another_history():
    assert simulate(3, steps=150).root != simulate(4, steps=150).root


_PRINT_ROOT = "from tawtin.runtime.simulate import simulate; print(simulate({seed}, steps=150).root)"

_DECIDE_BY_HASH = """
import dataclasses
import tawtin.core.decide as deciding
import tawtin.runtime.factory as factory
plain = deciding.decide
def by_hash(state, now_ms, **more):
    plan = plain(state, now_ms, **more)
    stops = tuple(sorted(plan.stops, key=lambda stop: hash(stop.run)))
    placements = tuple(sorted(plan.placements, key=lambda placement: hash(placement.workload)))
    return {replace}
deciding.decide = factory.decide = by_hash
"""


def _roots_under_hash_seeds(code: str) -> list[str]:
    roots: list[str] = []
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        assert done.returncode == 0, done.stderr
        roots.append(done.stdout.strip())
    return roots


@pytest.mark.parametrize("seed", [0, 5, 11])
def test_same_plan_whatever_the_hash_seed_and_the_process(seed: int):
    first, second = _roots_under_hash_seeds(_PRINT_ROOT.format(seed=seed))
    assert first == second == simulate(seed, steps=150).root


def test_a_plan_that_depends_on_hashes_would_be_seen():
    replaced = "dataclasses.replace(plan, stops=stops, placements=placements)"
    code = _DECIDE_BY_HASH.format(replace=replaced) + _PRINT_ROOT.format(seed=5)
    first, second = _roots_under_hash_seeds(code)
    assert first != second
