"""What the options of a Batcher may be: checks that name the option, and groups. Pure."""

import math
import operator
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final


def allowed_sizes(sizes: Iterable[int], max_batch_size: int) -> tuple[int, ...]:
    """Batch sizes that ascend to `max_batch_size`, or none at all. TypeError, ValueError."""
    allowed = tuple([at_least_one("allowed_batch_sizes", size) for size in sizes])
    if any(one >= other for one, other in pairwise(allowed)):
        msg = f"allowed_batch_sizes must ascend, got {list(allowed)}"
        raise ValueError(msg)
    if allowed and allowed[-1] != max_batch_size:
        msg = (
            f"the last of allowed_batch_sizes must be max_batch_size={max_batch_size},"
            f" got {list(allowed)}"
        )
        raise ValueError(msg)
    return allowed


def whole_number(name: str, value: int) -> int:
    """A whole number. TypeError."""
    try:
        return operator.index(value)
    except TypeError:
        msg = f"{name} must be a whole number, not {value!r}"
        raise TypeError(msg) from None


def not_negative(name: str, value: int) -> int:
    """A whole number, 0 or more. TypeError, ValueError."""
    number = whole_number(name, value)
    if number < 0:
        msg = f"{name} must be 0 or more, not {number}"
        raise ValueError(msg)
    return number


def at_least_one(name: str, value: int) -> int:
    """A whole number, 1 or more. TypeError, ValueError."""
    number = whole_number(name, value)
    if number < 1:
        msg = f"{name} must be at least 1, not {number}"
        raise ValueError(msg)
    return number


def seconds(name: str, value: float) -> float:
    """A finite number of seconds, 0 or more. TypeError, ValueError."""
    number = real_number(name, value, "of seconds")
    if not math.isfinite(number) or number < 0:
        msg = f"{name} must be finite seconds, 0 or more, not {value!r}"
        raise ValueError(msg)
    return number


def real_number(name: str, value: float, of: str) -> float:
    """A number, of what. TypeError."""
    try:
        return float(value + 0.0)
    except (TypeError, ValueError):
        msg = f"{name} must be a number {of}, not {value!r}"
        raise TypeError(msg) from None


@dataclass(frozen=True, slots=True)
class Admission:
    """Bounds at the door besides `max_queue_size`; whoever is beyond them gets QueueFull.

    max_queue_bytes
        Most bytes that may wait, as callers count them by `nbytes`. None: any.
    max_wait
        Most seconds that a new request may be predicted to wait. None: any. As long as run times
        are not known, everybody is let in.
    """

    max_queue_bytes: int | None = None
    max_wait: float | None = None

    def __post_init__(self) -> None:
        if self.max_queue_bytes is not None:
            at_least_one("max_queue_bytes", self.max_queue_bytes)
        if self.max_wait is not None:
            seconds("max_wait", self.max_wait)


@dataclass(frozen=True, slots=True)
class Fairness:
    """How priorities and deadlines share the device.

    ageing
        Seconds of waiting that count as much as one level of priority: so a request is overtaken
        only by those that come within `ageing` times the levels between them. In the order of
        deadlines, a request without one counts as if it had this long.
    """

    ageing: float = 1.0

    def __post_init__(self) -> None:
        if seconds("ageing", self.ageing) == 0:
            msg = "ageing must be more than 0 seconds: with 0, priorities would mean nothing"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True)
class Isolation:
    """What a failed batch may cost to save its innocent requests, if the function is `repeatable`.

    max_extra_runs
        Most further calls for one failed batch; then those who are still not told get its error.
        `k` bad requests of `n` take about `k log2(n)`.
    probe_after
        Batches that must succeed at a size learned from exhausted memory before more is tried.
    """

    max_extra_runs: int = 32
    probe_after: int = 100

    def __post_init__(self) -> None:
        at_least_one("max_extra_runs", self.max_extra_runs)
        at_least_one("probe_after", self.probe_after)


DEFAULT_ADMISSION: Final = Admission()
DEFAULT_FAIRNESS: Final = Fairness()
DEFAULT_ISOLATION: Final = Isolation()
