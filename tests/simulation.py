"""Seeded histories of whole Batchers in virtual time, compared with books kept beside them.

    python -m tests.simulation --histories 10000     # seeds 0 to 9999
    python -m tests.simulation --seed 123            # that one again, with all that happened

A history is a function of one number. Its books (`Station`) know only what passes the Batcher's
public doors: what callers asked and were told, what the executor was given and gave back, what
`on_batch` said. From that they know at any moment who waits, who runs and how each request ended.
The invariants compare the Batcher with the books; a new one is a function in one of the lists.
"""

import argparse
import asyncio
import functools
import math
import random
import sys
import time
import types
from collections import Counter
from collections.abc import Callable, Coroutine, Generator, Hashable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

import batcher as lib
from batcher.executor import Done, Function
from batcher.testing import Deadlock, FakeExecutor, Faults, VirtualTimeLoop

R = TypeVar("R")
X = TypeVar("X")
Refusal: TypeAlias = type[Exception] | None
Answer: TypeAlias = tuple[int, float]
Told: TypeAlias = tuple[Answer, lib.Receipt | None]
Fate: TypeAlias = Literal["answered", "failed", "cancelled"]
Invariant: TypeAlias = Callable[[X], object]
"""Its docstring is what must hold; it returns what does not, or something false."""

AGES = 1e4  # Seconds after which everything that was going on has come back.
SPOILERS: list[tuple[type[BaseException], Callable[[Sequence[Any]], Any] | None]] = [
    *[(error, None) for error in (ValueError, SystemExit, asyncio.CancelledError)],
    *[(ValueError, spoil) for spoil in (Faults.one_result_short, Faults.one_result_too_many)],
    (TypeError, Faults.no_sequence),
]


@dataclass(eq=False, slots=True)
class Item:
    """One request. It is itself what `run_batch` receives; its answer is a function of it."""

    call: "Call"
    answer: Answer
    size: int
    arrival: float = math.nan
    turn: int = 0
    run: "Run | None" = None
    fate: Fate | None = None
    closed: bool = False
    error: BaseException | None = None

    def __repr__(self) -> str:
        return f"#{self.answer[0]}({self.size} rows, bucket {self.call.bucket})"


@dataclass(eq=False, slots=True)
class Call:
    """One caller, of one item or several: by which door it comes, and what it was told."""

    station: "Station"
    door: str
    bucket: Hashable
    items: list[Item] = field(default_factory=list)
    allowed: tuple[Refusal, ...] = ()
    awaited: "asyncio.Future[Any] | None" = None
    unanswered: int = 0
    cancelled: bool = False
    told: list[Told] = field(default_factory=list)
    error: BaseException | None = None

    async def ask(self) -> list[Told]:
        batcher, items, item, bucket = self.station.batcher, self.items, self.items[0], self.bucket
        sizes = [item.size for item in items]
        if self.door == "submit":
            return [(await batcher.submit(item, size=item.size, bucket=bucket), None)]
        if self.door == "receipt":
            return [await batcher.submit_with_receipt(item, size=item.size, bucket=bucket)]
        answers = await batcher.submit_many(items, sizes=sizes, bucket=bucket)
        return [(answer, None) for answer in answers]

    async def live(self) -> None:
        self.allowed = self.station.verdict(self)
        try:
            self.told = await watched(self.ask(), self.waits_for, lambda: None)
        except BaseException as error:
            self.error = error
            if isinstance(error, asyncio.CancelledError):
                raise
        finally:
            self.station.end(self)

    def waits_for(self, awaited: "asyncio.Future[Any]") -> None:
        if self.awaited is None:
            self.station.accept(self)
        self.awaited = awaited

    def cancel(self) -> None:
        # Beside a result that is there already, a cancellation concerns the caller alone.
        self.cancelled = True
        if self.awaited is not None and not self.awaited.done():
            self.station.abandon(self)


class Caller(asyncio.Task[None]):
    """The task of a caller: whoever cancels it, the books know at once."""

    def __init__(self, call: Call, loop: asyncio.AbstractEventLoop) -> None:
        self.call = call
        super().__init__(call.live(), loop=loop)

    def cancel(self, msg: Any | None = None) -> bool:
        if not self.done():
            self.call.cancel()
        return super().cancel(msg)


@dataclass(eq=False, slots=True)
class Run:
    """A batch on its executor: what is planned to happen, and what its record must say."""

    station: "Station"
    batch: lib.Batch[Item]
    items: list[Item]
    taken: float
    reasons: set[lib.Reason]
    run_time: float = 0.0
    error: type[BaseException] | None = None
    spoil: Callable[[Sequence[Any]], Any] | None = None
    failed: int = 0
    abandoned: int = 0
    record: lib.BatchRecord | None = None
    told: list[BaseException] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"the run of {self.items}"

    def perform(self) -> Any:
        if self.error is not None and self.spoil is None:
            raise self.error
        answers = [item.error or item.answer for item in self.items]
        return answers if self.spoil is None else self.spoil(answers)

    def explains(self, item: Item, error: BaseException) -> bool:
        """Whether this is the planned error, told to nobody else."""
        if any(error is other for other in self.told):
            return False
        self.told.append(error)
        if self.error is None and type(item.error) is ValueError:
            return error is item.error
        planned = self.error or type(item.error)
        return isinstance(error, lib.BatchFailed) and type(error.__cause__) is planned


class Station:
    """The books of one Batcher."""

    def __init__(self, history: "History", executor: "Executors", rng: random.Random) -> None:
        self.history, self.rng, self.executor = history, rng, executor
        self.max_batch_size = size = rng.choice((1, 2, 3, 4, 8, 16))
        self.max_queue_size = rng.choice((rng.randint(1, 2 * size), 4 * size, 16 * size, 1000))
        self.batch_timeout = rng.choice((0.0, 0.0, history.span(1.0), history.span(4.0)))
        self.concurrency = rng.choice((1, 1, 2, 3))
        self.pace = rng.choice(("constant", "random", "growing", "instant"))
        self.fault_rate = rng.choice((0.0, 0.0, 0.1, 0.4))
        self.observer_fault_rate = rng.choice((0.0, 0.0, 0.2))
        self.batcher: lib.Batcher[Item, Answer] = history.parts.batcher(
            self.run_later if isinstance(executor, SimulatedLoopExecutor) else self.run_now,
            max_batch_size=size,
            max_queue_size=self.max_queue_size,
            batch_timeout=self.batch_timeout,
            concurrency=self.concurrency,
            executor=executor,
            on_batch=self.observe,
        )
        self.draining = self.closed = False
        self.waiting: dict[Item, None] = {}  # Accepted, wanted, not started; oldest first.
        self.leaving: dict[Item, None] = {}  # Cancelled; the Batcher hears of it in the next pass.
        self.due: dict[Call, None] = {}  # Their fate is decided, they have not been told.
        self.running: list[Run] = []
        self.runs: dict[lib.Batch[Item], Run] = {}
        self.ending: Run | None = None
        self.fates: Counter[Fate] = Counter()
        self.accepted = self.refused = self.batches = self.to_record = self.recorded = 0

    def verdict(self, call: Call) -> tuple[Refusal, ...]:
        """What `submit` may raise now; None: it accepts."""
        rows = count_rows(call.items)
        if self.draining:
            return (lib.BatcherClosed,)
        if rows > self.max_queue_size or any(i.size > self.max_batch_size for i in call.items):
            return (lib.RequestTooLarge,)
        room = self.max_queue_size - count_rows(self.waiting)
        if rows > room:
            return (lib.QueueFull,)
        # Rows of those who are leaving count until the Batcher hears of it.
        return (None,) if rows <= room - count_rows(self.leaving) else (None, lib.QueueFull)

    def accept(self, call: Call) -> None:
        self.history.note("accepted", *call.items)
        call.unanswered = len(call.items)
        for item in call.items:
            self.accepted += 1
            item.arrival, item.turn = self.history.loop.time(), self.accepted
            self.waiting[item] = None

    def settle(self, item: Item, fate: Fate) -> None:
        item.fate = fate
        self.fates[fate] += 1
        self.waiting.pop(item, None)
        item.call.unanswered -= 1
        if fate != "answered" or not item.call.unanswered:
            self.due[item.call] = None

    def abandon(self, call: Call) -> None:
        self.history.note("cancelled", *call.items)
        for item in call.items:
            if item in self.waiting:
                self.leaving[item] = None
            if item.fate is None:
                self.settle(item, "cancelled")

    def end(self, call: Call) -> None:
        """A caller has been told; whatever it still has here goes with it."""
        self.history.note("told", *call.items, call.error or call.told)
        self.history.check(AT_END_OF_CALL, call)
        self.refused += isinstance(call.error, lib.QueueFull) * len(call.items)
        for item in call.items:
            self.leaving.pop(item, None)
            if call.awaited is not None and item.fate is None:
                self.settle(item, "cancelled")
        self.due.pop(call, None)

    def begin(self, batch: lib.Batch[Item], done: Done) -> Done:
        """The Batcher gives a batch to its executor; returns what that calls at the end."""
        now = self.history.loop.time()
        run = Run(self, batch, list(batch), now, self.possible_reasons(batch.bucket, now))
        self.history.note("run", *run.items, "if", *sorted(run.reasons))
        self.history.check(AT_START, run)
        for item in run.items:
            item.run = run
            self.waiting.pop(item, None)
        rng, rows = self.rng, count_rows(run.items)
        times = {"constant": 1.0, "growing": 0.25 + 0.125 * rows, "instant": 0.0}
        run.run_time = times[self.pace] if self.pace in times else self.history.span(2.0)
        if rng.random() < self.fault_rate / 2:
            run.error, run.spoil = rng.choice(SPOILERS)
        elif rng.random() < self.fault_rate:
            errors = (ValueError, StopIteration, KeyboardInterrupt)
            rng.choice(run.items).error = rng.choice(errors)("planned")
        self.runs[batch] = run
        self.running.append(run)
        self.executor.running.append(run)
        return functools.partial(self.finish, run, done)

    def possible_reasons(self, bucket: Hashable, now: float) -> set[lib.Reason]:
        """Why a batch may be released now; whoever is leaving may count or not."""
        held = [*self.waiting, *self.leaving]
        mine = [item for item in held if item.call.bucket == bucket]
        reasons = {lib.Reason.DRAIN} if self.draining else set()
        if self.batch_timeout == 0:
            reasons.add(lib.Reason.IDLE)
        elif any(now >= item.arrival + self.batch_timeout for item in mine):
            reasons.add(lib.Reason.TIMEOUT)
        if count_rows(mine) >= self.max_batch_size or count_rows(held) >= self.max_queue_size:
            reasons.add(lib.Reason.FULL)
        return reasons

    def run_now(self, batch: lib.Batch[Item]) -> Any:
        return self.runs[batch].perform()

    async def run_later(self, batch: lib.Batch[Item]) -> Any:
        await asyncio.sleep(self.runs[batch].run_time)
        return self.runs[batch].perform()

    def finish(self, run: Run, done: Done, outcome: lib.Outcome) -> None:
        """A batch has come back; its Batcher hears of it after the books."""
        self.history.note("ended", *run.items, outcome.error or "")
        self.history.cancel_somebody()
        run.run_time = outcome.run_time
        self.running.remove(run)
        self.executor.running.remove(run)
        self.batches += 1
        self.to_record += 0 if self.closed else len(run.items)
        for item in run.items:
            run.abandoned += item.fate is not None
            if item.fate is None:
                fails = run.error is not None or item.error is not None
                run.failed += fails
                self.settle(item, "failed" if fails else "answered")
        self.ending = run
        done(outcome)
        self.ending = None
        self.history.cancel_somebody()

    def observe(self, record: lib.BatchRecord) -> None:
        self.recorded += record.requests
        if self.ending is not None:
            self.ending.record = record
            self.history.check(AT_RECORD, self.ending)
        if self.rng.random() < self.observer_fault_rate:
            self.history.raised.append(LookupError("planned: on_batch fails"))
            raise self.history.raised[-1]

    def shut(self) -> None:
        """The Batcher closes in this step, and fails everybody who is left."""
        self.closed = True
        for item in [*self.waiting, *(item for run in self.running for item in run.items)]:
            if item.fate is None:
                item.closed = True
                self.settle(item, "failed")

    async def finish_by(self, way: str, at: float, limit: float | None) -> None:
        """Drain, close or leave `async with`."""
        await asyncio.sleep(at)
        self.history.note(f"begins to {way}", limit)
        self.draining = True
        if way in {"close", "fail"}:
            self.shut()
        ending: dict[str, Callable[[], Coroutine[Any, Any, bool | None]]] = {
            "drain": functools.partial(self.batcher.drain, limit),
            "close": self.batcher.close,
            "leave": functools.partial(self.batcher.__aexit__, None, None, None),
            "fail": functools.partial(self.batcher.__aexit__, ValueError, ValueError(), None),
        }
        # Time is up, or the one who leaves is cancelled: both close in the step that hears of it.
        drained = await watched(ending[way](), lambda _: None, self.shut)
        self.history.check(AT_END_OF_DRAIN, (self, drained))


@types.coroutine
def watched(
    coroutine: Coroutine[Any, Any, R],
    waits_for: Callable[[Any], object],
    interrupted: Callable[[], object],
) -> Generator[Any, Any, R]:
    """Await, and tell what it waits for as soon as it does, and when something is thrown in."""
    try:
        awaited = coroutine.send(None)
        while True:
            waits_for(awaited)
            try:
                yield awaited
            except BaseException as thrown:  # noqa: BLE001 - passed on
                interrupted()
                awaited = coroutine.throw(thrown)
            else:
                awaited = coroutine.send(None)
    except StopIteration as stop:
        result: R = stop.value
        return result


class SimulatedExecutor(FakeExecutor):
    """Plays the model thread, and tells the books."""

    def __init__(self, slots: int) -> None:
        super().__init__(slots, run_time=lambda batch: batch[0].run.run_time)
        self.running: list[Run] = []

    def run(self, function: Function, argument: Any, done: Done) -> None:
        super().run(function, argument, argument[0].call.station.begin(argument, done))


class SimulatedLoopExecutor(lib.LoopExecutor):
    """Runs coroutines, and tells the books."""

    def __init__(self, slots: int) -> None:
        super().__init__(slots)
        self.running: list[Run] = []

    def run(self, function: Function, argument: Any, done: Done) -> None:
        super().run(function, argument, argument[0].call.station.begin(argument, done))


Executors: TypeAlias = SimulatedExecutor | SimulatedLoopExecutor


def count_rows(items: Iterable[Item]) -> int:
    return sum([item.size for item in items])


# ------------------------------------------------------------------------------- the invariants


def only_who_waits_runs(run: Run) -> object:
    """What runs was accepted, is still wanted, and runs once."""
    twice = len(set(run.items)) < len(run.items)
    return twice or [item for item in run.items if item not in run.station.waiting]


def bounds_are_kept(run: Run) -> object:
    """One bucket, at most max_batch_size rows, no more at a time than concurrency and slots."""
    station, rows = run.station, count_rows(run.items)
    return (
        (rows != run.batch.size or rows > station.max_batch_size)
        or any(item.call.bucket != run.batch.bucket for item in run.items)
        or len(station.running) >= station.concurrency
        or len(station.executor.running) >= station.executor.slots
    )


def first_in_first_out(run: Run) -> object:
    """Of its bucket, a batch has those who have waited longest, and as many as fit."""
    station, room = run.station, run.station.max_batch_size
    expected = []
    for item in station.waiting:
        if item.call.bucket == run.batch.bucket:
            room -= item.size
            if room < 0:
                break
            expected.append(item)
    return run.items != expected and f"{run.items} ran, {expected} were first"


def oldest_bucket_first(run: Run) -> object:
    """The longest waiting of all goes first, unless it waits for company and this one is full."""
    station, bucket = run.station, run.batch.bucket
    head = next(iter(station.waiting), None)
    if head is None or head.call.bucket == bucket:
        return None
    # Who has just been cancelled may lend its age to its bucket for the rest of this pass.
    if any(item.call.bucket == bucket and item.turn < head.turn for item in station.leaving):
        return None
    waits = station.batch_timeout > 0 and run.taken < head.arrival + station.batch_timeout
    return not (waits and run.reasons == {lib.Reason.FULL}) and f"{head} is older"


def queue_is_bounded(station: Station) -> object:
    """At most max_queue_size rows wait."""
    return count_rows(station.waiting) > station.max_queue_size


def work_is_conserved(station: Station) -> object:
    """At rest, no slot is free beside a waiting request, unless it waits for company."""
    slots = min(station.concurrency - len(station.running), free_slots(station))
    if not station.waiting or slots <= 0:
        return None
    buckets = {item.call.bucket for item in station.waiting}
    now = station.history.loop.time()
    return any(station.possible_reasons(bucket, now) for bucket in buckets)


def fates_are_told(station: Station) -> object:
    """At rest, whoever has an answer, an exception or enough has been told."""
    return [call.items for call in station.due]


def stats_agree(station: Station) -> object:
    """At rest, the Batcher counts what the books count."""
    expected = lib.BatcherStats(
        queued_requests=len(station.waiting),
        queued_rows=count_rows(station.waiting),
        running_batches=len(station.running),
        accepted=station.accepted,
        answered=station.fates["answered"],
        failed=station.fates["failed"],
        cancelled=station.fates["cancelled"],
        refused=station.refused,
        batches=station.batches,
    )
    stats = station.batcher.stats()
    return stats != expected and f"{stats} instead of {expected}"


def slots_agree(station: Station) -> object:
    """At rest, the slots of an executor that are not free have a batch in them."""
    return station.executor.free_slots != free_slots(station)


def free_slots(station: Station) -> int:
    return station.executor.slots - len(station.executor.running)


def loop_hears_observers_only(station: Station) -> object:
    """The loop's exception handler hears what on_batch raises, and nothing else."""
    history = station.history
    return history.heard != history.raised and history.heard


def record_agrees(run: Run) -> object:
    """A record says what happened to its batch, once its callers are told."""
    expected = lib.BatchRecord(
        size=count_rows(run.items),
        requests=len(run.items),
        bucket=run.batch.bucket,
        reason=run.record.reason if run.record else lib.Reason.IDLE,
        queue_times=tuple([run.taken - item.arrival for item in run.items]),
        run_time=run.run_time,
        failed=run.failed,
        abandoned=run.abandoned,
    )
    return run.record != expected and f"{run.record} instead of {expected}"


def reason_is_true(run: Run) -> object:
    """FULL only if full, DRAIN only while draining, TIMEOUT after batch_timeout, IDLE without."""
    reason = run.record and run.record.reason
    return reason not in run.reasons and f"{reason} is not among {run.reasons}"


def refusals_are_right(call: Call) -> object:
    """Who has no room, is too large or too late is refused by the right error; nobody else is."""
    refusal = type(call.error) if call.error and not call.awaited else None
    return not call.cancelled and refusal not in call.allowed and f"{refusal}, not {call.allowed}"


def ends_as_its_own(call: Call) -> object:
    """A call ends by its own answers or planned error, a close, or its own cancellation."""
    error, items = call.error, call.items
    if error is None:
        return [answer for answer, _ in call.told] != [item.answer for item in items]
    if not call.awaited or (call.cancelled and isinstance(error, asyncio.CancelledError)):
        return None
    failed = [item for item in items if item.fate == "failed"]
    if isinstance(error, lib.BatcherClosed):
        return not any(item.closed for item in failed)
    return not any(item.run and item.run.explains(item, error) for item in failed)


def receipts_agree(call: Call) -> object:
    """A receipt says the same as the record of its batch."""
    for item, (_, receipt) in zip(call.items, call.told, strict=True) if call.told else ():
        if receipt is not None and item.run is not None and item.run.record is not None:
            record, waited = item.run.record, item.run.taken - item.arrival
            shared = (record.run_time, record.size, record.requests, record.reason)
            if receipt != lib.Receipt(waited, *shared):
                return f"{receipt} beside {record}"
    return None


def drain_says_the_truth(drained: tuple[Station, bool | None]) -> object:
    """A drain returns True if no accepted request was closed upon, False only after a close."""
    station, told = drained
    closed_upon = [i for i in station.history.items if i.call.station is station and i.closed]
    return closed_upon if told else told is False and not station.closed


def everybody_has_ended(station: Station) -> object:
    """At the end each accepted request has had one fate; nothing waits, runs or goes unrecorded."""
    sums = sum(station.fates.values()) - station.accepted, station.recorded - station.to_record
    return any(sums) or [*station.waiting, *station.leaving, *station.running]


def no_task_is_left(station: Station) -> object:
    """At the end no task is left."""
    loop = station.history.loop
    return [task for task in asyncio.all_tasks(loop) if task is not asyncio.current_task(loop)]


AT_START: list[Invariant[Run]] = [
    only_who_waits_runs,
    bounds_are_kept,
    first_in_first_out,
    oldest_bucket_first,
]
AT_REST: list[Invariant[Station]] = [
    loop_hears_observers_only,
    queue_is_bounded,
    fates_are_told,
    work_is_conserved,
    slots_agree,
    stats_agree,
]
AT_RECORD: list[Invariant[Run]] = [record_agrees, reason_is_true]
AT_END_OF_CALL: list[Invariant[Call]] = [refusals_are_right, ends_as_its_own, receipts_agree]
AT_END_OF_DRAIN: list[Invariant[tuple[Station, bool | None]]] = [drain_says_the_truth]
AT_END: list[Invariant[Station]] = [everybody_has_ended, no_task_is_left]


# ---------------------------------------------------------------------------------- the history


class Parts(NamedTuple):
    """What is simulated; the tests put broken parts in."""

    batcher: Callable[..., lib.Batcher[Item, Answer]] = lib.Batcher
    executor: type[SimulatedExecutor] = SimulatedExecutor


THE_REAL = Parts()


class Violation(NamedTuple):
    invariant: str
    told: str


class Violated(Exception):
    """Ends a history at the next rest after a violation."""


class History:
    """Plans, lives and checks what one seed means."""

    def __init__(self, seed: int, parts: Parts = THE_REAL, log: list[str] | None = None) -> None:
        self.rng = rng = random.Random(seed)
        self.parts, self.log = parts, log
        self.loop = VirtualTimeLoop()
        self.loop.on_rest.append(self.rest)
        self.loop.set_exception_handler(self.hear)
        self.heard: list[object] = []
        self.raised: list[Exception] = []
        self.violations: list[Violation] = []
        self.items: list[Item] = []
        self.tasks: list[asyncio.Task[None]] = []
        # Whole quarters of a second make many things happen at the same instant.
        self.quantum = rng.choice((0.0, 0.25, 0.25))
        self.buckets = rng.choice((1, 1, 3, 1000))
        self.cancel_rate, self.ambush_rate = rng.choice(((0.0, 0.0), (0.3, 0.0), (0.3, 0.2)))
        kind = parts.executor if rng.random() < 0.8 else SimulatedLoopExecutor
        executors: list[Executors] = [
            kind(rng.choice((1, 1, 2, 3))) for _ in range(rng.choice((1, 1, 2)))
        ]
        shares = 2 if rng.random() < 0.3 else 1
        self.stations = [Station(self, executor, rng) for executor in executors * shares]

    def span(self, most: float) -> float:
        span = self.rng.uniform(0.0, most)
        return span - span % self.quantum if self.quantum else span

    def note(self, what: str, *about: object) -> None:
        if self.log is not None:
            self.log.append(f"{self.loop.time():10.4f}  {what:<12} {' '.join(map(str, about))}")

    def check(self, invariants: Sequence[Invariant[X]], subject: X) -> None:
        for invariant in invariants:
            if problem := invariant(subject):
                told = "" if problem is True else f" {problem}"
                told = f"at {self.loop.time():g} s:{told} ({invariant.__doc__})"
                self.violations.append(Violation(invariant.__name__, told))

    def hear(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # Not all that goes wrong has an exception: a lost task has a message only.
        self.heard.append(context.get("exception", context["message"]))

    def rest(self) -> None:
        for station in self.stations:
            self.check(AT_REST, station)
        if self.violations:
            raise Violated

    def cancel_somebody(self) -> None:
        """The very instant of a result is the most interesting one to go."""
        if self.rng.random() < self.ambush_rate:
            callers = [task for task in self.tasks if isinstance(task, Caller) and not task.done()]
            if callers:
                self.rng.choice(callers).cancel()

    async def live(self) -> None:
        for station in self.stations:
            await station.batcher.__aenter__()
        horizon = self.plan_calls()
        for station in self.stations:
            self.plan_endings(station, horizon)
        await asyncio.sleep(horizon)
        await asyncio.sleep(0)
        await asyncio.wait(self.tasks)
        await asyncio.sleep(AGES)
        for station in self.stations:
            self.check(AT_END, station)

    def plan_calls(self) -> float:
        rng, now = self.rng, 0.0
        wanted = rng.randint(10, 80)
        pattern = rng.choice((("burst",), ("poisson",), ("lone",), ("burst", "poisson", "lone")))
        rate = rng.uniform(0.5, 8.0)
        while len(self.items) < wanted:
            kind = rng.choice(pattern)
            gap = self.span(4.0) if kind == "burst" else self.span(2.0 / rate)
            now += gap if kind != "lone" else 1.0 + gap
            for _ in range(rng.randint(2, 20) if kind == "burst" else 1):
                self.plan_call(now)
        return now

    def plan_call(self, at: float) -> None:
        rng, station = self.rng, self.rng.choice(self.stations)
        door = rng.choice(("submit", "submit", "receipt", "receipt", "many", "many"))
        call = Call(station, door, rng.randrange(self.buckets) or None)
        for _ in range(1 if door in {"submit", "receipt"} else rng.randint(1, 5)):
            size = rng.randint(1, rng.choice((1, station.max_batch_size)))
            size += station.max_batch_size if rng.random() < 0.02 else 0
            call.items.append(Item(call, (len(self.items), rng.random()), size))
            self.items.append(call.items[-1])
        patience = self.span(4.0) if rng.random() < self.cancel_rate else None
        self.loop.call_at(at, self.arrive, call, patience)

    def arrive(self, call: Call, patience: float | None) -> None:
        caller = Caller(call, self.loop)
        self.tasks.append(caller)
        if patience is not None:
            if self.rng.random() < 0.5:
                self.loop.call_later(patience, caller.cancel)
            else:
                self.tasks.append(self.loop.create_task(wait_for(caller, patience)))

    def plan_endings(self, station: Station, horizon: float) -> None:
        rng = self.rng
        for _ in range(rng.choice((1, 1, 2))):
            at = rng.choice((self.span(horizon), horizon, horizon + 2.0))
            way = rng.choice(("drain", "leave", "leave", "close", "fail"))
            limit = rng.choice((None, self.span(3.0)))
            ending = self.loop.create_task(station.finish_by(way, at, limit))
            self.tasks.append(ending)
            if way == "leave" and rng.random() < 0.2:
                self.loop.call_later(at + 0.125 + self.span(3.0), ending.cancel)


async def wait_for(caller: Caller, patience: float) -> None:
    with suppress(TimeoutError, asyncio.CancelledError):
        await asyncio.wait_for(caller, patience)


def simulate(seed: int, parts: Parts = THE_REAL, log: list[str] | None = None) -> History:
    """Live one history to its end or its first violation."""
    history = History(seed, parts, log)
    loop = history.loop
    try:
        loop.run_until_complete(history.live())
    except Violated:
        pass
    except Deadlock as deadlock:
        history.violations.append(Violation("nobody_waits_forever", str(deadlock)))
    finally:
        loop.on_rest.clear()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        with suppress(Deadlock):
            loop.run_until_complete(asyncio.wait(left) if left else asyncio.sleep(0))
        loop.close()
    return history


def replay(seed: int) -> bool:
    log: list[str] = []
    violations = simulate(seed, log=log).violations
    lines = [f"violated: {name} {told}" for name, told in violations] or ["no violation"]
    sys.stdout.write("\n".join([*log, *lines, ""]))
    return not violations


def run_many(first: int, histories: int) -> bool:
    started, requests, violated = time.perf_counter(), 0, 0
    for number in range(histories):
        history = simulate(first + number)
        requests += len(history.items)
        for name, told in history.violations[:1]:
            violated += 1
            sys.stdout.write(
                f"{name} {told}\n  python -m tests.simulation --seed {first + number}\n"
            )
        if sys.stdout.isatty() and number % 100 == 0:
            pace = (number + 1) / (time.perf_counter() - started)
            sys.stdout.write(f"\r{number / histories:4.0%}, {pace:.0f} histories/s ")
            sys.stdout.flush()
    end = "\r" if sys.stdout.isatty() else ""
    sys.stdout.write(f"{end}{histories} histories, {requests} requests, {violated} violations\n")
    return not violated


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--histories", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int)
    options = parser.parse_args(arguments)
    seed: int | None = options.seed
    is_fine = run_many(options.first, options.histories) if seed is None else replay(seed)
    return 0 if is_fine else 1


if __name__ == "__main__":
    sys.exit(main())
