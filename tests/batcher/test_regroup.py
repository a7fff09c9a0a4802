"""Waiting for those just answered: when it pays, how it ends, and what it never does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batcher import Batcher, BatcherClosed, BatchRecord, Reason
from batcher.regroup import FEWEST_PASSES, MOST_PASSES, SELDOM, Answered, Regrouping
from batcher.testing import FakeExecutor
from tests.batcher.scenes import double, ran, settle

MOST = 64
HALF = 32
A_RUN = 1.0
AT_ONCE = 0.01


def learned(times: dict[int, float], padded: Any = lambda rows: rows) -> Regrouping:
    """One that knows how long batches take."""
    regrouping = Regrouping(padded)
    for size, seconds in times.items():
        for _ in range(5):
            regrouping.ended(Answered(None, size, 0.0, 0), size, seconds, is_full=False)
    return regrouping


def flat() -> Regrouping:
    """Any number of rows takes as long: one batch instead of two saves `A_RUN`."""
    return learned({1: A_RUN, MOST: A_RUN})


def half_ends(regrouping: Regrouping, *, waiting: int = HALF, is_full: bool = False) -> None:
    """A batch has ended at 10.0 beside some who wait."""
    regrouping.ended(Answered(None, HALF, 10.0, waiting), HALF, A_RUN, is_full=is_full)


def asked(regrouping: Regrouping, rows: int, passed: float) -> bool:
    """Whether it waits, so long after the end."""
    return regrouping.waits(None, rows, MOST, 10.0 + passed)


def test_it_waits_until_all_who_were_answered_are_back() -> None:
    regrouping = flat()
    half_ends(regrouping)
    assert asked(regrouping, HALF, 0.0)
    assert asked(regrouping, HALF + 10, 0.1)
    assert asked(regrouping, HALF + 31, 0.2)
    assert not asked(regrouping, HALF + 32, 0.3)
    assert not asked(regrouping, HALF, 0.4), "it is over"


def test_those_who_found_the_thread_idle_wait_for_the_others_too() -> None:
    regrouping = flat()
    half_ends(regrouping, waiting=0)
    assert asked(regrouping, 8, AT_ONCE)
    assert not asked(regrouping, HALF, 2 * AT_ONCE)


def test_nobody_waits_before_a_batch_has_ended_or_while_nothing_is_known() -> None:
    regrouping = Regrouping(lambda rows: rows)
    assert not asked(regrouping, HALF, 0.0)
    half_ends(regrouping)
    assert not asked(regrouping, HALF, 0.0)


def test_nobody_waits_where_twice_the_rows_take_twice_the_time() -> None:
    regrouping = learned({HALF: 1.0, MOST: 2.0})
    half_ends(regrouping)
    assert not asked(regrouping, HALF, 0.0)


def test_a_lone_caller_does_not_wait() -> None:
    regrouping = flat()
    regrouping.ended(Answered(None, 1, 10.0, 0), 1, A_RUN, is_full=False)
    assert not asked(regrouping, 1, AT_ONCE)


def test_it_waits_for_no_longer_than_it_saves() -> None:
    regrouping = flat()
    half_ends(regrouping)
    assert asked(regrouping, HALF + 31, 0.9 * A_RUN)
    half_ends(regrouping)
    assert not asked(regrouping, HALF + 31, A_RUN)


def test_those_who_come_too_slowly_are_not_waited_for() -> None:
    regrouping = flat()
    half_ends(regrouping)
    assert asked(regrouping, HALF, 0.0)
    assert not asked(regrouping, HALF + 1, 0.1), "the last of 32 would be back after 3.2 s"


def test_a_size_never_run_is_taken_to_be_as_quick_as_the_largest_known() -> None:
    regrouping = learned({HALF: A_RUN})
    half_ends(regrouping)
    assert asked(regrouping, HALF, 0.0)


def test_what_does_not_fit_into_one_batch_counts_as_another() -> None:
    regrouping = learned({1: A_RUN, HALF: A_RUN})
    regrouping.ended(Answered(None, 20, 10.0, 20), 20, A_RUN, is_full=False)
    assert not regrouping.waits(None, 20, HALF, 10.0), "20 and 20 are two batches, as are 32 and 8"


def test_padding_counts() -> None:
    sizes = {40: 64, 20: 32}
    regrouping = learned({HALF: 1.0, MOST: 2.0}, lambda rows: sizes.get(rows, rows))
    regrouping.ended(Answered(None, 20, 10.0, 20), HALF, 1.0, is_full=False)
    assert not asked(regrouping, 20, 0.0), "40 rows run as 64, which takes twice as long as 32"


def test_another_bucket_has_nothing_to_wait_for() -> None:
    regrouping = flat()
    half_ends(regrouping)
    assert not regrouping.waits("other", HALF, MOST, 10.0)


def passes_until_it_gives_up(regrouping: Regrouping, step: float) -> int:
    """Empty passes of the loop, each of so many seconds, before it waits no longer."""
    passes = 0
    while asked(regrouping, HALF, passes * step):
        passes += 1
    return passes


def test_long_passes_that_bring_nobody_end_it_after_a_few() -> None:
    regrouping = flat()
    half_ends(regrouping)
    assert passes_until_it_gives_up(regrouping, A_RUN / 10) == FEWEST_PASSES + 1


def test_passes_that_take_no_time_end_it_as_well() -> None:
    regrouping = flat()
    half_ends(regrouping)
    assert passes_until_it_gives_up(regrouping, 0.0) == MOST_PASSES + 1


def attempts(regrouping: Regrouping, batches: int) -> list[int]:
    """The batches after which it waited, if nobody ever comes back."""
    made = []
    for batch in range(batches):
        half_ends(regrouping)
        if passes_until_it_gives_up(regrouping, A_RUN):
            made.append(batch)
    return made


def test_what_does_not_work_out_is_tried_more_and_more_seldom() -> None:
    assert attempts(flat(), 200) == [0, 2, 6, 14, 30, 62, 126, 191]


def test_a_success_starts_anew() -> None:
    regrouping = flat()
    attempts(regrouping, 7)
    for _ in range(7):
        half_ends(regrouping)
    half_ends(regrouping)
    assert asked(regrouping, HALF, 0.0)
    half_ends(regrouping, is_full=True)
    assert asked(regrouping, HALF, 0.0), "the batch was filled by those who came back"


def test_a_wait_that_something_else_ended_is_no_success() -> None:
    regrouping = flat()
    made = 0
    for _ in range(64):
        half_ends(regrouping)
        made += asked(regrouping, HALF, 0.0)
    assert made == 64, "broken off by a deadline each time, it says nothing"
    attempts(regrouping, 7)
    for _ in range(7):
        half_ends(regrouping)
    half_ends(regrouping)
    assert asked(regrouping, HALF, 0.0)
    half_ends(regrouping)
    assert attempts(regrouping, 40) == [0, 16], "the pause is what it was"


def test_half_of_them_are_a_success() -> None:
    regrouping = flat()
    half_ends(regrouping)
    assert asked(regrouping, HALF + 16, AT_ONCE)
    assert not asked(regrouping, HALF + 16, A_RUN)
    half_ends(regrouping)
    assert asked(regrouping, HALF, 0.0)


def test_what_saved_nothing_is_tried_again_at_times() -> None:
    regrouping = learned({HALF: 1.0, MOST: 2.0})
    waited = []
    for batch in range(2 * SELDOM):
        half_ends(regrouping)
        if asked(regrouping, HALF, 0.0):
            waited.append(batch)
    assert waited == [SELDOM - 1, 2 * SELDOM - 1]


@given(
    st.lists(
        st.tuples(st.integers(1, MOST), st.integers(0, MOST), st.floats(0.001, 2.0)), max_size=60
    )
)
def test_the_thread_is_kept_no_longer_than_two_batches_take(
    batches: list[tuple[int, int, float]],
) -> None:
    """And whatever was learned, it comes to an end without a clock that moves."""
    regrouping = flat()
    for rows, waiting, seconds in batches:
        regrouping.ended(Answered(None, rows, 0.0, waiting), rows, seconds, is_full=False)
        assert not regrouping.waits(None, waiting or 1, MOST, 4.0 + A_RUN)
        regrouping.ended(Answered(None, rows, 0.0, waiting), rows, seconds, is_full=False)
        passes = 0
        while regrouping.waits(None, waiting or 1, MOST, 0.0):
            passes += 1
        assert passes <= MOST_PASSES + 1


# ------------------------------------------------------------------------------------- a Batcher


CALLERS = 8


async def ask_again_and_again(batcher: Batcher[int, int], item: int, times: int) -> None:
    """A caller who comes back at once."""
    for _ in range(times):
        assert await batcher.submit(item) == 2 * item


async def sizes_in_closed_loop(
    executor: FakeExecutor, *, times: int = 40, **options: Any
) -> list[int]:
    """Rows of all batches for callers that come in two halves."""
    async with Batcher(double, max_batch_size=MOST, executor=executor, **options) as batcher:
        asking = [ask_again_and_again(batcher, item, times) for item in range(CALLERS)]
        first = asyncio.gather(*asking[: CALLERS // 2])
        await settle()
        await asyncio.gather(first, *asking[CALLERS // 2 :])
    return [len(items) for items in ran(executor)]


async def test_two_halves_become_one_batch() -> None:
    sizes = await sizes_in_closed_loop(FakeExecutor(run_time=1.0), regroup=True)
    assert sizes.count(CALLERS) > 30


async def test_without_it_they_stay_apart() -> None:
    sizes = await sizes_in_closed_loop(FakeExecutor(run_time=1.0))
    assert set(sizes) == {CALLERS // 2}


def asking(batcher: Batcher[int, int], *items: int, **wishes: Any) -> list[asyncio.Task[int]]:
    """Callers of an item each."""
    return [asyncio.ensure_future(batcher.submit(item, **wishes)) for item in items]


def nothing(_: object) -> None:
    """What most tests do when a batch has ended."""


@asynccontextmanager
async def about_to_end(
    executor: FakeExecutor, act: Callable[[Batcher[int, int]], object] = nothing, **options: Any
) -> AsyncIterator[tuple[Batcher[int, int], list[int]]]:
    """A Batcher of which a batch of four is about to end, that knows what it would save.

    Each time that the callers of a batch are told it does `act`, and notes in the list how many
    batches have been started until then.
    """
    started: list[int] = []

    def note(_: BatchRecord) -> None:
        started.append(len(executor.started))
        if is_ready:
            act(batcher)

    is_ready = False
    async with Batcher(
        double, max_batch_size=MOST, regroup=True, executor=executor, on_batch=note, **options
    ) as batcher:
        await asyncio.gather(*[ask_again_and_again(batcher, item, 5) for item in range(8)])
        await ask_again_and_again(batcher, 0, 5)
        asking(batcher, *range(4))
        await settle()
        started.clear()
        executor.started.clear()
        is_ready = True
        yield batcher, started


async def test_the_thread_is_free_while_it_waits() -> None:
    executor = FakeExecutor(run_time=1.0)
    async with about_to_end(executor) as (batcher, started):
        callers = asking(batcher, *range(4))
        assert await asyncio.gather(*callers) == [0, 2, 4, 6]
        assert started[0] == 0, "when the first were told, the next had not been started"


async def test_a_deadline_is_not_missed_for_it() -> None:
    executor = FakeExecutor(run_time=1.0)
    async with about_to_end(executor) as (batcher, started):
        callers = asking(batcher, *range(4), timeout=2.9)
        assert await asyncio.gather(*callers) == [0, 2, 4, 6]
        assert started[0] == 1


async def test_beside_another_batch_that_runs_it_does_not_wait() -> None:
    executor = FakeExecutor(2, run_time=1.0)
    async with about_to_end(executor, concurrency=2) as (batcher, started):
        await asyncio.sleep(0.5)
        callers = asking(batcher, *range(8))
        await settle()
        callers += asking(batcher, 9)
        await asyncio.gather(*callers)
        assert started[0] == 2


async def test_with_costs_it_does_not_wait() -> None:
    executor = FakeExecutor(run_time=1.0)
    costs: dict[str, Any] = {"batch_cost": len, "max_batch_cost": 100.0}
    async with about_to_end(executor, **costs) as (batcher, started):
        await asyncio.gather(*asking(batcher, *range(4)))
        assert started[0] == 1


async def test_closing_while_it_waits_fails_who_waits() -> None:
    executor = FakeExecutor(run_time=1.0)
    closing: list[asyncio.Task[None]] = []

    def close(batcher: Batcher[int, int]) -> None:
        closing.append(asyncio.ensure_future(batcher.close()))

    async with about_to_end(executor, close) as (batcher, _):
        ends = await asyncio.gather(*asking(batcher, *range(4)), return_exceptions=True)
        assert all(isinstance(end, BatcherClosed) for end in ends)
        await asyncio.gather(*closing)
    await asyncio.sleep(2.0)
    assert not executor.started


async def test_a_thread_that_others_want_is_shared_by_time_as_before() -> None:
    executor = FakeExecutor(run_time=lambda batch: 10.0 if batch[0] >= 100 else 1.0)
    async with (
        Batcher(double, regroup=True, executor=executor) as batcher,
        Batcher(double, executor=executor) as other,
    ):
        halves = [ask_again_and_again(batcher, item, 40) for item in range(CALLERS)]
        first = asyncio.gather(*halves[:4])
        await settle()
        slow = asyncio.ensure_future(ask_again_and_again(other, 100, 3))
        await asyncio.gather(first, *halves[4:], slow)
    kinds = [items[0] >= 100 for items in ran(executor)]
    # About ten quick batches for each slow one.
    assert kinds[:36].count(True) <= 4


@pytest.mark.parametrize("regroup", [True, False])
async def test_reasons_stay_what_they_were(*, regroup: bool) -> None:
    reasons = []

    def observe(record: Any) -> None:
        reasons.append(record.reason)

    executor = FakeExecutor(run_time=1.0)
    await sizes_in_closed_loop(executor, regroup=regroup, on_batch=observe)
    assert set(reasons) <= {Reason.IDLE, Reason.DRAIN}
