"""Turns are granted in order, calls end with an Outcome, executors stop and start again."""

import asyncio
import contextvars
import queue
import threading
import weakref
from collections.abc import Callable

import pytest

from batcher import Executor, LoopExecutor, Outcome, ThreadExecutor
from batcher.executor import call
from batcher.testing import FakeExecutor, VirtualTimeLoop
from batcher.thread_executor import Work, work_off
from batcher.turns import Claimant
from tests.batcher.scenes import LONG, outcomes, settle
from tests.batcher.scenes import work_off as work_off_by_hand

RUN_TIME = 1.0
MORE_THAN_THE_STACK_HOLDS = 1500
"""Python's recursion limit is 1,000."""


class CannotRun(Exception):
    pass


def fail(argument: object) -> None:
    raise CannotRun(argument)


# ----------------------------------------------------------------------------------------- a call


@pytest.mark.parametrize("error", [CannotRun("x"), SystemExit(2), StopIteration(), GeneratorExit()])
def test_a_call_never_raises(error: BaseException) -> None:
    def function(_: object) -> None:
        raise error

    ticks = iter([2.0, 5.0])
    assert call(function, "x", lambda: next(ticks)) == Outcome(None, error, 3.0)


def test_a_call_is_timed() -> None:
    ticks = iter([2.0, 2.5])
    assert call(len, "four", lambda: next(ticks)) == Outcome(4, None, 0.5)


# ------------------------------------------------------------------------------------------ turns


@pytest.mark.parametrize("executor", [FakeExecutor, ThreadExecutor, LoopExecutor])
def test_an_executor_has_at_least_one_slot(executor: Callable[[int], Executor]) -> None:
    with pytest.raises(ValueError, match="an executor needs at least 1 slot, not 0"):
        executor(0)
    assert executor(2).free_slots == 2


def test_turns_are_granted_in_the_order_they_were_asked_for_while_nobody_has_used_any() -> None:
    executor, claimant = FakeExecutor(2), Claimant()
    granted: list[str] = []
    assert executor.acquire(claimant, lambda: granted.append("never: it was taken at once"))
    assert executor.acquire(claimant, lambda: granted.append("neither"))
    assert executor.free_slots == 0
    for name in ("first", "second"):
        assert not executor.acquire(Claimant(), lambda name=name: granted.append(name))  # type: ignore[misc]
    assert granted == []
    executor.release()
    assert (granted, executor.free_slots) == (["first"], 0)
    executor.release()
    assert (granted, executor.free_slots) == (["first", "second"], 0)
    executor.release()
    executor.release()
    assert (granted, executor.free_slots) == (["first", "second"], 2)


def test_who_gives_a_slot_back_may_have_it_again_before_others_have_it() -> None:
    executor, claimant, other = FakeExecutor(), Claimant(), Claimant()
    other.used = 1.0
    granted: list[str] = []
    assert executor.acquire(claimant, lambda: granted.append("never: it was taken at once"))
    assert not executor.acquire(other, lambda: granted.append("other"))
    executor.give_back()
    assert executor.acquire(claimant, lambda: granted.append("neither"))
    executor.pass_on()
    assert granted == []
    claimant.used = 2.0
    executor.give_back()
    assert not executor.acquire(claimant, lambda: granted.append("claimant"))
    executor.pass_on()
    assert granted == ["other"]


def test_any_number_of_turns_that_nobody_needs_any_more_may_be_passed_on() -> None:
    executor, claimant = FakeExecutor(), Claimant()
    assert executor.acquire(claimant, executor.release)
    for _ in range(MORE_THAN_THE_STACK_HOLDS):
        assert not executor.acquire(claimant, executor.release)
    executor.release()
    assert executor.free_slots == 1


# ------------------------------------------------------------------------------- attach and detach


async def test_an_executor_in_use_refuses_another_loop() -> None:
    executor = FakeExecutor()
    executor.attach(asyncio.get_running_loop())
    other = asyncio.new_event_loop()
    with pytest.raises(RuntimeError, match="is in use on another event loop"):
        executor.attach(other)
    executor.detach()
    executor.attach(other)  # Not in use any more: it may move.
    executor.detach()
    other.close()


async def test_an_executor_stopped_while_a_function_ran_must_wait_for_it() -> None:
    executor = FakeExecutor(by_hand=True)
    caller = asyncio.ensure_future(executor.call(len, "four"))
    await settle()
    caller.cancel()
    await settle()
    assert executor._users == 0
    with pytest.raises(RuntimeError, match="was stopped while a function ran"):
        await executor.call(len, "seven")
    await work_off_by_hand(executor)
    again = asyncio.ensure_future(executor.call(len, "seven"))
    await settle()
    await work_off_by_hand(executor)
    assert await again == 5


# -------------------------------------------------------------------------------- Executor.call


async def test_a_call_returns_what_the_function_returns() -> None:
    executor = FakeExecutor(run_time=RUN_TIME)
    assert await executor.call(len, "four") == 4
    assert asyncio.get_running_loop().time() == RUN_TIME
    assert (executor.free_slots, executor._users) == (1, 0)


async def test_a_call_raises_what_the_function_raises() -> None:
    executor = FakeExecutor()
    with pytest.raises(CannotRun, match="model"):
        await executor.call(fail, "model")
    assert (executor.free_slots, executor._users) == (1, 0)


async def test_a_call_whose_function_raises_stop_iteration_ends_too() -> None:
    executor = FakeExecutor()
    (error,) = await outcomes([asyncio.ensure_future(executor.call(next, iter([])))])
    assert isinstance(error.__cause__, StopIteration)
    assert (executor.free_slots, executor._users) == (1, 0)


async def test_calls_wait_for_their_turn() -> None:
    executor = FakeExecutor(run_time=RUN_TIME)
    results = await asyncio.gather(*[executor.call(len, "x" * n) for n in range(3)])
    assert results == [0, 1, 2]
    assert executor.started == ["", "x", "xx"]
    assert asyncio.get_running_loop().time() == 3 * RUN_TIME


async def test_a_call_cancelled_before_its_turn_never_runs() -> None:
    executor = FakeExecutor(by_hand=True)
    callers = [asyncio.ensure_future(executor.call(len, "x" * n)) for n in range(3)]
    await settle()
    callers[1].cancel()
    await settle()
    await work_off_by_hand(executor)
    assert executor.started == ["", "xx"]
    assert await callers[2] == 2
    assert (executor.free_slots, executor._users) == (1, 0)


@pytest.mark.parametrize("function", [len, fail])
async def test_a_call_cancelled_while_it_runs_is_finished_for_nobody(
    function: Callable[[str], object],
) -> None:
    executor = FakeExecutor(by_hand=True)
    first = asyncio.ensure_future(executor.call(function, "four"))
    second = asyncio.ensure_future(executor.call(len, "seven"))
    await settle()
    executor.start_next()
    first.cancel()
    await settle()
    assert executor.free_slots == 0
    executor.finish_next()
    await work_off_by_hand(executor)
    assert await second == 5
    assert (executor.free_slots, executor._users) == (1, 0)


# -------------------------------------------------------------------------------- ThreadExecutor


def test_the_model_thread_has_a_name_and_is_a_daemon() -> None:
    async def main() -> threading.Thread:
        return await ThreadExecutor(name="gpu").call(lambda _: threading.current_thread(), None)

    thread = asyncio.run(main())
    assert (thread.name, thread.daemon) == ("gpu", True)
    thread.join(LONG)
    assert not thread.is_alive()


def test_several_threads_are_numbered() -> None:
    meeting = threading.Barrier(3)

    def name(_: object) -> str:
        meeting.wait(LONG)
        return threading.current_thread().name

    async def main() -> list[str]:
        executor = ThreadExecutor(3)
        return await asyncio.gather(*[executor.call(name, None) for _ in range(3)])

    assert sorted(asyncio.run(main())) == ["model-0", "model-1", "model-2"]


def test_an_executor_knows_its_own_threads() -> None:
    executor, other = ThreadExecutor(), ThreadExecutor()

    async def main() -> None:
        assert await executor.call(lambda _: executor.runs_current_thread(), None)
        assert not await other.call(lambda _: executor.runs_current_thread(), None)
        assert not executor.runs_current_thread()

    asyncio.run(main())


def test_a_thread_survives_what_a_function_raises() -> None:
    def leave(_: object) -> None:
        raise CannotRun

    async def main() -> None:
        executor = ThreadExecutor()
        executor.attach(asyncio.get_running_loop())
        before = await executor.call(lambda _: threading.current_thread(), None)
        with pytest.raises(CannotRun):
            await executor.call(leave, None)
        assert await executor.call(lambda _: threading.current_thread(), None) is before
        executor.detach()

    asyncio.run(main())


def test_a_thread_executor_works_on_one_loop_after_another() -> None:
    executor = ThreadExecutor()
    threads = [
        asyncio.run(executor.call(lambda _: threading.current_thread(), None)) for _ in range(2)
    ]
    assert threads[0] is not threads[1]


def test_a_thread_whose_loop_is_gone_ends_quietly() -> None:
    entered, leave = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def hang(_: object) -> None:
        threads.append(threading.current_thread())
        entered.set()
        assert leave.wait(LONG)

    async def main() -> None:
        caller = asyncio.ensure_future(ThreadExecutor().call(hang, None))
        assert await asyncio.to_thread(entered.wait, LONG)
        caller.cancel()

    asyncio.run(main())
    leave.set()
    threads[0].join(LONG)
    assert not threads[0].is_alive()


def test_an_idle_thread_keeps_neither_argument_nor_result_alive() -> None:
    class Thing:
        pass

    argument_freed, result_freed = threading.Event(), threading.Event()

    def function(_: Thing) -> Thing:
        result = Thing()
        weakref.finalize(result, result_freed.set)
        return result

    async def main() -> None:
        executor = ThreadExecutor()
        executor.attach(asyncio.get_running_loop())
        argument = Thing()
        weakref.finalize(argument, argument_freed.set)
        await executor.call(function, argument)
        del argument
        assert await asyncio.to_thread(argument_freed.wait, LONG)
        assert await asyncio.to_thread(result_freed.wait, LONG)
        executor.detach()

    asyncio.run(main())


# ---------------------------------------------------------------------------------- LoopExecutor

whose: contextvars.ContextVar[str] = contextvars.ContextVar("whose", default="nobody's")


async def run_in(executor: LoopExecutor, function: Callable[[object], object]) -> Outcome:
    """A turn of its own, as a Batcher takes it."""
    ended: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    executor.attach(asyncio.get_running_loop())
    assert executor.acquire(Claimant(), lambda: None)
    executor.run(function, "argument", ended.set_result)
    assert not ended.done()
    try:
        return await ended
    finally:
        executor.release()
        executor.detach()


async def test_a_coroutine_is_timed_and_answered() -> None:
    async def function(argument: object) -> object:
        await asyncio.sleep(RUN_TIME)
        return argument

    assert await run_in(LoopExecutor(), function) == Outcome("argument", None, RUN_TIME)


@pytest.mark.parametrize("error", [CannotRun(), SystemExit(1), asyncio.CancelledError()], ids=repr)
async def test_whatever_a_coroutine_raises_is_its_outcome(error: BaseException) -> None:
    async def function(_: object) -> object:
        raise error

    assert await run_in(LoopExecutor(), function) == Outcome(None, error, 0.0)


async def test_a_coroutine_inherits_no_context() -> None:
    async def function(_: object) -> object:
        return whose.get()

    whose.set("the caller's")
    assert (await run_in(LoopExecutor(), function)).returned == "nobody's"


@pytest.mark.parametrize("begun", [True, False])
async def test_stopping_cancels_what_runs_and_says_so_once(*, begun: bool) -> None:
    async def function(_: object) -> object:
        return await asyncio.Event().wait()

    executor = LoopExecutor()
    told: list[Outcome] = []
    executor.attach(asyncio.get_running_loop())
    assert executor.acquire(Claimant(), lambda: None)
    executor.run(function, "argument", told.append)
    if begun:
        await settle()
    executor.detach()
    await settle()
    assert [type(outcome.error) for outcome in told] == [asyncio.CancelledError]
    assert not executor._tasks


class RefusingLoop(VirtualTimeLoop):
    """Refuses calls from threads, as virtual time does."""

    def call_soon_threadsafe(self, *args: object, **kwargs: object) -> asyncio.Handle:
        msg = "no threads here"
        raise RuntimeError(msg)


@pytest.mark.parametrize("closed", [True, False])
def test_a_thread_ends_with_its_loop_and_complains_of_any_other_refusal(closed: bool) -> None:  # noqa: FBT001
    inbox: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
    inbox.put((len, "x", lambda _: None))
    loop = RefusingLoop()
    if closed:
        loop.close()
        work_off(loop, inbox)
        return
    with pytest.raises(RuntimeError, match="no threads here"):
        work_off(loop, inbox)
    loop.close()
