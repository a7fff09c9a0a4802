"""What a batch costs: as its user says, and in time, as learned. Pure; event loop only.

Learned times
-------------
What is known are the last run times of each size, in steps that grow with the size. Four in five of
a step are not longer than its estimate: promises are made by it, and still neither the slow first
calls of a model nor a stall of its machine decide. Between two steps the estimate is a straight
line, above the last one it grows as between the last two, below the first one it is that of the
first.

A run time costs its Batcher one append: they are looked at when somebody asks, and then only those
steps that have new ones.
"""

import bisect
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Generic

from batcher.errors import RequestTooLarge
from batcher.options import real_number
from batcher.request import T

REMEMBERED: Final = 15
"""Run times kept of each step."""

PROMISED: Final = 0.8
"""The share of run times that an estimate is not shorter than."""

LEARNED: Final = 3
"""Run times of a step before it is believed: of fewer, the slow first call would decide."""

UNREAD: Final = 512
"""Run times that may wait to be looked at; more are more than will ever be remembered."""

STEPS: Final = 8
"""Steps between a size and its double, from the size on where that makes them whole numbers."""


class Cost(Generic[T]):
    """A user's cost function, and the most that a batch may cost."""

    def __init__(
        self,
        batch_cost: Callable[[Sequence[T]], float],
        most: float,
        report: Callable[[str, Exception], None],
    ) -> None:
        self._of = batch_cost
        self._most = real_number("max_batch_cost", most, "")
        if math.isnan(self._most) or self._most <= 0:
            msg = f"max_batch_cost must be more than 0, not {most!r}"
            raise ValueError(msg)
        self._report = report

    def check(self, item: T) -> None:
        """Refuse what costs too much alone, or has no cost. What the function raises.

        RequestTooLarge, TypeError, ValueError.
        """
        cost = real_number("batch_cost", self._of([item]), "")
        if math.isnan(cost) or cost < 0:
            msg = f"batch_cost must return 0 or more, not {cost!r}"
            raise ValueError(msg)
        if cost > self._most:
            msg = f"the item alone costs {cost:g}, max_batch_cost={self._most:g}"
            raise RequestTooLarge(msg)

    def fits(self, items: Sequence[T]) -> bool:
        """Whether items may run together; not if nobody can tell."""
        try:
            return bool(self._of(items) <= self._most)
        except Exception as error:  # noqa: BLE001 - a user's function; each item alone has a cost
            self._report("batch_cost raised", error)
            return False


class RunTimes:
    """The times that a function took, by rows; in seconds."""

    __slots__ = ("_observed", "_sizes", "_times", "_unread")

    def __init__(self) -> None:
        self._unread: deque[tuple[int, float]] = deque(maxlen=UNREAD)
        self._observed: dict[int, deque[float]] = {}
        # Ascending, and what they take.
        self._sizes: list[int] = []
        self._times: list[float] = []

    def observe(self, size: int, seconds: float) -> None:
        """A batch of `size` rows, padding included, took so long."""
        self._unread.append((size, seconds))

    def predict(self, size: int) -> float | None:
        """How long a batch of `size` rows will take, None while too little is known."""
        if self._unread:
            self._read()
        sizes, times = self._sizes, self._times
        if not sizes:
            return None
        place = bisect.bisect_left(sizes, size)
        if place == 0:
            return times[0]
        if place < len(sizes):
            return _line(sizes[place - 1 : place + 1], times[place - 1 : place + 1], size)
        if len(sizes) == 1:
            # A row more may cost nothing or as much as each before: as much, to be safe.
            return times[0] * size / sizes[0]
        return max(times[-1], _line(sizes[-2:], times[-2:], size))

    def predict_bold(self, size: int) -> float | None:
        """The same, but a size above all known ones takes no longer than the largest of them."""
        if self._unread:
            self._read()
        return self.predict(min(size, self._sizes[-1])) if self._sizes else None

    def _read(self) -> None:
        steps = set()
        while self._unread:
            size, seconds = self._unread.popleft()
            step = _step(size)
            if step not in self._observed:
                self._observed[step] = deque(maxlen=REMEMBERED)
            self._observed[step].append(seconds)
            steps.add(step)
        sizes, times = self._sizes, self._times
        for step in steps:
            observed = self._observed[step]
            if len(observed) < LEARNED:
                continue
            place = bisect.bisect_left(sizes, step)
            if place == len(sizes) or sizes[place] != step:
                sizes.insert(place, step)
                times.insert(place, 0.0)
            times[place] = _promised(observed)


def _step(size: int) -> int:
    """The largest size of a step at or below `size`: every size up to 16, then 8 to each double."""
    width = max(1, 1 << max(0, size.bit_length() - 1 - STEPS.bit_length() + 1))
    return size - size % width


def _promised(times: deque[float]) -> float:
    ordered = sorted(times)
    return ordered[int(PROMISED * (len(ordered) - 1))]


def _line(sizes: list[int], times: list[float], size: int) -> float:
    """On the straight line through two points."""
    (low, high), (fast, slow) = sizes, times
    return fast + (slow - fast) * (size - low) / (high - low)
