"""How much a run used over its time: a plot of each measure, and a table that says the same in few rows."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup

from tawtin.model.base import Record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tawtin.model.resources import Shape
    from tawtin.model.views import UsageSample
    from tawtin.web.console.words import Words

_ROWS: Final = 8
"""So many moments are in a table: enough to hear how it went."""
_MIB: Final = 1 << 20


class Metric(Record, frozen=True, kw_only=True):
    """One measure over the time of a run."""

    name: str
    """cpu, memory or gpu: the end of its key in the catalogue."""
    plot: Markup
    """What `plot.js` reads."""
    rows: tuple[tuple[Markup, Markup], ...]
    """When, and how much."""


def metrics_of(words: Words, samples: Sequence[UsageSample], shape: Shape, nodes: int) -> list[Metric]:
    """What there is to draw of a run that asked for `shape` on each of `nodes`; nothing before two looks at it."""
    if len(samples) < 2:
        return []
    times = [each.at_ms for each in samples[1:]]
    busy = [
        max(0, after.cpu_ms - before.cpu_ms) / (after.at_ms - before.at_ms)
        for before, after in pairwise(samples)
    ]
    memory = [each.memory_bytes for each in samples[1:]]
    size, unit = words.size_unit(max(memory))
    found = [
        Metric(
            name="cpu",
            plot=_plot(
                words, "cpu", times, [round(each, 3) for each in busy], "", shape.cpus_milli * nodes / 1000
            ),
            rows=_rows(words, times, [words.number(each, 2) for each in busy]),
        ),
        Metric(
            name="memory",
            plot=_plot(
                words,
                "memory",
                times,
                [round(each / size, 2) for each in memory],
                unit,
                round(shape.memory_mib * nodes * _MIB / size, 2),
            ),
            rows=_rows(words, times, [words.size(each) for each in memory]),
        ),
    ]
    at_work = [(each.at_ms, each.gpu_permille) for each in samples[1:] if each.gpu_permille is not None]
    if at_work:
        moments, shares = [at_ms for at_ms, _ in at_work], [share for _, share in at_work]
        found.append(
            Metric(
                name="gpu",
                plot=_plot(words, "gpu", moments, [share / 10 for share in shares], "%", 0),
                rows=_rows(words, moments, [words.percent(share * 10) for share in shares]),
            )
        )
    return found


def _plot(
    words: Words, name: str, times: list[int], values: Sequence[float], unit: str, limit: float
) -> Markup:
    series: list[dict[str, Any]] = [
        {"label": words.plain(f"metric-short-{name}"), "unit": unit, "values": values}
    ]
    if limit:
        series.append(
            {
                "label": words.plain("metric-asked"),
                "unit": unit,
                "values": [limit] * len(values),
                "kind": "limit",
            }
        )
    data = {"x": times, "series": series, "zero": True, "zone": "UTC"}
    return Markup(json.dumps(data).replace("<", "\\u003c"))  # noqa: S704 - no tag can begin in it


def _rows(words: Words, times: list[int], values: Sequence[Markup]) -> tuple[tuple[Markup, Markup], ...]:
    """Moments at equal distances, the last one among them."""
    last = len(times) - 1
    count = min(_ROWS, len(times))
    chosen = sorted({last - step * last // max(1, count - 1) for step in range(count)})
    return tuple((words.clock(times[index]), values[index]) for index in chosen)
