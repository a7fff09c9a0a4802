"""The command: everything measured round by round, shown as tables and as one figure."""

import itertools
import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, TypeVar

import click

from bench.growth import models, queue, rows
from bench.growth.plot import plot
from bench.growth.point import Line, Panel, lines_of
from bench.models import cached
from bench.options import cache_option, json_option
from bench.record import ROOT, write_json
from bench.screen import show_table, steps

DEPTHS: Final = (10, 100, 1_000, 10_000, 100_000)
COUNTS: Final = (1, 3, 10, 30, 100)
ROWS: Final = (1, 10, 100, 1_000, 10_000)

T = TypeVar("T")

WHAT: Final = ("queue", "models", "rows")

TIME_LIMIT: Final = 300.0
"""Seconds that one variant of the queue may take."""

IN_A_BATCH: Final = ": rows in a batch"

BELOW: Final = """\
Medians (lowest..highest round) of CPU, all threads of the server or of the Batcher's process. The
last column compares the largest size with the smallest.\
"""


class Plan(NamedTuple):
    """How to measure."""

    rounds: int
    seconds: float
    cache: pathlib.Path
    model: str


@click.command(
    epilog="""\b
Examples:
  python -m bench growth --plots plots
  python -m bench growth --only queue --rounds 9
  python -m bench growth --only rows --model tiny --json growth.json"""
)
@click.option(
    "--only",
    "chosen",
    type=click.Choice(WHAT),
    multiple=True,
    default=WHAT,
    show_default=True,
    help="What grows; may be repeated.",
)
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 60),
    default=1.5,
    show_default=True,
    help="Of each load on a server.",
)
@click.option(
    "--model",
    type=click.Choice(list(rows.NUMBERS)),
    default="mlp",
    show_default=True,
    help="Whose rows grow in number.",
)
@click.option(
    "--plots",
    type=click.Path(file_okay=False, path_type=pathlib.Path),
    help="Folder to draw a figure into.",
)
@cache_option
@json_option
def command(
    *,
    chosen: Sequence[str],
    rounds: int,
    seconds: float,
    model: str,
    plots: pathlib.Path | None,
    cache: pathlib.Path,
    json_file: pathlib.Path | None,
) -> None:
    """Measure whether the cost of a request stays flat while something grows.

    The queue from 10 to 100,000 rows, in the library; the models of a server from 1 to 100; the
    rows of a request from 1 to 10,000, where the cost is that of a row.
    """
    plan = Plan(rounds, seconds, cache, model)
    measures = {"queue": _of_queue, "models": _of_models, "rows": _of_rows}
    panels = [measures[what](plan) for what in WHAT if what in chosen]
    for panel in panels:
        _show(panel)
    if plots is not None:
        click.echo(f"{plot(panels, plots)} shows it.", err=True)
    if json_file is not None:
        settings = {"rounds": rounds, "seconds": seconds, "model": model}
        write_json(json_file, "growth", settings, {"panels": [each.plain() for each in panels]})


# ------------------------------------------------------------------------------------ the queue


def _of_queue(plan: Plan) -> Panel:
    """Each variant in a process of its own, in turns; the queue grows inside of it."""
    whole, parts = [], []
    with steps() as progress:
        bar = progress.add_task("", total=plan.rounds * len(queue.NAMES))
        for number in range(plan.rounds):
            for name in _turned(queue.NAMES, number):
                progress.update(bar, description=f"queue, {name}")
                for depth, cost in _in_process(name).items():
                    whole.append((name, depth, cost.submit + cost.answer))
                    if name != queue.REFUSED:
                        parts += [
                            (f"{name}: {part}", depth, each)
                            for part, each in cost._asdict().items()
                        ]
                progress.advance(bar)
    lines = lines_of(whole, queue.NAMES)
    accepted = [name for name in queue.NAMES if name != queue.REFUSED]
    return Panel(
        "queue",
        "A request, while others wait",
        "rows that wait",
        "µs of CPU a request",
        [line for line in lines if line.name != queue.COLLECTED],
        [
            *[line for line in lines if line.name == queue.COLLECTED],
            *lines_of(parts, [f"{n}: {part}" for n in accepted for part in queue.Cost._fields]),
        ],
    )


def _in_process(name: str) -> dict[int, queue.Cost]:
    """One round of one variant. ClickException."""
    command = [sys.executable, "-m", "bench.growth.queue", name, *map(str, DEPTHS)]
    try:
        ended = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=TIME_LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        msg = f"the queue, {name}, got stuck"
        raise click.ClickException(msg) from None
    if ended.returncode:
        msg = f"the queue, {name}, failed:\n{ended.stderr}"
        raise click.ClickException(msg)
    told = json.loads(ended.stdout)
    return {int(depth): queue.Cost(**cost) for depth, cost in told.items()}


# ----------------------------------------------------------------------------------- the servers


def _of_models(plan: Plan) -> Panel:
    """All servers at a time, one after the other under load."""
    path = cached(models.MODEL, plan.cache)
    names = list(models.ways(1))
    measured, batches = [], []
    with steps() as progress, models.servers(COUNTS, path) as servers:
        bar = progress.add_task("", total=(plan.rounds + 1) * len(COUNTS) * len(names))
        for number, name, count in _cells(plan.rounds, names, COUNTS):
            progress.update(bar, description=f"{count} models, {name}")
            spent = models.measure(servers[count], count, name, plan.seconds)
            if number:
                measured.append((name, count, spent.cpu))
                batches.append((f"{name}{IN_A_BATCH}", count, spent.batch))
            progress.advance(bar)
    return Panel(
        "models",
        f"A request, in a server of many models ({models.MODEL})",
        "models",
        "µs of CPU a request",
        lines_of(measured, names),
        lines_of(batches, [f"{name}{IN_A_BATCH}" for name in names]),
    )


def _of_rows(plan: Plan) -> Panel:
    """One server, all forms and sizes in turns."""
    measured = []
    with steps() as progress, rows.server(plan.model, plan.cache) as server:
        bar = progress.add_task("", total=(plan.rounds + 1) * len(ROWS) * len(rows.FORMS))
        for number, form, size in _cells(plan.rounds, list(rows.FORMS), ROWS):
            progress.update(bar, description=f"{size:,} rows of {plan.model}, {form}")
            spent = rows.measure(server, plan.model, form, size, plan.seconds)
            if number:
                measured.append((form, size, spent.cpu))
            progress.advance(bar)
    return Panel(
        "rows",
        f"A row, in requests of many rows ({plan.model})",
        "rows in a request",
        "µs of CPU a row",
        lines_of(measured, list(rows.FORMS)),
        [],
    )


def _cells(
    rounds: int, names: Sequence[str], sizes: Sequence[int]
) -> Iterator[tuple[int, str, int]]:
    """Every cell once a round; round 0 is to warm up, and does not count."""
    for number in range(rounds + 1):
        for name, size in itertools.product(_turned(names, number), _turned(sizes, number)):
            yield number, name, size


def _turned(things: Sequence[T], number: int) -> Sequence[T]:
    """All of them, another one first each time."""
    first = number % len(things)
    return [*things[first:], *things[:first]]


# ------------------------------------------------------------------------------------ the tables


def _show(panel: Panel) -> None:
    sizes = panel.sizes()
    columns = (panel.cost, *[f"{size:,}" for size in sizes], "last : first")
    groups = [[_row(line, sizes) for line in lines] for lines in (panel.lines, panel.beside)]
    show_table(f"{panel.title}: {panel.grows}", columns, groups, below=BELOW)


def _row(line: Line, sizes: Sequence[int]) -> list[str]:
    spreads = line.spreads()
    ratio = spreads[sizes[-1]].median / spreads[sizes[0]].median
    return [line.name, *[f"{spreads[size]:.1f}" for size in sizes], f"{ratio:.2f}"]
