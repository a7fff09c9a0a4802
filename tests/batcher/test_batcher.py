"""The life of a Batcher: options, entering, draining, closing, what it says about itself."""

import asyncio
import functools
import math
from collections.abc import Callable
from typing import Any

import pytest

from batcher import Batch, Batcher, BatcherClosed, BatchRecord, LoopExecutor, ThreadExecutor
from batcher.testing import FakeExecutor
from tests.batcher.scenes import (
    assert_nothing_left,
    double,
    outcomes,
    ran,
    settle,
    work_off,
)

RUN_TIME = 1.0


# ------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_batch_size": 0}, "max_batch_size must be at least 1, not 0"),
        ({"max_queue_size": -1}, "max_queue_size must be at least 1, not -1"),
        ({"concurrency": 0}, "concurrency must be at least 1, not 0"),
        ({"batch_timeout": -0.1}, "batch_timeout must be finite seconds, 0 or more, not -0.1"),
        ({"batch_timeout": math.inf}, "batch_timeout must be finite seconds"),
    ],
)
def test_an_option_out_of_range_is_named(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Batcher(double, **options)


def test_an_option_of_the_wrong_type_is_named() -> None:
    with pytest.raises(TypeError, match=r"max_batch_size must be a whole number, not 1\.5"):
        Batcher(double, max_batch_size=1.5)  # type: ignore[arg-type]


def test_the_constructor_starts_nothing() -> None:
    executor = FakeExecutor()
    batcher = Batcher(double, executor=executor)  # There is no event loop here.
    assert executor._users == 0
    assert batcher.stats().accepted == 0


class CallableModel:
    async def __call__(self, batch: Batch[int]) -> list[int | Exception]:
        return double(batch)

    async def method(self, batch: Batch[int]) -> list[int | Exception]:
        return double(batch)


async def _coroutine_double(_: str, batch: Batch[int]) -> list[int | Exception]:
    return double(batch)


@pytest.mark.parametrize(
    "run_batch",
    [CallableModel(), CallableModel().method, functools.partial(_coroutine_double, "model")],
    ids=["object", "method", "partial"],
)
async def test_every_form_of_coroutine_function_runs_on_the_loop(
    run_batch: Callable[[Batch[int]], Any],
) -> None:
    async with Batcher(run_batch) as batcher:
        assert isinstance(batcher._executor, LoopExecutor)
        assert await batcher.submit(4) == 8


def test_a_plain_function_gets_one_thread_for_each_concurrent_call() -> None:
    executor = Batcher(double, concurrency=3)._executor
    assert isinstance(executor, ThreadExecutor)
    assert executor.slots == 3


def test_its_repr_names_the_function_and_the_load() -> None:
    assert repr(Batcher(double)) == "<Batcher of double: 0 rows queued, 0 running>"
    assert repr(Batcher(CallableModel())) == "<Batcher of CallableModel: 0 rows queued, 0 running>"


# ------------------------------------------------------------------------------------ entering


async def test_a_batcher_that_was_not_entered_says_how() -> None:
    batcher = Batcher(double)
    with pytest.raises(RuntimeError, match="has not been entered: use `async with`"):
        await batcher.submit(1)
    with pytest.raises(RuntimeError, match="has not been entered"):
        await batcher.submit_many([1])
    with pytest.raises(RuntimeError, match="has not been entered"):
        batcher.submit_threadsafe(1)
    with pytest.raises(RuntimeError, match="has not been entered"):
        await batcher.drain()


async def test_a_batcher_is_entered_once() -> None:
    batcher = Batcher(double, executor=FakeExecutor())
    async with batcher:
        with pytest.raises(RuntimeError, match="is open; a Batcher is entered once"):
            await batcher.__aenter__()
        assert await batcher.submit(1) == 2
    with pytest.raises(RuntimeError, match="is closed; a Batcher is entered once"):
        await batcher.__aenter__()


async def test_a_batcher_closed_before_it_was_entered_stays_closed() -> None:
    batcher = Batcher(double, executor=FakeExecutor())
    await batcher.close()
    with pytest.raises(RuntimeError, match="is closed"):
        await batcher.__aenter__()
    with pytest.raises(BatcherClosed):
        await batcher.submit(1)


async def test_closing_twice_before_it_was_entered_does_no_harm() -> None:
    batcher = Batcher(double, executor=FakeExecutor())
    await batcher.close()
    await batcher.close()


async def test_draining_after_closing_unentered_finds_nothing_finished() -> None:
    batcher = Batcher(double, executor=FakeExecutor())
    await batcher.close()
    assert await batcher.drain() is False


async def test_submit_threadsafe_after_closing_unentered_says_closed() -> None:
    batcher = Batcher(double, executor=FakeExecutor())
    await batcher.close()
    with pytest.raises(BatcherClosed):
        batcher.submit_threadsafe(1)


async def test_entering_and_leaving_at_once_leaves_nothing() -> None:
    executor = FakeExecutor()
    async with Batcher(double, executor=executor) as batcher:
        pass
    assert executor._users == 0
    assert_nothing_left(batcher, executor)


# ------------------------------------------------------------------------------------- leaving


async def test_leaving_the_block_finishes_what_was_accepted() -> None:
    executor = FakeExecutor(run_time=RUN_TIME)
    async with Batcher(double, max_batch_size=1, executor=executor) as batcher:
        callers = [asyncio.ensure_future(batcher.submit(item)) for item in range(3)]
        await settle()
    assert await outcomes(callers) == [0, 2, 4]
    assert_nothing_left(batcher, executor)


async def test_leaving_the_block_by_an_exception_closes() -> None:
    executor = FakeExecutor(by_hand=True)
    batcher = Batcher(double, executor=executor)
    callers: list[asyncio.Task[int]] = []

    async def block() -> None:
        async with batcher:
            callers.extend(asyncio.ensure_future(batcher.submit(item)) for item in range(2))
            await settle()
            callers.append(asyncio.ensure_future(batcher.submit(2)))
            await settle()
            msg = "the block's own"
            raise LookupError(msg)

    with pytest.raises(LookupError, match="the block's own"):
        await block()
    for told in await outcomes(callers):
        assert isinstance(told, BatcherClosed)
    await work_off(executor)
    assert ran(executor) == [[0, 1]]
    assert_nothing_left(batcher, executor)


async def test_a_drain_does_not_wait_for_company_that_cannot_come() -> None:
    executor = FakeExecutor()
    async with Batcher(double, batch_timeout=RUN_TIME, executor=executor) as batcher:
        caller = asyncio.ensure_future(batcher.submit(1))
        await settle()
        assert await batcher.drain()
        assert asyncio.get_running_loop().time() < RUN_TIME
        assert await caller == 2


async def test_a_drain_that_runs_out_of_time_closes_and_tells_everybody() -> None:
    executor = FakeExecutor(by_hand=True)
    async with Batcher(double, max_batch_size=1, executor=executor) as batcher:
        callers = [asyncio.ensure_future(batcher.submit(item)) for item in range(3)]
        await settle()
        drains = [asyncio.ensure_future(batcher.drain(RUN_TIME)) for _ in range(2)]
        drains.append(asyncio.ensure_future(batcher.drain()))
        assert await outcomes(drains) == [False, False, False]
        assert asyncio.get_running_loop().time() >= RUN_TIME
        for told in await outcomes(callers):
            assert isinstance(told, BatcherClosed)
        assert await batcher.drain() is False
        await work_off(executor)
    assert_nothing_left(batcher, executor)


async def test_a_drain_in_time_says_so_every_time() -> None:
    async with Batcher(double, executor=FakeExecutor(run_time=RUN_TIME)) as batcher:
        caller = asyncio.ensure_future(batcher.submit(1))
        await settle()
        assert await batcher.drain(2 * RUN_TIME) is True
        assert await caller == 2
        assert await batcher.drain() is True


async def test_a_drain_with_no_time_at_all_succeeds_when_there_is_nothing_to_do() -> None:
    async with Batcher(double, executor=FakeExecutor()) as batcher:
        assert await batcher.drain(0) is True


async def test_a_bad_drain_timeout_changes_nothing() -> None:
    async with Batcher(double, executor=FakeExecutor()) as batcher:
        for bad in (-1.0, math.nan):
            with pytest.raises(ValueError, match="timeout must be finite seconds"):
                await batcher.drain(bad)
        assert await batcher.submit(1) == 2


async def test_what_a_closed_batcher_still_runs_is_dropped_silently() -> None:
    records: list[BatchRecord] = []
    executor = FakeExecutor(by_hand=True)
    async with Batcher(double, executor=executor, on_batch=records.append) as batcher:
        caller = asyncio.ensure_future(batcher.submit(1))
        await settle()
        executor.start_next()
        await batcher.close()
        assert batcher.stats().running_batches == 1
        assert executor.free_slots == 0
        executor.finish_next()
        (told,) = await outcomes([caller])
    assert isinstance(told, BatcherClosed)
    assert records == []
    assert_nothing_left(batcher, executor)


async def test_closing_stops_the_timer_of_a_batch_that_waits_for_company() -> None:
    async with Batcher(double, batch_timeout=RUN_TIME, executor=FakeExecutor()) as batcher:
        caller = asyncio.ensure_future(batcher.submit(1))
        await settle()
        timer = batcher._timer
        assert timer is not None
        assert not timer.cancelled()
        await batcher.close()
        assert timer.cancelled()
        (told,) = await outcomes([caller])
        assert isinstance(told, BatcherClosed)


async def test_closing_twice_does_no_harm() -> None:
    executor = FakeExecutor()
    async with Batcher(double, executor=executor) as batcher:
        await asyncio.gather(batcher.close(), batcher.close())
        await batcher.close()
    assert executor._users == 0


async def test_a_refusal_says_whether_it_drains_or_is_closed() -> None:
    executor = FakeExecutor(by_hand=True)
    async with Batcher(double, executor=executor) as batcher:
        caller = asyncio.ensure_future(batcher.submit(1))
        await settle()
        drain = asyncio.ensure_future(batcher.drain())
        await settle()
        with pytest.raises(BatcherClosed, match="is draining"):
            await batcher.submit(2)
        with pytest.raises(BatcherClosed, match="is draining"):
            await batcher.submit_many([2, 3])
        await work_off(executor)
        assert await drain
        assert await caller == 2
        with pytest.raises(BatcherClosed, match="is closed"):
            await batcher.submit(2)
    assert batcher.stats().accepted == 1


# --------------------------------------------------------------------------------- observation


async def test_stats_tell_where_everybody_is() -> None:
    executor = FakeExecutor(by_hand=True)
    async with Batcher(double, max_batch_size=4, max_queue_size=5, executor=executor) as batcher:
        callers = [asyncio.ensure_future(batcher.submit(0, size=4))]
        await settle()
        callers.append(asyncio.ensure_future(batcher.submit(1, size=3)))
        callers.append(asyncio.ensure_future(batcher.submit(2, size=2)))
        callers.append(asyncio.ensure_future(batcher.submit(3)))
        await settle()
        stats = batcher.stats()
        assert (stats.queued_requests, stats.queued_rows, stats.running_batches) == (2, 5, 1)
        assert (stats.accepted, stats.refused, stats.batches) == (3, 1, 0)
        assert repr(batcher) == "<Batcher of double: 5 rows queued, 1 running>"
        await work_off(executor)
        await outcomes(callers)
        stats = batcher.stats()
        assert (stats.answered, stats.failed, stats.cancelled, stats.batches) == (3, 0, 0, 3)


async def test_on_batch_gets_the_record_of_each_batch_after_its_callers_were_told() -> None:
    records: list[BatchRecord] = []
    callers: list[asyncio.Task[int]] = []
    told: list[list[bool]] = []

    def on_batch(record: BatchRecord) -> None:
        records.append(record)
        told.append([future.done() for future in futures])

    executor = FakeExecutor(run_time=RUN_TIME)
    async with Batcher(double, executor=executor, on_batch=on_batch) as batcher:
        callers.append(asyncio.ensure_future(batcher.submit(0, bucket="a")))
        await asyncio.sleep(RUN_TIME / 2)
        callers += [asyncio.ensure_future(batcher.submit(n, size=2, bucket="b")) for n in (1, 2)]
        await settle()
        lanes = batcher._queue._lanes.values()
        futures = [request.future for lane in lanes for request in lane.requests]
        await outcomes(callers)
    assert told == [[False, False], [True, True]]
    first, second = records
    assert (first.size, first.requests, first.bucket, first.reason) == (1, 1, "a", "idle")
    assert (second.size, second.requests, second.bucket, second.reason) == (4, 2, "b", "idle")
    assert (second.failed, second.abandoned, second.run_time) == (0, 0, RUN_TIME)
    assert second.queue_times == (RUN_TIME / 2, RUN_TIME / 2)
    assert second.queue_time_oldest == second.queue_time_mean == RUN_TIME / 2
