"""Refuse at the door what cannot be accepted: pure functions of rows, bytes, times and limits."""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from batcher.errors import QueueFull, RequestTooLarge
from batcher.policy import Limits

SURE: Final = 0.9
"""The share of its time that a request may be predicted to take: what is accepted shall be kept."""


class Load(NamedTuple):
    """What a new request would find: `queued` rows and `nbytes` that wait, and how they fare.

    `run_time` is what a full batch takes (0.0: not known), `left` what remains of those that run
    now until one of `concurrency` is free.
    """

    queued: int
    nbytes: int
    run_time: float
    left: float
    max_batch_size: int
    concurrency: int

    def wait_behind(self, rows: int) -> float:
        """Seconds until a request starts that has so many rows before it, and may join the last."""
        batches = rows // self.max_batch_size
        return self.left + batches // self.concurrency * self.run_time

    def time_for(self, rows: int) -> float:
        """Seconds until so many rows will have run, in full batches after those that run now."""
        batches = math.ceil(rows / self.max_batch_size)
        return self.left + math.ceil(batches / self.concurrency) * self.run_time


def check_room(sizes: Sequence[int], nbytes: int, load: Load, limits: Limits) -> None:
    """Raise what stands against items of these sizes, and `nbytes` in all, beside the queued ones.

    RequestTooLarge if they never fit, QueueFull if they do not fit now.
    """
    rows, largest = sum(sizes), max(sizes, default=0)
    if largest > limits.max_batch_size:
        msg = (
            f"{largest} rows in one item exceed max_batch_size={limits.max_batch_size}:"
            " cut it up and use `submit_many`"
        )
        raise RequestTooLarge(msg)
    most, most_bytes = limits.max_queue_size, limits.max_queue_bytes
    if rows > most:
        msg = f"{rows} rows exceed max_queue_size={most}: they never fit"
        raise RequestTooLarge(msg)
    if most_bytes is not None and nbytes > most_bytes:
        msg = f"{nbytes} bytes exceed max_queue_bytes={most_bytes}: they never fit"
        raise RequestTooLarge(msg)
    full = ""
    if load.queued + rows > most:
        full = f"{rows} more rows: {load.queued} wait already, max_queue_size={most}"
    elif most_bytes is not None and load.nbytes + nbytes > most_bytes:
        full = f"{nbytes} more bytes: {load.nbytes} wait already, max_queue_bytes={most_bytes}"
    if full:
        msg = f"no room for {full}"
        raise QueueFull(msg, retry_after=load.time_for(load.queued))


def check_wait(wait: float, run_time: float, timeout: float | None, limits: Limits) -> None:
    """Refuse whoever is predicted to wait too long: beyond `max_wait`, or its own `timeout`.

    `wait` is the predicted time until its batch starts. QueueFull.
    """
    if limits.max_wait is not None and wait > limits.max_wait:
        msg = f"the wait would be about {wait:.3g} s, max_wait={limits.max_wait:g} s"
        raise QueueFull(msg, retry_after=wait)
    if timeout is not None and wait + run_time > SURE * timeout:
        msg = (
            f"the answer would take about {wait + run_time:.3g} s,"
            f" which is too much for the timeout of {timeout:.3g} s"
        )
        raise QueueFull(msg, retry_after=wait)
