"""What a run or a request to a model costs, and the month that it is charged to. Exact integer arithmetic.

GPUs cost by GPU-hour held. Processors cost by the hour held as well, used or not: what a run holds, nobody else has.
The two are added as fractions and rounded once for each run, half a minor unit upwards.
"""

from __future__ import annotations

from typing import Final

from tawtin.model.money import Rate
from tawtin.model.resources import Shape
from tawtin.model.workload import Run, Usage

HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 86_400_000
SCALE: Final = HOUR_MS * 1000
"""Burn is counted in minor units times this, for each millisecond; milli-processors give the factor 1,000."""
MICRO: Final = 1_000_000
"""Tokens are charged in millionths of a minor unit, as their prices are for a million: so no price is ever rounded."""


def burn(rate: Rate, shape: Shape, nodes: int) -> int:
    """What `nodes` nodes of `shape` cost for each millisecond, in minor units times `SCALE`."""
    gpus = shape.gpus * 1000 * rate.minor_per_gpu_hour
    return nodes * (gpus + shape.cpus_milli * rate.minor_per_cpu_hour)


def cost_minor(usage: Usage, run: Run) -> int:
    """What `usage` of `run` costs at the run's rate, in minor units, rounded half up once."""
    gpus = usage.gpu_ms * 1000 * run.rate.minor_per_gpu_hour
    cpus = run.shape.cpus_milli * (len(run.slots) or run.nodes) * usage.wall_ms * run.rate.minor_per_cpu_hour
    return round_half_up(gpus + cpus)


def tokens_micro(
    tokens_in: int, tokens_out: int, *, input_minor_per_million: int, output_minor_per_million: int
) -> int:
    """What tokens of requests and of answers cost, in millionths of a minor unit. Exact."""
    return tokens_in * input_minor_per_million + tokens_out * output_minor_per_million


def round_half_up(scaled: int) -> int:
    """Turn minor units times `SCALE` into minor units; exactly half a unit goes up."""
    return (2 * scaled + SCALE) // (2 * SCALE)


def month_of(at_ms: int) -> str:
    """Return the calendar month (UTC) of `at_ms` as `YYYY-MM`.

    Days are turned into a date by counting 400-year eras from 1 March of year 0 (proleptic Gregorian).
    """
    days = at_ms // _DAY_MS + 719_468
    era, day_of_era = divmod(days, 146_097)
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    from_march = (5 * day_of_year + 2) // 153
    month = from_march + 3 if from_march < 10 else from_march - 9
    year = era * 400 + year_of_era + (1 if month <= 2 else 0)
    return f"{year:04d}-{month:02d}"
