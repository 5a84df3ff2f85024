"""The demonstration holds what it claims, and would say so if it did not."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from demo.claims import Claims

ROOT = Path(__file__).parents[2]


def test_a_claim_that_does_not_hold_is_counted_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    claims = Claims()
    assert claims.check("two and two", want=4, got=4, see="python")
    assert not claims.check("two and three", want=4, got=5, see="python")
    assert claims.failed == 1
    claims.write(tmp_path / "summary.json")
    written = json.loads((tmp_path / "summary.json").read_text())
    assert [set(each) for each in written] == [{"claim", "want", "got", "ok", "see"}] * 2
    assert [each["ok"] for each in written] == [True, False]
    assert "NOT  two and three: 5 (wanted 4)" in capsys.readouterr().out
    assert "NOT  two and three" in claims.table()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_demonstration_ends_well_and_leaves_nothing_behind() -> None:
    if importlib.util.find_spec("sklearn") is None:
        pytest.skip("needs: scikit-learn (dependency group `demo`)")
    summary = ROOT / "demo-summary.json"
    summary.unlink(missing_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "demo"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("TAWTIN_")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=550,
    )
    claims = {each["claim"]: each for each in json.loads(summary.read_text())}
    assert [name for name, each in claims.items() if not each["ok"]] == [], done.stdout[-3000:]
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert "accuracy over all folds, from the runs' logs" in claims
    assert claims["questions right after it, answered by the other replica"]["got"] == "5 of 5, no error"
    assert claims["why it waits"]["got"] == "ExceedsCapacity"
    assert claims["processes left behind"]["got"] == "0"
