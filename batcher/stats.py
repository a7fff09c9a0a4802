"""Frozen records of what happened: one for a batch, one for a request, one for the whole. Pure.

Every time is in seconds, every size in rows. They are made on the event loop and may be read on any
thread.
"""

import enum
from collections.abc import Hashable
from dataclasses import dataclass


class Reason(enum.StrEnum):
    """Why a batch was released to run just then."""

    FULL = "full"
    """No further row would have fitted: neither into the batch, nor into the bounded queue."""
    IDLE = "idle"
    """A thread was free and nobody asked to wait for company (`batch_timeout` is 0)."""
    TIMEOUT = "timeout"
    """Its oldest request had waited `batch_timeout`."""
    DRAIN = "drain"
    """The Batcher drains: no company can come any more."""
    DEADLINE = "deadline"
    """Waiting for company any longer would have made one of its requests late."""
    AGAIN = "again"
    """It is a part of a batch that failed, run to find out whose fault that was."""


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """One batch that has run. `on_batch` receives it on the event loop, its callers told."""

    size: int
    """Rows in the batch."""
    padded_size: int
    """Rows that the function was to pad it to; `size` where no sizes are prescribed."""
    requests: int
    """Requests in the batch; at most `size`."""
    bucket: Hashable
    """What its requests had in common."""
    reason: Reason
    """Why it was released."""
    queue_times: tuple[float, ...]
    """How long each request waited, from its arrival until the batch was taken; oldest first."""
    run_time: float
    """How long the function ran."""
    failed: int
    """Requests answered with an exception."""
    abandoned: int
    """Requests whose callers were gone when the batch ended; their results were dropped."""
    again: int
    """Requests that nobody was told about yet: the batch failed, and they run again in parts."""
    taken: float
    """When it was taken, as the event loop tells the time."""

    @property
    def queue_time_oldest(self) -> float:
        """The longest that a request of this batch waited."""
        return max(self.queue_times)

    @property
    def queue_time_mean(self) -> float:
        """How long a request of this batch waited on average."""
        return sum(self.queue_times) / len(self.queue_times)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one request went through, told to its caller with the answer."""

    queue_time: float
    """From its arrival until its batch was taken."""
    run_time: float
    """How long the function ran on its batch."""
    batch_size: int
    """Rows that ran together, its own included."""
    batch_requests: int
    """Requests that ran together, itself included."""
    padded_size: int
    """Rows that its batch was to be padded to."""
    reason: Reason
    """Why its batch was released."""
    taken: float
    """When its batch was taken, as the event loop tells the time."""


@dataclass(frozen=True, slots=True)
class BatcherStats:
    """The whole Batcher at one moment. Counters never decrease.

    `accepted` = `answered` + `failed` + `expired` + `cancelled` + what is queued or running now.
    """

    queued_requests: int
    """Requests that wait."""
    queued_rows: int
    """Rows that wait."""
    queued_bytes: int
    """Bytes that wait, as callers counted them by `nbytes`."""
    running_batches: int
    """Batches that run, or are handed over behind one that does."""
    accepted: int
    """Requests that got into the queue."""
    answered: int
    """Requests that ended with a result."""
    failed: int
    """Requests that ended with an exception."""
    expired: int
    """Requests that ended with DeadlineExceeded."""
    cancelled: int
    """Requests that their callers gave up, queued or running."""
    refused: int
    """Requests that were refused at the door."""
    batches: int
    """Batches that have run, parts of failed ones included."""
    max_batch_size: int
    """Most rows in a batch now: less than configured after memory was exhausted."""
    healthy: bool
    """Whether calls come back: False while one is over `run_timeout` and holds up the others."""
