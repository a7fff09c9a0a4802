"""A caller's request, the run it ends up in, the batch `run_batch` sees. Pure; on the event loop.

Where a request is, is one attribute: its `place` is a lane of the queue while it waits, the run
that took it afterwards, or None when it was given up before that. Whether it has ended is its
future's to say. There is no other state.
"""

import asyncio
from collections.abc import Hashable, Iterator, Sequence
from typing import Generic, TypeVar, overload

from batcher.stats import BatchRecord, Reason, Receipt

T = TypeVar("T")
R = TypeVar("R")


class Request(Generic[T, R]):
    """One caller's work: an item of `size` rows.

    `number` counts accepted requests and gives the order; `arrival` is loop time in seconds.
    """

    __slots__ = ("arrival", "future", "item", "number", "place", "size")

    place: object

    def __init__(
        self, item: T, size: int, number: int, arrival: float, future: "asyncio.Future[R]"
    ) -> None:
        self.item = item
        self.size = size
        self.number = number
        self.arrival = arrival
        self.future = future


class Run(Generic[T, R]):
    """A batch on its way: who is in it, why it was released, when it was taken, how long it ran.

    `requests` is emptied at the end, `count` stays: requests refer to their run, and a circle of
    references would have to wait for the garbage collector.
    """

    __slots__ = ("bucket", "count", "reason", "requests", "run_time", "size", "taken")

    def __init__(self, bucket: Hashable, reason: Reason, taken: float) -> None:
        self.bucket = bucket
        self.reason = reason
        self.taken = taken
        self.requests: list[Request[T, R]] = []
        self.size = 0
        self.count = 0
        self.run_time = 0.0

    def batch(self) -> "Batch[T]":
        """What `run_batch` gets to see."""
        self.count = len(self.requests)
        return Batch([request.item for request in self.requests], self.bucket, self.size)

    def receipt(self, request: Request[T, R]) -> Receipt:
        """What one of its requests went through."""
        return Receipt(
            queue_time=self.taken - request.arrival,
            run_time=self.run_time,
            batch_size=self.size,
            batch_requests=self.count,
            reason=self.reason,
        )

    def record(self, *, failed: int, abandoned: int) -> BatchRecord:
        """The whole batch, once its callers have been told."""
        taken = self.taken
        return BatchRecord(
            size=self.size,
            requests=self.count,
            bucket=self.bucket,
            reason=self.reason,
            queue_times=tuple([taken - request.arrival for request in self.requests]),
            run_time=self.run_time,
            failed=failed,
            abandoned=abandoned,
        )


class Batch(Sequence[T]):
    """The items that run together, in the order they arrived: what `run_batch` is called with.

    `bucket` is theirs in common, `size` the rows of all together (at least `len(batch)`).
    """

    __slots__ = ("_items", "bucket", "size")

    def __init__(self, items: Sequence[T], bucket: Hashable, size: int) -> None:
        self._items = items
        self.bucket = bucket
        self.size = size

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
