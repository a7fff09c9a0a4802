"""For tests of batching code: virtual time, executors you command, planned faults. Event loop only.

    from batcher.testing import FakeExecutor, run

    def test_two_callers_share_a_batch() -> None:
        async def main() -> None:
            async with Batcher(double, executor=FakeExecutor(run_time=3600.0)) as batcher:
                assert await asyncio.gather(batcher.submit(1), batcher.submit(2)) == [2, 4]

        run(main())  # one virtual hour, a few real microseconds

`run` is `asyncio.run` on a `VirtualTimeLoop`: whenever every task waits for time to pass, the clock
jumps to the next timer. If there is no timer either, nothing can ever happen again, and the loop
says so at once: `Deadlock`, with what each task waits for. The same code gives the same order of
events every time.

Real threads and sockets have no place in virtual time: it would jump ahead of them. `FakeExecutor`
stands in for the model thread, and is an `Executor` like any other.
"""

import asyncio
import contextvars
import math
import selectors
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar, TypeVarTuple, Unpack

from batcher.executor import Done, Executor, Function, Outcome, call
from batcher.request import Batch

T = TypeVar("T")
R = TypeVar("R")
Ts = TypeVarTuple("Ts")


class Deadlock(RuntimeError):
    """Every task waits, no timer runs: nothing can happen any more. Says what waits on what."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock starts at 0 and moves only when nothing else can.

    `on_rest` functions are called each time the loop comes to rest, before the clock jumps: the
    place for invariants of a system at rest.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self.on_rest: Final[list[Callable[[], object]]] = []
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def call_soon_threadsafe(
        self,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        """Refuse other threads: their time is real."""
        owner = getattr(self, "_thread_id", None)
        if owner is not None and owner != threading.get_ident():
            msg = "a thread called into virtual time; use FakeExecutor instead of real threads"
            raise RuntimeError(msg)
        return super().call_soon_threadsafe(callback, *args, context=context)

    def rest(self, timeout: float | None) -> None:
        """Nothing is ready: jump to the next timer, `timeout` seconds ahead, or give up."""
        for check in self.on_rest:
            check()
        if timeout is None:
            raise Deadlock(self._who_waits())
        # However small the step is beside the time, the clock must move; and the loop must take
        # a timer for due that is due as exactly as the clock can say.
        self._now = max(self._now + timeout, math.nextafter(self._now, math.inf))
        self._clock_resolution = max(1e-9, math.ulp(self._now))

    def _who_waits(self) -> str:
        tasks = sorted(asyncio.all_tasks(self), key=lambda task: task.get_name())
        lines = [f"at {self._now:g} s everybody waits and no timer runs:"]
        lines += [f"  {task.get_name()}: {_where(task.get_coro())}" for task in tasks]
        return "\n".join(lines)


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of blocking, lets the loop know that it has come to rest."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events and (timeout is None or timeout > 0):
            self._loop.rest(timeout)
        return events


def _where(awaitable: object) -> str:
    """The chain of awaits below a coroutine, and what it ends in."""
    steps = []
    while (frame := getattr(awaitable, "cr_frame", None)) is not None:
        steps.append(f"{awaitable.__qualname__} line {frame.f_lineno}")  # type: ignore[attr-defined]
        awaitable = awaitable.cr_await  # type: ignore[attr-defined]
    return " -> ".join([*steps, repr(awaitable)])


def run(main: Coroutine[Any, Any, R]) -> R:
    """`asyncio.run` in virtual time. Raises Deadlock instead of hanging."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


class FakeExecutor(Executor):
    """Runs each function when its time is up on the loop's clock; real work takes no virtual time.

    run_time
        Seconds that a call takes: a number, or a function of the argument (the `Batch`).
    by_hand
        Nothing runs by itself: `start_next` lets a function run, `finish_next` tells its result, so
        that a test can act before, between and after the two.

    `started` holds the arguments of all calls so far, in order.
    """

    def __init__(
        self,
        slots: int = 1,
        *,
        run_time: float | Callable[[Any], float] = 0.0,
        by_hand: bool = False,
    ) -> None:
        super().__init__(slots)
        self._run_time = run_time
        self._by_hand = by_hand
        self._handed_over: deque[tuple[Function, Any, Done]] = deque()
        self._busy = 0
        self._begun: deque[tuple[Outcome, Done]] = deque()
        self.started: Final[list[Any]] = []

    @property
    def in_order(self) -> bool:
        """One slot takes one after the other."""
        return self.slots == 1

    def run(self, function: Function, argument: object, done: Done) -> None:
        """Begin when a slot is free and end `run_time` later, or wait for `start_next`."""
        self._handed_over.append((function, argument, done))
        if not self._by_hand and self._busy < self.slots:
            self._begin()

    def _begin(self) -> None:
        """Begin with what was handed over first."""
        function, argument, done = self._handed_over.popleft()
        loop = asyncio.get_running_loop()
        seconds = self._run_time(argument) if callable(self._run_time) else self._run_time
        self._busy += 1
        self.started.append(argument)
        outcome = call(function, argument, loop.time)._replace(run_time=seconds)
        if seconds > 0:
            loop.call_later(seconds, self._end, outcome, done)
        else:
            loop.call_soon(self._end, outcome, done)

    def _end(self, outcome: Outcome, done: Done) -> None:
        """Go on with what was handed over behind it, and tell the result."""
        self._busy -= 1
        try:
            if self._handed_over:
                self._begin()
        finally:
            done(outcome)

    def start_next(self) -> None:
        """Let the function run that was handed over first; its result is not told yet."""
        function, argument, done = self._handed_over.popleft()
        self.started.append(argument)
        self._begun.append((call(function, argument, asyncio.get_running_loop().time), done))

    def finish_next(self) -> None:
        """Tell the result of the function that was started first."""
        outcome, done = self._begun.popleft()
        done(outcome)

    @property
    def handed_over(self) -> int:
        """Calls that wait for `start_next`."""
        return len(self._handed_over)


class Faults(Generic[T, R]):
    """A `run_batch` that fails as planned: wraps a good one and spoils chosen calls.

        Faults(model, {0: MemoryError("no room"), 2: Faults.one_result_short})

    plan
        Number of the call, counted from 0 -> what happens then: an exception is raised, a function
        receives the good results and returns what to answer instead.
    poison
        Items that make every batch they are in raise ValueError, as a row that a model cannot take.
    """

    def __init__(
        self,
        run_batch: Callable[[Batch[T]], Sequence[R | Exception]],
        plan: Mapping[int, BaseException | Callable[[Sequence[Any]], Any]] | None = None,
        *,
        poison: Iterable[T] = (),
    ) -> None:
        self._run_batch = run_batch
        self._plan = dict(plan or {})
        self._poison = list(poison)
        self.calls = 0

    def __call__(self, batch: Batch[T]) -> Any:
        """Run the batch, or do what was planned for this call."""
        fault = self._plan.get(self.calls)
        self.calls += 1
        if isinstance(fault, BaseException):
            raise fault
        for item in batch:
            if item in self._poison:
                msg = f"poisoned by {item!r}"
                raise ValueError(msg)
        results = self._run_batch(batch)
        return results if fault is None else fault(results)

    @staticmethod
    def one_result_short(results: Sequence[Any]) -> Sequence[Any]:
        """Forget the last result."""
        return results[:-1]

    @staticmethod
    def one_result_too_many(results: Sequence[Any]) -> Sequence[Any]:
        """Invent a result."""
        return [*results, None]

    @staticmethod
    def no_sequence(results: Sequence[Any]) -> Any:
        """Return something that has no rows."""
        return len(results)
