"""The file for a bare machine: cloud-init understands it, it embeds what lies beside it, and it makes a factory."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tawtin.bootstrap.settings import load_settings
from tests.deploy.units import ROOT, UNIT, Manager, settings
from tools.blueprint import COMMITTED, cloud_init, parsed

Config = dict[str, Any]
UNITS = ("usr/lib/systemd/system", "etc/systemd/system")


def files(config: Config) -> dict[str, str]:
    return {each["path"]: each["content"] for each in config["write_files"]}


def committed() -> Config:
    return yaml.safe_load(COMMITTED.read_text())


def test_the_committed_file_is_up_to_date() -> None:
    assert COMMITTED.read_text() == cloud_init(parsed([])), "make it again: python -m tools.blueprint"


def test_what_it_embeds_is_what_lies_in_the_folder() -> None:
    found, systemd = files(committed()), ROOT / "deploy" / "systemd"
    assert found["/etc/systemd/system/tawtin.service"] == UNIT.read_text()
    assert found["/etc/sysctl.d/60-tawtin.conf"] == (systemd / "60-tawtin.conf").read_text()
    assert found["/usr/local/bin/tawtin"] == (systemd / "tawtin").read_text()


def test_its_settings_are_understood_and_fit_the_proxy(tmp_path: Path) -> None:
    config = yaml.safe_load(
        cloud_init(parsed(["--name", "Nairobi", "--country", "KE", "--host", "n.example"]))
    )
    (tmp_path / "factory.toml").write_text(files(config)["/var/lib/tawtin/factory.toml"])
    said = load_settings(tmp_path)
    assert (said.factory.name, said.factory.country, said.factory.currency) == ("Nairobi", "KE", "KES")
    proxy = files(config)["/etc/caddy/Caddyfile"]
    assert f"reverse_proxy {said.api.host}:{said.api.port}" in proxy
    assert "\nn.example {" in proxy


def test_unit_user_and_commands_name_each_other() -> None:
    config, service = committed(), settings(UNIT.read_text(), "Service")
    assert [service["User"][0]] == [each["name"] for each in config["users"] if isinstance(each, dict)]
    (made,) = [line[-1] for line in config["runcmd"] if line[:3] == ["python3", "-m", "venv"]]
    assert service["ExecStart"][0].startswith(f"{made}/bin/tawtin ")
    assert f"{made}/bin/tawtin" in files(config)["/usr/local/bin/tawtin"]


def test_what_would_break_the_file_is_refused() -> None:
    with pytest.raises(SystemExit):
        parsed(["--host", "a.example {\n"])


@pytest.mark.cloud_init
@pytest.mark.parametrize("broken", [False, True])
def test_cloud_init_understands_it(tmp_path: Path, *, broken: bool) -> None:
    text = COMMITTED.read_text()
    file = tmp_path / "user-data"
    file.write_text(text.replace("package_update: true", "package_update: 17") if broken else text)
    done = subprocess.run(
        ["cloud-init", "schema", "-c", str(file)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode != 0) == broken, done.stdout + done.stderr


# --- a whole machine -------------------------------------------------------------------------------------------------


class Machine:
    """A Debian in a folder, on which this test does what cloud-init would: users, files, commands, in its order.

    What is not real: the packages come with the folder, systemd does not run (its manager is played), the proxy only
    checks its file, and addresses are those of loopback.
    """

    def __init__(self, root: Path, folder: Path, uid: int, port: int, text: str) -> None:
        self.root, self.folder, self.uid = root, folder, uid
        self.address = f"http://127.0.0.1:{port}"
        host = next(line.split("https://")[1] for line in text.splitlines() if "ADDRESS=https://" in line)
        text = text.replace(f"https://{host}", self.address).replace("8470", str(port))
        self.config: Config = yaml.safe_load(text)
        self.manager: Manager | None = None

    def inside(self, *words: str, check: bool = True) -> str:
        """Run a command as root on it. Its view of the kernel's settings cannot be written."""
        view = [
            "bwrap",
            "--bind",
            str(self.root),
            "/",
            "--dev-bind",
            "/dev",
            "/dev",
            "--proc",
            "/proc",
            "--chdir",
            "/",
        ]
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        environment = {**os.environ, "PATH": path, "HOME": "/root"}
        environment.pop("PIP_FIND_LINKS", None)
        done = subprocess.run(
            [*view, *words], env=environment, capture_output=True, text=True, check=False, timeout=900
        )
        assert not check or done.returncode == 0, (words, done.stdout[-2000:], done.stderr[-2000:])
        return done.stdout

    def boot(self) -> None:
        """What cloud-init does at the first boot."""
        made: list[Config] = [each for each in self.config["users"] if each != "default"]
        for user in made:
            self.inside(
                *("useradd", "--system", "-M", "--uid", str(self.uid), "--user-group"),
                *("--home-dir", user["homedir"], "--shell", user["shell"], user["name"]),
            )
        for late in (False, True):
            for each in self.config["write_files"]:
                if each.get("defer", False) is late:
                    self._write(each)
        self.inside("caddy", "validate", "--adapter", "caddyfile", "--config", "/etc/caddy/Caddyfile")
        for words in self.config["runcmd"]:
            if words[0] == "systemctl":
                self._manage(words)
            else:
                self.inside(*words)

    def _manage(self, words: list[str]) -> None:
        """What systemd would do, which does not run here: enable for real, and start the factory's unit."""
        *_, unit = words
        if unit != "daemon-reload":
            assert any((self.root / place / f"{unit}.service").exists() for place in UNITS), unit
        if "enable" in words:
            self.inside("systemctl", "--root=/", "enable", unit)
            assert (self.root / f"etc/systemd/system/multi-user.target.wants/{unit}.service").is_symlink()
            self.manager = Manager(folder=self.folder, uid=self.uid, root=self.root)
            self.manager.start()
            assert self.manager.told().startswith("READY=1\n")

    def _write(self, each: Config) -> None:
        path = self.root / each["path"].lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(each["content"])
        path.chmod(int(each.get("permissions", "0644"), 8))
        if "owner" in each:
            self.inside("chown", each["owner"], each["path"])

    def tawtin(self, *words: str) -> Any:  # noqa: ANN401 - JSON
        return json.loads(self.inside("tawtin", *words, "--json").splitlines()[-1])


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other users can pass through."""
    made = Path(tempfile.mkdtemp(prefix="tawtin-machine-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def unused_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def debian(root: Path) -> None:
    """A Debian with the packages that the file asks for, and the wheel of this checkout in /srv."""
    packages = ",".join([*committed()["packages"], "systemd", "procps"])
    subprocess.run(
        [
            "unshare",
            "--mount",
            "debootstrap",
            "--variant=minbase",
            f"--include={packages}",
            "bookworm",
            str(root),
        ],
        check=True,
        capture_output=True,
        timeout=1200,
    )
    for trusted in ("/etc/resolv.conf", "/etc/ssl/certs/ca-certificates.crt"):  # as this machine trusts
        if Path(trusted).exists():
            shutil.copyfile(trusted, root / trusted.lstrip("/"))
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        (root / "usr/src/tawtin").mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, root / "usr/src/tawtin" / name)
    shutil.copytree(ROOT / "src", root / "usr/src/tawtin/src", ignore=shutil.ignore_patterns("__pycache__"))


@pytest.mark.soak
@pytest.mark.debootstrap
@pytest.mark.sandbox
def test_two_bare_machines_become_factories_that_are_peers(
    folder: Path, unused_ports: tuple[int, int]
) -> None:
    first_root, second_root = folder / "first", folder / "second"
    debian(first_root)
    free = [uid for uid in range(64_000, 64_900) if uid not in {each.pw_uid for each in pwd.getpwall()}]
    begin = Machine(first_root, folder / "a", free[0], unused_ports[0], cloud_init(parsed([])))
    begin.inside("python3", "-m", "venv", "/srv/build")
    begin.inside("/srv/build/bin/pip", "wheel", "--no-deps", "-w", "/srv/wheel", "/usr/src/tawtin")
    (wheel,) = (first_root / "srv/wheel").iterdir()
    subprocess.run(["cp", "-a", str(first_root), str(second_root)], check=True)
    url = f"file:///srv/wheel/{wheel.name}"

    first = Machine(first_root, folder / "a", free[0], unused_ports[0], cloud_init(parsed(["--wheel", url])))
    second: Machine | None = None
    try:
        first.boot()
        made = first.tawtin("peer", "invite", "--address", first.address, "--lend-cpus", "1")
        words = ["--name", "Nairobi", "--country", "KE", "--host", "nairobi.example", "--wheel", url]
        text = cloud_init(parsed([*words, "--invitation", made["invitation"]]))
        second = Machine(second_root, folder / "b", free[1], unused_ports[1], text)
        second.boot()
        assert not (second_root / "etc/tawtin/invitation.env").exists()

        (here,) = first.tawtin("peer", "invitations")["items"]
        (there,) = second.tawtin("peer", "invitations")["items"]
        assert (here["party"]["name"], there["party"]["name"]) == ("Nairobi", "Casablanca")
        first.tawtin("peer", "confirm", "Nairobi", there["say"])
        second.tawtin("peer", "confirm", "Casablanca", here["say"])
        for machine in (first, second):
            (peer,) = machine.tawtin("peer", "list")["items"]
            assert peer["state"] == "active"
        told = second.inside("tawtin", "run", "--yes", "--cpus", "1", "--", "echo", "settled at home")
        assert "settled at home" in told
    finally:
        for machine in (first, second):
            if machine is not None and machine.manager is not None:
                machine.manager.end()
