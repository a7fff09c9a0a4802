"""Refuse at the door what cannot be accepted: a pure function of the rows and the limits."""

import math

from batcher.errors import QueueFull, RequestTooLarge
from batcher.policy import Limits


def check_room(
    rows: int, largest: int, *, queued: int, limits: Limits, last_run_time: float
) -> None:
    """Raise what stands against `rows` more beside the `queued` ones; `largest` are in one item.

    RequestTooLarge if they never fit, QueueFull if they do not fit now.
    """
    if largest > limits.max_batch_size:
        msg = (
            f"{largest} rows in one item exceed max_batch_size={limits.max_batch_size}:"
            " cut it up and use `submit_many`"
        )
        raise RequestTooLarge(msg)
    if rows > limits.max_queue_size:
        msg = f"{rows} rows exceed max_queue_size={limits.max_queue_size}: they never fit"
        raise RequestTooLarge(msg)
    if queued + rows > limits.max_queue_size:
        msg = (
            f"no room for {rows} more rows: {queued} wait already,"
            f" max_queue_size={limits.max_queue_size}"
        )
        batches = math.ceil(queued / limits.max_batch_size)
        raise QueueFull(msg, retry_after=batches * last_run_time)
