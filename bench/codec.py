"""`python -m bench codec`: what reading a request and writing its answer cost, form by form."""

import functools
import io
import json
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import click
import numpy as np
import orjson
import uvloop
from multidict import CIMultiDict

from batcher import ThreadExecutor
from bench.record import write_json
from bench.screen import show_table, steps
from bench.spread import Spread
from server.exchange import Exchange
from server.inference import FindModel, InferenceRequest, InferenceResponse, ServedModel
from server.protocols import PROTOCOLS
from server.protocols.media_types import NPY, NPZ, RAW
from server.protocols.oip_http_request import JSON_LENGTH
from server.protocols.over_grpc import GRPC_PROTOCOLS
from server.protocols.protocol import Infer, Protocol
from server.protocols.tensor_proto import DATA_TYPES
from server.protocols.wire import message
from server.signature import DEFAULT_SIGNATURE, Array, Signature, TensorSpec

SIZES: Final = (1, 784, 27_648)
"""Numbers in the row: next to none, a small picture of grey, one of 96 x 96 pixels in colour."""

SEED: Final = 20240607

REST: Final = "/v1/models/m:predict"
OIP: Final = "/v2/models/m/infer"
PREDICT: Final = "/tensorflow.serving.PredictionService/Predict"
MODEL_INFER: Final = "/inference.GRPCInferenceService/ModelInfer"

TEXT: Final = "TensorFlow Serving REST, instances"
"""The form whose cost tells how fast text is parsed."""

_PredictRequest: Final = message("tensorflow.serving.PredictRequest")
_PredictResponse: Final = message("tensorflow.serving.PredictResponse")
_ModelInferRequest: Final = message("inference.ModelInferRequest")
_ModelInferResponse: Final = message("inference.ModelInferResponse")


class Cell(NamedTuple):
    """What is measured: "decode" or "encode", by whom, of how many numbers."""

    work: str
    contender: str
    floats: int


class Form(NamedTuple):
    """What a client sends for a row, and how it reads the row in the answer of the same form."""

    name: str
    ask: Callable[[Array], Exchange]
    answer: str
    read: Callable[[bytes], Any]


class Baseline(NamedTuple):
    """The same with a library alone: no routes, models, names, shapes or mistakes."""

    name: str
    write: Callable[[Array], bytes]
    decode: Callable[[bytes], Array]
    encode: Callable[[Array], bytes]
    read: Callable[[bytes], Any]


@click.command(
    short_help="What reading a request and writing its answer cost, form by form.",
    epilog="""\b
Examples:
  python -m bench codec
  python -m bench codec --rounds 9 --json codec.json > codec.md""",
)
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option(
    "--seconds",
    type=click.FloatRange(0.005, 60),
    default=0.12,
    show_default=True,
    help="How long each measurement lasts.",
)
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, writable=True, path_type=pathlib.Path)
)
def command(*, rounds: int, seconds: float, json_file: pathlib.Path | None) -> None:
    """Measure µs of CPU per request of one row, for every protocol and form, beside libraries.

    Nothing but the codecs runs, in this process. They take turns, so that whatever else the
    machine does meets them all. First, each has to give the right numbers once.
    """
    contenders = {
        cell: run for size in SIZES for cell, run in (*_codecs(size), *_baselines(size))
    }
    measured, hops = measure_all(contenders, rounds, seconds)
    columns = ["contender", *(f"{size:,} float{'s' if size > 1 else ''}" for size in SIZES)]
    show_table("Decode, µs", columns, _rows(measured, "decode"))
    show_table("Encode, µs", columns, _rows(measured, "encode"), below=_told(measured, hops))
    if json_file is not None:
        cells = [
            {**cell._asdict(), "cpu_us": Spread.of(figures)._asdict(), "rounds": figures}
            for cell, figures in measured.items()
        ]
        settings = {"rounds": rounds, "seconds": seconds}
        write_json(json_file, "codec", settings, {"cells": cells, "hop_us": hops})


# ---------------------------------------------------------------------------------- the contenders


def _codecs(size: int) -> Iterator[tuple[Cell, Callable[[], object]]]:
    """Every form's, once they gave the right numbers. AssertionError if one does not."""
    x = _row(size)
    inputs, outputs = ({name: TensorSpec(name, "float32", (None, size))} for name in "xy")
    signature = Signature(DEFAULT_SIGNATURE, inputs, outputs)
    model = ServedModel("m", 1, {signature.name: signature}, "tensorflow_savedmodel", 64)
    for form in FORMS:
        exchange = form.ask(x)
        protocol = next(each for each in (*PROTOCOLS, *GRPC_PROTOCOLS) if each.takes(exchange))
        decode = functools.partial(_decode, protocol, exchange, lambda _: model)
        request = decode()
        np.testing.assert_array_equal(request.inputs["x"], x, strict=True)
        encode = functools.partial(protocol.encode, request, InferenceResponse({"y": x}))
        np.testing.assert_array_equal(_as_row(form.read(encode().body)), x)
        yield Cell("decode", form.name, size), decode
        yield Cell("encode", form.answer, size), encode


def _decode(protocol: Protocol, exchange: Exchange, find: FindModel) -> InferenceRequest:
    operation = protocol.route(exchange)
    assert isinstance(operation, Infer)
    return protocol.decode(operation, exchange, find)


def _baselines(size: int) -> Iterator[tuple[Cell, Callable[[], object]]]:
    x = _row(size)
    for name, write, decode, encode, read in BASELINES:
        body = write(x)
        np.testing.assert_array_equal(decode(body), x, strict=True)
        np.testing.assert_array_equal(_as_row(read(encode(x))), x)
        yield Cell("decode", name, size), functools.partial(decode, body)
        yield Cell("encode", name, size), functools.partial(encode, x)


def _row(size: int) -> Array:
    return np.random.default_rng(SEED).random((1, size), dtype=np.float32)


def _as_row(values: Any) -> Array:
    return np.asarray(values, np.float32).reshape(1, -1)


# ------------------------------------------------------------------------------------- measuring


def measure_all(
    contenders: dict[Cell, Callable[[], object]], rounds: int, seconds: float
) -> tuple[dict[Cell, list[float]], list[float]]:
    """µs of CPU of every cell, and µs of a hop, once a round; each begins with another cell."""
    measured: dict[Cell, list[float]] = {cell: [] for cell in contenders}
    hops = []
    cells = list(contenders)
    with steps() as progress:
        bar = progress.add_task("", total=rounds * len(cells))
        for number in range(rounds):
            first = number * len(cells) // rounds
            for cell in [*cells[first:], *cells[:first]]:
                progress.update(bar, description=f"{cell.work}, {cell.contender}")
                measured[cell].append(_microseconds(contenders[cell], seconds))
                progress.advance(bar)
            hops.append(uvloop.run(_hop(seconds)))
    return measured, hops


def _microseconds(function: Callable[[], object], seconds: float) -> float:
    """CPU of one call: so what else runs on this machine counts as little as it can."""
    calls, more = 0, 1
    began = time.thread_time()
    while (took := time.thread_time() - began) < seconds:
        for _ in range(more):
            function()
        calls += more
        # The clock costs as much as the cheapest of these calls: it is looked at now and then.
        more = 1 + calls // 4
    return took / calls * 1e6


async def _hop(seconds: float) -> float:
    """µs from the event loop to a waiting thread and back; of the clock, as nothing works then."""
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
