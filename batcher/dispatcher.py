"""When accepted requests run: batches, failures, hung calls, the end. Event loop only.

    RequestQueue ──> policy.next_release ──> Executor ──> run_batch                  [model thread]
                                                              │
         each caller's future <── answered, or split and run again

The batching coroutine wakes when a request arrives beside a free thread, or one that makes a batch
full to prefetch beside a busy one, and starts what the policy releases. The same step runs directly
when a batch has ended, before that batch's callers are told: the model thread must not wait for
them. Whatever ends the coroutine ends all who wait for it.

`Dispatcher` is the half of `Batcher` below its doors; nobody else uses it. How requests end is in
`batcher.callers`.
"""

import asyncio
import bisect
import contextvars
import functools
import math
from collections.abc import Awaitable, Callable
from typing import Any, cast

from batcher.callers import Callers
from batcher.cost import RunTimes
from batcher.errors import BatcherClosed, BatcherStuck
from batcher.executor import Executor, Function, Outcome, Turns
from batcher.isolation import SizeCap, Split
from batcher.policy import IN_TIME, Release, next_prefetch, next_release
from batcher.queue import Lane, RequestQueue
from batcher.regroup import Answered, Regrouping
from batcher.request import Batch, R, Request, Run, T
from batcher.results import batch_failed, because, one_for_each
from batcher.rules import Rules, State
from batcher.stats import BatchRecord, Reason
from batcher.taking import Terms

# Set while a coroutine `run_batch` runs, for the tasks it starts too.
inside: contextvars.ContextVar["Dispatcher[Any, Any] | None"] = contextvars.ContextVar(
    "inside", default=None
)


class Dispatcher(Callers[T, R]):
    """Owns everything that runs, and says when it does."""

    # CPython reads an object of more than 30 attributes more slowly, but not its slots: 0.04 µs of
    # the 2.4 that a `submit` takes (`python -m bench submit`).
    __slots__ = (
        "_allowed",
        "_batches",
        "_batching",
        "_cap",
        "_concurrency",
        "_defect",
        "_drained",
        "_ended",
        "_executor",
        "_function",
        "_hung",
        "_is_coroutine",
        "_isolation",
        "_last_run_time",
        "_limits",
        "_listening_from",
        "_looking",
        "_max_unchecked_size",
        "_plain_terms",
        "_prefetches",
        "_regrouping",
        "_repeatable",
        "_run_batch",
        "_run_timeout",
        "_run_times",
        "_running",
        "_timer",
        "_turns",
        "_woken",
    )

    def __init__(
        self,
        function: Callable[[Batch[T]], Any],
        rules: Rules[T],
        executor: Executor,
        on_batch: Callable[[BatchRecord], None] | None,
        *,
        is_coroutine: bool,
    ) -> None:
        most = rules.limits.max_batch_size
        super().__init__(RequestQueue(most, rules.fairness.ageing), on_batch)
        self._limits, self._allowed = rules.limits, rules.allowed_sizes
        self._concurrency = rules.concurrency
        self._repeatable = rules.repeatable
        self._run_timeout = rules.run_timeout
        self._isolation = rules.isolation
        self._function = function
        self._is_coroutine = is_coroutine
        self._run_batch: Function = self._run_inside if is_coroutine else function
        self._executor = executor
        self._turns = Turns(executor, rules.concurrency, self._advance)

        self._defect: BaseException | None = None
        self._cap = SizeCap(most, rules.allowed_sizes, rules.isolation.probe_after)
        self._running: dict[Run[T, R], None] = {}
        # Runs over their time; the executor knows of those of other Batchers.
        self._hung: dict[Run[T, R], None] = {}
        self._run_times = RunTimes()
        self._last_run_time = 0.0
        # What a batch has to keep in a lane without priorities and deadlines.
        fits = None if rules.cost is None else rules.cost.fits
        self._plain_terms: Terms[T] = Terms(0.0, 0.0, None, fits)

        self._prefetches = rules.prefetch and rules.concurrency == 1 and executor.in_order
        # What else than rows a batch may cost, nobody could tell before its callers are back.
        regroups = rules.regroup and rules.cost is None
        self._regrouping = Regrouping(self._padded) if regroups else None

        # What the batching coroutine waits for: an arrival that makes so many rows wait, or more.
        # Beside a free thread that is any; beside a busy one it is a batch to prefetch, or none.
        self._listening_from = math.inf
        self._looking = False
        self._woken: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

        # Most rows that `submit` admits without a closer look; 0 unless all is plainly open.
        self._max_unchecked_size = 0
        self._batches = 0
        self._batching: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()
        self._drained = False

    # -------------------------------------------------------------------------------- batches

    async def _batch_requests(self) -> None:
        """The batching coroutine. However it ends, nobody is left waiting for it."""
        try:
            while True:
                self._advance()
                self._end_if_drained()
                self._woken = self._loop.create_future()
                await self._woken
        finally:
            self._shut()

    def _wake(self) -> None:
        """Let the batching coroutine have a look, after all that happens in this pass."""
        self._listening_from = math.inf
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    def _advance(self) -> None:
        """Start all that may start now, and arrange to be called when more may."""
        if self._state is State.CLOSED:
            return
        try:
            self._start_released()
        except Exception as defect:  # noqa: BLE001 - a silent death would leave callers waiting
            self._die(defect)

    def _start_released(self) -> None:
        listening_from: float = math.inf
        until = None
        while self._state is not State.CLOSED:
            decision = next_release(
                self._queue,
                self._limits,
                self._clock(),
                draining=self._state is State.DRAINING,
                run_time=self._last_run_time,
            )
            if not isinstance(decision, Release):
                listening_from, until = 0, decision.until
                break
            if decision.reason is Reason.IDLE and self._waits_for_answered(decision.lane):
                self._look_again()
                break
            if self._turns.take():
                if not self._start(decision.lane, decision.reason):
                    self._turns.keep()
                continue
            # A batch that ends, or a turn that is granted, calls again.
            listening_from = self._prefetch()
            break
        self._listening_from = listening_from
        self._set_timer(until)
        self._turns.return_unused()

    def _start(self, lane: Lane[T, R], reason: Reason) -> bool:
        """Hand over the next batch of a lane. From now on whoever is in it will be told.

        False if there is none: all were cancelled in this very pass of the loop, or late; or
        nothing can run any more.
        """
        now = self._clock()
        run: Run[T, R] = Run(lane.bucket, reason)
        self._running[run] = None
        try:
            terms = self._plain_terms if lane.ranks is None else self._terms(lane.rows, now)
            for request in self._queue.take(lane, run, terms):
                self._end_late(request)
            if run.requests:
                self._launch(run)
                return True
        except Exception as defect:  # noqa: BLE001 - buckets and executors are somebody's code
            self._die(defect)
        del self._running[run]
        return False

    def _prefetch(self) -> float:
        """Hand over a full batch behind the one that runs; from how many rows on to look again."""
        can_prefetch = self._prefetches and not self._hung
        # Who waits for the thread would have to wait for that batch as well.
        while can_prefetch and len(self._running) == 1 and not self._turns.are_wanted:
            decision = next_prefetch(self._queue)
            if not isinstance(decision, Lane):
                return decision
            self._start(decision, Reason.FULL)
        return math.inf

    def _waits_for_answered(self, lane: Lane[T, R]) -> bool:
        """Whether to keep the thread free for those it has just answered."""
        regrouping = self._regrouping
        if regrouping is None or self._running or not self._turns.are_free:
            return False
        now, earliest = self._clock(), self._deadlines.earliest()
        if earliest is not None and now >= earliest - IN_TIME * self._last_run_time:
            return False
        return regrouping.waits(lane.bucket, lane.rows, self._queue.max_batch_size, now)

    def _look_again(self) -> None:
        """Decide again after the next pass of the loop."""
        if not self._looking:
            self._looking = True
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        self._looking = False
        self._advance()

    def _terms(self, rows: int, now: float) -> Terms[T]:
        """What a batch has to keep where there are priorities and deadlines."""
        size = self._padded(min(rows, self._queue.max_batch_size))
        padded = self._padded if self._allowed else None
        return Terms(now, now + self._expected(size), padded, self._plain_terms.fits)

    def _launch(self, run: Run[T, R]) -> None:
        """Give a batch to the executor, in the turn that was taken for it or behind another one."""
        run.padded_size = self._padded(run.size) if self._allowed else run.size
        run.is_behind = self._concurrency == 1 and len(self._running) > 1
        if not run.is_behind:
            self._begin(run)
        self._executor.run(self._run_batch, run.batch(), functools.partial(self._finish, run))

    def _begin(self, run: Run[T, R]) -> None:
        """Its time counts from now on."""
        run.taken = self._clock()
        if self._run_timeout is not None:
            run.timer = self._loop.call_later(self._run_timeout, self._give_up_on, run)

    def _go_on(self) -> None:
        """A batch has ended: the one behind it has begun, or the turn is over."""
        behind = next(iter(self._running), None) if self._concurrency == 1 else None
        if behind is None:
            self._turns.end()
            return
        if behind.taken == math.inf:
            self._turns.renew()
            self._begin(behind)
        self._advance()

    def _finish(self, run: Run[T, R], outcome: Outcome) -> None:
        """A batch has ended. The thread comes first, then its callers."""
        if run.timer is not None:
            run.timer.cancel()
        self._batches += 1
        if run in self._hung:
            self._come_back(run)
            return
        now = self._clock()
        if run.is_behind:
            # It has begun before the end of the one before it was noticed.
            run.taken = min(run.taken, now - outcome.run_time)
        # The way to the thread and back counts as well: nobody else has the slot meanwhile.
        self._turns.charge(now - run.taken)
        self._last_run_time = run.run_time = outcome.run_time
        self._note_end(run, now)
        self._running.pop(run, None)
        self._run_times.observe(run.padded_size, outcome.run_time)
        if self._repeatable and self._state is not State.CLOSED:
            self._finish_repeatable(run, outcome)
        else:
            # If batching dies as the next batch is started, this one is answered all the same.
            was_closed = self._state is State.CLOSED
            self._go_on()
            if not was_closed:
                self._answer(run, *one_for_each(outcome, len(run.requests)))
                self._end_if_drained()
        run.requests.clear()

    def _note_end(self, run: Run[T, R], now: float) -> None:
        """Its callers may be waited for."""
        regrouping = self._regrouping
        if regrouping is None:
            return
        try:
            waiting = self._queue.rows_in(run.bucket)
        except Exception as defect:  # noqa: BLE001 - buckets are somebody's code
            self._die(defect)
            return
        answered = Answered(run.bucket, run.size, now, waiting)
        is_full = run.reason is Reason.FULL
        regrouping.ended(answered, run.padded_size, now - run.taken, is_full=is_full)

    def _finish_repeatable(self, run: Run[T, R], outcome: Outcome) -> None:
        """A batch has ended that may run again in parts, in the same turn, if it failed."""
        results, error = one_for_each(outcome, len(run.requests))
        self._learn_size(run, error)
        split = run.split
        if split is None and isinstance(error, Exception) and len(run.requests) > 1:
            split = Split(list(run.requests), error, self._isolation.max_extra_runs)
            is_told = False
        elif split is not None:
            is_told = split.ended(error)
        else:
            is_told = True
        # Behind a prefetched batch, which has begun, the part runs next; else it has begun itself.
        if split is None or not self._start_part(run, split) or self._prefetches:
            self._go_on()
        if is_told:
            self._answer(run, results, error)
        else:
            self._tell_observer(run, again=len(run.requests))
        self._end_if_drained()

    def _start_part(self, run: Run[T, R], split: Split[T, R]) -> bool:
        """Run the next part of a failed batch; False, and all are told, if there is none."""
        now = self._clock()
        # Nobody else tells those who are late just now, if this is the end of a drain.
        for request in split.waiting():
            if request.is_late(now) and not request.future.done():
                self._end_late(request)
        requests = split.next(lambda request: not request.future.done())
        if not requests:
            for request in split.waiting():
                self._fail(request, batch_failed(split.error, run.count))
            return False
        part: Run[T, R] = Run(run.bucket, Reason.AGAIN)
        part.requests, part.split = requests, split
        part.size = sum([request.size for request in requests])
        for request in requests:
            request.place = part
        self._running[part] = None
        try:
            self._launch(part)
        except Exception as defect:  # noqa: BLE001 - executors are somebody's code
            self._die(defect)
            self._running.pop(part, None)
            return False
        return True

    def _learn_size(self, run: Run[T, R], error: BaseException | None) -> None:
        """Smaller batches after exhausted memory; larger ones again after many that went well."""
        if isinstance(error, MemoryError):
            self._cap.exhausted(run.padded_size)
        elif error is not None or not self._cap.succeeded(run.padded_size):
            return
        self._queue.set_max_batch_size(self._cap.size)
        self._wake()  # Those who waited for company may be a full batch now.

    def _set_timer(self, until: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if until is None else self._loop.call_at(until, self._wake)

    # ---------------------------------------------------------------------------------- health

    def _give_up_on(self, run: Run[T, R]) -> None:
        """A call is over its time: whoever waits for it, or would run after it, is told."""
        if run not in self._running:
            return  # Its executor did not even start it.
        del self._running[run]
        self._hung[run] = None
        if self._state is not State.CLOSED:
            cause = TimeoutError(f"run_batch has not come back within {self._run_timeout:g} s")
            for request in [] if run.split is None else run.split.waiting():
                self._fail(request, batch_failed(cause, run.count))
            run.run_time = self._clock() - run.taken
            self._answer(run, (), cause)
            self._report("a call hangs", cause)
        # Whatever it takes from now on, nobody else was let in to wait for.
        self._turns.charge(self._clock() - run.taken)
        # Even when this Batcher is closed, those who share its executor have to know.
        self._executor.lose_slot()
        self._check_health()
        self._end_if_drained()

    def _come_back(self, run: Run[T, R]) -> None:
        """A call that was given up has ended after all."""
        del self._hung[run]
        run.requests.clear()
        self._executor.regain_slot()
        self._check_health()
        self._go_on()

    def _is_stuck(self) -> bool:
        return len(self._hung) >= self._concurrency or self._executor.is_stuck

    def _check_health(self) -> None:
        """A call hangs, here or in another Batcher of this executor; or it has come back."""
        if self._state is not State.OPEN and self._state is not State.DRAINING:
            return
        is_open = self._state is State.OPEN and not self._is_coroutine
        self._max_unchecked_size = 0
        if self._is_stuck():
            # What is handed over still is behind a call that hangs.
            for request in [*self._queue.take_all(), *self._handed_over()]:
                self._fail(request, self._stuck())
            self._end_if_drained()
        elif is_open:
            self._max_unchecked_size = self._limits.max_batch_size

    def _stuck(self) -> BatcherStuck:
        return BatcherStuck(f"{self!r}: a call has not come back in time")

    def _end_if_drained(self) -> None:
        is_done = not self._running or self._is_stuck()
        if self._state is State.DRAINING and not self._queue.rows and is_done:
            self._drained = True
            self._shut()

    def _die(self, defect: Exception) -> None:
        """A defect of this class or of an executor: tell everybody, and the loop."""
        self._defect = defect
        self._shut()
        self._report("the batching of requests failed; everyone waiting was told", defect)

    def _shut(self) -> None:
        """End everything, at once and once."""
        entered = self._state is not State.NEW
        if self._state is State.CLOSED:
            return
        self._state = State.CLOSED
        self._max_unchecked_size = 0
        for request in [*self._queue.take_all(), *self._handed_over()]:
            self._fail(request, self._not_open())
        self._listening_from = math.inf
        self._set_timer(None)
        if self._expiry is not None:
            self._expiry.cancel()
        self._ended.set()
        if entered:
            self._turns.return_unused()
            self._executor.unwatch(self._check_health)
            self._executor.detach()
        if self._batching is not None:
            self._batching.cancel()

    def _handed_over(self) -> list[Request[T, R]]:
        """All who are in a batch, or wait for a part of one that failed; told or not."""
        requests: list[Request[T, R]] = []
        for run in self._running:
            requests += run.requests
            requests += [] if run.split is None else run.split.waiting()
        return requests

    def _expected(self, size: int) -> float:
        """How long a batch of so many rows should take; 0.0 while nothing is known."""
        predicted = self._run_times.predict(size)
        return self._last_run_time if predicted is None else predicted

    def _padded(self, size: int) -> int:
        """The smallest allowed batch size that holds so many rows."""
        allowed = self._allowed
        place = bisect.bisect_left(allowed, size)
        return allowed[place] if place < len(allowed) else size

    def _not_open(self) -> Exception:
        msg = f"{self!r} {self._state.value}"
        if self._state is State.NEW:
            return RuntimeError(msg)
        return because(BatcherClosed(msg), self._defect)

    async def _run_inside(self, batch: Batch[T]) -> Any:
        """A coroutine `run_batch`, marked so that it cannot wait for itself."""
        inside.set(self)
        return await cast("Awaitable[Any]", self._function(batch))
