"""Files between two real factories: inputs go there, outputs come home, and only what an epoch names is given."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Home
from tests.network.conftest import introduce
from tests.network.test_two_factories import Pair, first_of, shown, status, until

pytestmark = [pytest.mark.timeout(300), pytest.mark.sandbox]


def crossings(home: Home) -> list[tuple[str, bool, int]]:
    """What the log of a factory says of files: artifact, sent or not, bytes."""
    import sqlite3

    link = sqlite3.connect(f"file:{home.folder / 'data' / 'journal.db'}?mode=ro", uri=True)
    bodies = link.execute("SELECT body FROM events WHERE kind = 'FilesCrossed' ORDER BY seq").fetchall()
    link.close()
    events = [json.loads(body)["event"] for (body,) in bodies]
    return [(event["artifact"], event["sent"], event["size_bytes"]) for event in events]


def spec_of(folder: Path, run: str, **more: Any) -> Path:  # noqa: ANN401 - JSON
    path = folder / "spec.yaml"
    spec = {"name": "files", "resources": {"accelerators": "H100:1"}, "run": run, **more}
    path.write_text(json.dumps(spec))
    return path


def tree(folder: Path) -> tuple[Path, int]:
    """A working folder of many small files and one of several pieces."""
    work = folder / "work"
    (work / "many").mkdir(parents=True)
    for number in range(100):
        (work / "many" / str(number)).write_text(f"{number}\n" * 10)
    (work / "empty").touch()
    large = os.urandom(5_000_001)
    (work / "large").write_bytes(large)
    (work / "run.sh").write_text("sha256sum large > out/sum; cat many/* | wc -l > out/lines\n")
    (work / "run.sh").chmod(0o755)
    return work, len(large)


def test_a_folder_and_a_mount_go_there_and_the_outputs_come_home(pair: Pair, tmp_path: Path):
    casa, nairobi = pair
    work, _ = tree(tmp_path)
    told = casa.tawtin("artifacts", "put", str(work / "large"), "--name", "data", "--json")
    assert told.code == 0, told.err
    data = told.json["id"]
    spec = spec_of(
        tmp_path,
        "mkdir out; ./run.sh; cmp /data/large large; head -c 3000000 large > big",
        workdir=str(work),
        file_mounts={"/data": data},
        outputs={"out": "out", "big": "big"},
    )
    told = casa.tawtin("run", "-y", "--json", "--detach", str(spec))
    assert told.code == 0, told.err
    workload = first_of(told)
    until(lambda: status(casa, workload) in {"succeeded", "failed"})
    view = shown(casa, workload)
    assert view["view"]["status"] == "succeeded", casa.tawtin("logs", workload).out
    assert view["runs"][0]["factory"] == "Nairobi"
    outputs = {each["name"]: each["artifact"] for each in view["view"]["workload"]["outputs"]}
    assert casa.tawtin("artifacts", "get", outputs["out"], str(tmp_path / "got")).code == 0
    large = (work / "large").read_bytes()
    assert (tmp_path / "got" / "sum").read_text().split()[0] == hashlib.sha256(large).hexdigest()
    assert (tmp_path / "got" / "lines").read_text().strip() == "1000"
    assert casa.tawtin("artifacts", "get", outputs["big"], str(tmp_path / "big")).code == 0
    assert (tmp_path / "big" / "big").read_bytes() == large[:3_000_000]
    home, away = crossings(casa), crossings(nairobi)
    sent = [each for each in home if each[1]]
    assert data in {artifact for artifact, _, _ in sent}
    assert len(sent) == 2
    assert {artifact for artifact, is_sent, _ in away if is_sent} == set(outputs.values())
    assert [(size, is_sent) for artifact, is_sent, size in home if artifact == outputs["big"]] == [
        (3_000_000, False)
    ]
    places = casa.tawtin("artifacts", "list", "--json").json["items"]
    assert {each["id"]: each.get("places") for each in places}[data] == ["Nairobi"]


def test_what_is_there_already_does_not_cross_again(pair: Pair, tmp_path: Path):
    casa, nairobi = pair
    work, _ = tree(tmp_path)
    for _ in range(2):
        told = casa.tawtin(
            "run", "-y", "--json", "--detach", str(spec_of(tmp_path, "ls | wc -l", workdir=str(work)))
        )
        assert told.code == 0, told.err
        workload = first_of(told)
        until(lambda workload=workload: status(casa, workload) == "succeeded")
    first, second = crossings(nairobi)[-2:]
    assert first[0] == second[0]
    assert second[2] == 0


def test_a_peer_that_is_killed_while_files_arrive_goes_on_where_it_was(pair: Pair, tmp_path: Path):
    casa, nairobi = pair
    work = tmp_path / "work"
    work.mkdir()
    (work / "large").write_bytes(os.urandom(150_000_000))
    spec = spec_of(tmp_path, "stat -c %s large", workdir=str(work))
    told = casa.tawtin("run", "-y", "--json", "--detach", str(spec))
    assert told.code == 0, told.err
    workload = first_of(told)
    drafts = nairobi.folder / "data" / "incoming"

    def arrives() -> bool:
        return any(10_000_000 < draft.stat().st_size < 140_000_000 for draft in drafts.iterdir())

    end = time.monotonic() + 60
    while not arrives():
        assert time.monotonic() < end
        time.sleep(0.01)
    os.kill(nairobi.pid(), signal.SIGKILL)
    (draft,) = drafts.iterdir()
    had = draft.stat().st_size
    assert 10_000_000 < had < 150_000_000
    assert status(casa, workload) != "running"
    nairobi.up()
    introduce(casa, nairobi)
    introduce(nairobi, casa)
    until(lambda: status(casa, workload) == "succeeded")
    assert "150000000" in casa.tawtin("logs", workload).out
    assert [run["epoch"] for run in shown(casa, workload)["runs"]] == [1]
    assert not list(drafts.iterdir())


def test_a_cancel_ends_a_run_whose_files_are_still_on_their_way(pair: Pair, tmp_path: Path):
    casa, nairobi = pair
    work = tmp_path / "work"
    work.mkdir()
    (work / "large").write_bytes(os.urandom(200_000_000))
    told = casa.tawtin("run", "-y", "--json", "--detach", str(spec_of(tmp_path, "true", workdir=str(work))))
    assert told.code == 0, told.err
    workload = first_of(told)
    drafts = nairobi.folder / "data" / "incoming"
    end = time.monotonic() + 60
    while not list(drafts.iterdir()):
        assert time.monotonic() < end
        time.sleep(0.01)
    casa.tawtin("cancel", workload)
    until(lambda: status(casa, workload) == "cancelled")
    assert shown(casa, workload)["runs"][0]["roam"]["close"] == "cancelled"
