"""Texts of different lengths: in buckets, one at a time, or all padded to the longest."""

import asyncio
import pathlib
import random
import time
from collections.abc import Callable
from typing import Any, Final

import click
import numpy as np
from numpy.typing import NDArray

from batcher import Batcher
from batcher.arrays import count_rows, layout, on_arrays
from batcher.lengths import VariableLength
from bench.options import json_option
from bench.record import write_json
from bench.screen import show_table, steps
from bench.spread import Spread

SHORTEST, LONGEST = 5, 500
VOCABULARY, WIDTH, HIDDEN = 8192, 64, 256
MAX_BATCH_SIZE: Final = 64

BELOW: Final = f"""\
Lengths {SHORTEST} to {LONGEST}, spread evenly over their logarithms. The model looks up a vector
of {WIDTH} for each word, runs two layers of {HIDDEN} on each and averages: its time goes with the
words, padding included. At most {MAX_BATCH_SIZE} texts in a batch, all asked for at once. Medians
(lowest..highest round), each round beside its own; answers are compared with the lone ones.\
"""

Arrays = dict[str, NDArray[Any]]

BUCKETS = VariableLength(
    {"ids": (1, 0)}, boundaries=(8, 16, 32, 64, 128, 256, LONGEST), mask="mask"
)
TO_THE_LONGEST = VariableLength({"ids": (1, 0)}, boundaries=(LONGEST,), mask="mask")


class TextModel:
    """Scores texts by their words; padding, which the mask names, does not count."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self._words = rng.standard_normal((VOCABULARY, WIDTH), np.float32)
        self._first = rng.standard_normal((WIDTH, HIDDEN), np.float32) / 8
        self._second = rng.standard_normal((HIDDEN, WIDTH), np.float32) / 16
        self.words_seen = 0

    def __call__(self, arrays: Arrays) -> Arrays:
        """`ids` int32 and `mask` float32, both [n, length] -> `score` float32 [n]."""
        self.words_seen += arrays["ids"].size
        hidden = np.maximum(self._words[arrays["ids"]] @ self._first, 0) @ self._second
        scores = hidden.sum(axis=2) * arrays["mask"]
        return {"score": scores.sum(axis=1) / arrays["mask"].sum(axis=1)}


def make_texts(count: int, seed: int) -> list[Arrays]:
    """Texts of random words."""
    rng = random.Random(seed)
    lengths = [round(SHORTEST * (LONGEST / SHORTEST) ** rng.random()) for _ in range(count)]
    words = np.random.default_rng(seed)
    return [{"ids": words.integers(0, VOCABULARY, (1, length), np.int32)} for length in lengths]


async def score(
    texts: list[Arrays], model: TextModel, lengths: VariableLength, max_batch_size: int
) -> NDArray[np.float32]:
    """Ask for all texts at once."""
    async with Batcher(on_arrays(model), max_batch_size=max_batch_size) as batcher:

        async def ask(text: Arrays) -> Any:
            padded, _ = lengths.pad(text)
            size, bucket = count_rows(padded), layout(padded)
            return (await batcher.submit(padded, size=size, bucket=bucket))["score"][0]

        return np.array(await asyncio.gather(*[ask(text) for text in texts]))


def _contenders() -> dict[str, Callable[[list[Arrays], TextModel], Any]]:
    every = VariableLength({"ids": (1, 0)}, boundaries=tuple(range(1, LONGEST + 1)), mask="mask")
    return {
        "buckets": lambda texts, model: score(texts, model, BUCKETS, MAX_BATCH_SIZE),
        "one at a time": lambda texts, model: score(texts, model, every, 1),
        "padded to the longest": lambda texts, model: score(
            texts, model, TO_THE_LONGEST, MAX_BATCH_SIZE
        ),
    }


@click.command(short_help="Texts of different lengths: buckets against the alternatives.")
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option("--texts", type=click.IntRange(1, 100_000), default=2_000, show_default=True)
@json_option
def command(rounds: int, texts: int, json_file: pathlib.Path | None) -> None:
    """Measure texts a second by three ways to batch texts of 5 to 500 words."""
    contenders, model = _contenders(), TextModel()
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    waste: dict[str, float] = {}
    with steps() as progress:
        bar = progress.add_task("", total=rounds * len(contenders))
        for number in range(rounds):
            asked = make_texts(texts, number)
            words = sum(text["ids"].size for text in asked)
            expected = None
            for name in ("one at a time", "buckets", "padded to the longest"):
                progress.update(bar, description=name)
                model.words_seen = 0
                began = time.perf_counter()
                scores = asyncio.run(contenders[name](asked, model))
                speeds[name].append(texts / (time.perf_counter() - began))
                waste[name] = 100 * (1 - words / model.words_seen)
                expected = scores if expected is None else expected
                np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-4)
                progress.advance(bar)
    rows = [
        [
            name,
            f"{Spread.of(speeds[name]):,.0f}",
            f"{Spread.of(b / s for b, s in zip(speeds['buckets'], speeds[name], strict=True)):.2f}",
            f"{waste[name]:.0f}",
        ]
        for name in contenders
    ]
    columns = ("way", "texts/s", "buckets are so many times faster", "padding, % of words run")
    show_table("texts of 5 to 500 words", columns, [rows], below=BELOW)
    if json_file is not None:
        write_json(
            json_file, "lengths", {"rounds": rounds, "texts": texts}, {"texts_per_s": speeds}
        )
