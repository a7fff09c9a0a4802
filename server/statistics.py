"""Counts what the requests of one model version went through, stage by stage. Event loop.

The stages are those of the Open Inference Protocol's statistics extension: `queue`, then
`compute_input` (reading the body), `compute_infer` (the batch it ran in, with the concatenating
before and the splitting after it) and `compute_output` (writing the answer).
"""

import time
from dataclasses import dataclass, field


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
    last_inference: float = 0.0
    """When a request was answered last, in seconds since 1970; 0 for never."""
    fail: Duration = field(default_factory=Duration)
    answered: int = 0
    _queue: float = 0.0
    _read: float = 0.0
    _run: float = 0.0
    _write: float = 0.0
    batches: dict[int, Duration] = field(default_factory=dict)
    """How long batches ran, by their rows."""

    def count_answered(
        self, rows: int, *, queue: float, read: float, run: float, write: float
    ) -> None:
        """A request was answered; its stages took so many seconds."""
        self.rows += rows
        self.last_inference = time.time()
        self.answered += 1
        self._queue += queue
        self._read += read
        self._run += run
        self._write += write

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
