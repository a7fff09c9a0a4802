"""What `convert` shows a reader: size, speed and answers of both models. Main thread.

In a terminal with lines around the tables; for a file or a pipe without them.
"""

import math
from collections.abc import Iterable
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from server.cli.console import plain_console
from server.conversion import Converted
from server.conversion.comparison import Comparison, Difference
from server.conversion.quantizations import NONE


def show(converted: Converted, target: Path) -> None:
    """Write all of it to standard output."""
    console = plain_console()
    how = "" if converted.quantization == NONE else f", {converted.quantization}"
    console.print(f"{converted.source} -> {target}{how}", soft_wrap=True)
    before, after = converted.original_bytes, len(converted.content)
    table = _table(console, "", "original", "converted", "ratio")
    table.add_row("bytes of all files", f"{before:,}", f"{after:,}", f"{after / before:.2f}")
    several = len(converted.comparisons) > 1
    for each in converted.comparisons:
        of = f" of {each.signature}" if several else ""
        for speed in each.speeds:
            table.add_row(
                f"rows/s{of}, {speed.size} at a time",
                f"{speed.original:,.0f}",
                f"{speed.converted:,.0f}",
                f"{speed.converted / speed.original:.2f}",
            )
        for difference in each.differences:
            if difference.accuracy is not None:
                right, still_right = difference.accuracy
                table.add_row(
                    f"accuracy{of}, {difference.output}",
                    f"{right:.2%}",
                    f"{still_right:.2%}",
                    f"{still_right - right:+.2%}",
                )
    console.print(table)
    for each in converted.comparisons:
        _show_differences(console, each, several=several)
    for name in converted.not_compared:
        console.print(f"signature {name!r} was not compared: it needs rows from --rows")


def _show_differences(console: Console, comparison: Comparison, *, several: bool) -> None:
    of = f"signature {comparison.signature!r}, " if several else ""
    kind = "made-up rows: give --rows for real ones" if comparison.made_up else "rows"
    console.print(f"answers apart: {of}{comparison.rows} {kind}", soft_wrap=True)
    table = _table(console, "output", "maximum", "mean", "largest answer")
    for each in comparison.differences:
        table.add_row(each.output, *_told(each))
    console.print(table)


def _told(difference: Difference) -> Iterable[str]:
    if math.isinf(difference.maximum):
        return "other shapes", "", ""
    return [f"{n:.3g}" for n in (difference.maximum, difference.mean, difference.largest)]


def _table(console: Console, *titles: str) -> Table:
    table = Table(box=SIMPLE_HEAD if console.is_terminal else None, show_edge=False)
    for place, title in enumerate(titles):
        table.add_column(title, justify="right" if place else "left", no_wrap=True)
    return table
