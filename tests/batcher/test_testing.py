"""Virtual time jumps, deadlocks speak, fake executors obey, faults strike as planned."""

import asyncio
import threading
from typing import Any

import pytest

from batcher import Batch, Batcher, BatchFailed, Outcome
from batcher.testing import Deadlock, FakeExecutor, Faults, VirtualTimeLoop, run
from tests.batcher.scenes import double, settle, work_off

AN_HOUR = 3600.0
A_YEAR = 365 * 24 * AN_HOUR
RUN_TIME = 1.0


async def sleep_and_say(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return asyncio.get_running_loop().time()


# ------------------------------------------------------------------------------------ virtual time


def test_time_starts_at_zero_and_jumps_to_the_next_timer() -> None:
    async def main() -> list[float]:
        assert asyncio.get_running_loop().time() == 0
        return await asyncio.gather(*[sleep_and_say(n * AN_HOUR) for n in (3, 1, 2)])

    assert run(main()) == [3 * AN_HOUR, AN_HOUR, 2 * AN_HOUR]


class Impatient(VirtualTimeLoop):
    """Fails instead of spinning, where the clock does not move on to a timer."""

    looks = 0
    most = 10_000

    def time(self) -> float:
        self.looks += 1
        assert self.looks != self.most, "the loop spins"
        return super().time()


@pytest.mark.parametrize("late", [0.0, AN_HOUR, A_YEAR])
@pytest.mark.parametrize("step", [1e-12, RUN_TIME])
def test_a_timer_fires_however_late_it_is_and_however_small_the_step(
    late: float, step: float
) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(late)
        assert loop.time() == pytest.approx(late)
        before = loop.time()
        await asyncio.sleep(step)
        assert before <= loop.time() <= before + 2 * RUN_TIME

    with asyncio.Runner(loop_factory=Impatient) as runner:
        runner.run(main())


def test_work_takes_no_time() -> None:
    async def main() -> float:
        for _ in range(1000):
            await asyncio.sleep(0)
        return asyncio.get_running_loop().time()

    assert run(main()) == 0


def test_checks_run_each_time_the_loop_comes_to_rest() -> None:
    times: list[float] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        loop.on_rest.append(lambda: times.append(loop.time()))
        await asyncio.sleep(RUN_TIME)
        await asyncio.sleep(0)
        await asyncio.sleep(RUN_TIME)

    run(main())
    assert times == [0.0, RUN_TIME]


def test_a_check_that_fails_fails_the_run() -> None:
    def check() -> None:
        msg = "an invariant"
        raise AssertionError(msg)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        loop.on_rest.append(check)
        try:
            await asyncio.sleep(RUN_TIME)
        finally:
            loop.on_rest.clear()

    with pytest.raises(AssertionError, match="an invariant"):
        run(main())


def test_where_nothing_can_happen_any_more_it_says_who_waits_for_what() -> None:
    async def inner() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        await asyncio.sleep(RUN_TIME)
        await inner()

    with pytest.raises(Deadlock) as deadlock:
        run(main())
    text = str(deadlock.value)
    assert text.startswith("at 1 s everybody waits and no timer runs:\n")
    assert "main line " in text
    assert "-> test_where_nothing_can_happen" in text
    assert "Event.wait line " in text


def test_a_deadlock_names_every_task() -> None:
    async def main() -> None:
        never = asyncio.get_running_loop().create_future()
        tasks = [asyncio.create_task(_wait_for(never), name=name) for name in ("Bob", "Ann")]
        await asyncio.wait(tasks)

    with pytest.raises(Deadlock) as deadlock:
        run(main())
    lines = str(deadlock.value).splitlines()
    assert [line.strip().partition(":")[0] for line in lines[1:3]] == ["Ann", "Bob"]
    assert "_wait_for line " in lines[1]


async def _wait_for(future: "asyncio.Future[None]") -> None:
    await future


def test_another_thread_is_told_that_it_has_no_place_here() -> None:
    raised: list[BaseException] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def call() -> None:
            try:
                loop.call_soon_threadsafe(print)
            except RuntimeError as error:
                raised.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        fired = asyncio.Event()
        loop.call_soon_threadsafe(fired.set)  # The loop's own thread may.
        await fired.wait()

    run(main())
    (error,) = raised
    assert "a thread called into virtual time; use FakeExecutor" in str(error)


def test_the_same_code_gives_the_same_order_every_time() -> None:
    async def main() -> list[int]:
        order: list[int] = []
        executor = FakeExecutor(run_time=lambda batch: 0.25 * len(batch))

        async def call(item: int) -> None:
            await asyncio.sleep((item * 7 % 5) / 10)
            await batcher.submit(item, bucket=item % 3)
            order.append(item)

        async with Batcher(double, max_batch_size=3, executor=executor) as batcher:
            await asyncio.gather(*[call(item) for item in range(30)])
        return order

    first = run(main())
    assert sorted(first) == list(range(30))
    assert run(main()) == first


# ------------------------------------------------------------------------------------- FakeExecutor


async def ended(executor: FakeExecutor, argument: Any) -> tuple[float, Outcome]:
    """Virtual seconds until a call was told to have ended, and how."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    outcome: asyncio.Future[Outcome] = loop.create_future()
    executor.run(len, argument, outcome.set_result)
    assert not outcome.done()
    return await outcome_and_time(outcome, started)


async def outcome_and_time(
    outcome: "asyncio.Future[Outcome]", started: float
) -> tuple[float, Outcome]:
    result = await outcome
    return asyncio.get_running_loop().time() - started, result


async def test_a_fake_executor_takes_the_time_it_is_told() -> None:
    assert await ended(FakeExecutor(), "four") == (0.0, Outcome(4, None, 0.0))
    assert await ended(FakeExecutor(run_time=AN_HOUR), "four") == (
        AN_HOUR,
        Outcome(4, None, AN_HOUR),
    )
    by_length = FakeExecutor(run_time=lambda text: AN_HOUR * len(text))
    assert await ended(by_length, "xx") == (2 * AN_HOUR, Outcome(2, None, 2 * AN_HOUR))
    assert by_length.started == ["xx"]


async def test_a_fake_executor_has_no_thread_of_its_own() -> None:
    executor = FakeExecutor()
    assert not executor.runs_current_thread()
    async with Batcher(double, executor=executor) as batcher:
        assert await asyncio.wrap_future(batcher.submit_threadsafe(1)) == 2


async def test_by_hand_the_test_decides_when_a_call_starts_and_ends() -> None:
    executor = FakeExecutor(by_hand=True)
    told: list[Outcome] = []
    called: list[str] = []
    for name in ("first", "second"):
        executor.run(called.append, name, told.append)
    await settle()
    assert (executor.handed_over, executor.started, called, told) == (2, [], [], [])
    executor.start_next()
    assert (executor.handed_over, executor.started, called, told) == (1, ["first"], ["first"], [])
    executor.start_next()
    executor.finish_next()
    assert (executor.handed_over, called, len(told)) == (0, ["first", "second"], 1)
    executor.finish_next()
    assert told == [Outcome(None, None, 0.0), Outcome(None, None, 0.0)]


# ------------------------------------------------------------------------------------------ Faults


def a_batch(*items: int) -> Batch[int]:
    return Batch(items, None, [1] * len(items))


def test_faults_strike_the_calls_they_are_planned_for() -> None:
    model = Faults(
        double,
        {
            0: MemoryError("no room"),
            2: Faults.one_result_short,
            3: Faults.one_result_too_many,
            4: Faults.no_sequence,
        },
    )
    with pytest.raises(MemoryError, match="no room"):
        model(a_batch(1, 2))
    assert model(a_batch(1, 2)) == [2, 4]
    assert model(a_batch(1, 2)) == [2]
    assert model(a_batch(1, 2)) == [2, 4, None]
    assert model(a_batch(1, 2)) == 2
    assert model(a_batch(1, 2)) == [2, 4]
    assert model.calls == 6


def test_a_poisoned_item_spoils_every_batch_it_is_in() -> None:
    model = Faults(double, poison=[3])
    for batch in (a_batch(1, 3), a_batch(3)):
        with pytest.raises(ValueError, match="poisoned by 3"):
            model(batch)
    assert model(a_batch(1, 2)) == [2, 4]


async def test_a_poisoned_batch_fails_for_all_in_it() -> None:
    executor = FakeExecutor(by_hand=True)
    async with Batcher(Faults(double, poison=[3]), executor=executor) as batcher:
        callers = [asyncio.ensure_future(batcher.submit(item)) for item in (1, 3)]
        await settle()
        await work_off(executor)
        for caller in callers:
            assert isinstance(caller.exception(), BatchFailed)
        assert batcher.stats().failed == 2
