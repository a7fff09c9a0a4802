"""What a request costs a server of ever more models; and what it costs as its rows grow.

The cost is CPU of the server, all of its threads, so it does not depend on how fast the load
generator beside it is.
"""

import contextlib
import itertools
import pathlib
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import click
import uvloop

from bench.many import BODIES, addresses, load, serving
from bench.servers import Server
from bench.tally import Tally
from bench.target import Target

MODEL: Final = "tiny"
CLIENTS: Final = 64

SEED: Final = 20240607

ONE: Final = f"one of them, {CLIENTS} clients"
TURNS: Final = "all of them in turn, 1 client"
ALL: Final = f"all of them at random, {CLIENTS} clients: smaller batches"

BATCHES: Final = re.compile(r"^batcher_batch_rows_(sum|count)\{.*\} (\S+)$", re.MULTILINE)


class Load(NamedTuple):
    """So many clients, each of which asks what `choose` names of the requests, of `rows` each."""

    target: Target
    requests: Sequence[bytes]
    clients: int
    choose: Callable[[], int]
    rows: int = 1


class Spent(NamedTuple):
    """CPU of a server in µs a row, and rows in a batch on average."""

    cpu: float
    batch: float


@contextlib.contextmanager
def servers(counts: Sequence[int], path: pathlib.Path) -> Iterator[Mapping[int, Server]]:
    """One server for each number of models, all there at a time: rounds go from one to another."""
    with contextlib.ExitStack() as stack:
        yield {count: stack.enter_context(serving(count, path)) for count in counts}


def ways(count: int) -> Mapping[str, tuple[int, Callable[[], int]]]:
    """How the load is spread over the models: clients, and which model is asked next."""
    turns, chance = itertools.cycle(range(count)), random.Random(SEED)
    return {
        ONE: (CLIENTS, lambda: count - 1),
        TURNS: (1, lambda: next(turns)),
        ALL: (CLIENTS, lambda: chance.randrange(count)),
    }


def measure(server: Server, count: int, way: str, seconds: float) -> Spent:
    """One stretch of load on one server. ClickException."""
    body = BODIES[MODEL]()
    targets = addresses(server, count)
    clients, choose = ways(count)[way]
    requests = [target.post(body) for target in targets]
    return spend(server, Load(targets[0], requests, clients, choose), seconds)


def spend(server: Server, given: Load, seconds: float) -> Spent:
    """Load a server, and tell what a row of its answers took. ClickException."""
    target, requests, clients, choose, rows = given
    batches, cpu = _batches(server), server.cpu()
    tally, _ = uvloop.run(load(target, requests, clients, seconds, choose, warmup=0.0))
    cpu = server.cpu() - cpu
    _check(server, tally)
    ran = [now - before for now, before in zip(_batches(server), batches, strict=True)]
    return Spent(cpu / (tally.good * rows) * 1e6, ran[0] / ran[1])


def _check(server: Server, tally: Tally) -> None:
    if tally.failed or not tally.good:
        why = tally.first_error_body or next(iter(tally.failures), "")
        msg = f"{server.name}: {tally.failed} requests failed, {tally.good} did not: {why}"
        raise click.ClickException(msg)


def _batches(server: Server) -> tuple[float, float]:
    """Rows and batches so far, of all models."""
    _, page = server.ask("GET", "/metrics")
    totals = {"sum": 0.0, "count": 0.0}
    for what, value in BATCHES.findall(page.decode()):
        totals[what] += float(value)
    return totals["sum"], totals["count"]
