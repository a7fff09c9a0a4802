"""Batches of NumPy arrays: concatenate rows, call once, split the answer. Runs on the model thread.

    batcher = Batcher(on_arrays(model))
    scores = await batcher.submit(rows, size=count_rows(rows), bucket=layout(rows))

An item is an array whose first axis counts its rows, or a dict or tuple of arrays that agree on it.
Items of one `layout` (names, dtypes, shapes of a row) can be concatenated; give the layout as the
bucket, and a caller with another shape gets batches of its own instead of spoiling somebody's.
"""

import itertools
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from batcher.request import Batch

Array: TypeAlias = NDArray[Any]
Arrays: TypeAlias = Array | tuple[Array, ...] | dict[str, Array]
"""What one request carries and one call takes and gives: one array, or several by place or name."""


def on_arrays(function: Callable[[Any], Arrays]) -> Callable[[Batch[Any]], list[Any]]:
    """Make a `run_batch` of a function of arrays, `[n, ...] -> [n, ...]`.

    `function` gets the rows of a whole batch in the form that the items have, and may answer in any
    of the three forms. Each caller gets its own rows of every output, as views: they share memory
    with the other callers' rows, so copy before you write. A lone request is passed on without a
    copy. ValueError, naming the output, when one lacks the batch dimension or its rows, or when
    items were submitted with another `size` than they have rows: no limit would hold.
    """

    def run_batch(batch: Batch[Any]) -> list[Any]:
        sizes = [count_rows(item) for item in batch]
        if sum(sizes) != batch.size:
            msg = (
                f"items of {sum(sizes)} rows were submitted with size {batch.size} in all:"
                " submit(item, size=count_rows(item))"
            )
            raise ValueError(msg)
        padding = batch.padded_size - batch.size
        return split(function(concatenate(batch, padding)), sizes, padding)

    return run_batch


def concatenate(items: Sequence[Any], padding: int = 0) -> Arrays:
    """Join items of one layout along the first axis; a lone item is returned as it is.

    `padding` more rows follow, each the very last one again: a real row, which no function has to
    be ready for as it would for zeros.
    """
    first: Arrays = items[0]
    if len(items) == 1 and not padding:
        return first
    if isinstance(first, dict):
        return {name: _join([item[name] for item in items], padding) for name in first}
    if isinstance(first, tuple):
        return tuple([_join(arrays, padding) for arrays in zip(*items, strict=True)])
    return _join(items, padding)


def _join(arrays: Sequence[Array], padding: int) -> Array:
    if padding:
        row = arrays[-1][-1:]
        arrays = [*arrays, np.broadcast_to(row, (padding, *row.shape[1:]))]
    joined: Array = np.concatenate(arrays)
    return joined


def split(outputs: Arrays, sizes: Sequence[int], padding: int = 0) -> list[Any]:
    """Cut outputs into views of `sizes` rows each, in the form they have, and drop the padding."""
    rows = sum(sizes) + padding
    for name, array in _named(outputs):
        shape = np.shape(array)
        if not shape or shape[0] != rows:
            msg = f"{name} has shape {shape}, expected {rows} rows in its first dimension"
            raise ValueError(msg)
    if len(sizes) == 1 and not padding:
        return [outputs]
    ends = list(itertools.accumulate(sizes))
    spans = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
    return _views(outputs, spans)


def take_rows(arrays: Arrays, span: slice) -> Any:
    """The rows of a span, as views."""
    return _views(arrays, [span])[0]


def _views(arrays: Arrays, spans: list[slice]) -> list[Any]:
    """The rows of each span. Array by array: that takes half as long as span by span."""
    if isinstance(arrays, dict | tuple) and not arrays:
        return [arrays for _ in spans]
    if isinstance(arrays, tuple):
        return list(zip(*[_views(array, spans) for array in arrays], strict=True))
    if not isinstance(arrays, dict):
        return [arrays[span] for span in spans]
    views = [[array[span] for span in spans] for array in arrays.values()]
    if len(arrays) == 1:
        (name,) = arrays
        return [{name: view} for view in views[0]]
    return [dict(zip(arrays, parts, strict=True)) for parts in zip(*views, strict=True)]


def count_rows(item: Arrays) -> int:
    """Rows of an item: what its arrays have in common in their first dimension. ValueError."""
    counts = {name: np.shape(array)[:1] for name, array in _named(item)}
    distinct = set(counts.values())
    if len(distinct) != 1 or () in distinct:
        told = ", ".join(
            f"{name}: {count[0] if count else 'none'}" for name, count in counts.items()
        )
        msg = f"the arrays of an item must agree on a number of rows; got {told or 'no arrays'}"
        raise ValueError(msg)
    return int(distinct.pop()[0])


def layout(item: Arrays) -> Hashable:
    """What items must share to be concatenated: the bucket to submit them with."""
    if isinstance(item, dict):
        return tuple([(name, a.dtype, a.shape[1:]) for name, a in sorted(item.items())])
    if isinstance(item, tuple):
        return tuple([(a.dtype, a.shape[1:]) for a in item])
    return (item.dtype, item.shape[1:])


def _named(arrays: Arrays | Mapping[str, Array]) -> list[tuple[str, Array]]:
    if isinstance(arrays, Mapping):
        return [(repr(name), array) for name, array in arrays.items()]
    if isinstance(arrays, tuple):
        return [(f"number {place}", array) for place, array in enumerate(arrays)]
    return [("the array", arrays)]
