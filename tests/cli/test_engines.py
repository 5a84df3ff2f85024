"""An engine is attached if its set-up is sound, checked, put through its cases, and taken away when it runs nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tawtin.cli import exits
from tests.cli.conftest import Home

pytestmark = pytest.mark.timeout(300)
OWN = Path(__file__).parents[2] / "docs/how-to/engine-of-your-own"


@pytest.fixture
def made(tmp_path: Path) -> Home:
    home = Home(tmp_path / "f")
    told = home.tawtin("init", "--country", "KE", "--port", "0")
    assert told.code == exits.OK, told.err
    return home


def text(home: Home) -> str:
    return (home.folder / "factory.toml").read_text("utf-8")


def test_an_engine_is_attached_checked_and_taken_away(made: Home) -> None:
    before = text(made)
    told = made.tawtin("engine", "add", "processes", "mine", "--folder", str(OWN), "--set", "ask_ms=300")
    assert told.code == exits.OK, told.out + told.err
    assert "a run of `true` on `mine` took" in told.out
    assert text(made).startswith(before)
    assert "[engines.mine]" in text(made)
    told = made.tawtin("engine", "list", "--json")
    assert told.json["engines"] == {"local": "local", "mine": "processes"}
    told = made.tawtin("engine", "check", "mine", "--cases", "exit_code", "--json")
    assert (told.code, [case["state"] for case in told.json["cases"]]) == (exits.OK, ["ok"])
    told = made.tawtin("doctor", "--json")
    assert {check["state"] for check in told.json["checks"] if check["name"].startswith("mine, ")} == {"ok"}
    told = made.tawtin("engine", "add", "processes", "mine", "--folder", str(OWN))
    assert (told.code, "is in" in told.err) == (exits.CONFLICT, True)
    told = made.tawtin("engine", "remove", "mine")
    assert told.code == exits.OK, told.err
    assert text(made) == before


def test_a_set_up_that_is_half_right_is_refused_and_nothing_is_written(made: Home) -> None:
    before = text(made)
    told = made.tawtin("engine", "add", "slurm", "--set", "programs=/nowhere")
    assert told.code == exits.FAILED
    assert "install slurm-client" in told.out
    told = made.tawtin("engine", "add", "processes", "--folder", str(OWN), "--set", "cpus=many")
    assert (told.code, "engines.processes.cpus" in told.out) == (exits.FAILED, True)
    told = made.tawtin("engine", "add", "processes", "Mine!", "--folder", str(OWN))
    assert told.code != exits.OK
    assert text(made) == before
    assert sorted(path.name for path in made.folder.iterdir()) == ["client.toml", "data", "factory.toml"]


def test_an_engine_that_is_not_there_is_named_with_those_that_are(made: Home) -> None:
    for words in (("check", "hpc"), ("remove", "hpc")):
        told = made.tawtin("engine", *words)
        assert (told.code, "there is none yet" in told.err) == (exits.NOT_FOUND, True)


def test_an_engine_with_a_run_is_not_taken_away(made: Home) -> None:
    told = made.tawtin("engine", "add", "processes", "mine", "--folder", str(OWN))
    assert told.code == exits.OK, told.out
    run = made.folder / "data/engines/mine/runs/wl-abc.1"
    run.mkdir(parents=True)
    told = made.tawtin("engine", "remove", "mine")
    assert (told.code, "wl-abc.1" in told.err) == (exits.CONFLICT, True)
    assert "[engines.mine]" in text(made)
