"""`python -m bench codec`: what reading a request and writing its answer cost, form by form."""

import asyncio
import functools
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

import click
import numpy as np
import uvloop

from batcher import ThreadExecutor
from bench.forms import BASELINES, FORMS, MODEL, TEXT
from bench.options import json_option
from bench.record import write_json
from bench.screen import show_table, steps
from bench.spread import Spread
from server.exchange import Exchange
from server.inference import FindModel, InferenceRequest, InferenceResponse, ServedModel
from server.protocols import PROTOCOLS
from server.protocols.over_grpc import GRPC_PROTOCOLS
from server.protocols.protocol import Infer, Protocol
from server.signature import DEFAULT_SIGNATURE, Array, Signature, TensorSpec

SIZES: Final = (1, 784, 27_648)
"""Numbers in the row: next to none, a small picture of grey, one of 96 x 96 pixels in colour."""

SEED: Final = 20240607

DECODE, ENCODE = "decode", "encode"


class Cell(NamedTuple):
    """What is measured: which work, by whom, of how many numbers."""

    work: str
    contender: str
    floats: int


class Contender(NamedTuple):
    """One call of it is what is measured; `size` is that of the body, in bytes."""

    run: Callable[[], object]
    size: int


Measured: TypeAlias = Mapping[Cell, list[float]]
"""µs of CPU a call, one a round."""


@click.command(
    epilog="""\b
Examples:
  python -m bench codec
  python -m bench codec --rounds 9 --json codec.json > codec.md"""
)
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option(
    "--seconds",
    type=click.FloatRange(0.005, 60),
    default=0.12,
    show_default=True,
    help="How long each measurement lasts.",
)
@json_option
def command(*, rounds: int, seconds: float, json_file: pathlib.Path | None) -> None:
    """Measure µs of CPU to read a request of one row and to write its answer, form by form.

    Nothing but the codecs runs, beside what libraries take alone. They take turns, so that whatever
    else the machine does meets them all. First, each has to give the right numbers.
    """
    contenders = dict(pair for size in SIZES for pair in (*_codecs(size), *_baselines(size)))
    measured, hops = measure_all(contenders, rounds, seconds)
    costs = _costs(contenders, measured)
    columns = ["form", *(f"{size:,} float{'s' if size > 1 else ''}" for size in SIZES)]
    show_table("Decode, µs of CPU", columns, _rows(measured, DECODE))
    show_table("Encode, µs of CPU", columns, _rows(measured, ENCODE), below=_told(costs, hops))
    if json_file is not None:
        settings = {"rounds": rounds, "seconds": seconds}
        results = {"cells": _plain(contenders, measured), "hop_us": hops, "parse_us_per_kb": costs}
        write_json(json_file, "codec", settings, results)


# --------------------------------------------------------------------------------- the contenders


def _codecs(size: int) -> Iterator[tuple[Cell, Contender]]:
    """Those of every form. AssertionError if one gives other numbers than it got."""
    x = _row(size)
    inputs, outputs = ({name: TensorSpec(name, "float32", (None, size))} for name in "xy")
    signature = Signature(DEFAULT_SIGNATURE, inputs, outputs)
    model = ServedModel(MODEL, 1, {signature.name: signature}, "tensorflow_savedmodel", 64)
    protocols: tuple[Protocol, ...] = (*PROTOCOLS, *GRPC_PROTOCOLS)
    for form in FORMS:
        exchange = form.ask(x)
        protocol = next(each for each in protocols if each.takes(exchange))
        decode = functools.partial(_decode, protocol, exchange, lambda _: model)
        request = decode()
        np.testing.assert_array_equal(request.inputs["x"], x, strict=True)
        encode = functools.partial(protocol.encode, request, InferenceResponse({"y": x}))
        body = encode().body
        np.testing.assert_array_equal(_as_row(form.read(body)), x)
        yield Cell(DECODE, form.name, size), Contender(decode, len(exchange.body))
        yield Cell(ENCODE, form.answer, size), Contender(encode, len(body))


def _decode(protocol: Protocol, exchange: Exchange, find: FindModel) -> InferenceRequest:
    operation = protocol.route(exchange)
    assert isinstance(operation, Infer)
    return protocol.decode(operation, exchange, find)


def _baselines(size: int) -> Iterator[tuple[Cell, Contender]]:
    """The same of the libraries alone."""
    x = _row(size)
    for baseline in BASELINES:
        body, answer = baseline.write(x), baseline.encode(x)
        np.testing.assert_array_equal(baseline.decode(body), x, strict=True)
        np.testing.assert_array_equal(_as_row(baseline.read(answer)), x)
        decode = functools.partial(baseline.decode, body)
        encode = functools.partial(baseline.encode, x)
        yield Cell(DECODE, baseline.name, size), Contender(decode, len(body))
        yield Cell(ENCODE, baseline.name, size), Contender(encode, len(answer))


def _row(size: int) -> Array:
    return np.random.default_rng(SEED).random((1, size), dtype=np.float32)


def _as_row(values: Any) -> Array:
    return np.asarray(values, np.float32).reshape(1, -1)


# -------------------------------------------------------------------------------------- measuring


def measure_all(
    contenders: Mapping[Cell, Contender], rounds: int, seconds: float
) -> tuple[Measured, list[float]]:
    """Measure every cell, and a hop, once a round; each round begins with another cell."""
    measured: dict[Cell, list[float]] = {cell: [] for cell in contenders}
    hops = []
    cells = list(contenders)
    with steps() as progress:
        bar = progress.add_task("", total=rounds * len(cells))
        for number in range(rounds):
            first = number * len(cells) // rounds
            for cell in [*cells[first:], *cells[:first]]:
                progress.update(bar, description=f"{cell.work}, {cell.contender}")
                measured[cell].append(_microseconds(contenders[cell].run, seconds))
                progress.advance(bar)
            hops.append(uvloop.run(_hop(seconds)))
    return measured, hops


def _microseconds(function: Callable[[], object], seconds: float) -> float:
    """CPU of one call, so that what else runs on this machine counts as little as it can."""
    calls, more = 0, 1
    began = time.thread_time()
    while (took := time.thread_time() - began) < seconds:
        for _ in range(more):
            function()
        calls += more
        # The clock costs as much as the cheapest of the calls: so it is not asked after each.
        more = 1 + calls // 4
    return took / calls * 1e6


async def _hop(seconds: float) -> float:
    """µs from the event loop to an idle thread and back, by the clock: most of it is waiting."""
    executor = ThreadExecutor(name="codec")
    executor.attach(asyncio.get_running_loop())
    calls = 0
    began = time.perf_counter()
    while (took := time.perf_counter() - began) < seconds:
        await executor.call(_nothing, None)
        calls += 1
    executor.detach()
    return took / calls * 1e6


def _nothing(_: None) -> None:
    """What the other thread does."""


# ---------------------------------------------------------------------------------------- results


def _costs(contenders: Mapping[Cell, Contender], measured: Measured) -> list[float]:
    """µs to parse a kB of text, one a round: what a middling body takes more than a tiny one."""
    tiny, middling = (Cell(DECODE, TEXT, size) for size in SIZES[:2])
    more = (contenders[middling].size - contenders[tiny].size) / 1000
    return [(b - a) / more for a, b in zip(measured[tiny], measured[middling], strict=True)]


def _told(costs: list[float], hops: list[float]) -> str:
    sizes = Spread.of(hop / cost for hop, cost in zip(hops, costs, strict=True))
    return (
        "Medians (lowest..highest round).\n"
        f"Parsing text takes {Spread.of(costs):.1f} µs a kB, a hop to a thread and back"
        f" {Spread.of(hops):.0f} µs: less than parsing from {sizes:.1f} kB on."
    )


def _rows(measured: Measured, work: str) -> list[list[list[str]]]:
    """A table's, in two groups: ours, and the libraries."""
    alone = {baseline.name for baseline in BASELINES}
    names = dict.fromkeys(cell.contender for cell in measured if cell.work == work)
    return [
        [
            [name, *(f"{Spread.of(measured[Cell(work, name, size)]):,.1f}" for size in SIZES)]
            for name in names
            if (name in alone) == are_alone
        ]
        for are_alone in (False, True)
    ]


def _plain(contenders: Mapping[Cell, Contender], measured: Measured) -> list[dict[str, object]]:
    """The same as JSON knows it, every round included."""
    return [
        {
            **cell._asdict(),
            "body_bytes": contenders[cell].size,
            "cpu_us": Spread.of(rounds)._asdict(),
            "rounds": rounds,
        }
        for cell, rounds in measured.items()
    ]
