"""The queue against a naive one: FIFO lanes, rows of the living, heads by age, cheap abandoning."""

from asyncio import AbstractEventLoop, Future, new_event_loop
from collections.abc import Hashable, Iterator
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from batcher import Reason
from batcher.queue import Lane, RequestQueue
from batcher.ranks import SWEEP_AT_LEAST
from batcher.request import Request, Run

AnyRequest = Request[str, int]
AnyRun = Run[str, int]
MAX_BATCH_SIZE = 4


class Requests:
    """Makes requests with numbers of their own."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self.made = 0

    def __call__(self, size: int = 1) -> AnyRequest:
        future: Future[int] = self._loop.create_future()
        request: AnyRequest = Request(f"item {self.made}", size, self.made, 0.0, future)
        self.made += 1
        return request


@pytest.fixture
def new() -> Iterator[Requests]:
    loop = new_event_loop()
    yield Requests(loop)
    loop.close()


@pytest.fixture
def queue() -> RequestQueue[str, int]:
    return RequestQueue(MAX_BATCH_SIZE)


def put(queue: RequestQueue[str, int], *requests: AnyRequest, bucket: Hashable = None) -> None:
    for request in requests:
        queue.put(request, bucket)


def take(queue: RequestQueue[str, int], lane: Lane[str, int] | None) -> AnyRun:
    assert lane is not None
    run: AnyRun = Run(lane.bucket, Reason.IDLE)
    queue.take(lane, run)
    return run


def test_an_empty_queue_has_no_lane_to_offer(queue: RequestQueue[str, int]) -> None:
    assert queue.oldest() is None
    assert queue.full() is None
    assert (len(queue), queue.rows) == (0, 0)


def test_a_batch_takes_what_fits_in_order(queue: RequestQueue[str, int], new: Requests) -> None:
    first, second, third, fourth = new(1), new(2), new(2), new(1)
    put(queue, first, second, third, fourth)
    assert (len(queue), queue.rows) == (4, 6)
    run = take(queue, queue.oldest())
    assert (run.requests, run.size) == ([first, second], 3)
    assert first.place is run
    assert (len(queue), queue.rows) == (2, 3)
    assert take(queue, queue.oldest()).requests == [third, fourth]
    assert queue.oldest() is None


def test_lanes_are_offered_by_their_oldest_head(
    queue: RequestQueue[str, int], new: Requests
) -> None:
    put(queue, new(), bucket="a")
    put(queue, new(), bucket="b")
    put(queue, new(), new(3), bucket="a")
    served = []
    while (lane := queue.oldest()) is not None:
        served.append((lane.bucket, take(queue, lane).size))
    assert served == [("a", 2), ("b", 1), ("a", 3)]


def test_a_lane_is_full_from_the_row_that_fills_a_batch(
    queue: RequestQueue[str, int], new: Requests
) -> None:
    put(queue, new(3), bucket="a")
    put(queue, new(2), new(2), bucket="b")
    full = queue.full()
    assert full is not None
    assert full.bucket == "b"
    put(queue, new(1), bucket="a")
    full = queue.full()
    assert full is not None
    assert full.bucket == "a"  # Its head is older.
    take(queue, full)
    full = queue.full()
    assert full is not None
    assert full.bucket == "b"
    take(queue, full)
    assert queue.full() is None


def test_the_age_of_a_full_lane_is_that_of_its_oldest_living_request(
    queue: RequestQueue[str, int], new: Requests
) -> None:
    leaving = new(1)
    put(queue, leaving, bucket="a")
    put(queue, new(4), bucket="b")
    put(queue, new(4), bucket="a")
    queue.abandon(leaving)
    full = queue.full()
    assert full is not None
    assert full.bucket == "b"


def test_an_unhashable_bucket_changes_nothing(queue: RequestQueue[str, int], new: Requests) -> None:
    with pytest.raises(TypeError, match="unhashable"):
        queue.put(new(), cast("Any", []))
    assert (len(queue), queue.rows) == (0, 0)
    assert queue.oldest() is None


def test_abandoning_frees_rows_and_item_at_once(
    queue: RequestQueue[str, int], new: Requests
) -> None:
    staying, leaving = new(2), new(3)
    put(queue, staying, leaving)
    queue.abandon(leaving)
    assert (len(queue), queue.rows) == (1, 2)
    assert not hasattr(leaving, "item")
    assert queue.full() is None
    queue.abandon(leaving)  # It is not queued any more: nothing happens.
    assert (len(queue), queue.rows) == (1, 2)
    assert take(queue, queue.oldest()).requests == [staying]


def test_abandoning_what_runs_leaves_the_queue_alone(
    queue: RequestQueue[str, int], new: Requests
) -> None:
    running, waiting = new(4), new(1)
    put(queue, running, waiting)
    run = take(queue, queue.oldest())
    queue.abandon(running)
    assert running.place is run
    assert running.item == "item 0"
    assert queue.rows == 1


def test_a_request_cancelled_in_this_very_pass_is_passed_over(
    queue: RequestQueue[str, int], new: Requests
) -> None:
    staying, leaving, late = new(2), new(2), new(2)
    put(queue, staying, leaving, late)
    leaving.future.cancel()
    run = take(queue, queue.oldest())
    assert (run.requests, run.size) == ([staying, late], 4)
    assert leaving.place is None
    assert (len(queue), queue.rows) == (0, 0)
    queue.abandon(leaving)
    assert (len(queue), queue.rows) == (0, 0)


def test_taking_from_a_lane_whose_callers_all_just_left_takes_nobody(
    queue: RequestQueue[str, int], new: Requests
) -> None:
    leaving = [new(3), new(3)]
    put(queue, *leaving)
    for request in leaving:
        request.future.cancel()
    assert take(queue, queue.oldest()).requests == []
    assert queue.rows == 0
    assert queue.oldest() is None


def test_taking_all_empties_every_lane_and_skips_the_abandoned(
    queue: RequestQueue[str, int], new: Requests
) -> None:
    one, two, leaving = new(4), new(1), new(1)
    put(queue, one, bucket="a")
    put(queue, leaving, two, bucket="b")
    queue.abandon(leaving)
    assert set(queue.take_all()) == {one, two}
    assert (len(queue), queue.rows) == (0, 0)
    assert queue.oldest() is None
    assert queue.full() is None
    queue.abandon(one)  # Its caller hears of it later.
    assert queue.rows == 0


def test_dead_entries_are_swept_when_they_outnumber_the_living(
    queue: RequestQueue[str, int], new: Requests
) -> None:
    head, *others = [new() for _ in range(5 * SWEEP_AT_LEAST)]
    put(queue, head, *others)
    for request in others:
        queue.abandon(request)
        (lane,) = queue._lanes.values()
        assert lane.dead <= max(SWEEP_AT_LEAST, len(lane.requests) / 2)
    assert (len(queue), queue.rows) == (1, 1)
    assert take(queue, queue.oldest()).requests == [head]


def test_lanes_that_come_and_go_behind_a_waiting_head_leave_nothing(
    queue: RequestQueue[str, int], new: Requests
) -> None:
    put(queue, new(), bucket="patient")
    for _ in range(10 * SWEEP_AT_LEAST):
        leaving = new()
        put(queue, leaving, bucket="hasty")
        queue.abandon(leaving)
    assert len(queue._heads) <= 1 + SWEEP_AT_LEAST


class AgainstANaiveQueue(RuleBasedStateMachine):
    """Any order of operations: the queue does what a list of living requests would do."""

    waiting = Bundle("waiting")

    @initialize(most=st.integers(1, 6))
    def start(self, most: int) -> None:
        self.loop = new_event_loop()
        self.new = Requests(self.loop)
        self.most = most
        self.queue: RequestQueue[str, int] = RequestQueue(most)
        self.living: list[tuple[AnyRequest, int]] = []
        self.cancelled: list[AnyRequest] = []

    def teardown(self) -> None:
        self.loop.close()

    @rule(target=waiting, size=st.integers(1, 6), bucket=st.integers(0, 3))
    def put(self, size: int, bucket: int) -> AnyRequest:
        request = self.new(min(size, self.most))
        self.queue.put(request, bucket)
        self.living.append((request, bucket))
        return request

    @rule(request=consumes(waiting))
    def abandon(self, request: AnyRequest) -> None:
        request.future.cancel()
        self.queue.abandon(request)
        self.living = [(r, bucket) for r, bucket in self.living if r is not request]

    @rule(request=consumes(waiting))
    def cancel_without_telling(self, request: AnyRequest) -> None:
        request.future.cancel()
        if any(request is r for r, _ in self.living):
            self.cancelled.append(request)

    @precondition(lambda self: self.cancelled)
    @rule()
    def tell(self) -> None:
        self.abandon(self.cancelled.pop())

    @rule()
    def take_oldest(self) -> None:
        lane = self.queue.oldest()
        if not self.living:
            assert lane is None
            return
        assert lane is not None
        assert (lane.oldest(), lane.bucket) == self.living[0]
        self._take(lane)

    @rule()
    def take_full(self) -> None:
        lane = self.queue.full()
        full = [b for _, b in self.living if self._rows(b) >= self.most]
        if not full:
            assert lane is None
            return
        assert lane is not None
        assert lane.bucket == full[0]
        self._take(lane)

    @rule(target=waiting)
    def take_all(self) -> object:
        assert {r.number for r in self.queue.take_all()} == {r.number for r, _ in self.living}
        self.living.clear()
        self.cancelled.clear()
        return multiple()

    @invariant()
    def it_counts_the_living(self) -> None:
        assert len(self.queue) == len(self.living)
        assert self.queue.rows == sum(request.size for request, _ in self.living)
        assert {lane.bucket for lane in self.queue._lanes.values()} == {b for _, b in self.living}

    def _rows(self, bucket: int) -> int:
        return sum(request.size for request, b in self.living if b == bucket)

    def _take(self, lane: Lane[str, int]) -> None:
        expected: list[AnyRequest] = []
        passed: list[AnyRequest] = []
        for request, bucket in self.living:
            if bucket != lane.bucket:
                continue
            if request.future.done():
                passed.append(request)
            elif sum(r.size for r in [*expected, request]) <= self.most:
                expected.append(request)
            else:
                break
        run = take(self.queue, lane)
        assert run.requests == expected
        assert run.size == sum(request.size for request in expected)
        gone = {request.number for request in [*expected, *passed]}
        self.living = [(r, bucket) for r, bucket in self.living if r.number not in gone]
        self.cancelled = [r for r in self.cancelled if r.number not in gone]


TestAgainstANaiveQueue = AgainstANaiveQueue.TestCase


@given(sizes=st.lists(st.integers(1, MAX_BATCH_SIZE), min_size=1))
def test_all_that_went_in_comes_out_in_order_and_in_batches_that_fit(sizes: list[int]) -> None:
    loop = new_event_loop()
    try:
        new = Requests(loop)
        queue: RequestQueue[str, int] = RequestQueue(MAX_BATCH_SIZE)
        put(queue, *[new(size) for size in sizes])
        batches = []
        while (lane := queue.oldest()) is not None:
            batches.append(take(queue, lane))
        assert [r.number for run in batches for r in run.requests] == list(range(len(sizes)))
        assert all(run.size <= MAX_BATCH_SIZE for run in batches)
        for run, following in pairwise(batches):
            assert run.size + following.requests[0].size > MAX_BATCH_SIZE
    finally:
        loop.close()
