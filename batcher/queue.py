"""The queue of waiting requests: one FIFO lane for each bucket. Pure; event loop only.

Rules
-----
- `rows` counts the rows of requests somebody still waits for, and nothing else.
- A lane exists as long as somebody waits in it; lanes are served by their oldest head.
- Giving up is O(1): an abandoned request leaves `rows` at once but stays in its lane as a dead
  entry, skipped when it comes to the head. Dead entries are swept when they outnumber the living,
  so that callers who come and go before a hung model cost no memory.

Every operation is O(1) amortised, but for O(log lanes) once a batch, for the heap of heads.
"""

import heapq
from collections import deque
from collections.abc import Hashable, Iterator
from typing import Generic

from batcher.request import R, Request, Run, T

SWEEP_AT_LEAST = 64
"""Dead entries that a lane may always keep: below this, sweeping costs more than it frees."""


class Lane(Generic[T, R]):
    """The waiting requests of one bucket, oldest first. `rows` counts the living only."""

    __slots__ = ("bucket", "dead", "requests", "rows")

    def __init__(self, bucket: Hashable) -> None:
        self.bucket = bucket
        self.requests: deque[Request[T, R]] = deque()
        self.rows = 0
        self.dead = 0

    @property
    def head(self) -> Request[T, R]:
        """The oldest request; alive when the lane came from `RequestQueue.oldest` or `.full`."""
        return self.requests[0]

    def drop_dead_heads(self) -> None:
        """Make the head a living request, or the lane empty."""
        requests = self.requests
        while requests and requests[0].place is not self:
            requests.popleft()
            self.dead -= 1


class RequestQueue(Generic[T, R]):
    """Waiting requests by bucket, given out in batches of at most `max_batch_size` rows."""

    __slots__ = ("_full", "_heads", "_lanes", "_max_batch_size", "rows")

    def __init__(self, max_batch_size: int) -> None:
        self.rows = 0
        self._max_batch_size = max_batch_size
        self._lanes: dict[Hashable, Lane[T, R]] = {}
        # (number of the head, lane): an entry may name a head that has left; `oldest` mends it.
        self._heads: list[tuple[int, Lane[T, R]]] = []
        self._full: dict[Hashable, Lane[T, R]] = {}

    def put(self, request: Request[T, R], bucket: Hashable) -> None:
        """Append to the lane of its bucket. TypeError, and nothing changed, if it is unhashable."""
        try:
            lane = self._lanes[bucket]
        except KeyError:
            lane = self._lanes[bucket] = Lane(bucket)
            heapq.heappush(self._heads, (request.number, lane))
        request.place = lane
        lane.requests.append(request)
        self.rows += request.size
        lane.rows = rows = lane.rows + request.size
        if rows >= self._max_batch_size:
            self._full[bucket] = lane

    def abandon(self, request: Request[T, R]) -> None:
        """Its caller waits no longer: free its rows and its item. Nothing if it is not queued."""
        lane = request.place
        if not isinstance(lane, Lane):
            return
        request.place = None
        del request.item
        lane.rows -= request.size
        self.rows -= request.size
        lane.dead += 1
        if lane.dead > max(SWEEP_AT_LEAST, len(lane.requests) // 2):
            lane.requests = deque(r for r in lane.requests if r.place is lane)
            lane.dead = 0
        self._settle(lane)

    def oldest(self) -> Lane[T, R] | None:
        """The lane whose head has waited longest, None when nobody waits."""
        heads = self._heads
        while heads:
            number, lane = heads[0]
            lane.drop_dead_heads()
            if not lane.requests:
                heapq.heappop(heads)
            elif lane.head.number != number:
                heapq.heapreplace(heads, (lane.head.number, lane))
            else:
                return lane
        return None

    def full(self) -> Lane[T, R] | None:
        """Of the lanes that hold a whole batch, the one whose head has waited longest, or None."""
        for lane in self._full.values():
            lane.drop_dead_heads()
        return min(self._full.values(), key=lambda lane: lane.head.number, default=None)

    def take(self, lane: Lane[T, R], run: Run[T, R]) -> None:
        """Move the next batch of a lane into `run`, FIFO; a request that does not fit closes it.

        Nobody may be left to move, if all were cancelled in this very pass of the loop.
        """
        room = self._max_batch_size
        cancelled = 0
        requests = lane.requests
        while requests:
            request = requests.popleft()
            if request.place is not lane:
                lane.dead -= 1
            elif request.future.done():
                # Cancelled so lately that its coroutine has not come to say so.
                request.place = None
                cancelled += request.size
            elif request.size <= room:
                request.place = run
                run.requests.append(request)
                room -= request.size
            else:
                requests.appendleft(request)
                break
        run.size = self._max_batch_size - room
        lane.rows -= run.size + cancelled
        self.rows -= run.size + cancelled
        self._settle(lane)

    def take_all(self) -> Iterator[Request[T, R]]:
        """Remove everybody, in no particular order."""
        for lane in self._lanes.values():
            for request in lane.requests:
                if request.place is lane:
                    request.place = None
                    yield request
        self._lanes.clear()
        self._heads.clear()
        self._full.clear()
        self.rows = 0

    def __len__(self) -> int:
        """How many requests wait."""
        return sum(len(lane.requests) - lane.dead for lane in self._lanes.values())

    def _settle(self, lane: Lane[T, R]) -> None:
        """After requests left: forget a lane that is empty, or no longer full."""
        if lane.rows < self._max_batch_size:
            self._full.pop(lane.bucket, None)
        if not lane.rows:
            lane.requests.clear()
            lane.dead = 0
            del self._lanes[lane.bucket]
            # The heap lets go of it when its number comes up, or here: nobody may ask for long.
            if len(self._heads) > SWEEP_AT_LEAST + 2 * len(self._lanes):
                self._heads = [entry for entry in self._heads if entry[1].requests]
                heapq.heapify(self._heads)
