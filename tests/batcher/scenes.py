"""What the tests of the Batcher share: small models, the books of a Batcher, a moment of rest."""

import asyncio
from collections.abc import Sequence
from typing import Any

from batcher import Batch, Batcher
from batcher.testing import FakeExecutor

A_MOMENT = 1e-6
"""Virtual seconds, far below every other time in these tests."""

LONG = 60.0
"""Seconds that a real thread may take at most, before its test gives up instead of hanging."""


async def settle() -> None:
    """Let everything happen that can happen without time passing."""
    await asyncio.sleep(A_MOMENT)


def double(batch: Batch[int]) -> list[int | Exception]:
    """A model."""
    return [2 * item for item in batch]


def upper(batch: Batch[str]) -> list[str | Exception]:
    """A model."""
    return [item.upper() for item in batch]


def ran(executor: FakeExecutor) -> list[list[Any]]:
    """The items of every batch that `run_batch` was called with, in order."""
    return [list(batch) for batch in executor.started]


def unfinished(batcher: Batcher[Any, Any]) -> int:
    """Requests in running batches that nobody has answered or given up."""
    return sum(not r.future.done() for run in batcher._running for r in run.requests)


def assert_books_balance(batcher: Batcher[Any, Any]) -> None:
    """Every accepted request is in exactly one place."""
    stats = batcher.stats()
    ended = stats.answered + stats.failed + stats.expired + stats.cancelled
    assert stats.accepted == ended + stats.queued_requests + unfinished(batcher)


def assert_nothing_left(batcher: Batcher[Any, Any], executor: FakeExecutor) -> None:
    """Nobody waits, nothing runs, every slot is free."""
    assert_books_balance(batcher)
    stats = batcher.stats()
    assert (stats.queued_requests, stats.queued_rows, stats.running_batches) == (0, 0, 0)
    assert not batcher._queue._lanes
    assert executor.free_slots == executor.slots


async def work_off(executor: FakeExecutor) -> None:
    """Start and finish what was handed over by hand, and all that follows from it."""
    while executor.handed_over:
        executor.start_next()
        executor.finish_next()
        await settle()


async def outcomes(callers: Sequence["asyncio.Future[Any]"]) -> list[Any]:
    """The result or exception of each caller, CancelledError included."""
    return await asyncio.gather(*callers, return_exceptions=True)
