"""Several Batchers of one device: they take turns, and bind a batch when its turn has come."""

import asyncio

import pytest

from batcher import Batch, Batcher, BatcherClosed
from batcher.testing import FakeExecutor
from tests.batcher.scenes import assert_nothing_left, double, outcomes, ran, settle, work_off

RUN_TIME = 1.0


def tens(batch: Batch[int]) -> list[int | Exception]:
    """Another model."""
    return [10 * item for item in batch]


async def test_batchers_whose_batches_take_as_long_take_turns_batch_by_batch() -> None:
    executor = FakeExecutor(run_time=RUN_TIME)
    async with (
        Batcher(double, max_batch_size=2, executor=executor) as first,
        Batcher(tens, max_batch_size=2, executor=executor) as second,
    ):
        flood = [asyncio.ensure_future(first.submit(item)) for item in range(6)]
        await settle()
        few = [asyncio.ensure_future(second.submit(item)) for item in (7, 8, 9)]
        assert await outcomes(flood) == [2 * item for item in range(6)]
        assert await outcomes(few) == [70, 80, 90]
    assert ran(executor) == [[0, 1], [7, 8], [2, 3], [9], [4, 5]]


async def test_a_batch_is_not_bound_before_its_turn() -> None:
    executor = FakeExecutor(by_hand=True)
    async with (
        Batcher(double, max_batch_size=4, executor=executor) as first,
        Batcher(tens, max_batch_size=4, executor=executor) as second,
    ):
        callers = [asyncio.ensure_future(first.submit(1))]
        await settle()
        callers += [asyncio.ensure_future(second.submit(2))]
        await settle()  # It has asked for its turn, with one request in the queue.
        callers += [asyncio.ensure_future(second.submit(item)) for item in (3, 4)]
        await settle()
        assert second.stats().queued_requests == 3
        await work_off(executor)
        assert await outcomes(callers) == [2, 20, 30, 40]
    assert ran(executor) == [[1], [2, 3, 4]]


async def test_one_batcher_asks_for_one_turn_at_a_time() -> None:
    executor = FakeExecutor()  # Without time, nobody has used any: turns go in the order asked.
    async with (
        Batcher(double, max_batch_size=1, concurrency=4, executor=executor) as first,
        Batcher(tens, max_batch_size=1, executor=executor) as second,
    ):
        callers = [asyncio.ensure_future(first.submit(item)) for item in range(4)]
        callers.append(asyncio.ensure_future(second.submit(5)))
        assert await outcomes(callers) == [0, 2, 4, 6, 50]
    assert ran(executor) == [[0], [1], [5], [2], [3]]


@pytest.mark.parametrize(("concurrency", "handed_over"), [(1, 1), (2, 2), (3, 3), (5, 3)])
async def test_a_batcher_uses_at_most_its_concurrency_of_the_slots(
    concurrency: int, handed_over: int
) -> None:
    executor = FakeExecutor(slots=3, by_hand=True)
    async with Batcher(
        double, max_batch_size=1, concurrency=concurrency, executor=executor
    ) as batcher:
        callers = [asyncio.ensure_future(batcher.submit(item)) for item in range(6)]
        await settle()
        assert executor.handed_over == handed_over
        assert batcher.stats().running_batches == handed_over
        await work_off(executor)
        assert await outcomes(callers) == [0, 2, 4, 6, 8, 10]
    assert_nothing_left(batcher, executor)


async def test_a_turn_nobody_needs_any_more_goes_to_the_next() -> None:
    executor = FakeExecutor(by_hand=True)
    async with (
        Batcher(double, executor=executor) as first,
        Batcher(double, executor=executor) as second,
        Batcher(double, executor=executor) as third,
    ):
        callers: list[asyncio.Task[int]] = []
        for batcher in (first, second, third):
            callers.append(asyncio.ensure_future(batcher.submit(len(callers))))
            await settle()
        callers[1].cancel()
        await settle()
        executor.start_next()
        executor.finish_next()
        assert executor.handed_over == 1
        await work_off(executor)
        assert await callers[2] == 4
    assert ran(executor) == [[0], [2]]
    for batcher in (first, second, third):
        assert_nothing_left(batcher, executor)


async def test_a_turn_granted_to_a_closed_batcher_goes_to_the_next() -> None:
    executor = FakeExecutor(by_hand=True)
    async with (
        Batcher(double, executor=executor) as first,
        Batcher(double, executor=executor) as second,
        Batcher(double, executor=executor) as third,
    ):
        callers: list[asyncio.Task[int]] = []
        for batcher in (first, second, third):
            callers.append(asyncio.ensure_future(batcher.submit(len(callers))))
            await settle()
        await second.close()
        await work_off(executor)
        told = await outcomes(callers)
        assert (told[0], told[2]) == (0, 4)
        assert isinstance(told[1], BatcherClosed)
        assert executor.free_slots == 1
    assert ran(executor) == [[0], [2]]


async def test_a_batcher_that_asked_again_after_its_turn_was_wasted_gets_another() -> None:
    executor = FakeExecutor(by_hand=True)
    async with (
        Batcher(double, executor=executor) as first,
        Batcher(double, executor=executor) as second,
    ):
        running = asyncio.ensure_future(first.submit(1))
        await settle()
        leaving = asyncio.ensure_future(second.submit(2))
        await settle()
        leaving.cancel()
        await settle()
        await work_off(executor)
        late = asyncio.ensure_future(second.submit(3))
        await settle()
        await work_off(executor)
        assert await outcomes([running, late]) == [2, 6]
    assert executor.free_slots == 1


async def test_a_batcher_that_waits_for_company_leaves_the_slot_to_others() -> None:
    executor = FakeExecutor(run_time=RUN_TIME)
    async with (
        Batcher(double, batch_timeout=10 * RUN_TIME, executor=executor) as patient,
        Batcher(tens, executor=executor) as other,
    ):
        waiting = asyncio.ensure_future(patient.submit(1))
        await settle()
        assert await other.submit(2) == 20
        assert not waiting.done()
        assert await waiting == 2
    assert ran(executor) == [[2], [1]]


async def test_the_death_of_one_user_does_not_stop_the_executor_for_others() -> None:
    executor = FakeExecutor()
    async with Batcher(double, executor=executor) as first:
        async with Batcher(double, executor=executor) as second:
            assert await second.submit(1) == 2
        assert executor._users == 1
        assert await first.submit(2) == 4
    assert executor._users == 0


async def test_an_executor_may_be_used_anew_by_the_next_batcher() -> None:
    executor = FakeExecutor()
    for item in range(3):
        async with Batcher(double, executor=executor) as batcher:
            assert await batcher.submit(item) == 2 * item
    assert ran(executor) == [[0], [1], [2]]
