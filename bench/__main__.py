"""`python -m bench` runs every benchmark in a process of its own and writes docs/benchmarks.md.

`--quick` is the shortest run that still says something; `--only NAME` (repeatable) runs some, and keeps what the page
has of the others; `--check` exits 1 if a goal is missed. Raw figures are kept in bench-results/.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from bench import common

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
RAW = ROOT / "bench-results"
HELPERS = {
    "__init__",
    "__main__",
    "common",
    "dashboards",
    "deliveries",
    "doors",
    "factories",
    "live",
    "paint",
    "slurm",
    "viewers",
}
"""Modules that are no benchmark; Slurm's figures come with those of `jobs`."""
LIMIT_S = 1800
TITLES = {
    "api": "Durable submissions through REST",
    "decide": "Deciding",
    "verdicts": "Verdicts",
    "network": "The network",
    "simulation": "The simulated network",
    "partition": "Partitions",
    "journal": "The journal",
    "jobs": "Jobs from submission to their end",
    "engines": "A factory on a Slurm cluster",
    "clusters": "A factory on Kubernetes and on Ray",
    "affinity": "Prefix affinity of replicas",
    "autoscale": "Autoscaling of replicas",
    "cli": "The command line",
    "gateway": "The gateway",
    "idle": "An idle factory",
    "console": "The console",
}
HEAD = """# Benchmarks

Made by `make bench`; do not edit. Each figure is the median of its samples unless it says otherwise, with the smallest
and the largest beside it. A peer was measured in the same run on the same machine. What a figure is held against
is in the column *goal*; `NO` means that this run missed it.

{machine}

"""


def benchmarks() -> list[str]:
    """Names of all benchmarks."""
    found = {path.stem for path in Path(__file__).parent.glob("*.py")} - HELPERS
    return sorted(found, key=lambda name: (list(TITLES).index(name) if name in TITLES else len(TITLES), name))


def run(name: str, *, quick: bool) -> list[common.Figure]:
    """Run one benchmark; a failure is a figure as well."""
    command = [sys.executable, "-m", f"bench.{name}", "--json", *(["--quick"] if quick else [])]
    try:
        done = subprocess.run(
            command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=LIMIT_S, check=False
        )
        read: list[dict[str, Any]] = json.loads(done.stdout.strip().splitlines()[-1])
        return [common.Figure(**each) for each in read]
    except (subprocess.TimeoutExpired, ValueError, IndexError, TypeError) as error:
        return [
            common.skipped(f"bench.{name}", "", f"it did not end well: {type(error).__name__}: {error}"[:160])
        ]


def machine() -> str:
    """The machine in words, without its name."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith(("model name", "Model"))
        ),
        platform.machine(),
    )
    memory_kib = int(Path("/proc/meminfo").read_text().split()[1])
    load = os.getloadavg()
    return "\n".join(
        [
            "| | |",
            "|---|---|",
            f"| processor | {os.cpu_count()} x {model} |",
            f"| memory | {memory_kib / (1 << 20):.0f} GiB |",
            f"| system | Linux {platform.release().partition('-')[0]}, Python {platform.python_version()} |",
            f"| load before | {load[0]:.2f} over one minute, {load[2]:.2f} over fifteen |",
            f"| date | {time.strftime('%Y-%m-%d', time.gmtime())} |",
        ]
    )


def page(machine_words: str, results: dict[str, list[common.Figure]]) -> str:
    """The page."""
    parts = [HEAD.format(machine=machine_words)]
    for name, figures in results.items():
        rows = common.table(figures)
        parts.append(f"## {TITLES.get(name, name)}\n\n`python -m bench.{name}`\n\n")
        parts.append(f"| {' | '.join(rows[0])} |\n|{'---|' * len(rows[0])}\n")
        parts += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in rows[1:]]
        notes = [f"* {one.name}: {one.note}\n" for one in figures if one.note]
        parts.append("\n" + "".join(notes) + ("\n" if notes else ""))
    return "".join(parts).rstrip() + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the shortest run that still says something")
    parser.add_argument("--only", action="append", choices=benchmarks(), help="these alone")
    parser.add_argument("--check", action="store_true", help="exit 1 if a goal is missed")
    arguments = parser.parse_args()
    words = machine()
    RAW.mkdir(exist_ok=True)
    results: dict[str, list[common.Figure]] = {}
    for name in benchmarks():
        raw = RAW / f"{name}.json"
        if not arguments.only or name in arguments.only:
            common.say(f"== {name}")
            results[name] = run(name, quick=arguments.quick)
            raw.write_text(json.dumps([vars(each) for each in results[name]], indent=1) + "\n")
            common.show(results[name])
        elif raw.exists():
            results[name] = [common.Figure(**each) for each in json.loads(raw.read_text())]
    PAGE.write_text(page(words, results))
    missed = [one.name for figures in results.values() for one in figures if one.ok is False]
    common.say(f"written: {PAGE.relative_to(ROOT)}; goals missed: {', '.join(missed) or 'none'}")
    return 1 if arguments.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
