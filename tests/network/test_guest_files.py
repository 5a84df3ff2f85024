"""Files of guests at a real factory that keeps them for seconds: they go when nothing needs them, and not before."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Home
from tests.network.conftest import introduce, raised
from tests.network.test_files import spec_of
from tests.network.test_two_factories import Pair, first_of, status, until

pytestmark = [pytest.mark.timeout(300), pytest.mark.sandbox]
KEEPS_MS = 3_000


@pytest.fixture
def tidy_pair(tmp_path: Path) -> Iterator[Pair]:
    casa = raised(tmp_path / "casa", "Casablanca", "MA")
    nairobi = raised(tmp_path / "nairobi", "Nairobi", "KE", "--declare-gpus", "H100:4")
    nairobi.end()
    settings = nairobi.folder / "factory.toml"
    settings.write_text(f"{settings.read_text()}\n[peering]\nguest_files_ms = {KEEPS_MS}\n")
    nairobi.up()
    introduce(casa, nairobi)
    introduce(nairobi, casa)
    yield casa, nairobi
    casa.end()
    nairobi.end()


def has(home: Home, body: bytes) -> bool:
    name = hashlib.sha256(body).hexdigest()
    return (home.folder / "data" / "artifacts" / name[:2] / name[2:]).exists()


def dropped(home: Home) -> dict[str, int]:
    """Artifact -> bytes, by the log."""
    link = sqlite3.connect(f"file:{home.folder / 'data' / 'journal.db'}?mode=ro", uri=True)
    bodies = link.execute("SELECT body FROM events WHERE kind = 'GuestFilesDropped' ORDER BY seq").fetchall()
    link.close()
    events = [json.loads(body)["event"] for (body,) in bodies]
    return {each["artifact"]: each["size_bytes"] for event in events for each in event.get("dropped", ())}


def test_inputs_and_outputs_leave_after_the_retention_but_not_while_another_run_needs_them(
    tidy_pair: Pair, tmp_path: Path
):
    casa, nairobi = tidy_pair
    small = {"accelerators": "H100:1", "cpus": 1, "memory": 1}
    work = tmp_path / "work"
    work.mkdir()
    given, made = os.urandom(100_000), b"made there\n"
    (work / "given").write_bytes(given)
    told = casa.tawtin(
        "run",
        "-y",
        "--json",
        "--detach",
        str(spec_of(tmp_path, "sleep 600", resources=small, workdir=str(work))),
    )
    assert told.code == 0, told.err
    long = first_of(told)
    until(lambda: status(casa, long) == "running")
    spec = spec_of(
        tmp_path,
        "mkdir out; echo made there > out/made",
        resources=small,
        workdir=str(work),
        outputs={"out": "out"},
    )
    told = casa.tawtin("run", "-y", "--json", "--detach", str(spec))
    assert told.code == 0, told.err
    short = first_of(told)
    until(lambda: status(casa, short) in {"succeeded", "failed"})
    assert status(casa, short) == "succeeded", casa.tawtin("show", short).out + casa.tawtin("logs", short).out
    until(lambda: not has(nairobi, made))
    assert has(casa, made), "its home has it"
    time.sleep(2 * KEEPS_MS / 1000)
    assert has(nairobi, given), "the other run needs it"
    assert status(casa, long) == "running"
    assert casa.tawtin("cancel", long).code == 0
    until(lambda: not has(nairobi, given))
    assert has(casa, given)
    sizes = dropped(nairobi)
    assert len(sizes) == 2
    assert sum(sizes.values()) > len(given) + len(made)
