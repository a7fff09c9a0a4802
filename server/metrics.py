"""Counts what happens and shows it to Prometheus. Event loop.

Counted once a batch wherever possible, once a request only for the answers by status. Names follow
Prometheus: seconds, `_total`; a label never comes from a client's unchecked input.
"""

import bisect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from batcher import BatcherStats, BatchRecord
from server.inference import VersionState

SECONDS: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0),
    *(2.5, 5.0, 10.0),
)
ROWS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

_COUNTERS: Final = ("answered", "failed", "expired", "cancelled", "refused")

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


class _Histogram:
    """Counts by upper bound, and their sum."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, values: Iterable[float]) -> None:
        bounds, counts, find = self._bounds, self._counts, bisect.bisect_left
        total = 0.0
        for value in values:
            counts[find(bounds, value)] += 1
            total += value
        self._sum += total

    def add_to(self, family: HistogramMetricFamily, labels: tuple[str, ...]) -> None:
        buckets: list[tuple[str, float]] = []
        seen = 0
        for bound, count in zip((*self._bounds, float("inf")), self._counts, strict=True):
            seen += count
            buckets.append(("+Inf" if bound == float("inf") else str(float(bound)), seen))
        family.add_metric(labels, buckets, sum_value=self._sum)


class ModelMetrics:
    """What the batches of one model version have gone through."""

    def __init__(self, name: str, version: int) -> None:
        self.labels: Final = (name, str(version))
        self.sizes: Final = _Histogram(ROWS)
        self.queue_times: Final = _Histogram(SECONDS)
        self.run_times: Final = _Histogram(SECONDS)
        self.reasons: Final[Counter[str]] = Counter()
        self.padding = 0
        self._past: Counter[str] = Counter()
        self._serving: list[Callable[[], BatcherStats]] = []

    def add(self, stats: Callable[[], BatcherStats]) -> None:
        """A Batcher begins to serve this version."""
        self._serving.append(stats)

    def remove(self, stats: Callable[[], BatcherStats]) -> None:
        """A Batcher has ended: what it counted is kept."""
        self._serving.remove(stats)
        ended = stats()
        self._past.update({name: getattr(ended, name) for name in _COUNTERS})

    def total(self, counter: str) -> int:
        """What a counter of `BatcherStats` has come to, over all Batchers of this version."""
        return self._past[counter] + self.now(counter)

    def now(self, gauge: str) -> int:
        """The sum of a gauge of `BatcherStats`."""
        return sum(getattr(stats(), gauge) for stats in self._serving)

    def observe(self, record: BatchRecord) -> None:
        """A batch has run: the `on_batch` of its Batcher."""
        self.sizes.observe((record.size,))
        self.queue_times.observe(record.queue_times)
        self.run_times.observe((record.run_time,))
        self.reasons[record.reason] += 1
        self.padding += record.padded_size - record.size


class Metrics(Collector):
    """Everything there is to scrape, in the order in which a request meets it."""

    def __init__(self, states: Callable[[], Iterable[tuple[str, VersionState]]] = tuple) -> None:
        self._states = states
        self._loads: Counter[tuple[str, str]] = Counter()
        self._answers: Counter[tuple[str, str, int]] = Counter()
        self._models: dict[tuple[str, int], ModelMetrics] = {}
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def count_answer(self, model: str, protocol: str, status: int) -> None:
        """A request was answered; `model` is "" unless it is one of ours."""
        self._answers[model, protocol, status] += 1

    def count_load(self, model: str, *, loaded: bool) -> None:
        """A version of a model was loaded, or could not be."""
        self._loads[model, "loaded" if loaded else "failed"] += 1

    def model(self, name: str, version: int) -> ModelMetrics:
        """The metrics of a model version, which stay when it is unloaded: counters never fall."""
        return self._models.setdefault((name, version), ModelMetrics(name, version))

    def scrape(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """What `prometheus_client` asks of a collector."""
        answers = CounterMetricFamily(
            "batcher_requests",
            "Requests answered, by model, protocol and its status.",
            labels=("model", "protocol", "status"),
        )
        for (model, protocol, status), count in sorted(self._answers.items()):
            answers.add_metric((model, protocol, str(status)), count)
        yield answers
        yield from self._models_and_versions()
        yield from self._gauges_and_counters()
        yield from self._histograms()

    def _models_and_versions(self) -> Iterator[Metric]:
        loads = CounterMetricFamily(
            "batcher_model_loads",
            "Versions that were loaded, or could not be, by model.",
            labels=("model", "outcome"),
        )
        for (model, outcome), count in sorted(self._loads.items()):
            loads.add_metric((model, outcome), count)
        states = GaugeMetricFamily(
            "batcher_model_state",
            "1 for the state that each version is in.",
            labels=("model", "version", "state"),
        )
        for model, state in self._states():
            states.add_metric((model, str(state.version), state.state), 1)
        yield from (loads, states)

    def _gauges_and_counters(self) -> Iterator[Metric]:
        labels = ("model", "version")
        depth = GaugeMetricFamily("batcher_queue_rows", "Rows that wait now.", labels=labels)
        running = GaugeMetricFamily(
            "batcher_running_batches", "Batches that run now.", labels=labels
        )
        ended = CounterMetricFamily(
            "batcher_queued_requests",
            "Requests that got into the queue and have ended, by how.",
            labels=(*labels, "end"),
        )
        refused = CounterMetricFamily(
            "batcher_refused_requests", "Requests that found the queue full.", labels=labels
        )
        reasons = CounterMetricFamily(
            "batcher_batches",
            "Batches that have run, by why they were released.",
            labels=(*labels, "reason"),
        )
        padding = CounterMetricFamily(
            "batcher_padding_rows", "Rows that batches were padded with.", labels=labels
        )
        for model in self._models.values():
            padding.add_metric(model.labels, model.padding)
            depth.add_metric(model.labels, model.now("queued_rows"))
            running.add_metric(model.labels, model.now("running_batches"))
            refused.add_metric(model.labels, model.total("refused"))
            for end in ("answered", "failed", "expired", "cancelled"):
                ended.add_metric((*model.labels, end), model.total(end))
            for reason, count in sorted(model.reasons.items()):
                reasons.add_metric((*model.labels, reason), count)
        yield from (depth, running, ended, refused, reasons, padding)

    def _histograms(self) -> Iterator[Metric]:
        labels = ("model", "version")
        sizes = HistogramMetricFamily("batcher_batch_rows", "Rows in a batch.", labels=labels)
        waits = HistogramMetricFamily(
            "batcher_queue_seconds", "From a request's arrival until its batch.", labels=labels
        )
        runs = HistogramMetricFamily(
            "batcher_run_seconds", "How long the model ran on a batch.", labels=labels
        )
        for model in self._models.values():
            model.sizes.add_to(sizes, model.labels)
            model.queue_times.add_to(waits, model.labels)
            model.run_times.add_to(runs, model.labels)
        yield from (sizes, waits, runs)
