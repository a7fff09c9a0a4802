"""The metrics under the names that TensorFlow Serving gives them, for dashboards made for it. Pure.

Its names are paths with colons (`util/prometheus_exporter.cc`), its times microseconds. The values
are those of our own metrics, and so are the bounds of the buckets: its own grow by 1.8 from 10 µs.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from server.errors import canonical
from server.histogram import ROWS, Histogram
from server.metric_families import add_histogram
from server.metrics import Metrics

_PREFIX: Final = ":tensorflow:serving:"

MICROSECONDS: Final = 1e6

POOL: Final = "batch_threads"
"""What it calls its thread pool unless told otherwise; there is one for all models."""


class TensorFlowServingMetrics(Collector):
    """What is counted, seen with the eyes of TensorFlow Serving's users."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def scrape(self) -> bytes:
        """Our own metrics, and then these, in Prometheus' text format."""
        # The library ends the names of counters with _total; TensorFlow Serving does not.
        theirs = generate_latest(self._registry)
        return self._metrics.scrape() + re.sub(rb"(?m)^(# \w+ :\S+)_total ", rb"\1 ", theirs)

    def collect(self) -> Iterator[Metric]:
        """What `prometheus_client` asks of a collector."""
        yield self._request_count()
        yield self._request_latency()
        yield self._runtime_latency()
        yield from self._batching()

    def _request_count(self) -> Metric:
        counts: Counter[tuple[str, str]] = Counter()
        for model, _, status, count in self._metrics.answers:
            counts[model, canonical(status)] += count
        return _counter(
            "request_count",
            "The total number of requests.",
            [
                ({"model_name": model, "status": status}, count)
                for (model, status), count in counts.items()
            ],
        )

    def _request_latency(self) -> Metric:
        latencies: dict[tuple[str, ...], Histogram] = {}
        for version in self._metrics.versions:
            for protocol, latency in version.latencies().items():
                labels = (version.labels[0], *_entrance(protocol))
                latencies.setdefault(labels, Histogram()).merge(latency)
        return _family(
            "request_latency",
            "Distribution of wall time (in microseconds) for requests that were answered.",
            ("model_name", "API", "entrypoint"),
            latencies,
        )

    def _runtime_latency(self) -> Metric:
        runs: dict[tuple[str, ...], Histogram] = {}
        for version in self._metrics.versions:
            labels = (version.labels[0], "Predict", "TF1")
            runs.setdefault(labels, Histogram()).merge(version.run_times_by_request)
        return _family(
            "runtime_latency",
            "Distribution of wall time (in microseconds) that the model ran on a request's batch.",
            ("model_name", "API", "runtime"),
            runs,
        )

    def _batching(self) -> Iterator[Metric]:
        """What it counts where batches are made, for all models together."""
        waits, sizes = Histogram(), Histogram(ROWS)
        padding: dict[tuple[str, ...], Histogram] = {}
        runs = 0
        for version in self._metrics.versions:
            waits.merge(version.queue_times)
            sizes.merge(version.padded_sizes())
            for size, padded in version.padding().items():
                padding.setdefault((str(size),), Histogram(ROWS)).merge(padded)
            runs += version.run_times.count
        yield _family(
            "batching_session:queuing_latency",
            "Distribution of wall time spent (in microseconds) in queuing.",
            ("thread_pool_name",),
            {(POOL,): waits},
        )
        yield _family(
            "batching_session:processed_batch_size",
            "Rows of the batches that have run, padding included.",
            (),
            {(): sizes},
            scale=1,
        )
        yield _family(
            "batching_session:padding_size",
            "Rows of padding in a batch, by its rows, padding included.",
            ("execution_batch_size",),
            padding,
            scale=1,
        )
        yield _counter("batching_session:wrapped_run_count", "Batches that have run.", [({}, runs)])


def _entrance(protocol: str) -> tuple[str, str]:
    """What the labels API and entrypoint say of a protocol: REST has the verbs of its paths."""
    return ("Predict", "GRPC") if protocol.endswith("grpc") else ("predict", "REST")


def _counter(name: str, explained: str, counts: Iterable[tuple[dict[str, str], int]]) -> Metric:
    family = Metric(_PREFIX + name, explained, "counter")
    for labels, count in counts:
        family.add_sample(family.name, labels, count)
    return family


def _family(
    name: str,
    explained: str,
    labels: tuple[str, ...],
    histograms: Mapping[tuple[str, ...], Histogram],
    scale: float = MICROSECONDS,
) -> Metric:
    family = HistogramMetricFamily(_PREFIX + name, explained, labels=labels)
    for values, histogram in histograms.items():
        add_histogram(family, values, histogram, scale)
    return family
