"""The books of simulated Batchers: what passed their doors, and so who waits, runs and has ended.

A `Station` is one Batcher. What its `Call`s ask and are told, what the executor is given and gives
back, and what `on_batch` says is noted; each request is an `Item` with one fate, a batch is a
`Run`, and a batch that failed and runs again in parts an `Incident`.
"""

import asyncio
import functools
import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import batcher as lib
from batcher.executor import Done, Executor, Function
from batcher.testing import FakeExecutor, Faults
from tests.simulation import invariants, oracle
from tests.simulation.callers import Answer, Blame, Bucket, Call, Fate, Item, Refusal, watched
from tests.simulation.features import Features
from tests.simulation.oracle import count_rows

if TYPE_CHECKING:
    from tests.simulation.history import History

SPOILERS: list[tuple[type[BaseException], Callable[[Sequence[Any]], Any] | None]] = [
    *[(error, None) for error in (ValueError, ValueError, SystemExit, asyncio.CancelledError)],
    *[(ValueError, spoil) for spoil in (Faults.one_result_short, Faults.one_result_too_many)],
    (TypeError, Faults.no_sequence),
]


HANGS = "a call hangs"
"""What the loop hears of a call that is given up, in the words of the books."""


class Poisoned(Exception):
    """What a poisonous item does to every batch it is in."""


@dataclass(eq=False, slots=True)
class Run:
    """A batch on its executor: what is planned to happen, and what its record must say.

    One that is prefetched is taken when the one before it has ended; never, until then.

    Of a fresh run, `lane` are those who may have waited in its bucket, in order of arrival; those
    `fading` were about to leave. `expected` is who should have run, `late` who was told instead.
    """

    station: "Station"
    batch: lib.Batch[Item]
    items: list[Item]
    taken: float
    incident: "Incident | None" = None
    lane: list[Item] = field(default_factory=list)
    fading: list[Item] = field(default_factory=list)
    expected: list[Item] = field(default_factory=list)
    late: list[Item] = field(default_factory=list)
    reasons: set[lib.Reason] = field(default_factory=set)
    decisions: list[oracle.Decision | None] = field(default_factory=list)
    cap: int = 0
    run_time: float = 0.0
    failure: type[BaseException] | None = None
    spoil: Callable[[Sequence[Any]], Any] | None = None
    is_hung: bool = False
    is_behind: bool = False
    failed: int = 0
    abandoned: int = 0
    again: int = 0
    record: lib.BatchRecord | None = None

    @property
    def bucket(self) -> Bucket:
        return self.batch.bucket

    @property
    def padded_size(self) -> int:
        return self.station.padded(count_rows(self.items))

    @property
    def is_plain(self) -> bool:
        return all(item.is_plain for item in self.lane)

    @property
    def is_next(self) -> bool:
        """Whether it waits behind another one that runs."""
        return self.taken == math.inf

    def __repr__(self) -> str:
        return f"the run of {self.items}"

    def is_over_its_time(self) -> bool:
        limit = self.station.features.run_timeout
        return limit is not None and self.station.now() >= self.taken + limit

    def perform(self) -> Any:
        """Compute as a model does, that only knows rows: pad the batch, cut up what comes out."""
        if self.failure is not None and self.spoil is None:
            raise self.failure
        batch = self.batch
        padding = batch.padded_size - batch.size
        rows = [row for item in batch for row in item.answer]
        results = [*rows, *[rows[-1]] * padding][: batch.padded_size]
        starts = [0, *itertools.accumulate([item.size for item in batch])]
        ends = [*starts[1:-1], len(results) - padding]
        answers = [
            item.error or tuple(results[start:end])
            for item, start, end in zip(batch, starts, ends, strict=False)
        ]
        return answers if self.spoil is None else self.spoil(answers)


class Incident:
    """A batch that failed, and runs again in parts: who has not been told, who is to run next."""

    def __init__(self, run: Run) -> None:
        assert run.failure is not None
        self.run, self.failure = run, run.failure
        self.untold = {item: None for item in run.items if item.fate is None}
        self.extra_runs = 0
        self.steps = oracle.halves(run.items, run.failure, run.station.is_wanted)
        self.due: list[Item] = next(self.steps, [])
        for item in run.items:
            item.incident = self

    def go_on(self, failure: oracle.Failure) -> None:
        """The part that ran last has ended."""
        try:
            self.due = self.steps.send(failure)
        except StopIteration:
            self.due = []


class Station:
    """The books of one Batcher."""

    def __init__(self, history: "History", executor: "Executors", rng: random.Random) -> None:
        self.history, self.rng, self.executor = history, rng, executor
        executor.stations.append(self)
        self.max_batch_size = size = rng.choice((1, 2, 3, 4, 8, 8, 16, 16))
        self.features = Features.draw(rng, size)
        self.max_queue_size = rng.choice((rng.randint(1, 2 * size), 4 * size, 16 * size, 1000))
        self.batch_timeout = rng.choice((0.0, 0.0, history.span(1.0), history.span(4.0)))
        self.concurrency = 1 if self.features.prefetch else rng.choice((1, 1, 2, 3))
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
            **self.features.options(self.cost),
        )
        self.draining = self.closed = self.ended = False
        self.asked = False  # For the thread, when the loop was at rest last.
        self.somebody_left = False  # Since a batch was handed over last.
        self.is_plain = True  # Nobody has had a priority or a deadline since nobody waited.
        self.waiting: dict[Item, None] = {}  # Accepted, wanted, not started; oldest first.
        self.leaving: dict[Item, None] = {}  # Cancelled; the Batcher hears of it in the next pass.
        self.dated: dict[Item, None] = {}  # They have a deadline and no fate yet.
        self.due: dict[Call, None] = {}  # Their fate is decided, they have not been told.
        self.running: list[Run] = []
        self.hung: list[Run] = []
        self.incidents: list[Incident] = []
        self.runs: dict[lib.Batch[Item], Run] = {}
        self.ending: Run | None = None
        self.fates: Counter[Fate] = Counter()
        self.blamed: list[BaseException] = []
        self.cap = oracle.Cap(size, self.features.allowed_sizes, self.features.probe_after)
        self.run_times, self.last_run_time = oracle.RunTimes(), 0.0
        self.accepted = self.refused = self.batches = self.to_record = self.recorded = 0

    # ----------------------------------------------------------------------- what its options mean

    def now(self) -> float:
        return self.history.loop.time()

    @property
    def is_over(self) -> bool:
        """Whether it has closed, or drained: it makes no records any more."""
        return self.closed or self.ended

    @property
    def is_padded(self) -> bool:
        return bool(self.features.allowed_sizes)

    @property
    def prefetches(self) -> bool:
        """Whether it may hand over a batch while another one runs."""
        is_alone = self.concurrency == self.executor.slots == 1
        return self.features.prefetch and is_alone and isinstance(self.executor, SimulatedExecutor)

    def padded(self, rows: int) -> int:
        """The smallest allowed size that holds so many rows."""
        return min((size for size in self.features.allowed_sizes if size >= rows), default=rows)

    def cost(self, items: Sequence[Item]) -> float:
        """The library asks this: the longest times the number."""
        if any(item.is_touchy for item in items) and len(items) > 1:
            error = LookupError("planned: no cost for these together")
            self.history.raised.append(error)
            raise error
        return max(item.length for item in items) * len(items)

    def has_room(self, batch: Sequence[Item], item: Item, rows: int) -> bool:
        """Whether somebody fits into a batch; alone, everybody does."""
        if not batch:
            return True
        if count_rows(batch) + item.size > rows:
            return False
        return self.may_cost([*batch, item])

    def may_cost(self, items: Sequence[Item]) -> bool:
        """Whether items may run together."""
        if self.features.max_cost is None or len(items) == 1:
            return True
        cost = max(item.length for item in items) * len(items)
        return cost <= self.features.max_cost and not any(item.is_touchy for item in items)

    def expected(self, size: int) -> float:
        """How long a batch of so many rows should take."""
        expected = self.run_times.expected(size)
        return self.last_run_time if expected is None else expected

    def is_stuck(self) -> bool:
        """Whether nothing can run before a call comes back."""
        return len(self.hung) >= self.concurrency or self.executor.is_hung()

    def is_wanted(self, item: Item) -> bool:
        return item.fate is None and item.deadline > self.now()

    def rest(self) -> None:
        """The loop is at rest."""
        self.refresh()
        has_turn = len(self.running) + len(self.hung) < self.concurrency
        held = [*self.waiting]
        self.is_plain = self.is_plain or not held
        self.asked = has_turn and oracle.decide(self, held, self.now()) is not None

    # -------------------------------------------------------------------------------- who comes

    def verdict(self, call: Call) -> tuple[Refusal, ...]:
        """What `submit` may raise now; None: it accepts."""
        self.refresh()
        rows, features = count_rows(call.items), self.features
        if features.max_cost is not None and any(i.length > features.max_cost for i in call.items):
            return (lib.RequestTooLarge,)
        if self.draining:
            return (lib.BatcherClosed,)
        if self.is_stuck():
            return (lib.BatcherStuck,)
        if rows > self.max_queue_size or any(i.size > self.max_batch_size for i in call.items):
            return (lib.RequestTooLarge,)
        most = math.inf if features.max_queue_bytes is None else features.max_queue_bytes
        if call.nbytes > most:
            return (lib.RequestTooLarge,)
        # Those who are leaving count until the Batcher hears of it.
        answers: list[Refusal] = []
        for held in ([*self.waiting], [*self.waiting, *self.leaving]):
            full = count_rows(held) + rows > self.max_queue_size
            full = full or sum([item.nbytes for item in held]) + call.nbytes > most
            refused = full or oracle.waits_too_long(self, call, held)
            answers.append(lib.QueueFull if refused else None)
        return tuple(answers)

    def accept(self, call: Call) -> None:
        self.history.note("accepted", *call.items)
        call.unanswered = len(call.items)
        for item in call.items:
            self.accepted += 1
            item.arrival, item.turn = self.now(), self.accepted
            self.waiting[item] = None
            if call.timeout is not None:
                item.deadline = item.arrival + call.timeout
                self.dated[item] = None
            self.is_plain = self.is_plain and item.is_plain

    def settle(self, item: Item, fate: Fate, blame: Blame = None) -> None:
        item.fate, item.blame = fate, blame
        self.somebody_left = self.somebody_left or fate != "answered"
        self.fates[fate] += 1
        self.waiting.pop(item, None)
        self.dated.pop(item, None)
        if item.incident is not None:
            item.incident.untold.pop(item, None)
        item.call.unanswered -= 1
        if fate != "answered" or not item.call.unanswered:
            self.due[item.call] = None

    def refresh(self) -> None:
        """Those who have been told that they are late do not wait any longer."""
        for item in [item for item in self.dated if item.is_told_late()]:
            self.history.note("expired", item)
            self.settle(item, "expired")

    def abandon(self, call: Call) -> None:
        self.history.note("cancelled", *call.items)
        self.refresh()
        for item in call.items:
            if item in self.waiting:
                self.leaving[item] = None
            if item.fate is None:
                self.settle(item, "cancelled")

    def end(self, call: Call) -> None:
        """A caller has been told; whatever it still has here goes with it."""
        self.history.note("told", *call.items, call.error or call.told)
        self.refresh()
        self.history.check(invariants.AT_END_OF_CALL, call)
        self.refused += isinstance(call.error, lib.QueueFull) * len(call.items)
        for item in call.items:
            self.leaving.pop(item, None)
            if call.awaited is not None and item.fate is None:
                self.settle(item, "cancelled")
        self.due.pop(call, None)
        if call.error is None:
            self.history.come_back(call)

    # -------------------------------------------------------------------------------- what runs

    def begin(self, batch: lib.Batch[Item], done: Done) -> Done:
        """The Batcher gives a batch to its executor; returns what that calls at the end."""
        run = Run(self, batch, list(batch), self.now(), cap=self.cap.size)
        run.is_behind = self.prefetches and bool(self.running)
        incident = run.items[0].incident
        if incident is not None:
            run.incident, run.reasons = incident, {lib.Reason.AGAIN}
            incident.extra_runs += 1
            self.history.note("run again", *run.items)
        else:
            self.foresee(run)
            self.history.note("run", *run.items, "if", *sorted(run.reasons))
        self.history.check(invariants.AT_EVERY_START, run)
        more = invariants.AT_START if incident is None else invariants.AT_START_AGAIN
        self.history.check(more, run)
        for item in run.late:
            item.shed = True
        self.refresh()
        for item in run.items:
            item.run = run
            self.waiting.pop(item, None)
        self.plan(run)
        self.asked, self.somebody_left = False, bool(self.leaving)
        self.runs[batch] = run
        run.taken = math.inf if run.is_behind else run.taken
        self.running.append(run)
        self.executor.running.append(run)
        return functools.partial(self.finish, run, done)

    def foresee(self, run: Run) -> None:
        """Who should run, why, and who is told to be late; whoever is leaving may count or not."""
        late = [item for item in self.dated if item.deadline <= run.taken and item.is_told_late()]
        run.fading = [*self.leaving, *(item for item in late if item in self.waiting)]
        sure = [item for item in self.waiting if item not in run.fading]
        run.lane = [item for item in self.waiting if item.bucket == run.bucket]
        is_foreseen = False
        for there in oracle.present(run.fading):
            held = sorted([*sure, *there], key=lambda item: item.turn) if there else sure
            decision = oracle.decide(self, held, run.taken)
            run.decisions.append(decision)
            if decision is None or decision[0] != run.bucket:
                continue
            run.reasons.add(decision[1])
            if is_foreseen:
                continue
            lane = [item for item in held if item.bucket == run.bucket]
            run.expected, run.late = oracle.next_batch(self, lane, [*self.leaving], run.taken)
            is_foreseen = run.expected == run.items

    def plan(self, run: Run) -> None:
        """What is going to happen to a batch."""
        rng, rows, features = self.rng, count_rows(run.items), self.features
        times = {"constant": 1.0, "growing": 0.25 + 0.125 * rows, "instant": 0.0}
        run.run_time = times[self.pace] if self.pace in times else self.history.span(2.0)
        if features.run_timeout is not None and rng.random() < features.hang_rate:
            run.run_time = features.run_timeout + rng.choice((0.5, self.history.span(20.0), 5000.0))
        if run.run_time == features.run_timeout and self.concurrency > 1:
            # Records do not tell equal batches apart of which one ends as the other is given up.
            run.run_time += 0.125
        if features.memory is not None and run.padded_size > features.memory:
            run.failure = MemoryError
        elif any(item.is_poison for item in run.items):
            run.failure = Poisoned
        elif rng.random() < self.fault_rate / 2:
            run.failure, run.spoil = rng.choice(SPOILERS)
        elif rng.random() < self.fault_rate:
            errors = (ValueError, StopIteration, KeyboardInterrupt)
            rng.choice(run.items).error = rng.choice(errors)("planned")

    def run_now(self, batch: lib.Batch[Item]) -> Any:
        return self.runs[batch].perform()

    async def run_later(self, batch: lib.Batch[Item]) -> Any:
        await asyncio.sleep(self.runs[batch].run_time)
        return self.runs[batch].perform()

    # --------------------------------------------------------------------------------- what ends

    def finish(self, run: Run, done: Done, outcome: lib.Outcome) -> None:
        """A batch has come back; its Batcher hears of it after the books."""
        self.history.note("ended", *run.items, outcome.error or "")
        self.history.cancel_somebody(run.incident.untold if run.incident else ())
        self.refresh()
        self.batches += 1
        self.executor.running.remove(run)
        if run.is_hung:
            self.hung.remove(run)
        else:
            self.last_run_time = run.run_time = outcome.run_time
            self.running.remove(run)
        for behind in self.running[:1]:
            behind.taken = min(behind.taken, self.now())
        if not run.is_hung:
            self.run_times.observed.append((run.padded_size, outcome.run_time))
            self.decide_fates(run)
        self.ending = run
        done(outcome)
        self.ending = None
        self.history.cancel_somebody()

    def decide_fates(self, run: Run) -> None:
        """Answers and failures of a batch that has ended; or the part of it that runs next."""
        run.abandoned = sum([item.fate is not None for item in run.items])
        if self.is_over:
            return
        self.to_record += len(run.items)
        failure, incident = run.failure, run.incident
        if self.features.repeatable:
            self.cap.learn(run.padded_size, failure)
            if failure is not None and issubclass(failure, Exception) and len(run.items) > 1:
                run.again, run.abandoned = len(run.items), 0
        if not run.again:
            for item in [item for item in run.items if item.fate is None]:
                blame = failure or item.error
                run.failed += blame is not None
                self.settle(item, "answered" if blame is None else "failed", blame)
        if incident is not None:
            incident.go_on(failure)
        elif run.again:
            incident = run.incident = Incident(run)
            self.incidents.append(incident)
        if incident is not None and incident.extra_runs >= self.features.max_extra_runs:
            self.give_up_isolation(incident, incident.failure)

    def give_up_isolation(self, incident: Incident, blame: type[BaseException]) -> None:
        """All who have not been told are told now, but for those who are late just now."""
        incident.due = []
        for item in [item for item in incident.untold if self.is_wanted(item)]:
            self.settle(item, "failed", blame)

    def observe(self, record: lib.BatchRecord) -> None:
        self.recorded += record.requests
        run = self.ending or self.give_up(record)
        if run is not None:
            run.record = record
            self.history.check(invariants.AT_RECORD, run)
        else:
            self.history.violate(invariants.hangs_are_told, f"{record} is of no batch")
        error = LookupError("planned: on_batch fails")
        fails = self.rng.random() < self.observer_fault_rate
        self.history.raised += [error] if fails else []
        self.history.raised += [HANGS] if self.ending is None else []
        if fails:
            raise error

    def give_up(self, record: lib.BatchRecord) -> Run | None:
        """A record of a batch that has not come back: it is taken to hang."""
        self.refresh()
        over = [run for run in self.running if run.is_over_its_time()]
        same = [run for run in over if is_of(record, run)]
        if not same:
            return None
        run = min(same, key=lambda run: record.reason not in run.reasons)
        self.history.note("given up", *run.items)
        run.is_hung = True
        run.run_time = self.now() - run.taken
        self.running.remove(run)
        self.hung.append(run)
        self.to_record += len(run.items)
        for item in run.items:
            run.abandoned += item.fate is not None
            if item.fate is None:
                run.failed += 1
                self.settle(item, "failed", TimeoutError)
        if run.incident is not None:
            run.incident.due = []
            for item in [*run.incident.untold]:
                self.settle(item, "failed", TimeoutError)
        return run

    def hear_of_hang(self) -> None:
        """A call has been given up on its executor: if nothing else can run, everybody is told."""
        if self.is_stuck():
            self.refresh()
            behind = [item for run in self.running for item in run.items]
            untold = [item for incident in self.incidents for item in incident.untold]
            for item in [*self.waiting, *behind, *untold]:
                if item.fate is None:
                    self.settle(item, "failed", lib.BatcherStuck)

    def shut(self) -> None:
        """The Batcher closes in this step, and fails everybody who is left."""
        self.closed = True
        self.refresh()
        running = [item for run in self.running for item in run.items]
        untold = [item for incident in self.incidents for item in incident.untold]
        for item in [*self.waiting, *running, *untold]:
            if item.fate is None:
                item.closed = True
                self.settle(item, "failed", lib.BatcherClosed)

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
        self.ended = True
        self.history.check(invariants.AT_END_OF_DRAIN, (self, drained))


def is_of(record: lib.BatchRecord, run: Run) -> bool:
    """Whether a record can only be of this batch, or of one that is like it in everything."""
    times = [run.taken - item.arrival for item in run.items]
    abandoned = sum([item.fate is not None for item in run.items])
    mine = (run.bucket, count_rows(run.items), abandoned, run.incident is not None)
    is_part = record.reason is lib.Reason.AGAIN
    theirs = (record.bucket, record.size, record.abandoned, is_part)
    return mine == theirs and invariants.are_same_times(record.queue_times, times)


class TellsTheBooks(Executor):
    """What each simulated executor notes."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.running: list[Run] = []
        self.stations: list[Station] = []

    def is_hung(self) -> bool:
        return sum([run.is_hung for run in self.running]) >= self.slots

    def lose_slot(self) -> None:
        # A Batcher that is closed makes no records.
        for run in self.running:
            if run.station.is_over and run.is_over_its_time() and not run.is_hung:
                run.is_hung = True
                run.station.running.remove(run)
                run.station.hung.append(run)
                break
        for station in self.stations:
            station.hear_of_hang()
        super().lose_slot()


class SimulatedExecutor(TellsTheBooks, FakeExecutor):
    """Plays the model thread."""

    def __init__(self, slots: int) -> None:
        super().__init__(slots, run_time=lambda batch: batch[0].run.run_time)

    def run(self, function: Function, argument: Any, done: Done) -> None:
        FakeExecutor.run(self, function, argument, argument[0].call.station.begin(argument, done))


class SimulatedLoopExecutor(TellsTheBooks, lib.LoopExecutor):
    """Runs coroutines."""

    def run(self, function: Function, argument: Any, done: Done) -> None:
        function_done = argument[0].call.station.begin(argument, done)
        lib.LoopExecutor.run(self, function, argument, function_done)


Executors: TypeAlias = SimulatedExecutor | SimulatedLoopExecutor
