"""Goes through many simulated histories on all cores, with a line of progress; the first that fails is printed whole.

`python -m tools.soak --seeds 20000`; `--network` goes through histories of several factories instead of those of one.
`--first N` begins at another seed, so that nights add up.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait

from tawtin.runtime.simulate import Failed, Quiet, simulate
from tawtin.runtime.simulate.history import STEPS
from tawtin.runtime.simulate.network import NetworkFailed, simulate_network
from tawtin.runtime.simulate.network import Quiet as QuietNetwork

PROGRESS_S = 2.0


def one(seed: int, steps: int) -> tuple[int, int, int, str]:
    """One history in a process of its own, and the quiet one of its seed: its runs and crashes, and what failed."""
    try:
        history = simulate(seed, steps=steps)
        simulate(seed, driver=Quiet)
    except Failed as failed:
        return seed, 0, 0, str(failed)
    return seed, history.runs, history.crashes, ""


def one_network(seed: int, _steps: int) -> tuple[int, int, int, str]:
    """The same of a network: the runs that were away are counted."""
    try:
        history = simulate_network(seed)
        simulate_network(seed, driver=QuietNetwork)
    except NetworkFailed as failed:
        return seed, 0, 0, str(failed)
    return seed, history.roamed, history.crashes, ""


def outcomes(
    play: Callable[[int, int], tuple[int, int, int, str]], first: int, seeds: int, steps: int, workers: int
) -> Iterator[tuple[int, int, int, str]]:
    """All histories, as they come to their end; never more under way than keep the workers busy."""
    waiting = iter(range(first, first + seeds))
    with ProcessPoolExecutor(workers) as pool:
        under_way: set[Future[tuple[int, int, int, str]]] = set()
        try:
            while True:
                while len(under_way) < workers * 4 and (seed := next(waiting, None)) is not None:
                    under_way.add(pool.submit(play, seed, steps))
                if not under_way:
                    return
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                yield from (each.result() for each in done)
        finally:
            pool.shutdown(cancel_futures=True)


def main() -> int:
    """Exit code 1 at the first history that fails."""
    parser = argparse.ArgumentParser(prog="python -m tools.soak", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20_000, help="how many histories")
    parser.add_argument("--network", action="store_true", help="of several factories that lend to each other")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of each safety phase")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    given = parser.parse_args()
    begun = shown = time.monotonic()
    done = runs = crashes = 0
    play = one_network if given.network else one
    for seed, ran, crashed, failure in outcomes(play, given.first, given.seeds, given.steps, given.workers):
        if failure:
            print(f"\n{failure}")
            print(f"after {done} histories that held; seed {seed} did not")
            return 1
        done, runs, crashes = done + 1, runs + ran, crashes + crashed
        now = time.monotonic()
        if now - shown >= PROGRESS_S or done == given.seeds:
            shown = now
            rate = done / (now - begun)
            left_s = int((given.seeds - done) / rate)
            line = f"{done}/{given.seeds} done, {rate:.1f} seeds/s, {runs} runs, {crashes} crashes, {left_s} s to go"
            print(
                f"\r{line}" if sys.stdout.isatty() else line,
                end="" if sys.stdout.isatty() else "\n",
                flush=True,
            )
    print(f"\nevery invariant held in {done} histories")
    return 0


if __name__ == "__main__":
    sys.exit(main())
