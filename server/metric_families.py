"""How the metrics of model versions look to Prometheus: families of samples. Pure.

Names follow Prometheus: base units (`_seconds`, `_bytes`), `_total` for counters, `_info` for what
has labels only. A label never comes from a client's unchecked input.
"""

from collections.abc import Collection, Iterator
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)

from server.histogram import Histogram
from server.version_metrics import ENDS, STAGES, VersionMetrics

LABELS: Final = ("model", "version")


def families(versions: Collection[VersionMetrics]) -> Iterator[Metric]:
    """All metrics of all versions, in the order in which a request meets them."""
    yield from _gauges(versions)
    yield from _requests(versions)
    yield from _batches(versions)


def add_histogram(
    family: HistogramMetricFamily, labels: tuple[str, ...], histogram: Histogram, scale: float = 1.0
) -> None:
    """Add a histogram to a family, its values times `scale`."""
    buckets = [
        ("+Inf" if bound == float("inf") else f"{bound * scale:.15g}", count)
        for bound, count in histogram.cumulative()
    ]
    family.add_metric(labels, buckets, sum_value=histogram.sum * scale)


def _gauges(versions: Collection[VersionMetrics]) -> Iterator[Metric]:
    requests = _gauge("batcher_queue_requests", "Requests that wait now.")
    rows = _gauge("batcher_queue_rows", "Rows that wait now.")
    limit = _gauge("batcher_queue_limit_rows", "Most rows that may wait: max_queue_size.")
    nbytes = _gauge(
        "batcher_queue_bytes", "Bytes of input that wait now; 0 unless max_queue_bytes is set."
    )
    wait = _gauge(
        "batcher_expected_wait_seconds", "How long a new request is predicted to wait; 0: unknown."
    )
    running = _gauge("batcher_running_batches", "Batches that run now.")
    most = _gauge(
        "batcher_batch_limit_rows",
        "Most rows in a batch now: less than max_batch_size after memory was exhausted.",
    )
    healthy = _gauge("batcher_healthy", "0 while a call of the model hangs, else 1.")
    for version in versions:
        now = version.now()
        if now is None:
            continue
        requests.add_metric(version.labels, now.queued_requests)
        rows.add_metric(version.labels, now.queued_rows)
        limit.add_metric(version.labels, now.queue_limit)
        nbytes.add_metric(version.labels, now.queued_bytes)
        wait.add_metric(version.labels, now.expected_wait)
        running.add_metric(version.labels, now.running_batches)
        most.add_metric(version.labels, now.max_batch_size)
        healthy.add_metric(version.labels, now.healthy)
    yield from (requests, rows, limit, nbytes, wait, running, most, healthy)


def _requests(versions: Collection[VersionMetrics]) -> Iterator[Metric]:
    latencies = HistogramMetricFamily(
        "batcher_request_seconds",
        "From when a request's body was there until its answer was written; answered ones only.",
        labels=(*LABELS, "protocol"),
    )
    stages = SummaryMetricFamily(
        "batcher_stage_seconds",
        "What answered requests spent in a stage: read, queue, run (with their batch), write.",
        labels=(*LABELS, "stage"),
    )
    ended = CounterMetricFamily(
        "batcher_queued_requests",
        "Requests that got into the queue and have ended, by how.",
        labels=(*LABELS, "end"),
    )
    refused = CounterMetricFamily(
        "batcher_refused_requests",
        "Requests refused at the door: queue full, or predicted to wait too long.",
        labels=LABELS,
    )
    waits = HistogramMetricFamily(
        "batcher_queue_seconds", "From a request's arrival until its batch.", labels=LABELS
    )
    for version in versions:
        for protocol, latency in sorted(version.latencies().items()):
            add_histogram(latencies, (*version.labels, protocol), latency)
        spent = version.stages()
        for stage in STAGES:
            stages.add_metric((*version.labels, stage), spent[stage].count, spent[stage].seconds)
        for end in ENDS:
            ended.add_metric((*version.labels, end), version.total(end))
        refused.add_metric(version.labels, version.total("refused"))
        add_histogram(waits, version.labels, version.queue_times)
    yield from (latencies, stages, ended, refused, waits)


def _batches(versions: Collection[VersionMetrics]) -> Iterator[Metric]:
    reasons = CounterMetricFamily(
        "batcher_batches",
        "Batches that have run, by why they were released.",
        labels=(*LABELS, "reason"),
    )
    sizes = HistogramMetricFamily("batcher_batch_rows", "Rows in a batch.", labels=LABELS)
    padding = CounterMetricFamily(
        "batcher_padding_rows", "Rows that batches were padded with.", labels=LABELS
    )
    runs = HistogramMetricFamily(
        "batcher_run_seconds", "How long the model ran on a batch.", labels=LABELS
    )
    for version in versions:
        for reason, count in sorted(version.reasons.items()):
            reasons.add_metric((*version.labels, reason), count)
        size = version.sizes()
        add_histogram(sizes, version.labels, size)
        padding.add_metric(version.labels, version.padded_sizes().sum - size.sum)
        add_histogram(runs, version.labels, version.run_times)
    yield from (reasons, sizes, padding, runs)


def _gauge(name: str, explained: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, explained, labels=LABELS)
