"""The batches that a server of ours made meanwhile, by its metrics; and its Server-Timing. Pure."""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from prometheus_client.parser import text_string_to_metric_families

_ROWS, _RUN, _QUEUE = "batcher_batch_rows", "batcher_run_seconds", "batcher_queue_seconds"
_PADDING: Final = "batcher_padding_rows_total"

_TIMING: Final = re.compile(rb"(queue|run);dur=([0-9.]+)")


class Batches(NamedTuple):
    """Counts over all versions of a model; `sizes` are of batches by the bounds of the metric."""

    batches: float
    rows: float
    padding: float
    run_seconds: float
    requests: float
    queue_seconds: float
    sizes: Mapping[float, float]

    def since(self, before: "Batches") -> "Batches":
        """What was counted after another look."""
        sizes = {bound: count - before.sizes.get(bound, 0.0) for bound, count in self.sizes.items()}
        return Batches(
            batches=self.batches - before.batches,
            rows=self.rows - before.rows,
            padding=self.padding - before.padding,
            run_seconds=self.run_seconds - before.run_seconds,
            requests=self.requests - before.requests,
            queue_seconds=self.queue_seconds - before.queue_seconds,
            sizes={bound: count for bound, count in sizes.items() if count},
        )

    def plain(self) -> dict[str, Any]:
        """The figures as JSON knows them."""
        return {
            "batches": self.batches,
            "rows": self.rows,
            "padding_rows": self.padding,
            "mean_rows": self.rows / self.batches if self.batches else 0.0,
            "mean_run_ms": self.run_seconds / self.batches * 1e3 if self.batches else 0.0,
            "mean_queue_ms": self.queue_seconds / self.requests * 1e3 if self.requests else 0.0,
            "sizes_up_to": {f"{bound:g}": count for bound, count in sorted(self.sizes.items())},
        }


def read_metrics(text: str, model: str) -> Batches | None:
    """What the metrics of a server tell of a model's batches; None if they are not ours."""
    sums, up_to = defaultdict[str, float](float), defaultdict[float, float](float)
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.labels.get("model") != model:
                    continue
                if sample.name == f"{_ROWS}_bucket":
                    up_to[float(sample.labels["le"])] += sample.value
                else:
                    sums[sample.name] += sample.value
    except (ValueError, KeyError):
        return None
    if not up_to:
        return None
    return Batches(
        batches=sums[f"{_ROWS}_count"],
        rows=sums[f"{_ROWS}_sum"],
        padding=sums[_PADDING],
        run_seconds=sums[f"{_RUN}_sum"],
        requests=sums[f"{_QUEUE}_count"],
        queue_seconds=sums[f"{_QUEUE}_sum"],
        sizes=_apart(up_to),
    )


def _apart(up_to: Mapping[float, float]) -> dict[float, float]:
    """Counts between bounds, of counts up to each."""
    counts, below = {}, 0.0
    for bound, count in sorted(up_to.items()):
        counts[bound] = count - below
        below = count
    return counts


class Timing(NamedTuple):
    """Medians of what answers said, in milliseconds."""

    queue: float
    run: float


def read_timings(timings: Iterable[bytes]) -> Timing | None:
    """What `Server-Timing` of answers said; None if it did not."""
    seen: dict[bytes, list[float]] = {b"queue": [], b"run": []}
    for timing in timings:
        for name, milliseconds in _TIMING.findall(timing):
            seen[name].append(float(milliseconds))
    if not all(seen.values()):
        return None
    return Timing(*(_median(values) for values in seen.values()))


def _median(values: list[float]) -> float:
    return sorted(values)[math.ceil(len(values) / 2) - 1]
