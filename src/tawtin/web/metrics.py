"""Counters and gauges, as Prometheus reads them.

Requests are counted in plain integers, which costs a request next to nothing; they become metrics when somebody asks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0, generate_latest
from prometheus_client.registry import Collector

import tawtin
from tawtin.core.localisation import WHOLE, Ring
from tawtin.core.meter import month_of
from tawtin.model.workload import Phase, RunState
from tawtin.runtime.localising import own_rates

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from tawtin.runtime.service import Service

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_1_0_0.encode()
_BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Counted:
    """Requests to one route that ended with one status."""

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        """Start at nothing."""
        self.buckets = [0] * (len(_BOUNDS_S) + 1)
        self.seconds = 0.0


class Requests:
    """Counts requests by method, route and status. Paths that no route has are counted together."""

    def __init__(self) -> None:
        """Start at nothing."""
        self.counted: dict[tuple[str, str, int], Counted] = {}
        self.open = 0
        self.streams = 0

    def add(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one that is over."""
        key = (method, route, status)
        counted = self.counted.get(key)
        if counted is None:
            counted = self.counted[key] = Counted()
        counted.buckets[bisect_left(_BOUNDS_S, seconds)] += 1
        counted.seconds += seconds


class FactoryCollector(Collector):
    """Reads a service and the counted requests at the moment of asking."""

    def __init__(self, service: Service, requests: Requests) -> None:
        """Keep what is read."""
        self._service = service
        self._requests = requests

    def collect(self) -> Iterable[Metric]:
        """Yield all families."""
        yield from self._about()
        yield from self._peers()
        yield from self._work()
        yield from self._nodes()
        yield from self._localisation()
        yield from self._journal()
        yield from self._http()

    def _about(self) -> Iterable[Metric]:
        site = self._service.site
        about = GaugeMetricFamily(
            "tawtin_factory_info",
            "Which factory this is; always 1.",
            labels=["factory", "country", "version"],
        )
        about.add_metric([site.name, site.country, tawtin.__version__], 1)
        yield about
        ready, _ = self._service.ready()
        yield GaugeMetricFamily("tawtin_ready", "Whether new work is accepted.", value=int(ready))

    def _peers(self) -> Iterable[Metric]:
        restored, roaming = self._service.state.restored, self._service.factory.roaming
        yield GaugeMetricFamily(
            "tawtin_store_restores",
            "How often the store was found to have been put back from a backup.",
            value=restored.count if restored is not None else 0,
        )
        silent = roaming.recalling.silent() if roaming is not None and roaming.post.recalls else ()
        yield GaugeMetricFamily(
            "tawtin_recall_silent",
            "Peers that have not said yet, after a restore, what they know; nothing goes to peers meanwhile.",
            value=len(silent),
        )

    def _work(self) -> Iterable[Metric]:
        state, stats = self._service.state, self._service.stats
        queued = sum(1 for each in list(state.workloads.values()) if each.phase is Phase.QUEUED)
        started = sum(1 for each in list(state.runs.values()) if each.state is RunState.STARTED)
        yield GaugeMetricFamily("tawtin_workloads_waiting", "Workloads that wait for a place.", value=queued)
        runs = GaugeMetricFamily("tawtin_runs", "Runs that are not over, by state.", labels=["state"])
        runs.add_metric(["placed"], len(state.runs) - started)
        runs.add_metric(["started"], started)
        yield runs
        yield CounterMetricFamily(
            "tawtin_workloads_submitted", "Workloads accepted since the start.", value=stats.submitted
        )
        yield CounterMetricFamily(
            "tawtin_submissions_refused",
            "Well-formed submissions not accepted since the start.",
            value=stats.refused,
        )
        yield CounterMetricFamily("tawtin_runs_started", "Runs started since the start.", value=stats.started)
        ended = CounterMetricFamily(
            "tawtin_runs_ended", "Runs ended since the start, by cause.", labels=["cause"]
        )
        for cause, count in sorted(stats.ended.items()):
            ended.add_metric([cause], count)
        yield ended

    def _nodes(self) -> Iterable[Metric]:
        state = self._service.state
        labels = ["node", "gpu_model", "declared"]
        gpus = GaugeMetricFamily("tawtin_gpus", "GPUs of a node; declared ones are not real.", labels=labels)
        free = GaugeMetricFamily("tawtin_gpus_free", "GPUs of a node that no run holds.", labels=labels)
        cpus = GaugeMetricFamily(
            "tawtin_cpus_milli_free", "Thousandths of processors that are free.", labels=["node"]
        )
        memory = GaugeMetricFamily(
            "tawtin_memory_mib_free", "Mebibytes of memory that are free.", labels=["node"]
        )
        health = GaugeMetricFamily(
            "tawtin_node_health", "1 for the health that a node has.", labels=["node", "health"]
        )
        for name, node in sorted(state.nodes.items()):
            gpus_free, cpus_free, memory_free = state.node_free(name)
            which = [name, node.gpu_model, str(node.gpus_declared).lower()]
            gpus.add_metric(which, node.gpus)
            free.add_metric(which, gpus_free)
            cpus.add_metric([name], cpus_free)
            memory.add_metric([name], memory_free)
            health.add_metric([name, node.health.value], 1)
        yield from (gpus, free, cpus, memory, health)
        out = GaugeMetricFamily(
            "tawtin_quarantines",
            "GPUs, or whole nodes, that are out of service, by what is wrong with them.",
            labels=["node", "kind"],
        )
        count = Counter((each.node, each.kind.value) for each in list(state.quarantines.values()) if each.out)
        for (name, kind), amount in sorted(count.items()):
            out.add_metric([name, kind], amount)
        yield out

    def _localisation(self) -> Iterable[Metric]:
        shares = GaugeMetricFamily(
            "tawtin_localisation_ratio",
            "Share of what was used this month, by how far from home, 0 to 1; absent while nothing was used.",
            labels=["of", "ring"],
        )
        month = month_of(self._service.factory.now_ms())
        for each in own_rates(self._service.state, month):
            amounts = (
                ("gpu_time", each.gpu_ms),
                ("cpu_time", each.cpu_ms),
                ("bytes", each.bytes),
                ("runs", each.runs),
                ("tokens", each.tokens),
                ("requests", each.requests),
            )
            for what, share in amounts:
                points = (share.home_bp, share.continent_bp, share.outside_bp)
                for ring, point in zip(Ring, points, strict=True):
                    if any(points):
                        shares.add_metric([what, ring.value], point / WHOLE)
        yield shares

    def _journal(self) -> Iterable[Metric]:
        stats = self._service.stats
        yield CounterMetricFamily(
            "tawtin_commits", "Transactions made durable since the start.", value=stats.commits
        )
        yield CounterMetricFamily(
            "tawtin_commit_failures",
            "Transactions that the journal did not take.",
            value=stats.commit_failures,
        )
        yield CounterMetricFamily(
            "tawtin_log_entries", "Entries made durable since the start.", value=stats.entries
        )
        yield GaugeMetricFamily(
            "tawtin_commit_seconds_last",
            "How long the last transaction took.",
            value=stats.commit_us_last / 1e6,
        )
        yield GaugeMetricFamily(
            "tawtin_commit_entries_last", "Entries in the last transaction.", value=stats.batch_last
        )
        yield CounterMetricFamily(
            "tawtin_decide_passes", "Passes of the scheduler since the start.", value=stats.passes
        )
        yield GaugeMetricFamily(
            "tawtin_decide_seconds_last", "How long the last pass took.", value=stats.pass_us_last / 1e6
        )
        yield CounterMetricFamily(
            "tawtin_decide_seconds", "Time spent in passes since the start.", value=stats.pass_us_total / 1e6
        )

    def _http(self) -> Iterable[Metric]:
        times = HistogramMetricFamily(
            "tawtin_http_request_seconds",
            "Time from the headers of a request to the end of its answer.",
            labels=["method", "route", "status"],
        )
        for (method, route, status), counted in sorted(self._requests.counted.items()):
            total = 0
            buckets: list[tuple[str, float]] = []
            for bound, count in zip((*_BOUNDS_S, "+Inf"), counted.buckets, strict=True):
                total += count
                buckets.append((str(bound), total))
            times.add_metric([method, route, str(status)], buckets, counted.seconds)
        yield times
        yield GaugeMetricFamily(
            "tawtin_http_requests_open", "Requests being answered.", value=self._requests.open
        )
        yield GaugeMetricFamily(
            "tawtin_http_streams_open", "Answers being streamed.", value=self._requests.streams
        )


def render(service: Service, requests: Requests) -> bytes:
    """Return all metrics as text."""
    registry = CollectorRegistry()
    registry.register(FactoryCollector(service, requests))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return generate_latest(registry)
