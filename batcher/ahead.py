"""How many rows go before a request that would come now, whatever their buckets. Pure; event loop.

Counted are the requests that have a priority or a deadline; of the others there is one number,
which the queue knows. The count is exact, and no request is looked at for it: it takes one step for
each priority, and one for each block of later deadlines.
"""

import math
from bisect import bisect_left, bisect_right
from typing import Any, Final

from batcher.request import Request

MOST_IN_BLOCK: Final = 256
"""Deadlines in a block: few enough to move fast, so many that 100,000 are some hundred blocks."""


class RowsByDeadline:
    """Numbers of rows, each with a deadline; tells how many have a later one than some other.

    Deadlines are kept in order, in blocks: block i begins at `_starts[i]`, has the deadlines
    `_deadlines[i]`, the rows `_rows[i]` of each, and `_sums[i]` rows in all.
    """

    __slots__ = ("_deadlines", "_rows", "_starts", "_sums")

    def __init__(self) -> None:
        self._starts = [-math.inf]
        self._deadlines: list[list[float]] = [[]]
        self._rows: list[list[int]] = [[]]
        self._sums = [0]

    def add(self, deadline: float, rows: int) -> None:
        """Count so many rows of a deadline."""
        block = bisect_right(self._starts, deadline) - 1
        deadlines = self._deadlines[block]
        place = bisect_left(deadlines, deadline)
        self._sums[block] += rows
        if place < len(deadlines) and deadlines[place] == deadline:
            self._rows[block][place] += rows
            return
        deadlines.insert(place, deadline)
        self._rows[block].insert(place, rows)
        if len(deadlines) > MOST_IN_BLOCK:
            self._split(block)

    def remove(self, deadline: float, rows: int) -> None:
        """Count so many rows no longer, that were added with this deadline."""
        block = bisect_right(self._starts, deadline) - 1
        deadlines, rows_of = self._deadlines[block], self._rows[block]
        place = bisect_left(deadlines, deadline)
        self._sums[block] -= rows
        rows_of[place] -= rows
        if rows_of[place]:
            return
        del deadlines[place], rows_of[place]
        if not deadlines and len(self._starts) > 1:
            del self._starts[block], self._deadlines[block], self._rows[block], self._sums[block]
            self._starts[0] = -math.inf

    def later(self, deadline: float) -> int:
        """Rows whose deadline is later than this one."""
        block = bisect_right(self._starts, deadline) - 1
        place = bisect_right(self._deadlines[block], deadline)
        return sum(self._sums[block + 1 :]) + sum(self._rows[block][place:])

    def _split(self, block: int) -> None:
        deadlines, rows = self._deadlines[block], self._rows[block]
        half = len(deadlines) // 2
        moved = sum(rows[half:])
        self._starts.insert(block + 1, deadlines[half])
        self._deadlines.insert(block + 1, deadlines[half:])
        self._rows.insert(block + 1, rows[half:])
        self._sums.insert(block + 1, moved)
        self._sums[block] -= moved
        del deadlines[half:], rows[half:]


class Level:
    """The rows of one priority: in all, and those that have a deadline by it."""

    __slots__ = ("dated", "rows")

    def __init__(self) -> None:
        self.rows = 0
        self.dated = RowsByDeadline()


class Ahead:
    """Counts the waiting requests that have a priority or a deadline: `rows` in all."""

    __slots__ = ("_levels", "rows")

    def __init__(self) -> None:
        self.rows = 0
        self._levels: dict[int, Level] = {}

    def add(self, request: Request[Any, Any]) -> None:
        """Count a request that waits now."""
        level = self._levels.get(request.priority)
        if level is None:
            level = self._levels[request.priority] = Level()
        self.rows += request.size
        level.rows += request.size
        if request.deadline is not None:
            level.dated.add(request.deadline, request.size)

    def remove(self, request: Request[Any, Any]) -> None:
        """Count a request no longer."""
        level = self._levels[request.priority]
        self.rows -= request.size
        level.rows -= request.size
        if request.deadline is not None:
            level.dated.remove(request.deadline, request.size)
        if not level.rows:
            del self._levels[request.priority]

    def clear(self) -> None:
        """Nobody waits any more."""
        self.rows = 0
        self._levels.clear()

    def count(self, priority: int, deadline: float | None) -> int:
        """Rows that go before a request of this priority and deadline that comes now.

        Whoever is as urgent goes first if it has no deadline, or no later one.
        """
        rows = sum([level.rows for urgency, level in self._levels.items() if urgency <= priority])
        level = self._levels.get(priority)
        if level is None or deadline is None:
            return rows
        return rows - level.dated.later(deadline)
