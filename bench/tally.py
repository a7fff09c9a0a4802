"""What a load run has seen: answers by status, failures by reason, and how long answers took."""

import collections
from collections.abc import Iterator
from typing import Any, Final

from hdrh.histogram import HdrHistogram

from bench.client import Answer

PERCENTILES: Final = (50.0, 90.0, 99.0, 99.9)

LONGEST: Final = 600.0
"""Seconds; latencies beyond count as this."""

SHOWN_OF_BODY: Final = 500

BAR: Final = 50
"""Columns of the longest bar."""

BOUNDS: Final = tuple(
    round(step * 10.0**power, 6) for power in range(-2, 6) for step in (1, 1.5, 2, 3, 4, 5, 7)
)
"""Milliseconds between the bars of the histogram."""


class Tally:
    """Counts of one stretch of time. Only answers with status 200 count as good."""

    def __init__(self) -> None:
        self.statuses: collections.Counter[int] = collections.Counter()
        self.failures: collections.Counter[str] = collections.Counter()
        self.first_error_body = ""
        self.received = 0
        self._latencies = HdrHistogram(1, round(LONGEST * 1e6), 3)

    def add(self, answer: Answer) -> None:
        """Count an answer; failed ones have no part in the latencies: refusing is fast."""
        self.statuses[answer.status] += 1
        self.received += answer.size
        if answer.status == 200:
            self._latencies.record_value(round(min(answer.seconds, LONGEST) * 1e6))
        elif not self.first_error_body:
            self.first_error_body = answer.body[:SHOWN_OF_BODY].decode(errors="replace")

    @property
    def good(self) -> int:
        """Answers with status 200."""
        return self.statuses[200]

    @property
    def failed(self) -> int:
        """Answers with another status, and requests without any."""
        return self.statuses.total() - self.good + self.failures.total()

    def latencies(self) -> dict[str, float]:
        """Percentiles and the maximum of good answers, in milliseconds; empty without any."""
        if not self.good:
            return {}
        found = {f"p{p:g}": self._latencies.get_value_at_percentile(p) / 1e3 for p in PERCENTILES}
        return {**found, "max": self._latencies.get_max_value() / 1e3}

    def bars(self) -> Iterator[str]:
        """The histogram of latencies as lines of text, one for each span of milliseconds."""
        counts: collections.Counter[int] = collections.Counter()
        for step in self._latencies.get_recorded_iterator():
            milliseconds = step.value_iterated_to / 1e3
            place = sum(bound < milliseconds for bound in BOUNDS)
            counts[place] += step.count_added_in_this_iter_step
        if not counts:
            return
        longest = max(counts.values())
        for place in range(min(counts), max(counts) + 1):
            bound = f"up to {BOUNDS[place]:>7,g} ms"
            bar = "#" * -(-counts[place] * BAR // longest)
            yield f"{bound} {counts[place]:>9,} {bar}"

    def plain(self) -> dict[str, Any]:
        """The same as JSON knows it."""
        return {
            "good": self.good,
            "failed": self.failed,
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "failures": dict(self.failures),
            "first_error_body": self.first_error_body,
            "received_bytes": self.received,
            "latency_ms": self.latencies(),
        }
