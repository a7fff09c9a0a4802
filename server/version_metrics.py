"""What one version of a model has gone through, over all the times it was loaded. Event loop.

Counted once a batch; everything else is asked of those who know it when somebody looks.
"""

from collections import Counter, defaultdict
from typing import Final, NamedTuple, Protocol

from batcher import BatcherStats, BatchRecord
from server.histogram import ROWS, Histogram
from server.statistics import Duration, VersionStatistics

ENDS: Final = ("answered", "failed", "expired", "cancelled")
"""How a request may end that got into the queue: counters of `BatcherStats`."""

STAGES: Final = ("read", "queue", "run", "write")
"""What an answered request goes through."""


class Source(Protocol):
    """What is asked of a Batcher when somebody looks."""

    @property
    def max_queue_size(self) -> int:
        """Most rows that may wait."""

    @property
    def expected_wait(self) -> float:
        """Seconds that a new request is predicted to wait."""

    def stats(self) -> BatcherStats:
        """Counters and gauges of this moment."""


class _Serving(NamedTuple):
    batcher: Source
    statistics: VersionStatistics


class Now(NamedTuple):
    """A version's Batchers at this moment: mostly one; two while one replaces the other."""

    queued_requests: int
    queued_rows: int
    queued_bytes: int
    queue_limit: int
    expected_wait: float
    running_batches: int
    max_batch_size: int
    healthy: bool


class VersionMetrics:
    """Counters of one version of a model, which stay when it is unloaded: they never fall."""

    def __init__(self, name: str, version: int) -> None:
        self.labels: Final = (name, str(version))
        self.batches: Final[Counter[tuple[int, int]]] = Counter()
        """Batches by the rows in them and the rows that they were padded to."""
        self.reasons: Final[Counter[str]] = Counter()
        """Batches by why they were released."""
        self.queue_times: Final = Histogram()
        """What each request waited that came into a batch, whether or not it was answered."""
        self.run_times: Final = Histogram()
        """What each batch took."""
        self.run_times_by_request: Final = Histogram()
        """The same, as often as requests were in it."""
        self._serving: list[_Serving] = []
        # Of the Batcher that ended last: its last answers may still be printed.
        self._ended: VersionStatistics | None = None
        self._ends: Counter[str] = Counter()
        self._stages = {stage: Duration() for stage in STAGES}
        self._latencies: dict[str, Histogram] = {}

    def observe(self, record: BatchRecord) -> None:
        """A batch has run."""
        self.batches[record.size, record.padded_size] += 1
        self.reasons[record.reason] += 1
        self.queue_times.add_all(record.queue_times)
        self.run_times.add(record.run_time)
        self.run_times_by_request.add_times(record.run_time, record.requests)

    def add(self, batcher: Source, statistics: VersionStatistics) -> None:
        """A Batcher begins to serve this version."""
        self._serving.append(_Serving(batcher, statistics))

    def remove(self, batcher: Source) -> None:
        """A Batcher has ended: what it counted is kept."""
        (ended,) = [serving for serving in self._serving if serving.batcher is batcher]
        self._serving.remove(ended)
        stats = batcher.stats()
        self._ends.update({end: getattr(stats, end) for end in (*ENDS, "refused")})
        if self._ended is not None:
            _add_stages(self._stages, self._ended)
            _merge(self._latencies, self._ended.latencies)
        self._ended = ended.statistics

    def total(self, end: str) -> int:
        """What one of `ENDS`, or `refused`, has come to over all Batchers of this version."""
        now: list[int] = [getattr(serving.batcher.stats(), end) for serving in self._serving]
        return self._ends[end] + sum(now)

    def stages(self) -> dict[str, Duration]:
        """The times that answered requests spent in each of `STAGES`."""
        stages = {stage: Duration(past.count, past.seconds) for stage, past in self._stages.items()}
        for statistics in self._counting():
            _add_stages(stages, statistics)
        return stages

    def latencies(self) -> dict[str, Histogram]:
        """How long answered requests took from the first stage to the last, by protocol."""
        latencies: dict[str, Histogram] = {}
        _merge(latencies, self._latencies)
        for statistics in self._counting():
            _merge(latencies, statistics.latencies)
        return latencies

    def _counting(self) -> list[VersionStatistics]:
        """Those that may still grow."""
        ended = [] if self._ended is None else [self._ended]
        return [*ended, *[serving.statistics for serving in self._serving]]

    def sizes(self) -> Histogram:
        """Rows of batches, without padding."""
        return _sizes([(size, times) for (size, _), times in self.batches.items()])

    def padded_sizes(self) -> Histogram:
        """Rows of batches, padding included."""
        return _sizes([(padded, times) for (_, padded), times in self.batches.items()])

    def padding(self) -> dict[int, Histogram]:
        """Rows of padding in a batch, by its rows, padding included; none if there never was any.

        Where no sizes are prescribed there would be a histogram of nothing for each size.
        """
        if all(size == padded for size, padded in self.batches):
            return {}
        found: defaultdict[int, Histogram] = defaultdict(lambda: Histogram(ROWS))
        for (size, padded), times in sorted(self.batches.items()):
            found[padded].add_times(padded - size, times)
        return found

    def now(self) -> Now | None:
        """How things stand, None if nothing serves this version.

        What can be added up is; of all else the newest Batcher's, which new requests find.
        """
        if not self._serving:
            return None
        stats = [serving.batcher.stats() for serving in self._serving]
        newest = self._serving[-1].batcher
        return Now(
            queued_requests=sum([each.queued_requests for each in stats]),
            queued_rows=sum([each.queued_rows for each in stats]),
            queued_bytes=sum([each.queued_bytes for each in stats]),
            queue_limit=newest.max_queue_size,
            expected_wait=newest.expected_wait,
            running_batches=sum([each.running_batches for each in stats]),
            max_batch_size=stats[-1].max_batch_size,
            healthy=all(each.healthy for each in stats),
        )


def _add_stages(stages: dict[str, Duration], statistics: VersionStatistics) -> None:
    for stage, more in zip(
        STAGES,
        (
            statistics.compute_input,
            statistics.queue,
            statistics.compute_infer,
            statistics.compute_output,
        ),
        strict=True,
    ):
        stages[stage].count += more.count
        stages[stage].seconds += more.seconds


def _merge(whole: dict[str, Histogram], more: dict[str, Histogram]) -> None:
    for protocol, histogram in more.items():
        whole.setdefault(protocol, Histogram()).merge(histogram)


def _sizes(counted: list[tuple[int, int]]) -> Histogram:
    sizes = Histogram(ROWS)
    for size, times in counted:
        sizes.add_times(size, times)
    return sizes
