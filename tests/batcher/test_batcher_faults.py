"""Whatever run_batch, on_batch or an executor does wrong: everybody hears, nobody hangs."""

import asyncio
import gc
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from batcher import (
    Batch,
    Batcher,
    BatcherClosed,
    BatchFailed,
    BatchRecord,
)
from batcher.executor import Done, Function
from batcher.queue import RequestQueue
from batcher.testing import FakeExecutor, Faults
from tests.batcher.conftest import Reports
from tests.batcher.scenes import (
    assert_books_balance,
    assert_nothing_left,
    double,
    outcomes,
    settle,
    work_off,
)

RUN_TIME = 1.0


async def ask(model: Callable[[Batch[int]], Any], *items: int) -> list[Any]:
    """What each of several callers of one batch is told; they must leave nothing behind."""
    executor = FakeExecutor()
    async with Batcher[int, Any](model, executor=executor) as batcher:
        told = await outcomes([asyncio.ensure_future(batcher.submit(item)) for item in items])
        assert await batcher.submit(0) is not None  # It goes on.
    assert_nothing_left(batcher, executor)
    return told


def once(answer: Any) -> Faults[int, int]:
    """A good model whose first call answers this, or raises it."""
    return Faults(double, {0: answer})


# ------------------------------------------------------------- exceptions returned for one request


async def test_a_returned_exception_reaches_its_caller_as_it_is_and_nobody_else() -> None:
    error = KeyError("only for one")
    one, two, three = await ask(once(lambda results: [results[0], error, results[2]]), 1, 2, 3)
    assert (one, three) == (2, 6)
    assert two is error


@pytest.mark.parametrize(
    "returned",
    [
        StopIteration("a value"),
        asyncio.CancelledError("whose?"),
        KeyboardInterrupt("no key"),
        SystemExit(3),
        GeneratorExit(),
    ],
    ids=repr,
)
async def test_a_returned_exception_that_a_future_cannot_hold_arrives_wrapped(
    returned: BaseException,
) -> None:
    one, two = await ask(once(lambda results: [returned, results[1]]), 1, 2)
    assert isinstance(one, BatchFailed)
    assert one.__cause__ is returned
    assert "for this request" in str(one)
    assert two == 4


async def test_returned_exceptions_count_as_failed() -> None:
    records: list[BatchRecord] = []
    model: Faults[int, int] = once(lambda results: [ValueError("bad row"), *results[1:]])
    async with Batcher(model, executor=FakeExecutor(), on_batch=records.append) as batcher:
        await outcomes([asyncio.ensure_future(batcher.submit(item)) for item in (1, 2, 3)])
    stats = batcher.stats()
    assert (stats.answered, stats.failed) == (2, 1)
    assert [(record.requests, record.failed) for record in records] == [(3, 1)]


# ---------------------------------------------------------------------------- run_batch as a whole


@pytest.mark.parametrize(
    "raised",
    [
        MemoryError("no room"),
        SystemExit(3),
        KeyboardInterrupt("no key"),
        asyncio.CancelledError("whose?"),
        StopIteration("a value"),
    ],
    ids=repr,
)
async def test_whatever_run_batch_raises_fails_its_batch_only(raised: BaseException) -> None:
    told = await ask(once(raised), 1, 2)
    for error in told:
        assert isinstance(error, BatchFailed)
        assert error.__cause__ is raised
        assert str(error) == f"the batch of 2 requests failed: {type(raised).__name__}: {raised}"
    assert told[0] is not told[1]


@pytest.mark.parametrize("raised", [SystemExit(3), asyncio.CancelledError(), LookupError("x")])
async def test_whatever_a_coroutine_run_batch_raises_fails_its_batch_only(
    raised: BaseException,
) -> None:
    async def model(batch: Batch[int]) -> Sequence[int | Exception]:
        if batch[0]:
            raise raised
        return double(batch)

    async with Batcher(model) as batcher:
        (error,) = await outcomes([asyncio.ensure_future(batcher.submit(1))])
        assert isinstance(error, BatchFailed)
        assert error.__cause__ is raised
        assert await batcher.submit(0) == 0


@pytest.mark.parametrize(
    ("fault", "cause", "says"),
    [
        (Faults.one_result_short, ValueError, "run_batch returned 1 results for 2 requests"),
        (Faults.one_result_too_many, ValueError, "run_batch returned 3 results for 2 requests"),
        (Faults.no_sequence, TypeError, "a sequence of 2 results, one for each request, not int"),
        (lambda _: None, TypeError, "not NoneType"),
        (iter, TypeError, "not list_iterator"),
        (lambda _: "ab", TypeError, "not str"),
        (lambda _: b"ab", TypeError, "not bytes"),
        (lambda _: {1: 2, 2: 4}, TypeError, "not dict"),
        (lambda _: {2, 4}, TypeError, "not set"),
        (lambda _: np.float64(3.0), TypeError, "not float64"),
        (lambda _: np.zeros(()), TypeError, "0-d array"),
    ],
)
async def test_run_batch_must_return_one_result_for_each_request(
    fault: Callable[[Sequence[Any]], Any], cause: type[Exception], says: str
) -> None:
    for error in await ask(once(fault), 1, 2):
        assert isinstance(error, BatchFailed)
        assert isinstance(error.__cause__, cause)
        assert says in str(error.__cause__)


class Rows(Sequence[int]):
    """A sequence that is no list, and may fail while it is read."""

    def __init__(self, rows: Sequence[int], error: Exception | None = None) -> None:
        self._rows = rows
        self._error = error

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return self._rows[index]

    def __iter__(self) -> Iterator[int]:
        if self._error is not None:
            raise self._error
        return iter(self._rows)


@pytest.mark.parametrize("form", [tuple, Rows, np.array])
async def test_results_may_be_any_sequence(form: Callable[[Sequence[Any]], Any]) -> None:
    assert await ask(once(form), 1, 2) == [2, 4]


async def test_results_that_fail_while_they_are_read_fail_the_batch() -> None:
    broken = OSError("the device went away")
    for error in await ask(once(lambda results: Rows(results, broken)), 1, 2):
        assert isinstance(error, BatchFailed)
        assert error.__cause__ is broken


class Unprintable(Exception):
    """An exception whose own text is broken."""

    def __str__(self) -> str:
        msg = "no text"
        raise LookupError(msg)

    __repr__ = __str__


async def test_an_error_that_cannot_be_printed_still_reaches_its_callers() -> None:
    for error in await ask(once(Unprintable()), 1, 2):
        assert isinstance(error, BatchFailed)
        assert isinstance(error.__cause__, Unprintable)


async def test_an_exception_nobody_waits_for_any_more_makes_no_noise() -> None:
    executor = FakeExecutor(by_hand=True)
    async with Batcher(once(ValueError("broken")), executor=executor) as batcher:
        callers = [asyncio.ensure_future(batcher.submit(item)) for item in (1, 2)]
        await settle()
        executor.start_next()
        executor.finish_next()
        for caller in callers:
            caller.cancel()
        told = await outcomes(callers)
    assert all(isinstance(error, asyncio.CancelledError) for error in told)
    # That nothing was reported is what the harness checks, for this test as for all.


async def test_a_submit_thrown_away_just_when_its_exception_came_makes_no_noise() -> None:
    executor = FakeExecutor(by_hand=True)
    async with Batcher(once(ValueError("broken")), executor=executor) as batcher:
        submit = batcher.submit(1)
        submit.send(None)  # As a task would step it.
        await settle()
        executor.start_next()
        executor.finish_next()
        submit.close()
        assert batcher.stats().failed == 1


# ---------------------------------------------------------------------------------------- on_batch


async def test_an_on_batch_that_raises_is_reported_and_harmless(reports: Reports) -> None:
    error = ZeroDivisionError("in the dashboard")

    def on_batch(_: BatchRecord) -> None:
        raise error

    executor = FakeExecutor()
    async with Batcher(double, executor=executor, on_batch=on_batch) as batcher:
        assert await batcher.submit(1) == 2
        assert await batcher.submit(2) == 4
    assert [report["exception"] for report in reports] == [error, error]
    assert "on_batch raised" in reports[0]["message"]
    assert_nothing_left(batcher, executor)


# ----------------------------------------------------------------------------- defects of the parts


class Broken(FakeExecutor):
    """An executor that fails to start a call, from a given one on."""

    def __init__(self, good_calls: int, error: BaseException, *, slots: int = 1) -> None:
        super().__init__(slots, by_hand=True)
        self._good_calls = good_calls
        self._error = error

    def run(self, function: Function, argument: object, done: Done) -> None:
        if not self._good_calls:
            raise self._error
        self._good_calls -= 1
        super().run(function, argument, done)


async def test_when_batching_dies_everybody_is_told_and_the_loop_hears_of_it(
    reports: Reports,
) -> None:
    defect = OSError("no such device")
    executor = Broken(1, defect, slots=2)
    async with Batcher(double, max_batch_size=2, concurrency=2, executor=executor) as batcher:
        callers = [asyncio.ensure_future(batcher.submit(item)) for item in range(5)]
        for error in await outcomes(callers):
            assert isinstance(error, BatcherClosed)
            assert error.__cause__ is defect
        with pytest.raises(BatcherClosed) as refused:
            await batcher.submit(6)
        assert refused.value.__cause__ is defect
        assert await batcher.drain() is False
        assert_books_balance(batcher)
    (report,) = reports
    assert report["exception"] is defect
    assert "the batching of requests failed" in report["message"]


async def test_when_batching_dies_as_a_batch_ends_that_batch_is_still_answered(
    reports: Reports,
) -> None:
    defect = OSError("no such device")
    executor = Broken(1, defect)
    async with Batcher(double, max_batch_size=2, executor=executor) as batcher:
        callers = [asyncio.ensure_future(batcher.submit(item)) for item in range(4)]
        await settle()
        executor.start_next()
        executor.finish_next()
        *answered, third, fourth = await outcomes(callers)
    assert answered == [0, 2]
    assert isinstance(third, BatcherClosed)
    assert isinstance(fourth, BatcherClosed)
    assert [report["exception"] for report in reports] == [defect]


async def test_a_batcher_that_dies_leaves_its_turn_to_its_neighbours(reports: Reports) -> None:
    class BrokenForOne(FakeExecutor):
        def run(self, function: Function, argument: Any, done: Done) -> None:
            if argument.bucket == "unlucky":
                raise defect
            super().run(function, argument, done)

    defect = OSError("no such device")
    executor = BrokenForOne()
    async with (
        Batcher(double, executor=executor) as neighbour,
        Batcher(double, executor=executor) as batcher,
    ):
        (error,) = await outcomes([asyncio.ensure_future(batcher.submit(1, bucket="unlucky"))])
        assert isinstance(error, BatcherClosed)
        assert executor.free_slots == 1
        assert batcher.stats().running_batches == 0
        assert await neighbour.submit(2) == 4
    assert [report["exception"] for report in reports] == [defect]


async def test_cancelling_the_batching_coroutine_tells_everybody() -> None:
    executor = FakeExecutor(by_hand=True)
    async with Batcher(double, max_batch_size=1, executor=executor) as batcher:
        callers = [asyncio.ensure_future(batcher.submit(item)) for item in range(2)]
        await settle()
        assert batcher._batching is not None
        batcher._batching.cancel()
        for error in await outcomes(callers):
            assert isinstance(error, BatcherClosed)
        await work_off(executor)
    assert_nothing_left(batcher, executor)


# ------------------------------------------------------------------------------------------ memory


async def test_an_ended_request_is_freed_without_the_garbage_collector() -> None:
    class Item:
        pass

    def alive() -> int:
        return sum(isinstance(thing, Item) for thing in gc.get_objects())

    executor = FakeExecutor()
    gc.disable()
    try:
        async with Batcher[Item, int](lambda batch: [0] * len(batch), executor=executor) as batcher:
            await asyncio.gather(*[batcher.submit(Item()) for _ in range(3)])
            executor.started.clear()
            await settle()
            assert alive() == 0
    finally:
        gc.enable()


class BreaksInside:
    """A bucket that can be hashed at the door and not any more when its batch is taken."""

    def __init__(self, left: int = 2) -> None:
        self.left = left

    def __hash__(self) -> int:
        if not self.left:
            msg = "hashed too often"
            raise ValueError(msg)
        self.left -= 1
        return 0


class NoOldest(RequestQueue[int, int]):
    """A queue with a defect."""

    def oldest(self) -> None:
        msg = "planted"
        raise ValueError(msg)


@pytest.mark.parametrize("bucket", [BreaksInside(), BreaksInside(3), None])
async def test_a_defect_of_the_batching_ends_it_aloud(bucket: object, reports: Reports) -> None:
    executor = FakeExecutor()
    async with Batcher(double, regroup=True, executor=executor) as batcher:
        if bucket is None:
            batcher._queue = NoOldest(1)
        callers = [asyncio.ensure_future(batcher.submit(1, bucket=b)) for b in (bucket, "other")]
        for error in await outcomes(callers):
            assert isinstance(error, BatcherClosed)
            assert isinstance(error.__cause__, ValueError)
    assert executor.free_slots == 1
    assert len(reports) == 1
