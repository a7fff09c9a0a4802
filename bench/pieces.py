"""`python -m bench pieces`: the way of a request through the server, piece by piece, in CPU."""

import asyncio
import functools
import itertools
import json
import pathlib
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import click
import numpy as np
import uvloop

from batcher import Batcher, ThreadExecutor
from batcher.arrays import concatenate, split
from bench.compare.rows import SHAPES, row_of
from bench.inside import Clients, Took, request, served
from bench.models import cached
from bench.options import cache_option, json_option
from bench.record import write_json
from bench.screen import show_table, steps
from server.adapters.aiohttp_answer import whole
from server.adapters.heads import Heads
from server.app import Application
from server.exchange import JSON, Answer, Exchange
from server.inference import InferenceResponse, ServedModel
from server.models import load
from server.protocols.media_types import RAW
from server.signature import DEFAULT_SIGNATURE, Array, validate

BATCH: Final = 64
"""Rows of a batch, each a request of its own; what a batch costs is divided among them."""

PASSES: Final = 9
"""Of these the fastest counts: it had the least of what else the machine does."""

ENOUGH: Final = 0.02
"""Seconds of a pass."""

REQUESTS: Final = {"tiny": 20_000, "mlp": 6_000, "mobilenet": 640}
"""Requests of a pass all the way through."""


class Way(NamedTuple):
    """What is asked, and how."""

    model: str
    media: str

    def __str__(self) -> str:
        return f"{self.model} {'JSON' if self.media == JSON else 'binary'}"


WAYS: Final = tuple(Way(model, media) for model in SHAPES for media in (JSON, RAW))


@click.command(
    epilog="""\b
Examples:
  python -m bench pieces
  python -m bench pieces --model mlp --json pieces.json"""
)
@click.option("--model", "models", multiple=True, type=click.Choice(list(SHAPES)))
@cache_option
@json_option
def command(
    *, models: tuple[str, ...], cache: pathlib.Path, json_file: pathlib.Path | None
) -> None:
    """Measure what each piece of the way takes, in µs of CPU for a request of one row.

    What is done once for a batch is divided by its 64 rows. The last lines are the whole way with
    64 clients in the same process, over everything but sockets. The fastest of some passes counts.
    """
    ways = [way for way in WAYS if not models or way.model in models]
    measured: dict[Way, dict[str, float]] = {}
    with steps() as progress:
        bar = progress.add_task("", total=len(ways))
        for way in ways:
            progress.update(bar, description=str(way))
            measured[way] = uvloop.run(_measure(way, cached(way.model, cache)))
            progress.advance(bar)
    pieces = list(measured[ways[0]])
    rows = [[piece, *(f"{measured[way][piece]:,.2f}" for way in ways)] for piece in pieces]
    columns = ["µs of CPU a request", *map(str, ways)]
    show_table("The way of a request", columns, [rows[:-3], rows[-3:]])
    if json_file is not None:
        told = {str(way): pieces_of for way, pieces_of in measured.items()}
        write_json(json_file, "pieces", {"batch": BATCH, "passes": PASSES}, {"us": told})


async def _measure(way: Way, folder: pathlib.Path) -> dict[str, float]:
    """All pieces of one way, in the order in which a request meets them."""
    numbers = [row_of(way.model).nested()]
    row = np.asarray(numbers, np.float32)
    body = row.tobytes() if way.media == RAW else json.dumps({"instances": numbers}).encode()
    target = f"/v1/models/{way.model}:predict"
    raw = request(target, body, {"Content-Type": way.media})
    async with served(way.model, folder) as application:
        front = application.front
        found: dict[str, float] = {}
        for name, piece in _before(front, raw, len(raw) - len(body)):
            found[name] = _least(piece)
        head = Heads(front.enter).find(raw[: len(raw) - len(body)])
        assert head is not None
        exchange = Exchange(head.method, head.target, head.headers, body)
        found |= _codec_and_model(way, folder, head.entrance, exchange, row)
        found["submit, queue, hop, resolve"] = await _queue(row)
        took = await _through(application, way, raw)
    return found | {
        "all of it: loop": took.loop,
        "all of it: all threads": took.process,
        "all of it: by the clock": took.wall,
    }


def _before(front: Any, raw: bytes, end: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """Up to the front."""
    yield "kernel: send and receive on loopback", functools.partial(_exchanged, *_pair(), raw)
    known, new = Heads(front.enter), Heads(front.enter, most=1)
    yield "head, seen before", lambda: known.find(raw[:end])
    # More than are kept, in turns.
    other = itertools.cycle([raw[: end - 2] + b"X-Request-Id: %d\r\n\r\n" % n for n in range(4)])
    yield "head, new: parse and route", lambda: new.find(next(other))


def _codec_and_model(
    way: Way, folder: pathlib.Path, entrance: Any, exchange: Exchange, row: Array
) -> dict[str, float]:
    """What the front, the model thread and the answer do."""
    protocol, operation, *_ = entrance
    model = load(folder / "1")
    served_model = ServedModel(way.model, 1, model.signatures, model.platform, BATCH)
    read = functools.partial(protocol.decode, operation, exchange, lambda _: served_model)
    decoded = read()
    np.testing.assert_array_equal(decoded.inputs["x"], row, strict=True)
    items = [{"x": row.copy()} for _ in range(BATCH)]
    batch: Any = concatenate(items)
    run = functools.partial(model.run, DEFAULT_SIGNATURE, batch)
    outputs = run()
    parts = split(outputs, [1] * BATCH)
    write = functools.partial(protocol.encode, decoded, InferenceResponse(parts[0]))
    timing = {"Server-Timing": "queue;dur=1.234, run;dur=5.678"}
    answer = Answer(200, write().body, write().content_type, timing)
    send = functools.partial(whole, answer, keep_alive=True, old=False, bodiless=False)
    return {
        "parse": _least(read),
        "validate": _least(lambda: validate(decoded.signature, decoded.inputs)),
        "concatenate": _least(lambda: concatenate(items)) / BATCH,
        "model": _least(run, clock=time.process_time) / BATCH,
        "split": _least(lambda: split(outputs, [1] * BATCH)) / BATCH,
        "encode": _least(write),
        "head and body of the answer": _least(send),
    }


async def _queue(row: Array) -> float:
    """CPU of both threads for one of a batch that does nothing, from `submit` to its result."""
    best = float("inf")
    batcher: Batcher[Array, Array] = Batcher(list, max_batch_size=BATCH, executor=ThreadExecutor())
    async with batcher:
        for _ in range(PASSES):
            began = time.process_time()
            for _ in range(20):
                await asyncio.gather(*[batcher.submit_with_receipt(row) for _ in range(BATCH)])
            best = min(best, time.process_time() - began)
    return best / 20 / BATCH * 1e6


async def _through(application: Application, way: Way, raw: bytes) -> Took:
    """The whole way; of each figure the least of all passes."""
    clients = Clients(application.front, BATCH, raw)
    passes = [await clients.ask(REQUESTS[way.model]) for _ in range(PASSES)]
    return Took(*map(min, zip(*passes, strict=True)))


def _pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a connection on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    return one, other


def _exchanged(one: socket.socket, other: socket.socket, raw: bytes) -> None:
    """A request one way, 128 bytes of an answer the other."""
    missing = len(raw)
    view = memoryview(raw)
    while missing:
        sent = one.send(view[-missing:][:65536])
        missing -= sent
        while sent:
            sent -= len(other.recv(2**18))
    other.send(raw[:128])
    one.recv(2**18)


def _least(function: Callable[[], object], clock: Callable[[], float] = time.thread_time) -> float:
    """µs of CPU of a call: the least of some passes."""
    function()
    calls, took = 1, 0.0
    while took < ENOUGH / 4:
        calls *= 2
        took = _pass(function, calls, clock)
    calls = max(1, round(calls * ENOUGH / took))
    return min(_pass(function, calls, clock) for _ in range(PASSES)) / calls * 1e6


def _pass(function: Callable[[], object], calls: int, clock: Callable[[], float]) -> float:
    began = clock()
    for _ in range(calls):
        function()
    return clock() - began
