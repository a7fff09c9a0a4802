"""Compares a converted model with what it was made from: answers and speed. Main thread."""

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from server.conversion.rows import Rows
from server.model import Model
from server.signature import Array, Tensors

Labels: TypeAlias = NDArray[np.integer[Any]]
"""[rows], the right class of each."""

FEWEST_RUNS: Final = 3
MOST_RUNS: Final = 1000
SECONDS: Final = 0.3
"""How often a batch is run to measure it: as often as this time allows, within those limits."""

BATCH: Final = 64
"""Rows that run together where it does not matter how many do."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Rows per second in batches of one size: medians."""

    size: int
    original: float
    converted: float


@dataclass(frozen=True, slots=True)
class Difference:
    """How far the answers of one output are apart, over all rows.

    `largest` is the largest number that the original answered, beside which differences count. For
    strings and booleans a difference is 1. `accuracy` has the share of rows whose greatest number
    is where their label says, of the original and of the converted model; None without labels.
    """

    output: str
    maximum: float
    mean: float
    largest: float
    accuracy: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """One signature on the same rows."""

    signature: str
    rows: int
    made_up: bool
    speeds: tuple[Speed, ...]
    differences: tuple[Difference, ...]


def compare(
    original: Model,
    converted: Model,
    rows: Rows,
    sizes: Sequence[int],
    labels: Labels | None,
) -> Comparison:
    """Run both on the same rows; as many labels as rows. What the models raise."""
    return Comparison(
        rows.signature.name,
        len(rows),
        rows.made_up,
        tuple(_speeds(original, converted, rows, sizes)),
        tuple(_differences(original, converted, rows, labels)),
    )


def _speeds(original: Model, converted: Model, rows: Rows, sizes: Sequence[int]) -> Iterator[Speed]:
    for size in sizes if rows.signature.batchable else (1,):
        inputs = rows.batch(size) if rows.signature.batchable else rows.one(0)
        seconds = [_seconds(model, rows.signature.name, inputs) for model in (original, converted)]
        yield Speed(size, size / seconds[0], size / seconds[1])


def _seconds(model: Model, signature: str, inputs: Tensors) -> float:
    """How long one call takes: the median of several, without the first."""
    model.run(signature, inputs)
    taken: list[float] = []
    while len(taken) < FEWEST_RUNS or (sum(taken) < SECONDS and len(taken) < MOST_RUNS):
        began = time.perf_counter()
        model.run(signature, inputs)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def _differences(
    original: Model, converted: Model, rows: Rows, labels: Labels | None
) -> Iterator[Difference]:
    before, after = (_answers(model, rows) for model in (original, converted))
    for name, expected in before.items():
        distances = _distances(expected, after[name])
        yield Difference(
            name,
            float(distances.max(initial=0)),
            float(distances.mean()) if distances.size else 0.0,
            float(np.abs(expected).max(initial=0)) if expected.dtype.kind in "iufc" else 1.0,
            _accuracies(expected, after[name], labels),
        )


def _answers(model: Model, rows: Rows) -> Tensors:
    parts = [model.run(rows.signature.name, inputs) for inputs in rows.batches(BATCH)]
    join = np.concatenate if rows.signature.batchable else np.stack
    return {name: join([part[name] for part in parts]) for name in parts[0]}


def _distances(expected: Array, came: Array) -> NDArray[np.float64]:
    if expected.shape != came.shape:
        # Nothing is where it was.
        return np.full(1, np.inf)
    if expected.dtype.kind not in "iufc":
        return np.asarray(expected != came, np.float64)
    wide = np.complex128 if expected.dtype.kind == "c" else np.float64
    return np.asarray(np.abs(came.astype(wide) - expected.astype(wide)), np.float64)


def _accuracies(expected: Array, came: Array, labels: Labels | None) -> tuple[float, float] | None:
    several = expected.ndim == 2 and expected.shape[1] > 1  # noqa: PLR2004 - rows of scores
    if labels is None or not several or expected.shape != came.shape:
        return None
    return _accuracy(expected, labels), _accuracy(came, labels)


def _accuracy(scores: Array, labels: Labels) -> float:
    return float((scores.argmax(axis=1) == labels).mean())
