"""Who runs again after a failed batch, and what is learned from exhausted memory."""

from asyncio import AbstractEventLoop, Future, new_event_loop
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher.isolation import SizeCap, Split
from batcher.request import Request

AnyRequest = Request[int, int]
PLENTY = 1000


@pytest.fixture(scope="module")
def loop() -> Iterator[AbstractEventLoop]:
    made = new_event_loop()
    yield made
    made.close()


def requests(loop: AbstractEventLoop, count: int) -> list[AnyRequest]:
    made = []
    for number in range(count):
        future: Future[int] = loop.create_future()
        made.append(Request(number, 1, number, 0.0, future))
    return made


def everybody(_: AnyRequest) -> bool:
    return True


class Outcome:
    """What a batch of requests, some of them guilty, comes to in the end."""

    def __init__(self, batch: list[AnyRequest], guilty: set[int], *, budget: int = PLENTY) -> None:
        self.runs = 0
        self.fine: list[int] = []
        self.blamed: list[int] = []
        split = Split(batch, ValueError("all"), budget)
        while part := split.next(everybody):
            self.runs += 1
            items = [request.item for request in part]
            error = ValueError("part") if guilty.intersection(items) else None
            if split.ended(error):
                (self.fine if error is None else self.blamed).extend(items)
        self.untold = [request.item for request in split.waiting()]


@given(st.integers(2, 70).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
def test_only_the_guilty_are_blamed_and_everybody_is_told_once(
    loop: AbstractEventLoop, batch: tuple[int, set[int]]
) -> None:
    count, guilty = batch
    guilty = guilty or {0}
    outcome = Outcome(requests(loop, count), guilty)
    assert sorted(outcome.blamed) == sorted(guilty)
    assert sorted(outcome.fine) == sorted(set(range(count)) - guilty)
    assert outcome.untold == []


@pytest.mark.parametrize("guilty", range(64))
def test_one_guilty_of_64_takes_at_most_two_runs_a_level(
    loop: AbstractEventLoop, guilty: int
) -> None:
    assert 7 <= Outcome(requests(loop, 64), {guilty}).runs <= 12


@given(st.integers(1, 40), st.sets(st.integers(0, 63), min_size=1))
def test_the_budget_holds_whoever_is_guilty(
    loop: AbstractEventLoop, budget: int, guilty: set[int]
) -> None:
    outcome = Outcome(requests(loop, 64), guilty, budget=budget)
    assert outcome.runs <= budget
    told = [*outcome.fine, *outcome.blamed, *outcome.untold]
    assert sorted(told) == list(range(64))


def test_the_second_half_is_not_run_whole_if_the_first_is_fine(loop: AbstractEventLoop) -> None:
    split = Split(requests(loop, 4), ValueError(), PLENTY)
    assert [r.item for r in split.next(everybody)] == [0, 1]
    assert split.ended(None)
    assert [r.item for r in split.next(everybody)] == [2]


def test_a_guilty_one_who_is_alone_runs_all_the_same_for_an_error_of_its_own(
    loop: AbstractEventLoop,
) -> None:
    split = Split(requests(loop, 2), ValueError(), PLENTY)
    assert [r.item for r in split.next(everybody)] == [0]
    assert split.ended(None)
    assert [r.item for r in split.next(everybody)] == [1]
    assert split.ended(ValueError())
    assert split.next(everybody) == []


def test_nothing_is_inferred_from_a_half_that_somebody_has_left(loop: AbstractEventLoop) -> None:
    split = Split(requests(loop, 4), ValueError(), PLENTY)
    assert [r.item for r in split.next(lambda request: request.item != 0)] == [1]
    assert split.ended(None)
    assert [r.item for r in split.next(everybody)] == [2, 3]


def test_who_is_not_wanted_any_more_does_not_run(loop: AbstractEventLoop) -> None:
    split = Split(requests(loop, 4), ValueError(), PLENTY)
    assert split.next(lambda _: False) == []
    assert split.waiting() == []


def test_after_exhausted_memory_both_halves_run(loop: AbstractEventLoop) -> None:
    split = Split(requests(loop, 4), MemoryError(), PLENTY)
    assert [r.item for r in split.next(everybody)] == [0, 1]
    assert split.ended(None)
    assert [r.item for r in split.next(everybody)] == [2, 3]


def test_what_is_no_exception_of_a_request_ends_its_part(loop: AbstractEventLoop) -> None:
    split = Split(requests(loop, 4), ValueError(), PLENTY)
    split.next(everybody)
    assert split.ended(SystemExit())


def test_a_cap_is_half_of_what_failed_and_grows_again_after_many_successes() -> None:
    cap = SizeCap(64, (), probe_after=3)
    cap.exhausted(64)
    assert cap.size == 32
    assert not cap.succeeded(16)  # It says nothing about 32.
    assert [cap.succeeded(32) for _ in range(3)] == [False, False, True]
    assert cap.size == 40
    cap.exhausted(40)
    assert cap.size == 20


def test_a_cap_never_falls_below_one_nor_grows_beyond_the_configured_size() -> None:
    cap = SizeCap(5, (), probe_after=1)
    cap.exhausted(1)
    assert cap.size == 1
    assert [cap.succeeded(5) for _ in range(6)] == [True] * 4 + [False] * 2
    assert cap.size == 5


def test_a_cap_is_an_allowed_size() -> None:
    cap = SizeCap(64, (4, 16, 64), probe_after=1)
    cap.exhausted(64)
    assert cap.size == 16
    cap.exhausted(4)
    assert cap.size == 4
    cap.exhausted(4)
    assert cap.size == 4
    assert cap.succeeded(4)
    assert cap.size == 16


def test_an_old_failure_of_a_larger_batch_does_not_raise_the_cap() -> None:
    cap = SizeCap(64, (), probe_after=1)
    cap.exhausted(16)
    cap.exhausted(64)
    assert cap.size == 8
