"""Deadlines: told at that moment, never run after, earliest first; predicted waits at the door."""

import asyncio
import gc
import weakref
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from batcher import (
    Admission,
    Batch,
    Batcher,
    BatcherClosed,
    DeadlineExceeded,
    Fairness,
    QueueFull,
    Reason,
)
from batcher.deadlines import SWEEP_AT_LEAST
from batcher.testing import FakeExecutor
from tests.batcher.scenes import assert_nothing_left, double, outcomes, ran, settle, work_off

RUN_TIME = 1.0
SOON = RUN_TIME / 4


def now() -> float:
    return asyncio.get_running_loop().time()


async def told_at(caller: "asyncio.Future[Any]") -> tuple[float, Any]:
    """When a caller was told, and what."""
    began = now()
    (told,) = await outcomes([caller])
    return now() - began, told


Submit = Callable[..., "asyncio.Task[int]"]


def submitting(batcher: Batcher[int, int]) -> Submit:
    """Submits from tasks of their own."""
    return lambda item, **options: asyncio.ensure_future(batcher.submit(item, **options))


async def test_who_waits_is_told_at_the_deadline_while_the_model_is_busy_and_never_runs() -> None:
    executor = FakeExecutor(run_time=RUN_TIME)
    async with Batcher(double, executor=executor) as batcher:
        submit = submitting(batcher)
        busy = submit(0)
        await settle()
        late, patient = submit(1, timeout=SOON), submit(2)
        seconds, told = await told_at(late)
        assert seconds == pytest.approx(SOON)
        assert isinstance(told, DeadlineExceeded)
        assert isinstance(told, TimeoutError)
        assert "within its 0.25 s" in str(told)
        assert (await busy, await patient) == (0, 4)
        assert batcher.stats().expired == 1
    assert ran(executor) == [[0], [2]]
    assert_nothing_left(batcher, executor)


async def test_who_runs_is_told_at_the_deadline_too_and_the_result_is_dropped() -> None:
    executor = FakeExecutor(run_time=RUN_TIME)
    records: list[Any] = []
    async with Batcher(double, executor=executor, on_batch=records.append) as batcher:
        submit = submitting(batcher)
        late, patient = submit(1, timeout=SOON), submit(2)
        seconds, told = await told_at(late)
        assert seconds == pytest.approx(SOON)
        assert isinstance(told, DeadlineExceeded)
        assert await patient == 4
    assert [(record.requests, record.abandoned) for record in records] == [(2, 1)]


async def test_an_earlier_deadline_that_comes_later_is_not_missed() -> None:
    executor = FakeExecutor(by_hand=True)
    async with Batcher(double, executor=executor) as batcher:
        submit = submitting(batcher)
        busy = submit(0)
        await settle()
        slow, quick = submit(1, timeout=3.0), submit(2, timeout=1.0)
        (first, _), (second, _) = await asyncio.gather(told_at(quick), told_at(slow))
        assert [first, second] == pytest.approx([1.0, 3.0])
        await work_off(executor)
        assert await busy == 0
    assert ran(executor) == [[0]]


async def test_an_answer_before_the_deadline_is_an_answer() -> None:
    executor = FakeExecutor(run_time=RUN_TIME)
    async with Batcher(double, executor=executor) as batcher:
        assert await batcher.submit(1, timeout=2 * RUN_TIME) == 2
        await asyncio.sleep(10 * RUN_TIME)
        assert batcher.stats().expired == 0


async def test_a_timeout_of_nothing_is_too_late_at_once_and_harms_nobody() -> None:
    executor = FakeExecutor(run_time=RUN_TIME)
    async with Batcher(double, executor=executor) as batcher:
        submit = submitting(batcher)
        late, fine = submit(1, timeout=0.0), submit(2)
        assert [type(told) for told in await outcomes([late, fine])] == [DeadlineExceeded, int]
    assert ran(executor) == [[2]]


async def test_the_earliest_deadline_goes_first() -> None:
    executor = FakeExecutor(by_hand=True)
    async with Batcher(double, max_batch_size=1, executor=executor) as batcher:
        submit = submitting(batcher)
        callers = [submit(0)]
        await settle()
        callers += [
            submit(item, timeout=timeout) for item, timeout in ((1, 9.0), (2, 7.0), (3, 8.0))
        ]
        await settle()
        await work_off(executor)
        assert await outcomes(callers) == [0, 2, 4, 6]
    assert ran(executor) == [[0], [2], [3], [1]]


async def test_deadlines_do_not_pass_who_has_none_for_ever() -> None:
    executor = FakeExecutor(by_hand=True)
    async with Batcher(
        double, max_batch_size=1, executor=executor, fairness=Fairness(ageing=2.0)
    ) as batcher:
        submit = submitting(batcher)
        callers = [submit(0)]
        await settle()
        callers += [submit(1), submit(2, timeout=1.5), submit(3, timeout=2.5)]
        await settle()
        await work_off(executor)
        await outcomes(callers)
    assert ran(executor) == [[0], [2], [1], [3]]


async def test_waiting_for_company_ends_before_somebody_is_late() -> None:
    executor = FakeExecutor(run_time=RUN_TIME)
    records: list[Any] = []
    async with Batcher(
        double, batch_timeout=10.0, executor=executor, on_batch=records.append
    ) as batcher:
        await batcher.submit(0)
        assert await batcher.submit(1, timeout=3.0) == 2
    assert [record.reason for record in records] == [Reason.TIMEOUT, Reason.DEADLINE]
    assert records[1].queue_times == (pytest.approx(3.0 - 2 * RUN_TIME),)


async def test_items_submitted_together_have_one_deadline() -> None:
    executor = FakeExecutor(run_time=RUN_TIME)
    async with Batcher(double, max_batch_size=2, executor=executor) as batcher:
        with pytest.raises(DeadlineExceeded):
            await batcher.submit_many([1, 2, 3, 4, 5], timeout=1.5 * RUN_TIME)
        await settle()
        assert batcher.stats().queued_rows == 0
    assert ran(executor) == [[1, 2], [3, 4]]


async def test_a_deadline_of_the_last_one_ends_a_drain() -> None:
    executor = FakeExecutor(by_hand=True)
    batcher = Batcher(double, max_batch_size=1, executor=executor)
    await batcher.__aenter__()
    submit = submitting(batcher)
    busy = submit(0)
    await settle()
    late = submit(1, timeout=SOON)
    await settle()
    draining = asyncio.ensure_future(batcher.drain())
    assert isinstance((await told_at(late))[1], DeadlineExceeded)
    executor.start_next()
    executor.finish_next()
    assert await draining
    assert await busy == 0


async def test_close_leaves_no_timer_behind() -> None:
    executor = FakeExecutor(by_hand=True)
    batcher = Batcher(double, executor=executor)
    await batcher.__aenter__()
    caller = submitting(batcher)(1, timeout=5.0)
    await settle()
    await batcher.close()
    assert isinstance((await outcomes([caller]))[0], BatcherClosed)
    await asyncio.sleep(10.0)
    assert batcher.stats().expired == 0


# ------------------------------------------------------------------------- who has ended is let go

HOUR = 3600.0
CALLERS = 3 * SWEEP_AT_LEAST


class Heavy:
    """An item or a result of which one can tell whether it is still there."""


class Weights:
    """A model of heavy items and results, and all that came and went."""

    def __init__(self) -> None:
        self.made: weakref.WeakSet[Heavy] = weakref.WeakSet()
        self.executor = FakeExecutor(by_hand=True)

    def new(self) -> Heavy:
        heavy = Heavy()
        self.made.add(heavy)
        return heavy

    def answer(self, batch: Batch[Heavy]) -> list[Heavy | Exception]:
        return [self.new() for _ in batch]

    def fail(self, batch: Batch[Heavy]) -> list[Heavy | Exception]:
        return [ValueError("too heavy") for _ in batch]

    async def work_off(self) -> None:
        await work_off(self.executor)
        self.executor.started.clear()  # The books of the fake.


@contextmanager
def uncollected() -> Iterator[None]:
    """Nothing may wait for the garbage collector."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def deadlines_kept(batcher: Batcher[Any, Any]) -> int:
    """Deadlines that the heaps of a Batcher still have."""
    ranks = [
        rank for lane in batcher._queue._lanes.values() for rank in (lane.ranks or {}).values()
    ]
    return max(len(heap) for heap in (batcher._deadlines._heap, *[r._deadlines for r in ranks]))


async def one_by_one(batcher: Batcher[Heavy, Heavy], weights: Weights) -> None:
    """Submit, and forget what came of it."""
    callers = [batcher.submit(weights.new(), timeout=HOUR) for _ in range(CALLERS)]
    await asyncio.gather(*callers, return_exceptions=True)


async def together(batcher: Batcher[Heavy, Heavy], weights: Weights) -> None:
    """The same in one call."""
    with suppress(ValueError):
        await batcher.submit_many([weights.new() for _ in range(CALLERS)], timeout=HOUR)


@pytest.mark.parametrize("submit", [one_by_one, together])
@pytest.mark.parametrize("is_answered", [True, False])
async def test_who_was_told_keeps_nothing_alive_until_the_deadline(
    submit: Callable[[Batcher[Heavy, Heavy], Weights], Coroutine[None, None, None]],
    *,
    is_answered: bool,
) -> None:
    weights = Weights()
    function = weights.answer if is_answered else weights.fail
    async with Batcher(function, executor=weights.executor) as batcher:
        with uncollected():
            submitting = asyncio.ensure_future(submit(batcher, weights))
            await settle()
            assert len(weights.made) == CALLERS
            await weights.work_off()
            await submitting
            await settle()
            assert len(weights.made) == 0
        assert (batcher.stats().answered == CALLERS) is is_answered
        assert deadlines_kept(batcher) <= SWEEP_AT_LEAST


async def test_who_left_keeps_nothing_alive_behind_somebody_who_stays() -> None:
    weights = Weights()
    async with Batcher(weights.answer, max_batch_size=1, executor=weights.executor) as batcher:
        with uncollected():
            patient = [asyncio.ensure_future(batcher.submit(weights.new(), timeout=SOON))]
            await settle()
            patient.append(asyncio.ensure_future(batcher.submit(weights.new(), timeout=HOUR)))
            for number in range(CALLERS):
                hasty = asyncio.ensure_future(
                    batcher.submit(weights.new(), timeout=2 * HOUR, priority=number % 2)
                )
                await asyncio.sleep(0)
                hasty.cancel()
                await asyncio.wait({hasty})
            del hasty
            assert len(weights.made) == 2
            assert deadlines_kept(batcher) <= 2 + SWEEP_AT_LEAST
            assert isinstance((await told_at(patient[0]))[1], DeadlineExceeded)
            await weights.work_off()
            assert isinstance((await outcomes(patient))[1], Heavy)
            patient.clear()
            await settle()
            assert len(weights.made) == 0


# ------------------------------------------------------------------------------ predicted waits


async def learn(batcher: Batcher[int, int], batches: int = 3) -> None:
    """Let the Batcher see what its full batches take."""
    for _ in range(batches):
        await batcher.submit_many([0, 0])


async def test_who_cannot_be_answered_in_time_is_refused_at_the_door() -> None:
    executor = FakeExecutor(run_time=RUN_TIME)
    async with Batcher(double, max_batch_size=2, executor=executor) as batcher:
        await learn(batcher)
        submit = submitting(batcher)
        callers = [submit(item) for item in range(4)]
        await settle()
        # One batch runs, one waits: a third would be answered after 3 s.
        with pytest.raises(QueueFull, match="the answer would take about 3 s") as refused:
            await batcher.submit(9, timeout=3.0)
        assert refused.value.retry_after == pytest.approx(2.0, rel=1e-3)
        fine = submit(10, timeout=3.5)
        assert await outcomes([*callers, fine]) == [0, 2, 4, 6, 20]
        assert batcher.stats().refused == 1


async def test_what_a_new_request_would_wait_is_told() -> None:
    executor = FakeExecutor(run_time=RUN_TIME)
    async with Batcher(double, max_batch_size=2, executor=executor) as batcher:
        assert batcher.expected_wait == 0.0
        await learn(batcher)
        assert batcher.expected_wait == 0.0
        submit = submitting(batcher)
        callers = [submit(item) for item in range(4)]
        await settle()
        assert batcher.expected_wait == pytest.approx(2 * RUN_TIME, rel=1e-3)
        await outcomes(callers)


async def test_it_tells_what_it_has_learned_of_run_times() -> None:
    executor = FakeExecutor(run_time=RUN_TIME)
    sizes = (2, 4)
    async with Batcher(
        double, max_batch_size=4, allowed_batch_sizes=sizes, executor=executor
    ) as batcher:
        assert batcher.expected_run_time(1) is None
        await learn(batcher)
        # One row is padded to two; of four nothing is known but what two take.
        assert batcher.expected_run_time(1) == pytest.approx(RUN_TIME)
        assert batcher.expected_run_time(3) == pytest.approx(2 * RUN_TIME)
        with pytest.raises(ValueError, match="size must be"):
            batcher.expected_run_time(0)


async def test_beside_an_idle_model_nobody_is_refused_by_prediction() -> None:
    executor = FakeExecutor(run_time=lambda _: 0.1 if len(executor.started) >= 3 else 60.0)
    async with Batcher(double, max_batch_size=2, executor=executor) as batcher:
        await learn(batcher)
        assert await batcher.submit(1, timeout=0.5) == 2


async def test_those_who_go_first_do_not_count_those_behind_them() -> None:
    executor = FakeExecutor(run_time=RUN_TIME)
    async with Batcher(double, max_batch_size=2, executor=executor) as batcher:
        await learn(batcher)
        submit = submitting(batcher)
        callers = [submit(0), *(submit(item, timeout=60.0) for item in range(1, 9))]
        await settle()
        urgent = submit(9, timeout=2.5)
        assert await urgent == 18
        assert all(isinstance(told, int) for told in await outcomes(callers))


async def test_a_bound_on_the_wait_refuses_who_has_no_deadline_as_well() -> None:
    executor = FakeExecutor(run_time=RUN_TIME)
    async with Batcher(
        double, max_batch_size=2, executor=executor, admission=Admission(max_wait=1.5)
    ) as batcher:
        await learn(batcher)
        submit = submitting(batcher)
        callers = [submit(item) for item in range(4)]
        await settle()
        with pytest.raises(QueueFull, match=r"the wait would be about 2 s, max_wait=1\.5 s"):
            await batcher.submit(9)
        await outcomes(callers)


async def test_what_can_no_longer_be_answered_in_time_is_not_run() -> None:
    executor = FakeExecutor(run_time=RUN_TIME)
    async with Batcher(double, max_batch_size=2, executor=executor) as batcher:
        await learn(batcher)
        submit = submitting(batcher)
        busy = [submit(0), submit(1)]
        await settle()
        executor._run_time = 0.9 * RUN_TIME
        # Admitted: what ran before them was expected to take a second, and took longer.
        hopeless, fine = submit(2, timeout=2.3), submit(3)
        await outcomes([*busy, hopeless, fine])
        assert await fine == 6


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"timeout": float("nan")}, ValueError, "timeout must be finite seconds"),
        ({"timeout": float("inf")}, ValueError, "timeout must be finite seconds"),
        ({"timeout": -1.0}, ValueError, "timeout must be finite seconds, 0 or more"),
        ({"timeout": "1"}, TypeError, "timeout must be a number of seconds"),
        ({"priority": "high"}, TypeError, "priority must be a whole number"),
        ({"priority": 0.5}, TypeError, "priority must be a whole number"),
        ({"nbytes": -1}, ValueError, "nbytes must be 0 or more"),
        ({"nbytes": 1.5}, TypeError, "nbytes must be a whole number"),
        ({"timeout": 1.0, "size": 0}, ValueError, "size must be at least 1"),
        ({"timeout": 1.0, "bucket": []}, TypeError, "unhashable"),
    ],
)
async def test_bad_values_are_told_to_their_caller_and_harm_nobody_else(
    options: dict[str, Any], error: type[Exception], told: str
) -> None:
    executor = FakeExecutor()
    async with Batcher(double, executor=executor) as batcher:
        fine = submitting(batcher)(1)
        with pytest.raises(error, match=told):
            await batcher.submit(2, **options)
        assert await fine == 2
        assert batcher.stats().accepted == 1
        assert batcher.stats().queued_bytes == 0
    assert_nothing_left(batcher, executor)
