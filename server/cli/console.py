"""How commands write: with colours on a terminal, plain and unfolded in a pipe. Main thread.

`NO_COLOR` is honoured: rich heeds it by itself.
"""

import os
import sys
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from rich.console import Console

PROGRAM: Final = "batcher-server"

HELP: Final = {"help_option_names": ["-h", "--help"]}
"""What all commands have in common."""

EXAMPLES: Final = "\b\nExamples:"
"""How the epilog of each command begins: what follows keeps its lines."""

UNFOLDED: Final = 10_000
"""Columns of what is not a terminal."""


def plain_console() -> "Console":
    """Standard output, for text that is shown as it is."""
    from rich.console import Console  # noqa: PLC0415 - errors and completion need none of it

    console = Console(highlight=False, emoji=False, markup=False)
    if console.is_terminal:
        return console
    return Console(highlight=False, emoji=False, markup=False, width=UNFOLDED)


def complain(message: str) -> None:
    """Write a line to standard error, whose beginning is red on a terminal."""
    coloured = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    name = click.style(f"{PROGRAM}:", fg="red", bold=True) if coloured else f"{PROGRAM}:"
    click.echo(f"{name} {message}", err=True)
