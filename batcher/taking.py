"""Fills a batch from a lane whose requests have priorities or deadlines. Pure; event loop only.

    leader    the rank with the smallest claim goes first, and with it all that are as urgent or
              more so, claim by claim; a request that does not fit closes this part;
    riders    the less urgent ones then fill what padding would fill anyway: free throughput. Where
              nothing is padded, they fill the batch.

Whoever cannot be answered in time any more is left out, and told: running it would only make others
late too. If nobody else is there, those who are not late yet run all the same: a prediction must
not keep itself alive by keeping everybody out.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple

from batcher.request import R, Request, Run, T

if TYPE_CHECKING:
    from batcher.queue import Lane
    from batcher.ranks import Rank


class Terms(NamedTuple, Generic[T]):
    """What a batch keeps besides the largest size.

    `now` is loop time; who has a deadline before `done` is taken to be late; `padded` tells
    what a number of rows is padded to, None where nothing is; `fits` whether items may run
    together.
    """

    now: float
    done: float
    padded: Callable[[int], int] | None = None
    fits: Callable[[Sequence[T]], bool] | None = None


NO_TERMS: Final = Terms[Any](0.0, 0.0)


class Taking(Generic[T, R]):
    """One batch being filled. `left` are all who leave the lane by it, `late` those not run."""

    def __init__(
        self,
        lane: "Lane[T, R]",
        run: Run[T, R],
        terms: Terms[T],
        max_batch_size: int,
        ageing: float,
    ) -> None:
        self.left: Final[list[Request[T, R]]] = []
        self.late: Final[list[Request[T, R]]] = []
        self._doomed: list[Request[T, R]] = []
        self._lane = lane
        self._run = run
        self._terms = terms
        self._max_batch_size = max_batch_size
        self._ageing = ageing

    def take(self) -> None:
        """Fill the batch."""
        run, padded = self._run, self._terms.padded
        leader = self._first_rank(None)
        assert leader is not None, "a lane exists as long as somebody waits in it"
        self._fill(self._max_batch_size, leader.priority)
        # Who led may have been left out: then there is nobody to ride with.
        alone = not run.requests
        self._fill(self._max_batch_size if alone or padded is None else padded(run.size), None)
        nobody_else = not run.requests
        for request in self._doomed:
            if nobody_else and (not run.requests or self._has_room(request, self._max_batch_size)):
                self._add(request)
            else:
                self.late.append(request)

    def _fill(self, rows: int, least_urgent: int | None) -> None:
        """Take what goes first, up to so many rows and down to a priority."""
        run, terms = self._run, self._terms
        while (rank := self._first_rank(least_urgent)) is not None:
            request = rank.next(self._ageing)
            assert request is not None
            if request.future.done():
                self._remove(request)
            elif request.is_late(terms.now):
                self._remove(request)
                self.late.append(request)
            elif request.is_late(terms.done):
                self._remove(request)
                self._doomed.append(request)
            elif run.requests and not self._has_room(request, rows):
                return
            else:
                self._remove(request)
                self._add(request)

    def _has_room(self, request: Request[T, R], rows: int) -> bool:
        run, fits = self._run, self._terms.fits
        return run.size + request.size <= rows and (fits is None or fits(run.items_with(request)))

    def _first_rank(self, least_urgent: int | None) -> "Rank[T, R] | None":
        only = self._lane.only_rank()
        if only is not None:
            return only if only.oldest() is not None else None
        waiting = [
            entry
            for entry in self._lane.claims(self._ageing)
            if least_urgent is None or entry[2].priority <= least_urgent
        ]
        return min(waiting)[2] if waiting else None

    def _remove(self, request: Request[T, R]) -> None:
        lane = self._lane
        if lane.requests and lane.requests[0] is request:
            lane.requests.popleft()
        else:
            lane.rank(request.priority).leave(request)
        request.place = None
        self.left.append(request)

    def _add(self, request: Request[T, R]) -> None:
        request.place = self._run
        self._run.requests.append(request)
        self._run.size += request.size
