"""Real threads and event loops: the model thread, callers on other threads, uvloop, the exit."""

import asyncio
import contextvars
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from batcher import Batch, Batcher, BatcherClosed, DeadlineExceeded, QueueFull, ThreadExecutor
from tests.batcher.scenes import LONG, double

Main = Coroutine[Any, Any, None]


def run_on_asyncio(main: Main) -> None:
    asyncio.run(main)


def run_on_uvloop(main: Main) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


on_every_loop = pytest.mark.parametrize("run", [run_on_asyncio, run_on_uvloop])


class Gate:
    """A model that waits, on its thread, until it is let through."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()
        self.batches: list[list[int]] = []

    def __call__(self, batch: Batch[int]) -> list[int | Exception]:
        self.batches.append(list(batch))
        self.entered.set()
        assert self.open.wait(LONG)
        return double(batch)


async def happened(event: threading.Event) -> None:
    """Wait for what another thread does, with the event loop running on."""
    assert await asyncio.to_thread(event.wait, LONG)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until something is so that no event tells of."""
    while not condition():  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0)


# -------------------------------------------------------------------------------- the model thread


@on_every_loop
def test_batches_run_one_after_the_other_on_one_named_daemon_thread(
    run: Callable[[Main], None],
) -> None:
    threads: set[threading.Thread] = set()

    def model(batch: Batch[int]) -> list[int | Exception]:
        threads.add(threading.current_thread())
        return double(batch)

    async def main() -> None:
        async with Batcher(model, max_batch_size=8) as batcher:
            calls = [batcher.submit(item) for item in range(100)]
            assert await asyncio.gather(*calls) == [2 * item for item in range(100)]
            assert batcher.stats().batches == 13

    run(main())
    (thread,) = threads
    assert thread.name == "model"
    assert thread.daemon
    thread.join(LONG)
    assert not thread.is_alive()


@on_every_loop
def test_the_queue_fills_and_refuses_while_the_thread_is_busy(
    run: Callable[[Main], None],
) -> None:
    gate = Gate()

    async def main() -> None:
        async with Batcher(gate, max_batch_size=2, max_queue_size=3) as batcher:
            callers = [asyncio.ensure_future(batcher.submit(0))]
            await happened(gate.entered)
            callers += [asyncio.ensure_future(batcher.submit(item)) for item in (1, 2, 3)]
            await asyncio.sleep(0)
            with pytest.raises(QueueFull):
                await batcher.submit(4)
            gate.open.set()
            assert await asyncio.gather(*callers) == [0, 2, 4, 6]

    run(main())
    assert gate.batches == [[0], [1, 2], [3]]


@on_every_loop
def test_deadlines_that_are_all_but_over_are_told_as_late(run: Callable[[Main], None]) -> None:
    """uvloop's timer for less than half a millisecond is a plain handle: it does not know when."""
    gate = Gate()

    async def main() -> None:
        async with Batcher(gate) as batcher:
            first = asyncio.ensure_future(batcher.submit(0))
            await happened(gate.entered)
            loop = asyncio.get_running_loop()
            await until(lambda: time.monotonic() - loop.time() < 1e-4)  # It counts milliseconds.
            late = await asyncio.gather(
                *(batcher.submit(item, timeout=1e-6) for item in (1, 2, 3)), return_exceptions=True
            )
            assert [type(error) for error in late] == [DeadlineExceeded] * 3
            gate.open.set()
            assert await first == 0
            assert batcher.stats().expired == 3

    run(main())
    assert gate.batches == [[0]]


@on_every_loop
def test_batch_timeout_holds_on_a_real_clock(run: Callable[[Main], None]) -> None:
    async def main() -> None:
        async with Batcher(double, batch_timeout=1e-3) as batcher:
            _, receipt = await batcher.submit_with_receipt(1)
            assert receipt.reason == "timeout"
            assert receipt.queue_time >= 1e-3

    run(main())


@on_every_loop
def test_closing_does_not_wait_for_a_function_that_hangs(run: Callable[[Main], None]) -> None:
    gate = Gate()

    async def main() -> None:
        batcher = Batcher(gate)
        async with batcher:
            caller = asyncio.ensure_future(batcher.submit(1))
            await happened(gate.entered)
            assert await batcher.drain(0) is False
            with pytest.raises(BatcherClosed):
                await caller
        gate.open.set()

    run(main())


def test_concurrent_batches_run_on_threads_of_their_own() -> None:
    meeting = threading.Barrier(2)

    def model(batch: Batch[int]) -> list[int | Exception]:
        meeting.wait(LONG)  # Passes only when two calls run at the same time.
        return double(batch)

    async def main() -> None:
        async with Batcher(model, max_batch_size=1, concurrency=2) as batcher:
            assert await batcher.submit_many([1, 2, 3, 4]) == [2, 4, 6, 8]

    asyncio.run(main())


def test_context_variables_of_callers_do_not_leak_into_the_thread() -> None:
    whose: contextvars.ContextVar[str] = contextvars.ContextVar("whose", default="nobody's")
    seen: list[str] = []

    def model(batch: Batch[int]) -> list[int | Exception]:
        seen.append(whose.get())
        return double(batch)

    async def call_as(name: str, batcher: Batcher[int, int]) -> None:
        whose.set(name)
        await batcher.submit(1)

    async def main() -> None:
        whose.set("the block's")
        async with Batcher(model, max_batch_size=1) as batcher:
            await asyncio.gather(*[call_as(name, batcher) for name in ("Ann's", "Bob's")])

    asyncio.run(main())
    assert seen == ["nobody's", "nobody's"]


# --------------------------------------------------------------------------------- other threads


@on_every_loop
def test_threads_submit_to_a_running_loop(run: Callable[[Main], None]) -> None:
    results: dict[int, int] = {}

    async def main() -> None:
        async with Batcher(double) as batcher:

            def client(item: int) -> None:
                future = batcher.submit_threadsafe(item, size=2, bucket=item % 2)
                results[item] = future.result(LONG)

            await asyncio.gather(*[asyncio.to_thread(client, item) for item in range(8)])
            assert batcher.stats().answered == 8

    run(main())
    assert results == {item: 2 * item for item in range(8)}


def test_a_thread_may_give_up() -> None:
    gate = Gate()

    async def main() -> None:
        async with Batcher(gate, max_batch_size=1) as batcher:
            running = asyncio.ensure_future(batcher.submit(1))
            await happened(gate.entered)
            future = batcher.submit_threadsafe(2)
            await until(lambda: batcher.stats().queued_requests == 1)
            future.cancel()
            await until(lambda: batcher.stats().queued_requests == 0)
            gate.open.set()
            assert await running == 2
            assert batcher.stats().cancelled == 1

    asyncio.run(main())
    assert gate.batches == [[1]]


def test_a_thread_hears_of_what_submit_raises() -> None:
    async def main() -> None:
        async with Batcher(double) as batcher:
            future = batcher.submit_threadsafe(1, size=0)
            with pytest.raises(ValueError, match="size must be at least 1"):
                await asyncio.wrap_future(future)
        with pytest.raises(BatcherClosed):
            await asyncio.wrap_future(batcher.submit_threadsafe(1))

    asyncio.run(main())


def test_a_thread_that_comes_after_the_loop_has_ended_is_told_that_it_is_closed() -> None:
    batcher = Batcher(double)

    async def main() -> None:
        async with batcher:
            assert await batcher.submit(1) == 2

    asyncio.run(main())
    with pytest.raises(BatcherClosed):
        batcher.submit_threadsafe(1).result(LONG)


def test_submitting_from_inside_run_batch_is_refused_on_its_thread() -> None:
    def model(batch: Batch[int]) -> list[int | Exception]:
        return [batcher.submit_threadsafe(item).result(LONG) for item in batch]

    batcher = Batcher(model)

    async def main() -> None:
        async with batcher:
            with pytest.raises(Exception, match="the batch of 1 requests failed") as failed:
                await batcher.submit(1)
        cause = failed.value.__cause__
        assert isinstance(cause, RuntimeError)
        assert "submitting from inside its own run_batch" in str(cause)

    asyncio.run(main())


# ----------------------------------------------------------------------------------- other loops


async def _model_on_the_loop(batch: Batch[int]) -> list[int | Exception]:
    return double(batch)


@pytest.mark.parametrize("model", [double, _model_on_the_loop])
def test_a_caller_on_another_loop_is_told_so(model: Callable[[Batch[int]], Any]) -> None:
    async def main() -> None:
        async with Batcher[int, int](model) as batcher:

            def elsewhere() -> None:
                for call in (batcher.submit(1), batcher.submit_many([1])):
                    with pytest.raises(RuntimeError, match="belongs to another event loop"):
                        asyncio.run(call)

            await asyncio.to_thread(elsewhere)
            assert batcher.stats().accepted == 0
            assert await batcher.submit(1) == 2

    asyncio.run(main())


def test_a_caller_on_another_loop_of_the_same_thread_gets_an_error_and_harms_nobody() -> None:
    with asyncio.Runner() as here, asyncio.Runner() as there:
        batcher = here.run(Batcher(double).__aenter__())
        with pytest.raises(RuntimeError, match="loop"):
            there.run(batcher.submit(1))
        assert here.run(batcher.submit(2)) == 4
        assert here.run(batcher.drain())


def test_a_batcher_whose_loop_ended_under_it_is_closed() -> None:
    gate = Gate()
    told: list[BaseException] = []

    async def call(batcher: Batcher[int, int]) -> None:
        try:
            await batcher.submit(1)
        except BaseException as error:
            told.append(error)
            raise

    async def main() -> Batcher[int, int]:
        batcher = await Batcher(gate).__aenter__()
        caller = asyncio.ensure_future(call(batcher))
        await happened(gate.entered)
        assert not caller.done()
        return batcher

    batcher = asyncio.run(main())
    gate.open.set()
    assert len(told) == 1
    with pytest.raises(BatcherClosed):
        asyncio.run(batcher.submit(1))


def test_a_shared_thread_executor_serves_several_batchers() -> None:
    threads: set[str] = set()

    def model(batch: Batch[int]) -> list[int | Exception]:
        threads.add(threading.current_thread().name)
        return double(batch)

    async def main() -> None:
        device = ThreadExecutor(name="device")
        async with (
            Batcher(model, max_batch_size=2, executor=device) as first,
            Batcher(model, max_batch_size=3, executor=device) as second,
        ):
            one, two = await asyncio.gather(
                first.submit_many(range(10)), second.submit_many(range(10))
            )
            assert one == two == [2 * item for item in range(10)]

    asyncio.run(main())
    assert threads == {"device"}


# -------------------------------------------------------------------------------------- the exit

HANGS = """
import asyncio, threading
from batcher import Batcher, BatcherClosed

entered = threading.Event()

def hang(batch):
    entered.set()
    threading.Event().wait()

async def main():
    async with Batcher(hang) as batcher:
        caller = asyncio.ensure_future(batcher.submit(1))
        await asyncio.to_thread(entered.wait)
        print(await batcher.drain(timeout=0))
        try:
            await caller
        except BatcherClosed:
            print("told")

asyncio.run(main())
"""


def test_a_function_that_hangs_does_not_keep_the_process_from_exiting() -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", HANGS],
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "False\ntold\n", "")
