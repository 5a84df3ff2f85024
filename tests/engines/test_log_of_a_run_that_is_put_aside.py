"""A run's folder moves when its outcome was recorded; whoever reads its log at that moment still gets it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tawtin.engines.local import folders as module
from tawtin.engines.local import orders
from tawtin.engines.local.engine import LocalEngine
from tawtin.engines.local.folders import Folders
from tawtin.engines.local.logfile import LOG_PREFIX, read_log

RUN = "wl-a.1"


def test_a_log_that_is_read_while_its_run_is_put_aside_is_not_taken_for_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = Folders(str(tmp_path), open_to_tenants=False)
    for part in ("runs", "done"):
        (tmp_path / part).mkdir(exist_ok=True)
    folder = tmp_path / "runs" / RUN
    folder.mkdir()
    (folder / orders.EXIT).write_text("{}")
    (folder / f"{LOG_PREFIX}{0:020d}").write_bytes(b"here\n")
    engine = LocalEngine.__new__(LocalEngine)
    engine._folders = folders

    def read_after_the_move(path: str, offset: int, limit: int) -> tuple[int, bytes, int, int]:
        if folder.is_dir():
            folder.rename(tmp_path / "done" / RUN)
        return read_log(path, offset, limit)

    monkeypatch.setattr(module, "read_log", read_after_the_move)
    chunk = engine.log(RUN, 0, 100)
    assert (chunk.data, chunk.end) == (b"here\n", True)
