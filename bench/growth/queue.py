"""What a request costs while so many rows wait before it, measured in a process of its own.

    python -m bench.growth.queue plain 10 100 1000

prints, as JSON, µs of CPU to submit a request and to answer one, at each depth of the queue. The
model is held: each time it is let go, one batch is answered, and as many are submitted. So the
queue keeps its depth, and batches are full at every depth.

Python collects garbage as seldom as in the server: its own collector visits all that waits again
and again, which is what the line without that shows.
"""

import asyncio
import gc
import json
import random
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import uvloop

from batcher import Batcher, QueueFull
from bench.contenders import MAX_BATCH_SIZE, Model, barest
from server.lifecycle import GC_THRESHOLDS

AT_LEAST: Final = 20_000
"""Requests that are measured at each depth; at least as many as wait, for costs that come now and
then, such as sweeping out those who have left, belong to all requests in between."""

SEED: Final = 20240607

PRIORITIES: Final = 4

LONG: Final = 1e6
"""Seconds of the shortest deadline of those that are kept."""


class Cost(NamedTuple):
    """µs of CPU of both threads, for one request."""

    submit: float
    answer: float


class HeldModel(Model):
    """Answers one batch each time it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self._gate = threading.Semaphore(0)

    def run(self, batch: Sequence[int]) -> list[int]:
        """Wait, then answer."""
        self._gate.acquire()
        return super().run(batch)

    def let_go(self, batches: int = 1) -> None:
        """Let so many batches end."""
        self._gate.release(batches)


Options = Callable[[int], Mapping[str, Any]]
"""What a request asks for besides, by its number."""

_chance: Final = random.Random(SEED)


def _bucket(number: int) -> int:
    # As many as fill a batch: batches are full, and there are as many buckets as batches wait.
    return number // MAX_BATCH_SIZE


def _deadline() -> float:
    return LONG * (1 + _chance.random())


VARIANTS: Final[Mapping[str, Options]] = {
    "plain": lambda _: {},
    "buckets": lambda number: {"bucket": _bucket(number)},
    "priorities": lambda number: {"priority": number % PRIORITIES},
    "deadlines": lambda _: {"timeout": _deadline()},
    "buckets, priorities and deadlines": lambda number: {
        "bucket": _bucket(number),
        "priority": number % PRIORITIES,
        "timeout": _deadline() if number % 2 else None,
    },
}

COLLECTED: Final = "deadlines, Python's own garbage collection"

REFUSED: Final = "refused: too little time"
"""Requests that cannot be answered in time, while half of those who wait have deadlines."""

BAREST: Final = "no bounds, no cancellation"
"""The barest batcher there can be, to tell what asyncio and the memory alone cost."""

NAMES: Final = (*VARIANTS, COLLECTED, REFUSED, BAREST)

TOO_SHORT: Final = 1e-6
REFUSALS: Final = 100


class Callers:
    """Those who submit, and wait for their answers."""

    def __init__(self, submit: Callable[..., Any], options: Options) -> None:
        self._submit = submit
        self._options = options
        self._begun = 0
        self._ended = 0
        self._answered = asyncio.Event()
        # The event loop keeps no task alive.
        self._tasks: set[asyncio.Task[None]] = set()

    async def begin(self, count: int) -> None:
        """So many more submit now."""
        for _ in range(count):
            task = asyncio.create_task(self._call(self._begun))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            self._begun += 1
        await asyncio.sleep(0)

    async def answered(self) -> int:
        """Wait for the next batch to be answered; returns how many were in it."""
        before = self._ended
        # Whoever is answered in the same pass of the loop has gone on before this one does.
        await self._answered.wait()
        self._answered.clear()
        return self._ended - before

    async def rest(self) -> None:
        """Wait for all. RuntimeError for a wrong answer."""
        await asyncio.gather(*self._tasks)

    async def _call(self, number: int) -> None:
        if (answer := await self._submit(number, **self._options(number))) != number:
            msg = f"{number} was answered with {answer}"
            raise RuntimeError(msg)
        self._ended += 1
        self._answered.set()


async def measure(name: str, depths: Sequence[int]) -> dict[int, Cost]:
    """The costs of a variant while ever more rows wait."""
    model = HeldModel()
    if name == BAREST:
        async with barest(model) as submit:
            return await _grow(model, Callers(submit, VARIANTS["plain"]), depths)
    most = max(depths) + 2 * MAX_BATCH_SIZE
    async with Batcher(model.run, max_batch_size=MAX_BATCH_SIZE, max_queue_size=most) as batcher:
        if name == REFUSED:
            callers = Callers(batcher.submit, lambda n: {"timeout": LONG} if n % 2 else {})
            return await _grow(model, callers, depths, batcher)
        kind = "deadlines" if name == COLLECTED else name
        return await _grow(model, Callers(batcher.submit, VARIANTS[kind]), depths)


async def _grow(
    model: HeldModel,
    callers: Callers,
    depths: Sequence[int],
    refusing: Batcher[int, int] | None = None,
) -> dict[int, Cost]:
    """Let the queue grow from one depth to the next; turn it over there, or have it refuse."""
    costs = {}
    # The first batch is what the model holds; the queue begins behind it.
    await callers.begin(MAX_BATCH_SIZE)
    waiting = 0
    for depth in sorted(depths):
        await callers.begin(depth - waiting)
        waiting = depth
        if refusing is None:
            costs[depth] = await _turn_over(model, callers, max(AT_LEAST, depth))
        else:
            # So that it has learned what a batch takes.
            await _turn_over(model, callers, AT_LEAST)
            costs[depth] = await _refuse(refusing)
    model.let_go(waiting)
    await callers.rest()
    return costs


async def _refuse(batcher: Batcher[int, int]) -> Cost:
    """Submit what cannot be answered in time. RuntimeError if it is accepted."""
    began = time.process_time()
    for number in range(REFUSALS):
        try:
            await batcher.submit(number, timeout=TOO_SHORT)
        except QueueFull:
            continue
        msg = f"a request was accepted for {TOO_SHORT} s"
        raise RuntimeError(msg)
    return Cost((time.process_time() - began) / REFUSALS * 1e6, 0.0)


async def _turn_over(model: HeldModel, callers: Callers, requests: int) -> Cost:
    """Submit and answer so many at one depth."""
    submitting = answering = 0.0
    count, last = 0, MAX_BATCH_SIZE
    while count < requests:
        began = time.process_time()
        await callers.begin(last)
        submitted = time.process_time()
        model.let_go()
        last = await callers.answered()
        submitting += submitted - began
        answering += time.process_time() - submitted
        count += last
    return Cost(submitting / count * 1e6, answering / count * 1e6)


def main() -> None:
    """Measure what the arguments say."""
    name, *depths = sys.argv[1:]
    if name != COLLECTED:
        gc.set_threshold(*GC_THRESHOLDS)
    costs = uvloop.run(measure(name, [int(depth) for depth in depths]))
    print(json.dumps({depth: cost._asdict() for depth, cost in costs.items()}))


if __name__ == "__main__":
    main()
