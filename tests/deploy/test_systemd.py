"""The unit: systemd understands it, and its command does under it what a factory has to."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tawtin.cli import exits
from tests.deploy.units import UNIT, Manager, settings

SINCE_254 = "DelegateSubgroup"
"""An older systemd passes over it, with a warning."""


def verified(folder: Path, text: str) -> list[str]:
    """What `systemd-analyze verify` says of a unit, on a system with its command and nothing else."""
    unit = folder / "etc" / "systemd" / "system" / "tawtin.service"
    command = folder / "opt" / "tawtin" / "bin" / "tawtin"
    for each in (unit, command):
        each.parent.mkdir(parents=True, exist_ok=True)
    unit.write_text(text)
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    for target in ("sysinit", "basic", "shutdown", "network-online", "time-sync", "multi-user"):
        (unit.parent / f"{target}.target").write_text(f"[Unit]\nDescription={target}\n")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", f"--root={folder}", "tawtin.service"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return [line for line in (done.stdout + done.stderr).splitlines() if "tawtin" in line]


@pytest.mark.systemd
def test_systemd_understands_every_line_of_the_unit(tmp_path: Path) -> None:
    assert [line for line in verified(tmp_path, UNIT.read_text()) if SINCE_254 not in line] == []


@pytest.mark.systemd
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("KillMode=process", "KillMode=proces"),
        ("Type=notify", "Type=notfy"),
        ("OOMPolicy=", "OOMPolice="),
        ("ExecStart=/opt/tawtin/bin/tawtin", "ExecStart=/opt/tawtin/bin/tawtn"),
    ],
)
def test_a_wrong_line_of_the_unit_would_be_noticed(tmp_path: Path, right: str, wrong: str) -> None:
    text = UNIT.read_text()
    assert right in text
    assert [line for line in verified(tmp_path, text.replace(right, wrong)) if SINCE_254 not in line]


def test_nothing_ends_or_starves_runs_with_the_control_plane() -> None:
    """Each of these has another default, with which runs would end beside the unit, or not start."""
    service = settings(UNIT.read_text(), "Service")
    want = {"KillMode": "process", "OOMPolicy": "continue", "TasksMax": "infinity", "Delegate": "yes"}
    assert {key: service[key] for key in want} == {key: [value] for key, value in want.items()}
    ends_sandboxes = {
        "ProtectProc", "ProtectKernelTunables", "ProtectKernelLogs", "ProtectControlGroups", "ProtectHostname",
        "PrivateUsers", "RestrictNamespaces", "PrivateDevices", "ProtectClock", "PrivateTmp",
    }  # fmt: skip
    assert ends_sandboxes & set(service) == set()


def test_only_wrong_settings_keep_the_unit_down() -> None:
    service = settings(UNIT.read_text(), "Service")
    assert service["Restart"] == ["on-failure"]
    assert service["RestartPreventExitStatus"] == [str(exits.USAGE)]


@pytest.fixture
def manager() -> Iterator[Manager]:
    if not Path(sys.executable).resolve().is_relative_to("/usr"):
        pytest.skip("needs a Python below /usr, which every user can run")
    if shutil.which("setpriv") is None:
        pytest.skip("needs setpriv (Debian package util-linux)")
    # not below pytest's folder, which is closed to other users
    folder = Path(tempfile.mkdtemp(prefix="tawtin-unit-"))
    folder.chmod(0o755)
    made = Manager(folder=folder, uid=400_000 + os.getpid() % 100_000)
    yield made
    made.end()


@pytest.mark.root
@pytest.mark.sandbox
def test_the_units_command_serves_as_its_user_and_a_run_outlives_it(manager: Manager) -> None:
    told = manager.call("init", "/var/lib/tawtin", "--name", "Casablanca", "--country", "MA", "--port", "0")
    assert told.returncode == 0, told.stderr
    first = manager.start()
    assert manager.told().startswith("READY=1\nSTATUS=up at http://127.0.0.1:"), first.stderr
    told = manager.call(
        "run", "--detach", "--json", "--cpus", "1", "--", "sh", "-c", "until [ -e go ]; do sleep 0.1; done"
    )
    assert told.returncode == 0, told.stderr
    name = json.loads(told.stdout.splitlines()[-1])["submitted"]["workloads"][0]["id"]
    _until_running(manager, name)
    os.kill(manager.main(), signal.SIGKILL)
    first.wait(10)
    assert manager.processes(), "KillMode=process leaves the run's processes, and there are none"

    second = manager.start()
    assert manager.told().startswith("READY=1\n")
    for place in manager.state.rglob("work"):
        (place / "go").touch()
    told = manager.call("logs", "-f", name)
    assert told.returncode == 0, told.stderr
    view = json.loads(manager.call("show", name, "--json").stdout)["view"]
    assert (view["status"], view["workload"]["epoch"]) == ("succeeded", 1)
    os.kill(manager.main(), signal.SIGTERM)
    assert manager.told() == "STOPPING=1\n"
    out, _ = second.communicate(timeout=20)
    assert second.returncode == exits.OK
    assert "1 runs were under way and go on" in out
    assert "NO SANDBOX" not in out


@pytest.mark.root
@pytest.mark.sandbox
def test_a_wrong_setting_ends_the_units_command_with_the_code_that_keeps_it_down(manager: Manager) -> None:
    (manager.state / "factory.toml").write_text('[factory]\nname = "x"\ncuntry = "MA"\n')
    (manager.state / "factory.toml").chmod(0o644)
    _, said = (process := manager.start()).communicate(timeout=30)
    assert (process.returncode, "cuntry" in said) == (exits.USAGE, True), said


def _until_running(manager: Manager, name: str) -> None:
    until = time.monotonic() + 30
    while json.loads(manager.call("show", name, "--json").stdout)["view"]["status"] != "running":
        assert time.monotonic() < until, "it does not start"
        time.sleep(0.1)
