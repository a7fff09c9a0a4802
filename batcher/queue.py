"""The queue of waiting requests: one lane for each bucket. Pure; event loop only.

Rules
-----
- `rows` counts the rows of requests somebody still waits for, and nothing else; so does `nbytes`.
- A lane exists as long as somebody waits in it. Lanes are FIFO and served by their oldest head,
  until a request has a priority or a deadline: then the claims of `ranks` decide.
- Giving up is O(1): an abandoned request leaves `rows` at once but stays in its lane as a dead
  entry, skipped when it comes to the head. Dead entries are swept when they outnumber the living,
  so that callers who come and go before a hung model cost no memory.

Every operation is O(1) amortised, but for O(log lanes) once a batch, for the heap of heads.
"""

import heapq
from collections import deque
from collections.abc import Hashable, Iterator
from typing import Generic

from batcher.ahead import Ahead
from batcher.ranks import SWEEP_AT_LEAST, Rank, claim
from batcher.request import R, Request, Run, T
from batcher.taking import NO_TERMS, Taking, Terms


class Lane(Generic[T, R]):
    """The waiting requests of one bucket. `rows` counts the living only.

    `requests` are those without priority and deadline, oldest first; `ranks` all others, by
    priority, or None when there has been none. `claimed` is what the heap of claims has it by.
    """

    __slots__ = ("bucket", "claimed", "dead", "ranks", "requests", "rows")

    def __init__(self, bucket: Hashable) -> None:
        self.bucket = bucket
        self.requests: deque[Request[T, R]] = deque()
        self.ranks: dict[int, Rank[T, R]] | None = None
        self.claimed: tuple[float, int] | None = None
        self.rows = 0
        self.dead = 0

    def oldest(self) -> Request[T, R]:
        """The request that has waited longest; the lane is not empty."""
        if self.ranks is None:
            return self.requests[0]
        waiting = [rank.oldest() for rank in self.ranks.values()]
        return min((r for r in waiting if r is not None), key=lambda request: request.number)

    def claim(self, ageing: float) -> tuple[float, int]:
        """The claim of the rank that goes first; the lane is not empty."""
        if self.ranks is None:
            return claim(self.requests[0], 0, ageing)
        return min(self.claims(ageing))[:2]

    def claims(self, ageing: float) -> Iterator[tuple[float, int, Rank[T, R]]]:
        """The claims of all ranks in which somebody waits, and these ranks."""
        for rank in (self.ranks or {}).values():
            oldest = rank.oldest()
            if oldest is not None:
                yield (*claim(oldest, rank.priority, ageing), rank)

    def only_rank(self) -> Rank[T, R] | None:
        """The rank of priority 0 if there never was another one in here."""
        ranks = self.ranks
        return ranks[0] if ranks is not None and len(ranks) == 1 else None

    def earliest_deadline(self) -> float | None:
        """The first deadline of those who wait here, None if nobody has one."""
        ranks = (self.ranks or {}).values()
        deadlines = [d for rank in ranks if (d := rank.earliest_deadline()) is not None]
        return min(deadlines, default=None)

    def rank(self, priority: int) -> Rank[T, R]:
        """The rank of a priority; from the first one on, the plain requests belong to rank 0."""
        if self.ranks is None:
            self.ranks = {0: Rank(self, 0)}
        if priority not in self.ranks:
            self.ranks[priority] = Rank(self, priority)
        return self.ranks[priority]

    def drop_dead_heads(self) -> None:
        """Make the head of the plain requests a living one, or leave none."""
        requests = self.requests
        while requests and requests[0].place is not self:
            requests.popleft()
            self.dead -= 1


class RequestQueue(Generic[T, R]):
    """Waiting requests by bucket, given out in batches of at most `max_batch_size` rows."""

    __slots__ = (
        "_ageing",
        "_ahead",
        "_claims",
        "_full",
        "_heads",
        "_lanes",
        "max_batch_size",
        "nbytes",
        "rows",
    )

    def __init__(self, max_batch_size: int, ageing: float = 1.0) -> None:
        self.rows = 0
        self.nbytes = 0
        self.max_batch_size = max_batch_size
        self._ageing = ageing
        self._ahead = Ahead()
        self._lanes: dict[Hashable, Lane[T, R]] = {}
        # (number of the head, lane): an entry may name a head that has left; `oldest` mends it.
        self._heads: list[tuple[int, Lane[T, R]]] = []
        # (claim, lane) of all lanes once one has ranks, until none has; `first` mends it.
        self._claims: list[tuple[tuple[float, int], Lane[T, R]]] | None = None
        self._full: dict[Hashable, Lane[T, R]] = {}

    def put(self, request: Request[T, R], bucket: Hashable) -> None:
        """Append to the lane of its bucket. TypeError, and nothing changed, if it is unhashable."""
        try:
            lane = self._lanes[bucket]
        except KeyError:
            lane = self._new_lane(request, bucket)
        request.place = lane
        lane.requests.append(request)
        self.rows += request.size
        lane.rows = rows = lane.rows + request.size
        if rows >= self.max_batch_size:
            self._full[bucket] = lane
        if self._claims is not None:
            self._claim(lane)

    def put_ranked(self, request: Request[T, R], bucket: Hashable) -> None:
        """`put` for a request that may have a priority, a deadline or bytes."""
        if request.priority == 0 and request.deadline is None:
            self.put(request, bucket)
            self.nbytes += request.nbytes
            return
        lane = self._lanes.get(bucket) or self._new_lane(request, bucket)
        request.place = lane
        self.nbytes += request.nbytes
        lane.rank(request.priority).add(request)
        self._ahead.add(request)
        self.rows += request.size
        lane.rows += request.size
        if lane.rows >= self.max_batch_size:
            self._full[bucket] = lane
        self._claim(lane)

    def abandon(self, request: Request[T, R]) -> None:
        """Nobody waits for it any more: free its rows and its item. Nothing if not queued."""
        lane = request.place
        if not isinstance(lane, Lane):
            return
        request.place = None
        del request.item
        lane.rows -= request.size
        self.rows -= request.size
        self.nbytes -= request.nbytes
        if request.priority == 0 and request.deadline is None:
            lane.dead += 1
            if lane.dead > max(SWEEP_AT_LEAST, len(lane.requests) // 2):
                lane.requests = deque(r for r in lane.requests if r.place is lane)
                lane.dead = 0
        else:
            lane.rank(request.priority).leave(request)
            self._ahead.remove(request)
        self._settle(lane)

    def oldest(self) -> Lane[T, R] | None:
        """The lane in which somebody has waited longest, None when nobody waits."""
        heads = self._heads
        while heads:
            number, lane = heads[0]
            lane.drop_dead_heads()
            if not lane.rows:
                heapq.heappop(heads)
                continue
            oldest = lane.oldest()
            if oldest.number == number:
                return lane
            heapq.heapreplace(heads, (oldest.number, lane))
        return None

    def first(self) -> Lane[T, R] | None:
        """The lane that goes first, None when nobody waits."""
        claims = self._claims
        if claims is None:
            return self.oldest()
        # A lane with ranks waits, so the heap does not run dry.
        while True:
            claimed, lane = claims[0]
            lane.drop_dead_heads()
            if not lane.rows or claimed != lane.claimed:
                heapq.heappop(claims)
                continue
            lane.claimed = lane.claim(self._ageing)
            if lane.claimed == claimed:
                return lane
            heapq.heapreplace(claims, (lane.claimed, lane))

    def full(self) -> Lane[T, R] | None:
        """Of the lanes that hold a whole batch, the one that goes first, or None."""
        for lane in self._full.values():
            lane.drop_dead_heads()
        ageing = self._ageing
        return min(self._full.values(), key=lambda lane: lane.claim(ageing), default=None)

    def rows_in(self, bucket: Hashable) -> int:
        """Rows that wait in a bucket."""
        lane = self._lanes.get(bucket)
        return 0 if lane is None else lane.rows

    @property
    def is_plain(self) -> bool:
        """Whether nobody who waits has, or had beside these, a priority or a deadline."""
        return self._claims is None

    def most_pressing(self) -> tuple[float, Lane[T, R]] | None:
        """The earliest deadline of those who wait and its lane, None if nobody has one."""
        if self._claims is None:
            return None
        lanes = self._lanes.values()
        dated = [(d, lane) for lane in lanes if (d := lane.earliest_deadline()) is not None]
        ageing = self._ageing
        return min(dated, key=lambda each: (each[0], each[1].claim(ageing)), default=None)

    def take(
        self, lane: Lane[T, R], run: Run[T, R], terms: Terms[T] = NO_TERMS
    ) -> list[Request[T, R]]:
        """Move the next batch of a lane into `run`; a request that does not fit closes it.

        Returns those who have left the lane too late to run. Nobody may be left to move, if all
        were cancelled in this very pass of the loop.
        """
        if lane.ranks is None:
            late: list[Request[T, R]] = []
            rows = self._take_plain(lane, run, terms)
        else:
            taking = Taking(lane, run, terms, self.max_batch_size, self._ageing)
            taking.take()
            late = taking.late
            rows = sum([request.size for request in taking.left])
            for request in taking.left:
                if request.priority or request.deadline is not None:
                    self._ahead.remove(request)
            self.nbytes -= sum([request.nbytes for request in taking.left])
        lane.rows -= rows
        self.rows -= rows
        self._settle(lane)
        return late

    def _take_plain(self, lane: Lane[T, R], run: Run[T, R], terms: Terms[T]) -> int:
        """The batch of a lane without ranks, FIFO; returns the rows that have left it."""
        room = self.max_batch_size
        cancelled = cancelled_bytes = 0
        requests, taken, fits = lane.requests, run.requests, terms.fits
        while requests:
            request = requests.popleft()
            if request.place is not lane:
                lane.dead -= 1
            elif request.future.done():
                # Cancelled so lately that its coroutine has not come to say so.
                request.place = None
                cancelled += request.size
                cancelled_bytes += request.nbytes
            elif request.size <= room and (
                fits is None or not taken or fits(run.items_with(request))
            ):
                request.place = run
                taken.append(request)
                room -= request.size
            elif taken:
                requests.appendleft(request)
                break
            else:
                # Larger than what the memory is known to hold: it runs alone, if at all.
                request.place = run
                taken.append(request)
                room -= request.size
                break
        if self.nbytes:
            self.nbytes -= sum([request.nbytes for request in taken]) + cancelled_bytes
        run.size = self.max_batch_size - room
        return run.size + cancelled

    def take_all(self) -> Iterator[Request[T, R]]:
        """Remove everybody, in no particular order."""
        for lane in self._lanes.values():
            ranks = (lane.ranks or {}).values()
            waiting = [r for r in lane.requests if r.place is lane]
            for request in [*waiting, *(r for rank in ranks for r in rank.members())]:
                request.place = None
                yield request
        self._lanes.clear()
        self._heads.clear()
        self._full.clear()
        self._claims = None
        self._ahead.clear()
        self.rows = self.nbytes = 0

    def set_max_batch_size(self, max_batch_size: int) -> None:
        """Give out larger or smaller batches from now on."""
        self.max_batch_size = max_batch_size
        lanes = self._lanes.items()
        self._full = {bucket: lane for bucket, lane in lanes if lane.rows >= max_batch_size}

    def rows_ahead(self, priority: int, deadline: float | None) -> int:
        """Rows that go before a request that came now, if nobody came after it."""
        ahead = self._ahead.count(priority, deadline)
        plain = self.rows - self._ahead.rows
        return ahead + plain if priority >= 0 else ahead

    def __len__(self) -> int:
        """How many requests wait."""
        lanes = self._lanes.values()
        plain = sum(len(lane.requests) - lane.dead for lane in lanes)
        return plain + sum(len(rank) for lane in lanes for rank in (lane.ranks or {}).values())

    def _new_lane(self, request: Request[T, R], bucket: Hashable) -> Lane[T, R]:
        lane = self._lanes[bucket] = Lane(bucket)
        heapq.heappush(self._heads, (request.number, lane))
        return lane

    def _claim(self, lane: Lane[T, R]) -> None:
        """Let the heap of claims know what a lane has come to."""
        if self._claims is None or len(self._claims) > SWEEP_AT_LEAST + 2 * len(self._lanes):
            for each in self._lanes.values():
                each.claimed = each.claim(self._ageing)
            self._claims = [(e.claimed, e) for e in self._lanes.values() if e.claimed is not None]
            heapq.heapify(self._claims)
            return
        claimed = lane.claim(self._ageing)
        if claimed != lane.claimed:
            lane.claimed = claimed
            heapq.heappush(self._claims, (claimed, lane))

    def _settle(self, lane: Lane[T, R]) -> None:
        """After requests left: forget a lane that is empty, or no longer full."""
        if lane.rows < self.max_batch_size:
            self._full.pop(lane.bucket, None)
        if lane.rows:
            return
        lane.requests.clear()
        lane.dead = 0
        del self._lanes[lane.bucket]
        # The heap lets go of it when its number comes up, or here: nobody may ask for long.
        if len(self._heads) > SWEEP_AT_LEAST + 2 * len(self._lanes):
            self._heads = [entry for entry in self._heads if entry[1].rows]
            heapq.heapify(self._heads)
        if lane.ranks is not None and all(e.ranks is None for e in self._lanes.values()):
            self._claims = None
