"""A caller's request, the run it ends up in, the batch `run_batch` sees. Pure; on the event loop.

Where a request is, is one attribute: its `place` is a lane of the queue while it waits, the run
that took it afterwards, or None when it was given up before that. Whether it has ended is its
future's to say. There is no other state.
"""

import asyncio
import math
from collections.abc import Hashable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar, overload

from batcher.options import not_negative, seconds, whole_number
from batcher.stats import BatchRecord, Reason, Receipt

if TYPE_CHECKING:
    from batcher.isolation import Split

T = TypeVar("T")
R = TypeVar("R")


class Demand(NamedTuple):
    """What a caller may ask for beside its rows: bytes, a priority, seconds until its deadline."""

    nbytes: int = 0
    priority: int = 0
    timeout: float | None = None

    @classmethod
    def of(cls, nbytes: int, priority: int, timeout: float | None) -> "Demand":
        """Check what a caller gave. TypeError, ValueError."""
        return cls(
            not_negative("nbytes", nbytes),
            whole_number("priority", priority),
            None if timeout is None else seconds("timeout", timeout),
        )


NOTHING_MORE: Final = Demand()


class Request(Generic[T, R]):
    """One caller's work: an item of `size` rows.

    `number` counts accepted requests and gives the order; `arrival` is loop time in seconds.
    """

    __slots__ = ("arrival", "future", "item", "number", "place", "size")

    place: object
    # What most requests do not have costs them nothing: see `RankedRequest`.
    deadline: float | None = None
    priority: int = 0
    nbytes: int = 0

    def __init__(
        self, item: T, size: int, number: int, arrival: float, future: "asyncio.Future[R]"
    ) -> None:
        self.item = item
        self.size = size
        self.number = number
        self.arrival = arrival
        self.future = future

    def is_late(self, now: float) -> bool:
        """Whether its deadline has passed by then."""
        return self.deadline is not None and self.deadline <= now


class RankedRequest(Request[T, R]):
    """A request with a deadline (loop time), a priority (lower is more urgent) or bytes."""

    __slots__ = ("deadline", "nbytes", "priority")

    deadline: float | None
    priority: int
    nbytes: int

    def demand(self, demand: Demand) -> None:
        """Note what its caller asks for."""
        self.nbytes = demand.nbytes
        self.priority = demand.priority
        self.deadline = None if demand.timeout is None else self.arrival + demand.timeout


class Run(Generic[T, R]):
    """A batch on its way: who is in it, why it was released, when it was taken, how long it ran.

    `taken` (loop time) is when a thread was free for it, which is later than when it was put
    together if it was prefetched; infinite until then.

    `requests` is emptied at the end, `count` stays: requests refer to their run, and a circle of
    references would have to wait for the garbage collector.
    """

    __slots__ = (
        *("bucket", "count", "is_behind", "padded_size", "reason", "requests", "run_time"),
        *("size", "split", "taken", "timer"),
    )

    def __init__(self, bucket: Hashable, reason: Reason) -> None:
        self.bucket = bucket
        self.reason = reason
        self.taken = math.inf
        self.is_behind = False
        self.requests: list[Request[T, R]] = []
        self.size = 0
        self.padded_size = 0
        self.count = 0
        self.run_time = 0.0
        self.split: Split[T, R] | None = None
        self.timer: asyncio.TimerHandle | None = None

    def items_with(self, request: Request[T, R]) -> list[T]:
        """The items of the batch, if this one came into it."""
        return [*[each.item for each in self.requests], request.item]

    def batch(self) -> "Batch[T]":
        """What `run_batch` gets to see."""
        self.count = len(self.requests)
        items = [request.item for request in self.requests]
        sizes = [request.size for request in self.requests]
        return Batch(items, self.bucket, sizes, self.padded_size)

    def receipt(self, request: Request[T, R]) -> Receipt:
        """What one of its requests went through."""
        return Receipt(
            queue_time=self.taken - request.arrival,
            run_time=self.run_time,
            batch_size=self.size,
            batch_requests=self.count,
            padded_size=self.padded_size,
            reason=self.reason,
            taken=self.taken,
        )

    def record(self, *, failed: int, abandoned: int, again: int = 0) -> BatchRecord:
        """The whole batch, once its callers have been told."""
        taken = self.taken
        return BatchRecord(
            size=self.size,
            padded_size=self.padded_size,
            requests=self.count,
            bucket=self.bucket,
            reason=self.reason,
            queue_times=tuple([taken - request.arrival for request in self.requests]),
            run_time=self.run_time,
            failed=failed,
            abandoned=abandoned,
            again=again,
            taken=taken,
        )


class Batch(Sequence[T]):
    """The items that run together, in the order they arrived: what `run_batch` is called with.

    `bucket` is theirs in common, `sizes` has the rows of each, `size` is their sum, and
    `padded_size` the smallest allowed batch size that holds them: pad to it, and cut off again
    (`batcher.arrays` does); it is `size` where no sizes are prescribed.
    """

    __slots__ = ("_items", "bucket", "padded_size", "size", "sizes")

    def __init__(
        self,
        items: Sequence[T],
        bucket: Hashable,
        sizes: Sequence[int],
        padded_size: int | None = None,
    ) -> None:
        self._items = items
        self.bucket = bucket
        self.sizes = sizes
        self.size = size = sum(sizes)
        self.padded_size = size if padded_size is None else padded_size

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        return self._items[index]

    def __repr__(self) -> str:
        return f"<Batch of {len(self)} requests, {self.size} rows, bucket {self.bucket!r}>"
