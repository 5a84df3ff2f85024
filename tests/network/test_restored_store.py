"""A journal is put back from a backup, by the commands of the page, while a peer runs what came after it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Home
from tests.network.conftest import introduce, raised
from tests.network.test_two_factories import shown, status, submitted

pytestmark = [pytest.mark.timeout(300), pytest.mark.sandbox]
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "operate.md"
Pair = tuple[Home, Home]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    casa = raised(tmp_path / "casa", "Casablanca", "MA")
    nairobi = raised(tmp_path / "nairobi", "Nairobi", "KE", "--declare-gpus", "H100:4")
    introduce(casa, nairobi)
    introduce(nairobi, casa)
    yield casa, nairobi
    casa.end()
    nairobi.end()


def blocks() -> list[str]:
    section = PAGE.read_text().partition("## Backup and restore")[2].partition("\n## ")[0]
    return re.findall(r"^```sh\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)


def do(home: Home, block: str, backup: Path) -> None:
    """Run commands of the page for this factory, with its own place for backups."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    script = "set -e\n" + block.replace("/backup", str(backup))
    done = subprocess.run(
        ["bash", "-c", script],
        env={**home.environment, "PATH": path},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def down(home: Home) -> None:
    pid = home.pid()
    os.kill(pid, signal.SIGTERM)
    until(lambda: not Path(f"/proc/{pid}").exists())


def until(what: Callable[[], bool], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, f"it took longer than {seconds:g} s"
        time.sleep(0.2)


def check(home: Home) -> dict[str, Any]:
    told = home.tawtin("doctor", "--json")
    (found,) = [each for each in told.json["checks"] if each["name"] == "store"]
    return found


def running(home: Home) -> list[str]:
    return [
        str(each["workload"]["id"])
        for each in home.tawtin("ps", "--json").json["items"]
        if each["status"] == "running"
    ]


def test_what_a_peer_runs_is_not_run_again_under_its_epoch_and_what_was_lost_is_ended(
    pair: Pair, tmp_path: Path
):
    casa, nairobi = pair
    backup, (save, put_back, *_) = tmp_path / "backup", blocks()
    backup.mkdir()
    nairobi_was = nairobi.pid()
    down(nairobi)
    workload = submitted(casa, "sleep 300")
    do(casa, save, backup)
    nairobi.up()
    assert nairobi.pid() != nairobi_was
    introduce(casa, nairobi)
    introduce(nairobi, casa)
    until(lambda: status(casa, workload) == "running")
    lost = submitted(casa, "echo never")
    before = set(running(nairobi))
    assert len(before) == 1
    down(casa)
    down(nairobi)
    assert check(casa)["state"] == "ok"
    do(casa, put_back, backup)
    assert casa.tawtin("show", lost).code != 0, "it was accepted after the backup"
    assert status(casa, workload) == "queued"
    assert check(casa)["state"] == "warning"
    assert "Nairobi" in casa.tawtin("peer", "list").out.partition("\n\n")[0]
    told = casa.tawtin("explain", workload)
    assert "put back from a backup" in told.out
    nairobi.up()
    introduce(casa, nairobi)
    introduce(nairobi, casa)
    until(lambda: status(casa, workload) == "running")
    assert [run["epoch"] for run in shown(casa, workload)["runs"]] == [2]
    until(lambda: len(running(nairobi)) == 1 and not before & set(running(nairobi)))
    assert check(casa)["state"] == "ok"
    casa.tawtin("cancel", workload)
    until(lambda: status(casa, workload) == "cancelled")
    until(lambda: not running(nairobi))


def test_a_journal_that_is_older_than_the_mark_is_noticed_without_a_word(pair: Pair, tmp_path: Path):
    casa, nairobi = pair
    backup, (save, put_back, *_) = tmp_path / "backup", blocks()
    backup.mkdir()
    do(nairobi, save, backup)
    workload = submitted(casa, "sleep 300")
    until(lambda: status(casa, workload) == "running")
    assert running(nairobi)
    down(nairobi)
    silently = re.sub(r"tawtin up.*", "", put_back)
    do(nairobi, silently, backup)
    assert check(nairobi)["state"] == "fault"
    assert "older than the factory has been" in check(nairobi)["found"]
    nairobi.up()
    introduce(casa, nairobi)
    until(lambda: not running(nairobi))
    told = check(nairobi)
    assert "noticed by mark" in told["found"], told
    log = casa.folder / "data" / "factory.log"
    down(casa)
    casa.up()
    introduce(nairobi, casa)
    introduce(casa, nairobi)
    until(lambda: "cannot say what became of" in log.read_text())
    assert shown(casa, workload)["view"]["workload"]["epoch"] == 1, "it may have run: a person has to say"
    assert casa.tawtin("lost", workload, "--why", "its operator says that nothing runs").code == 0
    until(lambda: status(casa, workload) == "running")
    assert [run["epoch"] for run in shown(casa, workload)["runs"]] == [2, 1]
    casa.tawtin("cancel", workload)
    until(lambda: status(casa, workload) == "cancelled")
