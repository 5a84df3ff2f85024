"""A full disk refuses, says so, loses nothing, and is no longer in the way once there is room."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def _can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    tried = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"],
        capture_output=True,
        check=False,
    )
    return tried.returncode == 0


@pytest.mark.parametrize("how", ["tmpfs", "fsize"])
def test_a_full_disk_refuses_and_loses_nothing(tmp_path: Path, how: str) -> None:
    command = [sys.executable, "-m", "tests.store.filler", str(tmp_path), how]
    if how == "tmpfs":
        if not _can_mount():
            pytest.skip("needs: user namespaces, to mount a small file system")
        command = ["unshare", "--user", "--map-root-user", "--mount", *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["journal_full"] is True, found
    assert "no space is left for" in found["journal"]
    assert found["refused_again"] is True
    assert found["size"] > 20
    assert found["whole"] is True
    assert found["blob_full"] is True, found
    assert "no space is left in" in found["blob"]
    assert (found["blob_kept"], found["drafts"]) == (False, 0)
    assert found["goes_on"] is True
