"""Failed batches of a repeatable function, exhausted memory, and calls that hang."""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from batcher import (
    Batch,
    Batcher,
    BatcherClosed,
    BatcherStuck,
    BatchFailed,
    BatchRecord,
    DeadlineExceeded,
    Isolation,
    Reason,
    ThreadExecutor,
)
from batcher.executor import Done, Function
from batcher.testing import FakeExecutor, Faults
from tests.batcher.scenes import LONG, assert_nothing_left, double, outcomes, ran, settle, work_off

RUN_TIME = 1.0
Reports = list[dict[str, Any]]


class Crowd:
    """64 callers of a repeatable function, in one batch."""

    def __init__(self, run_batch: Callable[[Batch[int]], Any], **options: Any) -> None:
        self.records: list[BatchRecord] = []
        self.executor = FakeExecutor(run_time=RUN_TIME)
        options = {"max_batch_size": 64, "repeatable": True, **options}
        self.batcher: Batcher[int, int] = Batcher(
            run_batch, executor=self.executor, on_batch=self.records.append, **options
        )

    async def told(self, count: int = 64) -> list[Any]:
        async with self.batcher as batcher:
            told = await outcomes([asyncio.ensure_future(batcher.submit(n)) for n in range(count)])
        assert_nothing_left(batcher, self.executor)
        return told


@pytest.mark.parametrize("count", [1, 2, 3])
async def test_only_the_guilty_fail_and_everybody_else_gets_an_answer(count: int) -> None:
    guilty = random.Random(count).sample(range(64), count)
    crowd = Crowd(Faults(double, poison=guilty))
    for item, told in enumerate(await crowd.told()):
        if item in guilty:
            assert isinstance(told, BatchFailed)
            assert str(told.__cause__) == f"poisoned by {item}"
        else:
            assert told == 2 * item
    assert len(crowd.records) - 1 <= 2 * count * 6
    assert sum(record.failed for record in crowd.records) == count


async def test_records_tell_what_ran_again_and_why() -> None:
    crowd = Crowd(Faults(double, poison=[3]))
    await crowd.told(4)
    assert [(r.size, r.reason, r.failed, r.again) for r in crowd.records] == [
        (4, Reason.IDLE, 0, 4),
        (2, Reason.AGAIN, 0, 0),
        (1, Reason.AGAIN, 0, 0),
        (1, Reason.AGAIN, 1, 0),
    ]


async def test_a_failure_that_does_not_come_again_costs_nobody_anything() -> None:
    crowd = Crowd(Faults(double, {0: OSError("once")}))
    assert await crowd.told() == [2 * item for item in range(64)]


async def test_a_wrong_number_of_results_is_looked_into_as_well() -> None:
    crowd = Crowd(Faults(double, {0: Faults.one_result_short}))
    assert await crowd.told(4) == [0, 2, 4, 6]


async def test_the_budget_holds_when_everybody_is_guilty() -> None:
    crowd = Crowd(Faults(double, poison=range(64)), isolation=Isolation(max_extra_runs=10))
    told = await crowd.told()
    assert all(isinstance(each, BatchFailed) for each in told)
    assert len(set(map(id, told))) == 64
    assert len(crowd.records) == 11


async def test_without_repeatable_nothing_runs_twice() -> None:
    crowd = Crowd(Faults(double, poison=[3]), repeatable=False)
    assert all(isinstance(each, BatchFailed) for each in await crowd.told())
    assert len(crowd.records) == 1


async def test_what_ends_programs_is_not_run_again() -> None:
    crowd = Crowd(Faults(double, {0: SystemExit()}))
    assert all(isinstance(each, BatchFailed) for each in await crowd.told(4))
    assert len(crowd.records) == 1


async def test_who_gives_up_or_is_late_meanwhile_does_not_run_again() -> None:
    executor = FakeExecutor(run_time=RUN_TIME)
    faults = Faults(double, poison=[3])
    async with Batcher(faults, repeatable=True, executor=executor) as batcher:
        submit = batcher.submit
        callers = [asyncio.ensure_future(submit(item)) for item in range(4)]
        late = asyncio.ensure_future(submit(4, timeout=1.5 * RUN_TIME))
        await asyncio.sleep(0.5 * RUN_TIME)
        callers[2].cancel()
        told = await outcomes([*callers, late])
    assert told[:2] == [0, 2]
    assert isinstance(told[2], asyncio.CancelledError)
    assert isinstance(told[3], BatchFailed)
    assert isinstance(told[4], DeadlineExceeded)
    again = [item for batch in ran(executor)[1:] for item in batch]
    assert 2 not in again
    assert_nothing_left(batcher, executor)


async def test_closing_meanwhile_fails_everybody_at_once() -> None:
    executor = FakeExecutor(run_time=RUN_TIME)
    batcher = Batcher(Faults(double, poison=[3]), repeatable=True, executor=executor)
    await batcher.__aenter__()
    callers = [asyncio.ensure_future(batcher.submit(item)) for item in range(8)]
    await asyncio.sleep(1.5 * RUN_TIME)
    await batcher.close()
    assert all(isinstance(each, Exception) for each in await outcomes(callers))
    await asyncio.sleep(RUN_TIME)
    assert executor.free_slots == executor.slots


async def test_others_wait_while_a_batch_is_looked_into_and_run_after_it() -> None:
    executor = FakeExecutor(run_time=RUN_TIME)
    async with Batcher(Faults(double, poison=[1]), repeatable=True, executor=executor) as batcher:
        callers = [asyncio.ensure_future(batcher.submit(item)) for item in range(2)]
        await settle()
        callers.append(asyncio.ensure_future(batcher.submit(7)))
        told = await outcomes(callers)
    assert (told[0], told[2]) == (0, 14)
    assert ran(executor) == [[0, 1], [0], [1], [7]]


# --------------------------------------------------------------------------------------- memory


def with_room_for(rows: int) -> Callable[[Batch[int]], Sequence[int | Exception]]:
    def run_batch(batch: Batch[int]) -> Sequence[int | Exception]:
        if batch.padded_size > rows:
            msg = f"no room for {batch.padded_size} rows"
            raise MemoryError(msg)
        return double(batch)

    return run_batch


async def test_a_batch_that_exhausts_the_memory_is_split_and_later_ones_are_smaller() -> None:
    crowd = Crowd(with_room_for(20))
    async with crowd.batcher as batcher:
        for _ in range(2):
            told = await outcomes([asyncio.ensure_future(batcher.submit(n)) for n in range(64)])
            assert told == [2 * item for item in range(64)]
        assert batcher.stats().max_batch_size == 16
    sizes = [record.size for record in crowd.records]
    assert sizes == [64, 32, 16, 16, 32, 16, 16, 16, 16, 16, 16]


async def test_after_many_successes_more_is_tried_again() -> None:
    crowd = Crowd(with_room_for(20), isolation=Isolation(probe_after=2))
    async with crowd.batcher as batcher:
        for _ in range(2):
            await outcomes([asyncio.ensure_future(batcher.submit(n)) for n in range(64)])
    assert 20 in {record.size for record in crowd.records[7:]}


async def test_a_request_larger_than_what_fits_now_runs_alone() -> None:
    executor = FakeExecutor(run_time=RUN_TIME)
    async with Batcher(
        with_room_for(4), max_batch_size=8, repeatable=True, executor=executor
    ) as batcher:
        told = await outcomes([asyncio.ensure_future(batcher.submit(n)) for n in range(8)])
        assert told == [2 * item for item in range(8)]
        assert batcher.stats().max_batch_size == 4
        with pytest.raises(BatchFailed, match="no room for 8 rows"):
            await batcher.submit(1, size=8)
        assert await batcher.submit(3, size=2) == 6


# ---------------------------------------------------------------------------------------- hangs


async def test_a_hung_call_fails_its_batch_and_refuses_others_until_it_comes_back(
    reports: Reports,
) -> None:
    executor = FakeExecutor(by_hand=True)
    async with Batcher(double, max_batch_size=2, run_timeout=5.0, executor=executor) as batcher:
        running = [asyncio.ensure_future(batcher.submit(item)) for item in range(2)]
        await settle()
        waiting = asyncio.ensure_future(batcher.submit(2))
        began = asyncio.get_running_loop().time()
        told = await outcomes([*running, waiting])
        assert asyncio.get_running_loop().time() - began == pytest.approx(5.0)
        assert [type(each) for each in told] == [BatchFailed, BatchFailed, BatcherStuck]
        assert isinstance(told[0].__cause__, TimeoutError)
        assert "has not come back within 5 s" in str(told[0])
        with pytest.raises(BatcherStuck):
            await batcher.submit(3)
        with pytest.raises(BatcherStuck):
            await batcher.submit_many([3, 4], priority=1)
        assert not batcher.stats().healthy
        executor.start_next()
        executor.finish_next()
        assert batcher.stats().healthy
        fine = asyncio.ensure_future(batcher.submit(4))
        await settle()
        await work_off(executor)
        assert await fine == 8
    assert [report["message"].endswith(": a call hangs") for report in reports] == [True]
    assert_nothing_left(batcher, executor)


async def test_while_one_of_two_calls_hangs_the_other_goes_on(reports: Reports) -> None:
    executor = FakeExecutor(2, by_hand=True)
    async with Batcher(
        double, max_batch_size=1, concurrency=2, run_timeout=5.0, executor=executor
    ) as batcher:
        hung = asyncio.ensure_future(batcher.submit(0))
        assert isinstance((await outcomes([hung]))[0], BatchFailed)
        fine = asyncio.ensure_future(batcher.submit(1))
        await settle()
        assert batcher.stats().healthy
        executor._handed_over.rotate(-1)
        executor.start_next()
        executor.finish_next()
        assert await fine == 2
        await work_off(executor)
    assert len(reports) == 1


async def test_a_call_hung_elsewhere_on_a_shared_executor_is_told_here_too(
    reports: Reports,
) -> None:
    executor = FakeExecutor(by_hand=True)
    async with (
        Batcher(double, run_timeout=5.0, executor=executor) as one,
        Batcher(double, executor=executor) as other,
    ):
        hung = asyncio.ensure_future(one.submit(0))
        await settle()
        waiting = asyncio.ensure_future(other.submit(1))
        told = await outcomes([hung, waiting])
        assert [type(each) for each in told] == [BatchFailed, BatcherStuck]
        with pytest.raises(BatcherStuck):
            await other.submit(2)
        executor.start_next()
        executor.finish_next()
        fine = asyncio.ensure_future(other.submit(3))
        await settle()
        await work_off(executor)
        assert await fine == 6
    assert len(reports) == 1


async def test_a_drain_does_not_wait_for_a_hung_call(reports: Reports) -> None:
    executor = FakeExecutor(by_hand=True)
    batcher = Batcher(double, run_timeout=5.0, executor=executor)
    await batcher.__aenter__()
    hung = asyncio.ensure_future(batcher.submit(0))
    await settle()
    assert await batcher.drain()
    assert isinstance((await outcomes([hung]))[0], BatchFailed)
    executor.start_next()
    executor.finish_next()
    await settle()
    assert executor.free_slots == executor.slots
    assert len(reports) == 1


async def test_a_part_of_a_failed_batch_that_hangs_fails_all_of_the_rest(
    reports: Reports,
) -> None:
    executor = FakeExecutor(by_hand=True)
    async with Batcher(
        Faults(double, poison=[3]), repeatable=True, run_timeout=5.0, executor=executor
    ) as batcher:
        callers = [asyncio.ensure_future(batcher.submit(item)) for item in range(4)]
        await settle()
        executor.start_next()
        executor.finish_next()
        told = await outcomes(callers)
        assert all(isinstance(each.__cause__, TimeoutError) for each in told)
        await work_off(executor)
    assert len(reports) == 1


class Unreliable(FakeExecutor):
    """Takes so many calls, and then fails to start any."""

    def __init__(self, calls: int) -> None:
        super().__init__(run_time=RUN_TIME)
        self.calls = calls

    def run(self, function: Function, argument: object, done: Done) -> None:
        self.calls -= 1
        if self.calls < 0:
            msg = "no device"
            raise OSError(msg)
        super().run(function, argument, done)


@pytest.mark.parametrize("calls", [0, 1])
async def test_an_executor_that_starts_nothing_leaves_nobody_waiting(
    reports: Reports, calls: int
) -> None:
    """Neither the callers of a batch nor those of a part of it, nor a timer for the call."""
    executor = Unreliable(calls)
    async with Batcher(
        Faults(double, poison=[1]), repeatable=True, run_timeout=5.0, executor=executor
    ) as batcher:
        told = await outcomes([asyncio.ensure_future(batcher.submit(item)) for item in range(4)])
        assert [type(each) for each in told] == [BatcherClosed] * 4
        await asyncio.sleep(10.0)
        assert batcher.stats().healthy
    assert len(reports) == 1


async def test_a_call_that_takes_its_time_but_not_more_is_fine() -> None:
    executor = FakeExecutor(run_time=4.9)
    async with Batcher(double, run_timeout=5.0, executor=executor) as batcher:
        assert await batcher.submit(1) == 2
        await asyncio.sleep(60.0)
        assert batcher.stats().healthy


def test_a_process_can_exit_while_a_real_call_hangs() -> None:
    """The thread is a daemon; the loop ends, and so would the process."""
    import threading  # noqa: PLC0415 - this test alone has real threads

    never = threading.Event()
    executor = ThreadExecutor()

    def hang(batch: Batch[int]) -> list[int]:
        never.wait(LONG)
        return list(batch)

    async def main() -> Any:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        async with Batcher(hang, run_timeout=0.01, executor=executor) as batcher:
            return await asyncio.gather(batcher.submit(1), return_exceptions=True)

    (told,) = asyncio.run(main())
    assert isinstance(told, BatchFailed)
    never.set()
