"""Whether rows may share a batch: two that differ give the same together and alone. Any thread."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np

from batcher.arrays import concatenate, count_rows
from server.signature import Array, Signature, Tensors
from server.warmup.inputs import Pair, tries_of_shapes
from server.warmup.rows import ROWS, rows_at

TOLERANCE: Final = 1e-4
"""Largest difference between a row alone and the same row in a batch, beside its largest number.

float32 sums in another order differ by about 1e-6 here; 1e-4 leaves room for deep models and is far
below what rows that influence each other show.
"""

MOST_COMPARED: Final = 64
"""Rows among which two that differ are looked for."""


UNSEEN: Final = "the warm-up could not see whether its rows are independent"


def why_rows_influence(
    run: Callable[[Tensors], Tensors],
    signature: Signature,
    buckets: Sequence[Tensors],
    examples: Sequence[Pair],
) -> str:
    """Why rows of a signature may not share a batch, "" if they may.

    `buckets` are rows that it runs; if no two of them differ, another is made up to go beside one.
    """
    rows = _two_that_differ(run, signature, buckets, examples)
    if rows is None:
        return f"{UNSEEN}: it took no two that differ"
    try:
        together = run(rows)
        alone = [run(rows_at(rows, [place])) for place in range(ROWS)]
    except Exception as error:  # noqa: BLE001 - rows may be refused in any way
        return f"{UNSEEN}: {first_line(error)}"
    return next(filter(None, (_why_other(together, o, i) for i, o in enumerate(alone))), "")


def first_line(error: Exception) -> str:
    """What an error says, for a note; its name if it says nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _two_that_differ(
    run: Callable[[Tensors], Tensors],
    signature: Signature,
    buckets: Sequence[Tensors],
    examples: Sequence[Pair],
) -> Tensors | None:
    for rows in buckets:
        if (pair := _different(rows)) is not None:
            return pair
    for pair in _companies(rows_at(buckets[0], [0]), signature, examples):
        try:
            run(pair)
        except Exception:  # noqa: BLE001, S112 - made-up input may be refused in any way
            continue
        return pair
    return None


def _companies(row: Tensors, signature: Signature, examples: Sequence[Pair]) -> Iterator[Tensors]:
    """One row, and another made of it or made up."""
    shapes = {name: (ROWS, *array.shape[1:]) for name, array in row.items()}
    made_up = tries_of_shapes(signature, shapes, examples)
    turned = {name: np.flip(a, axis=tuple(range(1, a.ndim))) for name, a in row.items()}
    for other in [turned, *(rows_at(rows, [1]) for rows in made_up)]:
        pair: Any = concatenate([row, other])
        if (differing := _different(pair)) is not None:
            yield differing


def _different(rows: Tensors) -> Tensors | None:
    """The first row, and the one that differs from it in most inputs; None if none does."""
    most, place = max(
        (sum(_differ(array[:1], array[other : other + 1]) for array in rows.values()), -other)
        for other in range(min(count_rows(rows), MOST_COMPARED))
    )
    return rows_at(rows, [0, -place]) if most else None


def _differ(one: Array, other: Array) -> bool:
    # Bits are compared, as NaN differs from itself.
    if one.dtype == object:
        return not np.array_equal(one, other)
    return one.tobytes() != other.tobytes()


def _why_other(together: Tensors, alone: Tensors, row: int) -> str:
    """Why a row of these two, run alone as well, may not share a batch; "" if it may."""
    for name, array in together.items():
        if np.shape(array)[:1] != (ROWS,) or np.shape(alone[name])[:1] != (1,):
            return f"output {name!r} has the shape {np.shape(array)} for {ROWS} rows"
        if not _same(alone[name], array[row : row + 1]):
            return f"output {name!r} of a row alone differs from that of the same row in a batch"
    return ""


def _same(alone: Array, together: Array) -> bool:
    if alone.shape != together.shape:
        return False
    if alone.dtype.kind not in "fc":
        return bool(np.array_equal(alone, together))
    finite = np.abs(together[np.isfinite(together)])
    small = TOLERANCE * float(finite.max()) if finite.size else 0.0
    return bool(np.allclose(alone, together, rtol=TOLERANCE, atol=small, equal_nan=True))
