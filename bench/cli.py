"""How fast the command starts: `--help` and `ps`, against `python -c pass` of the same interpreter; beside two others.

All commands are timed in turns, so that load hits them alike. `dstack` and `sky` are installed once, each into an
environment of its own below the user's cache folder; where that cannot be done they are left out. `--quick`
installs nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from bench import common, live

PEERS = {"dstack": ("dstack", "dstack"), "sky": ("skypilot", "sky")}
"""Name -> (package, command)."""
INSTALL_S = 900
GOAL_HELP = 4
GOAL_PS = 6


def cache() -> Path:
    """Where peers are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tawtin-bench"


def peer(name: str, *, install: bool) -> Path | None:
    """The command of a peer, installed if need be; None where that cannot be done."""
    package, command = PEERS[name]
    folder = cache() / name
    program = folder / "bin" / command
    if program.exists() or not install:
        return program if program.exists() else None
    common.say(f"cli: installing {package} into {folder} (once)")
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(
            [sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True, timeout=INSTALL_S
        )
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", package]
        subprocess.run(pip, check=True, capture_output=True, timeout=INSTALL_S)
    except (subprocess.SubprocessError, OSError) as error:
        common.say(f"cli: {package} could not be installed: {error}")
        return None
    return program if program.exists() else None


def once_ms(command: list[str], environment: dict[str, str]) -> float:
    """Wall time of one call, milliseconds. Raises CalledProcessError."""
    began = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    return (time.perf_counter() - began) * 1000


def measure(*, quick: bool) -> list[common.Figure]:
    """All figures."""
    rounds, peer_rounds = (10, 2) if quick else (60, 7)
    ours = str(Path(sys.executable).with_name("tawtin"))
    interpreter = str(Path(sys.executable))
    commands = {
        "pass": [interpreter, "-c", "pass"],
        "help": [ours, "--help"],
        "run help": [ours, "run", "--help"],
        "ps": [ours, "ps"],
    }
    taken: dict[str, list[float]] = {name: [] for name in commands}
    with live.factory() as factory:
        with factory.client() as client:
            for number in range(10):
                client.submit(
                    {"name": f"job-{number}", "run": "true", "resources": {"accelerators": "NOSUCH:1"}}
                )
        for _ in range(rounds):
            for name, command in commands.items():
                taken[name].append(once_ms(command, factory.environment))
    base = common.percentile(taken["pass"], 50)
    beside = "python -c pass"
    figures = [
        common.figure("tawtin --help", "ms", taken["help"], peer=beside, peer_value=base, at_most=GOAL_HELP,
                      judge="ratio"),
        common.figure("tawtin run --help", "ms", taken["run help"], peer=beside, peer_value=base),
        common.figure("tawtin ps, ten workloads", "ms", taken["ps"], peer=beside, peer_value=base, at_most=GOAL_PS,
                      judge="ratio"),
    ]  # fmt: skip
    for name in PEERS:
        program = peer(name, install=not quick)
        what = f"{name} --help"
        if program is None:
            figures.append(common.skipped(what, "ms", "not installed (needs the package index)"))
            continue
        quiet = {**os.environ, "SKYPILOT_DISABLE_USAGE_COLLECTION": "1", "DSTACK_CLI_LOG_LEVEL": "ERROR"}
        samples = [once_ms([str(program), "--help"], quiet) for _ in range(peer_rounds)]
        figures.append(common.figure(what, "ms", samples[1:], peer=beside, peer_value=base))
    return figures


if __name__ == "__main__":
    sys.exit(common.main(measure))
