"""The rows ahead of a request, counted, are those that a look at everybody would find."""

import random
from asyncio import AbstractEventLoop, Future, new_event_loop
from collections.abc import Iterator

import pytest

from batcher.ahead import MOST_IN_BLOCK, Ahead, RowsByDeadline
from batcher.request import Demand, RankedRequest

AnyRequest = RankedRequest[int, int]

MANY = 8 * MOST_IN_BLOCK
PRIORITIES = (-1, 0, 2)


@pytest.fixture
def loop() -> Iterator[AbstractEventLoop]:
    loop = new_event_loop()
    yield loop
    loop.close()


def waiting(loop: AbstractEventLoop, rng: random.Random, count: int) -> list[AnyRequest]:
    """Requests of any priority, half of them with deadlines, of which some are the same."""
    requests = []
    for number in range(count):
        future: Future[int] = loop.create_future()
        request: AnyRequest = RankedRequest(number, rng.randint(1, 4), number, 0.0, future)
        timeout = rng.choice([None, rng.random(), float(rng.randint(0, 3))])
        request.demand(Demand(0, rng.choice(PRIORITIES), timeout))
        requests.append(request)
    return requests


def goes_before(request: AnyRequest, priority: int, deadline: float | None) -> bool:
    if request.priority != priority:
        return request.priority < priority
    return deadline is None or request.deadline is None or request.deadline <= deadline


@pytest.mark.parametrize("seed", range(3))
def test_the_count_is_that_of_a_look_at_everybody(loop: AbstractEventLoop, seed: int) -> None:
    rng = random.Random(seed)
    ahead, left = Ahead(), waiting(loop, rng, 300)
    for request in left:
        ahead.add(request)
    while left:
        for priority in (*PRIORITIES, 1, 9):
            for deadline in (None, 0.0, 1.0, rng.random(), 5.0):
                rows = sum(r.size for r in left if goes_before(r, priority, deadline))
                assert ahead.count(priority, deadline) == rows
        assert ahead.rows == sum(request.size for request in left)
        for _ in range(min(10, len(left))):
            ahead.remove(left.pop(rng.randrange(len(left))))
    assert ahead.rows == ahead.count(9, None) == 0


def test_priorities_of_which_nobody_waits_any_more_leave_nothing(loop: AbstractEventLoop) -> None:
    ahead, requests = Ahead(), waiting(loop, random.Random(1), 100)
    for request in requests:
        ahead.add(request)
    for request in requests:
        ahead.remove(request)
    assert not ahead._levels


@pytest.mark.parametrize("order", ["as they came", "last first", "any"])
def test_blocks_come_and_go_and_count_the_same(order: str) -> None:
    rng = random.Random(7)
    rows = RowsByDeadline()
    dated = [(rng.choice([rng.random(), 0.5]), rng.randint(1, 9)) for _ in range(MANY)]
    for deadline, size in dated:
        rows.add(deadline, size)
    assert len(rows._starts) > 2
    assert all(len(block) <= MOST_IN_BLOCK for block in rows._deadlines)
    if order == "any":
        rng.shuffle(dated)
    elif order == "last first":
        dated.sort(reverse=True)
    while dated:
        for deadline in (-1.0, 0.25, 0.5, rng.random(), 2.0):
            assert rows.later(deadline) == sum(size for d, size in dated if d > deadline)
        for _ in range(MANY // 16):
            rows.remove(*dated.pop())
    assert (rows._deadlines, rows._rows, rows._sums) == ([[]], [[]], [0])
