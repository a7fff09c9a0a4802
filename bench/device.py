"""The batching alone before a simulated device, in real time: latency, overload, isolation."""

import asyncio
import pathlib
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import click
import uvloop

from batcher import Batch, Batcher, BatcherClosed, BatchRecord, DeadlineExceeded, QueueFull
from bench.options import json_option
from bench.record import write_json
from bench.screen import show_table, steps
from bench.spread import Spread

SET_UP, A_ROW = 0.050, 0.0002
"""Seconds that the device takes for a batch, and for each of its rows."""

DEADLINE: Final = 0.2
OVERLOADS: Final = (2, 5, 20)
MAX_BATCH_SIZE: Final = 64
SETTLE: Final = 1.0
"""Seconds of each run that are not counted: run times are learned, queues fill."""

BELOW: Final = f"""\
Open loop, Poisson arrivals, one row a request. The device sleeps {SET_UP * 1000:g} ms and
{A_ROW * 1000:g} ms a row on the model thread. Medians (lowest..highest round). The first
{SETTLE:g} s of a run do not count. Capacity is rows/s in full batches; goodput is what was answered
within {DEADLINE * 1000:g} ms of its arrival.\
"""


def sleep_as_a_device(batch: Batch[int]) -> list[int]:
    """Take the device's time for a batch."""
    time.sleep(SET_UP + A_ROW * batch.size)
    return list(batch)


def capacity(max_batch_size: int) -> float:
    """Rows a second in full batches."""
    return max_batch_size / (SET_UP + A_ROW * max_batch_size)


@dataclass(slots=True)
class Tally:
    """What became of the requests that arrived after the start was over."""

    latencies: list[float] = field(default_factory=list)
    refused: int = 0
    late: int = 0

    def percentile(self, share: float) -> float:
        """In milliseconds."""
        ordered = sorted(self.latencies)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)] * 1000

    def in_time(self) -> int:
        """Answered within the deadline."""
        return sum(1 for latency in self.latencies if latency <= DEADLINE)


async def offer(
    rate: float, seconds: float, max_batch_size: int, timeout: float | None, seed: int
) -> Tally:
    """Offer so many requests a second, whether they are answered or not."""
    loop, rng, tally = asyncio.get_running_loop(), random.Random(seed), Tally()
    async with Batcher(
        sleep_as_a_device, max_batch_size=max_batch_size, max_queue_size=1_000_000
    ) as batcher:

        async def ask(arrival: float, *, counts: bool) -> None:
            try:
                await batcher.submit(1, timeout=timeout)
            except DeadlineExceeded:
                tally.late += counts
            except QueueFull:
                tally.refused += counts
            except BatcherClosed:
                return  # The measurement is over.
            else:
                if counts:
                    tally.latencies.append(time.monotonic() - arrival)

        asked: set[asyncio.Task[None]] = set()
        began = time.monotonic()
        due = began
        while (due := due + rng.expovariate(rate)) < began + SETTLE + seconds:
            # A millisecond early is early enough: that is how exact timers are.
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            task = loop.create_task(ask(due, counts=due > began + SETTLE))
            asked.add(task)
            task.add_done_callback(asked.discard)
        if timeout is None:
            # What still waits is late by far; nobody has to see it through.
            await asyncio.sleep(2 * DEADLINE)
            await batcher.close()
        await asyncio.gather(*asked, return_exceptions=True)
    return tally


async def alone(requests: int) -> float:
    """What the Batcher adds to the device's time for a lone request, median, in milliseconds."""
    overheads = []
    async with Batcher(sleep_as_a_device) as batcher:
        for number in range(requests):
            began = time.perf_counter()
            _, receipt = await batcher.submit_with_receipt(number)
            overheads.append(time.perf_counter() - began - receipt.run_time)
    return statistics.median(overheads) * 1000


async def with_bad_rows(bad: int) -> tuple[int, int]:
    """Good rows lost, and extra runs, for a batch of 64 with so many bad ones."""
    records: list[BatchRecord] = []
    chosen = set(random.Random(bad).sample(range(MAX_BATCH_SIZE), bad))

    def run_batch(batch: Batch[int]) -> list[int]:
        if not chosen.isdisjoint(batch):
            msg = "a bad row"
            raise ValueError(msg)
        return list(batch)

    async with Batcher(
        run_batch, max_batch_size=MAX_BATCH_SIZE, repeatable=True, on_batch=records.append
    ) as batcher:
        told = await asyncio.gather(
            *[batcher.submit(row) for row in range(MAX_BATCH_SIZE)], return_exceptions=True
        )
    lost = sum(isinstance(t, Exception) for row, t in enumerate(told) if row not in chosen)
    return lost, len(records) - 1


@click.command(short_help="Latency, overload and isolation before a simulated device.")
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True)
@click.option("--seconds", type=click.FloatRange(1, 600), default=5.0, show_default=True)
@json_option
def command(rounds: int, seconds: float, json_file: pathlib.Path | None) -> None:
    """Measure what the batching makes of a device that takes 50 ms and 0.2 ms a row."""
    steady = ((400, 64), (2_000, 256), (3_000, 256), (3_000, 512))
    plans: list[tuple[str, Callable[[int], Tally]]] = [
        (f"{rate:,}/s, at most {size}", _offering(rate, seconds, size, None))
        for rate, size in steady
    ]
    for times in OVERLOADS:
        offered = times * capacity(MAX_BATCH_SIZE)
        plans.append((f"{times} x", _offering(offered, seconds, MAX_BATCH_SIZE, DEADLINE)))
        plans.append((f"{times} x FIFO", _offering(offered, seconds, MAX_BATCH_SIZE, None)))
    tallies: dict[str, list[Tally]] = {name: [] for name, _ in plans}
    lone: list[float] = []
    with steps() as progress:
        bar = progress.add_task("", total=rounds * len(plans))
        for number in range(rounds):
            lone.append(uvloop.run(alone(20)))
            for name, offering in plans:
                progress.update(bar, description=name)
                tallies[name].append(offering(number))
                progress.advance(bar)
    _show_steady(tallies, [f"{rate:,}/s, at most {size}" for rate, size in steady], lone)
    _show_overload(tallies, seconds)
    isolated = {bad: uvloop.run(with_bad_rows(bad)) for bad in (1, 3, MAX_BATCH_SIZE)}
    rows = [[str(bad), str(lost), str(extra)] for bad, (lost, extra) in isolated.items()]
    show_table(
        "one batch of 64 rows, some bad", ("bad rows", "good rows lost", "extra runs"), [rows]
    )
    if json_file is not None:
        settings = {"rounds": rounds, "seconds": seconds, "deadline": DEADLINE}
        write_json(json_file, "device", settings, {"runs": _plain(tallies), "lone_ms": lone})


def _offering(
    rate: float, seconds: float, size: int, timeout: float | None
) -> Callable[[int], Tally]:
    return lambda seed: uvloop.run(offer(rate, seconds, size, timeout, seed))


def _show_steady(
    tallies: dict[str, list[Tally]], names: Sequence[str], lone: Sequence[float]
) -> None:
    rows = [
        [
            name,
            *[
                f"{Spread.of(t.percentile(share) for t in tallies[name]):.1f}"
                for share in (0.5, 0.99)
            ],
        ]
        for name in names
    ]
    below = f"A lone request: {Spread.of(lone):.3f} ms besides the device's own time."
    show_table("steady load", ("offered", "p50 ms", "p99 ms"), [rows], below=below)


def _show_overload(tallies: dict[str, list[Tally]], seconds: float) -> None:
    most = capacity(MAX_BATCH_SIZE)
    rows = []
    for times in OVERLOADS:
        for name in (f"{times} x", f"{times} x FIFO"):
            rounds = tallies[name]
            goodput = Spread.of(t.in_time() / seconds / most * 100 for t in rounds)
            rows.append(
                [
                    name,
                    f"{goodput:.1f}",
                    f"{Spread.of(t.percentile(0.5) for t in rounds if t.latencies).median:.0f}"
                    if any(t.latencies for t in rounds)
                    else "-",
                    str(sum(t.refused for t in rounds)),
                    str(sum(t.late for t in rounds)),
                ]
            )
    columns = ("offered", "goodput, % of capacity", "p50 of answers, ms", "refused", "late")
    show_table("overload", columns, [rows], below=BELOW)


def _plain(tallies: dict[str, list[Tally]]) -> dict[str, list[dict[str, float]]]:
    return {
        name: [
            {
                "answered": len(t.latencies),
                "in_time": t.in_time(),
                "refused": t.refused,
                "late": t.late,
                "p50_ms": t.percentile(0.5) if t.latencies else -1.0,
                "p99_ms": t.percentile(0.99) if t.latencies else -1.0,
            }
            for t in rounds
        ]
        for name, rounds in tallies.items()
    }
