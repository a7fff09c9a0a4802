"""What one `submit` costs beside other batching libraries and the barest batcher there can be."""

import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import click

from bench.contenders import BATCHED_TIMEOUT_MS, CONTENDERS, MAX_BATCH_SIZE, Measurement
from bench.options import json_option
from bench.record import ROOT, write_json
from bench.screen import show_table, steps
from bench.spread import Spread

CALLERS: Final = (1, 64, 1_000, 10_000)

TIME_LIMIT: Final = 60.0
"""Seconds that a measurement may take beyond what it was asked for: some get stuck."""

COLUMNS: Final = ("contender", "CPU µs per item", "times the barest", "wall µs", "mean batch")

BELOW: Final = f"""\
Medians (lowest..highest round); the ratio is taken round by round. CPU is of all threads
together. The model returns its items: all of this is overhead. At most {MAX_BATCH_SIZE} in a batch.
The barest lacks: bounds on what waits, cancellation (one cancelled caller ends it), buckets and
sizes, isolation of failures (one exception ends it), records and statistics, draining.
batched sleeps {BATCHED_TIMEOUT_MS:g} ms whenever less than a batch waits: so a lone caller does.\
"""


class Cell(NamedTuple):
    """What is measured in a process of its own."""

    callers: int
    contender: str


@click.command(
    epilog="""\b
Examples:
  python -m bench submit
  python -m bench submit --rounds 9 --callers 64 --contender ours
  python -m bench submit --json submit.json > submit.md"""
)
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option(
    "--seconds",
    type=click.FloatRange(0.05, 60),
    default=1.0,
    show_default=True,
    help="How long each measurement lasts.",
)
@click.option(
    "--callers",
    type=click.IntRange(1, 100_000),
    multiple=True,
    default=CALLERS,
    show_default=True,
    help="Concurrent callers; may be repeated.",
)
@click.option(
    "--contender",
    "contenders",
    type=click.Choice(list(CONTENDERS)),
    multiple=True,
    default=list(CONTENDERS),
    help="Measure only these and the barest; may be repeated.",
)
@json_option
def command(
    *,
    rounds: int,
    seconds: float,
    callers: Sequence[int],
    contenders: Sequence[str],
    json_file: pathlib.Path | None,
) -> None:
    """Measure µs of CPU and of wall time per submit, at 1 to 10,000 concurrent callers.

    Each measurement runs in a process of its own, for an earlier one would disturb it, and the
    contenders take turns, so that whatever else the machine does meets them all.
    """
    chosen = [name for name in CONTENDERS if name == "barest" or name in contenders]
    measured = measure_all(rounds, seconds, list(dict.fromkeys(callers)), chosen)
    show_table("µs per submit", COLUMNS, _rows(measured), below=BELOW)
    if json_file is not None:
        settings = {
            "rounds": rounds,
            "seconds": seconds,
            "max_batch_size": MAX_BATCH_SIZE,
            "batched_timeout_ms": BATCHED_TIMEOUT_MS,
        }
        write_json(json_file, "submit", settings, {"cells": _plain(measured)})


def measure_all(
    rounds: int, seconds: float, callers: Sequence[int], contenders: Sequence[str]
) -> dict[Cell, list[Measurement]]:
    """Measure every cell once a round; each round begins with another contender."""
    measured: dict[Cell, list[Measurement]] = {
        Cell(count, name): [] for count in callers for name in contenders
    }
    with steps() as progress:
        bar = progress.add_task("", total=rounds * len(measured))
        for number in range(rounds):
            first = number % len(contenders)
            for count in callers:
                for name in [*contenders[first:], *contenders[:first]]:
                    progress.update(bar, description=f"{name}, {count:,} callers")
                    cell = Cell(count, name)
                    measured[cell].append(_measure(cell, seconds))
                    progress.advance(bar)
    return measured


def _measure(cell: Cell, seconds: float) -> Measurement:
    """One measurement in a fresh process."""
    arguments = [cell.contender, str(cell.callers), str(seconds)]
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "bench.contenders", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=seconds + TIME_LIMIT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        msg = f"{cell.contender} with {cell.callers:,} callers got stuck"
        raise click.ClickException(msg) from None
    if ended.returncode:
        msg = f"{cell.contender} with {cell.callers:,} callers failed:\n{ended.stderr}"
        raise click.ClickException(msg)
    return Measurement(**json.loads(ended.stdout))


def _ratios(measured: dict[Cell, list[Measurement]], cell: Cell) -> Spread:
    """How many times the CPU of the barest, each round beside its own."""
    barest = measured[cell._replace(contender="barest")]
    return Spread.of(m.cpu / b.cpu for m, b in zip(measured[cell], barest, strict=True))


def _rows(measured: dict[Cell, list[Measurement]]) -> Iterator[list[list[str]]]:
    """The table: one group for each number of callers."""
    for callers in dict.fromkeys(cell.callers for cell in measured):
        rows = []
        for cell, rounds in measured.items():
            if cell.callers != callers:
                continue
            is_barest = cell.contender == "barest"
            rows.append(
                [
                    f"{cell.contender}, {callers:,} caller{'s' if callers > 1 else ''}",
                    f"{Spread.of(m.cpu for m in rounds):.2f}",
                    "1" if is_barest else f"{_ratios(measured, cell):.2f}",
                    f"{Spread.of(m.wall for m in rounds).median:,.2f}",
                    f"{Spread.of(m.mean_batch for m in rounds).median:.1f}",
                ]
            )
        yield rows


def _plain(measured: dict[Cell, list[Measurement]]) -> list[dict[str, object]]:
    """The same as JSON knows it, every round included."""
    return [
        {
            **cell._asdict(),
            "cpu_us": Spread.of(m.cpu for m in rounds)._asdict(),
            "wall_us": Spread.of(m.wall for m in rounds)._asdict(),
            "times_the_barest": _ratios(measured, cell)._asdict(),
            "rounds": [m._asdict() for m in rounds],
        }
        for cell, rounds in measured.items()
    ]
