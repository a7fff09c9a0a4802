"""The deadlines of all requests that have one, queued or running. Pure; event loop only."""

import heapq
import math
from typing import Final, Generic

from batcher.request import R, Request, T

SWEEP_AT_LEAST: Final = 64
"""Entries of requests that have ended that may always stay."""


class Deadlines(Generic[T, R]):
    """Tells the earliest, and who has passed it. Whoever has ended is skipped, and swept."""

    __slots__ = ("_heap", "_latest", "_sweep_at")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Request[T, R]]] = []
        self._sweep_at = SWEEP_AT_LEAST
        self._latest = -math.inf

    def add(self, request: Request[T, R]) -> None:
        """Watch a request that has a deadline."""
        assert request.deadline is not None
        self._latest = max(self._latest, request.deadline)
        heapq.heappush(self._heap, (request.deadline, request.number, request))
        if len(self._heap) > self._sweep_at:
            self._heap = [entry for entry in self._heap if not entry[2].future.done()]
            heapq.heapify(self._heap)
            self._sweep_at = SWEEP_AT_LEAST + 2 * len(self._heap)

    def is_latest(self, deadline: float | None) -> bool:
        """Whether no request was ever given a later deadline; one without is always the latest."""
        return deadline is None or deadline >= self._latest

    def earliest(self) -> float | None:
        """The next deadline of a request that has not ended, None if there is none."""
        heap = self._heap
        while heap and heap[0][2].future.done():
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def pop_expired(self, now: float) -> list[Request[T, R]]:
        """Those who have not ended by their deadline, earliest first."""
        expired = []
        while (deadline := self.earliest()) is not None and deadline <= now:
            expired.append(heapq.heappop(self._heap)[2])
        return expired
