"""How each accepted request ends, exactly once: answered, failed, expired or cancelled. Event loop.

`Callers` is the ground that `Dispatcher` stands on; nobody else uses it. It tells callers and
observers, counts, and keeps the deadlines; when requests run is not its business.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Generic

from batcher.deadlines import Deadlines
from batcher.errors import DeadlineExceeded
from batcher.queue import RequestQueue
from batcher.request import R, Request, Run, T
from batcher.results import batch_failed, raisable
from batcher.rules import State
from batcher.stats import BatchRecord


class Callers(ABC, Generic[T, R]):
    """Tells those who wait for the requests of one Batcher, and who watches its batches."""

    __slots__ = (
        "__weakref__",
        "_answered",
        "_cancelled",
        "_clock",
        "_deadlines",
        "_expired",
        "_expires_at",
        "_expiry",
        "_failed",
        "_loop",
        "_on_batch",
        "_queue",
        "_state",
    )

    def __init__(
        self, queue: RequestQueue[T, R], on_batch: Callable[[BatchRecord], None] | None
    ) -> None:
        self._queue = queue
        self._on_batch = on_batch
        self._state = State.NEW
        self._deadlines: Deadlines[T, R] = Deadlines()
        # One for the earliest deadline of all, and when it fires. It does not always know that
        # itself: uvloop gives no TimerHandle for what is due in less than half a millisecond.
        self._expiry: asyncio.Handle | None = None
        self._expires_at = 0.0
        self._answered = self._failed = self._expired = self._cancelled = 0
        self._loop: asyncio.AbstractEventLoop
        self._clock: Callable[[], float]

    @abstractmethod
    def _wake(self) -> None:
        """Let the batching coroutine see that requests have left the queue."""

    def _answer(self, run: Run[T, R], results: Sequence[Any], error: BaseException | None) -> None:
        """Resolve the futures of a batch, in one pass of the loop."""
        requests = run.requests
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
        self._deadlines.discard(requests)
        self._failed += failed
        self._answered += len(requests) - failed - abandoned
        self._tell_observer(run, failed, abandoned)

    def _tell_observer(
        self, run: Run[T, R], failed: int = 0, abandoned: int = 0, again: int = 0
    ) -> None:
        if self._on_batch is not None:
            try:
                self._on_batch(run.record(failed=failed, abandoned=abandoned, again=again))
            except Exception as error:  # noqa: BLE001 - an observer must not disturb what it sees
                self._report("on_batch raised", error)

    def _fail(self, request: Request[T, R], error: Exception) -> None:
        """Tell a caller that still waits."""
        if not request.future.done():
            self._failed += 1
            self._deadlines.discard([request])
            request.future.set_exception(error)

    def _give_up(self, request: Request[T, R]) -> None:
        """The caller waits no longer: cancelled, or told of its exception."""
        future = request.future
        # One that has its exception already is not cancelled by this, but counts as looked at.
        if future.cancel() or future.cancelled():
            self._cancelled += 1
            self._deadlines.discard([request])
            self._queue.abandon(request)
            if self._state is State.DRAINING:
                self._wake()  # It may have been the last one.

    def _give_up_all(self, requests: list[Request[T, R]]) -> None:
        """`_give_up` of all, and nothing left in the list: the caller's exception keeps that."""
        for request in requests:
            self._give_up(request)
        requests.clear()

    # ------------------------------------------------------------------------------- deadlines

    def _watch_deadlines(self) -> None:
        """Keep one timer, for the earliest deadline."""
        earliest = self._deadlines.earliest()
        if self._expiry is not None:
            if earliest is not None and self._expires_at <= earliest:
                return  # When it fires, it is set anew.
            self._expiry.cancel()
            self._expiry = None
        if earliest is not None:
            self._expiry = self._loop.call_at(earliest, self._expire)
            self._expires_at = earliest

    def _expire(self) -> None:
        """Tell everybody whose time has passed, queued or running."""
        self._expiry = None
        for request in self._deadlines.pop_expired(self._clock()):
            self._end_late(request)
        self._watch_deadlines()
        if self._state is State.DRAINING:
            self._wake()  # They may have been the last ones.

    def _end_late(self, request: Request[T, R]) -> None:
        assert request.deadline is not None
        timeout = request.deadline - request.arrival
        request.future.set_exception(
            DeadlineExceeded(f"the request was not answered within its {timeout:.3g} s")
        )
        self._expired += 1
        self._deadlines.discard([request])
        self._queue.abandon(request)

    def _report(self, message: str, error: BaseException) -> None:
        self._loop.call_exception_handler({"message": f"{self!r}: {message}", "exception": error})
