"""What reading a request and writing its answer cost, in every form that the server speaks."""

import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import click
import numpy as np

from bench.forms import alone, served
from bench.record import write_json
from bench.screen import show_table, steps
from bench.spread import Spread

SIZES: Final = (1, 784, 27_648)
"""Numbers in a row: one; a scan of 28 x 28 pixels; a picture of 96 x 96."""

SEED: Final = 20240607

COLUMNS: Final = ("form", "read µs", "write µs", "bytes of the answer")

BELOW: Final = """\
CPU of one thread; medians (lowest..highest round). Read: find out who is asked, parse, make the
array. Write: the answer, of as many numbers. What stands alone knows no names, checks or errors.\
"""


class Cell(NamedTuple):
    """What is measured: one direction of a form, for a row of some size."""

    size: int
    form: str
    direction: str


@click.command(
    epilog="""\b
Examples:
  python -m bench codec
  python -m bench codec --rounds 9 --size 784 --json codec.json"""
)
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option(
    "--seconds",
    type=click.FloatRange(0.01, 10),
    default=0.1,
    show_default=True,
    help="How long each measurement lasts.",
)
@click.option(
    "--size",
    "sizes",
    type=click.IntRange(1, 10_000_000),
    multiple=True,
    default=SIZES,
    show_default=True,
    help="Numbers in the row; may be repeated.",
)
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, writable=True, path_type=pathlib.Path)
)
def command(
    *, rounds: int, seconds: float, sizes: Sequence[int], json_file: pathlib.Path | None
) -> None:
    """Measure the codecs of all protocols on a row of float32, beside bare parsers.

    The forms take turns, round by round, so that whatever else the machine does meets them all.
    """
    functions = dict(_functions(sizes))
    answers = {cell: _length(f()) for cell, f in functions.items() if cell.direction == "write"}
    measured = _measure(functions, rounds, seconds)
    for size in dict.fromkeys(sizes):
        rows = _rows(measured, answers, size)
        show_table(f"A row of {size:,} float32", COLUMNS, [rows], below=BELOW)
    if json_file is not None:
        settings = {"rounds": rounds, "seconds": seconds}
        write_json(json_file, "codec", settings, {"cells": _plain(measured)})


def _functions(sizes: Sequence[int]) -> Iterator[tuple[Cell, Callable[[], Any]]]:
    for size in sizes:
        row = np.random.default_rng(SEED).random((1, size), dtype=np.float32)
        for form in [*served(row), *alone(row)]:
            yield Cell(size, form.name, "read"), form.read
            yield Cell(size, form.name, "write"), form.write


def _length(answer: Any) -> int:
    """Bytes of an answer, whoever wrote it."""
    return len(getattr(answer, "body", answer))


def _measure(
    functions: Mapping[Cell, Callable[[], Any]], rounds: int, seconds: float
) -> dict[Cell, list[float]]:
    """Microseconds a call, once a round for each."""
    measured: dict[Cell, list[float]] = {cell: [] for cell in functions}
    with steps() as progress:
        bar = progress.add_task("", total=rounds * len(functions))
        for _ in range(rounds):
            for cell, function in functions.items():
                progress.update(bar, description=f"{cell.form}, {cell.size:,}")
                measured[cell].append(_microseconds(function, seconds))
                progress.advance(bar)
    return measured


def _microseconds(function: Callable[[], Any], seconds: float) -> float:
    calls, batch = 0, 1
    began = time.thread_time()
    while (took := time.thread_time() - began) < seconds:
        for _ in range(batch):
            function()
        calls += batch
        # The clock costs as much as the smallest of what it measures.
        batch = min(2 * batch, 64)
    return took / calls * 1e6


def _rows(
    measured: Mapping[Cell, list[float]], answers: Mapping[Cell, int], size: int
) -> Iterator[list[str]]:
    for cell in measured:
        if cell.size == size and cell.direction == "read":
            write = cell._replace(direction="write")
            read_spread, write_spread = Spread.of(measured[cell]), Spread.of(measured[write])
            told = [f"{read_spread:,.1f}", f"{write_spread:,.1f}", f"{answers[write]:,}"]
            yield [cell.form, *told]


def _plain(measured: Mapping[Cell, list[float]]) -> list[dict[str, Any]]:
    """The same as JSON knows it, every round included."""
    return [
        {**cell._asdict(), "cpu_us": Spread.of(rounds)._asdict(), "rounds": rounds}
        for cell, rounds in measured.items()
    ]
