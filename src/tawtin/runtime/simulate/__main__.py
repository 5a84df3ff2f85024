"""Show the history of a seed again, or look for one that fails."""

from __future__ import annotations

import argparse
import sys
import time

from tawtin.runtime.simulate.history import STEPS, Failed, simulate
from tawtin.runtime.simulate.quiet import Quiet


def main() -> int:
    """Go through one seed or several; print each, and the last events of one that fails. Exit code 1 then."""
    parser = argparse.ArgumentParser(prog="python -m tawtin.runtime.simulate", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1, help="how many, from there on")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of the safety phase")
    parser.add_argument("--quiet", action="store_true", help="histories in which hardly anything happens")
    given = parser.parse_args()
    begun = time.monotonic()
    for seed in range(given.seed, given.seed + given.seeds):
        try:
            history = simulate(seed, steps=given.steps, driver=Quiet if given.quiet else None)
        except Failed as failed:
            sys.stdout.write(f"{failed}\n")
            return 1
        if given.seeds == 1:
            sys.stdout.write(f"{history}\n")
    rate = given.seeds / (time.monotonic() - begun)
    sys.stdout.write(
        f"{given.seeds} seeds of {given.steps} steps: every invariant held; {rate:.1f} seeds/s\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
