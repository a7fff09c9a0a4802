"""Full batches handed over while another one runs: which, when, and what happens to them."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from batcher import (
    Admission,
    Batch,
    Batcher,
    BatcherClosed,
    BatcherStuck,
    BatchFailed,
    LoopExecutor,
    QueueFull,
    ThreadExecutor,
)
from batcher.executor import Done, Function
from batcher.testing import FakeExecutor, Faults
from tests.batcher.conftest import Reports
from tests.batcher.scenes import LONG, assert_nothing_left, double, outcomes, ran, settle, work_off

FULL = 4


def asking(batcher: Batcher[int, int], *items: int, **wishes: Any) -> list[asyncio.Task[int]]:
    """Callers of an item each."""
    return [asyncio.ensure_future(batcher.submit(item, **wishes)) for item in items]


@asynccontextmanager
async def prefetching(
    function: Callable[[Batch[int]], Sequence[int | Exception]] = double, **options: Any
) -> AsyncIterator[tuple[Batcher[int, int], FakeExecutor]]:
    """A Batcher that prefetches, whose executor waits to be told; at the end all is run."""
    executor = FakeExecutor(by_hand=True)
    async with Batcher(
        function, max_batch_size=FULL, prefetch=True, executor=executor, **options
    ) as batcher:
        yield batcher, executor
        await work_off(executor)
    assert_nothing_left(batcher, executor)


async def test_a_full_batch_is_handed_over_behind_the_one_that_runs() -> None:
    async with prefetching() as (batcher, executor):
        first = asking(batcher, 0)
        await settle()
        assert executor.handed_over == 1
        others = asking(batcher, 1, 2, 3)
        await settle()
        assert executor.handed_over == 1, "three are not full"
        others += asking(batcher, 4)
        await settle()
        assert (executor.handed_over, batcher.stats().running_batches) == (2, 2)
        others += asking(batcher, *range(5, 10))
        await settle()
        assert (executor.handed_over, batcher.stats().queued_requests) == (2, 5), "one at a time"
        executor.start_next()
        executor.finish_next()
        await settle()
        assert executor.handed_over == 2, "the first has ended, the third is bound"
        await work_off(executor)
        assert await asyncio.gather(*first, *others) == [2 * item for item in range(10)]
        assert ran(executor) == [[0], [1, 2, 3, 4], [5, 6, 7, 8], [9]]


@pytest.mark.parametrize("wish", [{"priority": 1}, {"timeout": 60.0}])
async def test_whom_somebody_may_overtake_is_not(wish: dict[str, Any]) -> None:
    async with prefetching() as (batcher, executor):
        asking(batcher, 0)
        await settle()
        asking(batcher, *range(1, 9), **wish)
        await settle()
        assert executor.handed_over == 1


async def test_a_full_batch_behind_an_older_request_of_another_bucket_is_not() -> None:
    async with prefetching() as (batcher, executor):
        asking(batcher, 0)
        await settle()
        asking(batcher, 1, bucket="older")
        asking(batcher, 2, 3, 4, 5, 6)
        await settle()
        assert executor.handed_over == 1


async def test_where_all_have_left_by_then_nothing_is_handed_over() -> None:
    async with prefetching() as (batcher, executor):
        asking(batcher, 0)
        await settle()
        callers = asking(batcher, 1, 2, 3, 4)
        # The Batcher is woken by the last of them, and hears that they have gone only then.
        await asyncio.sleep(0)
        for caller in callers:
            caller.cancel()
        await settle()
        assert executor.handed_over == 1


async def test_beside_somebody_who_waits_for_the_thread_nothing_is() -> None:
    executor = FakeExecutor(run_time=1.0)
    async with (
        Batcher(double, max_batch_size=FULL, prefetch=True, executor=executor) as batcher,
        Batcher(double, executor=executor) as other,
    ):
        asking(batcher, *range(9))
        await settle()
        asking(other, 100)
        await settle()
        assert [len(items) for items in ran(executor)] == [4]
        await asyncio.sleep(1.0)
        # What was bound before the other came runs first, and no more than that.
        assert ran(executor)[1:] == [[4, 5, 6, 7]]
        await asyncio.sleep(1.0)
        assert ran(executor)[2:] == [[100]]


@pytest.mark.parametrize("executor", [FakeExecutor(2, by_hand=True), LoopExecutor()])
def test_only_an_executor_that_keeps_the_order_is_given_more(executor: Any) -> None:
    assert not executor.in_order


async def test_several_at_a_time_are_not_prefetched() -> None:
    async with prefetching(concurrency=2) as (batcher, executor):
        asking(batcher, *range(12))
        await settle()
        assert executor.handed_over == 1


async def test_its_time_in_the_queue_ends_when_the_thread_is_free() -> None:
    executor = FakeExecutor(run_time=1.0)
    async with Batcher(double, max_batch_size=FULL, prefetch=True, executor=executor) as batcher:
        asking(batcher, 0)
        await settle()
        asked = [batcher.submit_with_receipt(item) for item in range(1, 5)]
        receipts = [receipt for _, receipt in await asyncio.gather(*asked)]
    assert [receipt.queue_time for receipt in receipts] == pytest.approx([1.0] * FULL, abs=1e-3)
    assert {receipt.run_time for receipt in receipts} == {1.0}


async def test_closing_tells_those_who_are_bound() -> None:
    executor = FakeExecutor(by_hand=True)
    batcher = Batcher(double, max_batch_size=FULL, prefetch=True, executor=executor)
    await batcher.__aenter__()
    callers = asking(batcher, 0)
    await settle()
    callers += asking(batcher, 1, 2, 3, 4)
    await settle()
    await batcher.close()
    assert {type(end) for end in await outcomes(callers)} == {BatcherClosed}
    for _ in range(2):
        executor.start_next()
        executor.finish_next()
    assert executor.free_slots == 1


async def test_behind_a_call_that_hangs_they_are_told_at_once(reports: Reports) -> None:
    executor = FakeExecutor(by_hand=True)
    batcher = Batcher(
        double, max_batch_size=FULL, prefetch=True, run_timeout=1.0, executor=executor
    )
    async with batcher:
        first = asking(batcher, 0)
        await settle()
        bound = asking(batcher, 1, 2, 3, 4)
        await asyncio.sleep(1.5)
        assert {type(end) for end in await outcomes(first)} == {BatchFailed}
        assert {type(end) for end in await outcomes(bound)} == {BatcherStuck}
        # It comes back; what was bound runs for nobody, and has a time of its own.
        executor.start_next()
        executor.finish_next()
        await asyncio.sleep(0.9)
        assert batcher.stats().healthy
        again = asking(batcher, 5)
        executor.start_next()
        executor.finish_next()
        await settle()
        executor.start_next()
        executor.finish_next()
        assert await again[0] == 10
    assert_nothing_left(batcher, executor)
    assert len(reports) == 1


async def test_a_drain_does_not_wait_for_what_is_bound_behind_a_hang(reports: Reports) -> None:
    executor = FakeExecutor(by_hand=True)
    batcher = Batcher(
        double, max_batch_size=FULL, prefetch=True, run_timeout=1.0, executor=executor
    )
    await batcher.__aenter__()
    callers = asking(batcher, 0)
    await settle()
    callers += asking(batcher, 1, 2, 3, 4)
    await settle()
    assert await batcher.drain() is True
    await outcomes(callers)
    assert asyncio.get_running_loop().time() == pytest.approx(1.0, abs=0.01)
    assert len(reports) == 1


async def test_the_parts_of_a_failed_batch_run_behind_what_was_bound() -> None:
    async with prefetching(Faults(double, poison=[0]), repeatable=True) as (batcher, executor):
        callers = asking(batcher, 0, 1)
        await settle()
        callers += asking(batcher, 2, 3, 4, 5)
        await settle()
        for _ in range(4):
            executor.start_next()
            executor.finish_next()
            await settle()
        ends = await outcomes(callers)
        assert [type(end) for end in ends] == [BatchFailed, int, int, int, int, int]
        assert ran(executor) == [[0, 1], [2, 3, 4, 5], [0], [1]]


async def test_the_time_of_what_is_bound_counts_for_those_who_come() -> None:
    executor = FakeExecutor(run_time=1.0)
    async with Batcher(
        double,
        max_batch_size=FULL,
        prefetch=True,
        executor=executor,
        admission=Admission(max_wait=1.5),
    ) as batcher:
        for _ in range(4):
            await asyncio.gather(*asking(batcher, 0, 1, 2, 3))
        callers = asking(batcher, *range(8))
        await settle()
        assert batcher.stats().running_batches == 2
        with pytest.raises(QueueFull, match="wait"):
            await batcher.submit(9)
        await asyncio.gather(*callers)


def test_a_model_thread_goes_on_without_the_event_loop() -> None:
    """The second batch has run before the loop has heard of the end of the first."""
    began: list[int] = []
    second = threading.Event()

    def note(batch: Batch[int]) -> list[int | Exception]:
        began.append(len(batch))
        if len(began) == 2:
            second.set()
        elif not began[1:]:
            go_on.wait(LONG)
        return double(batch)

    go_on = threading.Event()

    async def main() -> None:
        executor = ThreadExecutor()
        assert executor.in_order
        async with Batcher(note, max_batch_size=FULL, prefetch=True, executor=executor) as batcher:
            callers = asking(batcher, 0)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            callers += asking(batcher, 1, 2, 3, 4)
            while batcher.stats().running_batches < 2:  # noqa: ASYNC110 - a pass or two
                await asyncio.sleep(0)
            go_on.set()
            # The event loop is blocked here.
            assert second.wait(LONG)
            assert batcher.stats().batches == 0
            assert await asyncio.gather(*callers) == [0, 2, 4, 6, 8]
        assert began == [1, 4]

    asyncio.run(main())


# ----------------------------------------------------------------------------- beside other things


@pytest.mark.parametrize("prefetch", [True, False])
async def test_what_was_used_alone_is_not_paid_for(*, prefetch: bool) -> None:
    """Full batches that went on for long beside nobody; then another one wants as much."""
    executor = FakeExecutor(run_time=1.0)
    async with (
        Batcher(double, max_batch_size=FULL, prefetch=prefetch, executor=executor) as batcher,
        Batcher(double, max_batch_size=FULL, executor=executor) as other,
    ):
        asking(batcher, *range(240))
        await asyncio.sleep(30.5)
        asking(other, *range(1000, 1120))
        await asyncio.sleep(20.0)
    kinds = [items[0] >= 1000 for items in ran(executor)[32:52]]
    assert 9 <= kinds.count(True) <= 11


async def test_parts_behind_a_call_that_hangs_are_told_with_those_who_wait_for_them(
    reports: Reports,
) -> None:
    """A batch fails while another one is bound, which hangs."""
    executor = FakeExecutor(by_hand=True)
    async with Batcher(
        Faults(double, poison=[0]),
        max_batch_size=FULL,
        prefetch=True,
        repeatable=True,
        run_timeout=1.0,
        executor=executor,
    ) as batcher:
        failing = asking(batcher, 0, 1)
        await settle()
        bound = asking(batcher, 2, 3, 4, 5)
        await settle()
        executor.start_next()
        executor.finish_next()
        await asyncio.sleep(1.5)
        assert {type(end) for end in await outcomes(bound)} == {BatchFailed}
        assert {type(end) for end in await outcomes(failing)} == {BatcherStuck}
        await work_off(executor)
        assert batcher.stats().healthy
    assert_nothing_left(batcher, executor)
    assert len(reports) == 1


async def test_an_executor_that_does_not_keep_the_order_is_given_one_at_a_time() -> None:
    executor = FakeExecutor(2, by_hand=True)
    async with Batcher(double, max_batch_size=FULL, prefetch=True, executor=executor) as batcher:
        asking(batcher, 0)
        await settle()
        asking(batcher, 1, 2, 3, 4)
        await settle()
        assert executor.handed_over == 1
        await work_off(executor)


async def test_an_executor_that_breaks_behind_another_batch_ends_it_aloud(
    reports: Reports,
) -> None:
    class Breaks(FakeExecutor):
        def run(self, function: Function, argument: object, done: Done) -> None:
            if self.handed_over:
                msg = "planted"
                raise ValueError(msg)
            super().run(function, argument, done)

    executor = Breaks(by_hand=True)
    async with Batcher(double, max_batch_size=FULL, prefetch=True, executor=executor) as batcher:
        callers = asking(batcher, 0)
        await settle()
        callers += asking(batcher, 1, 2, 3, 4)
        await settle()
        assert {type(end) for end in await outcomes(callers)} == {BatcherClosed}
        await work_off(executor)
    assert executor.free_slots == 1
    assert len(reports) == 1
