"""Ways to give up other than one cancelled caller: timeouts, groups, whole batches, bad moments."""

import asyncio

import pytest

from batcher import Batcher, BatchRecord
from batcher.ranks import SWEEP_AT_LEAST
from batcher.testing import FakeExecutor, Faults
from tests.batcher.scenes import (
    assert_books_balance,
    assert_nothing_left,
    double,
    outcomes,
    ran,
    settle,
    work_off,
)

RUN_TIME = 1.0
PATIENCE = RUN_TIME / 4


async def test_wait_for_takes_a_queued_request_out() -> None:
    executor = FakeExecutor(run_time=RUN_TIME)
    async with Batcher(double, executor=executor) as batcher:
        first = asyncio.ensure_future(batcher.submit(1))
        await settle()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(batcher.submit(2), PATIENCE)
        assert batcher.stats().queued_rows == 0
        assert await first == 2
    assert ran(executor) == [[1]]
    assert_nothing_left(batcher, executor)


async def test_a_timeout_drops_the_result_of_a_running_request() -> None:
    executor = FakeExecutor(run_time=RUN_TIME)
    async with Batcher(double, executor=executor) as batcher:
        await settle()
        neighbour = asyncio.ensure_future(batcher.submit(1))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await batcher.submit(2)
        assert await neighbour == 2
    assert ran(executor) == [[2, 1]]
    assert_nothing_left(batcher, executor)


async def test_a_timeout_that_is_not_reached_changes_nothing() -> None:
    executor = FakeExecutor(run_time=RUN_TIME)
    async with Batcher(double, executor=executor) as batcher:
        assert await asyncio.wait_for(batcher.submit(3), 2 * RUN_TIME) == 6
    assert batcher.stats().cancelled == 0


async def test_cancelling_a_queued_request_makes_room_at_once() -> None:
    executor = FakeExecutor(by_hand=True)
    async with Batcher(double, max_queue_size=3, executor=executor) as batcher:
        running = asyncio.ensure_future(batcher.submit(0))
        await settle()
        leaving = asyncio.ensure_future(batcher.submit(1, size=3))
        await settle()
        leaving.cancel()
        await asyncio.wait({leaving})
        staying = asyncio.ensure_future(batcher.submit(2, size=3))
        await settle()
        assert batcher.stats().queued_rows == 3
        await work_off(executor)
        assert await outcomes([running, staying]) == [0, 4]
    assert batcher.stats().refused == 0
    assert ran(executor) == [[0], [2]]


async def test_cancelling_a_head_that_did_not_fit_lets_the_one_behind_it_join() -> None:
    executor = FakeExecutor(by_hand=True)
    async with Batcher(double, max_batch_size=4, executor=executor) as batcher:
        callers = [asyncio.ensure_future(batcher.submit(0))]
        await settle()
        for item, size in [(1, 2), (2, 4), (3, 2)]:
            callers.append(asyncio.ensure_future(batcher.submit(item, size=size)))
        await settle()
        callers[2].cancel()
        await settle()
        await work_off(executor)
        await asyncio.wait(callers)
    assert ran(executor) == [[0], [1, 3]]


async def test_a_request_cancelled_just_before_its_batch_is_taken_never_runs() -> None:
    executor = FakeExecutor(by_hand=True)
    async with Batcher(double, executor=executor) as batcher:
        callers = [asyncio.ensure_future(batcher.submit(item)) for item in (0, 1, 2)]
        await asyncio.sleep(0)  # They are queued, the batching coroutine is about to look.
        callers[1].cancel()
        await settle()
        await work_off(executor)
        zero, one, two = await outcomes(callers)
        assert (zero, two) == (0, 4)
        assert isinstance(one, asyncio.CancelledError)
    assert ran(executor) == [[0, 2]]
    assert_nothing_left(batcher, executor)


async def test_a_batch_cancelled_just_before_it_is_taken_gives_its_turn_back() -> None:
    executor = FakeExecutor(by_hand=True)
    async with Batcher(double, executor=executor) as batcher:
        callers = [asyncio.ensure_future(batcher.submit(item)) for item in (0, 1, 2)]
        await asyncio.sleep(0)
        for caller in callers:
            caller.cancel()
        await settle()
        assert executor.handed_over == 0
        assert_nothing_left(batcher, executor)
        assert batcher.stats().cancelled == 3


async def test_cancelling_a_whole_running_batch_leaves_the_next_one_alone() -> None:
    records: list[BatchRecord] = []
    executor = FakeExecutor(by_hand=True)
    async with Batcher(
        double, max_batch_size=2, executor=executor, on_batch=records.append
    ) as batcher:
        callers = [asyncio.ensure_future(batcher.submit(item)) for item in range(4)]
        await settle()
        executor.start_next()
        for caller in callers[:2]:
            caller.cancel()
        await settle()
        assert batcher.stats().running_batches == 1
        executor.finish_next()
        await settle()
        await work_off(executor)
        assert await outcomes(callers[2:]) == [4, 6]
    assert [(r.requests, r.abandoned, r.failed) for r in records] == [(2, 2, 0), (2, 0, 0)]
    assert_nothing_left(batcher, executor)


async def test_cancelling_submit_many_takes_out_what_is_queued_and_drops_what_runs() -> None:
    executor = FakeExecutor(by_hand=True)
    async with Batcher(double, max_batch_size=2, executor=executor) as batcher:
        many = asyncio.ensure_future(batcher.submit_many([1, 2, 3, 4, 5]))
        await settle()
        other = asyncio.ensure_future(batcher.submit(6))
        await settle()
        many.cancel()
        await asyncio.wait({many})
        assert many.cancelled()
        assert batcher.stats().queued_requests == 1
        assert batcher.stats().cancelled == 5
        await work_off(executor)
        assert await other == 12
    assert ran(executor) == [[1, 2], [6]]
    assert_nothing_left(batcher, executor)


async def test_the_first_exception_of_submit_many_abandons_the_rest() -> None:
    executor = FakeExecutor(by_hand=True)
    model = Faults(double, poison=[3])
    async with Batcher(model, max_batch_size=2, executor=executor) as batcher:
        many = asyncio.ensure_future(batcher.submit_many([1, 2, 3, 4, 5, 6, 7, 8]))
        await settle()
        for _ in range(2):
            executor.start_next()
            executor.finish_next()
            await settle()
        assert many.done()
        assert "poisoned by 3" in str(many.exception())
        assert batcher.stats().queued_requests == 0
        await work_off(executor)
    assert ran(executor) == [[1, 2], [3, 4], [5, 6]]
    stats = batcher.stats()
    assert (stats.answered, stats.failed, stats.cancelled) == (2, 2, 4)
    assert_nothing_left(batcher, executor)


async def test_a_drain_ends_when_the_last_caller_gives_up() -> None:
    executor = FakeExecutor(by_hand=True)
    async with Batcher(double, batch_timeout=RUN_TIME, executor=executor) as batcher:
        neighbour = Batcher(double, executor=executor)
        async with neighbour:
            holding = asyncio.ensure_future(neighbour.submit(0))
            await settle()
            last = asyncio.ensure_future(batcher.submit(1))
            await settle()
            drain = asyncio.ensure_future(batcher.drain())
            await settle()
            assert not drain.done()
            last.cancel()
            await settle()
            assert drain.done()
            assert await drain
            await work_off(executor)
            assert await holding == 0
    assert ran(executor) == [[0]]
    assert_nothing_left(batcher, executor)


async def test_a_drain_ends_when_the_last_caller_gives_up_in_the_pass_that_takes_it() -> None:
    executor = FakeExecutor(by_hand=True)
    async with Batcher(double, executor=executor) as batcher:
        last = asyncio.ensure_future(batcher.submit(1))
        drain = asyncio.ensure_future(batcher.drain())
        await asyncio.sleep(0)
        last.cancel()
        assert await drain
    assert ran(executor) == []
    assert_nothing_left(batcher, executor)


async def test_cancelling_the_drain_at_the_end_of_the_block_closes() -> None:
    executor = FakeExecutor(by_hand=True)
    batcher = Batcher(double, executor=executor)
    waiting: list[asyncio.Task[int]] = []

    async def block() -> None:
        async with batcher:
            waiting.append(asyncio.ensure_future(batcher.submit(1)))
            await settle()

    leaving = asyncio.ensure_future(block())
    await settle()
    await settle()
    assert not leaving.done()
    leaving.cancel()
    await asyncio.wait({leaving})
    assert leaving.cancelled()
    (told,) = await outcomes(waiting)
    assert "is closed" in str(told)
    await work_off(executor)
    assert_nothing_left(batcher, executor)


@pytest.mark.parametrize("buckets", [1, 3, 10 * SWEEP_AT_LEAST])
@pytest.mark.parametrize("somebody_stays", [False, True])
async def test_callers_who_come_and_go_before_a_hung_model_cost_no_memory(
    buckets: int, *, somebody_stays: bool
) -> None:
    executor = FakeExecutor(by_hand=True)
    async with Batcher(double, executor=executor) as batcher:
        callers = [asyncio.ensure_future(batcher.submit(0))]
        await settle()
        if somebody_stays:
            callers.append(asyncio.ensure_future(batcher.submit(1, bucket="patient")))
        for item in range(10 * SWEEP_AT_LEAST):
            caller = asyncio.ensure_future(batcher.submit(item, bucket=item % buckets))
            await asyncio.sleep(0)
            caller.cancel()
            await asyncio.wait({caller})
        queue = batcher._queue
        kept = sum(len(lane.requests) for lane in queue._lanes.values())
        assert kept <= 2 + SWEEP_AT_LEAST
        assert len(queue._heads) <= 2 + SWEEP_AT_LEAST
        assert_books_balance(batcher)
        await work_off(executor)
        assert await outcomes(callers) == [0, 2][: len(callers)]


async def test_callers_who_come_and_go_behind_a_patient_one_cost_no_memory() -> None:
    executor = FakeExecutor(by_hand=True)
    async with Batcher(double, executor=executor) as batcher:
        callers = [asyncio.ensure_future(batcher.submit(0))]
        await settle()
        callers.append(asyncio.ensure_future(batcher.submit(1)))
        for item in range(10 * SWEEP_AT_LEAST):
            caller = asyncio.ensure_future(batcher.submit(item))
            await asyncio.sleep(0)
            caller.cancel()
            await asyncio.wait({caller})
        (lane,) = batcher._queue._lanes.values()
        assert len(lane.requests) <= 2 + SWEEP_AT_LEAST
        await work_off(executor)
        assert await outcomes(callers) == [0, 2]
    assert ran(executor) == [[0], [1]]
