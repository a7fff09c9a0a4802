"""What to run next: a pure function of the queue and the time. No clock, loop, thread or logging.

The release rule
----------------
It is asked whenever a thread is free, and binds nobody to a batch before that: while the model is
busy, batches grow by themselves. Only what is full cannot grow (`next_prefetch`). The first lane
goes, which is that with the oldest head, or with the smallest claim once there are priorities or
deadlines (`ranks`); because

    full      its rows fill a batch, or the queue has no room left for company;
    drain     no company can come;
    idle      nobody asked to wait (`batch_timeout` is 0).

Otherwise it waits on purpose, which is no reason for others to wait. Then goes

    timeout   a lane in which somebody has waited `batch_timeout`; or
    deadline  one in which somebody would be late if it waited any longer; or
    full      the first of those that hold a full batch.

When there is none either, nothing can happen until the next of these times, or until a request
arrives.
"""

import math
from dataclasses import dataclass
from typing import Generic

from batcher.queue import Lane, RequestQueue
from batcher.request import R, T
from batcher.stats import Reason


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds that rules keep: rows, rows and seconds; bytes and seconds, if there are any."""

    max_batch_size: int
    max_queue_size: int
    batch_timeout: float
    max_queue_bytes: int | None = None
    max_wait: float | None = None


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

IN_TIME = 2
"""Run times before a deadline at which waiting for company ends: one may be longer than most."""


def next_release(
    queue: RequestQueue[T, R], limits: Limits, now: float, *, draining: bool, run_time: float = 0.0
) -> Release[T, R] | Wait:
    """Decide what a free thread should do at `now`; a batch is expected to take `run_time`."""
    first = queue.first()
    if first is None:
        return NOBODY_WAITS
    reason = _reason_to_go(first, queue, limits, draining=draining)
    if reason is not None:
        return Release(first, reason)
    oldest = queue.oldest()
    assert oldest is not None
    due = oldest.oldest().arrival + limits.batch_timeout
    if now >= due:
        return Release(oldest, Reason.TIMEOUT)
    latest = due
    pressing = queue.most_pressing()
    if pressing is not None:
        deadline, lane = pressing
        latest = min(due, deadline - IN_TIME * run_time)
        if now >= latest:
            return Release(lane, Reason.DEADLINE)
    full = queue.full()
    return Wait(latest) if full is None else Release(full, Reason.FULL)


def next_prefetch(queue: RequestQueue[T, R]) -> Lane[T, R] | float:
    """The lane of which a batch may be bound while another one runs, or from how many rows on.

    Only what goes next in any case: a full batch of the oldest, where nobody may overtake.
    """
    first = queue.first()
    if first is None or not queue.is_plain:
        return math.inf
    missing = queue.max_batch_size - first.rows
    return queue.rows + missing if missing > 0 else first


def _reason_to_go(
    first: Lane[T, R], queue: RequestQueue[T, R], limits: Limits, *, draining: bool
) -> Reason | None:
    """Why the first lane should go, whatever the time; None if it may wait for company."""
    if first.rows >= queue.max_batch_size or queue.rows >= limits.max_queue_size:
        return Reason.FULL
    if draining:
        return Reason.DRAIN
    return Reason.IDLE if limits.batch_timeout == 0 else None
