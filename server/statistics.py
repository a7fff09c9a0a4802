"""Counts what the requests of one model version went through, stage by stage. Event loop.

The stages are those of the Open Inference Protocol's statistics extension: `queue`, then
`compute_input` (reading the body), `compute_infer` (the batch it ran in, with the concatenating
before and the splitting after it) and `compute_output` (writing the answer).
"""

import time
from collections import defaultdict
from dataclasses import dataclass, field

from server.histogram import Histogram


@dataclass(slots=True)
class Duration:
    """How often something happened, and the seconds it took in all."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """It happened once more."""
        self.count += 1
        self.seconds += seconds


@dataclass(slots=True)
class VersionStatistics:
    """The requests that one version has answered, and the batches that it ran."""

    name: str
    version: int
    rows: int = 0
    """Rows of the requests that were answered."""
    fail: Duration = field(default_factory=Duration)
    latencies: defaultdict[str, Histogram] = field(default_factory=lambda: defaultdict(Histogram))
    """Seconds from when a request's body was there until its answer was written, by protocol."""
    _ended: float | None = None
    _queue: float = 0.0
    _read: float = 0.0
    _run: float = 0.0
    _write: float = 0.0
    batches: dict[int, Duration] = field(default_factory=dict)
    """How long batches ran, by their rows."""

    # Called for each request: no names of arguments, nothing that can be found out later.
    def count_answered(  # noqa: PLR0917 - see above
        self,
        protocol: str,
        rows: int,
        queue: float,
        read: float,
        run: float,
        write: float,
        began: float,
        ended: float,
    ) -> None:
        """A request was answered. The seconds of its stages; its begin and end by `perf_counter`.

        In between lies more than the stages: the event loop may be busy with others.
        """
        self.rows += rows
        self._ended = ended
        self._queue += queue
        self._read += read
        self._run += run
        self._write += write
        self.latencies[protocol].add(ended - began)

    @property
    def answered(self) -> int:
        """The requests that were answered."""
        return sum([latency.count for latency in self.latencies.values()])

    @property
    def last_inference(self) -> float:
        """When a request was answered last, in seconds since 1970; 0 for never."""
        if self._ended is None:
            return 0.0
        return time.time() - (time.perf_counter() - self._ended)

    # All of the same count, so that whoever compares them finds them equal.

    @property
    def success(self) -> Duration:
        """The requests that were answered."""
        return Duration(self.answered, self._queue + self._read + self._run + self._write)

    @property
    def queue(self) -> Duration:
        """Their waits."""
        return Duration(self.answered, self._queue)

    @property
    def compute_input(self) -> Duration:
        """The reading of their bodies."""
        return Duration(self.answered, self._read)

    @property
    def compute_infer(self) -> Duration:
        """The batches that they ran in."""
        return Duration(self.answered, self._run)

    @property
    def compute_output(self) -> Duration:
        """The writing of their answers."""
        return Duration(self.answered, self._write)

    def count_batch(self, size: int, run_time: float) -> None:
        """A batch of so many rows has run."""
        self.batches.setdefault(size, Duration()).add(run_time)
