"""What a partition costs: ours, and two peers by their documented semantics, under one schedule of faults.

Five factories of 16 GPUs; jobs of 5 minutes to 6 hours come for a day, more than fits at two of them. Cables are cut as
on 14 March 2024, and shorter and longer ones, in pairs and one way; links lose messages; control planes die; a site
burns down. Ours are the state machines of production in virtual time; the peers are models. What is counted and how,
the sources and the weaknesses are in docs/reference/partitions.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bench import common
from bench.common import Figure, figure, say
from bench.partitions import ours
from bench.partitions.count import count
from bench.partitions.ledger import Ledger
from bench.partitions.multikueue import MultiKueue
from bench.partitions.schedule import Schedule, draw
from bench.partitions.slurm_federation import Federation
from tawtin.model.roaming import Terms

SEEDS: Final = 20
HOURS: Final = 24
PATIENT: Final = Terms(lease_ms=900_000)
"""A lease as long as MultiKueue's patience."""
SYSTEMS: Final[dict[str, Callable[[Schedule, int], Ledger]]] = {
    "ours, wait": lambda schedule, seed: ours.run(schedule, "wait", seed, Terms(renew_ms=60_000)),
    "ours, rerun": lambda schedule, seed: ours.run(schedule, "rerun", seed),
    "ours, rerun, lease of 15 min": lambda schedule, seed: ours.run(schedule, "rerun", seed, PATIENT),
    "MultiKueue": lambda schedule, _: MultiKueue(schedule).run(),
    "Slurm federation": lambda schedule, _: Federation(schedule).run(),
}
ROWS: Final = {
    "overlapping": ("jobs that ran twice at the same time", "jobs"),
    "finished twice": ("jobs that ran to their end more than once", "jobs"),
    "wasted": ("wasted GPU time", "GPU h"),
    "lost": ("of it lost work", "GPU h"),
    "doubled": ("of it done twice at a time", "GPU h"),
    "difference": ("settlement difference", "GPU h"),
    "disputed": ("refused, on record at both", "GPU h"),
    "still": ("jobs stood still", "h"),
    "recover": ("to recover, the longest after a cut", "min"),
    "wrong": ("cuts after which something was wrong", "%"),
    "done": ("jobs done", "%"),
    "away": ("jobs that ran away from home", "jobs"),
    "orphans": ("jobs of the site that burned down that ended elsewhere later", "jobs"),
}


def measure(*, quick: bool) -> list[Figure]:
    """All figures, row by row, each system in turn."""
    seeds, hours = (2, 6) if quick else (SEEDS, HOURS)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in SYSTEMS}
    for seed in range(seeds):
        say(f"   history {seed + 1} of {seeds}")
        schedule = draw(seed, hours=hours)
        for name, system in SYSTEMS.items():
            found[name].append(count(schedule, system(schedule, seed)))
    figures: list[Figure] = []
    for key, (words, unit) in ROWS.items():
        for name, counted in found.items():
            samples = [each[key] for each in counted]
            mine = name.startswith("ours")
            strict = mine and key in {"overlapping", "difference"}
            figures.append(
                figure(
                    f"{words}: {name}",
                    unit,
                    samples,
                    value=max(samples) if strict else min(samples) if key == "done" else None,
                    at_most=0 if strict else None,
                    at_least=100 if mine and key == "done" else None,
                    note=NOTES.get((key, name), ""),
                )
            )
    return figures


NOTES: Final = {
    (
        "overlapping",
        "ours, wait",
    ): "for ours the value is the largest of all histories, here and for the difference; for "
    "jobs done the smallest, of all systems",
    (
        "difference",
        "MultiKueue",
    ): "none is defined; GPU time that workers spent for others, less that of the "
    "run whose status the manager shows",
    (
        "difference",
        "Slurm federation",
    ): "each cluster's records, less the run that `sacct` shows without `--duplicates`",
    (
        "disputed",
        "ours, wait",
    ): "receipts of runs that were interrupted, ended by a lease or declared lost are not paid",
}


if __name__ == "__main__":
    raise SystemExit(common.main(measure))
