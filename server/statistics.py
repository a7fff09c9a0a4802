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
    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    queue: Duration = field(default_factory=Duration)
    compute_input: Duration = field(default_factory=Duration)
    compute_infer: Duration = field(default_factory=Duration)
    compute_output: Duration = field(default_factory=Duration)
    batches: dict[int, Duration] = field(default_factory=dict)
    """How long batches ran, by their rows."""

    def count_answered(
        self, rows: int, *, queue: float, read: float, run: float, write: float
    ) -> None:
        """A request was answered; its stages took so many seconds."""
        self.rows += rows
        self.last_inference = time.time()
        # One after the other, all at once: whoever compares their counts finds them equal.
        self.success.add(queue + read + run + write)
        self.queue.add(queue)
        self.compute_input.add(read)
        self.compute_infer.add(run)
        self.compute_output.add(write)

    def count_batch(self, size: int, run_time: float) -> None:
        """A batch of so many rows has run."""
        self.batches.setdefault(size, Duration()).add(run_time)
