"""What a Batcher is told once, and where it is in its life. Pure."""

import enum
from typing import Generic, NamedTuple

from batcher.cost import Cost
from batcher.options import Fairness, Isolation
from batcher.policy import Limits
from batcher.request import T


class State(enum.Enum):
    """Where a Batcher is in its life."""

    NEW = "has not been entered: use `async with`"
    OPEN = "is open"
    DRAINING = "is draining"
    CLOSED = "is closed"


class Rules(NamedTuple, Generic[T]):
    """The options of a Batcher, checked."""

    limits: Limits
    concurrency: int
    allowed_sizes: tuple[int, ...]
    cost: Cost[T] | None
    repeatable: bool
    run_timeout: float | None
    prefetch: bool
    regroup: bool
    fairness: Fairness
    isolation: Isolation
