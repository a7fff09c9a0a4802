"""The tree of errors: one class for each thing a caller can do differently."""

import pytest

from batcher import BatcherClosed, BatcherError, BatchFailed, QueueFull, RequestTooLarge


@pytest.mark.parametrize("error", [QueueFull, RequestTooLarge, BatcherClosed, BatchFailed])
def test_every_error_is_a_batcher_error(error: type[Exception]) -> None:
    assert issubclass(error, BatcherError)


def test_a_request_too_large_is_a_value_error_too() -> None:
    assert issubclass(RequestTooLarge, ValueError)


def test_a_full_queue_says_when_to_come_back() -> None:
    error = QueueFull("no room", retry_after=0.25)
    assert str(error) == "no room"
    assert error.retry_after == 0.25
