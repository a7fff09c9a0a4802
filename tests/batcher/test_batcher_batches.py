"""Which requests run together, and when: late binding, order, limits, `batch_timeout`."""

import asyncio
from collections.abc import Hashable

import pytest

from batcher import Batch, Batcher, BatchRecord, QueueFull, Reason, RequestTooLarge
from batcher.testing import FakeExecutor, VirtualTimeLoop
from tests.batcher.scenes import double, outcomes, ran, settle, work_off

RUN_TIME = 1.0
PATIENCE = 0.25
"""A `batch_timeout`."""
A_WHILE = PATIENCE / 5


class Crowd:
    """Callers of a Batcher, in the order in which they called."""

    def __init__(self, batcher: Batcher[int, int]) -> None:
        self.batcher = batcher
        self.callers: list[asyncio.Task[int]] = []

    async def call(self, *items: int, size: int = 1, bucket: Hashable = None) -> None:
        """Submit each item from a task of its own, and let things settle."""
        submit = self.batcher.submit
        self.callers += [
            asyncio.ensure_future(submit(item, size=size, bucket=bucket)) for item in items
        ]
        await settle()

    async def results(self) -> list[int]:
        return await asyncio.gather(*self.callers)


# ---------------------------------------------------------------------------------- late binding


async def test_callers_of_one_pass_share_a_batch_and_get_their_own_results() -> None:
    executor = FakeExecutor()
    async with Batcher(double, executor=executor) as batcher:
        crowd = Crowd(batcher)
        await crowd.call(1, 2, 3)
        assert await crowd.results() == [2, 4, 6]
    assert ran(executor) == [[1, 2, 3]]


async def test_who_is_in_a_batch_is_decided_when_the_slot_frees() -> None:
    executor = FakeExecutor(run_time=RUN_TIME)
    async with Batcher(double, max_batch_size=4, executor=executor) as batcher:
        crowd = Crowd(batcher)
        await crowd.call(0)
        await crowd.call(1)
        await asyncio.sleep(RUN_TIME / 2)
        await crowd.call(2, 3)
        assert ran(executor) == [[0]]
        await asyncio.sleep(RUN_TIME / 2)
        assert ran(executor) == [[0], [1, 2, 3]]
        await crowd.results()


async def test_no_more_batches_are_handed_over_than_run_at_a_time() -> None:
    executor = FakeExecutor(slots=3, by_hand=True)
    async with Batcher(double, max_batch_size=2, concurrency=2, executor=executor) as batcher:
        crowd = Crowd(batcher)
        await crowd.call(*range(8))
        assert executor.handed_over == 2
        assert executor.free_slots == 1
        assert batcher.stats().queued_requests == 4
        await work_off(executor)
        assert await crowd.results() == [2 * item for item in range(8)]


async def test_the_next_batch_is_handed_over_before_the_callers_of_the_last_resume() -> None:
    executor = FakeExecutor(by_hand=True)
    async with Batcher(double, max_batch_size=1, executor=executor) as batcher:
        crowd = Crowd(batcher)
        await crowd.call(1, 2)
        executor.start_next()
        executor.finish_next()
        assert executor.handed_over == 1
        assert not any(caller.done() for caller in crowd.callers)
        await work_off(executor)
        assert await crowd.results() == [2, 4]


async def test_the_next_batch_is_handed_over_before_on_batch_hears_of_the_last() -> None:
    handed_over: list[int] = []
    executor = FakeExecutor(by_hand=True)
    async with Batcher(
        double,
        max_batch_size=1,
        executor=executor,
        on_batch=lambda _: handed_over.append(executor.handed_over),
    ) as batcher:
        crowd = Crowd(batcher)
        await crowd.call(1, 2)
        await work_off(executor)
        assert await crowd.results() == [2, 4]
    assert handed_over == [1, 0]


async def test_a_free_slot_never_stands_beside_a_waiting_request() -> None:
    executor = FakeExecutor(slots=2, run_time=RUN_TIME)
    at_rest: list[tuple[int, int]] = []
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    async with Batcher(double, max_batch_size=2, concurrency=2, executor=executor) as batcher:
        loop.on_rest.append(
            lambda: at_rest.append((executor.free_slots, batcher.stats().queued_rows))
        )
        crowd = Crowd(batcher)
        for item in range(12):
            await crowd.call(item)
            await asyncio.sleep(RUN_TIME / 7)
        await crowd.results()
    assert any(queued for _, queued in at_rest)
    assert any(free for free, _ in at_rest)
    assert not [moment for moment in at_rest if moment[0] and moment[1]]


async def test_a_lone_request_does_not_wait_for_company() -> None:
    async with Batcher(double, executor=FakeExecutor()) as batcher:
        assert await batcher.submit(1) == 2
        assert asyncio.get_running_loop().time() == 0


# ----------------------------------------------------------------------------- order and buckets


async def test_a_bucket_is_first_in_first_out() -> None:
    executor = FakeExecutor(by_hand=True)
    async with Batcher(double, max_batch_size=3, executor=executor) as batcher:
        crowd = Crowd(batcher)
        await crowd.call(*range(8))
        await work_off(executor)
    assert ran(executor) == [[0, 1, 2], [3, 4, 5], [6, 7]]


async def test_buckets_are_served_by_their_oldest_head_and_never_mixed() -> None:
    executor = FakeExecutor(by_hand=True)
    async with Batcher(double, max_batch_size=2, executor=executor) as batcher:
        crowd = Crowd(batcher)
        await crowd.call(0)
        await crowd.call(1, bucket="a")
        await crowd.call(2, bucket="b")
        await crowd.call(3, 4, bucket="a")
        await crowd.call(5, bucket="b")
        await work_off(executor)
        assert await crowd.results() == [0, 2, 4, 6, 8, 10]
    assert ran(executor) == [[0], [1, 3], [2, 5], [4]]
    assert [batch.bucket for batch in executor.started] == [None, "a", "b", "a"]


async def test_a_head_that_does_not_fit_closes_the_batch() -> None:
    executor = FakeExecutor(by_hand=True)
    async with Batcher(double, max_batch_size=4, executor=executor) as batcher:
        crowd = Crowd(batcher)
        await crowd.call(0)
        await crowd.call(1, size=2)
        await crowd.call(2, size=3)
        await crowd.call(3, size=1)
        await work_off(executor)
    assert ran(executor) == [[0], [1], [2, 3]]
    assert [batch.size for batch in executor.started] == [1, 2, 4]


async def test_run_batch_sees_items_bucket_and_rows() -> None:
    seen: list[Batch[int]] = []

    def model(batch: Batch[int]) -> list[int | Exception]:
        seen.append(batch)
        return double(batch)

    async with Batcher(model, executor=FakeExecutor()) as batcher:
        crowd = Crowd(batcher)
        await crowd.call(1, 2, size=3, bucket=("x", 4))
        await crowd.results()
    (batch,) = seen
    assert isinstance(batch, Batch)
    assert (list(batch), batch.bucket, batch.size) == ([1, 2], ("x", 4), 6)


# ---------------------------------------------------------------------------------------- limits


async def test_a_batch_is_limited_by_rows_not_requests() -> None:
    executor = FakeExecutor()
    async with Batcher(double, max_batch_size=6, executor=executor) as batcher:
        crowd = Crowd(batcher)
        await crowd.call(*range(5), size=2)
        await crowd.results()
    assert ran(executor) == [[0, 1, 2], [3, 4]]


async def test_a_full_queue_refuses_at_once_and_says_when_to_come_back() -> None:
    executor = FakeExecutor(run_time=RUN_TIME)
    async with Batcher(double, max_batch_size=2, max_queue_size=5, executor=executor) as batcher:
        crowd = Crowd(batcher)
        await crowd.call(0)
        await crowd.call(1, 2, 3, 4)
        with pytest.raises(QueueFull) as before_the_first_batch:
            await batcher.submit(5, size=2)
        assert before_the_first_batch.value.retry_after == 0.0
        await asyncio.sleep(RUN_TIME)
        await crowd.call(5, 6, 7)
        now = asyncio.get_running_loop().time()
        with pytest.raises(
            QueueFull, match="no room for 1 more rows: 5 wait already, max_queue_size=5"
        ) as refused:
            await batcher.submit(8)
        assert asyncio.get_running_loop().time() == now
        # What is left of the one that runs, and ceil(5 rows / 2) batches.
        assert refused.value.retry_after == pytest.approx(4 * RUN_TIME, rel=1e-3)
        assert batcher.stats().refused == 2
        await crowd.results()


async def test_the_queue_is_limited_by_rows_and_takes_the_last_one() -> None:
    executor = FakeExecutor(by_hand=True)
    async with Batcher(double, max_batch_size=4, max_queue_size=8, executor=executor) as batcher:
        crowd = Crowd(batcher)
        await crowd.call(0)
        await crowd.call(1, 2, size=3)
        with pytest.raises(QueueFull):
            await batcher.submit(3, size=3)
        await crowd.call(4, size=2)
        assert batcher.stats().queued_rows == batcher.max_queue_size == 8
        await work_off(executor)
        assert await crowd.results() == [0, 2, 4, 8]


async def test_a_request_larger_than_a_batch_is_refused_for_good() -> None:
    async with Batcher(double, max_batch_size=4, executor=FakeExecutor()) as batcher:
        with pytest.raises(RequestTooLarge, match="5 rows in one item exceed max_batch_size=4"):
            await batcher.submit(1, size=5)
        assert await batcher.submit(1, size=4) == 2
    assert (batcher.stats().accepted, batcher.stats().refused) == (1, 0)


async def test_a_request_larger_than_the_queue_is_refused_for_good() -> None:
    async with Batcher(double, max_queue_size=3, executor=FakeExecutor()) as batcher:
        with pytest.raises(RequestTooLarge, match="4 rows exceed max_queue_size=3"):
            await batcher.submit(1, size=4)
    assert (batcher.stats().accepted, batcher.stats().refused) == (0, 0)


# --------------------------------------------------------------------------------- batch_timeout


class Timed:
    """A Batcher that waits for company, and when each of its batches was taken, and why."""

    def __init__(self, *, max_queue_size: int = 100, slots: int = 1) -> None:
        self.taken: list[tuple[object, Reason, list[int]]] = []
        self.executor = FakeExecutor(slots, run_time=self._take)
        self.batcher: Batcher[int, int] = Batcher(
            double,
            max_batch_size=3,
            max_queue_size=max_queue_size,
            batch_timeout=PATIENCE,
            concurrency=slots,
            executor=self.executor,
            on_batch=self._on_batch,
        )
        self._times: list[tuple[float, list[int]]] = []

    def _take(self, batch: Batch[int]) -> float:
        self._times.append((asyncio.get_running_loop().time(), list(batch)))
        return RUN_TIME

    def _on_batch(self, record: BatchRecord) -> None:
        time, items = self._times[len(self.taken)]
        self.taken.append((pytest.approx(time, abs=A_WHILE / 100), record.reason, items))


async def test_a_batch_waits_for_company_until_its_oldest_has_waited_batch_timeout() -> None:
    timed = Timed()
    async with timed.batcher as batcher:
        crowd = Crowd(batcher)
        await crowd.call(1)
        await asyncio.sleep(A_WHILE)
        await crowd.call(2)
        await crowd.results()
    assert timed.taken == [(PATIENCE, Reason.TIMEOUT, [1, 2])]


async def test_a_full_batch_does_not_wait() -> None:
    timed = Timed()
    async with timed.batcher as batcher:
        crowd = Crowd(batcher)
        await crowd.call(1, 2)
        await asyncio.sleep(A_WHILE)
        await crowd.call(3)
        await crowd.results()
    assert timed.taken == [(A_WHILE, Reason.FULL, [1, 2, 3])]


async def test_waiting_while_the_model_is_busy_counts() -> None:
    timed = Timed()
    async with timed.batcher as batcher:
        crowd = Crowd(batcher)
        await crowd.call(1, 2, 3)
        await crowd.call(4)
        await crowd.results()
    assert timed.taken == [
        (0, Reason.FULL, [1, 2, 3]),
        (RUN_TIME, Reason.TIMEOUT, [4]),
    ]


async def test_a_full_bucket_overtakes_one_that_waits_for_company() -> None:
    timed = Timed(slots=2)
    async with timed.batcher as batcher:
        crowd = Crowd(batcher)
        await crowd.call(1, bucket="waits")
        await asyncio.sleep(A_WHILE)
        await crowd.call(2, 3, 4, bucket="full")
        await crowd.results()
    assert timed.taken == [
        (A_WHILE, Reason.FULL, [2, 3, 4]),
        (PATIENCE, Reason.TIMEOUT, [1]),
    ]


async def test_a_full_bucket_does_not_overtake_one_whose_time_is_up() -> None:
    timed = Timed()
    async with timed.batcher as batcher:
        crowd = Crowd(batcher)
        await crowd.call(0, 1, 2)
        await crowd.call(3, bucket="old")
        await crowd.call(4, 5, 6, bucket="full")
        await crowd.results()
    assert [items for _, _, items in timed.taken] == [[0, 1, 2], [3], [4, 5, 6]]


async def test_a_full_queue_is_not_kept_waiting_for_company_it_cannot_take() -> None:
    timed = Timed(max_queue_size=4, slots=2)
    async with timed.batcher as batcher:
        crowd = Crowd(batcher)
        await crowd.call(1, 2, bucket="a")
        await asyncio.sleep(A_WHILE)
        await crowd.call(3, 4, bucket="b")
        await crowd.results()
    assert timed.taken == [
        (A_WHILE, Reason.FULL, [1, 2]),
        (A_WHILE + PATIENCE, Reason.TIMEOUT, [3, 4]),
    ]


async def test_the_time_of_a_head_that_gave_up_does_not_release_those_behind_it() -> None:
    timed = Timed()
    async with timed.batcher as batcher:
        crowd = Crowd(batcher)
        await crowd.call(1)
        await asyncio.sleep(A_WHILE)
        await crowd.call(2)
        crowd.callers.pop(0).cancel()
        await crowd.results()
    assert timed.taken == [(A_WHILE + PATIENCE, Reason.TIMEOUT, [2])]


async def test_a_waiting_batch_is_released_by_the_drain() -> None:
    timed = Timed()
    async with timed.batcher as batcher:
        crowd = Crowd(batcher)
        await crowd.call(1)
        await batcher.drain()
        assert await outcomes(crowd.callers) == [2]
    assert timed.taken == [(0, Reason.DRAIN, [1])]
