"""What to run next: a pure function of the queue and the time. No clock, loop, thread or logging.

The release rule
----------------
It is asked whenever a thread is free, and never binds a request to a batch before that: while the
model is busy, batches grow by themselves. The lane with the oldest head goes first, because

    full      its rows fill a batch, or the queue has no room left for company;
    drain     no company can come;
    idle      nobody asked to wait (`batch_timeout` is 0);
    timeout   its head has waited `batch_timeout`.

Otherwise its head waits on purpose, which is no reason for another bucket's full batch to wait: the
oldest of the full ones is released. When there is none either, nothing can happen until
the oldest head's time is up, or a request arrives.
"""

from dataclasses import dataclass
from typing import Generic

from batcher.queue import Lane, RequestQueue
from batcher.request import R, T
from batcher.stats import Reason


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds that the rule keeps: rows, rows and seconds."""

    max_batch_size: int
    max_queue_size: int
    batch_timeout: float


@dataclass(frozen=True, slots=True)
class Release(Generic[T, R]):
    """Run the next batch of this lane now."""

    lane: Lane[T, R]
    reason: Reason


@dataclass(frozen=True, slots=True)
class Wait:
    """Run nothing before `until` (loop time) or an arrival; None: before an arrival."""

    until: float | None


NOBODY_WAITS = Wait(None)


def next_release(
    queue: RequestQueue[T, R], limits: Limits, now: float, *, draining: bool
) -> Release[T, R] | Wait:
    """Decide what a free thread should do at `now`."""
    oldest = queue.oldest()
    if oldest is None:
        return NOBODY_WAITS
    if oldest.rows >= limits.max_batch_size or queue.rows >= limits.max_queue_size:
        return Release(oldest, Reason.FULL)
    if draining:
        return Release(oldest, Reason.DRAIN)
    if limits.batch_timeout == 0:
        return Release(oldest, Reason.IDLE)
    due = oldest.head.arrival + limits.batch_timeout
    if now >= due:
        return Release(oldest, Reason.TIMEOUT)
    full = queue.full()
    return Wait(due) if full is None else Release(full, Reason.FULL)
