"""What the live page costs: the server under load while nobody looks, and while some do."""

import contextlib
import http.client
import pathlib
import socket
import threading
from collections.abc import Iterator
from typing import Final, NamedTuple

import click

from bench.compare.forms import PLAIN
from bench.compare.rows import row_of
from bench.models import cached
from bench.options import cache_option, json_option
from bench.record import write_json
from bench.screen import show_table, steps
from bench.servers import Server, running
from bench.spread import Spread
from bench.wrk import Figures, run_wrk

EVENTS: Final = "/live/events"

COLUMNS: Final = (
    *("viewers", "requests/s", "of none", "p50, ms", "p99, ms", "CPU µs a request", "of none"),
    *("events/s a viewer", "kB an event"),
)

WARMUP: Final = 1


class Turn(NamedTuple):
    """One stretch of load; times in milliseconds, CPU in microseconds, events of all viewers."""

    rate: float
    p50: float
    p99: float
    cpu: float
    events: int
    nbytes: int


@click.command(
    epilog="""\b
Examples:
  python -m bench live
  python -m bench live --viewers 16 --model mlp --form raw"""
)
@click.option(
    "--model", type=click.Choice(["tiny", "mlp", "mobilenet"]), default="tiny", show_default=True
)
@click.option("--form", type=click.Choice(list(PLAIN)), default="json", show_default=True)
@click.option("--viewers", type=click.IntRange(1, 16), default=5, show_default=True)
@click.option("--clients", type=click.IntRange(1, 4096), default=64, show_default=True)
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option("--seconds", type=click.IntRange(1, 60), default=3, show_default=True)
@cache_option
@json_option
def command(
    *,
    model: str,
    form: str,
    viewers: int,
    clients: int,
    rounds: int,
    seconds: int,
    cache: pathlib.Path,
    json_file: pathlib.Path | None,
) -> None:
    """Measure the server while nobody looks at its live page, and while some do, in turns.

    Viewers read every event, as a page does, and do nothing with it. They share this machine's
    CPUs with the server and wrk.
    """
    turns: dict[int, list[Turn]] = {0: [], viewers: []}
    sent = PLAIN[form](f"/v1/models/{model}:predict").write(row_of(model))
    arguments = ["server", "--model", f"{model}={cached(model, cache)}", "--port", "0"]
    with running("ours", [*arguments, "--log-level", "warning"]) as server, steps() as progress:
        url = server.url(f"/v1/models/{model}:predict")
        bar = progress.add_task(f"{model} {form}, {clients} clients", total=2 * rounds)

        def load(lasting: int) -> Figures:
            options = {"connections": clients, "seconds": lasting}
            return run_wrk(url, sent.body, headers=sent.headers, **options)

        load(WARMUP)
        for number in range(rounds):
            # Who begins changes from round to round.
            for many in sorted(turns, reverse=number % 2 == 1):
                with _looking(server, many) as looked:
                    cpu = server.cpu()
                    figures = load(seconds)
                    cpu = (server.cpu() - cpu) / max(1, figures.requests) * 1e6
                rate, p50, p99 = figures.rate, figures.p50, figures.p99
                turns[many].append(Turn(rate, p50, p99, cpu, looked.events, looked.nbytes))
                progress.advance(bar)
    _show(f"{model} {form}, {clients} clients", turns, seconds)
    if json_file is not None:
        asked = {"model": model, "form": form, "viewers": viewers, "clients": clients}
        asked |= {"rounds": rounds, "seconds": seconds}
        told = {str(many): [turn._asdict() for turn in of] for many, of in turns.items()}
        write_json(json_file, "live", asked, told)


class Looked:
    """What all viewers have read."""

    def __init__(self) -> None:
        self.events = self.nbytes = 0


@contextlib.contextmanager
def _looking(server: Server, viewers: int) -> Iterator[Looked]:
    """Have so many viewers until the block is left. ClickException if the server refuses one."""
    looked = Looked()
    connections = [_look(server) for _ in range(viewers)]
    threads = [
        threading.Thread(target=_read, args=(answer, looked), daemon=True)
        for _, answer in connections
    ]
    for thread in threads:
        thread.start()
    try:
        yield looked
    finally:
        for connection, _ in connections:
            connection.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()


def _look(server: Server) -> tuple[socket.socket, http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", EVENTS)
    opened = connection.sock
    answer = connection.getresponse()
    if answer.status != http.client.OK:
        msg = f"the server answered {answer.status} to a viewer"
        raise click.ClickException(msg)
    return opened, answer


def _read(answer: http.client.HTTPResponse, looked: Looked) -> None:
    with contextlib.suppress(http.client.HTTPException, OSError):
        while line := answer.readline():
            looked.events += line.startswith(b"data: ")
            looked.nbytes += len(line)


def _show(title: str, turns: dict[int, list[Turn]], seconds: int) -> None:
    rows = []
    for many, of in turns.items():
        pairs = list(zip(of, turns[0], strict=True))
        events = sum(turn.events for turn in of)
        rows.append(
            [
                str(many),
                f"{Spread.of(turn.rate for turn in of):,.0f}",
                f"{Spread.of(turn.rate / none.rate for turn, none in pairs):.3f}",
                f"{Spread.of(turn.p50 for turn in of):.2f}",
                f"{Spread.of(turn.p99 for turn in of):.2f}",
                f"{Spread.of(turn.cpu for turn in of):.1f}",
                f"{Spread.of(turn.cpu / none.cpu for turn, none in pairs):.3f}",
                f"{events / len(of) / seconds / many:.1f}" if many else "",
                f"{sum(turn.nbytes for turn in of) / events / 1000:.1f}" if events else "",
            ]
        )
    show_table(title, COLUMNS, [rows], below="Median (lowest..highest).")
