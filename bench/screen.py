"""What benchmarks show: coloured tables and progress on a terminal, plain text in a pipe."""

import sys
from collections.abc import Iterable, Sequence
from typing import Final

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

PIPE_WIDTH: Final = 200
"""Columns of text in a pipe: enough that no table is folded."""


def screen() -> Console:
    """Where results go: standard output."""
    return Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False)


def steps(*, live: bool = True) -> Progress:
    """A bar of so many steps, on standard error; silent unless that is a terminal.

    Unless it is `live` it is drawn by `refresh` only: no thread of its own gets in the way.
    """
    console = Console(stderr=True)
    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
        console=console,
        disable=not console.is_terminal,
        transient=True,
        auto_refresh=live,
    )


def stopwatch() -> Progress:
    """A bar of time, with a word on how it goes."""
    console = Console(stderr=True)
    return Progress(
        BarColumn(),
        TextColumn("{task.completed:.1f} of {task.total:.1f} s"),
        TextColumn("{task.description}"),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )


def show_table(
    title: str,
    columns: Sequence[str],
    groups: Iterable[Iterable[Sequence[str]]],
    *,
    below: str = "",
) -> None:
    """Print rows in groups: a column of text, then figures. Markdown in a pipe."""
    console = screen()
    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else box.MARKDOWN)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    for rows in groups:
        for row in rows:
            table.add_row(*row)
        if console.is_terminal:
            table.add_section()
    console.print(f"[bold]{title}[/bold]")
    console.print(table)
    if below:
        console.print(below, markup=False)
