"""A fast model and a slow one in one server: what is left of the fast one beside the slow one."""

import contextlib
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple

import click

from bench.models import cached
from bench.options import cache_option, json_option
from bench.record import write_json
from bench.screen import show_table, steps
from bench.servers import Server, running
from bench.spread import Spread
from bench.wrk import Figures, run_wrk

FAST, SLOW = "tiny", "slow"

BODY: Final = b'{"instances": [[3.0]]}'

SERVERS: Final[Mapping[str, str]] = {"fair": "server", "in order": "bench.in_order_server"}
"""How turns are granted -> the module to run."""

COLUMNS: Final = ("turns", "model", "beside", "requests/s", "p50 ms", "p99 ms")

WARMUP: Final = 2
"""Seconds of load before the first round; they do not count."""

BELOW: Final = """\
Medians (lowest..highest round). Both models of a server run on its one model thread. Clients and
servers share this machine's CPUs: beside the slow model the fast one has less of them, too.\
"""


class Stretch(NamedTuple):
    """What became of one model's requests in a stretch of load."""

    turns: str
    model: str
    beside: str
    figures: Figures


@click.command(
    epilog="""\b
Examples:
  python -m bench fairness
  python -m bench fairness --rounds 5 --clients 512 --max-batch-size 64"""
)
@click.option("--rounds", type=click.IntRange(1, 100), default=3, show_default=True)
@click.option("--seconds", type=click.IntRange(1, 60), default=5, show_default=True)
@click.option(
    "--clients",
    type=click.IntRange(1, 4096),
    default=256,
    show_default=True,
    help="Of each model. No more than fit into a batch leave the model without work after each.",
)
@click.option("--max-batch-size", type=click.IntRange(1), default=32, show_default=True)
@cache_option
@json_option
def command(
    *,
    rounds: int,
    seconds: int,
    clients: int,
    max_batch_size: int,
    cache: pathlib.Path,
    json_file: pathlib.Path | None,
) -> None:
    """Load a model of 1 ms a batch alone, and beside one of about 50 ms a batch.

    Once with turns that are fair by time, as the server grants them; once with turns in the order
    in which they are asked for, one batch each.
    """
    with _servers(cache, max_batch_size) as servers:
        stretches = _measure(servers, rounds, clients, seconds)
    show_table(f"{clients} clients of each model", COLUMNS, _groups(stretches), below=BELOW)
    if json_file is not None:
        settings = {
            "rounds": rounds,
            "seconds": seconds,
            "clients": clients,
            "max_batch_size": max_batch_size,
        }
        write_json(json_file, "fairness", settings, {"stretches": _plain(stretches)})
    if failed := sum(stretch.figures.failed for stretch in stretches):
        msg = f"{failed:,} requests failed"
        raise click.ClickException(msg)


@contextlib.contextmanager
def _servers(cache: pathlib.Path, max_batch_size: int) -> Iterator[Sequence[Server]]:
    """Two servers with both models, one for each way to grant turns."""
    arguments = ["--port", "0", "--log-level", "warning", "--max-batch-size", str(max_batch_size)]
    for name in (FAST, SLOW):
        arguments += ["--model", f"{name}={cached(name, cache)}"]
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(running(turns, [module, *arguments]))
            for turns, module in SERVERS.items()
        ]


def _measure(servers: Sequence[Server], rounds: int, clients: int, seconds: int) -> list[Stretch]:
    """Load the servers in turns: the fast model alone, then both."""
    stretches = []
    with steps() as progress:
        bar = progress.add_task("", total=rounds * len(servers) * 2)
        for server in servers:
            _load(server, [FAST, SLOW], clients, WARMUP)
        for number in range(rounds):
            for server in servers if number % 2 == 0 else reversed(servers):
                for models in ([FAST], [FAST, SLOW]):
                    progress.update(bar, description=f"{server.name}: {' and '.join(models)}")
                    stretches += _load(server, models, clients, seconds)
                    progress.advance(bar)
    return stretches


def _load(server: Server, models: Sequence[str], clients: int, seconds: int) -> list[Stretch]:
    """Load models of a server at the same time."""

    def load(model: str) -> Stretch:
        url = server.url(f"/v1/models/{model}:predict")
        figures = run_wrk(url, BODY, connections=clients, seconds=seconds)
        others = " ".join(other for other in models if other != model)
        return Stretch(server.name, model, others, figures)

    with ThreadPoolExecutor(len(models)) as threads:
        return list(threads.map(load, models))


def _groups(stretches: Sequence[Stretch]) -> Iterator[list[list[str]]]:
    """The medians, for each model alone and beside the other."""
    for model, beside in ((FAST, ""), (FAST, SLOW), (SLOW, FAST)):
        rows = []
        for turns in SERVERS:
            told = [s.figures for s in stretches if s[:3] == (turns, model, beside)]
            rate = Spread.of(figures.rate for figures in told)
            p50 = Spread.of(figures.p50 for figures in told)
            p99 = Spread.of(figures.p99 for figures in told)
            row = [turns, model, beside or "-", f"{rate:,.0f}", f"{p50:.1f}", f"{p99:.1f}"]
            rows.append(row)
        yield rows


def _plain(stretches: Sequence[Stretch]) -> list[dict[str, Any]]:
    return [
        {"turns": s.turns, "model": s.model, "beside": s.beside, **s.figures._asdict()}
        for s in stretches
    ]
