"""What a row costs in requests of ever more rows; those beyond a batch are cut into parts."""

import array
import contextlib
import pathlib
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from bench.growth.models import SEED, Load, Spent, spend
from bench.many import addresses, serving
from bench.models import cached
from bench.servers import Server

NUMBERS: Final[Mapping[str, int]] = {"tiny": 1, "mlp": 784}
"""Numbers in a row of each model."""

IN_FLIGHT: Final = 64
"""Rows on their way at a time, at least: with fewer, batches would not be full of small requests,
and large requests would gain what is not theirs."""


def _json(row: list[float], rows: int) -> bytes:
    told = ",".join([f"{number:g}" for number in row])
    return f'{{"instances":[{",".join([f"[{told}]"] * rows)}]}}'.encode()


def _raw(row: list[float], rows: int) -> bytes:
    numbers = array.array("f", row)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes() * rows


FORMS: Final[Mapping[str, tuple[str, Callable[[list[float], int], bytes]]]] = {
    "JSON": ("application/json", _json),
    "raw float32": ("application/octet-stream", _raw),
}
"""How rows travel: the type of the body, and who writes it."""


@contextlib.contextmanager
def server(model: str, cache: pathlib.Path) -> Iterator[Server]:
    """A server of one model."""
    with serving(1, cached(model, cache)) as one:
        yield one


def measure(one: Server, model: str, form: str, rows: int, seconds: float) -> Spent:
    """One stretch of requests of so many rows. ClickException."""
    chance = random.Random(SEED)
    row = [round(chance.random(), 3) for _ in range(NUMBERS[model])]
    (target,) = addresses(one, 1)
    content_type, write = FORMS[form]
    requests = [target.post(write(row, rows), content_type)]
    clients = max(1, -(-IN_FLIGHT // rows))
    return spend(one, Load(target, requests, clients, lambda: 0, rows), seconds)
