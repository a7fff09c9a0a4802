"""One history: what a seed means, lived in virtual time to its end or its first violation."""

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

import batcher as lib
from batcher.testing import Deadlock, VirtualTimeLoop
from tests.simulation import invariants
from tests.simulation.books import (
    HANGS,
    Executors,
    SimulatedExecutor,
    SimulatedLoopExecutor,
    Station,
)
from tests.simulation.callers import Answer, Call, Caller, Item
from tests.simulation.invariants import Invariant

X = TypeVar("X")

AGES = 1e4
"""Seconds after which everything that was going on has come back."""


MOST_ITEMS = 160
"""Nobody comes back any more."""


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
        self.raised: list[object] = []
        self.violations: list[Violation] = []
        self.items: list[Item] = []
        self.tasks: list[asyncio.Task[None]] = []
        # Whole quarters of a second make many things happen at the same instant.
        self.quantum = rng.choice((0.0, 0.25, 0.25))
        self.buckets = rng.choice((1, 1, 3, 1000))
        self.cancel_rate, self.ambush_rate = rng.choice(((0.0, 0.0), (0.3, 0.0), (0.3, 0.2)))
        self.return_rate = rng.choice((0.0, 0.0, 0.5, 0.95))
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

    def check(self, these: Sequence[Invariant[X]], subject: X) -> None:
        for invariant in these:
            if problem := invariant(subject):
                self.violate(invariant, "" if problem is True else f" {problem}")

    def violate(self, invariant: Invariant[Any], problem: str) -> None:
        told = f"at {self.loop.time():g} s:{problem} ({invariant.__doc__})"
        self.violations.append(Violation(invariant.__name__, told))

    def hear(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # Not all that goes wrong has an exception: a lost task has a message only.
        hangs = context["message"].endswith(f": {HANGS}")
        self.heard.append(HANGS if hangs else context.get("exception", context["message"]))

    def rest(self) -> None:
        for station in self.stations:
            station.rest()
            self.check(invariants.AT_REST, station)
        if self.violations:
            raise Violated

    def cancel_somebody(self, rather: Iterable[Item] = ()) -> None:
        """The very instant of a result is the most interesting one to go."""
        if self.rng.random() < self.ambush_rate:
            callers = [task for task in self.tasks if isinstance(task, Caller) and not task.done()]
            calls = {item.call for item in rather}
            callers = [caller for caller in callers if caller.call in calls] or callers
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
            self.check(invariants.AT_END, station)

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

    def plan_call(self, at: float, station: Station | None = None) -> None:
        rng, station = self.rng, station or self.rng.choice(self.stations)
        door = rng.choice(("submit", "submit", "receipt", "receipt", "many", "receipts"))
        call = Call(station, door, rng.randrange(self.buckets) or None)
        # Whom to blame is a question in a crowd only.
        is_crowd = station.features.repeatable and rng.random() < 0.8
        call.bucket = None if is_crowd else call.bucket
        self.plan_wishes(call)
        for _ in range(1 if door in {"submit", "receipt"} else rng.randint(1, 5)):
            size = 1 if is_crowd else rng.randint(1, rng.choice((1, station.max_batch_size)))
            size += station.max_batch_size if rng.random() < 0.02 else 0
            item = Item(call, len(self.items), size, bucket=call.bucket, priority=call.priority)
            # The bytes of all belong to the first.
            item.nbytes = 0 if call.items else call.nbytes
            self.plan_item(item)
            call.items.append(item)
            self.items.append(item)
        patience = self.span(4.0) if rng.random() < self.cancel_rate else None
        self.loop.call_at(at, self.arrive, call, patience)

    def come_back(self, answered: Call) -> None:
        """Some callers ask again as soon as they are answered."""
        if self.rng.random() < self.return_rate and len(self.items) < MOST_ITEMS:
            self.plan_call(self.loop.time(), answered.station)

    def plan_wishes(self, call: Call) -> None:
        rng, features = self.rng, call.station.features
        if rng.random() < features.timeout_rate:
            call.timeout = rng.choice((0.0, 0.01, self.span(1.0), self.span(4.0), 20.0))
        if rng.random() < features.priority_rate:
            call.priority = rng.randint(-2, 3)
        if rng.random() < features.bytes_rate:
            call.nbytes = rng.choice((1, 5, 20, 40, 70))

    def plan_item(self, item: Item) -> None:
        rng, features = self.rng, item.call.station.features
        if features.max_cost is not None:
            item.length = rng.randint(1, 10)
            item.is_touchy = rng.random() < features.touchy_rate
        item.is_poison = rng.random() < features.poison_rate

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
            at = rng.choice((self.span(horizon), horizon, horizon, horizon + 2.0))
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
