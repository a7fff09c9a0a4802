"""The batchers that `python -m bench submit` compares, and one measurement in its own process.

    python -m bench.contenders ours 64 1.0

keeps 64 callers busy for a second and prints what that took, as JSON. Each contender is a context
manager around a `submit`; it imports its own library only, and all get the same model.
"""

import asyncio
import collections
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple, TypeAlias

import uvloop

MAX_BATCH_SIZE: Final = 64

BATCHED_TIMEOUT_MS: Final = 1.0
"""`batched` sleeps this long whenever less than a batch waits, idle or not: at 0 it spins."""

WARMUP: Final = 0.3
"""Seconds before the clocks are read."""

Submit: TypeAlias = Callable[[int], Awaitable[int]]


class Model:
    """Answers each item with itself, and counts its batches."""

    def __init__(self) -> None:
        self.batches = 0

    def run(self, batch: Sequence[int]) -> list[int]:
        """Answer a batch."""
        self.batches += 1
        return list(batch)


@contextlib.asynccontextmanager
async def ours(model: Model) -> AsyncIterator[Submit]:
    """`batcher.Batcher` as it comes."""
    from batcher import Batcher  # noqa: PLC0415 - the other contenders run without it

    async with Batcher(model.run, max_batch_size=MAX_BATCH_SIZE) as batcher:
        yield batcher.submit


@contextlib.asynccontextmanager
async def barest(model: Model) -> AsyncIterator[Submit]:
    """The least that batches at all: no bounds, no cancellation, no buckets, nothing checked."""
    loop = asyncio.get_running_loop()
    waiting: collections.deque[tuple[int, asyncio.Future[int]]] = collections.deque()
    woken = loop.create_future()

    async def submit(item: int) -> int:
        future: asyncio.Future[int] = loop.create_future()
        waiting.append((item, future))
        if not woken.done():
            woken.set_result(None)
        return await future

    async def batch_forever() -> None:
        nonlocal woken
        while True:
            if not waiting:
                woken = loop.create_future()
                await woken
            batch = [waiting.popleft() for _ in range(min(MAX_BATCH_SIZE, len(waiting)))]
            results = await loop.run_in_executor(thread, model.run, [item for item, _ in batch])
            for (_, future), result in zip(batch, results, strict=False):
                future.set_result(result)

    with ThreadPoolExecutor(1) as thread:
        batching = asyncio.create_task(batch_forever())
        yield submit
        batching.cancel()


@contextlib.asynccontextmanager
async def batched(model: Model) -> AsyncIterator[Submit]:
    """`batched.aio.dynamically`, with the shortest wait that leaves an idle process some rest."""
    from batched import aio  # noqa: PLC0415 - the other contenders run without it

    yield aio.dynamically(
        model.run, batch_size=MAX_BATCH_SIZE, timeout_ms=BATCHED_TIMEOUT_MS
    ).__call__


@contextlib.asynccontextmanager
async def async_batcher(model: Model) -> AsyncIterator[Submit]:
    """`async_batcher.AsyncBatcher`, told not to wait for company."""
    from async_batcher.batcher import AsyncBatcher  # noqa: PLC0415 - as above

    class Wrapped(AsyncBatcher):  # type: ignore[misc]
        def process_batch(self, batch: list[int]) -> list[int]:
            return model.run(batch)

    batcher = Wrapped(max_batch_size=MAX_BATCH_SIZE, max_queue_time=0.0)
    yield batcher.process
    await batcher.stop(force=True)


CONTENDERS: Final[
    Mapping[str, Callable[[Model], contextlib.AbstractAsyncContextManager[Submit]]]
] = {"barest": barest, "ours": ours, "batched": batched, "async-batcher": async_batcher}


class Reading(NamedTuple):
    """Both clocks in seconds, and the items and batches so far."""

    wall: float
    cpu: float
    items: int
    batches: int


class Measurement(NamedTuple):
    """What one item took on average: microseconds, all threads together."""

    cpu: float
    wall: float
    mean_batch: float
    items: int


async def measure(name: str, callers: int, seconds: float) -> Measurement:
    """Keep `callers` busy, each awaiting one answer at a time. RuntimeError for a wrong answer."""
    model = Model()
    readings: list[Reading] = []
    items = _turns(callers, seconds, model, readings)

    async def call(submit: Submit) -> None:
        for item in items:
            if (answer := await submit(item)) != item:
                msg = f"{name} answered {item} with {answer}"
                raise RuntimeError(msg)

    async with CONTENDERS[name](model) as submit:
        await asyncio.gather(*[call(submit) for _ in range(callers)])
    first, last = readings
    count = last.items - first.items
    return Measurement(
        cpu=(last.cpu - first.cpu) / count * 1e6,
        wall=(last.wall - first.wall) / count * 1e6,
        mean_batch=count / (last.batches - first.batches),
        items=count,
    )


def _turns(callers: int, seconds: float, model: Model, readings: list[Reading]) -> Iterator[int]:
    """Items for all callers to share; reads the clocks between turns of everybody.

    So both readings are taken in full swing: the start and the end of the callers do not count.
    """
    first = 0
    for phase in (WARMUP, seconds):
        end = time.perf_counter() + phase
        while time.perf_counter() < end:
            yield from range(first, first + callers)
            first += callers
        readings.append(Reading(time.perf_counter(), time.process_time(), first, model.batches))


def main() -> None:
    """Measure what the arguments say."""
    name, callers, seconds = sys.argv[1:]
    print(json.dumps(uvloop.run(measure(name, int(callers), float(seconds)))._asdict()))


if __name__ == "__main__":
    main()
