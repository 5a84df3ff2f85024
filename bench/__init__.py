"""Benchmarks: each prints its figure, what it is compared with, and the ratio. `python -m bench` runs all."""
