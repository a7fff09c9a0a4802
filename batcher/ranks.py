"""Who of a lane goes first, when requests have priorities or deadlines. Pure; event loop only.

The order
---------
- Lower priority goes first, but waiting counts: the *claim* of a rank, which is all of a lane of
  one priority, is the arrival of its oldest request plus `ageing` for each level. The smallest
  claim goes first. Claims do not change with time: nothing is ever sorted anew, and whoever comes
  later than `ageing` times the levels between them overtakes nobody.
- Inside a rank the earliest deadline goes first; a request without one counts as if it had `ageing`
  seconds, so that those with deadlines do not pass it for ever.
- Requests with neither stay in the plain FIFO of their lane: what nobody uses costs nothing.

Whoever leaves a rank is let go of at once; its deadline alone stays behind, is skipped when it
comes up, and swept when those of the gone outnumber the others. So everything is O(log requests)
amortised, and O(ranks) for each request that is taken: priorities are meant to be few.
"""

import heapq
from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Generic

from batcher.request import R, Request, T

if TYPE_CHECKING:
    from batcher.queue import Lane

SWEEP_AT_LEAST: Final = 64
"""Entries of those who have left that may always stay: below, sweeping costs more than it frees."""


class Rank(Generic[T, R]):
    """The requests of one priority in a lane; those of 0 without a deadline wait in the lane."""

    __slots__ = ("_dated", "_deadlines", "_lane", "_undated", "priority")

    def __init__(self, lane: "Lane[T, R]", priority: int) -> None:
        self.priority: Final = priority
        self._lane = lane
        # By number, which is by arrival. A plain dict looks for its first one past all that left.
        self._undated: OrderedDict[int, Request[T, R]] = OrderedDict()
        self._dated: OrderedDict[int, Request[T, R]] = OrderedDict()
        # A heap of (deadline, number).
        self._deadlines: list[tuple[float, int]] = []

    def add(self, request: Request[T, R]) -> None:
        """Take in a request that has a deadline, or another priority than 0."""
        if request.deadline is None:
            self._undated[request.number] = request
        else:
            self._dated[request.number] = request
            heapq.heappush(self._deadlines, (request.deadline, request.number))

    def leave(self, request: Request[T, R]) -> None:
        """Let go of a request that was added."""
        if request.deadline is None:
            del self._undated[request.number]
            return
        dated = self._dated
        del dated[request.number]
        gone = len(self._deadlines) - len(dated)
        if gone > max(SWEEP_AT_LEAST, len(dated)):
            self._deadlines = [entry for entry in self._deadlines if entry[1] in dated]
            heapq.heapify(self._deadlines)

    def oldest(self) -> Request[T, R] | None:
        """The request that has waited longest, None when nobody waits."""
        undated, dated = self._first_undated(), next(iter(self._dated.values()), None)
        if undated is None or dated is None:
            return undated or dated
        return undated if undated.number < dated.number else dated

    def next(self, ageing: float) -> Request[T, R] | None:
        """The request that goes first, None when nobody waits."""
        undated, dated = self._first_undated(), self._earliest()
        if undated is None or dated is None or dated.deadline is None:
            return undated or dated
        return undated if undated.arrival + ageing < dated.deadline else dated

    def earliest_deadline(self) -> float | None:
        """The first deadline of those in here, None if nobody has one."""
        earliest = self._earliest()
        return None if earliest is None else earliest.deadline

    def members(self) -> Iterator[Request[T, R]]:
        """Everybody in here, but not those in the plain FIFO of the lane."""
        yield from self._undated.values()
        yield from self._dated.values()

    def __len__(self) -> int:
        """How many `members` there are."""
        return len(self._undated) + len(self._dated)

    def _first_undated(self) -> Request[T, R] | None:
        if self.priority == 0:
            self._lane.drop_dead_heads()
            return self._lane.requests[0] if self._lane.requests else None
        return next(iter(self._undated.values()), None)

    def _earliest(self) -> Request[T, R] | None:
        heap, dated = self._deadlines, self._dated
        while heap:
            request = dated.get(heap[0][1])
            if request is not None:
                return request
            heapq.heappop(heap)
        return None


def claim(oldest: Request[T, R], priority: int, ageing: float) -> tuple[float, int]:
    """What decides between ranks and between lanes: the smaller one goes first."""
    return oldest.arrival + priority * ageing, oldest.number
