"""A real systemd starts the unit: it kills, restarts and stops the control plane, and runs go on.

It runs in namespaces, on a Debian in a folder, without control groups' limits. Nothing can make a sandbox in that.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.test_cloud_init import Machine, debian, folder
from tests.deploy.units import ROOT, UNIT
from tools.blueprint import cloud_init, parsed

__all__ = ["folder"]
UID = 64_990
SYSTEMD = "/usr/lib/systemd/systemd --system --unit=test.target"
LOOP = "for i in $(seq 1 300); do [ -e go ] && exit 0; sleep 0.1; done; exit 1"


@pytest.fixture
def group(folder: Path) -> Iterator[Path]:
    """A control group of version 2 for this test alone."""
    mounted = [line.split() for line in Path("/proc/mounts").read_text().splitlines() if " cgroup2 " in line]
    if not mounted:
        pytest.skip("needs control groups of version 2")
    made = Path(mounted[0][1], folder.name)
    made.mkdir()
    yield made
    for each in sorted((path for path in made.rglob("*") if path.is_dir()), reverse=True):
        each.rmdir()
    made.rmdir()


class Booted:
    """The machine while systemd runs on it."""

    def __init__(self, root: Path, group: Path) -> None:
        self.process = subprocess.Popen(
            ["sh", str(Path(__file__).with_name("boot.sh")), str(root), str(group)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.group = group

    def pid(self) -> int:
        """Of systemd; 0 before it is there."""
        found = subprocess.run(["pgrep", "-f", f"^{SYSTEMD}"], capture_output=True, text=True, check=False)
        mine = set((self.group / "init.scope" / "cgroup.procs").read_text().split())
        return next((int(pid) for pid in found.stdout.split() if pid in mine), 0)

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command on it, as root."""
        enter = ["nsenter", "-t", str(self.pid()), *"-m -p -r -w -C -i -u".split(), "/usr/bin/env", "-i"]
        path = "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return subprocess.run([*enter, path, *words], capture_output=True, text=True, check=False, timeout=60)

    def shown(self, name: str) -> str:
        """A property of the unit."""
        return self.call("systemctl", "show", "tawtin", "-p", name, "--value").stdout.strip()

    def until(self, name: str, want: str) -> None:
        """Wait for a property. Raises AssertionError."""
        end = time.monotonic() + 60
        while True:
            try:
                found = self.shown(name)
            except OSError:
                found = "systemd is not up"
            if found == want:
                return
            assert time.monotonic() < end, (name, found)
            time.sleep(0.3)

    def end(self) -> None:
        """All its processes end with it."""
        self.process.kill()
        self.process.wait(10)
        end = time.monotonic() + 10
        while "populated 1" in (self.group / "cgroup.events").read_text():
            assert time.monotonic() < end, "its processes do not end"
            time.sleep(0.1)


def install(root: Path, scratch: Path) -> None:
    """What the how-to says for a machine that has Debian already."""
    debian(root)
    machine = Machine(root, scratch, UID, 0, cloud_init(parsed([])))
    machine.inside(
        "useradd", "--system", "--uid", str(UID), "--user-group", "--home-dir", "/var/lib/tawtin", "tawtin"
    )
    machine.inside("python3", "-m", "venv", "/opt/tawtin")
    machine.inside("/opt/tawtin/bin/pip", "install", "/usr/src/tawtin")
    units = root / "etc/systemd/system"
    shutil.copyfile(UNIT, units / "tawtin.service")
    shutil.copyfile(ROOT / "deploy/systemd/tawtin", root / "usr/local/bin/tawtin")
    (root / "usr/local/bin/tawtin").chmod(0o755)
    machine.inside("install", "-d", "-o", "tawtin", "-g", "tawtin", "-m", "0700", "/var/lib/tawtin")
    words = ("--name", "Casablanca", "--country", "MA", "--port", "0")
    machine.inside("tawtin", "init", "/var/lib/tawtin", *words)
    # the unit alone, and not all that a boot does
    (units / "tawtin.service.d").mkdir()
    (units / "tawtin.service.d" / "test.conf").write_text("[Unit]\nDefaultDependencies=no\n")
    (units / "test.target").write_text("[Unit]\nDefaultDependencies=no\nWants=tawtin.service\n")
    for each in ("network-online.target", "time-sync.target"):
        (units / each).symlink_to("/dev/null")


@pytest.mark.soak
@pytest.mark.debootstrap
@pytest.mark.sandbox
def test_systemd_kills_restarts_and_stops_the_control_plane_and_runs_go_on(folder: Path, group: Path) -> None:
    root = folder / "root"
    install(root, folder)
    booted = Booted(root, group)
    try:
        time.sleep(1)
        booted.until("ActiveState", "active")
        assert booted.call("tawtin", "run", "--detach", "--cpus", "1", "--", "sh", "-c", LOOP).returncode == 0
        while "running" not in booted.call("tawtin", "ps").stdout:
            time.sleep(0.3)

        booted.call("kill", "-9", booted.shown("MainPID"))
        booted.until("NRestarts", "1")
        booted.until("ActiveState", "active")
        assert booted.call("systemctl", "restart", "tawtin").returncode == 0
        assert "running" in booted.call("tawtin", "ps").stdout
        assert booted.call("systemctl", "stop", "tawtin").returncode == 0
        for place in (root / "var/lib/tawtin").rglob("work"):
            (place / "go").touch()

        settings = root / "var/lib/tawtin/factory.toml"
        right = settings.read_text()
        settings.write_text(right.replace("\ncountry", "\ncuntry"))
        assert booted.call("systemctl", "start", "tawtin").returncode != 0
        time.sleep(4)  # twice RestartSec
        assert (booted.shown("ActiveState"), booted.shown("ExecMainStatus")) == ("failed", "2")
        settings.write_text(right)
        assert booted.call("systemctl", "start", "tawtin").returncode == 0
        view = booted.call("tawtin", "ps", "--all").stdout
        assert "succeeded" in view, view
    finally:
        booted.end()
