"""The Batcher: its contract and its doors, submit, drain and close. Event loop only.

    submit ──> RequestQueue ──> policy.next_release ──> Executor ──> run_batch      [model thread]
       ^                                                                 │
       └────────────────── each caller's future <────────────────────────┘

Accepted means: `submit` has put the request into the queue. Each accepted request ends exactly
once, by its result, an exception or its caller's own cancellation:

    queued ──taken by a batch──> running ──> answered
       └───────┴── cancelled by its caller, expired, or failed by `close`

What happens in between is the `Dispatcher`'s. Requests without priority, deadline and bytes, in a
Batcher without bounds on bytes, waits and cost, take the short way through `_admit`: what is off
costs nothing.
"""

import asyncio
import contextvars
import inspect
import math
import threading
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from concurrent.futures import Future as ThreadFuture
from types import TracebackType
from typing import Any, Self

from batcher.admission import Load, check_room, check_wait
from batcher.cost import Cost
from batcher.dispatcher import Dispatcher, inside
from batcher.errors import QueueFull
from batcher.executor import Executor
from batcher.loop_executor import LoopExecutor
from batcher.options import (
    DEFAULT_ADMISSION,
    DEFAULT_FAIRNESS,
    DEFAULT_ISOLATION,
    Admission,
    Fairness,
    Isolation,
    allowed_sizes,
    at_least_one,
    seconds,
)
from batcher.policy import Limits
from batcher.request import NOTHING_MORE, Batch, Demand, R, RankedRequest, Request, Run, T
from batcher.rules import Rules, State
from batcher.stats import BatcherStats, BatchRecord, Receipt
from batcher.thread_executor import ThreadExecutor


class Batcher(Dispatcher[T, R]):
    """Turns many concurrent `submit` calls into few calls of `run_batch`.

        async with Batcher(run_batch, max_batch_size=64) as batcher:
            answer = await batcher.submit(item)

    `run_batch` receives a `Batch`, a sequence of items, and returns one result for each, in their
    order; an exception in place of a result goes to that caller alone. It runs on a dedicated
    daemon thread, or on the event loop if it is a coroutine function.

    max_batch_size
        Most rows in one call of `run_batch`. Larger is better until the model's time for a batch
        grows faster than the batch.
    batch_timeout
        Seconds that the oldest request may wait for company beside a free thread. 0, the default,
        never waits: batches then grow while the model is busy, which is when it matters. Raise it,
        by a fraction of the run time, only if the model gains much from batches at low load.
    max_queue_size
        Most rows that may wait. Beyond it `submit` raises `QueueFull` at once; it never waits for
        room. Choose as many as run in the time that a caller is ready to wait.
    concurrency
        Most calls of `run_batch` at a time. 1 means one thread, one batch after the other.
    allowed_batch_sizes
        The only sizes to run, ascending to `max_batch_size`, for functions that are compiled once
        for each: `Batch.padded_size` is the smallest that holds the batch.
    batch_cost, max_batch_cost
        What a batch may cost, where that is not the sum of its rows: `batch_cost(items)` is asked
        whether one more item fits, such as the longest text times the number of texts. It must be
        quick, for it runs on the event loop.
    repeatable
        Whether running a row twice does no harm. Then a failed batch is run again in parts until
        only the guilty fail, and one that exhausts the memory in halves; see `isolation`.
    run_timeout
        Seconds after which a call is taken to hang: its callers are told, whoever waits behind it
        gets BatcherStuck, as does whoever comes, until it comes back. None waits for ever.
    prefetch
        Whether a full batch may be put together and handed over while another one runs, so that
        its thread need not wait for the event loop in between. Only where nobody who waits has a
        priority or a deadline, nobody else waits for the executor, that has one thread, and
        `concurrency` is 1. Whoever comes then waits for that batch, however urgent.
    regroup
        Whether a free thread may wait for those it has just answered, where they come back at once
        and one batch of them all is learned to take less time than two; not for a caller who is
        alone. See `batcher.regroup`. Off with a `batch_timeout`, which waits anyway, and with
        `batch_cost`.
    admission, fairness, isolation
        Bounds on bytes and waits; how priorities and deadlines share; what innocents may cost.
    executor
        Where `run_batch` runs; give the Batchers of one device one `ThreadExecutor` to share:
        those that are always busy get equal parts of its time. Without it, one slot for each
        concurrent call.
    on_batch
        Called on the event loop with a `BatchRecord` after each batch, its callers told. An
        exception in it goes to the loop's exception handler.

    A Batcher is bound to the event loop it was entered on, and is used once. Leaving `async with`
    drains it; leaving by an exception closes it.
    """

    __slots__ = (
        "_accepted",
        "_cost",
        "_is_plain",
        "_max_queue_size",
        "_refused",
        "_thread",
    )

    def __init__(
        self,
        run_batch: Callable[[Batch[T]], Sequence[R | Exception]]
        | Callable[[Batch[T]], Awaitable[Sequence[R | Exception]]],
        *,
        max_batch_size: int = 64,
        batch_timeout: float = 0.0,
        max_queue_size: int = 16384,
        concurrency: int = 1,
        allowed_batch_sizes: Iterable[int] = (),
        batch_cost: Callable[[Sequence[T]], float] | None = None,
        max_batch_cost: float = math.inf,
        repeatable: bool = False,
        run_timeout: float | None = None,
        prefetch: bool = False,
        regroup: bool = False,
        executor: Executor | None = None,
        on_batch: Callable[[BatchRecord], None] | None = None,
        admission: Admission = DEFAULT_ADMISSION,
        fairness: Fairness = DEFAULT_FAIRNESS,
        isolation: Isolation = DEFAULT_ISOLATION,
    ) -> None:
        limits = Limits(
            max_batch_size=at_least_one("max_batch_size", max_batch_size),
            max_queue_size=at_least_one("max_queue_size", max_queue_size),
            batch_timeout=seconds("batch_timeout", batch_timeout),
            max_queue_bytes=admission.max_queue_bytes,
            max_wait=admission.max_wait,
        )
        concurrency = at_least_one("concurrency", concurrency)
        self._cost = None if batch_cost is None else Cost(batch_cost, max_batch_cost, self._report)
        rules = Rules(
            limits,
            concurrency,
            allowed_sizes(allowed_batch_sizes, limits.max_batch_size),
            self._cost,
            repeatable,
            None if run_timeout is None else seconds("run_timeout", run_timeout),
            prefetch,
            regroup,
            fairness,
            isolation,
        )
        is_coroutine = _is_coroutine_function(run_batch)
        if executor is None:
            executor = (LoopExecutor if is_coroutine else ThreadExecutor)(concurrency)
        super().__init__(run_batch, rules, executor, on_batch, is_coroutine=is_coroutine)

        # Each submit compares with these, and with `_max_unchecked_size`: more rows, no room or
        # another thread get the full check. The thread stands for the loop: `get_running_loop`
        # costs ten times as much (it asks for the process id).
        self._is_plain = self._cost is None and admission == DEFAULT_ADMISSION
        self._max_queue_size = limits.max_queue_size
        self._thread = 0
        self._accepted = self._refused = 0

    async def __aenter__(self) -> Self:
        """Bind to the running event loop; start the thread and the batching coroutine."""
        if self._state is not State.NEW:
            msg = f"{self!r} {self._state.value}; a Batcher is entered once: make a new one"
            raise RuntimeError(msg)
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        # uvloop's clock ticks in milliseconds, which is longer than a whole request takes.
        is_uvloop = type(self._loop).__module__.partition(".")[0] == "uvloop"
        self._clock = time.monotonic if is_uvloop else self._loop.time
        self._executor.attach(self._loop)
        self._executor.watch(self._check_health)
        self._state = State.OPEN
        self._check_health()
        self._batching = self._loop.create_task(
            self._batch_requests(), name=f"batching of {self!r}", context=contextvars.Context()
        )
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Drain; close instead if the block raised, or if the drain is cancelled."""
        try:
            if exc_type is None:
                await self.drain()
        finally:
            await self.close()

    @property
    def max_queue_size(self) -> int:
        """Most rows that may wait: more in one call never fit."""
        return self._max_queue_size

    @property
    def expected_wait(self) -> float:
        """Seconds until a new request begins to run, as predicted; 0.0 while nothing is known."""
        load = self._load()
        return load.wait_behind(load.queued)

    # ------------------------------------------------------------------------------- callers

    async def submit(
        self,
        item: T,
        *,
        size: int = 1,
        nbytes: int = 0,
        bucket: Hashable = None,
        priority: int = 0,
        timeout: float | None = None,
    ) -> R:
        """Run `item` together with others, and return its own result.

        `size` is its number of rows, `nbytes` its memory in bytes; only requests of one `bucket`
        share a batch. Lower `priority` goes first; inside one, the request whose `timeout`
        (seconds) ends first. When it ends before there is a result, DeadlineExceeded is raised at
        that moment, and what waits in the queue will not run. Cancelling the caller takes the item
        out of the queue, or drops its result if it is in a batch already.

        Raises QueueFull, RequestTooLarge, DeadlineExceeded, BatcherStuck, BatcherClosed,
        BatchFailed, or the exception that `run_batch` returned in place of the result.
        """
        if timeout is None and not priority and not nbytes and self._is_plain:
            request = self._admit(item, size, bucket)
        else:
            (request,) = self._admit_all(
                [item], [size], bucket, Demand.of(nbytes, priority, timeout)
            )
        try:
            return await request.future
        except BaseException:
            self._give_up(request)
            del request  # A circle: its future has the exception, which has this frame.
            raise

    async def submit_with_receipt(
        self,
        item: T,
        *,
        size: int = 1,
        nbytes: int = 0,
        bucket: Hashable = None,
        priority: int = 0,
        timeout: float | None = None,
    ) -> tuple[R, Receipt]:
        """`submit`, and what the request went through."""
        if timeout is None and not priority and not nbytes and self._is_plain:
            request = self._admit(item, size, bucket)
        else:
            (request,) = self._admit_all(
                [item], [size], bucket, Demand.of(nbytes, priority, timeout)
            )
        try:
            result = await request.future
        except BaseException:
            self._give_up(request)
            del request  # A circle: its future has the exception, which has this frame.
            raise
        return result, _receipt(request)

    async def submit_many(
        self,
        items: Iterable[T],
        *,
        sizes: Iterable[int] | None = None,
        nbytes: int = 0,
        bucket: Hashable = None,
        priority: int = 0,
        timeout: float | None = None,
    ) -> list[R]:
        """Run several items for one caller, and return their results in order.

        `sizes` has the rows of each, 1 by default; `nbytes` is the bytes of all. They are admitted
        together or not at all, have one deadline and are cancelled together; the first exception
        ends the call and abandons the rest. Raises as `submit` does.
        """
        answered = await self.submit_many_with_receipts(
            items, sizes=sizes, nbytes=nbytes, bucket=bucket, priority=priority, timeout=timeout
        )
        return [result for result, _ in answered]

    async def submit_many_with_receipts(
        self,
        items: Iterable[T],
        *,
        sizes: Iterable[int] | None = None,
        nbytes: int = 0,
        bucket: Hashable = None,
        priority: int = 0,
        timeout: float | None = None,
    ) -> list[tuple[R, Receipt]]:
        """`submit_many`, and what each of the requests went through."""
        items = list(items)
        rows = [1] * len(items) if sizes is None else list(sizes)
        if len(rows) != len(items):
            msg = f"there are {len(items)} items but {len(rows)} sizes"
            raise ValueError(msg)
        requests = self._admit_all(items, rows, bucket, Demand.of(nbytes, priority, timeout))
        try:
            results = await asyncio.gather(*[request.future for request in requests])
        except BaseException:
            self._give_up_all(requests)
            raise
        return [(r, _receipt(request)) for r, request in zip(results, requests, strict=True)]

    def submit_threadsafe(
        self,
        item: T,
        *,
        size: int = 1,
        nbytes: int = 0,
        bucket: Hashable = None,
        priority: int = 0,
        timeout: float | None = None,
    ) -> "ThreadFuture[R]":
        """`submit` from another thread than the event loop's, which gets a future.

        The future has the result, or what `submit` raises; cancelling it is cancelling the caller.
        Raised at once is BatcherClosed, and RuntimeError before the Batcher is entered or from
        inside its own `run_batch`.
        """
        if self._state in {State.NEW, State.CLOSED}:
            raise self._not_open()
        if self._executor.runs_current_thread():
            raise _inside_run_batch(self)
        submitting = self.submit(
            item, size=size, nbytes=nbytes, bucket=bucket, priority=priority, timeout=timeout
        )
        return asyncio.run_coroutine_threadsafe(submitting, self._loop)

    # ----------------------------------------------------------------------------- admission

    def _admit(self, item: T, size: int, bucket: Hashable) -> Request[T, R]:
        """Accept a request. Whatever can go wrong does so before anything has changed."""
        if size.__class__ is not int or size < 1:
            size = at_least_one("size", size)
        queue = self._queue
        if (
            size > self._max_unchecked_size
            or queue.rows + size > self._max_queue_size
            or threading.get_ident() != self._thread
        ):
            self._check_admission([size])
        future: asyncio.Future[R] = self._loop.create_future()
        request: Request[T, R] = Request(item, size, self._accepted, self._clock(), future)
        queue.put(request, bucket)
        self._accepted += 1
        if queue.rows >= self._listening_from:
            self._wake()
        return request

    def _admit_all(
        self, items: list[T], sizes: Iterable[int], bucket: Hashable, demand: Demand
    ) -> list[Request[T, R]]:
        """Accept requests together, or none of them."""
        rows = [at_least_one("size", size) for size in sizes]
        hash(bucket)  # TypeError before anything has changed.
        if self._cost is not None:
            for item in items:
                self._cost.check(item)
        self._check_admission(rows, demand)
        arrival = self._clock()
        requests: list[Request[T, R]] = []
        for item, size in zip(items, rows, strict=True):
            future: asyncio.Future[R] = self._loop.create_future()
            request = RankedRequest(item, size, self._accepted, arrival, future)
            # The bytes of all leave the queue with the first of them.
            request.demand(demand if not requests else demand._replace(nbytes=0))
            self._queue.put_ranked(request, bucket)
            self._accepted += 1
            requests.append(request)
            if request.deadline is not None:
                self._deadlines.add(request)
        if demand.timeout is not None:
            self._watch_deadlines()
        if self._queue.rows >= self._listening_from:
            self._wake()
        return requests

    def _check_admission(self, sizes: list[int], demand: Demand = NOTHING_MORE) -> None:
        """Raise what stands against admitting requests of these sizes together."""
        if self._state is not State.OPEN:
            raise self._not_open()
        if asyncio.get_running_loop() is not self._loop:
            msg = f"{self!r} belongs to another event loop; from a thread use `submit_threadsafe`"
            raise RuntimeError(msg)
        if inside.get() is self:
            raise _inside_run_batch(self)
        if self._is_stuck():
            raise self._stuck()
        try:
            load = self._load()
            check_room(sizes, demand.nbytes, load, self._limits)
            if demand.timeout is not None or self._limits.max_wait is not None:
                self._check_wait(sum(sizes), demand, load)
        except QueueFull:
            self._refused += len(sizes)
            raise

    def _load(self) -> Load:
        """What a new request would find."""
        now, most = self._clock(), self._queue.max_batch_size
        # Who is behind another one has not begun, and was taken never.
        passed = [max(0.0, now - run.taken) for run in self._running]
        expected = [self._expected(run.padded_size) for run in self._running]
        left = [max(0.0, time - since) for time, since in zip(expected, passed, strict=True)]
        soonest = sum if self._concurrency == 1 else min
        return Load(
            queued=self._queue.rows,
            nbytes=self._queue.nbytes,
            run_time=self._expected(self._padded(most)),
            left=soonest(left) if len(left) >= self._concurrency else 0.0,
            max_batch_size=most,
            concurrency=self._concurrency,
        )

    def _check_wait(self, rows: int, demand: Demand, load: Load) -> None:
        """Refuse what is predicted to wait too long. QueueFull.

        Beside an idle function nobody is refused: by running, predictions get better.
        """
        if load.run_time == 0 or not (self._running or load.queued):
            return
        run_time = self._expected(self._padded(min(rows, load.max_batch_size)))
        try:
            check_wait(load.wait_behind(load.queued), run_time, demand.timeout, self._limits)
        except QueueFull:
            # Not all who wait may go first.
            deadline = None if demand.timeout is None else self._clock() + demand.timeout
            ahead = self._queue.rows_ahead(demand.priority, deadline)
            if ahead == load.queued:
                raise
            check_wait(load.wait_behind(ahead), run_time, demand.timeout, self._limits)

    # ---------------------------------------------------------------------------------- ending

    async def drain(self, timeout: float | None = None) -> bool:
        """Refuse new requests, finish the accepted ones, then close; True when all were finished.

        After `timeout` seconds it closes all the same, which fails the rest, and returns False.
        """
        if timeout is not None:
            seconds("timeout", timeout)
        if self._state is State.NEW:
            raise self._not_open()
        if self._state is State.OPEN:
            self._state = State.DRAINING
            self._max_unchecked_size = 0
            self._wake()
        try:
            async with asyncio.timeout(timeout):
                await self._ended.wait()
        except TimeoutError:
            pass
        await self.close()
        return self._drained

    async def close(self) -> None:
        """Refuse new requests and fail all that have no answer yet, queued or running.

        What runs is not interrupted, and what was prefetched behind it runs still; their results
        are dropped. Nobody waits for this Batcher after.
        """
        self._shut()
        if self._batching is not None:
            await asyncio.wait({self._batching})

    # ------------------------------------------------------------------------------ observation

    def stats(self) -> BatcherStats:
        """Counters and gauges of this moment."""
        return BatcherStats(
            queued_requests=len(self._queue),
            queued_rows=self._queue.rows,
            queued_bytes=self._queue.nbytes,
            running_batches=len(self._running),
            accepted=self._accepted,
            answered=self._answered,
            failed=self._failed,
            expired=self._expired,
            cancelled=self._cancelled,
            refused=self._refused,
            batches=self._batches,
            max_batch_size=self._queue.max_batch_size,
            healthy=not self._is_stuck(),
        )

    def expected_run_time(self, size: int) -> float | None:
        """How many seconds `run_batch` is learned to take on so many rows, padding included.

        None while too little is known. Above the largest size that has run it is a guess.
        """
        return self._run_times.predict(self._padded(at_least_one("size", size)))

    def __repr__(self) -> str:
        name = getattr(self._function, "__qualname__", type(self._function).__qualname__)
        return f"<Batcher of {name}: {self._queue.rows} rows queued, {len(self._running)} running>"


def _is_coroutine_function(function: object) -> bool:
    """Whether calling it gives a coroutine; an object may have an `async def __call__`."""
    call = getattr(type(function), "__call__", None)  # noqa: B004 - what it is, not whether
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def _receipt(request: Request[T, R]) -> Receipt:
    """Of a request that has a result: so it is in a run."""
    run = request.place
    assert isinstance(run, Run)
    return run.receipt(request)


def _inside_run_batch(batcher: Batcher[Any, Any]) -> RuntimeError:
    return RuntimeError(f"{batcher!r}: submitting from inside its own run_batch waits for itself")
