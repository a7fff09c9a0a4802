"""Many models in one server: what each of them costs, beside a server that has but one."""

import asyncio
import contextlib
import itertools
import pathlib
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import click
import uvloop

from bench.asking import Asker, Crowd
from bench.client import Answer
from bench.load import digits
from bench.models import cached
from bench.options import cache_option, json_option
from bench.record import ROOT, write_json
from bench.screen import show_table, steps
from bench.servers import Server, running
from bench.tally import Tally
from bench.target import Target

SEED: Final = 20240607

START_LIMIT: Final = 1800.0
"""Seconds that a server has to load all of its models."""

WARMUP: Final = 1.0
"""Seconds of load before those that count."""

SCRAPES: Final = 20

BODIES: Final[Mapping[str, Callable[[], bytes]]] = {
    "digits": lambda: digits(1),
    "tiny": lambda: b'{"instances": [[3.0]]}',
    "mlp": lambda: _floats(784),
    "mobilenet": lambda: b'{"instances": [[' + b",".join([_pixels(96)] * 96) + b"]]}",
}
"""A request of one row for each model."""

COLUMNS: Final = (
    *("models", "ready s", "MB", "idle CPU %", "/metrics ms", "index ms"),
    *("lone p50 ms", "p99", "requests/s", "p50 ms", "p99"),
)


class Outcome(NamedTuple):
    """What a server with so many models needs and does.

    Seconds until it was ready, megabytes, share of a core while nobody asks, milliseconds for its
    metrics and for the index of its models; the answers to one client and to many; and the p50 in
    milliseconds of each model, to the one client.
    """

    models: int
    ready: float
    memory: float
    idle: float
    metrics: float
    listing: float
    lone: Tally
    busy: Tally
    rate: float
    p50s: list[float]


@click.command(
    epilog="""\b
Examples:
  python -m bench many
  python -m bench many --models 20 --model mobilenet --clients 16"""
)
@click.option("--models", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option(
    "--model", type=click.Choice(list(BODIES)), default="digits", show_default=True, help="Of all."
)
@click.option("--clients", type=click.IntRange(1, 4096), default=64, show_default=True)
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 600),
    default=10.0,
    show_default=True,
    help="Of each load, and of the rest in which the idle CPU is looked at.",
)
@cache_option
@json_option
def command(
    *,
    models: int,
    model: str,
    clients: int,
    seconds: float,
    cache: pathlib.Path,
    json_file: pathlib.Path | None,
) -> None:
    """Serve the same model under many names, and under fewer, one server after the other.

    One client asks the models in turn, then many ask for them at random; each sends its next
    request when it has its answer. Exit status 1 if any request failed.
    """
    path = ROOT / "server" / "demo" / "digits" if model == "digits" else cached(model, cache)
    counts = sorted({1, max(1, models // 5), max(1, models // 2), models})
    outcomes = []
    with steps() as progress:
        bar = progress.add_task("", total=len(counts))
        for count in counts:
            progress.update(bar, description=f"{count} models")
            outcomes.append(_measure(count, path, BODIES[model](), clients, seconds))
            progress.advance(bar)
    title = f"{model}, one client and {clients}"
    show_table(title, COLUMNS, [map(_row, outcomes)], below=_told(outcomes))
    if json_file is not None:
        settings = {"models": models, "model": model, "clients": clients, "seconds": seconds}
        write_json(json_file, "many", settings, {"servers": [_plain(o) for o in outcomes]})
    if any(outcome.lone.failed or outcome.busy.failed for outcome in outcomes):
        sys.exit(1)


def _measure(count: int, path: pathlib.Path, body: bytes, clients: int, seconds: float) -> Outcome:
    """Start a server with so many models, and ask it."""
    began = time.perf_counter()
    with serving(count, path) as server:
        ready = time.perf_counter() - began
        memory = server.memory()
        idle = _idle(server, seconds)
        metrics = _took(server, "GET", "/metrics")
        index = _took(server, "POST", "/v2/repository/index", b"{}")
        targets = addresses(server, count)
        requests = [target.post(body) for target in targets]
        turns = itertools.cycle(range(count))
        lone, p50s = uvloop.run(load(targets[0], requests, 1, seconds, lambda: next(turns)))
        chance = random.Random(SEED)
        busy, _ = uvloop.run(
            load(targets[0], requests, clients, seconds, lambda: chance.randrange(count))
        )
    return Outcome(
        count, ready, memory, idle, metrics, index, lone, busy, busy.good / seconds, p50s
    )


@contextlib.contextmanager
def serving(count: int, path: pathlib.Path) -> Iterator[Server]:
    """A server of so many models, all of them the one at `path`. ClickException."""
    arguments = ["server", "--port", "0", "--log-level", "warning"]
    for name in _names(count):
        arguments += ["--model", f"{name}={path}"]
    with running(f"{count} models", arguments, START_LIMIT) as server:
        yield server


def addresses(server: Server, count: int) -> list[Target]:
    """Where to ask each of the models of such a server."""
    return [Target.of(server.url(f"/v1/models/{name}:predict")) for name in _names(count)]


def _names(count: int) -> list[str]:
    return [f"m{number:03}" for number in range(count)]


def _idle(server: Server, seconds: float) -> float:
    before = server.cpu()
    time.sleep(seconds)
    return (server.cpu() - before) / seconds


def _took(server: Server, method: str, path: str, body: bytes | None = None) -> float:
    """Milliseconds of one question, the median of some. ClickException."""
    times = []
    for _ in range(SCRAPES):
        began = time.perf_counter()
        status, answer = server.ask(method, path, body)
        times.append((time.perf_counter() - began) * 1000)
        if status != 200:
            msg = f"{path} was answered {status}: {answer[:200]!r}"
            raise click.ClickException(msg)
    return statistics.median(times)


class _Counts:
    """Answers of one load: all of them, and the seconds that each request took."""

    def __init__(self, requests: int) -> None:
        self.tally = Tally()
        self.seconds: list[list[float]] = [[] for _ in range(requests)]


class _Client(Asker):
    """Asks what `choose` names."""

    def __init__(
        self, counts: _Counts, target: Target, requests: Sequence[bytes], choose: Callable[[], int]
    ) -> None:
        super().__init__(target)
        self._requests = requests
        self._choose = choose
        self._asked = 0
        self.counts = counts

    def question(self) -> bytes:
        self._asked = self._choose()
        return self._requests[self._asked]

    def answered(self, answer: Answer) -> None:
        self.counts.tally.add(answer)
        self.counts.seconds[self._asked].append(answer.seconds)

    def failed(self, why: str) -> None:
        self.counts.tally.failures[why] += 1


async def load(
    target: Target,
    requests: Sequence[bytes],
    clients: int,
    seconds: float,
    choose: Callable[[], int],
    *,
    warmup: float = WARMUP,
) -> tuple[Tally, list[float]]:
    """Ask what `choose` names, all clients at a time; answers that come after the end count.

    Returns all answers, and the p50 of each request in milliseconds.
    """
    counts = _Counts(len(requests))
    askers = [_Client(counts, target, requests, choose) for _ in range(clients)]
    async with Crowd(askers):
        if warmup:
            await asyncio.sleep(warmup)
            counts = _Counts(len(requests))
            for asker in askers:
                asker.counts = counts
        await asyncio.sleep(seconds)
    return counts.tally, [statistics.median(each) * 1000 for each in counts.seconds if each]


def _row(outcome: Outcome) -> list[str]:
    lone, busy = outcome.lone.latencies(), outcome.busy.latencies()
    return [
        str(outcome.models),
        f"{outcome.ready:.1f}",
        f"{outcome.memory:,.0f}",
        f"{outcome.idle * 100:.1f}",
        f"{outcome.metrics:.1f}",
        f"{outcome.listing:.1f}",
        *[f"{lone.get(each, 0.0):.2f}" for each in ("p50", "p99")],
        f"{outcome.rate:,.0f}",
        *[f"{busy.get(each, 0.0):.2f}" for each in ("p50", "p99")],
    ]


def _told(outcomes: Sequence[Outcome]) -> str:
    """What one more model costs, and how the most models do beside one."""
    first, last = outcomes[0], outcomes[-1]
    failed = sum(outcome.lone.failed + outcome.busy.failed for outcome in outcomes)
    lines = [f"{failed:,} requests failed."]
    if last.p50s:
        low, high = min(last.p50s), max(last.p50s)
        lines.append(f"A lone request to each of {last.models}: p50 {low:.2f} to {high:.2f} ms.")
    if len(outcomes) > 1:
        counts = [outcome.models for outcome in outcomes]
        memory = statistics.linear_regression(counts, [o.memory for o in outcomes]).slope
        ready = statistics.linear_regression(counts, [o.ready for o in outcomes]).slope
        lines.append(f"One more model: {memory:.1f} MB, {ready:.2f} s until ready.")
        for name, one, many in (
            ("one client", first.lone.latencies(), last.lone.latencies()),
            ("all clients", first.busy.latencies(), last.busy.latencies()),
        ):
            told = ", ".join(f"{p} {many[p] / one[p]:.2f}" for p in ("p50", "p99") if one and many)
            lines.append(f"{last.models} models beside 1, {name}: {told} times.")
    return "\n".join(lines)


def _plain(outcome: Outcome) -> dict[str, Any]:
    told = outcome._asdict()
    told["lone"], told["busy"] = outcome.lone.plain(), outcome.busy.plain()
    return told


def _floats(count: int) -> bytes:
    return b'{"instances": [[' + b",".join([b"0.5"] * count) + b"]]}"


def _pixels(width: int) -> bytes:
    return b"[" + b",".join([b"[0.5,0.25,0.75]"] * width) + b"]"
