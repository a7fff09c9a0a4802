"""The deadlines of all requests that have one, queued or running. Pure; event loop only."""

import heapq
from collections.abc import Iterable
from typing import Final, Generic

from batcher.request import R, Request, T

SWEEP_AT_LEAST: Final = 64
"""Deadlines of requests that have ended that may always stay."""


class Deadlines(Generic[T, R]):
    """Tells the earliest, and who has passed it.

    The heap has numbers only: a request that has ended is let go of at once, with its item and its
    result. Its deadline is skipped when it comes up, and swept when those outnumber the living.
    """

    __slots__ = ("_heap", "_living")

    def __init__(self) -> None:
        # (deadline, number of the request).
        self._heap: list[tuple[float, int]] = []
        self._living: dict[int, Request[T, R]] = {}

    def add(self, request: Request[T, R]) -> None:
        """Watch a request that has a deadline."""
        assert request.deadline is not None
        self._living[request.number] = request
        heapq.heappush(self._heap, (request.deadline, request.number))

    def discard(self, requests: Iterable[Request[T, R]]) -> None:
        """Let go of requests that have ended, if they were watched at all."""
        living = self._living
        if not living:
            return
        for request in requests:
            living.pop(request.number, None)
        ended = len(self._heap) - len(living)
        if ended > max(SWEEP_AT_LEAST, len(living)):
            self._heap = [entry for entry in self._heap if entry[1] in living]
            heapq.heapify(self._heap)

    def earliest(self) -> float | None:
        """The next deadline of a request that has not ended, None if there is none."""
        heap, living = self._heap, self._living
        while heap:
            deadline, number = heap[0]
            request = living.get(number)
            if request is not None and not request.future.done():
                return deadline
            # Ended; or cancelled so lately that its coroutine has not come to say so.
            heapq.heappop(heap)
            living.pop(number, None)
        return None

    def pop_expired(self, now: float) -> list[Request[T, R]]:
        """Those who have not ended by their deadline, earliest first."""
        expired = []
        while (deadline := self.earliest()) is not None and deadline <= now:
            _, number = heapq.heappop(self._heap)
            expired.append(self._living.pop(number))
        return expired
