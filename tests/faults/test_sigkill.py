"""SIGKILL to a real factory's processes at random moments under load: nothing acknowledged is lost, nothing runs twice.

Where the factory can have a sandbox it has one here. The seed of the moments is printed.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from tawtin.bootstrap.settings import load_settings
from tawtin.bootstrap.wire import site_of
from tawtin.model.ids import run_id
from tawtin.model.workload import Outcome, Phase, Run, RunState, Workload
from tawtin.ports import Query
from tawtin.runtime.rows import decode, replay
from tawtin.runtime.rows import load as load_state
from tawtin.runtime.simulate.invariants.evidence import tree_root
from tawtin.runtime.simulate.invariants.same import difference
from tawtin.runtime.simulate.invariants.usage import price
from tawtin.store.open import open_journal
from tests.faults.real import Load, RealFactory, Watcher, _kill, factory_in, starts_in

pytestmark = pytest.mark.slow

ROUNDS = 200
KINDS = ("control plane",) * 3 + ("supervisor",) * 5 + ("launcher",) * 2 + ("everything",)
CLOCKS_MS = 100
"""By so much may two clocks of one machine, read one after the other, disagree about a duration."""
BUDGET_S = 420
"""Rounds end here at the latest, and then were too few; a quiet machine needs half of it."""


@pytest.mark.timeout(660)
def test_no_kill_loses_repeats_or_double_charges_anything(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    _check_rounds(tmp_path, capsys)


@pytest.mark.soak
@pytest.mark.parametrize("night", range(20))
def test_no_kill_does_so_in_a_long_time(tmp_path: Path, capsys: pytest.CaptureFixture[str], night: int):
    _check_rounds(tmp_path, capsys)


def _check_rounds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    with capsys.disabled():
        print(f" seed {seed} ", end="", flush=True)
    with factory_in(tmp_path) as factory:
        load, watcher = Load(factory, seed), Watcher(factory)
        load.start()
        watcher.start()
        begun_ms = time.time_ns() // 1_000_000
        kills = _kill_rounds(factory, load, random.Random(seed))
        load.over.set()
        load.join(30)
        phases = factory.wait_over(list(load.acknowledged), 90)
        elapsed_ms = time.time_ns() // 1_000_000 - begun_ms
        watcher.over.set()
        watcher.join(5)
        accounts = factory.call("GET", "usage")["items"]
        with capsys.disabled():
            print(f"{dict(kills)}, {len(load.acknowledged)} workloads ", end="", flush=True)
        assert kills.total() == ROUNDS
        assert not load.refused
        assert len(load.acknowledged) > ROUNDS // 4
        assert len(watcher.seen) > ROUNDS // 4, "the watcher saw next to nothing"
        assert not watcher.overlaps, "two runs of one workload were alive at one time"
        _nothing_is_lost(factory, load, phases)
        factory.stop()
        runs = _journal_is_sound(factory, load, accounts, elapsed_ms)
        _nothing_ran_twice(_logs(factory), runs)


def _kill_rounds(factory: RealFactory, load: Load, draw: random.Random) -> Counter[str]:
    kills: Counter[str] = Counter()
    until = time.monotonic() + BUDGET_S
    while kills.total() < ROUNDS and time.monotonic() < until:
        time.sleep(draw.uniform(0.02, 0.35))
        what = draw.choice(KINDS)
        processes = factory.engine_processes()
        if what == "supervisor" and processes["supervisor"]:
            _kill(draw.choice(processes["supervisor"]))
        elif what == "launcher" and processes["launcher"]:
            _kill(draw.choice(processes["launcher"]))
        else:
            if what == "everything":
                for pid in (*processes["launcher"], *processes["supervisor"][:2]):
                    _kill(pid)
            factory.kill()
            factory.up()
            what = "control plane" if what not in {"everything", "control plane"} else what
        kills[what] += 1
    return kills


def _nothing_is_lost(factory: RealFactory, load: Load, phases: dict[str, str]) -> None:
    lost = {
        name: phases.get(name)
        for name in load.acknowledged
        if phases.get(name) not in {"succeeded", "failed"}
    }
    assert not lost, "acknowledged and not finished once the kills had stopped"
    for name, (_, code) in load.acknowledged.items():
        want = "failed" if code else "succeeded"
        assert phases[name] == want, factory.call("GET", f"workloads/{name}/runs")


def _logs(factory: RealFactory) -> dict[str, str]:
    """What each run wrote."""
    logs: dict[str, str] = {}
    for part in ("runs", "done"):
        for folder in (factory.data / "engine" / part).iterdir():
            texts = [file.read_bytes() for file in sorted(folder.rglob("log*")) if file.is_file()]
            logs[folder.name] = b"".join(texts).decode(errors="replace")
    return logs


def _nothing_ran_twice(logs: dict[str, str], runs: list[Run]) -> None:
    for run in runs:
        text = logs.get(run.id, "")
        assert "TWICE" not in text, text
        starts = starts_in(text)
        if run.outcome is Outcome.FINISHED:
            assert starts == {run.id: 1}, (run.id, text)
            assert f"END {run.id}" in text, (run.id, text)
        else:
            assert starts.total() <= 1, (run.id, text)


def _journal_is_sound(
    factory: RealFactory, load: Load, accounts: list[dict[str, int]], elapsed_ms: int
) -> list[Run]:
    journal = open_journal(f"sqlite:///{factory.data / 'journal.db'}")
    try:
        settings = load_settings(factory.folder)
        site = site_of(settings)
        state = load_state(journal, site)
        assert difference(state, replay(journal, site)) == ""
        assert not state.runs
        head = journal.head()
        bodies = journal.events(0, head.size)
        assert len(bodies) == head.size
        assert tree_root(bodies) == head.root
        workloads: list[Workload] = [
            decode("workload", body) for body in journal.list(Query(kind="workload", limit=1_000_000))
        ]
        runs: list[Run] = [decode("run", body) for body in journal.list(Query(kind="run", limit=1_000_000))]
    finally:
        journal.close()
    by_name = {workload.id: workload for workload in workloads}
    # a request that was never answered may have been kept: it is no loss, but it must not be there twice
    assert set(load.acknowledged) <= set(by_name)
    keys = Counter(workload.spec.name for workload in workloads)
    assert max(keys.values()) == 1, "an idempotency key made two workloads"
    _runs_are_sound(by_name, runs, elapsed_ms)
    assert sum(account["wall_ms"] for account in accounts) == sum(run.usage.wall_ms for run in runs)
    assert sum(account["runs"] for account in accounts) == len(runs)
    assert sum(account.get("cost_minor", 0) for account in accounts) == sum(
        price(run, run.usage) for run in runs
    )
    return runs


def _runs_are_sound(workloads: dict[str, Workload], runs: list[Run], elapsed_ms: int) -> None:
    of: dict[str, list[Run]] = {}
    for run in runs:
        assert run.state is RunState.DONE, run
        assert run.id == run_id(run.workload, run.epoch)
        assert 0 <= run.usage.wall_ms <= elapsed_ms
        if run.started_ms is not None:
            assert run.usage.wall_ms <= (run.ended_ms or 0) - run.started_ms + CLOCKS_MS, run
        of.setdefault(run.workload, []).append(run)
    for name, workload in workloads.items():
        mine = sorted(of.get(name, []), key=lambda run: run.epoch)
        assert [run.epoch for run in mine] == list(range(1, workload.epoch + 1)), name
        finished = [run for run in mine if run.outcome is Outcome.FINISHED]
        assert len(finished) == (1 if workload.phase in {Phase.SUCCEEDED, Phase.FAILED} else 0), name
        for earlier, later in pairwise(mine):
            assert earlier.outcome is Outcome.INTERRUPTED, "a run follows one that had finished"
            assert (later.started_ms or later.placed_ms) >= (earlier.ended_ms or 0) - 5, "two runs overlap"
