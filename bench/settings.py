"""What settings of the server bring: the server as it comes beside itself with others, in turns."""

import contextlib
import pathlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import click

from bench.compare.forms import PLAIN, Form
from bench.compare.rows import row_of
from bench.models import cached
from bench.options import cache_option, json_option
from bench.record import write_json
from bench.screen import show_table, steps
from bench.servers import Server, running
from bench.spread import Spread
from bench.wrk import Figures, run_wrk

COLUMNS: Final = (
    *("settings", "requests/s", "of the first", "p50, ms", "p99, ms"),
    *("rows a batch", "CPU s per 1,000"),
)

WARMUP: Final = 1


class Turn(NamedTuple):
    """What one server did in one round; times in milliseconds, CPU in seconds."""

    rate: float
    p50: float
    p99: float
    size: float
    cpu: float


@click.command(
    epilog="""\b
Examples:
  python -m bench settings -- --no-regroup --no-prefetch
  python -m bench settings --model mlp --form raw --clients 256 -- --no-prefetch
  python -m bench settings -- "--batch-timeout-ms 2 --no-regroup" "--max-batch-size 128\""""
)
@click.option(
    "--model", type=click.Choice(["tiny", "mlp", "mobilenet"]), default="tiny", show_default=True
)
@click.option("--form", type=click.Choice(list(PLAIN)), default="json", show_default=True)
@click.option("--clients", type=click.IntRange(1, 4096), default=64, show_default=True)
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option("--seconds", type=click.IntRange(1, 60), default=2, show_default=True)
@cache_option
@json_option
@click.argument("settings", nargs=-1)
def command(
    *,
    model: str,
    form: str,
    clients: int,
    rounds: int,
    seconds: int,
    cache: pathlib.Path,
    json_file: pathlib.Path | None,
    settings: Sequence[str],
) -> None:
    """Measure the server with SETTINGS, options of batcher-server, beside the server as it comes.

    Each argument is one server; quote several options of one. All but the one that is measured are
    frozen meanwhile.
    """
    names = ["as it comes", *settings]
    path = f"/v1/models/{model}:predict"
    turns: dict[str, list[Turn]] = {name: [] for name in names}
    with steps() as progress, contextlib.ExitStack() as stack:
        bar = progress.add_task(f"{model} {form}, {clients} clients", total=rounds * len(names))
        servers = [stack.enter_context(_frozen(model, cache, more)) for more in ("", *settings)]
        each = list(zip(names, servers, strict=True))
        for number in range(rounds):
            # Who begins changes from round to round.
            begins = number % len(each)
            for name, server in each[begins:] + each[:begins]:
                with server.thawed():
                    turns[name].append(measure(server, PLAIN[form](path), model, clients, seconds))
                progress.advance(bar)
    show(f"{model} {form}, {clients} clients", turns)
    if json_file is not None:
        asked: dict[str, Any] = {"model": model, "form": form, "clients": clients}
        asked |= {"rounds": rounds, "seconds": seconds}
        told = {name: [turn._asdict() for turn in of] for name, of in turns.items()}
        write_json(json_file, "settings", asked, told)


@contextlib.contextmanager
def _frozen(model: str, cache: pathlib.Path, more: str) -> Iterator[Server]:
    """A server that is ready, and stopped where it is."""
    arguments = ["server", "--model", f"{model}={cached(model, cache)}", "--port", "0"]
    arguments += ["--log-level", "warning", *shlex.split(more)]
    with running(more or "as it comes", arguments) as server:
        server.freeze()
        yield server


def measure(
    server: Server,
    form: Form,
    model: str,
    clients: int,
    seconds: int,
    *,
    headers: Mapping[str, str] | None = None,
) -> Turn:
    """One turn of a server that is not frozen; `headers` go with each request besides."""
    sent = form.write(row_of(model))
    url, sent_headers = server.url(form.path), {**sent.headers, **(headers or {})}

    def load(lasting: int) -> Figures:
        return run_wrk(url, sent.body, connections=clients, seconds=lasting, headers=sent_headers)

    load(WARMUP)
    (rows, batches), cpu = server.batches(), server.cpu()
    figures = load(seconds)
    cpu = server.cpu() - cpu
    more_rows, more_batches = server.batches()
    size = (more_rows - rows) / max(1.0, more_batches - batches)
    return Turn(figures.rate, figures.p50, figures.p99, size, cpu / max(1, figures.requests) * 1000)


def show(title: str, turns: Mapping[str, Sequence[Turn]]) -> None:
    """A table of all turns, each beside the first server's of its round."""
    first = next(iter(turns.values()))
    rows = []
    for name, of in turns.items():
        ratios = [turn.rate / other.rate for turn, other in zip(of, first, strict=True)]
        rows.append(
            [
                name,
                f"{Spread.of(turn.rate for turn in of):,.0f}",
                f"{Spread.of(ratios):.2f}",
                f"{Spread.of(turn.p50 for turn in of):.2f}",
                f"{Spread.of(turn.p99 for turn in of):.2f}",
                f"{Spread.of(turn.size for turn in of):.1f}",
                f"{Spread.of(turn.cpu for turn in of):.3f}",
            ]
        )
    show_table(title, COLUMNS, [rows], below="Median (lowest..highest).")
