"""What `load` shows: a table of what came, what failed and how, and the batches. Main thread.

In a terminal with colours and lines; for a file or a pipe without them, and never folded.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from server.cli.console import UNFOLDED, plain_console
from server.config import ConfigError
from server.load import Clients, Result, Stretch
from server.load.batches import Batches, read_timings
from server.load.result import GOOD, PERCENTILES, SHED

STANDARD_OUTPUT: Final = "-"

_CLOSED: Final = """\
A closed loop: clients wait while the server stalls, so percentiles tell little of it. --rate does.\
"""


class Shown(NamedTuple):
    """What was asked where, and what came."""

    url: str
    protocol: str
    body_bytes: int
    rows: int
    seen: tuple[tuple[Stretch, Batches | None], ...]


def show(shown: Shown, json_file: Path | None) -> None:
    """Write it to standard output, and as JSON where it is wanted. ConfigError."""
    told = json.dumps(_plain(shown), indent=2, ensure_ascii=False) + "\n"
    if json_file is not None and str(json_file) == STANDARD_OUTPUT:
        sys.stdout.write(told)
        return
    _show(plain_console(), shown)
    if json_file is not None:
        try:
            json_file.write_text(told)
        except OSError as error:
            msg = f"--json {json_file}: {error.strerror}"
            raise ConfigError(msg) from None


def _plain(shown: Shown) -> dict[str, Any]:
    stretches = [
        {
            **stretch.result.plain(),
            "too_much": stretch.too_much,
            "batches": batches.plain() if batches else None,
        }
        for stretch, batches in shown.seen
    ]
    return {**shown._asdict(), "seen": stretches}


def _show(console: Console, shown: Shown) -> None:
    rows = "1 row" if shown.rows == 1 else f"{shown.rows:,} rows"
    about = f"{shown.protocol}, {rows} in {shown.body_bytes:,} bytes a request"
    console.print(Text.assemble((shown.url, "bold"), f"  {about}"), soft_wrap=True)
    table = _table(console, shown.seen)
    # A narrow terminal folds lines by itself; rich would cut the numbers off.
    unbounded = console.options.update(max_width=UNFOLDED)
    console.width = max(console.width, Measurement.get(console, unbounded, table).maximum)
    console.print(table)
    for stretch, batches in shown.seen:
        several = len(shown.seen) > 1
        for line in _notes(stretch, batches):
            name = f"{_offered(stretch.result)}: " if several else ""
            console.print(Text(name).append_text(line), soft_wrap=True)
    if any(isinstance(stretch.result.plan, Clients) for stretch, _ in shown.seen):
        console.print(Text(_CLOSED, "dim"), soft_wrap=True)


def _table(console: Console, seen: Iterable[tuple[Stretch, Batches | None]]) -> Table:
    table = Table(box=SIMPLE_HEAD if console.is_terminal else None, show_edge=False)
    titles = ("offered", "answered/s", *(f"p{p:g} ms" for p in PERCENTILES), "max ms")
    for title in (*titles, "shed", "failed", "rows a batch"):
        table.add_column(title, justify="right", no_wrap=True)
    for stretch, batches in seen:
        result = stretch.result
        times = [_time(result, percent) for percent in PERCENTILES]
        failed = result.failed - result.shed
        table.add_row(
            _offered(result),
            _rate(result.achieved),
            *times,
            f"{result.longest * 1e3:,.2f}" if len(result.waits) else "-",
            Text(f"{result.shed:,}", "yellow" if result.shed else ""),
            Text(f"{failed:,}", "red" if failed else ""),
            f"{batches.rows / batches.batches:,.1f}" if batches and batches.batches else "-",
        )
    return table


def _notes(stretch: Stretch, batches: Batches | None) -> Iterator[Text]:
    """Lines below the table about a row of it."""
    result = stretch.result
    if stretch.too_much:
        yield Text(f"too much: {stretch.too_much}", "yellow")
    for status, count in sorted(result.statuses.items()):
        if status != GOOD:
            told = " ".join(result.examples.get(status, b"").decode(errors="replace").split())
            style = "yellow" if status in SHED else "red"
            yield Text.assemble((f"{status}", style), f": {count:,} times, the first: {told}")
    for why, count in result.failures.most_common():
        yield Text.assemble(("no answer", "red"), f": {count:,} times, {why}")
    if result.interrupted:
        unended = f"{result.unended:,} requests were under way, and do not count"
        yield Text(f"interrupted after {result.plan.seconds:.1f} s: {unended}", "yellow")
    if result.limit:
        yield Text(f"this may be the limit of the generator: {result.limit}", "yellow")
    timing = read_timings(result.timings)
    if batches and batches.batches:
        yield Text(_in_words(batches))
    elif timing:
        yield Text(f"by the answers: queued {timing.queue:.2f} ms, run {timing.run:.2f} ms (p50)")


def _in_words(batches: Batches) -> str:
    told = batches.plain()
    sizes = ", ".join(
        f"{bound}: {count:,.0f}".replace("inf", "more")
        for bound, count in told["sizes_up_to"].items()
    )
    padding = f", {batches.padding:,.0f} rows of padding" if batches.padding else ""
    return (
        f"{batches.batches:,.0f} batches with the warm-up, of {told['mean_rows']:.1f} rows,"
        f" run {told['mean_run_ms']:.2f} ms, queued {told['mean_queue_ms']:.2f} ms on average"
        f"{padding}; by size up to {sizes}"
    )


def _offered(result: Result) -> str:
    plan = result.plan
    return f"{plan.clients:,} clients" if isinstance(plan, Clients) else f"{plan.rate:,.6g}/s"


def _time(result: Result, percent: float) -> str:
    return f"{result.percentile(percent) * 1e3:,.2f}" if result.resolves(percent) else "-"


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"  # noqa: PLR2004 - three digits
