"""Priorities with ageing, riders in padding, allowed sizes, costs, bounds on bytes."""

import asyncio
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import pytest

from batcher import Admission, Batch, Batcher, Fairness, QueueFull, RequestTooLarge
from batcher.arrays import Array, concatenate, on_arrays, split
from batcher.testing import FakeExecutor
from tests.batcher.scenes import assert_nothing_left, double, outcomes, ran, settle, work_off

AGEING = 10.0


class Scene:
    """A Batcher whose model is busy, and requests that wait for it."""

    def __init__(self, **options: Any) -> None:
        self.executor = FakeExecutor(by_hand=True)
        options = {"max_batch_size": 1, "fairness": Fairness(AGEING), **options}
        self.batcher: Batcher[int, int] = Batcher(double, executor=self.executor, **options)
        self.callers: list[asyncio.Task[int]] = []

    async def __aenter__(self) -> Self:
        await self.batcher.__aenter__()
        await self.wait(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await work_off(self.executor)
        assert all(isinstance(told, int) for told in await outcomes(self.callers))
        await self.batcher.drain()
        assert_nothing_left(self.batcher, self.executor)

    async def wait(self, *items: int, **options: Any) -> None:
        submit = self.batcher.submit
        self.callers += [asyncio.ensure_future(submit(item, **options)) for item in items]
        await settle()

    def order(self) -> list[Any]:
        """What ran after the first one, batch by batch."""
        return ran(self.executor)[1:]


async def test_lower_priority_goes_first_and_inside_one_first_come_first_served() -> None:
    async with Scene() as scene:
        await scene.wait(1, 2, priority=1)
        await scene.wait(3, 4)
        await scene.wait(5, 6, priority=-1)
    assert scene.order() == [[5], [6], [3], [4], [1], [2]]


async def test_waiting_counts_so_that_nobody_starves() -> None:
    async with Scene() as scene:
        await scene.wait(1, priority=1)
        await asyncio.sleep(AGEING / 2)
        await scene.wait(2)
        await asyncio.sleep(AGEING)
        await scene.wait(3)
    # 3 comes more than AGEING after 1, which is what a level is worth; 2 does not.
    assert scene.order() == [[2], [1], [3]]


async def test_a_lane_goes_by_its_most_urgent_request() -> None:
    async with Scene() as scene:
        await scene.wait(1, bucket="a")
        await scene.wait(2, bucket="b", priority=-1)
        await scene.wait(3, bucket="c")
    assert scene.order() == [[2], [1], [3]]


async def test_plain_lanes_age_beside_urgent_ones() -> None:
    async with Scene() as scene:
        await scene.wait(1, bucket="a")
        await asyncio.sleep(2 * AGEING)
        await scene.wait(2, bucket="b", priority=-1)
    assert scene.order() == [[1], [2]]


async def test_after_the_last_urgent_request_the_plain_order_holds_again() -> None:
    async with Scene() as scene:
        await scene.wait(1, priority=-1, bucket="a")
        await work_off(scene.executor)
        await scene.wait(0)
        await scene.wait(2, bucket="b")
        await scene.wait(3, bucket="a")
    assert scene.order() == [[1], [0], [2], [3]]
    assert scene.batcher._queue._claims is None


async def test_all_of_a_bucket_share_a_batch_the_urgent_ones_first() -> None:
    async with Scene(max_batch_size=4) as scene:
        await scene.wait(1, 2, priority=2)
        await scene.wait(3)
        await scene.wait(4, 5, priority=-1)
    assert scene.order() == [[4, 5, 3, 1], [2]]


async def test_items_submitted_together_have_one_priority_and_one_number_of_bytes() -> None:
    async with Scene() as scene:
        many = asyncio.ensure_future(scene.batcher.submit_many([1, 2], priority=-1, nbytes=100))
        await settle()
        await scene.wait(3)
        assert scene.batcher.stats().queued_bytes == 100
        scene.executor.start_next()
        scene.executor.finish_next()
        await settle()
        assert scene.batcher.stats().queued_bytes == 0
        await work_off(scene.executor)
        assert await many == [2, 4]
    assert scene.order() == [[1], [2], [3]]


async def test_who_gives_up_leaves_every_order() -> None:
    async with Scene() as scene:
        for number in range(1, 400):
            await scene.wait(number, priority=number % 3 - 1, timeout=1000.0 + number, nbytes=7)
        for caller in scene.callers[2:]:
            caller.cancel()
        await settle()
        assert scene.batcher.stats().queued_requests == 1
        assert scene.batcher.stats().queued_bytes == 7
        del scene.callers[2:]
        await scene.wait(500)
    # 500 counts as if it had AGEING seconds, 1 has a thousand.
    assert scene.order() == [[500], [1]]


# -------------------------------------------------------------------------------- allowed sizes


async def sizes_run(requests: int, **options: Any) -> list[tuple[int, int]]:
    async with Scene(max_batch_size=16, **options) as scene:
        await scene.wait(*range(1, requests + 1))
    return [(batch.size, batch.padded_size) for batch in scene.executor.started]


async def test_a_batch_is_padded_to_the_smallest_allowed_size() -> None:
    assert await sizes_run(3, allowed_batch_sizes=(1, 4, 16)) == [(1, 1), (3, 4)]
    assert await sizes_run(5, allowed_batch_sizes=(2, 8, 16)) == [(1, 2), (5, 8)]
    assert await sizes_run(20, allowed_batch_sizes=(4, 16)) == [(1, 4), (16, 16), (4, 4)]


async def test_without_allowed_sizes_nothing_is_padded() -> None:
    assert await sizes_run(3) == [(1, 1), (3, 3)]


async def test_less_urgent_requests_ride_where_padding_would_be_and_no_further() -> None:
    async with Scene(max_batch_size=16, allowed_batch_sizes=(1, 4, 16)) as scene:
        await scene.wait(*range(10, 16), priority=1)
        await scene.wait(1, 2, 3)
    assert scene.order() == [[1, 2, 3, 10], [11, 12, 13, 14, 15]]


async def test_a_rider_that_does_not_fit_the_padding_waits() -> None:
    async with Scene(max_batch_size=16, allowed_batch_sizes=(1, 4, 16)) as scene:
        await scene.wait(10, priority=1, size=2)
        await scene.wait(1, 2, 3)
    assert scene.order() == [[1, 2, 3], [10]]


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ((4, 2, 16), "must ascend"),
        ((4, 4, 16), "must ascend"),
        ((4, 8), "the last of allowed_batch_sizes must be max_batch_size=16"),
        ((0, 16), "must be at least 1"),
    ],
)
def test_allowed_sizes_that_make_no_sense_are_refused(sizes: Sequence[int], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Batcher(double, max_batch_size=16, allowed_batch_sizes=sizes)


async def test_arrays_are_padded_with_a_real_row_and_the_padding_never_shows() -> None:
    seen: list[Array] = []

    def model(rows: Array) -> Array:
        seen.append(rows.copy())
        return rows * 10

    executor = FakeExecutor()
    async with Batcher(
        on_arrays(model), max_batch_size=8, allowed_batch_sizes=(4, 8), executor=executor
    ) as batcher:
        items = [np.array([[1.0], [2.0]]), np.array([[3.0]])]
        answers = await asyncio.gather(*[batcher.submit(i, size=len(i)) for i in items])
        lone = await batcher.submit(np.array([[7.0]]))
    assert [rows[:, 0].tolist() for rows in seen] == [[1, 2, 3, 3], [7, 7, 7, 7]]
    assert [answer[:, 0].tolist() for answer in [*answers, lone]] == [[10, 20], [30], [70]]


@pytest.mark.parametrize(
    "item",
    [np.array([[1, 2]]), (np.array([[1, 2]]), np.array([3])), {"a": np.array([[1, 2]])}],
    ids=["array", "tuple", "dict"],
)
def test_padding_keeps_every_form_and_dtype(item: Any) -> None:
    padded = concatenate([item], 3)
    (back,) = split(padded, [1], 3)
    assert str(back) == str(item)
    assert type(back) is type(item)


# ---------------------------------------------------------------------------------------- costs


def longest_times_count(items: Sequence[int]) -> float:
    if 13 in items and len(items) > 1:
        msg = "thirteen wants to be alone"
        raise LookupError(msg)
    return max(items) * len(items)


async def test_a_batch_costs_at_most_what_it_may() -> None:
    async with Scene(max_batch_size=16, batch_cost=longest_times_count, max_batch_cost=12) as scene:
        await scene.wait(1, 2, 3, 4, 1)
    assert scene.order() == [[1, 2, 3], [4, 1]]


async def test_costs_hold_among_priorities_too() -> None:
    async with Scene(max_batch_size=16, batch_cost=longest_times_count, max_batch_cost=12) as scene:
        await scene.wait(5, priority=1)
        await scene.wait(1, 2, 3)
        await scene.wait(4, timeout=5.0)
    # 4 has the earliest deadline; 5 rides with 3, whose priority is higher.
    assert scene.order() == [[4, 1, 2], [3, 5]]


async def test_who_costs_too_much_alone_is_refused() -> None:
    async with Scene(batch_cost=longest_times_count, max_batch_cost=12) as scene:
        with pytest.raises(RequestTooLarge, match="the item alone costs 13"):
            await scene.batcher.submit(13)


async def test_a_cost_function_that_fails_for_company_makes_the_item_run_alone(
    reports: list[dict[str, Any]],
) -> None:
    async with Scene(max_batch_size=4, batch_cost=longest_times_count, max_batch_cost=99) as scene:
        await scene.wait(1, 13, 2)
    assert scene.order() == [[1], [13], [2]]
    assert all("batch_cost raised" in report["message"] for report in reports)


async def test_a_cost_function_that_fails_for_an_item_fails_its_caller_only() -> None:
    def fails(items: Sequence[int]) -> float:
        return 1 / items[0]

    executor = FakeExecutor()
    async with Batcher(double, batch_cost=fails, executor=executor) as batcher:
        with pytest.raises(ZeroDivisionError):
            await batcher.submit(0)
        assert await batcher.submit(1) == 2
        assert batcher.stats().accepted == 1


# ---------------------------------------------------------------------------------------- bytes


async def test_the_queue_is_bounded_in_bytes() -> None:
    async with Scene(admission=Admission(max_queue_bytes=100)) as scene:
        await scene.wait(1, nbytes=60)
        with pytest.raises(QueueFull, match="no room for 50 more bytes: 60 wait already"):
            await scene.batcher.submit(2, nbytes=50)
        await scene.wait(3, nbytes=40, priority=1)
        assert scene.batcher.stats().queued_bytes == 100
        with pytest.raises(RequestTooLarge, match="101 bytes exceed max_queue_bytes=100"):
            await scene.batcher.submit(4, nbytes=101)
        assert scene.batcher.stats().refused == 1
    assert scene.batcher.stats().queued_bytes == 0


async def test_bytes_of_those_who_leave_are_given_back() -> None:
    async with Scene(admission=Admission(max_queue_bytes=100)) as scene:
        await scene.wait(1, nbytes=60)
        scene.callers.pop().cancel()
        await scene.wait(2, nbytes=100)
        assert scene.batcher.stats().queued_bytes == 100
        scene.callers.pop().cancel()
        await settle()
        assert scene.batcher.stats().queued_bytes == 0


@pytest.mark.parametrize(
    "options", [{"max_queue_bytes": 0}, {"max_wait": -1.0}, {"max_wait": float("nan")}]
)
def test_bounds_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="max_"):
        Admission(**options)


def test_ageing_is_more_than_nothing() -> None:
    with pytest.raises(ValueError, match="ageing must be more than 0"):
        Fairness(0.0)


def test_a_batch_says_what_it_is_padded_to() -> None:
    assert Batch(["a"], None, [1]).padded_size == 1
    assert Batch(["a"], None, [1], 4).padded_size == 4
