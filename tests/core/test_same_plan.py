"""Invariant 7: same inputs, same plan."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import hashlib
from tests.core.histories import History
from tawtin.core.explain import explain
sha = hashlib.sha256()
for seed in range(12):
    history = History(seed)
    for _ in range(20):
        history.step()
        decision = history.tick()
        sha.update(repr(decision).encode())
        for workload in sorted(history.state.queues.class_of):
            sha.update(repr(explain(history.state, decision, workload, history.now_ms)).encode())
    sha.update(history.state.digest().encode())
print(sha.hexdigest())
"""


def test_same_inputs_same_plan_whatever_the_hash_seed():
    plans: dict[str, str] = {}
    for seed in ("0", "1", "77", "4242"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        plans[seed] = done.stdout
    assert len(set(plans.values())) == 1, plans
