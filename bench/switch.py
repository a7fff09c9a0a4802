"""New versions of a model while clients ask it: errors, wrong answers, memory, and the latency."""

import asyncio
import contextlib
import pathlib
import re
import signal
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any, Final

import click
import uvloop

from bench.models import BALLASTS
from bench.options import cache_option, json_option
from bench.record import write_json
from bench.screen import screen, show_table
from bench.servers import Server, running
from bench.switching import FIRST, MODEL, Seen, Settings, Stage, Switching
from bench.tally import Tally
from bench.versions import Versions
from server.tokens import make_token

TARGET: Final = 2.0
"""How many times the p99 of steady state that of the first answers may be."""

MOST_GROWTH: Final = 0.05
"""Megabytes a switch that are taken for no growth: a version that has gone keeps its metrics."""

COLUMNS: Final = ("answers", "count", "p50 ms", "p99 ms", "max ms", "p99 beside steady")

BELOW: Final = f"""\
Closed loop; clients and server share this machine's CPUs. Steady: later than 1 s after a switch,
and neither copying nor loading. A window is {FIRST:,} answers in a row, each with its own p99.\
"""

FAILED_LOADS: Final = re.compile(rb'batcher_model_loads_total\{.*outcome="failed".*\} (\d+)')


@click.command(
    epilog="""\b
Examples:
  python -m bench switch
  python -m bench switch --switches 20 --how request --in-place"""
)
@click.option("--switches", type=click.IntRange(1, 10_000), default=100, show_default=True)
@click.option("--clients", type=click.IntRange(1, 1024), default=64, show_default=True)
@click.option(
    "--model-mb",
    type=click.Choice([str(size) for size in BALLASTS]),
    default="16",
    show_default=True,
    help="Megabytes of variables in each version.",
)
@click.option(
    "--how",
    type=click.Choice(["poll", "request"]),
    default="poll",
    show_default=True,
    help="Whether the server finds new versions or an administrator asks for each.",
)
@click.option(
    "--in-place", is_flag=True, help="Replace the files of version 1; needs --how request."
)
@click.option(
    "--copy-seconds",
    type=click.FloatRange(0, 60),
    default=2.0,
    show_default=True,
    help="How long a version takes to be copied, file by file, to where it is looked for.",
)
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="OPTION",
    help="One more word for the server's command line; repeatable.",
)
@cache_option
@json_option
def command(
    *,
    switches: int,
    clients: int,
    model_mb: str,
    how: str,
    in_place: bool,
    copy_seconds: float,
    options: tuple[str, ...],
    cache: pathlib.Path,
    json_file: pathlib.Path | None,
) -> None:
    """Bring version after version to a server under load.

    Each version adds another number to what it is asked, and says which version it is: so every
    answer shows whether it is right. Exit status 1 if a request failed, an answer was wrong, or
    came from an older version than one that had answered before it was sent. Ctrl-C shows what was
    seen so far.
    """
    if in_place and how != "request":
        msg = "--in-place needs --how request: what is there already is not looked for again"
        raise click.UsageError(msg)
    with tempfile.TemporaryDirectory() as folder:
        versions = Versions(pathlib.Path(folder, "models"), int(model_mb), cache)
        asyncio.run(versions.bring(1, versions.folder(1), 0))
        arguments = ["server", "--model", f"{MODEL}={versions.base}", "--port", "0", *options]
        token, more = (
            _administration(pathlib.Path(folder, "tokens")) if how == "request" else ("", [])
        )
        settings = Settings(switches, clients, copy_seconds, token, in_place)
        with running("ours", [*arguments, *more]) as server:
            switching = Switching(server, versions, settings)
            uvloop.run(_measure(switching))
            failed_loads = _failed_loads(server)
    seen = switching.seen
    _show(settings, seen, failed_loads)
    if json_file is not None:
        told = {"how": how, "model_mb": int(model_mb), "options": options}
        told |= {k: v for k, v in settings._asdict().items() if k != "token"}
        write_json(json_file, "switch", told, _plain(seen, failed_loads))
    if _failed(seen) or seen.wrongs or seen.backwards:
        sys.exit(1)
    if switching.interrupted:
        sys.exit(128 + signal.SIGINT)


def _administration(file: pathlib.Path) -> tuple[str, list[str]]:
    """An administrator's token, and what to tell a server that lets only them change models."""
    token, kept = make_token("bench")
    file.write_text(f"{kept}\n")
    return token, ["--admin", "--admin-tokens", str(file), "--poll-interval", "never"]


async def _measure(switching: Switching) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, switching.interrupt)
    await switching.run()


def _failed_loads(server: Server) -> int:
    """How often the server could not load what it found, such as half a folder."""
    with contextlib.suppress(OSError):
        return sum(map(int, FAILED_LOADS.findall(server.ask("GET", "/metrics")[1])))
    return -1


def _show(settings: Settings, seen: Seen, failed_loads: int) -> None:
    title = f"{len(seen.waits)} switches beside {settings.clients} clients"
    show_table(title, COLUMNS, [_rows(seen)], below=BELOW)
    console = screen()
    for line in _told(seen, failed_loads):
        console.print(line, markup=False, soft_wrap=True)


def _rows(seen: Seen) -> Iterator[list[str]]:
    steady = seen.tallies[Stage.STEADY]
    for name, tally in (
        ("steady", steady),
        ("while copied", seen.tallies[Stage.COPYING]),
        ("while loaded", seen.tallies[Stage.LOADING]),
        (f"first {FIRST:,} of each version", seen.firsts),
    ):
        found = tally.latencies()
        if found:
            beside = _ratio(found["p99"], steady.latencies().get("p99", 0.0))
            figures = [f"{found[each]:.2f}" for each in ("p50", "p99", "max")]
            yield [name, f"{tally.good:,}", *figures, f"{beside:.2f}"]


def _told(seen: Seen, failed_loads: int) -> Iterator[str]:
    yield f"answers    {sum(tally.good for tally in seen.tallies.values()):,} good"
    yield f"errors     {_failed(seen):,} {_failures(seen) or ''}"
    yield f"wrong      {seen.wrongs:,} {'; '.join(seen.wrong)}"
    yield f"backwards  {seen.backwards:,}"
    yield f"loads      {failed_loads} failed"
    if waits := seen.waits:
        middle = statistics.median(waits)
        yield f"wait       {middle:.2f} s from last file to first answer, at most {max(waits):.2f}"
    for name, windows in seen.windows.items():
        if p99s := windows.p99s:
            middle, most = statistics.median(p99s), max(p99s)
            yield f"windows    {name}: p99 {middle:.2f} ms, at most {most:.2f}, of {len(p99s):,}"
    if memory := seen.memory:
        middle = statistics.median(memory)
        yield (
            f"memory     {memory[0]:,.1f} MB at first, {middle:,.1f} in the middle,"
            f" {memory[-1]:,.1f} at last; {_growth(memory):+.3f} MB a switch in the last half"
        )
    yield _verdict(seen)


def _verdict(seen: Seen) -> str:
    first, steady = seen.firsts.latencies(), seen.tallies[Stage.STEADY].latencies()
    ratio, growth = _ratio(first.get("p99", 0.0), steady.get("p99", 0.0)), _growth(seen.memory)
    held = {
        f"errors {_failed(seen)}": not _failed(seen),
        f"wrong {seen.wrongs}": not seen.wrongs,
        f"backwards {seen.backwards}": not seen.backwards,
        f"memory {growth:+.3f} MB a switch (at most {MOST_GROWTH:g})": growth <= MOST_GROWTH,
        f"p99 {ratio:.2f} times that of steady state (at most {TARGET:g})": ratio <= TARGET,
    }
    return "verdict    " + ", ".join(
        f"{what}: {'yes' if good else 'NO'}" for what, good in held.items()
    )


def _failed(seen: Seen) -> int:
    return sum(tally.failed for tally in seen.tallies.values())


def _failures(seen: Seen) -> str:
    """What failed how often, and what the first of them were told."""
    lines = []
    for stage, tally in seen.tallies.items():
        kinds: dict[Any, int] = {**tally.statuses, **tally.failures}
        kinds.pop(200, None)
        if kinds:
            told = ", ".join(f"{kind}: {count:,}" for kind, count in kinds.items())
            lines.append(f"({stage.value}: {told} {tally.first_error_body})")
    return " ".join(lines)


def _growth(memory: Sequence[float]) -> float:
    """Megabytes a switch, by least squares over the last half."""
    last = memory[len(memory) // 2 :]
    return statistics.linear_regression(range(len(last)), last).slope if len(last) > 1 else 0.0


def _ratio(one: float, other: float) -> float:
    return one / other if other else 0.0


def _plain(seen: Seen, failed_loads: int) -> dict[str, Any]:
    tallies: dict[str, Tally] = {stage.value: tally for stage, tally in seen.tallies.items()}
    return {
        "answers": {
            name: tally.plain() for name, tally in (tallies | {"first": seen.firsts}).items()
        },
        "window_p99_ms": {name: windows.p99s for name, windows in seen.windows.items()},
        "wrong": seen.wrongs,
        "first_wrong": seen.wrong,
        "backwards": seen.backwards,
        "failed_loads": failed_loads,
        "wait_seconds": seen.waits,
        "memory_mb": seen.memory,
        "memory_mb_a_switch": _growth(seen.memory),
    }
