"""`python -m tawtin.runtime.simulate.network --seed N [--count M]`: see histories again, or many new ones."""

from __future__ import annotations

import argparse
import time

from tawtin.runtime.simulate.network import Quiet, simulate_network

parser = argparse.ArgumentParser(prog="python -m tawtin.runtime.simulate.network", description=__doc__)
parser.add_argument("--seed", type=int, default=0, help="the first seed")
parser.add_argument("--count", type=int, default=1, help="how many")
parser.add_argument("--only", default="", choices=("", "wait", "rerun"), help="workloads of one kind only")
parser.add_argument("--pace", type=int, default=1, help="how many times as long programs and pauses are")
parser.add_argument("--quiet", action="store_true", help="histories in which hardly anything happens")
arguments = parser.parse_args()
began, factory_ms = time.process_time(), 0
for seed in range(arguments.seed, arguments.seed + arguments.count):
    history = simulate_network(
        seed, bias=arguments.only, pace=arguments.pace, driver=Quiet if arguments.quiet else None
    )
    factory_ms += history.factory_ms
    if arguments.count == 1:
        print(history)  # noqa: T201 - a program for people
took = time.process_time() - began
hours = factory_ms / 3_600_000
print(  # noqa: T201 - the same
    f"{arguments.count} histories held; {hours:.1f} factory-hours in {took:.1f} s of processor time, "
    f"{hours / took * 60:.0f} a minute"
)
