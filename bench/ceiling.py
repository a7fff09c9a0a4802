"""What the model itself leaves to win: our server beside TensorFlow alone, in turns."""

import contextlib
import pathlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Final, NamedTuple

import click
import uvloop

from bench.compare.forms import Sent, raw, tensorflow_serving
from bench.compare.rows import row_of
from bench.models import cached
from bench.options import cache_option, json_option
from bench.record import ROOT, write_json
from bench.screen import show_table, steps
from bench.servers import Server, running
from bench.spread import Spread
from bench.target import Target
from bench.wrk import Figures, run_wrk
from server.load import Offered, offer

COLUMNS: Final = ("round", "rows/s", "rows a batch", "TensorFlow alone, rows/s", "of it")
LONE_COLUMNS: Final = ("round", "p50 of a lone client, µs", "a call of TensorFlow, µs", "more, µs")

WARMUP: Final = 1


class Round(NamedTuple):
    """Rows a second of our server, their mean batch, and what TensorFlow alone does with it."""

    rate: float
    size: float
    alone: float


class Lone(NamedTuple):
    """Microseconds of a request that has the server for itself, and of a call with one row."""

    p50: float
    call: float


class Alone:
    """TensorFlow in a process of its own."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.alone", str(folder)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._told()

    def call(self, size: int, seconds: float) -> float:
        """Microseconds of a call with so many rows. ClickException."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{size} {seconds}\n")
        self._process.stdin.flush()
        return float(self._told())

    def end(self) -> None:
        """Let it go."""
        self._process.kill()
        self._process.wait()

    def _told(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            msg = "TensorFlow alone did not start: python -m bench.alone FOLDER says why"
            raise click.ClickException(msg)
        return line


class Three(NamedTuple):
    """What is compared, and the echo that takes its part of the machine beside TensorFlow."""

    model: str
    ours: Server
    echo: Server
    alone: Alone


@click.command(
    epilog="""\b
Examples:
  python -m bench ceiling
  python -m bench ceiling --model mlp --clients 64 --rounds 9"""
)
@click.option(
    "--model",
    type=click.Choice(["tiny", "mlp", "mobilenet"]),
    default="mobilenet",
    show_default=True,
)
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option("--seconds", type=click.IntRange(1, 60), default=4, show_default=True)
@click.option("--clients", type=click.IntRange(1, 4096), default=64, show_default=True)
@cache_option
@json_option
def command(
    *,
    model: str,
    rounds: int,
    seconds: int,
    clients: int,
    cache: pathlib.Path,
    json_file: pathlib.Path | None,
) -> None:
    """Measure what part of TensorFlow's own rows a second reaches the clients of the server.

    They send single rows as raw float32. TensorFlow alone gets batches of the size that the server
    had; beside it, so that it has as much of the machine, an echo is sent the same requests at the
    same rate. Then a lone client of tiny, beside single calls.
    """
    with steps() as progress:
        bar = progress.add_task("", total=2 * rounds)
        busy, lone = [], []
        with _together(model, cache) as three:
            for _ in range(rounds):
                progress.update(bar, description=f"{model}, {clients} clients")
                busy.append(_compare(three, clients, seconds))
                progress.advance(bar)
        with _together("tiny", cache) as three:
            for _ in range(rounds):
                progress.update(bar, description="tiny, a lone client")
                lone.append(_compare_lone(three, seconds))
                progress.advance(bar)
    _show(f"{model}, {clients} clients", busy, lone)
    if json_file is not None:
        settings = {"model": model, "rounds": rounds, "seconds": seconds, "clients": clients}
        told = {"busy": [each._asdict() for each in busy], "lone": [x._asdict() for x in lone]}
        write_json(json_file, "ceiling", settings, told)


@contextlib.contextmanager
def _together(model: str, cache: pathlib.Path) -> Iterator[Three]:
    """All of them, with one model."""
    folder = cached(model, cache)
    options = ["server", "--model", f"{model}={folder}", "--port", "0", "--log-level", "warning"]
    alone = Alone(folder / "1")
    try:
        with running("ours", options) as ours, running("echo", ["bench.echo_server", "{}"]) as echo:
            yield Three(model, ours, echo, alone)
    finally:
        alone.end()


def _compare(three: Three, clients: int, seconds: int) -> Round:
    path = f"/v1/models/{three.model}:predict"
    sent = raw(path).write(row_of(three.model))

    def load(lasting: int) -> Figures:
        url = three.ours.url(path)
        return run_wrk(url, sent.body, connections=clients, seconds=lasting, headers=sent.headers)

    load(WARMUP)
    rows, batches = three.ours.batches()
    rate = load(seconds).rate
    more_rows, more_batches = three.ours.batches()
    size = (more_rows - rows) / max(1.0, more_batches - batches)
    with _offered(three.echo, path, sent, Offered(rate, seconds + WARMUP, kind="constant")):
        call = three.alone.call(round(size), seconds)
    return Round(rate, size, round(size) / call * 1e6)


@contextlib.contextmanager
def _offered(echo: Server, path: str, sent: Sent, offered: Offered) -> Iterator[None]:
    """Requests at a rate, in a thread: the block waits for another process."""
    target = Target.of(echo.url(path))
    request = target.post(sent.body, sent.headers["Content-Type"])
    offering = offer((target.host, target.port), request, offered)
    thread = threading.Thread(target=uvloop.run, args=(offering,))
    thread.start()
    yield
    thread.join()


def _compare_lone(three: Three, seconds: int) -> Lone:
    path = f"/v1/models/{three.model}:predict"
    body = tensorflow_serving(path).write(row_of(three.model)).body
    figures = run_wrk(three.ours.url(path), body, connections=1, seconds=seconds)
    return Lone(figures.p50 * 1000, three.alone.call(1, seconds / 2))


def _show(title: str, busy: list[Round], lone: list[Lone]) -> None:
    show_table(
        title,
        COLUMNS,
        [
            [
                [
                    str(n),
                    f"{r.rate:,.0f}",
                    f"{r.size:.1f}",
                    f"{r.alone:,.0f}",
                    f"{r.rate / r.alone:.0%}",
                ]
                for n, r in enumerate(busy, 1)
            ]
        ],
        below=f"Of TensorFlow's own: {Spread.of(r.rate / r.alone for r in busy):.0%}."
        " Median (lowest..highest).",
    )
    show_table(
        "tiny, a lone client",
        LONE_COLUMNS,
        [
            [
                [str(n), f"{x.p50:,.0f}", f"{x.call:,.0f}", f"{x.p50 - x.call:,.0f}"]
                for n, x in enumerate(lone, 1)
            ]
        ],
        below=f"More than the call: {Spread.of(x.p50 - x.call for x in lone):,.0f} µs."
        " Median (lowest..highest).",
    )
