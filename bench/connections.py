"""Ten thousand connections held open: what they cost, and what is left of the throughput."""

import contextlib
import pathlib
import resource
import sys
import time
from collections.abc import Iterator
from typing import Final

import click

from bench.crowds import FEW, Crowd, Memory, Outcome, Plan, Stretch, failed, plain, show
from bench.echo import BODY, PATH, WARMUP
from bench.held import Held
from bench.kernel import allow_connections, counters
from bench.models import cached
from bench.options import cache_option, json_option
from bench.record import write_json
from bench.screen import steps
from bench.servers import Server, running
from bench.target import Target
from bench.wrk import run_wrk

SETTLE: Final = 1.0
"""Seconds for the server to note that connections have come or gone."""


@click.command(
    epilog="""\b
Examples:
  python -m bench connections
  python -m bench connections --connections 4000 --active 500 --burst 2000 --rounds 9"""
)
@click.option("--connections", type=click.IntRange(100, 25_000), default=10_000, show_default=True)
@click.option("--active", type=click.IntRange(1, 20_000), default=2_000, show_default=True)
@click.option(
    "--burst",
    type=click.IntRange(1, 20_000),
    default=1_000,
    show_default=True,
    help="Connections that are opened at once, before any of them is waited for.",
)
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option("--seconds", type=click.IntRange(1, 60), default=3, show_default=True)
@cache_option
@json_option
def command(
    *,
    connections: int,
    active: int,
    burst: int,
    rounds: int,
    seconds: int,
    cache: pathlib.Path,
    json_file: pathlib.Path | None,
) -> None:
    """Hold many keep-alive connections open, and load the server through some of them.

    wrk is the active part, for it disturbs least; the others are held by this program, which sleeps
    meanwhile, and are asked after each stretch whether they are still alive. Three loads take
    turns: 64 clients and nobody else, 64 beside all others, and many of them active. Exit status 1
    if a request failed, a connection was lost, or the kernel had to repeat a SYN: it counts what
    all programs do, so run nothing else, or `unshare --net` this.
    """
    if active >= connections:
        msg = f"--active {active} must be less than --connections {connections}"
        raise click.UsageError(msg)
    allow_connections(connections)
    plan = Plan(connections, active, burst, rounds, seconds)
    with _server(cache) as server:
        outcome = _measure(server, plan)
    show(outcome, plan)
    if json_file is not None:
        write_json(json_file, "connections", plan._asdict(), plain(outcome))
    if failed(outcome):
        sys.exit(1)


@contextlib.contextmanager
def _server(cache: pathlib.Path) -> Iterator[Server]:
    model = cached("tiny", cache)
    arguments = ["server", "--model", f"tiny={model}", "--port", "0", "--log-level", "warning"]
    with running("ours", arguments) as server:
        yield server


def _measure(server: Server, plan: Plan) -> Outcome:
    """Memory first, on a server that has seen few connections; then the loads in turns."""
    target, crowds = Target.of(server.url(PATH)), plan.crowds()
    run_wrk(server.url(PATH), BODY, connections=FEW, seconds=WARMUP)
    before, began = server.memory(), counters()
    stretches = []
    with steps() as progress, Held(target, target.post(BODY), plan.burst) as held:
        bar = progress.add_task("opening", total=plan.rounds * len(crowds))
        connects = held.resize(plan.connections)
        time.sleep(SETTLE)
        most = server.memory()
        for number in range(plan.rounds):
            for crowd in crowds if number % 2 == 0 else reversed(crowds):
                told = f"{crowd.active:,} active, {crowd.idle:,} held"
                progress.update(bar, description=told)
                connects += held.resize(crowd.idle)
                time.sleep(SETTLE)
                stretches.append(_load(server, held, crowd, plan.seconds))
                progress.advance(bar)
    time.sleep(SETTLE)
    ended, memory = counters(), Memory(before, most, server.memory())
    troubles = {what: count - began[what] for what, count in ended.items()}
    return Outcome(memory, stretches, connects, troubles)


def _load(server: Server, held: Held, crowd: Crowd, seconds: int) -> Stretch:
    cpu, wrk = server.cpu(), _children()
    figures = run_wrk(server.url(PATH), BODY, connections=crowd.active, seconds=seconds)
    cpu, wrk = server.cpu() - cpu, _children() - wrk
    if not figures.requests:
        msg = f"the server answered nothing in {seconds} s, {server.said()}"
        raise click.ClickException(msg)
    return Stretch(crowd, figures, cpu / figures.requests * 1e6, wrk / seconds, held.ask())


def _children() -> float:
    """Seconds of CPU of the programs that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
