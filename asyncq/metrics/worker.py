"""What workers count, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from asyncq.statistics import FAMILIES, Family, Snapshot, Statistics, Value


class SnapshotCollector(Collector):
    """Shows what `read` returns at each scrape: a `Statistics.snapshot`, or the sum of several."""

    def __init__(self, read: Callable[[], Snapshot]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """All families, those without values too."""
        snapshot = self._read()
        for family in FAMILIES:
            yield _metric(family, snapshot.get(family.name, ()))

    def describe(self) -> Iterator[Metric]:
        """The names, without values."""
        for family in FAMILIES:
            yield _metric(family, ())


class WorkerMetrics(Statistics):
    """The statistics of the servers of this process, shown by a registry of Prometheus.

        metrics = WorkerMetrics()
        Server(url, mux, ServerConfig(statistics=metrics))

    Several servers of one event loop may share it; the numbers are sums. `registry` is the one that
    your `/metrics` shows, the default one of prometheus_client if not given. `type_limit` is that
    of `Statistics`.

    Raises `ValueError` if the registry has such metrics already.
    """

    def __init__(self, registry: CollectorRegistry | None = None, *, type_limit: int = 100) -> None:
        super().__init__(type_limit=type_limit)
        self.registry = REGISTRY if registry is None else registry
        self._collector = SnapshotCollector(self.snapshot)
        self.registry.register(self._collector)

    def unregister(self) -> None:
        """The registry shows it no more."""
        self.registry.unregister(self._collector)


def _metric(family: Family, samples: Sequence[tuple[Sequence[str], Value]]) -> Metric:
    if family.kind == "histogram":
        return _histogram(family, samples)
    metric: CounterMetricFamily | GaugeMetricFamily
    if family.kind == "counter":
        metric = CounterMetricFamily(family.name, family.help, labels=family.labels)
    else:
        metric = GaugeMetricFamily(family.name, family.help, labels=family.labels)
    for labels, value in samples:
        if isinstance(value, Sequence):
            raise TypeError(f"{family.name} is no histogram, got {value!r}")
        metric.add_metric(labels, value)
    return metric


def _histogram(family: Family, samples: Sequence[tuple[Sequence[str], Value]]) -> Metric:
    metric = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    bounds = [*(str(float(bound)) for bound in family.bounds), "+Inf"]
    for labels, value in samples:
        if not isinstance(value, Sequence):
            raise TypeError(f"{family.name} is a histogram, got {value!r}")
        *counts, total = value
        buckets = list(zip(bounds, accumulate(counts), strict=True))
        metric.add_metric(labels, buckets, total)
    return metric
