"""The ceiling: our server beside an echo that only reads and answers, under the same load.

What separates the two is all that the server does: decoding, batching, the model, encoding.
"""

import contextlib
import http.client
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

import click

from bench.models import cached
from bench.options import cache_option, json_option
from bench.record import write_json
from bench.screen import show_table, steps
from bench.servers import Server, running
from bench.spread import Spread
from bench.wrk import Figures, run_wrk

PATH: Final = "/v1/models/tiny:predict"
BODY: Final = b'{"instances": [[3.0]]}'
ANSWER: Final = {"predictions": [[3.5]]}

COLUMNS: Final = ("round", "server", "requests/s", "p50 ms", "p99 ms", "CPU µs per request")

WARMUP: Final = 1
"""Seconds of load before the first round; they do not count."""


class Stretch(NamedTuple):
    """One stretch of load on one server; `cpu` is microseconds a request, all its processes."""

    server: str
    connections: int
    figures: Figures
    cpu: float


@click.command(
    epilog="""\b
Examples:
  python -m bench echo
  python -m bench echo --rounds 9 --connections 256 --json echo.json"""
)
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option("--seconds", type=click.IntRange(1, 60), default=3, show_default=True)
@click.option("--connections", type=click.IntRange(1, 4096), default=64, show_default=True)
@cache_option
@json_option
def command(
    *,
    rounds: int,
    seconds: int,
    connections: int,
    cache: pathlib.Path,
    json_file: pathlib.Path | None,
) -> None:
    """Compare the server, with a model that costs nothing, to a bare echo of aiohttp on uvloop.

    wrk loads them in turns, round by round; then each once more with one lone client. Both servers
    and wrk share this machine's CPUs.
    """
    with _both(cache) as servers:
        busy = _measure(servers, rounds, connections, seconds)
        lone = _measure(servers, 1, 1, seconds)
    show_table(f"{connections} clients", COLUMNS, [_rows(busy)], below=_told(busy))
    show_table("One lone client", COLUMNS, [_rows(lone)])
    if json_file is not None:
        settings = {"rounds": rounds, "seconds": seconds, "connections": connections}
        write_json(json_file, "echo", settings, {"busy": _plain(busy), "lone": _plain(lone)})
    if failed := sum(stretch.figures.failed for stretch in busy + lone):
        msg = f"{failed:,} requests failed"
        raise click.ClickException(msg)


@contextlib.contextmanager
def _both(cache: pathlib.Path) -> Iterator[Sequence[Server]]:
    """The echo and our server; the echo answers what our server does."""
    model = cached("tiny", cache)
    arguments = ["server", "--model", f"tiny={model}", "--port", "0", "--log-level", "warning"]
    with running("ours", arguments) as ours:
        status, answer = ours.ask("POST", PATH, BODY)
        if status != http.client.OK or json.loads(answer) != ANSWER:
            msg = f"our server answered {status}: {answer.decode(errors='replace')}"
            raise click.ClickException(msg)
        with running("echo", ["bench.echo_server", answer.decode()]) as echo:
            yield echo, ours


def _measure(
    servers: Sequence[Server], rounds: int, connections: int, seconds: int
) -> list[Stretch]:
    """Load the servers in turns."""
    stretches = []
    with steps() as progress:
        bar = progress.add_task("", total=rounds * len(servers))
        for server in servers:
            run_wrk(server.url(PATH), BODY, connections=connections, seconds=WARMUP)
        for number in range(rounds):
            for server in servers if number % 2 == 0 else reversed(servers):
                progress.update(bar, description=f"{server.name}, {connections} clients")
                stretches.append(_load(server, connections, seconds))
                progress.advance(bar)
    return stretches


def _load(server: Server, connections: int, seconds: int) -> Stretch:
    before = server.cpu()
    figures = run_wrk(server.url(PATH), BODY, connections=connections, seconds=seconds)
    if not figures.requests:
        msg = f"{server.name} answered nothing in {seconds} s"
        raise click.ClickException(msg)
    cpu = (server.cpu() - before) / figures.requests * 1e6
    return Stretch(server.name, connections, figures, cpu)


def _rows(stretches: Sequence[Stretch]) -> Iterator[list[str]]:
    for number, (name, _, figures, cpu) in enumerate(stretches):
        yield [
            str(number // 2 + 1),
            name,
            f"{figures.rate:,.0f}",
            f"{figures.p50:.2f}",
            f"{figures.p99:.2f}",
            f"{cpu:.1f}",
        ]


def _told(stretches: Sequence[Stretch]) -> str:
    """The medians, and what part of the echo's rate is left."""
    lines = []
    rates = {}
    for name in ("echo", "ours"):
        mine = [stretch for stretch in stretches if stretch.server == name]
        rates[name] = Spread.of(stretch.figures.rate for stretch in mine)
        p50 = Spread.of(stretch.figures.p50 for stretch in mine)
        p99 = Spread.of(stretch.figures.p99 for stretch in mine)
        cpu = Spread.of(stretch.cpu for stretch in mine)
        lines.append(
            f"{name}: {rates[name]:,.0f} requests/s, p50 {p50:.2f} ms, p99 {p99:.2f} ms,"
            f" CPU {cpu:.1f} µs a request"
        )
    ratio = rates["ours"].median / rates["echo"].median
    lines.append(f"Ours reaches {ratio:.0%} of the echo's rate. Medians (lowest..highest).")
    return "\n".join(lines)


def _plain(stretches: Sequence[Stretch]) -> list[dict[str, Any]]:
    return [
        {"server": stretch.server, **stretch.figures._asdict(), "cpu_us": stretch.cpu}
        for stretch in stretches
    ]
