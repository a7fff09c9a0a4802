"""What a Batcher raises: one class for each thing a caller can do differently. Pure; any thread.

    BatcherError
    ├── QueueFull           try again after `retry_after` seconds; the queue has no room now
    ├── DeadlineExceeded    it is too late; the request was not run, or its result is not waited for
    │                       (also a TimeoutError)
    ├── RequestTooLarge     cut the request up; it can never fit (also a ValueError)
    ├── BatcherStuck        go elsewhere for now: a call hangs, and everything would wait behind it
    ├── BatcherClosed       go elsewhere; this Batcher answers nobody any more
    └── BatchFailed         the function failed for the whole batch; `__cause__` says why

A mistake in the call itself (a size of 0, another event loop) is a plain ValueError, TypeError or
RuntimeError. An exception that the function returned in place of one result reaches that caller as
it is.
"""


class BatcherError(Exception):
    """The root of everything a Batcher raises on its own account."""


class QueueFull(BatcherError):
    """The queue has no room now, or the wait would be longer than the request has time for.

    `retry_after`: seconds until the queue should have drained, by what batches took so far; 0.0
    before the first batch has run.
    """

    def __init__(self, message: str, *, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineExceeded(BatcherError, TimeoutError):
    """The `timeout` of the request has passed, or what is left of it is too short to run it."""


class BatcherStuck(BatcherError):
    """A call has taken longer than `run_timeout`, and has still not come back."""


class RequestTooLarge(BatcherError, ValueError):
    """The request has more rows than a batch or the whole queue may ever hold."""


class BatcherClosed(BatcherError):
    """The Batcher drains or is closed; when it died of a defect, `__cause__` is that defect."""


class BatchFailed(BatcherError):
    """The function raised, or did not return one result for each request.

    Every caller of the batch gets an instance of its own, so that tracebacks do not pile up;
    `__cause__` is the one exception behind them all.
    """
