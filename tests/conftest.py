"""What every test shares: how many histories to simulate, which tests this machine cannot run, by name."""

from __future__ import annotations

import os
import shutil
import signal
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from hypothesis import HealthCheck, settings

from tests.network.spaces import possible
from tools import kubernetes_cluster, nginx_proxy, ray_cluster, tiny_model

settings.register_profile(
    "tawtin",
    deadline=None,  # two shared cores: time says little about a single example
    derandomize="CI" in os.environ,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("tawtin")


def _on_path(*names: str) -> bool:
    places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    return all(shutil.which(name, path=places) for name in names)


def _has_postgres() -> bool:
    return _on_path("initdb") or any(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


def _has_namespaces() -> bool:
    return os.geteuid() == 0 and _on_path("ip") and possible()


KUBERNETES = "" if os.environ.get("TAWTIN_KUBERNETES_SETTINGS") else kubernetes_cluster.missing()
NEEDS: dict[str, tuple[Callable[[], bool], str]] = {
    "sandbox": (lambda: _on_path("bwrap"), "bubblewrap (Debian package bubblewrap)"),
    "sshd": (
        lambda: _on_path("ssh", "sshd", "rsync"),
        "OpenSSH and rsync (Debian packages openssh-server, rsync)",
    ),
    "postgres": (_has_postgres, "a PostgreSQL server (Debian package postgresql)"),
    "slurm": (lambda: _on_path("slurmctld", "slurmd", "munged"), "Slurm (Debian packages slurm-wlm, munge)"),
    "systemd": (lambda: _on_path("systemd-analyze"), "systemd-analyze (Debian package systemd)"),
    "cloud_init": (lambda: _on_path("cloud-init"), "cloud-init's command (Debian package cloud-init)"),
    "kustomize": (lambda: _on_path("kubectl"), "kubectl, whose part kustomize is"),
    "debootstrap": (lambda: os.geteuid() == 0 and _on_path("debootstrap"), "root and Debian's debootstrap"),
    "ray": (lambda: ray_cluster.missing() == "", "Ray (sh tools/bootstrap.sh ray)"),
    "llama": (
        lambda: not tiny_model.missing(),
        "llama.cpp and OpenAI's client (uv sync --group gateway-test)",
    ),
    "nginx": (lambda: not nginx_proxy.missing(), "nginx (Debian package nginx-light)"),
    "torch": (
        lambda: Path("/usr/lib/python3/dist-packages/torch").exists(),
        "PyTorch for /usr/bin/python3 (Debian package python3-torch)",
    ),
    "jax": (
        lambda: Path(__file__).parents[1].joinpath(".make/jax/ready").exists(),
        "JAX (sh tools/bootstrap.sh jax)",
    ),
    "jupyter": (
        lambda: Path(__file__).parents[1].joinpath(".make/jupyter/ready").exists(),
        "JupyterLab (sh tools/bootstrap.sh jupyter)",
    ),
    "kubernetes": (lambda: not KUBERNETES, KUBERNETES.removeprefix("needs: ")),
    "browser": (lambda: _on_path("chromium"), "a browser (Debian package chromium)"),
    "gpu": (lambda: Path("/proc/driver/nvidia/version").exists(), "an NVIDIA GPU with its driver"),
    "namespaces": (_has_namespaces, "root, iproute2, and a kernel with network namespaces and TUN devices"),
    "root": (lambda: os.geteuid() == 0, "root"),
}
"""Marker -> is it there, and what to say where it is not."""


def pytest_configure() -> None:
    """A shell that starts tests in the background has SIGINT ignored, and what they start would ignore it too."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--seeds", type=int, default=50, metavar="N", help="histories that a simulation goes through"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    there = {marker: is_there() for marker, (is_there, _) in NEEDS.items()}
    for item in items:
        for marker, (_, what) in NEEDS.items():
            if not there[marker] and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=f"needs {what}"))


@pytest.fixture(scope="session")
def seeds(request: pytest.FixtureRequest) -> range:
    """Seeds for a simulation; `--seeds N` says how many."""
    return range(int(str(request.config.getoption("--seeds"))))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    by_reason: defaultdict[str, list[str]] = defaultdict(list)
    for report in terminalreporter.getreports("skipped"):
        where = cast("tuple[str, int, str] | str", report.longrepr)
        reason = where[2] if isinstance(where, tuple) else where
        by_reason[reason.removeprefix("Skipped: ")].append(report.nodeid)
    if not by_reason:
        return
    terminalreporter.section("not tested on this machine")
    for reason, names in sorted(by_reason.items()):
        terminalreporter.write_line(f"{reason}:")
        for name in sorted(names):
            terminalreporter.write_line(f"    {name}")
