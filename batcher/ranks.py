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

Whoever leaves a rank is only marked (`place`), skipped when it comes to a head, and swept when the
rank has grown to twice what it was. So everything is O(log requests) amortised, and O(ranks) for
each request that is taken: priorities are meant to be few.
"""

import heapq
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Generic

from batcher.request import R, Request, T

if TYPE_CHECKING:
    from batcher.queue import Lane

SWEEP_AT_LEAST: Final = 64
"""Entries of those who have left that may always stay: below, sweeping costs more than it frees."""


class Rank(Generic[T, R]):
    """The requests of one priority in a lane; those of 0 without a deadline wait in the lane."""

    __slots__ = ("_arrivals", "_dated", "_lane", "_sweep_at", "_undated", "priority")

    def __init__(self, lane: "Lane[T, R]", priority: int) -> None:
        self.priority: Final = priority
        self._lane = lane
        self._undated: deque[Request[T, R]] = deque()
        # By deadline, and by arrival.
        self._dated: list[tuple[float, int, Request[T, R]]] = []
        self._arrivals: deque[Request[T, R]] = deque()
        self._sweep_at = SWEEP_AT_LEAST

    def add(self, request: Request[T, R]) -> None:
        """Take in a request that has a deadline, or another priority than 0."""
        if request.deadline is None:
            self._undated.append(request)
        else:
            heapq.heappush(self._dated, (request.deadline, request.number, request))
            self._arrivals.append(request)
        if len(self._undated) + len(self._arrivals) > self._sweep_at:
            self._sweep()

    def oldest(self) -> Request[T, R] | None:
        """The request that has waited longest, None when nobody waits."""
        undated, dated = self._first_undated(), self._first_of(self._arrivals)
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

    def rows_ahead(self, priority: int, deadline: float | None) -> int:
        """Rows in here, besides the plain ones, that go before a request that comes now.

        Whoever is as urgent goes first if it has no deadline, or an earlier one.
        """
        if self.priority > priority:
            return 0
        return sum(
            request.size
            for request in self.members()
            if self.priority < priority
            or deadline is None
            or request.deadline is None
            or request.deadline <= deadline
        )

    def members(self) -> Iterator[Request[T, R]]:
        """Everybody in here, but not those in the plain FIFO of the lane."""
        lane = self._lane
        yield from (r for r in (*self._undated, *self._arrivals) if r.place is lane)

    def _first_undated(self) -> Request[T, R] | None:
        if self.priority == 0:
            self._lane.drop_dead_heads()
            return self._lane.requests[0] if self._lane.requests else None
        return self._first_of(self._undated)

    def _first_of(self, requests: deque[Request[T, R]]) -> Request[T, R] | None:
        while requests and requests[0].place is not self._lane:
            requests.popleft()
        return requests[0] if requests else None

    def _earliest(self) -> Request[T, R] | None:
        heap = self._dated
        while heap and heap[0][2].place is not self._lane:
            heapq.heappop(heap)
        return heap[0][2] if heap else None

    def _sweep(self) -> None:
        lane = self._lane
        self._undated = deque(r for r in self._undated if r.place is lane)
        self._arrivals = deque(r for r in self._arrivals if r.place is lane)
        self._dated = [entry for entry in self._dated if entry[2].place is lane]
        heapq.heapify(self._dated)
        self._sweep_at = SWEEP_AT_LEAST + 2 * (len(self._undated) + len(self._arrivals))


def claim(oldest: Request[T, R], priority: int, ageing: float) -> tuple[float, int]:
    """What decides between ranks and between lanes: the smaller one goes first."""
    return oldest.arrival + priority * ageing, oldest.number
