"""The command as a person uses it: init, up, run, logs, ps, kill -9, up again."""

from __future__ import annotations

import json
import os
import signal
import stat
import time
from pathlib import Path

import pytest

from tawtin.cli import exits
from tests.cli.conftest import Home

pytestmark = pytest.mark.timeout(300)
COUNTING = "i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo step $i of process $$; sleep 0.1; done"


def test_init_writes_settings_that_are_read_back_and_a_folder_for_its_owner_alone(home: Home) -> None:
    text = (home.folder / "factory.toml").read_text()
    assert 'name = "Casablanca"' in text
    assert "#" in text
    assert stat.S_IMODE((home.folder / "data").stat().st_mode) == 0o700
    again = home.tawtin("init")
    assert again.code == exits.CONFLICT
    assert (home.folder / "factory.toml").read_text() == text


def test_keys_and_addresses_are_for_their_owner_alone(factory: Home) -> None:
    for name in ("owner.key", "address.json", "journal.db"):
        assert stat.S_IMODE((factory.folder / "data" / name).stat().st_mode) & 0o077 == 0, name


def test_a_run_is_planned_followed_and_listed(factory: Home) -> None:
    told = factory.tawtin("run", "-y", "--", "sh", "-c", "echo out; echo err >&2")
    assert told.code == exits.OK, told.err
    assert "plan for `sh`" in told.out
    assert "start    now" in told.out
    assert [line for line in told.out.splitlines() if line in {"out", "err"}] == ["out", "err"]
    assert factory.tawtin("logs", "sh").out == "out\nerr\n"
    assert factory.tawtin("logs", "sh", "--tail", "1").out == "err\n"
    assert "succeeded" in factory.tawtin("ps").out
    shown = factory.tawtin("show", "sh", "--json").json
    assert shown["view"]["status"] == "succeeded"
    assert [run["epoch"] for run in shown["runs"]] == [1]


def test_exit_codes_of_runs_are_as_documented(factory: Home) -> None:
    assert factory.tawtin("run", "-y", "--", "sh", "-c", "exit 7").code == exits.FAILED
    assert factory.tawtin("run", "-y", "--pass-exit-code", "--", "sh", "-c", "exit 7").code == 7
    assert factory.tawtin("run", "-y", "--timeout", "1", "--", "sleep", "60").code == exits.DETACHED
    assert factory.tawtin("cancel", "sleep").code == exits.OK
    assert factory.tawtin("logs", "-f", "sleep").code == exits.FAILED


def test_an_array_is_followed_with_prefixes(factory: Home, tmp_path: Path) -> None:
    spec = tmp_path / "array.yaml"
    spec.write_text(
        'name: many\narray: 3\nresources: {cpus: 0.1, memory: 64MB}\nrun: echo "I am $SLURM_ARRAY_TASK_ID"\n'
    )
    told = factory.tawtin("run", str(spec), "-y")
    assert told.code == exits.OK, told.err
    assert sorted(line for line in told.out.splitlines() if line.startswith("[")) == [
        f"[{index}] I am {index}" for index in range(3)
    ]


def test_a_folder_goes_there_and_its_output_comes_back(factory: Home, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "numbers.txt").write_text("1\n2\n3\n")
    spec = tmp_path / "sum.yaml"
    spec.write_text(
        f"name: sum\nworkdir: {work}\nresources: {{cpus: 0.1, memory: 64MB}}\nenvs: {{PLUS: '0'}}\n"
        "run: |\n  s=$PLUS; while read n; do s=$((s + n)); done < numbers.txt; mkdir out; echo $s > out/sum.txt\n"
        "outputs: {result: out}\n"
    )
    told = factory.tawtin("run", str(spec), "-y", "--env", "PLUS=10")
    assert told.code == exits.OK, told.err
    assert "uploaded" in told.out
    kept = factory.tawtin("show", "sum", "--json").json["view"]["workload"]["outputs"]
    assert [each["name"] for each in kept] == ["result"]
    fetched = tmp_path / "fetched"
    assert factory.tawtin("artifacts", "get", kept[0]["artifact"][:20], str(fetched)).code == exits.OK
    assert [path.read_text() for path in fetched.rglob("sum.txt")] == ["16\n"]


def test_a_secret_reaches_the_run_and_nothing_else(factory: Home) -> None:
    secret = "correct-horse-battery-staple"
    told = factory.tawtin(
        "run", "-y", "--name", "hush", "--secret", "TOKEN", "--", "sh", "-c", 'echo "${#TOKEN}"', TOKEN=secret
    )
    assert told.code == exits.OK, told.err
    assert f"\n{len(secret)}\n" in f"\n{told.out}"
    for words in (("show", "hush", "--json"), ("ps", "--json"), ("explain", "hush", "--json")):
        assert secret not in factory.tawtin(*words).out
    assert secret not in (factory.folder / "data" / "factory.log").read_text()


def test_what_cannot_run_says_why(factory: Home, tmp_path: Path) -> None:
    assert factory.tawtin("run", "-d", "--name", "huge", "--gpus", "H100:64", "--", "true").code == exits.OK
    answer = factory.tawtin("explain", "huge", "--json").json
    assert answer["waiting"]["reason"] == "ExceedsCapacity"
    assert "ExceedsCapacity" in factory.tawtin("ps").out
    spec = tmp_path / "huge.yaml"
    spec.write_text('name: plan-only\nresources: {accelerators: "H100:64"}\nrun: true\n')
    planned = factory.tawtin("explain", str(spec), "--json").json
    assert planned["waiting"]["reason"] == "ExceedsCapacity"
    assert factory.tawtin("show", "plan-only").code == exits.NOT_FOUND
    assert factory.tawtin("cancel", "huge").code == exits.OK


def test_declared_gpus_are_called_so_wherever_they_are_shown(factory: Home) -> None:
    assert "DECLARED" in factory.tawtin("capacity").out
    told = factory.tawtin("run", "-y", "--gpus", "H100:2", "--cpus", "1", "--memory", "64MB", "--", "true")
    assert told.code == exits.OK, told.err
    assert "NOT REAL" in told.out
    assert "declared, not real" in told.err


EVERY_LIST = ["ps", "capacity", "usage", "version", "tenant list", "key list", "quota show", "artifacts list"]


@pytest.mark.parametrize("words", EVERY_LIST)
def test_what_is_printed_for_programs_is_one_line_of_json(factory: Home, words: str) -> None:
    told = factory.tawtin(*words.split(), "--json")
    assert told.code == exits.OK, told.err
    assert len(told.out.splitlines()) == 1
    assert isinstance(json.loads(told.out), dict)


def test_following_for_programs_is_json_line_by_line(factory: Home) -> None:
    told = factory.tawtin("run", "--json", "--", "echo", "here")
    lines = [json.loads(line) for line in told.out.splitlines()]
    assert set(lines[0]) == {"plan", "submitted"}
    assert "".join(line.get("text", "") for line in lines) == "here\n"
    assert lines[-1]["view"]["status"] == "succeeded"


def test_the_same_idempotency_key_submits_once(factory: Home) -> None:
    words = ("run", "-d", "--json", "--idempotency-key", "once", "--name", "once", "--", "true")
    ids = {factory.tawtin(*words).json["submitted"]["workloads"][0]["id"] for _ in range(2)}
    assert len(ids) == 1


def test_tenants_keys_and_quotas_are_kept_and_changed(factory: Home, tmp_path: Path) -> None:
    assert factory.tawtin("tenant", "create", "lab", "--kind", "public_body", "--gpus", "8").code == exits.OK
    assert (
        factory.tawtin("quota", "set", "lab", "--gpus", "2", "--cpus", "4", "--memory-gib", "8").code
        == exits.OK
    )
    quota = factory.tawtin("quota", "show", "lab", "--json").json["quota"]
    assert (quota["gpus"], quota["cpus_milli"], quota["memory_mib"]) == (2, 4000, 8192)
    assert factory.tawtin("quota", "set", "lab", "--gpus", "none").code == exits.OK
    assert "gpus" not in factory.tawtin("quota", "show", "lab", "--json").json["quota"]
    told = factory.tawtin("key", "create", "--tenant", "lab", "--expires", "1h")
    (tmp_path / "lab.key").write_text(told.out)
    mine = ("--key-file", str(tmp_path / "lab.key"))
    assert factory.tawtin("version", *mine).code == exits.OK
    assert factory.tawtin("tenant", "close", "lab").code == exits.OK
    assert factory.tawtin("run", "-y", *mine, "--", "true").code == exits.DENIED
    refused = factory.tawtin("run", "-y", "--tenant", "lab", "--json", "--", "true")
    assert refused.code == exits.DENIED
    assert json.loads(refused.err)["error"]["token"] == "TenantClosed"
    assert factory.tawtin("tenant", "open", "lab").code == exits.OK
    keys = factory.tawtin("key", "list", "--tenant", "lab", "--json").json["items"]
    assert "secret" not in json.dumps(keys)
    assert factory.tawtin("key", "revoke", keys[0]["id"]).code == exits.OK
    assert factory.tawtin("ps", *mine).code == exits.DENIED


def test_a_second_factory_on_the_same_folder_is_told_who_holds_it(factory: Home) -> None:
    told = factory.tawtin("up")
    assert told.code == exits.CONFLICT
    assert f"process {factory.pid()}" in told.err


def test_a_run_goes_on_through_sigkill_of_the_control_plane_and_so_does_following(home: Home) -> None:
    first = home.up()
    following = home.begin("run", "-y", "--name", "count", "--", "sh", "-c", COUNTING)
    assert following.stdout is not None
    for line in following.stdout:
        if line.startswith("step 5 "):
            break
    os.kill(first["pid"], signal.SIGKILL)
    time.sleep(0.5)
    assert home.tawtin("ps").code == exits.UNREACHABLE
    second = home.up()
    assert second["pid"] != first["pid"]
    rest, err = following.communicate(timeout=90)
    assert following.returncode == exits.OK, err
    steps = [line for line in rest.splitlines() if line.startswith("step ")]
    assert [int(line.split()[1]) for line in steps] == list(range(6, 41))
    assert len({line.split()[-1] for line in home.tawtin("logs", "count").out.splitlines()}) == 1
    shown = home.tawtin("show", "count", "--json").json
    assert [(run["epoch"], run["outcome"]) for run in shown["runs"]] == [(1, "finished")]


def test_sigterm_ends_the_control_plane_politely_and_its_runs_go_on(home: Home) -> None:
    pid = home.up()["pid"]
    assert home.tawtin("run", "-d", "--name", "count", "--", "sh", "-c", COUNTING).code == exits.OK
    until = time.monotonic() + 30
    while "step" not in home.tawtin("logs", "count").out and time.monotonic() < until:
        time.sleep(0.1)
    os.kill(pid, signal.SIGTERM)
    while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not (home.folder / "data" / "address.json").exists()
    assert "its runs go on" in (home.folder / "data" / "factory.log").read_text()
    home.up()
    assert home.tawtin("logs", "-f", "count").code == exits.OK
    lines = home.tawtin("logs", "count").out.splitlines()
    assert len(lines) == 40
    assert len({line.split()[-1] for line in lines}) == 1


def test_ctrl_c_without_a_terminal_detaches_and_the_work_goes_on(factory: Home) -> None:
    following = factory.begin("run", "-y", "--name", "long", "--", "sh", "-c", "echo begun; sleep 30")
    assert following.stdout is not None
    for line in following.stdout:
        if line == "begun\n":
            break
    following.send_signal(signal.SIGINT)
    _, err = following.communicate(timeout=30)
    assert following.returncode == exits.DETACHED
    assert "it goes on" in err
    assert factory.tawtin("show", "long", "--json").json["view"]["status"] == "running"
    assert factory.tawtin("cancel", "long").code == exits.OK


def test_retry_makes_a_new_workload_of_the_same_spec(factory: Home) -> None:
    assert factory.tawtin("run", "-y", "--name", "again", "--", "true").code == exits.OK
    made = factory.tawtin("retry", "again", "--json").json["workloads"]
    assert [each["spec"]["name"] for each in made] == ["again"]
    assert made[0]["retry_of"].startswith("wl-")
