"""The Batcher: submit, the batching coroutine, drain, close. Event loop only, but for `run_batch`.

    submit ──> RequestQueue ──> policy.next_release ──> Executor ──> run_batch      [model thread]
       ^                                                                 │
       └────────────────── each caller's future <────────────────────────┘

Accepted means: `submit` has put the request into the queue. Each accepted request ends exactly
once, by its result, an exception or its caller's own cancellation:

    queued ──taken by a batch──> running ──> answered
       └───────┴── cancelled by its caller, or failed by `close`

The batching coroutine wakes when a request arrives beside a free thread, and starts what the policy
releases. The same step runs directly when a batch has ended, before that batch's callers are told:
the model thread must not wait for them.
"""

import asyncio
import contextvars
import enum
import functools
import inspect
import threading
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from concurrent.futures import Future as ThreadFuture
from types import TracebackType
from typing import Any, Generic, Self, cast

from batcher.admission import check_room
from batcher.errors import BatcherClosed, QueueFull
from batcher.executor import Executor, Function, LoopExecutor, Outcome, ThreadExecutor, Turns
from batcher.options import at_least_one, seconds
from batcher.policy import Limits, Release, next_release
from batcher.queue import RequestQueue
from batcher.request import Batch, R, Request, Run, T
from batcher.results import batch_failed, because, one_for_each, raisable
from batcher.stats import BatcherStats, BatchRecord, Receipt


class _State(enum.Enum):
    NEW = "has not been entered: use `async with`"
    OPEN = "is open"
    DRAINING = "is draining"
    CLOSED = "is closed"


# Set while a coroutine `run_batch` runs, for the tasks it starts too.
_inside: contextvars.ContextVar["Batcher[Any, Any] | None"] = contextvars.ContextVar(
    "_inside", default=None
)


class Batcher(Generic[T, R]):
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
    executor
        Where `run_batch` runs; give the Batchers of one device one `ThreadExecutor` to share.
        Without it, one slot for each concurrent call.
    on_batch
        Called on the event loop with a `BatchRecord` after each batch, its callers told. An
        exception in it goes to the loop's exception handler.

    A Batcher is bound to the event loop it was entered on, and is used once. Leaving `async with`
    drains it; leaving by an exception closes it.
    """

    def __init__(
        self,
        run_batch: Callable[[Batch[T]], Sequence[R | Exception]]
        | Callable[[Batch[T]], Awaitable[Sequence[R | Exception]]],
        *,
        max_batch_size: int = 64,
        batch_timeout: float = 0.0,
        max_queue_size: int = 16384,
        concurrency: int = 1,
        executor: Executor | None = None,
        on_batch: Callable[[BatchRecord], None] | None = None,
    ) -> None:
        self._limits = Limits(
            max_batch_size=at_least_one("max_batch_size", max_batch_size),
            max_queue_size=at_least_one("max_queue_size", max_queue_size),
            batch_timeout=seconds("batch_timeout", batch_timeout),
        )
        concurrency = at_least_one("concurrency", concurrency)
        self._function = run_batch
        self._is_coroutine = _is_coroutine_function(run_batch)
        if self._is_coroutine:
            self._run_batch: Function = self._run_inside
            self._executor = executor or LoopExecutor(concurrency)
        else:
            self._run_batch = run_batch
            self._executor = executor or ThreadExecutor(concurrency)
        self._turns = Turns(self._executor, concurrency, self._advance)
        self._on_batch = on_batch

        # Each submit compares with these three: more rows, no room or another thread get the full
        # check. `_max_unchecked_size` is 0 unless the Batcher is plainly open. The thread stands
        # for the loop: `get_running_loop` costs ten times as much (it asks for the process id).
        self._max_unchecked_size = 0
        self._max_queue_size = self._limits.max_queue_size
        self._thread = 0

        self._state = _State.NEW
        self._defect: BaseException | None = None
        self._queue: RequestQueue[T, R] = RequestQueue(self._limits.max_batch_size)
        self._running: dict[Run[T, R], None] = {}
        self._last_run_time = 0.0

        # What the batching coroutine waits for. Arrivals are of interest beside a free thread only.
        self._listening = False
        self._woken: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

        self._accepted = self._answered = self._failed = 0
        self._cancelled = self._refused = self._batches = 0

        self._loop: asyncio.AbstractEventLoop
        self._clock: Callable[[], float]
        self._batching: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()
        self._drained = False

    async def __aenter__(self) -> Self:
        """Bind to the running event loop; start the thread and the batching coroutine."""
        if self._state is not _State.NEW:
            msg = f"{self!r} {self._state.value}; a Batcher is entered once: make a new one"
            raise RuntimeError(msg)
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        # uvloop's clock ticks in milliseconds, which is longer than a whole request takes.
        is_uvloop = type(self._loop).__module__.partition(".")[0] == "uvloop"
        self._clock = time.monotonic if is_uvloop else self._loop.time
        self._executor.attach(self._loop)
        self._state = _State.OPEN
        if not self._is_coroutine:
            self._max_unchecked_size = self._limits.max_batch_size
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

    # ------------------------------------------------------------------------------- callers

    async def submit(self, item: T, *, size: int = 1, bucket: Hashable = None) -> R:
        """Run `item` together with others, and return its own result.

        `size` is its number of rows; only requests of one `bucket` share a batch. Cancelling the
        caller takes the item out of the queue, or drops its result if it runs already.

        Raises QueueFull, RequestTooLarge, BatcherClosed, BatchFailed, or the exception that
        `run_batch` returned in place of the result.
        """
        request = self._admit(item, size, bucket)
        try:
            return await request.future
        except BaseException:
            self._give_up(request)
            raise

    async def submit_with_receipt(
        self, item: T, *, size: int = 1, bucket: Hashable = None
    ) -> tuple[R, Receipt]:
        """`submit`, and what the request went through."""
        request = self._admit(item, size, bucket)
        try:
            result = await request.future
        except BaseException:
            self._give_up(request)
            raise
        return result, _receipt(request)

    async def submit_many(
        self,
        items: Iterable[T],
        *,
        sizes: Iterable[int] | None = None,
        bucket: Hashable = None,
    ) -> list[R]:
        """Run several items for one caller, and return their results in order.

        `sizes` has the rows of each, 1 by default. They are admitted together or not at all, and
        cancelled together; the first exception ends the call and abandons the rest. Raises as
        `submit` does.
        """
        answered = await self.submit_many_with_receipts(items, sizes=sizes, bucket=bucket)
        return [result for result, _ in answered]

    async def submit_many_with_receipts(
        self,
        items: Iterable[T],
        *,
        sizes: Iterable[int] | None = None,
        bucket: Hashable = None,
    ) -> list[tuple[R, Receipt]]:
        """`submit_many`, and what each of the requests went through."""
        items = list(items)
        rows = [1] * len(items) if sizes is None else [at_least_one("size", n) for n in sizes]
        if len(rows) != len(items):
            msg = f"there are {len(items)} items but {len(rows)} sizes"
            raise ValueError(msg)
        self._check_admission(sum(rows), max(rows, default=0), len(items))
        requests = [self._admit(item, n, bucket) for item, n in zip(items, rows, strict=True)]
        try:
            results = await asyncio.gather(*[request.future for request in requests])
        except BaseException:
            for request in requests:
                self._give_up(request)
            raise
        return [(r, _receipt(request)) for r, request in zip(results, requests, strict=True)]

    def submit_threadsafe(
        self, item: T, *, size: int = 1, bucket: Hashable = None
    ) -> "ThreadFuture[R]":
        """`submit` from another thread than the event loop's."""
        if self._state in {_State.NEW, _State.CLOSED}:
            raise self._not_open()
        if self._executor.runs_current_thread():
            raise _inside_run_batch(self)
        return asyncio.run_coroutine_threadsafe(
            self.submit(item, size=size, bucket=bucket), self._loop
        )

    # ----------------------------------------------------------------------------- admission

    def _admit(self, item: T, size: int, bucket: Hashable) -> Request[T, R]:
        """Accept a request. Whatever can go wrong does so before anything has changed."""
        if size.__class__ is not int or size < 1:
            size = at_least_one("size", size)
        if (
            size > self._max_unchecked_size
            or self._queue.rows + size > self._max_queue_size
            or threading.get_ident() != self._thread
        ):
            self._check_admission(size, size, 1)
        future: asyncio.Future[R] = self._loop.create_future()
        request: Request[T, R] = Request(item, size, self._accepted, self._clock(), future)
        self._queue.put(request, bucket)
        self._accepted += 1
        if self._listening:
            self._wake()
        return request

    def _check_admission(self, rows: int, largest: int, requests: int) -> None:
        """Raise what stands against admitting `rows` together, `largest` of them in one item."""
        if self._state is not _State.OPEN:
            raise self._not_open()
        if asyncio.get_running_loop() is not self._loop:
            msg = f"{self!r} belongs to another event loop; from a thread use `submit_threadsafe`"
            raise RuntimeError(msg)
        if _inside.get() is self:
            raise _inside_run_batch(self)
        try:
            check_room(
                rows,
                largest,
                queued=self._queue.rows,
                limits=self._limits,
                last_run_time=self._last_run_time,
            )
        except QueueFull:
            self._refused += requests
            raise

    def _not_open(self) -> Exception:
        msg = f"{self!r} {self._state.value}"
        if self._state is _State.NEW:
            return RuntimeError(msg)
        return because(BatcherClosed(msg), self._defect)

    def _give_up(self, request: Request[T, R]) -> None:
        """The caller waits no longer: cancelled, or told of its exception."""
        future = request.future
        # One that has its exception already is not cancelled by this, but counts as looked at.
        if future.cancel() or future.cancelled():
            self._cancelled += 1
            self._queue.abandon(request)
            if self._state is _State.DRAINING:
                self._wake()  # It may have been the last one.

    # -------------------------------------------------------------------------------- batches

    async def _batch_requests(self) -> None:
        """The batching coroutine. However it ends, nobody is left waiting for it."""
        try:
            while True:
                self._advance()
                self._end_if_drained()
                self._woken = self._loop.create_future()
                await self._woken
        finally:
            self._shut()

    def _wake(self) -> None:
        """Let the batching coroutine have a look, after all that happens in this pass."""
        self._listening = False
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    def _advance(self) -> None:
        """Start all that may start now, and arrange to be called when more may."""
        if self._state is _State.CLOSED:
            return
        try:
            self._start_released()
        except Exception as defect:  # noqa: BLE001 - a silent death would leave callers waiting
            self._die(defect)

    def _start_released(self) -> None:
        while self._state is not _State.CLOSED:
            decision = next_release(
                self._queue,
                self._limits,
                self._clock(),
                draining=self._state is _State.DRAINING,
            )
            if not isinstance(decision, Release):
                self._listening = True
                self._set_timer(decision.until)
                break
            if not self._turns.take():
                # A batch that ends, or a turn that is granted, calls again.
                self._listening = False
                self._set_timer(None)
                break
            self._start(decision)
        self._turns.return_unused()

    def _start(self, release: Release[T, R]) -> None:
        """Use the turn for the next batch. From now on whoever is in it will be told."""
        run: Run[T, R] = Run(release.lane.bucket, release.reason, self._clock())
        self._running[run] = None
        try:
            self._queue.take(release.lane, run)
            if run.requests:
                done = functools.partial(self._finish, run)
                self._executor.run(self._run_batch, run.batch(), done)
                return
        except Exception as defect:  # noqa: BLE001 - buckets and executors are somebody's code
            self._die(defect)
        # All were cancelled in this very pass of the loop; or nothing can run any more.
        del self._running[run]
        self._turns.end()

    def _finish(self, run: Run[T, R], outcome: Outcome) -> None:
        """A batch has ended. The thread comes first, then its callers."""
        self._running.pop(run, None)
        self._last_run_time = run.run_time = outcome.run_time
        self._batches += 1
        self._turns.end()
        if self._state is not _State.CLOSED:
            self._advance()
            self._answer(run, outcome)
            self._end_if_drained()
        run.requests.clear()

    def _answer(self, run: Run[T, R], outcome: Outcome) -> None:
        """Resolve the futures of a batch, in one pass of the loop."""
        requests = run.requests
        error, results = outcome.error, outcome.returned
        if error is None:
            try:
                results = one_for_each(results, len(requests))
            except Exception as wrong:  # noqa: BLE001 - iterating is the function's code as well
                error = wrong
        if error is not None:
            results = [batch_failed(error, len(requests)) for _ in requests]
        failed = abandoned = 0
        for request, result in zip(requests, results, strict=True):
            future = request.future
            if future.done():
                abandoned += 1
            elif isinstance(result, BaseException):
                failed += 1
                future.set_exception(raisable(result))
            else:
                future.set_result(result)
        self._failed += failed
        self._answered += len(requests) - failed - abandoned
        if self._on_batch is not None:
            try:
                self._on_batch(run.record(failed=failed, abandoned=abandoned))
            except Exception as error:  # noqa: BLE001 - an observer must not disturb what it sees
                self._report("on_batch raised", error)

    def _set_timer(self, until: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if until is None else self._loop.call_at(until, self._wake)

    # ---------------------------------------------------------------------------------- ending

    async def drain(self, timeout: float | None = None) -> bool:
        """Refuse new requests, finish the accepted ones, then close; True when all were finished.

        After `timeout` seconds it closes all the same, which fails the rest, and returns False.
        """
        if timeout is not None:
            seconds("timeout", timeout)
        if self._state is _State.NEW:
            raise self._not_open()
        if self._state is _State.OPEN:
            self._state = _State.DRAINING
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

        What runs is not interrupted; its results are dropped. Nobody waits for this Batcher after.
        """
        self._shut()
        if self._batching is not None:
            await asyncio.wait({self._batching})

    def _end_if_drained(self) -> None:
        if self._state is _State.DRAINING and not self._queue.rows and not self._running:
            self._drained = True
            self._shut()

    def _die(self, defect: Exception) -> None:
        """A defect of this class or of an executor: tell everybody, and the loop."""
        self._defect = defect
        self._shut()
        self._report("the batching of requests failed; everyone waiting was told", defect)

    def _shut(self) -> None:
        """End everything, at once and once."""
        entered = self._state is not _State.NEW
        if self._state is _State.CLOSED:
            return
        self._state = _State.CLOSED
        self._max_unchecked_size = 0
        left = [*self._queue.take_all(), *(r for run in self._running for r in run.requests)]
        for request in left:
            if not request.future.done():
                self._failed += 1
                request.future.set_exception(self._not_open())
        self._listening = False
        self._set_timer(None)
        self._ended.set()
        if entered:
            self._turns.return_unused()
            self._executor.detach()
        if self._batching is not None:
            self._batching.cancel()

    # ------------------------------------------------------------------------------ observation

    def stats(self) -> BatcherStats:
        """Counters and gauges of this moment."""
        return BatcherStats(
            queued_requests=len(self._queue),
            queued_rows=self._queue.rows,
            running_batches=len(self._running),
            accepted=self._accepted,
            answered=self._answered,
            failed=self._failed,
            cancelled=self._cancelled,
            refused=self._refused,
            batches=self._batches,
        )

    def __repr__(self) -> str:
        name = getattr(self._function, "__qualname__", type(self._function).__qualname__)
        return f"<Batcher of {name}: {self._queue.rows} rows queued, {len(self._running)} running>"

    def _report(self, message: str, error: BaseException) -> None:
        self._loop.call_exception_handler({"message": f"{self!r}: {message}", "exception": error})

    async def _run_inside(self, batch: Batch[T]) -> Any:
        """A coroutine `run_batch`, marked so that it cannot wait for itself."""
        _inside.set(self)
        return await cast("Awaitable[Any]", self._function(batch))


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
