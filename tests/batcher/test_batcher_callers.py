"""What a caller may ask for and gets: many items, receipts, mistakes told to it alone, contexts."""

import asyncio
import contextvars
from collections.abc import Hashable
from typing import Any

import pytest

from batcher import (
    Batch,
    Batcher,
    BatcherClosed,
    QueueFull,
    Reason,
    Receipt,
    RequestTooLarge,
)
from batcher.testing import FakeExecutor
from tests.batcher.scenes import assert_nothing_left, double, outcomes, ran, settle, work_off

RUN_TIME = 1.0


# ------------------------------------------------------------------------------------ submit_many


async def test_submit_many_keeps_the_order_over_several_batches() -> None:
    executor = FakeExecutor()
    async with Batcher(double, max_batch_size=3, executor=executor) as batcher:
        assert await batcher.submit_many(iter(range(8))) == [2 * item for item in range(8)]
    assert ran(executor) == [[0, 1, 2], [3, 4, 5], [6, 7]]


async def test_submit_many_counts_the_rows_it_is_told() -> None:
    executor = FakeExecutor()
    async with Batcher(double, max_batch_size=4, executor=executor) as batcher:
        results = await batcher.submit_many([1, 2, 3], sizes=iter([3, 1, 2]), bucket="b")
        assert results == [2, 4, 6]
    assert [(list(b), b.size, b.bucket) for b in executor.started] == [
        ([1, 2], 4, "b"),
        ([3], 2, "b"),
    ]


async def test_submit_many_of_nothing_is_nothing() -> None:
    executor = FakeExecutor()
    async with Batcher(double, executor=executor) as batcher:
        assert await batcher.submit_many([]) == []
    assert executor.started == []
    with pytest.raises(BatcherClosed):
        await batcher.submit_many([])


async def test_submit_many_that_can_never_fit_is_refused_for_good() -> None:
    async with Batcher(double, max_queue_size=6, executor=FakeExecutor()) as batcher:
        with pytest.raises(RequestTooLarge, match="7 rows exceed max_queue_size=6"):
            await batcher.submit_many([1] * 7)
        assert await batcher.submit_many([1] * 6) == [2] * 6
    assert batcher.stats().accepted == 6


async def test_submit_many_that_finds_too_little_room_leaves_all_of_it_to_others() -> None:
    executor = FakeExecutor(by_hand=True)
    async with Batcher(double, max_queue_size=4, executor=executor) as batcher:
        callers = [asyncio.ensure_future(batcher.submit(0))]
        await settle()
        callers.append(asyncio.ensure_future(batcher.submit(1)))
        await settle()
        with pytest.raises(QueueFull, match="no room for 4 more rows: 1 wait already"):
            await batcher.submit_many([2, 3], sizes=[2, 2])
        assert batcher.stats().queued_rows == 1
        assert batcher.stats().accepted == 2
        callers.append(asyncio.ensure_future(batcher.submit(4, size=3)))
        await settle()
        await work_off(executor)
        assert await outcomes(callers) == [0, 2, 8]
    assert ran(executor) == [[0], [1, 4]]


async def test_submit_many_refuses_a_single_item_that_is_too_large() -> None:
    async with Batcher(double, max_batch_size=4, executor=FakeExecutor()) as batcher:
        with pytest.raises(RequestTooLarge, match="5 rows in one item"):
            await batcher.submit_many([1, 2, 3], sizes=[1, 5, 1])
    assert batcher.stats().accepted == 0


@pytest.mark.parametrize(
    ("sizes", "error", "says"),
    [
        ([1], ValueError, "there are 2 items but 1 sizes"),
        ([1, 1, 1], ValueError, "there are 2 items but 3 sizes"),
        ([1, 0], ValueError, "size must be at least 1, not 0"),
        ([1, 1.5], TypeError, r"size must be a whole number, not 1\.5"),
    ],
)
async def test_submit_many_with_bad_sizes_admits_nobody(
    sizes: list[Any], error: type[Exception], says: str
) -> None:
    async with Batcher(double, executor=FakeExecutor()) as batcher:
        with pytest.raises(error, match=says):
            await batcher.submit_many([1, 2], sizes=sizes)
    assert batcher.stats().accepted == 0


# --------------------------------------------------------------------------------------- receipts


async def test_a_receipt_tells_what_the_request_went_through() -> None:
    executor = FakeExecutor(run_time=RUN_TIME)
    async with Batcher(double, max_batch_size=4, executor=executor) as batcher:
        first = asyncio.ensure_future(batcher.submit_with_receipt(1, size=3))
        await asyncio.sleep(RUN_TIME / 2)
        second = asyncio.ensure_future(batcher.submit_with_receipt(2, size=2))
        await asyncio.sleep(RUN_TIME / 4)
        third = asyncio.ensure_future(batcher.submit_with_receipt(3, size=2))
        answers = list(await asyncio.gather(first, second, third))
    assert answers == [
        (2, Receipt(0.0, RUN_TIME, 3, 1, 3, Reason.IDLE, 0.0)),
        (4, Receipt(RUN_TIME / 2, RUN_TIME, 4, 2, 4, Reason.FULL, RUN_TIME)),
        (6, Receipt(RUN_TIME / 4, RUN_TIME, 4, 2, 4, Reason.FULL, RUN_TIME)),
    ]


# --------------------------------------------------------------------------- mistakes of one caller


class WholeNumber:
    """What `operator.index` takes: NumPy integers are such."""

    def __index__(self) -> int:
        return 3


async def test_a_size_may_be_any_whole_number() -> None:
    executor = FakeExecutor()
    async with Batcher(double, executor=executor) as batcher:
        size: Any = WholeNumber()
        assert await batcher.submit(1, size=size) == 2
    assert [batch.size for batch in executor.started] == [3]


@pytest.mark.parametrize(
    ("size", "bucket", "error"),
    [
        (0, None, ValueError),
        (-1, None, ValueError),
        (1.0, None, TypeError),
        ("1", None, TypeError),
        (1, [], TypeError),
    ],
)
async def test_a_mistake_in_a_call_is_told_to_its_caller_and_harms_nobody(
    size: Any, bucket: Any, error: type[Exception]
) -> None:
    executor = FakeExecutor(by_hand=True)
    async with Batcher(double, executor=executor) as batcher:
        neighbour = asyncio.ensure_future(batcher.submit(1))
        await settle()
        for _ in range(2):
            with pytest.raises(error):
                await batcher.submit(2, size=size, bucket=bucket)
            with pytest.raises(error):
                await batcher.submit_many([2, 3], sizes=[size, size], bucket=bucket)
        assert batcher.stats().accepted == 1
        assert batcher.stats().queued_rows == 0
        await work_off(executor)
        assert await neighbour == 2
    assert_nothing_left(batcher, executor)


async def test_buckets_that_are_equal_are_one_bucket() -> None:
    executor = FakeExecutor()
    buckets: list[Hashable] = [1, 1.0, True, ("a", 1), ("a", 1.0)]
    async with Batcher(double, executor=executor) as batcher:
        await asyncio.gather(*[batcher.submit(0, bucket=bucket) for bucket in buckets])
    assert [len(batch) for batch in executor.started] == [3, 2]


# --------------------------------------------------------------------------------- inside run_batch


async def test_submitting_from_inside_a_coroutine_run_batch_is_refused() -> None:
    refusals: list[object] = []

    async def model(batch: Batch[int]) -> list[int | Exception]:
        calls = [batcher.submit(0), batcher.submit_many([0]), _in_a_task(batcher)]
        refusals.extend(await asyncio.gather(*calls, return_exceptions=True))
        return double(batch)

    async with Batcher(model) as batcher:
        assert await batcher.submit(1) == 2
        assert await batcher.submit(2) == 4  # The mark does not outlive the call.
    assert len(refusals) == 6
    for refusal in refusals:
        assert isinstance(refusal, RuntimeError)
        assert "submitting from inside its own run_batch" in str(refusal)


async def _in_a_task(batcher: Batcher[int, int]) -> int:
    return await asyncio.ensure_future(batcher.submit(0))


async def test_a_coroutine_run_batch_may_submit_to_another_batcher() -> None:
    async def outer(batch: Batch[int]) -> list[int]:
        return await inner.submit_many(batch)

    async with Batcher(double, executor=FakeExecutor()) as inner, Batcher(outer) as batcher:
        assert await batcher.submit(2) == 4


# ----------------------------------------------------------------------------------------- contexts

whose: contextvars.ContextVar[str] = contextvars.ContextVar("whose", default="nobody's")


async def _call_as(name: str, batcher: Batcher[int, int], item: int) -> int:
    whose.set(name)
    return await batcher.submit(item)


async def test_context_variables_of_callers_do_not_leak_into_a_coroutine_run_batch() -> None:
    seen: list[str] = []

    async def model(batch: Batch[int]) -> list[int | Exception]:
        seen.append(whose.get())
        whose.set("the model's")
        await asyncio.sleep(RUN_TIME)
        return double(batch)

    whose.set("the block's")
    async with Batcher(model, max_batch_size=2) as batcher:
        names = ["Ann's", "Bob's", "Cid's", "Dan's", "Eve's"]
        await asyncio.gather(*[_call_as(name, batcher, 0) for name in names])
        assert whose.get() == "the block's"
    assert seen == ["nobody's"] * 3


async def test_context_variables_of_callers_do_not_leak_into_on_batch() -> None:
    seen: list[str] = []
    executor = FakeExecutor(run_time=RUN_TIME)
    whose.set("the block's")
    async with Batcher(
        double, max_batch_size=2, executor=executor, on_batch=lambda _: seen.append(whose.get())
    ) as batcher:
        names = ["Ann's", "Bob's", "Cid's", "Dan's", "Eve's"]
        await asyncio.gather(*[_call_as(name, batcher, 0) for name in names])
    assert seen == ["nobody's"] * 3


# ----------------------------------------------------------------------------- coroutine run_batch


async def test_a_coroutine_run_batch_keeps_to_its_concurrency() -> None:
    running: list[int] = []
    most: list[int] = []

    async def model(batch: Batch[int]) -> list[int | Exception]:
        running.append(1)
        most.append(len(running))
        await asyncio.sleep(RUN_TIME)
        running.pop()
        return double(batch)

    async with Batcher(model, max_batch_size=1, concurrency=3) as batcher:
        assert await batcher.submit_many(range(7)) == [2 * item for item in range(7)]
    assert asyncio.get_running_loop().time() == 3 * RUN_TIME
    assert max(most) == 3


async def test_closing_cancels_a_coroutine_run_batch() -> None:
    ended: list[str] = []

    async def model(batch: Batch[int]) -> list[int | Exception]:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return double(batch)

    async with Batcher(model) as batcher:
        caller = asyncio.ensure_future(batcher.submit(1))
        await settle()
        await batcher.close()
        (told,) = await outcomes([caller])
        await settle()
    assert isinstance(told, BatcherClosed)
    assert ended == ["cancelled"]
    assert batcher.stats().running_batches == 0


async def test_closing_before_a_coroutine_run_batch_has_begun_gives_its_slot_back() -> None:
    called: list[int] = []

    async def model(batch: Batch[int]) -> list[int | Exception]:
        called.append(len(batch))
        return double(batch)

    async with Batcher(model) as batcher:
        caller = asyncio.ensure_future(batcher.submit(1))
        await asyncio.sleep(0)  # The caller submits, and wakes the batching coroutine.
        await asyncio.sleep(0)  # That starts the batch, whose coroutine has not begun yet.
        assert batcher.stats().running_batches == 1
        assert called == []
        await batcher.close()
        await settle()
        (told,) = await outcomes([caller])
    assert isinstance(told, BatcherClosed)
    assert batcher.stats().running_batches == 0
    assert batcher._executor.free_slots == 1
